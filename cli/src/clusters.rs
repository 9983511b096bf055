//! The clusters that Envoy's configuration defines, as far as they concern the filter.

use crate::yaml::Value;

/// What Envoy takes for these where nothing is written.
const DEFAULT_REQUESTS: u64 = 1024;
const DEFAULT_RETRIES: u64 = 3;
const DEFAULT_BUDGET_PERCENT: u64 = 20;

/// All clusters of a configuration.
pub(crate) struct Clusters {
    pub(crate) named: Vec<Cluster>,
    /// More may come while Envoy runs, so one that is not there may yet come.
    pub(crate) dynamic: bool,
}

/// One of them.
pub(crate) struct Cluster {
    pub(crate) name: String,
    /// The line of its thresholds, or of the cluster.
    pub(crate) line: usize,
    /// How many requests it takes at a time.
    pub(crate) requests: u64,
    /// How many of these may be retries.
    pub(crate) retries: u64,
}

impl Clusters {
    /// Those of all documents of a file.
    pub(crate) fn of(documents: &[Value]) -> Self {
        let mut clusters = Self {
            named: Vec::new(),
            dynamic: false,
        };
        for document in documents {
            let written = document
                .get("static_resources")
                .and_then(|resources| resources.get("clusters"));
            let written = written.into_iter().flat_map(Value::items);
            clusters.named.extend(written.filter_map(Cluster::read));
            let resources = document.get("dynamic_resources");
            clusters.dynamic |=
                resources.is_some_and(|resources| resources.get("cds_config").is_some());
        }
        clusters
    }

    /// The cluster of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Cluster> {
        self.named.iter().find(|cluster| cluster.name == name)
    }

    /// The names of all.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|cluster| cluster.name.as_str())
    }
}

impl Cluster {
    fn read(cluster: &Value) -> Option<Self> {
        let breakers = cluster.get("circuit_breakers");
        let thresholds = breakers.and_then(|breakers| breakers.get("thresholds"));
        let mut thresholds = thresholds.into_iter().flat_map(Value::items);
        let default = thresholds.find(|threshold| {
            let priority = threshold.get("priority").and_then(Value::text);
            priority.is_none_or(|priority| priority == "DEFAULT")
        });
        let field = |name: &str| default.and_then(|default| default.get(name));
        let requests = field("max_requests").and_then(whole);
        let requests = requests.unwrap_or(DEFAULT_REQUESTS);
        let retries = match field("retry_budget") {
            Some(budget) => share(budget, requests),
            None => field("max_retries")
                .and_then(whole)
                .unwrap_or(DEFAULT_RETRIES),
        };
        Some(Self {
            name: cluster.get("name")?.text()?.to_owned(),
            line: default.unwrap_or(cluster).line,
            requests,
            retries,
        })
    }
}

/// How many retries a budget leaves, of so many requests.
fn share(budget: &Value, requests: u64) -> u64 {
    let field = |name: &str| budget.get(name);
    let percent = field("budget_percent").and_then(|percent| whole(percent.get("value")?));
    let percent = percent.unwrap_or(DEFAULT_BUDGET_PERCENT);
    let least = field("min_retry_concurrency").and_then(whole);
    (requests.saturating_mul(percent) / 100).max(least.unwrap_or(DEFAULT_RETRIES))
}

fn whole(value: &Value) -> Option<u64> {
    value.node().whole()
}
