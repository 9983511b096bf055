//! `waykeeper-demo up`: the whole stack on this machine. It starts the services and `waykeeper run`, says what one can try once a
//! real request came through, and leaves nothing behind when it ends. The file is followed by `waykeeper run`.

mod admin;
mod probe;
mod tool;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::task::JoinSet;

use self::probe::{PROBE_KEY, PROBE_PATH, probe};
use self::tool::Tool;
use crate::auth::Keys;
use crate::serving::ListenError;
use crate::stack::{AGENTS, AUTH_SERVICE, Services};

/// How long requests under way may take when the stack ends.
const GRACE: Duration = Duration::from_secs(5);

/// How often a condition that is waited for is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Options {
    /// The gateway.yaml.
    pub configuration: PathBuf,
    /// The program `waykeeper`; the one beside this program if none is named.
    pub tool: PathBuf,
    /// The Envoy program.
    pub envoy: PathBuf,
    /// The filter's module.
    pub module: PathBuf,
    /// The auth service's keys; the demo's own if none are named.
    pub keys: Option<PathBuf>,
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// Where Envoy's admin interface is served.
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
    /// The tool cannot be started.
    Start(std::io::Error),
    /// It serves, yet no request comes through.
    Probe {
        /// What the last one met.
        last: String,
        /// All that Envoy logged.
        log: String,
    },
    /// It ended by itself; why, it has said.
    Ended {
        /// How.
        status: std::io::Result<ExitStatus>,
        /// All that Envoy logged.
        log: String,
    },
}

/// What stays free for this stack until it is used, and where.
struct Ports {
    listen: TcpListener,
    admin: TcpListener,
    operations: TcpListener,
}

/// Runs the stack until `end` does.
///
/// # Errors
/// If a part of it does not start, or Envoy ends by itself.
pub async fn run(options: Options, end: impl Future<Output = ()>) -> Result<(), UpError> {
    let mut end = pin!(end);
    let Ports {
        listen,
        admin,
        operations,
    } = options.check()?;
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

    let address = |listener: &TcpListener| listener.local_addr().map_err(UpError::Start);
    let (gateway, metrics) = (address(&listen)?, address(&operations)?);
    let admin_at = address(&admin)?;
    // From here on they are Envoy's.
    drop((listen, operations));
    progress("gateway", "starting");
    let mut tool = Tool::start(&options, &services, gateway, metrics).map_err(UpError::Start)?;
    admin.set_nonblocking(true).map_err(UpError::Start)?;
    let admin = tokio::net::TcpListener::from_std(admin).map_err(UpError::Start)?;
    // Ends when dropped.
    let mut forwards = JoinSet::new();
    forwards.spawn(admin::forward(admin, tool.admin()));

    let told = tokio::select! {
        served = serve(&mut tool) => {
            let address = served?;
            print_guide(&options, &tool, address, admin_at, metrics);
            false
        }
        () = &mut end => true,
    };
    if !told {
        tokio::select! {
            () = tool.talks() => return Err(ended(&mut tool).await),
            () = &mut end => {}
        }
    }
    say("\nending");
    tool.end().await;
    services.stop().await;
    Ok(())
}

/// Waits until a first request has come through, and says where.
async fn serve(tool: &mut Tool) -> Result<SocketAddr, UpError> {
    let Some(address) = tool.serves().await else {
        return Err(ended(tool).await);
    };
    let agent = tokio::select! {
        // What it says meanwhile is heard, too.
        () = tool.talks() => return Err(ended(tool).await),
        answered = probe(address) => answered,
    };
    let agent = agent.map_err(|last| UpError::Probe {
        last,
        log: tool.read_envoy_log(),
    })?;
    progress(
        "gateway",
        &format!("http://{address} serves: {agent} answered a first request"),
    );
    Ok(address)
}

async fn ended(tool: &mut Tool) -> UpError {
    let status = tool.ended().await;
    let log = tool.read_envoy_log();
    UpError::Ended { status, log }
}

fn progress(what: &str, state: &str) {
    say(&format!("{what:<15} {state}"));
}

/// Tells the user; if nobody listens any more, that is no reason to end.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn print_guide(
    options: &Options,
    tool: &Tool,
    at: SocketAddr,
    admin: SocketAddr,
    operations: SocketAddr,
) {
    let access_log = tool.access_log();
    let envoy_log = tool.envoy_log();
    say(&format!(
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
  curl -s http://{at}/v1/chat/completions -H 'authorization: Bearer demo-standard' -H 'content-type: application/json' -d '{{"model":"demo","messages":[{{"role":"user","content":"Hello"}}]}}'

  # the same, word for word
  curl -sN http://{at}/api/v1/chat/stream -H 'x-api-key: demo-standard' -H 'content-type: application/json' -d '{{"model":"demo","messages":[{{"role":"user","content":"Hello"}}]}}'

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
        configuration = options.configuration.display(),
    ));
}

// === impl Options ===

impl Options {
    /// The tool that was built together with the program that runs.
    pub fn tool_beside() -> PathBuf {
        let program = std::env::current_exe().unwrap_or_default();
        program.with_file_name("waykeeper")
    }

    /// Finds what would stop the start, before anything is started.
    fn check(&self) -> Result<Ports, UpError> {
        let needed = [
            (&self.envoy, "run `make tools`"),
            (&self.module, "run `make build`"),
            (&self.tool, "run `cargo build --package waykeeper-cli`"),
            (
                &self.configuration,
                "run this in the repository, or say --configuration",
            ),
        ];
        for (path, remedy) in needed {
            if !path.is_file() {
                let path = path.clone();
                return Err(UpError::Missing { path, remedy });
            }
        }
        let bind = |address, option| {
            TcpListener::bind(address).map_err(|source| UpError::Address {
                address,
                option,
                source,
            })
        };
        Ok(Ports {
            listen: bind(self.listen, "--listen")?,
            admin: bind(self.admin, "--admin")?,
            operations: bind(self.operations, "--operations")?,
        })
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
            Self::Start(error) => write!(formatter, "the gateway cannot be started: {error}"),
            Self::Probe { last, log } => {
                write!(
                    formatter,
                    "the gateway does not serve a first request (POST {PROBE_PATH} with the key {PROBE_KEY}, which its \
                     validator must know and a route must take): {last}"
                )?;
                write_log(formatter, log)
            }
            Self::Ended { status, log } => {
                match status {
                    Ok(status) => write!(formatter, "the gateway ended ({status})")?,
                    Err(error) => write!(formatter, "the gateway is lost ({error})")?,
                }
                write_log(formatter, log)
            }
        }
    }
}

impl std::error::Error for UpError {}

fn write_log(formatter: &mut std::fmt::Formatter<'_>, log: &str) -> std::fmt::Result {
    match log.trim_end() {
        "" => Ok(()),
        log => write!(formatter, "\nenvoy's log:\n{log}"),
    }
}
