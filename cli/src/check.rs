//! `waykeeper check`: says of a configuration what the filter would say, with file and line, before Envoy is given it.

mod addresses;
mod blame;
mod cards;
mod clusters;
mod elsewhere;
mod gateway;
mod hints;
mod judged;
mod report;
mod silence;
mod waits;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value as Json;
use waykeeper::config::{Faults, Policy};

use self::report::{Line, Report};
use crate::Outcome;
use crate::clusters::Clusters;
use crate::decided::{self, Decided};
use crate::doubts;
use crate::find::{self, Configuration, Found};
use crate::managers::{self, Manager};
use crate::proof::Proofs;
use crate::routes::{self, Undecided};
use crate::summary::Summary;
use crate::target::{self, Target};
use crate::yaml::{self, Value};

/// Check configurations: the bare document, or the Envoy or Istio files that hold it
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if all is well (warnings included, unless --strict), 1 if there are faults (a file of Envoy's or \
                        Kubernetes' that holds no configuration of Waykeeper is one: name those that do), 2 if a file cannot be read or the arguments are wrong."
)]
pub(crate) struct Arguments {
    /// YAML or JSON; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// An Envoy configuration: every cluster named must be in its static_resources, and its routes fit the filter
    #[arg(long, value_name = "FILE")]
    envoy: Option<PathBuf>,
    /// How the filter will be installed, where the file does not say it: a WasmPlugin is checked as one
    #[arg(long, value_enum, default_value = "envoy")]
    target: Target,
    /// Of a gateway.yaml: also connect to the validator and to each agent, speak TLS where its url does, and ask its health path
    #[arg(long)]
    probe: bool,
    /// Of a gateway.yaml: the Envoy program that validates what is made of it, as `run` has it do [default: the one that `run`
    /// would take]
    #[arg(long, value_name = "PATH", conflicts_with = "no_validate")]
    envoy_program: Option<PathBuf>,
    /// Do not have Envoy validate it
    #[arg(long)]
    no_validate: bool,
    /// Count warnings as faults: the exit status is 1, and nothing is called good
    #[arg(long)]
    strict: bool,
}

/// The bytes of a file up to which it is read: more is no configuration.
const LARGEST: u64 = 16 << 20;

/// What the file of Envoy's configuration holds.
struct Envoy {
    clusters: Clusters,
    undecided: Vec<Undecided>,
    decided: Vec<Decided>,
    managers: Vec<Manager>,
    file: String,
    /// The clusters in its `static_resources`, as they are written.
    written: Vec<Json>,
}

/// What configurations are held against, beside what the filter would say.
#[derive(Clone, Copy)]
struct Against<'e> {
    envoy: Option<&'e Envoy>,
    target: Target,
    /// Whether agents are reached for.
    probe: bool,
    /// Who validates what is made of a gateway.
    judge: &'e Judge<'e>,
}

/// A file whose configurations are looked at.
struct File<'d> {
    name: &'d str,
    documents: &'d [Value],
    found: Found<'d>,
    /// What the filter makes of each configuration that was found.
    read: Vec<Result<Policy, Faults>>,
}

pub(crate) use blame::{blame, names_field, path_of_patch};
pub(crate) use gateway::{Good, Meant, Where, gateway, gateway_for, meant};
pub(crate) use judged::Judge;
pub(crate) use report::{place, told};

