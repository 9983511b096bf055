//! Patches that match nothing, in a file that has other faults too. What is rendered of such a file may lack what it will have
//! once these are mended, so nothing is said against a patch that may be about that.

use waykeeper::config::{self, Policy};

use super::super::agents::OWN;
use super::super::{Checked, Gateway, Limiter, Upstream, render};
use super::{Change, In, Misfit, Patch};
use crate::yaml::{self, Value};

/// The smallest document that the filter takes. No name depends on what it says.
const STAND_IN: &str =
    "{agents: {a: {cluster: a}}, routes: [{prefix: /, agents: [a], auth_required: false}]}";

/// Filters that listeners have for some agents, and with what the routes for some agents begin.
const SOME_FILTERS: [&str; 2] = [
    "envoy.filters.http.header_to_metadata",
    "envoy.filters.http.stateful_session",
];
const SOME_ROUTES: [&str; 3] = ["sse-", "websocket-", "http-"];

/// A policy for what is rendered before the file's own is known.
pub(in super::super) fn stand_in() -> Option<Policy> {
    let document = yaml::parse(STAND_IN).ok()?;
    config::read_node(&document.first()?.node()).ok()
}

/// The misfits of a gateway in whose own fields there are faults; `document` is its file.
pub(in super::super) fn misfits(checked: &Checked, document: &Value) -> Vec<Misfit> {
    let mut partial = checked.clone();
    // Of one that is nowhere nothing can be rendered.
    partial.gateway.agents.retain(|agent| {
        let upstream = agent.upstream.as_ref();
        upstream.is_none_or(|it| !it.endpoints.is_empty())
    });
    if let Some(validator) = &partial.gateway.validator
        && validator.upstream.endpoints.is_empty()
    {
        partial.gateway.validator = None;
    }
    let limiter = partial.gateway.limiter.as_ref();
    let nowhere = |upstream: &Upstream| upstream.endpoints.is_empty();
    if limiter.and_then(Limiter::upstream).is_some_and(nowhere) {
        partial.gateway.limiter = None;
    }
    let mut misfits = render::misfits(&partial);
    misfits.retain(|misfit| {
        let patches = checked.gateway.patches.iter();
        let patch = patches.clone().find(|it| it.index == misfit.index);
        patch.is_none_or(|patch| !may_come(patch, misfit.field, &checked.gateway, document))
    });
    misfits
}

/// Whether what a field of a patch names may be there once the file has no faults.
fn may_come(patch: &Patch, field: &str, gateway: &Gateway, document: &Value) -> bool {
    let (of, name) = match (field, &patch.change) {
        ("listener", _) => (In::Listeners, patch.listener.as_deref()),
        ("name", Change::Merge(name, _)) => (patch.of, name.as_deref()),
        ("before" | "after", Change::Insert(_, beside, _)) => (patch.of, Some(beside.as_str())),
        _ => return false,
    };
    let Some(name) = name else {
        return false;
    };
    // Added by another patch, in which something is wrong.
    added(document).any(|other| other == name)
        || match of {
            In::Clusters => {
                let agents = document.get("agents").map_or(&[][..], Value::entries);
                let is_of = |agent: &str| {
                    let rest = name.strip_prefix(agent);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                name.starts_with(OWN) || agents.iter().any(|agent| is_of(&agent.name))
            }
            In::Listeners => {
                let listens = document.get("listen").map_or(&[][..], Value::items);
                let missing = gateway.listeners.len() < listens.len().max(1);
                missing && name.starts_with("gateway")
                    || name == "operations" && document.get("operations").is_some()
            }
            In::HttpFilters => SOME_FILTERS.contains(&name),
            In::Routes => SOME_ROUTES.iter().any(|begin| name.starts_with(begin)),
            _ => false,
        }
}

/// The names of all that is added, as they are written.
fn added(document: &Value) -> impl Iterator<Item = &str> {
    let patches = document.get("envoy").and_then(|it| it.get("patches"));
    let patches = patches.map_or(&[][..], Value::items).iter();
    patches.filter_map(|patch| patch.get("add")?.get("name")?.text())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::super::{Admin, Around, EnvoyVersion, read, render};
    use super::{SOME_FILTERS, SOME_ROUTES};
    use crate::yaml::{self, Value};

    /// The names of all filters and routes of a gateway with these agents.
    fn names(agents: &str) -> [BTreeSet<String>; 2] {
        let text = format!(
            "listen: [{{address: '127.0.0.1:8080'}}]\nsessions: {{keys: ['{}']}}\nagents: {{a: {{url: 'http://a'}}{agents}}}\n\
             routes: [{{prefix: /, agents: [a], auth_required: false}}]",
            "0".repeat(64)
        );
        let checked = read(&yaml::parse(&text).unwrap()[0]).unwrap();
        let around = Around {
            source: "",
            module: "",
            directory: "",
            admin: Admin::Loopback,
            builtin: None,
            envoy: EnvoyVersion::default(),
        };
        let envoy = yaml::parse(&render(&checked, around).unwrap().envoy).unwrap();
        ["http_filters", "routes"].map(|list| {
            let mut found = BTreeSet::new();
            look_for(list, &envoy[0], &mut found);
            found
        })
    }

    fn look_for(list: &str, value: &Value, found: &mut BTreeSet<String>) {
        let items = value.items_of(list).iter();
        found.extend(items.filter_map(|it| it.text_of("name")).map(str::to_owned));
        value.parts().for_each(|part| look_for(list, part, found));
    }

    #[test]
    fn all_that_only_some_agents_bring_is_known() {
        let [filters, routes] = names("");
        let [more_filters, more_routes] = names(
            ", b: {url: 'https://b', sticky: {header: mcp-session-id}}, c: {provider: vllm}, \
             d: {url: 'http://d/base', credential: {caller: x-mine}}, e: {url: 'https://e', credential: {env: X}}",
        );
        let own = "envoy.filters.http.upstream_codec";
        let of_listeners = |names: &BTreeSet<String>| names.iter().any(|it| it == "waykeeper");
        assert!(of_listeners(&filters) && routes.contains("http"));
        let brought: Vec<&String> = more_filters.difference(&filters).collect();
        for name in SOME_FILTERS {
            assert!(brought.iter().any(|it| *it == name), "{brought:?}");
        }
        // All others stand in clusters, which have a codec behind them.
        let in_clusters = ["lua", "credential_injector", "header_mutation"];
        let in_clusters = in_clusters.map(|name| format!("envoy.filters.http.{name}"));
        let ours = ["waykeeper.further", "waykeeper.host", "waykeeper.agent"];
        for name in brought {
            let known = SOME_FILTERS.contains(&name.as_str()) || name == own;
            let of_cluster = in_clusters.contains(name) || ours.contains(&name.as_str());
            assert!(known || of_cluster, "{name}");
        }
        let brought: Vec<&String> = more_routes.difference(&routes).collect();
        assert!(brought.len() > 3, "{brought:?}");
        for name in brought {
            assert!(SOME_ROUTES.iter().any(|it| name.starts_with(it)), "{name}");
        }
    }
}
