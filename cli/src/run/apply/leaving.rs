//! Clusters that no configuration names any more, and that may still be asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::Instant;

use super::super::files::in_pattern;
use super::super::health::hosts;
use super::{Applied, Refused};
use crate::gateway::{Parts, stat_name};

/// A request that is tried again is sent within so much time.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// A cluster that is gone from the file and may still be asked.
#[derive(Debug, Clone)]
pub(super) struct Leaving {
    pub(super) cluster: Json,
    /// By then nothing waits that was decided on by the former configuration.
    from: Instant,
    /// By then no request to it can be tried again.
    until: Instant,
    /// Since when nothing is under way to it.
    idle: Option<Instant>,
}

/// For how long a former configuration is remembered by requests.
#[derive(Debug, Clone, Copy)]
pub(in crate::run) struct Waits {
    /// Those that wait for a decision.
    pub(in crate::run) undecided: Duration,
    /// Those that may be tried again.
    pub(in crate::run) tried: Duration,
}

// === impl Applied ===

impl Applied {
    /// Clusters that are live or leave already, and are not in the new ones: they stay for a while.
    pub(super) fn leaving_after(&self, new: &Parts, waits: Waits) -> BTreeMap<String, Leaving> {
        let now = Instant::now();
        let (clusters, leaving) = match &self.live {
            Some(live) => (&live.parts.clusters, &live.leaving),
            None => (&self.parts.clusters, &self.leaving),
        };
        let live = clusters.iter().map(|(name, cluster)| {
            let leaving = Leaving {
                cluster: cluster.clone(),
                from: now + waits.undecided,
                until: now + waits.undecided + waits.tried,
                idle: None,
            };
            (name.clone(), leaving)
        });
        let leaving = leaving.iter().map(|(name, it)| (name.clone(), it.clone()));
        live.chain(leaving)
            .filter(|(name, _)| !new.clusters.contains_key(name))
            .collect()
    }

    /// Counts the time of those that leave from now on: the new configuration has just become live.
    pub(super) fn count_from_now(&mut self, waits: Waits) {
        let now = Instant::now();
        for leaving in self.leaving.values_mut() {
            leaving.from = leaving.from.max(now + waits.undecided);
            leaving.until = leaving.from + waits.tried;
        }
    }

    /// Lets those clusters go whose time has come.
    ///
    /// # Errors
    /// If Envoy refuses that.
    pub(in crate::run) async fn let_go(&mut self) -> Result<Vec<String>, Refused> {
        let now = Instant::now();
        let due: Vec<String> = self
            .leaving
            .iter()
            .filter(|(_, leaving)| leaving.from <= now)
            .map(|(name, _)| name.clone())
            .collect();
        let mut gone = Vec::new();
        for name in due {
            let busy = self.requests_under_way(&name).await != Some(0);
            let Some(leaving) = self.leaving.get_mut(&name) else {
                continue;
            };
            leaving.idle = if busy {
                None
            } else {
                leaving.idle.or(Some(now))
            };
            // One that waits for its next try is under way nowhere for a moment.
            let idle = leaving
                .idle
                .is_some_and(|since| now.duration_since(since) >= BETWEEN_TRIES);
            if idle || leaving.until <= now {
                self.leaving.remove(&name);
                gone.push(name);
            }
        }
        if !gone.is_empty() {
            let parts = self.parts.clone();
            self.write_clusters(&parts).await?;
        }
        Ok(gone)
    }

    /// The clusters that are on their way out.
    pub(in crate::run) fn leaving_clusters(&self) -> BTreeSet<String> {
        self.leaving.keys().cloned().collect()
    }

    pub(super) async fn requests_under_way(&self, cluster: &str) -> Option<u64> {
        let name = in_pattern(&stat_name(cluster));
        let pattern = format!("^cluster\\.{name}\\.upstream_rq_(active|pending_active)$");
        let counted = self.admin.sum(&pattern).await.ok()?;
        let same = |other: &String| other != cluster && stat_name(other) == stat_name(cluster);
        let others = self.parts.clusters.keys().chain(self.leaving.keys());
        if counted == 0 || !others.into_iter().any(same) {
            return Some(counted);
        }
        // The agent's other clusters are counted under the same name; each host is under its own.
        let name = cluster.to_owned();
        let all = hosts(&self.admin, std::iter::once(&name)).await?;
        let hosts = all.get(cluster).into_iter().flatten();
        let stats = hosts.filter_map(|host| host.get("stats")?.as_array());
        let active = stats.flatten().filter(|stat| {
            let name = stat.get("name").and_then(Json::as_str);
            name == Some("rq_active")
        });
        let active = active.filter_map(|stat| stat.get("value")?.as_str()?.parse::<u64>().ok());
        Some(active.sum())
    }
}
