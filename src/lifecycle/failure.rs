//! What becomes of a request when a stage cannot do its work: here, and nowhere else.

use super::hold::TooMuch;
use super::questions::NotAsked;
use super::telemetry::Telemetry;
use crate::host::{Host, HostError};
use crate::reply::Refusal;
use crate::state::StateError;

/// What a stage could not do.
#[derive(Debug)]
pub(super) enum Failure {
    /// The host does not show the request.
    Unread(HostError),
    /// The stream is not at hand: the walk goes on outside its turn.
    NotLent,
    /// The request would have too much held.
    NotHeld(TooMuch),
    /// The host does not know where the caller calls from, and a limit counts by that.
    NoAddress,
    /// The limits cannot be looked at, or the request not be counted.
    Limits(StateError),
    /// The validator cannot be asked about the key.
    Unasked(NotAsked<HostError>),
    /// The validator has not said whom the key proves. The log knows why: it is said once for all who wait.
    Unanswered,
    /// The validator names a plan of which the configuration says nothing.
    UnknownPlan(String),
}

impl From<TooMuch> for Failure {
    fn from(too_much: TooMuch) -> Self {
        Self::NotHeld(too_much)
    }
}

/// Every failure is a refusal: what cannot be decided is refused. The log says why.
#[cold]
pub(super) fn refusal<H: Host>(host: &H, telemetry: &Telemetry, failure: Failure) -> Refusal {
    match failure {
        Failure::Unread(error) => {
            telemetry.host_failed(host, error);
            Refusal::GatewayUnavailable
        }
        Failure::NotLent => Refusal::GatewayUnavailable,
        Failure::NotHeld(TooMuch::Request(most)) => Refusal::HeldTooLarge(most),
        Failure::NotHeld(TooMuch::Together(full)) => {
            telemetry.holds_too_much(host, &full);
            Refusal::GatewayUnavailable
        }
        Failure::NoAddress => Refusal::LimitsUnavailable,
        Failure::Limits(error) => {
            telemetry.limits_unavailable(host, error);
            Refusal::LimitsUnavailable
        }
        Failure::Unasked(NotAsked::TooMany(most)) => {
            telemetry.validator_crowded(host, most);
            Refusal::ValidatorUnavailable
        }
        Failure::Unasked(NotAsked::Unsent(error)) => {
            telemetry.validator_unreachable(host, error);
            Refusal::ValidatorUnavailable
        }
        Failure::Unanswered => Refusal::ValidatorUnavailable,
        Failure::UnknownPlan(name) => {
            telemetry.unknown_plan(host, &name);
            Refusal::UnknownPlan
        }
    }
}
