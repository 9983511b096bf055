//! What a good configuration amounts to, in a few lines: its parts, and the memory that its tables and what waits may take.

use std::fmt;

use waykeeper::config::Policy;
use waykeeper::config::policy::{Choice, InFlight, Route, Scope, Sticky};
use waykeeper::limits::CountersOfOne;
use waykeeper::state::{counters, keys, responses, room};

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

/// A number, as far as anybody needs to know it.
struct Roughly(u64);

/// How many requests may be in flight of what, and for how long one may wait for a place.
struct AtOnce<'p>(&'p Policy);

/// Routes on which nothing bounds a caller without a key.
struct Open<'p>(&'p Policy);

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
        let room = Roughly(room::room_for(self.records, in_one_cell, in_all));
        write!(
            formatter,
            "; room for the counters of {room} {}",
            self.whose
        )?;
        match in_all {
            1 => Ok(()),
            in_all => write!(formatter, ", {in_all} each"),
        }
    }
}

// === impl Roughly ===

impl fmt::Display for Roughly {
    /// Rounded down.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            few @ ..10_000 => write!(formatter, "{few}"),
            some @ ..1_000_000 => write!(formatter, "{} thousand", some / 1000),
            many => write!(
                formatter,
                "{}.{} million",
                many / 1_000_000,
                many / 100_000 % 10
            ),
        }
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
        if Sticky::all(policy).any(Sticky::names_responses) {
            let cells = tables.responses.div_ceil(responses::RECORDS_PER_CELL);
            let records = u64::from(cells * responses::RECORDS_PER_CELL);
            write!(
                formatter,
                "\n    {} responses in {cells} cells, at most {}",
                tables.responses,
                memory(records * responses::RECORD as u64)
            )?;
        }
        let (waiting, shares) = (Waiting(policy), OfRoutes(policy));
        let (at_once, open) = (AtOnce(policy), Open(policy));
        write!(
            formatter,
            "{waiting}{at_once}{shares}{open}{}",
            Unserved(policy)
        )
    }
}

// === impl AtOnce ===

impl fmt::Display for AtOnce<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AtOnce(policy) = self;
        let mut told = Vec::new();
        for plan in &policy.plans {
            told.extend(
                plan.in_flight
                    .iter()
                    .map(|it| bound(&format!("plan {}", plan.name), it)),
            );
        }
        let agents = policy.agents.iter();
        told.extend(agents.filter_map(|agent| {
            Some(bound(
                &format!("agent {}", agent.name),
                agent.in_flight.as_ref()?,
            ))
        }));
        told.extend(policy.in_flight.iter().map(|it| bound(&it.name, it)));
        if told.is_empty() {
            return Ok(());
        }
        write!(formatter, "\n  requests in flight: {}", told.join(", "))?;
        match policy.longest_wait().as_secs() {
            0 => Ok(()),
            wait => write!(formatter, "; one may wait for {wait} s in all"),
        }
    }
}

/// So many of something, and for how long one more waits.
fn bound(what: &str, it: &InFlight) -> String {
    let wait = it
        .queue
        .map(|queue| format!(" (others wait for {} s)", queue.wait.as_secs()));
    format!("{what} at most {}{}", it.most, wait.unwrap_or_default())
}

// === impl Open ===

impl fmt::Display for Open<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Open(policy) = self;
        let counts = |scope: &Scope, route: &Route| {
            let of_clients = !scope.plans.is_empty() || !scope.teams.is_empty();
            !of_clients && (scope.routes.is_empty() || scope.routes.contains(&route.name))
        };
        let bounded = |choice: &Choice| {
            let agent = policy.agents.get(choice.agent.0);
            agent.is_some_and(|agent| agent.in_flight.is_some())
        };
        let is_open = |route: &&Route| {
            !route.auth_required
                && route.limits.is_empty()
                && !policy.limits.iter().any(|it| counts(&it.scope, route))
                && !policy.in_flight.iter().any(|it| counts(&it.scope, route))
                && !route.all_choices().flatten().all(bounded)
        };
        for route in policy.routes.iter().filter(is_open) {
            write!(
                formatter,
                "\n  {}: open to all, without a key and without a limit",
                route.name
            )?;
        }
        Ok(())
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
