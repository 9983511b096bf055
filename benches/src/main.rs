//! `make bench`: measures what Waykeeper costs, side by side with the other ways to do its work.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Parser, Subcommand};
use sha2::{Digest, Sha256};

use waykeeper_bench::contender::Tools;
use waykeeper_bench::cores::Cores;
use waykeeper_bench::machine::Machine;
use waykeeper_bench::measure::{ALL, Bench, MORE, Named, Plan};
use waykeeper_bench::report::{Build, Report, Run};
use waykeeper_bench::{Error, balance, chart, table};

/// Measures what Waykeeper costs, side by side with the other ways to do its work
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the numbers lie
    #[arg(long, global = true, default_value = "target/bench/report.json")]
    report: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, and show what came of it
    Run(RunArguments),
    /// Show what was measured before
    Show,
    /// Draw what was measured before
    Chart {
        /// Where to
        #[arg(default_value = "docs/benchmark.svg")]
        output: PathBuf,
    },
    /// Measure how long callers wait under each way of balancing, and show it
    Balance(BalanceArguments),
}

#[derive(Debug, Args)]
struct BalanceArguments {
    /// How often it is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// How long a round is, for each kind of agents
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Few rounds: under two minutes
    #[arg(long)]
    quick: bool,
    /// Take the runs of the report at hand in
    #[arg(long)]
    pool: bool,
    /// Only these measurements
    #[arg(long, value_delimiter = ',', value_parser = measurement)]
    only: Vec<Named>,
    /// Only these contenders, where all are compared
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<String>,
    /// The filter
    #[arg(long)]
    filter: Option<PathBuf>,
    /// Another build of the filter, to be compared with in the same rounds
    #[arg(long)]
    against: Option<PathBuf>,
    /// Rounds
    #[arg(long)]
    rounds: Option<usize>,
    /// Requests of each contender in a round
    #[arg(long)]
    requests: Option<u32>,
}

fn measurement(name: &str) -> Result<Named, String> {
    let mut all = ALL.into_iter().chain(MORE);
    all.find(|(other, _)| *other == name).ok_or_else(|| {
        let names: Vec<_> = ALL.into_iter().chain(MORE).map(|(name, _)| name).collect();
        format!("there are {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Run(run) => measure(run, &arguments.report),
        Command::Show => {
            Report::read(&arguments.report).map(|report| print!("{}", table::show(&report)))
        }
        Command::Chart { output } => draw(&arguments.report, &output),
        Command::Balance(arguments) => balanced(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waykeeper-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: RunArguments, path: &Path) -> Result<(), Error> {
    let mut plan = if arguments.quick {
        Plan::quick()
    } else {
        Plan::full()
    };
    plan.rounds = arguments.rounds.unwrap_or(plan.rounds).max(1);
    plan.requests = arguments
        .requests
        .unwrap_or(plan.requests)
        .max(plan.connections);
    plan.contenders = arguments.contenders;
    plan.against = arguments.against.map(|path| absolute(&path)).transpose()?;
    let filter = arguments.filter.map(|path| absolute(&path)).transpose()?;

    let tools = Tools::here().with_filter(filter);
    let filter = build(&tools.filter()?)?;
    let cores = Cores::apart()?;
    let machine = Machine::this(&tools, cores.all.len());
    // Known before the time is spent.
    let earlier = if arguments.pool && path.exists() {
        let earlier = Report::read(path)?;
        earlier.speaks_of(&machine, &filter)?;
        Some(earlier)
    } else {
        None
    };
    let mut run = Run {
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        command: command(),
        filter,
        measurements: Default::default(),
    };
    let wanted = if arguments.only.is_empty() {
        ALL.to_vec()
    } else {
        arguments.only
    };
    let bench = Bench::new(tools, cores, plan)?;
    for named in wanted {
        run.measurements
            .insert(named.0.to_owned(), bench.make(named)?);
    }
    let mut report = Report {
        machine,
        runs: vec![run],
    };
    if let Some(earlier) = earlier {
        report.pool(earlier);
    }
    report.write(path)?;
    println!("{}", table::show(&report));
    Ok(())
}

fn balanced(arguments: &BalanceArguments) -> Result<(), Error> {
    let tools = Tools::here();
    let plan = balance::Plan {
        rounds: arguments.rounds,
        seconds: arguments.seconds,
    };
    let played = balance::measure(&tools, plan)?;
    let machine = Machine::this(&tools, Cores::anywhere()?.all.len());
    println!("{}", balance::show(&played, plan, &machine));
    Ok(())
}

fn draw(report: &Path, output: &Path) -> Result<(), Error> {
    let drawing = chart::draw(&Report::read(report)?)?;
    std::fs::write(output, drawing).map_err(|error| Error::at(output, error))?;
    println!("{}", output.display());
    Ok(())
}

/// What a reader types to have the same measured.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let (quick, others): (Vec<_>, Vec<_>) = arguments
        .into_iter()
        .partition(|argument| argument == "--quick");
    let target = if quick.is_empty() {
        "bench"
    } else {
        "bench-quick"
    };
    if others.is_empty() {
        format!("make {target}")
    } else {
        format!("make {target} ARGS=\"{}\"", others.join(" "))
    }
}

fn build(filter: &Path) -> Result<Build, Error> {
    let bytes = std::fs::read(filter).map_err(|error| Error::at(filter, error))?;
    let digest = Sha256::digest(&bytes);
    Ok(Build {
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes: bytes.len() as u64,
    })
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::at(path, error))
}
