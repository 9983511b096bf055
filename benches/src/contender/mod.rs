//! The ways to put a gateway in front of an agent, each started with the same agent, validator and limit, so that one
//! can be measured against another and seen to do its work.

mod callgrind;
mod envoy;
mod filters;
mod probe;
mod tools;
mod tutorial;
mod waykeeper;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Error;
use crate::cores::Cores;
use crate::exchange::get;
use crate::process::Process;

use envoy::{Filters, Routing};

pub use envoy::Starting;
pub use probe::{Probe, TIMES};
pub use tools::Tools;
pub use waykeeper::{Limits, OWN_NAME, Settings};

/// Clients that contenders know which must be told of each beforehand.
pub const LISTED_CLIENTS: u64 = 100;

/// A path that each contender passes on; the last part is the agent's to read.
pub const PATH: &str = "/v1/route-137/chat";

/// A way to put a gateway in front of an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Contender {
    /// Envoy, and nothing in it.
    Bare,
    /// A Wasm module without any stream callback.
    Empty,
    /// The least that a Wasm module must do to do the work.
    Floor,
    /// All that Waykeeper does for a request by contract, by hand.
    EqualFloor,
    /// Envoy's own `api_key_auth` and `local_ratelimit`.
    Native,
    /// A Lua filter.
    Lua,
    /// Envoy's `ext_authz`, over HTTP to a server that answers at once.
    Authorizer,
    /// The same, and `local_ratelimit` behind it.
    AuthorizerLimited,
    /// Envoy's `json_to_metadata`, and a route by the model that it finds.
    Metadata,
    /// Waykeeper.
    Waykeeper(Settings),
    /// A module that makes one call, and does no work.
    Probe(Probe),
    /// FastAPI and httpx.
    Tutorial,
}

/// How many requests a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// More than are ever sent: one in 864 µs, and a hundred million at once.
    Unreached,
    /// So many at once, refilled over an hour.
    AnHour(u32),
}

/// Who answers a request that a contender lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Envoy itself, by a direct response: what then takes time is the contender.
    Direct,
    /// A server.
    Agent(SocketAddr),
}

/// Where a contender is started, and what is around it.
#[derive(Clone, Debug)]
pub struct Site<'a> {
    /// The programs and files.
    pub tools: &'a Tools,
    /// Which core does what.
    pub cores: &'a Cores,
    /// The contender's own.
    pub on: &'a [usize],
    /// Envoy's workers.
    pub workers: u32,
    /// Who answers.
    pub target: Target,
    /// The validator and authorizer.
    pub authority: SocketAddr,
    /// How many requests each client has.
    pub limit: Limit,
    /// True if instructions are to be counted, which makes Envoy some fifty times slower.
    pub counted: bool,
}

/// A running contender. Dropping it ends it.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    address: SocketAddr,
    /// Where its files are.
    directory: TempDir,
}

// === impl Contender ===

impl Contender {
    /// Waykeeper as most will have it: one limit, one route.
    #[must_use]
    pub fn waykeeper() -> Self {
        Self::Waykeeper(Settings::default())
    }

    /// Waykeeper with three limits and 200 routes.
    #[must_use]
    pub fn waykeeper_large() -> Self {
        Self::Waykeeper(Settings {
            limits: Limits::Three,
            routes: 200,
            ..Settings::default()
        })
    }

    /// True if it refuses who has no key or has used up the limit.
    #[must_use]
    pub fn guards(&self) -> bool {
        !matches!(
            self,
            Self::Bare | Self::Empty | Self::Metadata | Self::Probe(_)
        )
    }

    /// True if it counts each client's requests.
    #[must_use]
    pub fn limits(&self) -> bool {
        self.guards() && *self != Self::Authorizer
    }

    /// True if it tells the agent who calls.
    #[must_use]
    pub fn identifies(&self) -> bool {
        self.guards()
    }
}

// === impl Limit ===

impl Limit {
    /// The quantity and the seconds over which it is refilled.
    fn quantity(self) -> (u32, u32) {
        match self {
            Self::Unreached => (100_000_000, 86_400),
            Self::AnHour(requests) => (requests, 3_600),
        }
    }
}

