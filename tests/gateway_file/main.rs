//! What `waykeeper envoy` writes, in the real Envoy: each field of `gateway.yaml` has an effect that is seen from outside. The
//! files are used as they were written, but for the port of Envoy's admin interface, which every gateway on this machine
//! would want. And `waykeeper run`, which starts Envoy itself and follows the file. A start of Envoy takes a second, so tests
//! share one.

mod a2a;
mod agents;
mod alike;
mod always;
mod answerer;
mod asking;
mod aws;
mod bases;
mod busy;
mod caller;
mod certificates;
mod checking;
mod composites;
mod credentials;
mod credentials_live;
mod crowded;
mod ending;
mod envoy_limiters;
mod explained;
mod fallback;
mod fleet;
mod following;
mod front;
mod full;
mod further;
mod gateway;
mod growing;
mod grpc;
mod ill;
mod istio;
mod istio_agents;
mod listeners;
mod lists;
mod load;
mod mcp;
mod mirror;
mod newcomer;
mod nowhere;
mod opening;
mod pages;
mod patches;
mod picker;
mod picker_stand_in;
mod probing;
mod providers;
mod proxied;
mod renamed;
mod replica;
mod restart;
mod resting;
mod running;
mod sees;
mod sessions;
mod several;
#[path = "../shared.rs"]
mod shared;
mod silent;
mod sockets;
mod stand_in;
mod sticky;
mod sticky_live;
mod telling;
mod tracing;
mod under_istio;

/// What Istio makes of the manifests.
macro_rules! of_istio {
    ($($name:ident $path:literal)*) => {$(
        #[allow(dead_code, reason = "made for the tests of istio/, of which these need a part")]
        #[path = $path]
        mod $name;
    )*};
}
of_istio! {
    clusters "../istio/clusters.rs"
    generated "../istio/generated.rs"
    manifests "../istio/manifests.rs"
    merge "../istio/merge.rs"
    patch "../istio/patch.rs"
    resources "../istio/resources.rs"
    schema "../istio/schema.rs"
}
mod versions;

use shared::{PATIENCE, eventually, needed};
