//! What outlives a decision: what is still to be put right with a limit, and what an operator is told of that and of records
//! that were forgotten.

use std::cell::{Cell, RefCell};
use std::fmt;

use log::Level;

use super::receipt::{Corrected, Corrections};
use crate::host::{CellName, Host, MetricId, Throttle};
use crate::state::{Grid, StateError};

/// So many failures are remembered. A host that refuses its memory that often has other troubles.
const MOST_DUE: usize = 1024;

/// What a gateway keeps between decisions.
#[derive(Debug)]
pub(super) struct Upkeep {
    address_counters: Grid,
    due: RefCell<Vec<Corrections>>,
    log: Throttle,
    failures: Tally,
    forgotten: Tally,
    forgotten_of_addresses: Tally,
}

impl Upkeep {
    pub(super) fn new(address_counters: Grid) -> Self {
        Self {
            address_counters,
            due: RefCell::default(),
            log: Throttle::default(),
            failures: Tally::new("waykeeper_limits_give_back_failures_total"),
            forgotten: Tally::new("waykeeper_counters_forgotten_total"),
            forgotten_of_addresses: Tally::new("waykeeper_address_counters_forgotten_total"),
        }
    }

    /// Puts a cell's limits right, now or else on a later tick. `None`: not now, or not all of them.
    pub(super) fn correct<H: Host>(&self, host: &H, corrections: Corrections) -> Option<Corrected> {
        match corrections.write(host) {
            Ok(mut corrected) => {
                self.forgotten(host, corrections.cell, corrected.forgotten);
                match corrections.rest(&mut corrected) {
                    None => return Some(corrected),
                    Some(rest) => self.remember(rest),
                }
            }
            Err(error) => {
                self.failed(host, error);
                self.remember(corrections);
            }
        }
        None
    }

    fn remember(&self, corrections: Corrections) {
        let mut all = self.due.borrow_mut();
        if all.len() < MOST_DUE {
            all.push(corrections);
        }
    }

    /// Tries again what has failed.
    pub(super) fn chores<H: Host>(&self, host: &H) {
        if self.due.borrow().is_empty() {
            return;
        }
        let all = self.due.take();
        let now = host.now();
        // What has drained meanwhile need not be given back.
        for corrections in all.into_iter().filter(|it| !it.have_drained(now)) {
            self.correct(host, corrections);
        }
    }

    /// So many records were put out of this cell, which was full.
    pub(super) fn forgotten<H: Host>(&self, host: &H, cell: CellName, records: u64) {
        let (tally, table) = if self.address_counters.holds(cell) {
            (&self.forgotten_of_addresses, "address_counters")
        } else {
            (&self.forgotten, "counters")
        };
        tally.add(host, &self.log, records, |number| {
            format!(
                "tables.{table}: too small: counters forgotten to make room for others: {number}"
            )
        });
    }

    fn failed<H: Host>(&self, host: &H, error: StateError) {
        self.failures.add(host, &self.log, 1, |number| {
            format!(
                "limits: what a request had taken could not be put right, and is tried again (failures: {number}): {error}"
            )
        });
    }
}

/// A metric, and a line in the log now and then.
#[derive(Debug)]
struct Tally {
    name: &'static str,
    metric: Cell<Option<MetricId>>,
    /// How many the log has not told of yet.
    untold: Cell<u64>,
}

impl Tally {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            metric: Cell::default(),
            untold: Cell::default(),
        }
    }

    /// Counts, and tells of all that were counted since the last line, if it is time for one.
    fn add<H: Host, L: fmt::Display>(
        &self,
        host: &H,
        log: &Throttle,
        number: u64,
        line: impl FnOnce(u64) -> L,
    ) {
        if number == 0 {
            return;
        }
        if self.metric.get().is_none() {
            self.metric.set(host.counter(self.name, &[]));
        }
        if let Some(metric) = self.metric.get() {
            for _ in 0..number {
                host.increment(metric);
            }
        }
        let untold = self.untold.get().saturating_add(number);
        self.untold.set(untold);
        let now = host.now();
        if log.is_due(self.name, now) {
            self.untold.set(0);
            log.log(
                Level::Warn,
                self.name,
                now,
                format_args!("{}", line(untold)),
            );
        }
    }
}
