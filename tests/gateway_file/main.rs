//! What `waykeeper envoy` writes, in the real Envoy: each field of `gateway.yaml` has an effect that is seen from outside. The
//! files are used as they were written, but for the port of Envoy's admin interface, which every gateway on this machine
//! would want. And `waykeeper run`, which starts Envoy itself and follows the file. A start of Envoy takes a second, so tests
//! share one.

mod agents;
mod aws;
mod bases;
mod caller;
mod certificates;
mod checking;
mod credentials;
mod credentials_live;
mod ending;
mod following;
mod front;
mod full;
mod further;
mod gateway;
mod grpc;
mod istio;
mod listeners;
mod load;
mod mcp;
mod newcomer;
mod nowhere;
mod opening;
mod pages;
mod patches;
mod probing;
mod providers;
mod replica;
mod running;
mod sessions;
mod silent;
mod stand_in;
mod sticky;
mod sticky_live;
mod telling;

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

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a condition that is waited for may take on a busy machine before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` finds something.
async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A path in the repository that a target of the Makefile makes.
fn needed(path: &str, remedy: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let there = path.canonicalize();
    there.unwrap_or_else(|_| panic!("{} is missing: run `{remedy}`", path.display()))
}
