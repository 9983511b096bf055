//! Envoy around a contender: one listener, the contender's filters, the router, and no more. It is leaner than the
//! reference configuration in `envoy/` (no access log, no CORS, no health checks), so that what a contender adds is
//! not lost among what all have.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::filters::NOTES;
use super::{Gateway, Site, Target, callgrind, log_path, read_log};
use crate::Error;
use crate::chat::MODEL;
use crate::exchange::get;
use crate::process::Process;

/// The clusters that contenders may name.
pub(super) const AGENT: &str = "upstream";
pub(super) const AUTHORITY: &str = "authority";

/// From its start until it serves: long enough for a busy machine to compile the module.
const PATIENCE: Duration = Duration::from_secs(60);
/// And with its instructions counted, which takes fifty times as long.
const LONG_PATIENCE: Duration = Duration::from_secs(1_500);
const POLL: Duration = Duration::from_millis(5);

/// What says where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Routing {
    /// Nothing: all go to the same place.
    Plain,
    /// Headers that the filter sets, as Waykeeper does.
    Steered,
    /// The model that a filter has noted. Those that ask for another one than is measured are refused.
    ByModel,
}

/// An Envoy that may not serve yet.
#[derive(Debug)]
pub struct Starting {
    started: Instant,
    process: Process,
    directory: TempDir,
    patience: Duration,
}

/// The contender's part of Envoy's configuration.
pub(super) struct Filters {
    pub(super) filters: Vec<Value>,
    /// On the agent's side.
    pub(super) attempts: Option<Value>,
}

/// Starts Envoy with `filters`.
pub(super) fn start(
    site: &Site<'_>,
    filters: Filters,
    routing: Routing,
    port: u16,
    directory: TempDir,
) -> Result<Starting, Error> {
    let configuration = directory.path().join("envoy.json");
    let text = bootstrap(site, filters, routing, port).to_string();
    std::fs::write(&configuration, text).map_err(|error| Error::at(&configuration, error))?;
    let log = log_path(directory.path());
    let log = File::create(&log).map_err(|error| Error::at(&log, error))?;
    let envoy = site.tools.envoy()?;
    let (mut command, patience) = if site.counted {
        let command = callgrind::command(&envoy, directory.path());
        (command, LONG_PATIENCE)
    } else {
        (Command::new(envoy), PATIENCE)
    };
    command
        .arg("--config-path")
        .arg(&configuration)
        .arg("--admin-address-path")
        .arg(directory.path().join("admin"))
        .args(["--concurrency", &site.workers.to_string()])
        .args(["--disable-hot-restart", "--log-level", "warning"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Ok(Starting {
        started: Instant::now(),
        process: Process::start(&mut command, site.on, site.cores)?,
        directory,
        patience,
    })
}

impl Starting {
    /// Waits until Envoy serves.
    ///
    /// # Errors
    /// If it ends or takes too long, with its log.
    pub fn serving(mut self) -> Result<Gateway, Error> {
        let deadline = Instant::now() + self.patience;
        loop {
            let missing = match self.address() {
                Ok(address) => return Ok(self.at(address)),
                Err(missing) => missing,
            };
            let ended = self.process.ended();
            if ended.is_some() || Instant::now() >= deadline {
                let how = ended.map_or_else(|| missing.to_string(), |status| status.to_string());
                let log = read_log(self.directory.path());
                return Err(Error::new(format!("envoy does not serve ({how}):\n{log}")));
            }
            std::thread::sleep(POLL);
        }
    }

    /// When the process was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// How it ended, if it has, and its log.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.process.ended()?;
        Some(format!("{status}\n{}", read_log(self.directory.path())))
    }

    /// Takes it for serving at `address`, which the caller has seen.
    #[must_use]
    pub fn at(self, address: SocketAddr) -> Gateway {
        Gateway {
            process: self.process,
            address,
            directory: self.directory,
        }
    }

    /// The listener's address, once it accepts connections.
    fn address(&self) -> Result<SocketAddr, Error> {
        let odd = |what: &str| Error::new(format!("envoy's admin interface: {what}"));
        let admin = admin(self.directory.path())?;
        if get(admin, "/ready", &[])?.status != 200 {
            return Err(odd("not ready"));
        }
        let listeners = get(admin, "/listeners?format=json", &[])?.body;
        let listeners: Value =
            serde_json::from_str(&listeners).map_err(|error| odd(&error.to_string()))?;
        let port = listeners
            .pointer("/listener_statuses/0/local_address/socket_address/port_value")
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| odd("no listener"))?;
        Ok(SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

/// Where the admin interface of the Envoy in `directory` listens.
pub(super) fn admin(directory: &Path) -> Result<SocketAddr, Error> {
    let path = directory.join("admin");
    let address = std::fs::read_to_string(&path).map_err(|error| Error::at(&path, error))?;
    let address = address.trim();
    address.parse().map_err(|error| Error::at(&path, error))
}

fn bootstrap(site: &Site<'_>, filters: Filters, routing: Routing, port: u16) -> Value {
    let Filters {
        mut filters,
        attempts,
    } = filters;
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }));
    // Where the authority answers instead of an agent, nobody asks this cluster.
    let agent = match site.target {
        Target::Direct => site.authority,
        Target::Agent(address) => address,
    };
    let mut of_agent = cluster(AGENT, agent);
    if let Some(attempts) = attempts {
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        of_agent["typed_extension_protocol_options"][options] = json!({
            "@type": format!("type.googleapis.com/{options}"),
            "explicit_http_config": {"http_protocol_options": {}},
            "http_filters": [attempts, {
                "name": "envoy.filters.http.upstream_codec",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"},
            }],
        });
    }
    json!({
        "node": {"id": "bench", "cluster": "bench"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [{
                "name": "gateway",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": "gateway",
                        "use_remote_address": true,
                        "normalize_path": true,
                        "merge_slashes": true,
                        "http_filters": filters,
                        "route_config": {
                            "name": "gateway",
                            "virtual_hosts": [{
                                "name": "gateway",
                                "domains": ["*"],
                                "routes": routes(site.target, routing),
                            }],
                        },
                    },
                }]}],
            }],
            "clusters": [of_agent, cluster(AUTHORITY, site.authority)],
        },
    })
}

