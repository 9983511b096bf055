//! What all requests of a gateway share, walks that wait included.

use std::cell::Cell;
use std::rc::Rc;

use super::clock::Ticks;
use super::compiled::Compiled;
use super::hold::Holds;
use super::questions::Questions;
use super::rounds::Rounds;
use super::telemetry::Telemetry;
use crate::identity::{KeyHash, Knowledge};
use crate::limits::fleet::{Topic, Verdict};

/// What all requests of a gateway share.
pub(super) struct Shared<H> {
    pub(super) host: Rc<H>,
    pub(super) compiled: Compiled,
    pub(super) telemetry: Telemetry,
    pub(super) ticks: Cell<Ticks>,
    /// Keys that the validator is asked about; `None` without a validator.
    pub(super) keys: Option<Questions<KeyHash, Knowledge>>,
    /// What the service is asked that counts for all gateways; `None` if no limit is counted so.
    pub(super) fleet: Option<Questions<Topic, Verdict>>,
    /// What servers of MCP are asked.
    pub(super) rounds: Rounds,
    pub(super) holds: Holds,
}

impl<H> Shared<H> {
    pub(super) fn new(host: Rc<H>, compiled: Compiled) -> Self {
        let validator = compiled.policy.clients.validator.as_ref();
        Self {
            keys: validator.map(|it| Questions::new(it.max_pending, it.timeout)),
            fleet: compiled.limits.fleet().map(|fleet| {
                let (most, patience) = fleet.bounds();
                Questions::new(most, patience)
            }),
            rounds: Rounds::default(),
            holds: Holds::new(compiled.policy.clients.hold),
            telemetry: Telemetry::default(),
            ticks: Cell::default(),
            compiled,
            host,
        }
    }
}
