//! What an operator should know of the agents while the gateway runs: each trouble once, in words, with what helps; and its
//! end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::admin::Admin;
use super::files::in_pattern;
use super::say;
use super::telling::{News, Telling};
use crate::gateway::{Checked, Gateway, Host, Upstream, Whom, stat_name};

/// What answers nothing of use is asked about that no sooner again, unless something is wrong with it.
const QUIET: Duration = Duration::from_secs(30);
/// So many agents are asked at a time what is wrong with them.
const AT_ONCE: usize = 32;
/// So many clusters are asked for by their names; of more the whole list is read.
const ASKED_FOR: usize = 100;

/// What is known of the agents.
#[derive(Debug)]
pub(super) struct Health {
    /// By their names in statistics: those of an agent that is changed go on.
    clusters: BTreeMap<String, State>,
    asking: Arc<Semaphore>,
    /// By which clusters it was looked whether they have hosts; those that are not ready are looked at again.
    looked: Option<u64>,
    warming: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct State {
    /// As the file describes it.
    of: Option<Upstream>,
    /// That was changed since the operator was told of it.
    changed: bool,
    failures: u64,
    broken: u64,
    good: u64,
    /// That it was made anew without any host, and how often its hosts had changed by then. Until they do, Envoy's gauges go on
    /// showing those of the cluster before it.
    empty: Option<u64>,
    /// At the last look; what lasts for two is told.
    seen: Trouble,
    told: Trouble,
    /// What is being found out of it, to be told.
    telling: Option<Telling>,
    /// Whether the operator knows of a trouble.
    known: bool,
    /// When it was found that nothing is wrong with it after all.
    quiet: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Trouble {
    #[default]
    None,
    /// Its name leads nowhere.
    NoHost,
    /// So many of its hosts are left out.
    Unwell { out: u64, of: u64 },
    /// Connections to it fail, and there are no others.
    Unreachable,
    /// It takes connections, and breaks them off or answers with what is no HTTP; nothing else has come since.
    Useless,
}

/// What Envoy counts of a cluster.
#[derive(Debug, Default)]
struct Counts {
    healthy: u64,
    total: u64,
    failures: u64,
    connections: u64,
    /// How often an exchange came to nothing over a connection.
    broken: u64,
    /// How many answers were no fault of the host's.
    good: u64,
    /// How often its hosts have changed.
    changes: u64,
    /// Whether it is not used yet: one before it may be in its place.
    warming: u64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            clusters: BTreeMap::new(),
            asking: Arc::new(Semaphore::new(AT_ONCE)),
            looked: None,
            warming: BTreeSet::new(),
        }
    }
}

impl Health {
    /// Looks at all of them, and has told what is new; nobody waits for what has to be found out for that. `clusters` is another
    /// number whenever Envoy was given clusters.
    pub(super) async fn look(&mut self, admin: &Admin, checked: &Checked, clusters: u64) {
        const PATTERN: &str = "^cluster\\..*\\.(membership_healthy|membership_total|membership_change|upstream_cx_connect_fail|upstream_cx_active|upstream_cx_protocol_error|upstream_cx_destroy_remote_with_active_rq|upstream_rq_[1-4]xx|warming_state)$";
        // Envoy that does not answer is busy, or ends, which is told elsewhere.
        let Ok(stats) = admin.stats(PATTERN).await else {
            return;
        };
        let counts = counts(&stats);
        let watched = watched(&checked.gateway);
        let kept: BTreeSet<String> = watched.keys().map(|name| stat_name(name)).collect();
        self.clusters.retain(|name, _| kept.contains(name));
        let of = |cluster: &str| counts.get(stat_name(cluster).as_str());
        self.look_for_hosts(admin, &watched, clusters, of).await;
        let mut news = Vec::new();
        for (cluster, (whom, upstream)) in watched {
            let Some(counts) = of(&cluster) else {
                continue;
            };
            let state = self.clusters.entry(stat_name(&cluster)).or_default();
            if let Some((trouble, doubtful)) = state.look(counts, upstream) {
                let new = News {
                    whom,
                    upstream: upstream.clone(),
                    trouble,
                    out: Vec::new(),
                    environment: checked.environment.clone(),
                    doubtful,
                };
                news.push((cluster, new));
            }
        }
        let hosts = hosts(admin, news.iter().map(|(cluster, _)| cluster)).await;
        for (cluster, mut new) in news {
            let Some(state) = self.clusters.get_mut(&stat_name(&cluster)) else {
                continue;
            };
            // What was to be told before that is over.
            state.telling = None;
            if new.trouble == Trouble::None {
                if std::mem::take(&mut state.known) {
                    say(&format!("{}: all is well again", new.whom));
                }
                continue;
            }
            let hosts = hosts.as_ref().and_then(|it| it.get(&cluster));
            new.out = hosts.map(|it| left_out(it)).unwrap_or_default();
            // The gauges are a former cluster's too, as long as that is there; the list is not.
            let of_former = match new.trouble {
                Trouble::Unwell { .. } => hosts.is_some() && new.out.is_empty(),
                Trouble::NoHost => hosts.is_some_and(|it| !it.is_empty()),
                Trouble::None | Trouble::Unreachable | Trouble::Useless => false,
            };
            if of_former {
                if !state.known {
                    state.told = Trouble::None;
                }
                continue;
            }
            state.telling = Some(Telling::begin(new, Arc::clone(&self.asking)));
        }
    }

