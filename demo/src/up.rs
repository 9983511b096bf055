//! `waykeeper-demo up`: the whole stack on this machine. It starts the services and Envoy, says what one can try once a
//! real request came through, follows the configuration file while it runs, and leaves nothing behind when it ends.

mod follow;
mod probe;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use self::follow::Followed;
use self::probe::{PROBE_KEY, PROBE_PATH, probe};
use crate::auth::Keys;
use crate::gateway::{Gateway, Setup, StartError};
use crate::serving::ListenError;
use crate::stack::{AGENTS, AUTH_SERVICE, Services};

/// How often the configuration file is looked at.
const FOLLOW: Duration = Duration::from_millis(500);

/// How long requests under way may take when the stack ends.
const GRACE: Duration = Duration::from_secs(5);

/// How often a condition that is waited for is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of the reference configuration.
    pub configuration: PathBuf,
    /// The Envoy program.
    pub envoy: PathBuf,
    /// The filter's module.
    pub module: PathBuf,
    /// The auth service's keys; the demo's own if none are named.
    pub keys: Option<PathBuf>,
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// Where Envoy's admin interface listens.
    pub admin: SocketAddr,
    /// Where metrics and readiness are served.
    pub operations: SocketAddr,
    /// Envoy's worker threads.
    pub concurrency: u32,
}

/// Why the stack does not run: one message for whoever started it.
#[derive(Debug)]
pub enum UpError {
    /// Something is not there.
    Missing {
        /// What.
        path: PathBuf,
        /// What brings it.
        remedy: &'static str,
    },
    /// An address cannot be listened on.
    Address {
        /// Which.
        address: SocketAddr,
        /// The option that names another one.
        option: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The key file is of no use.
    Keys(crate::auth::KeysError),
    /// A service does not start.
    Service(ListenError),
    /// Envoy does not start.
    Envoy(StartError),
    /// Envoy serves, yet no request comes through.
    Probe {
        /// What the last one met.
        last: String,
        /// All that Envoy logged.
        log: String,
    },
    /// Envoy ended by itself.
    Ended {
        /// How.
        status: std::io::Result<ExitStatus>,
        /// All that it logged.
        log: String,
    },
}

/// Runs the stack until `end` does.
///
/// # Errors
/// If a part of it does not start, or Envoy ends by itself.
pub async fn run(options: Options, end: impl Future<Output = ()>) -> Result<(), UpError> {
    let mut end = pin!(end);
    options.check()?;
    // Before Envoy reads it: whatever changes from now on is given to Envoy.
    let mut followed = Followed::new(&options);
    let started = tokio::select! {
        started = start(&options) => started?,
        () = &mut end => return Ok(()),
    };
    let (services, mut gateway) = started;
    print_guide(&options, &gateway);

    let mut looks = interval(FOLLOW);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            status = gateway.ended() => {
                return Err(UpError::Ended { status, log: gateway.envoy_log() });
            }
            () = &mut end => break,
            _ = looks.tick() => followed.look(&gateway).await,
        }
    }
    println!("\nending");
    gateway.drain(GRACE).await;
    services.stop().await;
    Ok(())
}

async fn start(options: &Options) -> Result<(Services, Gateway), UpError> {
    let keys = match &options.keys {
        Some(file) => Keys::from_file(file).map_err(UpError::Keys)?,
        None => Keys::demo(),
    };
    let services = Services::start(keys).await.map_err(UpError::Service)?;
    progress(
        AUTH_SERVICE,
        &format!("http://{}", services.auth().address()),
    );
    for (agent, (_, service)) in services.agents().iter().zip(AGENTS) {
        progress(service, &format!("http://{}", agent.address()));
    }

    let envoy = |error| UpError::Envoy(StartError::Reference(error));
    let mut setup =
        Setup::reference(&options.configuration, &options.envoy, &options.module).map_err(envoy)?;
    services.connect(&mut setup.bootstrap).map_err(envoy)?;
    setup
        .bootstrap
        .listen("gateway", options.listen)
        .map_err(envoy)?;
    setup
        .bootstrap
        .listen("operations", options.operations)
        .map_err(envoy)?;
    setup.admin = Some(options.admin);
    setup.concurrency = options.concurrency;
    setup.arguments = [
        "--log-level",
        "warning",
        "--component-log-level",
        "wasm:info,misc:error",
        "--file-flush-interval-msec",
        "200",
        "--drain-time-s",
        "5",
    ]
    .map(str::to_owned)
    .to_vec();
    progress("envoy", "starting");
    let gateway = setup.start().await.map_err(UpError::Envoy)?;
    let agent = probe(&gateway).await?;
    progress(
        "gateway",
        &format!(
            "http://{} serves: {agent} answered a first request",
            gateway.address()
        ),
    );
    Ok((services, gateway))
}

