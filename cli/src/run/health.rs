//! What an operator should know of the agents while the gateway runs: each trouble once, in words, with what helps; and its
//! end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value as Json;

use super::admin::Admin;
use super::files::in_pattern;
use super::say;
use crate::gateway::{Gateway, Host, Upstream, stat_name};
use crate::{probe, reach};

/// How long a host may take to say what is wrong with it.
const ASKED: Duration = Duration::from_secs(2);
/// So many hosts are named.
const NAMED: usize = 3;
/// So many clusters are asked for by their names; of more the whole list is read.
const ASKED_FOR: usize = 100;

/// What is known of the agents.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// By their names in statistics: those of an agent that is changed go on.
    clusters: BTreeMap<String, State>,
    /// By which clusters it was looked whether they have hosts; those that are not ready are looked at again.
    looked: Option<u64>,
    warming: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct State {
    failures: u64,
    /// That it was made anew without any host, and how often its hosts had changed by then. Until they do, Envoy's gauges go on
    /// showing those of the cluster before it.
    empty: Option<u64>,
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
    /// How often its hosts have changed.
    changes: u64,
    /// Whether it is not used yet: one before it may be in its place.
    warming: u64,
}

impl Health {
    /// Looks at all of them, and tells what is new. `clusters` is another number whenever Envoy was given clusters.
    pub(super) async fn look(&mut self, admin: &Admin, gateway: &Gateway, clusters: u64) {
        const PATTERN: &str = "^cluster\\..*\\.(membership_healthy|membership_total|membership_change|upstream_cx_connect_fail|upstream_cx_active|warming_state)$";
        // Envoy that does not answer is busy, or ends, which is told elsewhere.
        let Ok(stats) = admin.stats(PATTERN).await else {
            return;
        };
        let counts = counts(&stats);
        let watched = watched(gateway);
        let kept: BTreeSet<String> = watched.keys().map(|name| stat_name(name)).collect();
        self.clusters.retain(|name, _| kept.contains(name));
        let of = |cluster: &str| counts.get(stat_name(cluster).as_str());
        self.look_for_hosts(admin, &watched, clusters, of).await;
        let mut news = Vec::new();
        for (cluster, (called, upstream)) in watched {
            let Some(counts) = of(&cluster) else {
                continue;
            };
            let state = self.clusters.entry(stat_name(&cluster)).or_default();
            let seen = state.trouble(counts);
            let lasts = seen == state.seen;
            state.seen = seen;
            if lasts && seen != state.told {
                let before = std::mem::replace(&mut state.told, seen);
                news.push((cluster, called, upstream, seen, before));
            }
        }
        if news.is_empty() {
            return;
        }
        let hosts = hosts(admin, news.iter().map(|(cluster, ..)| cluster)).await;
        for (cluster, called, upstream, trouble, before) in news {
            let hosts = hosts.as_ref().and_then(|it| it.get(&cluster));
            let out = hosts.map(|it| left_out(it)).unwrap_or_default();
            // The gauges are a former cluster's too, as long as that is there; the list is not.
            let of_former = match trouble {
                Trouble::Unwell { .. } => hosts.is_some() && out.is_empty(),
                Trouble::NoHost => hosts.is_some_and(|it| !it.is_empty()),
                Trouble::None | Trouble::Unreachable => false,
            };
            if of_former {
                let state = self.clusters.entry(stat_name(&cluster)).or_default();
                state.told = before;
                continue;
            }
            say(&described(&called, upstream, trouble, &out).await);
        }
    }

    /// Looks which clusters that were made anew have no host. Of those whose hosts have names only the list tells: the gauges keep
    /// what they were until a name is found.
    async fn look_for_hosts<'c>(
        &mut self,
        admin: &Admin,
        watched: &BTreeMap<String, (String, &Upstream)>,
        clusters: u64,
        counts: impl Fn(&str) -> Option<&'c Counts>,
    ) {
        let again = std::mem::take(&mut self.warming);
        let anew = self.looked != Some(clusters);
        let by_name = watched
            .iter()
            .filter(|(name, (_, upstream))| {
                let mut endpoints = upstream.endpoints.iter();
                let named = endpoints.any(|it| matches!(it.url.host, Host::Name(_)));
                named && (anew || again.contains(*name))
            })
            .map(|(name, _)| name.clone());
        let by_name: Vec<String> = by_name.collect();
        let Some(hosts) = hosts(admin, by_name.iter()).await else {
            self.warming = again;
            return;
        };
        self.looked = Some(clusters);
        for name in by_name {
            let Some(counts) = counts(&name) else {
                continue;
            };
            if counts.warming > 0 {
                self.warming.insert(name.clone());
            }
            let empty = hosts.get(&name).is_some_and(Vec::is_empty);
            let state = self.clusters.entry(stat_name(&name)).or_default();
            state.empty = empty.then_some(counts.changes);
        }
    }
}