// === impl Site ===

impl Site<'_> {
    /// Starts a contender and waits until it serves.
    ///
    /// # Errors
    /// If it does not, with its log.
    pub fn start(&self, contender: &Contender) -> Result<Gateway, Error> {
        match contender {
            Contender::Tutorial => tutorial::start(self),
            _ => self.launch(contender, 0)?.serving(),
        }
    }

    /// Starts Envoy with a contender in it, listening on `port` (0: any free one), and waits for nothing.
    ///
    /// # Errors
    /// If it cannot be started, or the contender is none that runs in Envoy.
    pub fn launch(&self, contender: &Contender, port: u16) -> Result<Starting, Error> {
        let directory = run_directory()?;
        let filters = self.filters(contender, directory.path())?;
        let routing = match contender {
            Contender::Floor | Contender::EqualFloor | Contender::Waykeeper(_) => Routing::Steered,
            Contender::Metadata => Routing::ByModel,
            _ => Routing::Plain,
        };
        let attempts = match contender {
            Contender::Waykeeper(settings) if settings.judges_attempts => {
                filters.first().map(waykeeper::attempts)
            }
            _ => None,
        };
        envoy::start(
            self,
            Filters { filters, attempts },
            routing,
            port,
            directory,
        )
    }

    fn filters(
        &self,
        contender: &Contender,
        directory: &Path,
    ) -> Result<Vec<serde_json::Value>, Error> {
        Ok(match contender {
            Contender::Bare => Vec::new(),
            Contender::Empty => {
                vec![filters::wasm(&self.tools.empty_module(directory)?, "")]
            }
            Contender::Floor => vec![filters::floor(&self.tools.floor()?, self.limit)],
            Contender::EqualFloor => {
                vec![filters::floor(&self.tools.equal_floor()?, self.limit)]
            }
            Contender::Native => vec![filters::api_keys(), filters::local_limit(self.limit)],
            Contender::Lua => vec![filters::lua(&self.tools.read("gateway.lua")?, self.limit)],
            Contender::Authorizer => vec![filters::authorizer()],
            Contender::AuthorizerLimited => {
                vec![filters::authorizer(), filters::local_limit(self.limit)]
            }
            Contender::Metadata => vec![filters::json_to_metadata()],
            Contender::Waykeeper(settings) => {
                vec![waykeeper::filter(self.tools, settings, self.limit)?]
            }
            Contender::Probe(probe) => vec![filters::wasm(&probe.module(directory)?, "")],
            Contender::Tutorial => {
                return Err(Error::new("the tutorial's gateway does not run in Envoy"));
            }
        })
    }
}

// === impl Gateway ===

impl Gateway {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process that does the work.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The instructions that `work` takes, if the gateway was started to have them counted.
    ///
    /// # Errors
    /// If `work` fails, or callgrind does not tell.
    pub fn instructions(&self, work: impl FnOnce() -> Result<(), Error>) -> Result<u64, Error> {
        callgrind::count(&self.process, self.directory.path(), work)
    }

    /// The lines of Envoy's statistics that name what is asked for.
    ///
    /// # Errors
    /// If Envoy does not answer, or it is none.
    pub fn statistics(&self, name: &str) -> Result<String, Error> {
        let admin = envoy::admin(self.directory.path())?;
        let all = get(admin, "/stats", &[])?.body;
        let lines = all.lines().filter(|line| line.contains(name));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    /// All it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(self.directory.path())
    }
}

fn run_directory() -> Result<TempDir, Error> {
    tempfile::Builder::new()
        .prefix("waykeeper-bench-")
        .tempdir()
        .map_err(|error| Error::at(std::env::temp_dir(), error))
}

fn log_path(directory: &Path) -> PathBuf {
    directory.join("log")
}

/// A log as far as it can be read: it is only ever shown to people.
fn read_log(directory: &Path) -> String {
    std::fs::read_to_string(log_path(directory)).unwrap_or_else(|error| format!("({error})"))
}
