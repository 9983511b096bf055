//! The demo's services, one process each.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use waykeeper_demo::{agent, auth};

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
}

/// Serve the auth service, which tells whose key a key is.
#[derive(Args, Debug)]
struct AuthCommand {
    /// Address to listen on.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    listen: String,
}

/// Serve an agent.
#[derive(Args, Debug)]
struct AgentCommand {
    /// The agent's name, which its answers carry.
    name: String,
    /// Address to listen on.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8082")]
    listen: String,
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
        }
    })
}

impl AuthCommand {
    async fn run(self) -> Result<(), CommandError> {
        let auth = auth::start(&self.listen).await?;
        println!("auth listens on http://{}", auth.address());
        asked_to_end().await?;
        auth.stop().await;
        Ok(())
    }
}

impl AgentCommand {
    async fn run(self) -> Result<(), CommandError> {
        let agent = agent::start(&self.name, &self.listen).await?;
        println!(
            "agent {} listens on http://{}",
            agent.name(),
            agent.address()
        );
        asked_to_end().await?;
        agent.stop().await;
        Ok(())
    }
}

/// Waits for Ctrl-C or SIGTERM.
async fn asked_to_end() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}