fn progress(what: &str, state: &str) {
    println!("{what:<15} {state}");
}

fn print_guide(options: &Options, gateway: &Gateway) {
    let at = gateway.address();
    let admin = options.admin;
    let operations = gateway.operations();
    let access_log = gateway.access_log_path();
    let envoy_log = gateway.envoy_log_path();
    let configuration = options.configuration.join("waykeeper.yaml");
    println!(
        r#"
Gateway     http://{at}
Admin       http://{admin}       (metrics also on http://{operations}/stats/prometheus)
Access log  {access_log}
Envoy's log {envoy_log}
Change      {configuration}, and it is live

Keys        demo-standard   plan standard, 50 requests a minute
            demo-premium    plan premium, 500 requests a minute
            demo-admin      plan premium, role admin

Clients of OpenAI's and Anthropic's take both from the environment
            export OPENAI_BASE_URL=http://{at}/v1 OPENAI_API_KEY=demo-standard
            export ANTHROPIC_BASE_URL=http://{at} ANTHROPIC_API_KEY=demo-standard

Try
  # a chat, as OpenAI's clients do it; one agent or the other answers
  curl -s http://{at}/v1/chat/completions -H 'authorization: Bearer demo-standard' -d '{{"model":"demo","messages":[{{"role":"user","content":"Hello"}}]}}'

  # the same, word for word
  curl -sN http://{at}/api/v1/chat/stream -H 'x-api-key: demo-standard' -d '{{"model":"demo","messages":[{{"role":"user","content":"Hello"}}]}}'

  # no key; then one that lacks the role
  curl -i http://{at}/api/v1/tools/list
  curl -i http://{at}/api/v1/tools/list -H 'x-api-key: demo-standard'

  # more than 50 a minute
  for i in $(seq 60); do curl -s -o /dev/null -w '%{{http_code}} ' http://{at}/api/v1/memory/notes -H 'x-api-key: demo-standard'; done; echo

  # what was counted
  curl -s http://{operations}/stats/prometheus | grep '^waykeeper_'

Ctrl-C ends it all."#,
        access_log = access_log.display(),
        envoy_log = envoy_log.display(),
        configuration = configuration.display(),
    );
}

// === impl Options ===

impl Options {
    /// Finds what would stop the start, before anything is started.
    fn check(&self) -> Result<(), UpError> {
        let needed = [
            (&self.envoy, "run `make tools`"),
            (&self.module, "run `make build`"),
            (
                &self.configuration,
                "run this in the repository, or say --configuration",
            ),
        ];
        for (path, remedy) in needed {
            if !path.exists() {
                let path = path.clone();
                return Err(UpError::Missing { path, remedy });
            }
        }
        // Envoy itself would share a port with another Envoy in silence.
        let addresses = [
            (self.listen, "--listen"),
            (self.admin, "--admin"),
            (self.operations, "--operations"),
        ];
        for (address, option) in addresses {
            if let Err(source) = TcpListener::bind(address) {
                return Err(UpError::Address {
                    address,
                    option,
                    source,
                });
            }
        }
        Ok(())
    }
}

// === impl UpError ===

impl std::fmt::Display for UpError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { path, remedy } => {
                write!(formatter, "{} is missing: {remedy}", path.display())
            }
            Self::Address {
                address,
                option,
                source,
            } => write!(
                formatter,
                "cannot listen on {address} ({source}): end what listens there, or choose another address with {option}"
            ),
            Self::Keys(error) => error.fmt(formatter),
            Self::Service(error) => error.fmt(formatter),
            Self::Envoy(error) => error.fmt(formatter),
            Self::Probe { last, log } => {
                write!(
                    formatter,
                    "the gateway does not serve a first request (POST {PROBE_PATH} with the key {PROBE_KEY}, which its \
                     validator must know and a route must take): {last}"
                )?;
                match log.trim_end() {
                    "" => Ok(()),
                    log => write!(formatter, "\nenvoy's log:\n{log}"),
                }
            }
            Self::Ended { status, log } => match status {
                Ok(status) => write!(formatter, "envoy ended ({status}); its log:\n{log}"),
                Err(error) => write!(formatter, "envoy is lost ({error}); its log:\n{log}"),
            },
        }
    }
}

impl std::error::Error for UpError {}
