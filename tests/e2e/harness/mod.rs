//! A world for a test: Envoy with the reference configuration and the filter in it, the auth service and the five
//! agents behind it. A test says what is special about its world, sends requests, and looks at what came back, what
//! was counted and what was logged. Envoy's log is shown when a test fails, and only then.
//!
//! ```ignore
//! let world = World::with(|draft| draft.configuration()["plans"]["standard"] = json!({"requests": "3/hour"})).await;
//! let answer = world.get("/api/v1/memory/notes").key("demo-standard").send().await;
//! assert_eq!(answer.status, 200);
//! ```

mod client;
mod crowd;
mod grpc;
mod memory;
mod metrics;
mod page;
mod puppet;
mod python;
mod rendering;
mod shape;
#[path = "../../shared.rs"]
mod shared;

pub(crate) use client::{Answer, Arriving, RawAnswer, Request, Upload};
pub(crate) use crowd::{Arrived, Crowd, allow_connections, now};
pub(crate) use grpc::{GrpcCall, GrpcReply, GrpcServer};
pub(crate) use memory::{holders, linear_memories};
pub(crate) use metrics::Metrics;
pub(crate) use page::visit;
pub(crate) use puppet::{Exchange, Puppet};
pub(crate) use python::python;
pub(crate) use shape::Shape;
pub(crate) use shared::{PATIENCE, eventually, free_address, needed, repository, signal_to};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use waykeeper_demo::agent::Agent;
use waykeeper_demo::auth::{Auth, Keys};
use waykeeper_demo::gateway::{FilterFile, Gateway, Reloads, Setup, StartError};
use waykeeper_demo::stack::{AUTH_CLUSTER, Services};

/// The world of one test.
pub(crate) struct World {
    // Dropped first, so that Envoy is gone before the services are.
    gateway: Gateway,
    services: Services,
    filter: FilterFile,
}

/// A world that is not started yet: the services run, Envoy does not.
pub(crate) struct Draft {
    /// What Envoy will be started with; the services' addresses are in it already.
    pub(crate) setup: Setup,
    /// The services.
    pub(crate) services: Services,
}

impl World {
    /// The reference as it stands.
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// The reference with changes.
    pub(crate) async fn with(change: impl FnOnce(&mut Draft)) -> Self {
        let world = Self::try_with(change)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(world.reloads().await.refused, 0, "the configuration");
        world
    }

    /// The reference with changes under which Envoy may not start.
    pub(crate) async fn try_with(change: impl FnOnce(&mut Draft)) -> Result<Self, StartError> {
        let mut draft = Draft::new().await;
        change(&mut draft);
        let Draft { setup, services } = draft;
        let filter = setup.filter.clone();
        let gateway = setup.start().await?;
        Ok(Self {
            gateway,
            services,
            filter,
        })
    }

    /// Where the gateway listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// The Envoy process, its admin interface and its logs.
    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The validator: its faults, its keys and what it was asked.
    pub(crate) fn auth(&self) -> &Auth {
        self.services.auth()
    }

    /// An agent: its health and what arrived at it.
    pub(crate) fn agent(&self, name: &str) -> &Agent {
        self.services.agent(name).expect("an agent of this name")
    }

    /// Ends Envoy in order: requests under way have `grace` to finish.
    pub(crate) async fn drain(&mut self, grace: Duration) {
        self.gateway.drain(grace).await;
    }

    /// A request to the gateway that a test goes on to describe.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self.address(), method, path)
    }

    /// As [`Self::request`], with GET.
    pub(crate) fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// As [`Self::request`], with POST and a small JSON body.
    pub(crate) fn post(&self, path: &str) -> Request {
        self.request("POST", path)
            .header("content-type", "application/json")
            .body(r#"{"model":"demo","messages":[{"role":"user","content":"Hello"}]}"#)
    }

    /// A request to the operators' listener.
    pub(crate) fn operations(&self, method: &str, path: &str) -> Request {
        Request::new(self.gateway.operations(), method, path)
    }

    /// Sends bytes as they are, and reads the first response or until the connection ends.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> RawAnswer {
        client::raw(self.address(), bytes.as_ref()).await
    }

    /// What a scraper of the operators' listener sees now.
    pub(crate) async fn metrics(&self) -> Metrics {
        let answer = self.operations("GET", "/stats/prometheus").send().await;
        assert_eq!(answer.status, 200, "metrics: {answer:?}");
        Metrics::parse(&answer.text())
    }

    /// The access log's line about a request, by the id that its response carries, once it is written.
    pub(crate) async fn access_log(&self, answer: &Answer) -> Value {
        let id = answer.header("x-request-id").expect("no x-request-id");
        self.access_log_of(id).await
    }

    /// As [`Self::access_log`], by the id.
    pub(crate) async fn access_log_of(&self, id: &str) -> Value {
        let line = || {
            self.gateway
                .access_log()
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|line| line["request_id"] == id)
        };
        eventually("the access log's line", || async { line() }).await
    }

    /// Changes the filter's configuration while Envoy runs, and waits until Envoy has taken it.
    pub(crate) async fn reconfigure(&mut self, change: impl FnOnce(&mut Value)) {
        assert!(self.offer(change).await, "the configuration is refused");
    }

    /// Changes the filter's configuration while Envoy runs, waits until Envoy has judged, and says whether it has taken it.
    /// If not, the next change starts from the one before.
    pub(crate) async fn offer(&mut self, change: impl FnOnce(&mut Value)) -> bool {
        let before = self.reloads().await;
        let mut filter = self.filter.clone();
        change(filter.configuration_mut().expect("a configuration"));
        self.gateway.reconfigure(&filter).expect("write");
        let after = eventually("the reload", || async {
            let now = self.reloads().await;
            (now != before).then_some(now)
        })
        .await;
        let taken = after.taken > before.taken;
        if taken {
            self.filter = filter;
        }
        taken
    }

    /// The file by which Envoy was given the filter's configuration last.
    pub(crate) fn filter(&self) -> &FilterFile {
        &self.filter
    }

    async fn reloads(&self) -> Reloads {
        self.gateway.admin().reloads().await.expect("reloads")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- envoy's log\n{}", self.gateway.envoy_log());
            eprintln!("--- access log\n{}", self.gateway.access_log());
        }
    }
}