/// Checks all files, and tells everything at once.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let mut outcome = Outcome::Good;
    let (mut output, mut errors) = (io::stdout().lock(), io::stderr().lock());
    let envoy = match &arguments.envoy {
        None => None,
        Some(file) => {
            let name = name_of(file);
            let mut report = Report::of(&name, &mut output, &mut errors).strict(arguments.strict);
            let envoy = match report.documents(file)? {
                Ok(documents) => report.envoy(&documents)?,
                Err(bad) => return Ok(bad),
            };
            if report.faults > 0 {
                outcome = Outcome::Faulty;
            }
            Some(envoy)
        }
    };
    let mut parsed = Vec::new();
    for file in &arguments.files {
        let name = name_of(file);
        let mut report = Report::of(&name, &mut output, &mut errors);
        match report.documents(file)? {
            Ok(documents) => parsed.push((name, documents)),
            Err(bad) => outcome = outcome.max(bad),
        }
    }
    let files = parsed
        .iter()
        .map(|(name, documents)| File::of(name, documents));
    let files: Vec<_> = files.collect();
    let proofs = Proofs::of(
        files
            .iter()
            .flat_map(|file| file.of_plugins(arguments.target)),
    );
    let judge = Judge::of(arguments.envoy_program.as_deref(), !arguments.no_validate);
    if arguments.envoy_program.is_some()
        && let Err(why) = judge.ready()
    {
        writeln!(errors, "{why}")?;
        return Ok(Outcome::Unusable);
    }
    let against = Against {
        envoy: envoy.as_ref(),
        target: arguments.target,
        probe: arguments.probe,
        judge: &judge,
    };
    for file in &files {
        let mut report = Report::of(file.name, &mut output, &mut errors).strict(arguments.strict);
        let routes = proofs.routes(file.documents);
        // A file of nothing but these routes, beside the one of their configuration.
        if routes.is_empty() || !file.found.configurations.is_empty() {
            let of_file = report.check(file, against)?;
            outcome = outcome.max(of_file);
        }
        for (line, message) in proofs.faults(&routes) {
            report.fault(line, message)?;
            outcome = outcome.max(Outcome::Faulty);
        }
    }
    Ok(outcome)
}

fn name_of(file: &Path) -> String {
    if file == Path::new("-") {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

/// What a file holds; none if that is too much.
fn bytes_of(file: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    // One more than is taken tells that there are more.
    if file == Path::new("-") {
        io::stdin()
            .lock()
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)?;
    } else {
        fs::File::open(file)?
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)?;
    }
    Ok((bytes.len() as u64 <= LARGEST).then_some(bytes))
}

// === impl File ===

impl<'d> File<'d> {
    fn of(name: &'d str, documents: &'d [Value]) -> Self {
        let found = find::configurations(documents);
        let read = found.configurations.iter().map(Configuration::read);
        Self {
            name,
            documents,
            read: read.collect(),
            found,
        }
    }

    /// What the filter makes of the configurations that will be a WasmPlugin's.
    fn of_plugins(&self, told: Target) -> impl Iterator<Item = &Result<Policy, Faults>> {
        let both = self.found.configurations.iter().zip(&self.read);
        both.filter(move |(it, _)| it.target(told) == Target::Wasmplugin)
            .map(|(_, read)| read)
    }
}

// === impl Report ===

