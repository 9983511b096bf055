//! How it is learned how busy an agent is, what it costs, and which of several a route prefers.

use std::time::Duration;

use super::document::Node;
use super::policy::{Agent, Choice, Load, LoadSource, Prefer, Price, Shower};
use super::reader::{Fields, Spot};
use super::{hosts, names, paths};

/// The fields of an agent that say so.
pub(super) const OF_AGENT: [&str; 2] = ["load", "price"];
pub(super) const LOAD_FIELDS: &[&str] = &[
    "from",
    "metric",
    "full_at",
    "stale_after",
    "path",
    "host",
    "clusters",
    "every",
];
pub(super) const SHOWER_FIELDS: &[&str] = &["cluster", "host"];
pub(super) const PRICE_FIELDS: &[&str] = &["input", "output"];

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

const FULL_AT: u32 = 10;
const LASTS: Duration = Duration::from_secs(10);
const PATH: &str = "/metrics";
/// No agent is looked at in more clusters, each as often as `every` says.
pub const MOST_CLUSTERS: usize = 32;
/// A million dollars for a million tokens.
const HIGHEST_PRICE: f64 = 1e6;

/// By what it is learned how busy an agent is.
#[derive(Clone, Copy, PartialEq)]
enum From {
    InFlight,
    Orca,
    QueueDepth,
    Metrics,
}

/// How it is learned how busy an agent is.
#[inline(never)]
pub(super) fn load(spot: &Spot<'_>, cluster: &str, is_bounded: bool) -> Option<Load> {
    let fields = spot.fields(LOAD_FIELDS)?;
    let written = fields.need("from");
    let from = written.and_then(|spot| {
        let from = spot.choice(&[
            ("orca", From::Orca),
            ("queue_depth", From::QueueDepth),
            ("metrics", From::Metrics),
            ("in_flight", From::InFlight),
        ])?;
        if from == From::InFlight && !is_bounded {
            spot.fault("how many of its places are taken is known with max_in_flight only");
        }
        Some(from)
    });
    let only = |names: &[&str], of: &[From], said: &str| {
        let known = from.is_some_and(|from| !of.contains(&from));
        for spot in names.iter().filter_map(|name| fields.get(name)) {
            if known {
                spot.fault(said);
            }
        }
    };
    only(
        &["path", "host", "clusters", "every"],
        &[From::Metrics],
        "has a meaning with from: metrics only",
    );
    only(
        &["metric"],
        &[From::Orca],
        "has a meaning with from: orca only",
    );
    let reported = [From::Orca, From::QueueDepth, From::Metrics];
    only(
        &["full_at", "stale_after"],
        &reported,
        "has no meaning with from: in_flight",
    );
    let metric = fields.get("metric").map(|spot| spot.checked(names::name));
    let full_at = fields.get("full_at");
    let full_at = full_at.map(|spot| spot.whole_u32(1..=1_000_000));
    let lasts = fields.get("stale_after");
    let lasts = lasts.map(|spot| spot.duration(SECOND..=HOUR));
    let path = fields.get("path");
    let path = path.map(|spot| spot.checked(paths::callout));
    let host = fields.get("host").map(|spot| spot.checked(hosts::host));
    let named = host.flatten();
    let shown_by = fields
        .get("clusters")
        .map(|spot| showers(&spot, named))
        .unwrap_or_else(|| Some(vec![shower(cluster, named)]));
    let every = fields.get("every");
    let every = every.map(|spot| super::routes::whole_seconds(&spot, SECOND..=MINUTE));
    let every = every.map_or(Some(SECOND), |every| every);
    let from = match from? {
        From::InFlight => LoadSource::InFlight,
        From::Orca => LoadSource::Orca {
            metric: match metric {
                Some(metric) => Some(metric?.to_owned()),
                None => None,
            },
        },
        From::QueueDepth => LoadSource::QueueDepth,
        From::Metrics => LoadSource::Metrics {
            path: path.map_or(Some(PATH), |path| path)?.to_owned(),
            shown_by: match host {
                Some(None) => return None,
                _ => shown_by?,
            },
            every: every?,
        },
    };
    Some(Load {
        from,
        full_at: full_at.map_or(Some(FULL_AT), |number| number)?,
        lasts: lasts.map_or(Some(LASTS), |time| time)?,
    })
}

/// One that is called so, or as its cluster's name tells.
fn shower(cluster: &str, host: Option<&str>) -> Shower {
    let host = host.map(str::to_owned);
    Shower {
        cluster: cluster.to_owned(),
        host: host.unwrap_or_else(|| hosts::of_cluster(cluster)),
    }
}

/// The clusters of an agent's endpoints.
fn showers(spot: &Spot<'_>, host: Option<&str>) -> Option<Vec<Shower>> {
    let items = spot.nonempty_list(MOST_CLUSTERS)?;
    let mut found: Vec<Shower> = Vec::new();
    let mut is_whole = true;
    for item in items {
        let Some(one) = one_shower(&item, host) else {
            is_whole = false;
            continue;
        };
        if found.iter().any(|other| other.cluster == one.cluster) {
            item.fault("this cluster is already in the list");
        }
        found.push(one);
    }
    is_whole.then_some(found)
}

/// One of them: by its name alone, or with what it is called.
fn one_shower(item: &Spot<'_>, host: Option<&str>) -> Option<Shower> {
    if item.is_text() {
        return Some(shower(item.checked(names::cluster)?, host));
    }
    let fields = item.fields(SHOWER_FIELDS)?;
    let cluster = fields.need("cluster");
    let cluster = cluster.and_then(|spot| spot.checked(names::cluster));
    let own = match fields.get("host") {
        Some(spot) => Some(spot.checked(hosts::host)?),
        None => host,
    };
    Some(shower(cluster?, own))
}

/// What an agent costs.
#[inline(never)]
pub(super) fn price(spot: &Spot<'_>) -> Option<Price> {
    let fields = spot.fields(PRICE_FIELDS)?;
    let dollars = |name| {
        let spot = fields.need(name)?;
        match spot.node() {
            Node::Number(number) if (0.0..=HIGHEST_PRICE).contains(number) => {
                Some((number * 1e6) as u64)
            }
            _ => {
                spot.fault("expected dollars for a million tokens, such as 0.15");
                None
            }
        }
    };
    let (input, output) = (dollars("input"), dollars("output"));
    Some(Price {
        input: input?,
        output: output?,
    })
}

/// Which of these agents gets a request, if it is written.
pub(super) fn prefer(fields: &Fields<'_>) -> Option<Prefer> {
    fields.get("prefer")?.choice(&[
        ("weighted", Prefer::Weighted),
        ("cheapest", Prefer::Cheapest),
        ("fastest", Prefer::Fastest),
    ])
}

/// Tells if one of these cannot be compared by what is preferred.
pub(super) fn check(fields: &Fields<'_>, prefer: Prefer, choices: &[Choice], agents: &[Agent]) {
    if prefer != Prefer::Cheapest {
        return;
    }
    let weighted = choices.iter().filter(|choice| choice.weight > 0);
    let mut named = weighted.filter_map(|choice| agents.get(choice.agent.0));
    if let Some(agent) = named.find(|agent| agent.price.is_none()) {
        fields.fault(format!(
            "prefers the cheapest, and the agent {:?} has no price; write it, such as price: {{input: 0.15, output: 0.60}}",
            agent.name
        ));
    }
}