    /// Looks which clusters that were made anew have no host. Of those whose hosts have names only the list tells: the gauges keep
    /// what they were until a name is found.
    async fn look_for_hosts<'c>(
        &mut self,
        admin: &Admin,
        watched: &BTreeMap<String, (Whom, &Upstream)>,
        clusters: u64,
        counts: impl Fn(&str) -> Option<&'c Counts>,
    ) {
        let again = std::mem::take(&mut self.warming);
        let anew = self.looked != Some(clusters);
        let (named, by_address): (Vec<_>, Vec<_>) = watched.iter().partition(|(_, it)| {
            let mut endpoints = it.1.endpoints.iter();
            endpoints.any(|it| matches!(it.url.host, Host::Name(_)))
        });
        for (name, _) in by_address {
            // What it was before may have had a name.
            if let Some(state) = self.clusters.get_mut(&stat_name(name)) {
                state.empty = None;
            }
        }
        let by_name = named
            .into_iter()
            .map(|(name, _)| name.clone())
            .filter(|name| anew || again.contains(name));
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
    /// What is new, and whether that is only worth to be told if something is found to be wrong.
    fn look(&mut self, counts: &Counts, upstream: &Upstream) -> Option<(Trouble, bool)> {
        self.hear();
        let other = self.of.as_ref() != Some(upstream);
        if other {
            self.changed = self.of.is_some() && self.told != Trouble::None;
            self.of = Some(upstream.clone());
        }
        let seen = self.trouble(counts);
        let lasts = seen == self.seen && !other;
        self.seen = seen;
        let anew = self.changed && seen != Trouble::None;
        if !lasts || (seen == self.told && !anew) {
            return None;
        }
        self.told = seen;
        let changed = std::mem::take(&mut self.changed);
        // Nobody need have asked what it is now.
        let of_before = changed && seen == Trouble::Unreachable;
        Some((seen, of_before || seen == Trouble::Useless))
    }

    /// What has become of what was to be told.
    fn hear(&mut self) {
        let Some(told) = self.telling.as_ref().and_then(Telling::ended) else {
            return;
        };
        self.telling = None;
        self.known |= told;
        if !told {
            self.quiet = Some(Instant::now());
        }
        if !self.known {
            (self.seen, self.told) = (Trouble::None, Trouble::None);
        }
    }

    fn trouble(&mut self, counts: &Counts) -> Trouble {
        let failed = counts.failures > self.failures;
        let answered = counts.good > self.good;
        let quiet = self.quiet.is_some_and(|it| it.elapsed() < QUIET);
        let broken = counts.broken > self.broken && !quiet;
        self.failures = counts.failures;
        self.good = counts.good;
        self.broken = counts.broken;
        if counts.total == 0 || self.empty == Some(counts.changes) {
            Trouble::NoHost
        } else if counts.healthy < counts.total {
            Trouble::Unwell {
                out: counts.total - counts.healthy,
                of: counts.total,
            }
        } else if counts.connections == 0 && (failed || self.seen == Trouble::Unreachable) {
            Trouble::Unreachable
        } else if !answered && (broken || self.seen == Trouble::Useless) {
            Trouble::Useless
        } else {
            Trouble::None
        }
    }
}

/// The clusters that are made of the file, and what people call them.
fn watched(gateway: &Gateway) -> BTreeMap<String, (Whom, &Upstream)> {
    let upstreams = gateway.upstreams();
    let watched = upstreams.map(|(cluster, whom, upstream)| (cluster.clone(), (whom, upstream)));
    watched.collect()
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
            "upstream_cx_active" => counts.connections = value,
            "upstream_cx_protocol_error" | "upstream_cx_destroy_remote_with_active_rq" => {
                counts.broken += value;
            }
            "warming_state" => counts.warming = value,
            // Of one kind of status.
            _ => counts.good += value,
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
