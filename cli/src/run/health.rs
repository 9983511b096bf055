//! What an operator should know of the agents while the gateway runs: each trouble once, in words, with what helps; and its
//! end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::admin::Admin;
use super::say;
use crate::gateway::{Gateway, Upstream, stat_name};
use crate::probe;

/// How long a host may take to say what is wrong with it.
const ASKED: Duration = Duration::from_secs(2);
/// So many hosts are named.
const NAMED: usize = 3;

/// What is known of the agents.
#[derive(Debug, Default)]
pub(super) struct Health {
    clusters: BTreeMap<String, State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u64,
    /// At the last look; what lasts for two is told.
    seen: Trouble,
    told: Trouble,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Trouble {
    #[default]
    None,
    /// Its name leads nowhere.
    NoHost,
    /// So many of its hosts are left out.
    Unwell { out: u64, of: u64 },
    /// Connections to it fail, and there are no others.
    Unreachable,
}

/// What Envoy counts of a cluster.
#[derive(Debug, Default)]
struct Counts {
    healthy: u64,
    total: u64,
    failures: u64,
    connections: u64,
}

impl Health {
    /// Looks at all of them, and tells what is new.
    pub(super) async fn look(&mut self, admin: &Admin, gateway: &Gateway) {
        const PATTERN: &str = "^cluster\\..*\\.(membership_healthy|membership_total|upstream_cx_connect_fail|upstream_cx_active)$";
        // Envoy that does not answer is busy, or ends, which is told elsewhere.
        let Ok(stats) = admin.stats(PATTERN).await else {
            return;
        };
        let mut counts: BTreeMap<&str, Counts> = BTreeMap::new();
        for (name, value) in &stats {
            let parted = name
                .strip_prefix("cluster.")
                .and_then(|it| it.rsplit_once('.'));
            let (Some((cluster, what)), Ok(value)) = (parted, value.parse()) else {
                continue;
            };
            let counts = counts.entry(cluster).or_default();
            match what {
                "membership_healthy" => counts.healthy = value,
                "membership_total" => counts.total = value,
                "upstream_cx_connect_fail" => counts.failures = value,
                _ => counts.connections = value,
            }
        }
        let watched = watched(gateway);
        self.clusters.retain(|name, _| watched.contains_key(name));
        let mut news = Vec::new();
        for (cluster, (called, upstream)) in watched {
            let Some(counts) = counts.get(stat_name(&cluster).as_str()) else {
                continue;
            };
            let state = self.clusters.entry(cluster.clone()).or_default();
            let seen = state.trouble(counts);
            let lasts = seen == state.seen;
            state.seen = seen;
            if lasts && seen != state.told {
                state.told = seen;
                news.push((cluster, called, upstream, seen));
            }
        }
        if news.is_empty() {
            return;
        }
        // The whole list, which may be long: only if there is something to say.
        let hosts = admin
            .json("/clusters?format=json")
            .await
            .unwrap_or_default();
        for (cluster, called, upstream, trouble) in news {
            let out = left_out(&hosts, &cluster);
            say(&described(&called, upstream, trouble, &out).await);
        }
    }
}

impl State {
    fn trouble(&mut self, counts: &Counts) -> Trouble {
        let failed = counts.failures > self.failures;
        self.failures = counts.failures;
        if counts.total == 0 {
            Trouble::NoHost
        } else if counts.healthy < counts.total {
            Trouble::Unwell {
                out: counts.total - counts.healthy,
                of: counts.total,
            }
        } else if counts.connections == 0 && (failed || self.seen == Trouble::Unreachable) {
            Trouble::Unreachable
        } else {
            Trouble::None
        }
    }
}

/// The clusters that are made of the file, and what people call them.
fn watched(gateway: &Gateway) -> BTreeMap<String, (String, &Upstream)> {
    let agents = gateway.agents.iter().filter_map(|agent| {
        let upstream = agent.upstream.as_ref()?;
        let called = format!("agent {}", agent.name);
        Some((agent.cluster.clone(), (called, upstream)))
    });
    let validator = gateway.validator.as_ref();
    let validator = validator.map(|(_, upstream)| {
        (
            "waykeeper/validator".to_owned(),
            ("the validator".to_owned(), upstream),
        )
    });
    agents.chain(validator).collect()
}

/// Addresses of hosts that get nothing, and whether that is since they failed to answer about their health.
fn left_out(clusters: &Json, cluster: &str) -> Vec<(String, bool)> {
    let list = |tree: &Json, field: &str| {
        let items = tree.get(field).and_then(Json::as_array);
        items.cloned().unwrap_or_default()
    };
    let statuses = list(clusters, "cluster_statuses");
    let found = statuses
        .iter()
        .find(|it| it.get("name").is_some_and(|name| name == cluster));
    let hosts = found
        .map(|it| list(it, "host_statuses"))
        .unwrap_or_default();
    let out = hosts.iter().filter_map(|host| {
        let health = host.get("health_status")?;
        let flag = |name: &str| health.get(name).and_then(Json::as_bool).unwrap_or(false);
        let asked = flag("failed_active_health_check");
        if !asked && !flag("failed_outlier_check") {
            return None;
        }
        let socket = host.pointer("/address/socket_address")?;
        let address = socket.get("address")?.as_str()?;
        let port = socket.get("port_value")?;
        let address = match address.contains(':') {
            true => format!("[{address}]:{port}"),
            false => format!("{address}:{port}"),
        };
        Some((address, asked))
    });
    out.collect()
}

async fn described(
    called: &str,
    upstream: &Upstream,
    trouble: Trouble,
    out: &[(String, bool)],
) -> String {
    let urls: Vec<String> = upstream
        .endpoints
        .iter()
        .map(|it| it.url.to_string())
        .collect();
    let urls = urls.join(", ");
    match trouble {
        Trouble::None => format!("{called}: all is well again"),
        Trouble::NoHost => format!(
            "{called}: no address is known for {urls}; requests for it are answered 503. See whether the name is right, and \
             whether DNS knows it here"
        ),
        Trouble::Unreachable => format!(
            "{called}: connections to {urls} fail; requests for it are answered 503. See whether it runs and listens there, and \
             whether a firewall lets connections by"
        ),
        Trouble::Unwell { out: count, of } => {
            let consequence = if count < of {
                "the others get its requests"
            } else {
                "requests for it are answered 503"
            };
            let named: Vec<&str> = out.iter().take(NAMED).map(|(it, _)| it.as_str()).collect();
            let named = named.join(", ");
            let asked = out.iter().find(|(_, asked)| *asked);
            let why = match (asked, &upstream.health) {
                (Some((address, _)), Some(health)) => {
                    let said = ask(upstream, address, &health.path).await;
                    format!(
                        "{said}, not 200 within its time. Let `health` name a path that answers 200, or leave `health` out"
                    )
                }
                _ => "they refused connections, or answered 502, 503 or 504, many times in a row; they are tried again \
                      after a while"
                    .to_owned(),
            };
            format!("{called}: {count} of {of} hosts ({named}) left out; {consequence}. {why}")
        }
    }
}

/// What a host answers to the question about its health, if it can be asked from here.
async fn ask(upstream: &Upstream, address: &str, path: &str) -> String {
    let question = format!("GET {path}");
    if upstream.tls.is_some() {
        return format!("{question} was answered something else");
    }
    let url = format!("http://{address}{path}");
    let asked = tokio::task::spawn_blocking(move || {
        let url: probe::Url = url.parse().ok()?;
        Some(probe::ask(&url, Instant::now() + ASKED).map_err(|error| error.to_string()))
    });
    match asked.await {
        Ok(Some(Ok(status))) => format!("{question} is answered {status}"),
        Ok(Some(Err(error))) => format!("{question}: {error}"),
        _ => format!("{question} was answered something else"),
    }
}
