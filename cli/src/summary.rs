//! What a good configuration amounts to, in a few lines: its parts, and the memory its tables may take.

use std::fmt;

use waykeeper::config::Policy;
use waykeeper::config::policy::Tables;
use waykeeper::state::{counters, keys};

/// Bytes that a table may take in Envoy's shared data, once full, and the cells they lie in.
struct Cost {
    cells: u64,
    bytes: u64,
}

/// A policy, in a few lines.
pub(crate) struct Summary<'p>(pub(crate) &'p Policy);

// === impl Cost ===

impl Cost {
    /// A cell is kept whole: what it holds together must not grow beyond its bytes.
    fn of_keys(tables: Tables) -> Self {
        let cells = u64::from(tables.keys.div_ceil(keys::RECORDS_PER_CELL));
        Self {
            cells,
            bytes: cells * u64::from(keys::CELL_BYTES),
        }
    }

    fn of_counters(tables: Tables) -> Self {
        let cells = u64::from(tables.counters.div_ceil(counters::RECORDS_PER_CELL));
        let records = cells * u64::from(counters::RECORDS_PER_CELL);
        Self {
            cells,
            bytes: records * u64::from(counters::RECORD_BYTES),
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "in {} cells, up to {:.1} MiB",
            self.cells,
            self.bytes as f64 / f64::from(1 << 20)
        )
    }
}

// === impl Summary ===

impl fmt::Display for Summary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary(policy) = self;
        let of_routes: usize = policy.routes.iter().map(|route| route.limits.len()).sum();
        writeln!(
            formatter,
            "  {}, {}, {}, {}{}",
            count(policy.routes.len(), "route"),
            count(policy.agents.len(), "agent"),
            count(policy.plans.len(), "plan"),
            count(policy.limits.len() + of_routes, "limit"),
            if of_routes > 0 {
                format!(" ({of_routes} on routes)")
            } else {
                String::new()
            },
        )?;
        let asked = match &policy.clients.validator {
            Some(validator) => {
                let cluster = &validator.cluster;
                match validator.generation {
                    1 => format!("others asked of {cluster}"),
                    raised => format!("others asked of {cluster}, generation {raised}"),
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
            Cost::of_keys(tables)
        )?;
        write!(
            formatter,
            "    {} counters {}",
            tables.counters,
            Cost::of_counters(tables)
        )
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What is legal but probably not meant.
pub(crate) fn doubts(policy: &Policy) -> Vec<String> {
    let mut doubts = Vec::new();
    for (index, agent) in policy.agents.iter().enumerate() {
        let used = |choice: &waykeeper::config::policy::Choice| choice.agent.0 == index;
        if !policy
            .routes
            .iter()
            .any(|route| route.agents.iter().any(used))
        {
            doubts.push(format!(
                "agents.{}: no route leads to this agent",
                agent.name
            ));
        }
    }
    for (index, route) in policy.routes.iter().enumerate() {
        if route.prefix.contains('*') {
            doubts.push(format!(
                "routes[{index}].prefix: * has no special meaning; a prefix is matched literally"
            ));
        }
        let has_role = |role: &String| {
            policy
                .clients
                .keys
                .iter()
                .any(|key| key.client.roles.contains(role))
        };
        if policy.clients.validator.is_none()
            && !route.roles.is_empty()
            && !route.roles.iter().any(has_role)
        {
            doubts.push(format!(
                "routes[{index}].roles: no listed key has such a role, and there is no validator"
            ));
        }
    }
    doubts
}
