//! What outlives a decision: requests that are still to be given back to a limit, and what an operator is told of records
//! that were forgotten.

use std::cell::{Cell, RefCell};
use std::fmt;

use log::Level;

use crate::host::{CellName, Host, MetricId, Throttle, Timestamp};
use crate::state::counters::{Record, Records};
use crate::state::{Decision, Grid, StateError};

/// So many failures are remembered. A host that refuses its memory that often has other troubles.
const MOST_OWED: usize = 1024;

/// What a gateway keeps between decisions.
#[derive(Debug)]
pub(super) struct Upkeep {
    owed: RefCell<Vec<Owed>>,
    log: Throttle,
    failures: Tally,
    forgotten: Tally,
    forgotten_of_addresses: Tally,
}

/// Requests that were taken from the limits of one cell, and are to be given back.
#[derive(Debug, Clone)]
pub(super) struct Owed {
    pub(super) cell: CellName,
    pub(super) takings: Vec<Taking>,
    /// When they were taken.
    pub(super) at: Timestamp,
}

/// One request that was taken from a limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taking {
    pub(super) tag: u64,
    /// What it owes.
    pub(super) unit: u64,
    /// The bucket's moment after it was taken.
    pub(super) moment: Timestamp,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            owed: RefCell::default(),
            log: Throttle::default(),
            failures: Tally::new("waykeeper_limits_give_back_failures_total"),
            forgotten: Tally::new("waykeeper_counters_forgotten_total"),
            forgotten_of_addresses: Tally::new("waykeeper_address_counters_forgotten_total"),
        }
    }
}

impl Upkeep {
    /// Gives back what a request has taken, now or else at a later tick.
    pub(super) fn give_back<H: Host>(&self, host: &H, owed: Owed) {
        if let Err(error) = owed.give_back(host) {
            self.failed(host, error);
            let mut all = self.owed.borrow_mut();
            if all.len() < MOST_OWED {
                all.push(owed);
            }
        }
    }

    /// Tries again what has failed.
    pub(super) fn chores<H: Host>(&self, host: &H) {
        if self.owed.borrow().is_empty() {
            return;
        }
        let all = self.owed.take();
        let now = host.now();
        // What has drained meanwhile need not be given back.
        for owed in all.into_iter().filter(|owed| !owed.has_drained(now)) {
            self.give_back(host, owed);
        }
    }

    /// So many records were put out of a full cell. `of_addresses` says of which table.
    pub(super) fn forgotten<H: Host>(&self, host: &H, records: u64, of_addresses: bool) {
        let (tally, table) = if of_addresses {
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
                "limits: what a request had taken could not be given back, and is tried again (failures: {number}): {error}"
            )
        });
    }
}

impl Owed {
    /// Takes the debts off the records. What others have taken since is kept, and so is what would have been lost to a full
    /// bucket: of a request that was taken a while ago only that part is given back that has not drained yet.
    ///
    /// In a full cell all stays: others may have started from these records. So it does when the clock was set back
    /// meanwhile: nobody can tell then what has drained.
    fn give_back<H: Host>(&self, host: &H) -> Result<(), StateError> {
        Grid::update(host, self.cell, |value| {
            let mut records = Records::read(value, host.now());
            if records.room() == 0 {
                return Decision::Keep(());
            }
            let now = records.now();
            let mut given = records.set_back();
            let takings = if now < self.at {
                &[][..]
            } else {
                &self.takings
            };
            for Taking { tag, unit, moment } in takings {
                // Under a lower limit the debt may have been cut to what its bucket holds; nobody can tell what is left
                // of this request in it.
                let lowered = |record: &Record| record.unit > *unit;
                if let Some((slot, mut record)) =
                    records.find(*tag).filter(|(_, record)| !lowered(record))
                {
                    let left = moment.0.saturating_sub(now.0).min(*unit);
                    // In the unit in which another configuration may have counted it since.
                    let left =
                        u128::from(left) * u128::from(record.unit) / u128::from(*unit).max(1);
                    let left = u64::try_from(left).unwrap_or(0);
                    record.moment = Timestamp(record.moment.0.saturating_sub(left));
                    records.set(slot, record);
                    given = true;
                }
            }
            if given {
                Decision::Replace(records.take_bytes(), ())
            } else {
                Decision::Keep(())
            }
        })
    }

    fn has_drained(&self, now: Timestamp) -> bool {
        self.takings.iter().all(|taking| taking.moment <= now)
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