impl Report<'_> {
    /// The documents of a file, or the outcome if it has none: it cannot be read, or is no YAML.
    fn documents(&mut self, file: &Path) -> io::Result<Result<Vec<Value>, Outcome>> {
        let bytes = match bytes_of(file) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                self.fault(0, format_args!("is larger than {} MiB", LARGEST >> 20))?;
                return Ok(Err(Outcome::Faulty));
            }
            Err(_) if file.is_dir() => {
                let told = "is a directory, not a file; name the files in it";
                writeln!(self.errors, "{}: {told}", self.file)?;
                return Ok(Err(Outcome::Unusable));
            }
            Err(error) => {
                writeln!(self.errors, "{}: {error}", self.file)?;
                return Ok(Err(Outcome::Unusable));
            }
        };
        let Ok(text) = String::from_utf8(bytes) else {
            self.fault(1, "not UTF-8")?;
            return Ok(Err(Outcome::Faulty));
        };
        match yaml::parse(&text) {
            Ok(documents) if documents.is_empty() => self.fault(1, "the file is empty")?,
            Ok(documents) => return Ok(Ok(documents)),
            Err(broken) => self.fault(broken.line, &broken.message)?,
        }
        Ok(Err(Outcome::Faulty))
    }

    /// What Envoy's configuration holds; warns of its routes.
    fn envoy(&mut self, documents: &[Value]) -> io::Result<Envoy> {
        self.check_routes(documents)?;
        Ok(Envoy {
            clusters: Clusters::of(documents),
            undecided: routes::undecided(documents),
            decided: decided::decided(documents),
            managers: managers::managers(documents),
            file: self.file.to_owned(),
            written: documents
                .iter()
                .filter_map(|document| document.field("static_resources"))
                .flat_map(|resources| resources.items_of("clusters"))
                .map(crate::gateway::json_of)
                .collect(),
        })
    }

    /// Checks all configurations of a file.
    fn check(&mut self, file: &File<'_>, against: Against<'_>) -> io::Result<Outcome> {
        let File {
            documents, found, ..
        } = file;
        for (line, message) in &found.faults {
            self.around = true;
            self.fault(*line, message)?;
        }
        for (line, message) in &found.warnings {
            self.warning(*line, message)?;
        }
        if documents.len() > 1 && documents.iter().any(crate::gateway::is_gateway) {
            self.around = true;
            self.fault(1, gateway::SEVERAL)?;
        }
        self.check_routes(documents)?;
        let undecided = routes::undecided(documents);
        let decided = decided::decided(documents);
        let managers = managers::managers(documents);
        for (configuration, read) in found.configurations.iter().zip(&file.read) {
            if let Configuration::Fields(value) = configuration
                && documents
                    .iter()
                    .any(|document| std::ptr::eq(document, *value))
                && crate::gateway::is_gateway(value)
            {
                self.check_gateway(value, against)?;
                continue;
            }
            if against.probe {
                self.fault(
                    configuration.line(),
                    "--probe is for a gateway.yaml, which says where agents are",
                )?;
            }
            self.check_configuration(configuration, read.as_ref(), against)?;
            if let Ok(policy) = read {
                self.check_undecided(policy, &undecided, file.name, configuration)?;
                self.check_decided(policy, &decided, file.name, configuration)?;
                self.check_addresses(policy, &managers, file.name, configuration)?;
                self.check_bodies(policy, documents)?;
            }
        }
        Ok(if self.faults > 0 {
            Outcome::Faulty
        } else {
            Outcome::Good
        })
    }

    /// Looks at Envoy's routes, where a file has some.
    fn check_routes(&mut self, documents: &[Value]) -> io::Result<()> {
        for (line, message) in routes::doubts(documents) {
            self.warning(line, message)?;
        }
        Ok(())
    }

    /// Checks one configuration, and what the filter makes of it.
    fn check_configuration(
        &mut self,
        configuration: &Configuration<'_>,
        read: Result<&Policy, &Faults>,
        against: Against<'_>,
    ) -> io::Result<()> {
        let Against { envoy, target, .. } = against;
        if let Configuration::Fields(value) | Configuration::Plugin(value) = configuration {
            self.warn_of_yaml(value)?;
        }
        let before = self.faults;
        if let Err(faults) = read {
            self.tell(faults, configuration)?;
        }
        if let Some(envoy) = envoy {
            self.check_clusters(read.err(), envoy, configuration)?;
        }
        let Ok(policy) = read else {
            return Ok(());
        };
        for message in target::faults(configuration.target(target), policy) {
            self.fault(configuration.line(), &message)?;
        }
        if let Some(envoy) = envoy {
            self.check_retries(policy, envoy, configuration)?;
            self.check_undecided(policy, &envoy.undecided, &envoy.file, configuration)?;
            self.check_decided(policy, &envoy.decided, &envoy.file, configuration)?;
            self.check_addresses(policy, &envoy.managers, &envoy.file, configuration)?;
        }
        for (line, message) in doubts::doubts(policy, &configuration.written()) {
            self.warning(configuration.line_in_file(line), &message)?;
        }
        // Whoever reads "good" reads no further, so what stands around it is good as well.
        if self.faults == before && !self.around {
            writeln!(
                self.output,
                "{}: good\n{}",
                Line(self.file, configuration.line()),
                Summary {
                    policy,
                    asked_at: None,
                }
            )?;
        }
        Ok(())
    }
}
