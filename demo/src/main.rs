//! The demo's services, one process each.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};
use waykeeper_demo::auth::Keys;
use waykeeper_demo::{agent, auth, up};

/// What a command fails with: one line, shown to the user.
type CommandError = Box<dyn std::error::Error>;

/// The services of Waykeeper's demo.
#[derive(Debug, Parser)]
#[command(version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Auth(AuthCommand),
    Agent(AgentCommand),
    Up(UpCommand),
}

/// Serve the auth service, which tells whose key a key is.
#[derive(Args, Debug)]
struct AuthCommand {
    /// Address to listen on.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    listen: String,
    /// Key file; the demo's own keys if none is given.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

/// Serve an agent.
#[derive(Args, Debug)]
struct AgentCommand {
    /// The agent's name, which its answers carry.
    #[arg(value_parser = agent_name)]
    name: String,
    /// Address to listen on.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8082")]
    listen: String,
}

/// Run the whole stack: auth, five agents and Envoy with the filter, until Ctrl-C or SIGTERM.
///
/// It is `waykeeper run` on a gateway.yaml, beside the services that the file names. They are on free ports, which the file gets
/// by its environment: ${DEMO_AUTH_SERVICE}, ${DEMO_CHAT_GPU}, ${DEMO_CHAT_CPU}, ${DEMO_TOOL_EXECUTION}, ${DEMO_RAG_RETRIEVAL} and
/// ${DEMO_MEMORY_STORE} are their urls; ${DEMO_GATEWAY} and ${DEMO_OPERATIONS} are what --listen and --operations say. The file is
/// followed while it runs.
///
/// It serves once a first request came through: POST /v1/chat/completions with the key demo-admin. So a file of your own needs a
/// route that takes it, and a validator or key file of your own must know that key. The logs lie in a temporary directory, which
/// is gone when the stack ends.
#[derive(Args, Debug)]
struct UpCommand {
    /// Where the gateway listens.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where Envoy's admin interface is served.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
    /// Where metrics and readiness are served.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9902")]
    operations: SocketAddr,
    /// The gateway.yaml that is served.
    #[arg(long, value_name = "FILE", default_value = "envoy/gateway.yaml")]
    configuration: PathBuf,
    /// The program `waykeeper` [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    tool: Option<PathBuf>,
    /// The Envoy program.
    #[arg(long, value_name = "FILE", default_value = ".tools/envoy")]
    envoy: PathBuf,
    /// The filter's module.
    #[arg(long, value_name = "FILE", default_value = "target/waykeeper.wasm")]
    module: PathBuf,
    /// Key file of the auth service, with demo-admin in it; the demo's own keys if none is given.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Envoy's worker threads.
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    concurrency: u32,
}

/// The request to end: Ctrl-C or SIGTERM, caught from when this is made.
struct Ending {
    interrupt: Signal,
    terminate: Signal,
}

fn main() -> ExitCode {
    match run(CommandLine::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waykeeper-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match command {
            Command::Auth(command) => command.run().await,
            Command::Agent(command) => command.run().await,
            Command::Up(command) => command.run().await,
        }
    })
}

impl AuthCommand {
    async fn run(self) -> Result<(), CommandError> {
        let keys = self
            .keys
            .as_deref()
            .map_or_else(|| Ok(Keys::demo()), Keys::from_file)?;
        // Before anyone is told that it runs: from then on it may be asked to end.
        let end = Ending::listen()?;
        let auth = auth::start(&self.listen, keys).await?;
        say(&format!("auth listens on http://{}", auth.address()));
        end.wait().await;
        auth.stop().await;
        Ok(())
    }
}

impl AgentCommand {
    async fn run(self) -> Result<(), CommandError> {
        let end = Ending::listen()?;
        let agent = agent::start(&self.name, &self.listen).await?;
        say(&format!(
            "agent {} listens on http://{}",
            agent.name(),
            agent.address()
        ));
        end.wait().await;
        agent.stop().await;
        Ok(())
    }
}

impl UpCommand {
    async fn run(self) -> Result<(), CommandError> {
        let end = Ending::listen()?;
        let options = up::Options {
            configuration: self.configuration,
            tool: self.tool.unwrap_or_else(up::Options::tool_beside),
            envoy: self.envoy,
            module: self.module,
            keys: self.keys,
            listen: self.listen,
            admin: self.admin,
            operations: self.operations,
            concurrency: self.concurrency,
        };
        Ok(up::run(options, end.wait()).await?)
    }
}

/// Tells whoever started the program; if nobody listens any more, that is no reason to end.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The names that the gateway's configuration may give an agent, all of which a header can hold.
fn agent_name(name: &str) -> Result<String, &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
    if (1..=128).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(name.to_owned())
    } else {
        Err("a name has 1 to 128 letters, digits and `._:@-`")
    }
}

// === impl Ending ===

impl Ending {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
