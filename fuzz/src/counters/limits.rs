//! The limits of the runs: whom each is counted for, and the document that says so.

use serde_json::{Value, json};

use crate::model::{Algorithm, Rate};
use crate::worker::keys;

pub(super) const ROUTES: [&str; 3] = ["/a", "/b", "/c"];

/// Limits, and whom each is counted for.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) plan: Option<Rate>,
    /// Of the route `/b`.
    pub(super) route: Option<Rate>,
    pub(super) named: &'static [(&'static str, Each, Rate)],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Each {
    Address,
    Client,
    Route,
    All,
}

pub(super) const LIMITS: [Limits; 10] = [
    Limits {
        plan: Some(Rate::new(10, "second", 10)),
        route: None,
        named: &[],
    },
    Limits {
        plan: Some(Rate::new(3, "second", 3)),
        route: Some(Rate::new(2, "second", 2)),
        named: &[],
    },
    Limits {
        plan: Some(Rate::new(4, "second", 6)),
        route: None,
        named: &[
            ("everyone", Each::All, Rate::new(2, "second", 5)),
            ("per-route", Each::Route, Rate::new(3, "second", 4)),
        ],
    },
    Limits {
        plan: Some(Rate::new(3, "second", 3)),
        route: None,
        named: &[
            ("per-address", Each::Address, Rate::new(5, "minute", 5)),
            ("everyone", Each::All, Rate::new(7, "minute", 7)),
        ],
    },
    Limits {
        plan: Some(Rate::new(5, "day", 5)),
        route: Some(Rate::new(7, "hour", 3)),
        named: &[("per-client", Each::Client, Rate::new(2, "second", 2))],
    },
    Limits {
        plan: Some(Rate::new(1000, "second", 10)),
        route: None,
        named: &[],
    },
    Limits {
        plan: Some(Rate::new(5, "second", 5)),
        route: Some(Rate::new(9, "day", 9)),
        named: &[
            ("per-route", Each::Route, Rate::new(90, "minute", 9)),
            ("per-client", Each::Client, Rate::new(8, "day", 8)),
        ],
    },
    Limits {
        plan: Some(Rate::sliding(4, "second")),
        route: None,
        named: &[("everyone", Each::All, Rate::fixed(6, "minute"))],
    },
    Limits {
        plan: Some(Rate::fixed(3, "second")),
        route: Some(Rate::sliding(5, "minute")),
        named: &[("per-address", Each::Address, Rate::sliding(6, "second"))],
    },
    Limits {
        plan: Some(Rate::new(4, "second", 6)),
        route: None,
        named: &[
            ("per-client", Each::Client, Rate::fixed(7, "day")),
            ("per-route", Each::Route, Rate::sliding(9, "hour")),
        ],
    },
];

pub(super) fn document(limits: &Limits, clients: usize) -> Value {
    let keys = keys(clients);
    let routes: Vec<_> = ROUTES
        .iter()
        .map(|prefix| {
            let mut route = json!({ "prefix": prefix, "agents": ["a"] });
            if let Some(rate) = limits.route.filter(|_| *prefix == "/b") {
                route["rate_limit"] = written(rate);
            }
            route
        })
        .collect();
    let named: Vec<_> = limits
        .named
        .iter()
        .map(|(name, each, rate)| {
            let mut limit = written(*rate);
            limit["name"] = (*name).into();
            limit["each"] = match each {
                Each::Address => "address".into(),
                Each::Client => "client".into(),
                Each::Route => "route".into(),
                Each::All => json!([]),
            };
            limit
        })
        .collect();
    json!({
        "clients": { "key_sources": [{ "header": "x-api-key" }], "keys": keys },
        "plans": { "plan": limits.plan.map_or_else(|| json!({}), written) },
        "limits": named,
        "agents": { "a": { "cluster": "a" } },
        "routes": routes,
        "tables": { "keys": 1024, "counters": 1024 },
    })
}

fn written(rate: Rate) -> Value {
    let requests = format!("{}/{}", rate.quantity, rate.unit);
    match rate.algorithm {
        Algorithm::Bucket => json!({ "requests": requests, "burst": rate.burst }),
        Algorithm::Sliding => json!({ "requests": requests, "algorithm": "sliding_window" }),
        Algorithm::Fixed => json!({ "requests": requests, "algorithm": "fixed_window" }),
    }
}