impl State {
    fn trouble(&mut self, counts: &Counts) -> Trouble {
        let failed = counts.failures > self.failures;
        self.failures = counts.failures;
        if counts.total == 0 || self.empty == Some(counts.changes) {
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

/// What Envoy counts, by the clusters' names in statistics.
fn counts(stats: &BTreeMap<String, String>) -> BTreeMap<&str, Counts> {
    let mut all: BTreeMap<&str, Counts> = BTreeMap::new();
    for (name, value) in stats {
        let parted = name
            .strip_prefix("cluster.")
            .and_then(|it| it.rsplit_once('.'));
        let (Some((cluster, what)), Ok(value)) = (parted, value.parse()) else {
            continue;
        };
        let counts = all.entry(cluster).or_default();
        match what {
            "membership_healthy" => counts.healthy = value,
            "membership_total" => counts.total = value,
            "membership_change" => counts.changes = value,
            "upstream_cx_connect_fail" => counts.failures = value,
            "warming_state" => counts.warming = value,
            _ => counts.connections = value,
        }
    }
    all
}

/// The hosts that Envoy has of some clusters; of others too where it cannot be asked for some. None if it does not answer.
pub(super) async fn hosts(
    admin: &Admin,
    names: impl ExactSizeIterator<Item = &String>,
) -> Option<BTreeMap<String, Vec<Json>>> {
    let filter = match names.len() {
        0 => return Some(BTreeMap::new()),
        // Envoy takes no longer lines; up to 1.38 it knows no filter.
        ASKED_FOR.. => String::new(),
        _ => {
            let names: Vec<String> = names.map(|name| in_pattern(name)).collect();
            format!("&filter=^({})$", names.join("|"))
        }
    };
    let path = format!("/clusters?format=json{filter}");
    let Json::Object(mut all) = admin.json(&path).await.ok()? else {
        return None;
    };
    // An empty list is left out.
    let list = |tree: &mut serde_json::Map<String, Json>, field: &str| match tree.remove(field) {
        Some(Json::Array(items)) => items,
        _ => Vec::new(),
    };
    let clusters = list(&mut all, "cluster_statuses").into_iter();
    let hosts = clusters.filter_map(|cluster| {
        let Json::Object(mut cluster) = cluster else {
            return None;
        };
        let name = cluster.get("name")?.as_str()?.to_owned();
        Some((name, list(&mut cluster, "host_statuses")))
    });
    Some(hosts.collect())
}

/// Addresses of hosts that get nothing, and whether that is since they failed to answer about their health.
fn left_out(hosts: &[Json]) -> Vec<(String, bool)> {
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
            "{called}: no address is known for {urls}; requests for it are answered 503. {}",
            looked_up(upstream).await
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

/// Why Envoy knows no address, as far as that is seen from here.
async fn looked_up(upstream: &Upstream) -> String {
    let mut known = Vec::new();
    for endpoint in &upstream.endpoints {
        match reach::addresses(endpoint).await {
            Ok(found) => known.extend(found.iter().map(|it| it.ip().to_string())),
            Err(wrong) => {
                return format!(
                    "{}. See whether the name is right, and whether DNS knows it here; it is looked up again and again",
                    capitalized(&wrong)
                );
            }
        }
    }
    format!(
        "This machine finds {}, and Envoy does not, which asks the name servers of /etc/resolv.conf itself: see whether they know \
         the name; it is looked up again and again",
        known.join(", ")
    )
}

/// As it begins a sentence.
fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|it| it.to_ascii_uppercase());
    first.into_iter().chain(rest).collect()
}

/// What a host answers to the question about its health, if it can be asked from here.
async fn ask(upstream: &Upstream, address: &str, path: &str) -> String {
    let question = format!("GET {path}");
    if upstream.tls.is_some() {
        return format!("{question} was answered something else");
    }
    let url = format!("http://{address}{path}");
    let Ok(url) = url.parse() else {
        return format!("{question} was answered something else");
    };
    match probe::ask(&url, ASKED).await {
        Ok(status) => format!("{question} is answered {status}"),
        Err(error) => format!("{question}: {error}"),
    }
}
