//! What a good configuration amounts to, in a few lines: its parts, and the memory that its tables and what waits may take.

use std::fmt;

use waykeeper::config::Policy;
use waykeeper::limits::CountersOfOne;
use waykeeper::state::{counters, keys, room};

use crate::shares::OfRoutes;
use crate::unserved::Unserved;

/// A table of remembered keys of this size.
struct OfKeys(u32);

/// A table of counters of this size, and how many of them each client or address has that is counted in it.
struct OfCounters {
    records: u32,
    each: CountersOfOne,
    whose: &'static str,
}

/// What requests that wait under a policy can have held.
struct Waiting<'p>(&'p Policy);

/// A policy, in a few lines.
pub(crate) struct Summary<'p> {
    pub(crate) policy: &'p Policy,
    /// Where keys are asked about, if a url says so.
    pub(crate) asked_at: Option<String>,
}

// === impl OfKeys ===

impl fmt::Display for OfKeys {
    /// The memory that all cells can take at most, and for how many keys they have room.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = u64::from(self.0.div_ceil(keys::RECORDS_PER_CELL));
        let most = memory(cells * u64::from(keys::CELL_BYTES));
        write!(
            formatter,
            "in {cells} cells, at most {most}; room for {} in use",
            room::room_for_keys(self.0)
        )
    }
}

// === impl OfCounters ===

impl fmt::Display for OfCounters {
    /// The memory it takes with as many records as its size says, and with every cell full; and for how many it has room.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = room::cells(self.records);
        let bytes = |records_per_cell: u32| {
            let cell = counters::HEAD_BYTES + records_per_cell * counters::RECORD_BYTES;
            memory(u64::from(cells) * u64::from(cell))
        };
        write!(
            formatter,
            "in {cells} cells, usually {}, at most {}",
            bytes(counters::USUAL_RECORDS_PER_CELL),
            bytes(counters::MOST_RECORDS_PER_CELL),
        )?;
        let number = |counters: usize| u32::try_from(counters).unwrap_or(u32::MAX);
        let (in_one_cell, in_all) = (number(self.each.in_one_cell), number(self.each.in_all));
        if in_all == 0 {
            return Ok(());
        }
        write!(
            formatter,
            "; room for {} {} with {in_all} each",
            room::room_for(self.records, in_one_cell, in_all),
            self.whose,
        )
    }
}

/// So many bytes, in a unit in which they are one at least.
fn memory(bytes: u64) -> String {
    let (unit, name) = if bytes < 1 << 20 {
        (1 << 10, "KiB")
    } else {
        (1 << 20, "MiB")
    };
    format!("{:.1} {name}", bytes as f64 / f64::from(unit))
}

// === impl Summary ===

impl fmt::Display for Summary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { policy, asked_at } = self;
        let of_routes: usize = policy.routes.iter().map(|route| route.limits.len()).sum();
        writeln!(
            formatter,
            "  {}, {}, {}, {}{}",
            count(policy.routes.len(), "route"),
            count(policy.agents.len(), "agent"),
            count(policy.plans.len(), "plan"),
            count(
                policy.limits.len() + policy.in_flight.len() + of_routes,
                "limit"
            ),
            if of_routes > 0 {
                format!(" ({of_routes} on routes)")
            } else {
                String::new()
            },
        )?;
        let asked = match &policy.clients.validator {
            Some(validator) => {
                let (cluster, host) = (&validator.cluster, &validator.host);
                let asked = match asked_at {
                    Some(url) => format!("others asked at {url}"),
                    None => format!("others asked at cluster {cluster}, as host {host}"),
                };
                match validator.remember.generation {
                    1 => asked,
                    raised => format!("{asked}, generation {raised}"),
                }
            }
            None => "no validator".to_owned(),
        };
        writeln!(
            formatter,
            "  {}, {asked}",
            count(policy.clients.keys.len(), "listed key")
        )?;
        let tables = policy.tables;
        writeln!(
            formatter,
            "  memory in each Envoy process, whatever the traffic:"
        )?;
        writeln!(
            formatter,
            "    {} keys {}",
            tables.keys,
            OfKeys(tables.keys)
        )?;
        let counters = OfCounters {
            records: tables.counters,
            each: CountersOfOne::client(policy),
            whose: "clients",
        };
        writeln!(formatter, "    {} counters {counters}", tables.counters)?;
        let counters = OfCounters {
            records: tables.address_counters,
            each: CountersOfOne::address(policy),
            whose: "addresses",
        };
        write!(
            formatter,
            "    {} address counters {counters}",
            tables.address_counters
        )?;
        let (waiting, shares) = (Waiting(policy), OfRoutes(policy));
        write!(formatter, "{waiting}{shares}{}", Unserved(policy))
    }
}

// === impl Waiting ===

impl fmt::Display for Waiting<'_> {
    /// What requests that wait can have held, where any do.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Waiting(policy) = self;
        let hold = policy.clients.hold;
        let asks = policy.clients.validator.is_some();
        let collects = policy.routes.iter().any(|route| route.collect_body);
        if asks || collects {
            write!(
                formatter,
                "\n  and in each of its workers, for requests that wait:"
            )?;
        }
        if asks {
            write!(
                formatter,
                "\n    at most {} for the validator, {} of each",
                memory(hold.worker),
                memory(hold.request)
            )?;
        }
        if collects {
            write!(
                formatter,
                "\n    at most {} by those that wait for their bodies",
                memory(hold.collected)
            )?;
        }
        Ok(())
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
