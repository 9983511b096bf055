//! Envoy's connection managers that the filter stands in: what they make of the caller's address.

use crate::find::{speaks_of_us, type_of};
use crate::yaml::Value;

/// What a cluster has filters in, which agents' requests go through behind any connection manager.
const OF_CLUSTERS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// A connection manager.
pub(crate) struct Manager {
    /// How many entries of x-forwarded-for it trusts beside the connection's own address; none where an extension decides.
    pub(crate) hops: Option<u64>,
    /// Where that is written, or the manager begins.
    pub(crate) line_of_hops: usize,
    /// Whether it appends the connection's address to x-forwarded-for.
    pub(crate) appends: bool,
    /// Where that is written, or the manager begins.
    pub(crate) line_of_appends: usize,
    /// Whether it takes the last entry of x-forwarded-for for the caller, whoever wrote it.
    pub(crate) believes: bool,
    /// Where it is told not to, or the manager begins.
    pub(crate) line_of_remote: usize,
}

/// All of them in a file.
pub(crate) fn managers(documents: &[Value]) -> Vec<Manager> {
    let mut found = Vec::new();
    for document in documents {
        look_into(document, &mut found);
    }
    found
}

fn look_into(value: &Value, found: &mut Vec<Manager>) {
    let has_us = value.items_of("http_filters").iter().any(speaks_of_us);
    if has_us && type_of(value) != Some(OF_CLUSTERS) {
        found.push(Manager::read(value));
    }
    value.parts().for_each(|part| look_into(part, found));
}

impl Manager {
    fn read(manager: &Value) -> Self {
        let (remote, skip) = (
            manager.field("use_remote_address"),
            manager.field("skip_xff_append"),
        );
        let skips = skip.filter(|flag| flag.is_true());
        let hops = manager.field("xff_num_trusted_hops");
        let extended = manager.field("original_ip_detection_extensions").is_some();
        let number = || hops.map_or(Some(0), Value::whole);
        Self {
            hops: number().filter(|_| !extended),
            line_of_hops: hops.unwrap_or(manager).line,
            appends: remote.is_some_and(Value::is_true) && skips.is_none(),
            line_of_appends: skips.or(remote).unwrap_or(manager).line,
            believes: !remote.is_some_and(Value::is_true) && !extended,
            line_of_remote: remote.unwrap_or(manager).line,
        }
    }
}
