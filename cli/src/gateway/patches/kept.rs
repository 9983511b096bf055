//! What no patch may change, since the gateway would not be one without it, or a field of the file says it.

use super::In;

pub(super) const ROUTER: &str = "envoy.filters.http.router";

/// A field of Envoy's, and why it stays.
pub(super) struct Kept {
    /// From what is merged into, with points between.
    path: &'static str,
    pub(super) why: &'static str,
}

/// Filters that are not changed at all.
pub(super) const OWN_FILTERS: [(&str, &str); 2] = [
    ("waykeeper", "what it does the rest of this file says"),
    ("envoy.filters.http.header_to_metadata", CALLERS),
];

const CALLERS: &str = "it keeps callers' own credentials from those whom they are not for";
const NAMED: &str = "others name it";
const PATHS: &str = "the filter decides by the path that this makes";
const HOPS: &str = "say `trusted_hops` of the listener";
const CLUSTER: &str = "the filter's decision goes to Envoy by it";
const DECIDED: &str = "the filter decides what becomes of a request";
const OWN_ROUTES: &str = "its routes are changed with `in: virtual_host` and `in: routes`";

const BOOTSTRAP: &[Kept] = &[
    kept(
        "static_resources",
        "clusters and listeners are changed with `in: clusters` and `in: listeners`",
    ),
    kept(
        "dynamic_resources",
        "`waykeeper run` gives Envoy its parts by it",
    ),
    kept(
        "admin",
        "`waykeeper run` and `operations` reach Envoy there",
    ),
];
const CLUSTERS: &[Kept] = &[
    kept("name", NAMED),
    kept(
        "typed_extension_protocol_options.envoy.extensions.upstreams.http.v3.HttpProtocolOptions.http_filters",
        "an agent's base, credential and what it must not see are its filters' work",
    ),
];
const LISTENERS: &[Kept] = &[
    kept("name", NAMED),
    kept("address", "say it in `listen` or `operations`"),
    kept(
        "filter_chains",
        "what is in there is changed with `in: http_connection_manager`; certificates stand in `listen`",
    ),
    kept("default_filter_chain", "no connection goes by the gateway"),
];
const MANAGER: &[Kept] = &[
    kept("@type", "it is what it is"),
    kept("stat_prefix", "metrics and `waykeeper run` go by it"),
    kept("http_filters", "they are changed with `in: http_filters`"),
    kept("route_config", OWN_ROUTES),
    kept("rds", OWN_ROUTES),
    kept("scoped_routes", OWN_ROUTES),
    kept(
        "early_header_mutation_extensions",
        "no caller may write the headers by which the filter's decision goes to Envoy",
    ),
    kept("use_remote_address", HOPS),
    kept("xff_num_trusted_hops", HOPS),
    kept("original_ip_detection_extensions", HOPS),
    kept(
        "internal_address_config",
        "no caller may send Envoy's own headers",
    ),
    kept("normalize_path", PATHS),
    kept("merge_slashes", PATHS),
    kept("path_with_escaped_slashes_action", PATHS),
    kept("path_normalization_options", PATHS),
];
const HTTP_FILTERS: &[Kept] = &[
    kept("name", NAMED),
    kept("config_discovery", "add a filter of your own for that"),
    kept("typed_config.@type", "add a filter of your own for that"),
];
const VIRTUAL_HOST: &[Kept] = &[
    kept("typed_per_filter_config.waykeeper", DECIDED),
    kept(
        "typed_per_filter_config.envoy.filters.http.header_to_metadata",
        CALLERS,
    ),
    kept("name", NAMED),
    kept("domains", DECIDED),
    kept("routes", "they are changed with `in: routes`"),
    kept("matcher", DECIDED),
    kept(
        "request_headers_to_remove",
        "no agent is to see the headers by which the filter's decision goes to Envoy",
    ),
];
const ROUTES: &[Kept] = &[
    kept("typed_per_filter_config.waykeeper", DECIDED),
    kept(
        "typed_per_filter_config.envoy.filters.http.header_to_metadata",
        CALLERS,
    ),
    kept("name", NAMED),
    kept("match", DECIDED),
    kept("redirect", DECIDED),
    kept("direct_response", DECIDED),
    kept("filter_action", DECIDED),
    kept("non_forwarding_action", DECIDED),
    kept("route.cluster_header", CLUSTER),
    kept("route.cluster", CLUSTER),
    kept("route.weighted_clusters", CLUSTER),
    kept("route.cluster_specifier_plugin", CLUSTER),
    kept("route.inline_cluster_specifier_plugin", CLUSTER),
    kept("route.timeout", "say `timeout` of a route of this file"),
];

pub(super) const fn of(place: In) -> &'static [Kept] {
    match place {
        In::Bootstrap => BOOTSTRAP,
        In::Clusters => CLUSTERS,
        In::Listeners => LISTENERS,
        In::Manager => MANAGER,
        In::HttpFilters => HTTP_FILTERS,
        In::AccessLog => &[],
        In::VirtualHost => VIRTUAL_HOST,
        In::Routes => ROUTES,
    }
}

/// Envoy takes `routeConfig` for `route_config`.
fn as_here(path: &str) -> String {
    let mut written = String::with_capacity(path.len());
    for character in path.chars() {
        // Types are called so; fields are not, and none begins with a capital.
        if character.is_ascii_uppercase()
            && written.ends_with(|it: char| it.is_ascii_lowercase() || it.is_ascii_digit())
        {
            written.push('_');
            written.push(character.to_ascii_lowercase());
        } else {
            written.push(character);
        }
    }
    written
}

const fn kept(path: &'static str, why: &'static str) -> Kept {
    Kept { path, why }
}

// === impl Kept ===

impl Kept {
    /// Whether what is written at `path` changes it; one that is no mapping takes the place of all that is in there.
    pub(super) fn is_touched(&self, path: &str, is_map: bool) -> bool {
        let (kept, path) = (as_here(self.path), as_here(path));
        let rest = kept.strip_prefix(path.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') && !is_map)
    }
}
