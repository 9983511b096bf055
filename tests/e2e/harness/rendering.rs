//! Which rendering of the demo's gateway a world starts with: that for plain Envoy, or what Istio makes of the manifests.
//! Both are written out of one file, so the same tests hold for both, but for those that the Makefile names.

use serde_json::{Value, json};
use waykeeper_demo::stack::AUTH_CLUSTER;

use crate::generated;
use crate::harness::Draft;
use crate::manifests::Manifests;
use crate::patch::{EnvoyFilter, apply};
use crate::render;

/// Says so: `istio`, or unset for plain Envoy's.
const CHOICE: &str = "WAYKEEPER_RENDERING";

/// Puts the rendering that is chosen into a draft of plain Envoy's.
pub(super) fn install(draft: &mut Draft) {
    match std::env::var(CHOICE).as_deref() {
        Err(_) => {}
        Ok("istio") => install_istio(draft),
        Ok(other) => panic!("{CHOICE} is {other:?}; istio is the only one beside the usual"),
    }
}

fn install_istio(draft: &mut Draft) {
    let manifests = Manifests::of(".");
    let mut generated = generated::gateway(&manifests);
    let filters = manifests.of_kind("EnvoyFilter").into_iter();
    let filters: Result<Vec<_>, _> = filters.map(EnvoyFilter::from_manifest).collect();
    let unused = apply(&filters.expect("patches"), &mut generated).expect("patches");
    assert_eq!(unused, [""; 0], "each patch finds what it is for");
    let access_log = draft.connection_manager()["access_log"].take();
    render::install(draft, &generated, None);
    // Istio's access log is its operators' choice, and its statistics have names of their own; the tests look for these.
    let manager = draft.connection_manager();
    manager["access_log"] = access_log;
    manager["stat_prefix"] = json!("gateway");
    let agents = draft.configuration()["agents"].clone();
    let agents = agents.as_object().expect("agents").keys();
    for name in agents.map(String::as_str).chain([AUTH_CLUSTER]) {
        draft.cluster(name)["alt_stat_name"] = json!(name);
    }
    // Some tests have callouts made to the validator by the name that plain Envoy's cluster of it has.
    let auth = draft.services.auth().address();
    draft.add_cluster(AUTH_CLUSTER, &[auth]);
}

/// The cluster that a world calls by an agent's name.
pub(super) fn cluster_of(configuration: &Value, name: &str) -> String {
    let cluster = configuration["agents"][name]["cluster"].as_str();
    let validator = || match name {
        AUTH_CLUSTER => configuration["clients"]["validator"]["cluster"].as_str(),
        _ => None,
    };
    cluster.or_else(validator).unwrap_or(name).to_owned()
}