fn routes(target: Target, routing: Routing) -> Value {
    let answer = match (target, routing) {
        (Target::Direct, _) => json!({"direct_response": {
            "status": 200,
            "body": {"inline_string": "{\"ok\":true}"},
        }}),
        (Target::Agent(_), Routing::Steered) => {
            json!({"route": {"cluster_header": "x-waykeeper-cluster", "timeout": "300s"}})
        }
        (Target::Agent(_), _) => json!({"route": {"cluster": AGENT, "timeout": "300s"}}),
    };
    let route = |matched: Value, answer: &Value| {
        let mut route = answer.clone();
        route["match"] = matched;
        route
    };
    let any = json!({"prefix": "/"});
    // As the reference configuration has it: a request that nobody has decided on goes nowhere.
    let undecided = || route(any.clone(), &json!({"direct_response": {"status": 503}}));
    if routing == Routing::Steered {
        let decided = json!({
            "prefix": "/",
            "headers": [{"name": "x-waykeeper-cluster", "present_match": true}],
        });
        let streaming = json!({
            "prefix": "/",
            "headers": [{"name": "x-waykeeper-kind", "string_match": {"exact": "sse"}}],
        });
        json!([
            route(streaming, &answer),
            route(decided, &answer),
            undecided(),
        ])
    } else if routing == Routing::ByModel {
        let of_model = json!({
            "prefix": "/",
            "dynamic_metadata": [{
                "filter": NOTES,
                "path": [{"key": "model"}],
                "value": {"string_match": {"exact": MODEL}},
            }],
        });
        json!([route(of_model, &answer), undecided()])
    } else {
        json!([route(any, &answer)])
    }
}

fn cluster(name: &str, address: SocketAddr) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                "address": address.ip().to_string(),
                "port_value": address.port(),
            }}}}]}],
        },
    })
}