impl Draft {
    async fn new() -> Self {
        let services = Services::start(Keys::demo()).await.expect("services");
        let (program, reference) = envoy();
        let module = needed("target/waykeeper.wasm", "make build");
        let mut setup = Setup::reference(&reference, &program, &module).expect("the reference");
        services.connect(&mut setup.bootstrap).expect("clusters");
        // Histograms show what was measured only after a flush.
        setup.bootstrap.document_mut()["stats_flush_interval"] = json!("0.1s");
        setup.arguments = [
            "--log-level",
            "warning",
            "--component-log-level",
            "wasm:info,misc:error",
            "--file-flush-interval-msec",
            "10",
            "--drain-time-s",
            "2",
        ]
        .map(str::to_owned)
        .to_vec();
        let mut draft = Self { setup, services };
        rendering::install(&mut draft);
        draft
    }

    /// The filter's configuration, to be edited in place.
    pub(crate) fn configuration(&mut self) -> &mut Value {
        self.setup.filter.configuration_mut().expect("the filter")
    }

    /// The route of this prefix in the filter's configuration, to be edited in place.
    pub(crate) fn route(&mut self, prefix: &str) -> &mut Value {
        self.routes()
            .iter_mut()
            .find(|route| route["prefix"] == prefix)
            .expect("a route of this prefix")
    }

    /// All routes of the filter's configuration.
    pub(crate) fn routes(&mut self) -> &mut Vec<Value> {
        self.configuration()["routes"]
            .as_array_mut()
            .expect("a list of routes")
    }

    /// The configuration of the gateway's HTTP connection manager, to be edited in place.
    pub(crate) fn connection_manager(&mut self) -> &mut Value {
        self.setup
            .bootstrap
            .connection_manager_mut("gateway")
            .expect("the gateway")
    }

    /// A cluster of Envoy's, to be edited in place: an agent's by the agent's name.
    pub(crate) fn cluster(&mut self, name: &str) -> &mut Value {
        let name = rendering::cluster_of(self.configuration(), name);
        let found = self.setup.bootstrap.cluster_mut(&name);
        found.expect("the cluster")
    }

    /// Has a cluster of Envoy's lead to whatever is healthy at these addresses.
    pub(crate) fn lead(&mut self, cluster: &str, addresses: &[SocketAddr]) {
        let name = rendering::cluster_of(self.configuration(), cluster);
        let led = self.setup.bootstrap.set_endpoints(&name, addresses);
        led.expect("the cluster");
    }

    /// Adds a cluster like the validator's, at these addresses.
    pub(crate) fn add_cluster(&mut self, name: &str, addresses: &[SocketAddr]) {
        let like = rendering::cluster_of(self.configuration(), AUTH_CLUSTER);
        let added = self.setup.bootstrap.add_cluster(name, &like, addresses);
        added.expect("the cluster");
    }

    /// Has a cluster of Envoy's lead to whatever listens at these addresses, healthy or not.
    pub(crate) fn connect(&mut self, cluster: &str, addresses: &[SocketAddr]) {
        self.lead(cluster, addresses);
        self.cluster(cluster)["health_checks"] = json!([]);
    }

    /// How many worker threads Envoy has; one unless said.
    pub(crate) fn workers(&mut self, number: u32) {
        self.setup.concurrency = number;
    }
}

/// The Envoy to test with, and the reference for it: the pinned one, unless `make test-versions` names another.
fn envoy() -> (PathBuf, PathBuf) {
    match std::env::var("WAYKEEPER_TEST_ENVOY") {
        Ok(version) => (
            needed(
                &format!(".tools/envoy-{version}/envoy/_bin/envoy"),
                "make test-tools",
            ),
            needed(&format!("target/envoy-{version}"), "make test-versions"),
        ),
        Err(_) => (needed(".tools/envoy", "make tools"), repository("envoy")),
    }
}
