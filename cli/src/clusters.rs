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
                .field("static_resources")
                .map_or(&[][..], |resources| resources.items_of("clusters"));
            let written = written.iter().filter_map(Cluster::read);
            clusters.named.extend(written);
            let resources = document.field("dynamic_resources");
            clusters.dynamic |=
                resources.is_some_and(|resources| resources.field("cds_config").is_some());
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
        let breakers = cluster.field("circuit_breakers");
        let thresholds = breakers.map_or(&[][..], |breakers| breakers.items_of("thresholds"));
        let default = thresholds.iter().find(|threshold| {
            let priority = threshold.field("priority");
            priority.is_none_or(|priority| priority.is_one("DEFAULT", 0))
        });
        let field = |name: &str| default.and_then(|default| default.field(name));
        let requests = field("max_requests").and_then(Value::whole);
        let requests = requests.unwrap_or(DEFAULT_REQUESTS);
        let retries = match field("retry_budget") {
            Some(budget) => share(budget, requests),
            None => field("max_retries")
                .and_then(Value::whole)
                .unwrap_or(DEFAULT_RETRIES),
        };
        Some(Self {
            name: cluster.text_of("name")?.to_owned(),
            line: default.unwrap_or(cluster).line,
            requests,
            retries,
        })
    }
}

/// How many retries a budget leaves, of so many requests.
fn share(budget: &Value, requests: u64) -> u64 {
    let field = |name: &str| budget.field(name);
    let percent = field("budget_percent").and_then(|percent| percent.field("value")?.whole());
    let percent = percent.unwrap_or(DEFAULT_BUDGET_PERCENT);
    let least = field("min_retry_concurrency").and_then(Value::whole);
    (requests.saturating_mul(percent) / 100).max(least.unwrap_or(DEFAULT_RETRIES))
}
