//! The operator's tool. It says beforehand what the filter would say of a configuration, describes the configuration
//! to editors, begins new ones, makes the hashes that stand in it, tells containers whether a service is up, reads a module's
//! version, and runs Envoy as the gateway that a file describes.

mod check;
mod clusters;
mod decided;
mod doubts;
mod echo;
mod envoy;
mod explain;
mod find;
mod gateway;
mod hash_key;
mod http;
mod init;
mod istio;
mod limiter;
mod limits;
mod limits_for;
mod managers;
mod pem;
mod probe;
mod proof;
mod reach;
mod readable;
mod routes;
mod run;
mod shares;
mod summary;
mod target;
mod unserved;
mod version;
mod writing;
mod yaml;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The operator's tool of Waykeeper, the API gateway for AI agents
#[derive(Debug, Parser)]
#[command(name = "waykeeper", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Arguments),
    Envoy(envoy::Arguments),
    Explain(explain::Arguments),
    Istio(istio::Arguments),
    /// Print the JSON Schema of a gateway.yaml, for editors
    Schema {
        /// That of the filter's own document, as waykeeper.yaml holds it
        #[arg(long, conflicts_with = "gateway")]
        document: bool,
        /// What is printed without it too
        #[arg(long, hide = true)]
        gateway: bool,
    },
    /// Read a key from standard input and print its SHA-256, as clients.keys lists it
    ///
    /// The key is 1 to 4,096 visible ASCII characters; the end of its line is no part of it. It is never taken from the
    /// arguments, since other users of the machine can see those. For example:
    ///
    ///     openssl rand -hex 32 | tee new.key | waykeeper hash-key
    #[command(verbatim_doc_comment)]
    HashKey,
    Init(init::Arguments),
    Limiter(limiter::Arguments),
    Limits(limits::Arguments),
    Probe(probe::Arguments),
    Run(run::Arguments),
    #[command(hide = true)]
    Become(run::envoy::Become),
    Version(version::Arguments),
}

/// How a command ended; worse ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Good,
    Faulty,
    /// The arguments are wrong, or a file that they name cannot be read.
    Unusable,
    /// What was started has ended by itself.
    Lost,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Envoy(arguments) => envoy::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Istio(arguments) => istio::run(&arguments),
        Command::Schema { document, .. } => print_schema(&if document {
            waykeeper::config::schema()
        } else {
            gateway::schema()
        }),
        Command::HashKey => hash_key::run(),
        Command::Init(arguments) => init::run(&arguments),
        Command::Limiter(arguments) => limiter::run(&arguments),
        Command::Limits(arguments) => limits::run(&arguments),
        Command::Probe(arguments) => probe::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Become(it) => Err(run::envoy::become_program(&it)),
        Command::Version(arguments) => version::run(&arguments),
    };
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Faulty) => ExitCode::from(1),
        Ok(Outcome::Unusable) => ExitCode::from(2),
        Ok(Outcome::Lost) => ExitCode::from(3),
        // Whoever read our output has closed it; that is theirs to decide.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(io::stderr(), "waykeeper: {error}");
            ExitCode::from(2)
        }
    }
}

fn print_schema(schema: &serde_json::Value) -> io::Result<Outcome> {
    let mut output = io::stdout().lock();
    serde_json::to_writer_pretty(&mut output, schema)?;
    writeln!(output)?;
    Ok(Outcome::Good)
}
