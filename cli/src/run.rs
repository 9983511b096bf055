//! `waykeeper run`: Envoy as the gateway that a file describes, from its first request to its last. It is started here, follows
//! the file without a restart, and ends with this process.
//!
//! | file | what it does |
//! |---|---|
//! | `watch.rs` | sees that the file has changed, however it was written |
//! | `apply.rs` | gives Envoy the parts that have changed, in order, and takes them back if it refuses one |
//! | `changes.rs`, `health.rs`, `log.rs` | what is said: of a change, of the agents, by Envoy |
//! | `end.rs` | ends Envoy gently |
//! | `envoy.rs`, `admin.rs`, `directory.rs` | the program, its admin interface, the files between it and us |

mod admin;
mod apply;
mod changes;
mod directory;
mod end;
pub(crate) mod envoy;
mod health;
mod log;
mod watch;

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use waykeeper::config::policy::{Policy, Protocol};

use self::admin::Admin;
use self::apply::{Applied, Refused, Step, Waits};
use self::directory::Directory;
use self::end::Ends;
use self::envoy::{Launch, Process, Program};
use self::health::Health;
use self::log::Log;
use self::watch::Watch;
use crate::Outcome;
use crate::check;
use crate::echo::{self, Echo};
use crate::gateway::{self, Around, Checked, Parts, Places};

/// How often Envoy is asked how its agents are.
const LOOKS: Duration = Duration::from_secs(1);
/// How often a condition that is waited for is looked at.
const POLL: Duration = Duration::from_millis(10);
/// How long Envoy may take until it answers at its admin interface.
const STARTS: Duration = Duration::from_secs(60);
/// What a callout may take beyond its time until its request has moved on.
const MARGIN: Duration = Duration::from_secs(2);

/// Run Envoy as the gateway that a gateway.yaml describes, and follow the file
///
/// Checks the file, starts Envoy with the filter, and makes every change of the file live without a restart and without a lost
/// request. A file with faults leaves what runs as it is, and is told of with lines. The access log goes to standard output, all
/// else to standard error.
#[derive(Debug, Args)]
#[command(
    after_help = "SIGTERM ends it gently: health checks fail, callers are asked to go elsewhere for the drain time, and requests under way \
                  may finish. SIGINT (Ctrl-C) and SIGHUP do so without waiting for callers. A second signal ends it at once.\n\n\
                  Exit status: 0 if it was told to end, 1 if there are faults in the file or Envoy refuses it, 2 if a file or a program \
                  cannot be used or the arguments are wrong, 3 if Envoy ended by itself."
)]
pub(crate) struct Arguments {
    /// The gateway: listeners, agents by their urls, clients, routes
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The Envoy program [default: `envoy` in PATH, else the one that was installed with this tool]
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// The filter [default: the one that was installed with this tool]
    #[arg(long, value_name = "PATH")]
    module: Option<PathBuf>,
    /// Envoy's worker threads [default: one for each processor]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1024))]
    concurrency: Option<u32>,
    /// How much of its own log Envoy hands on
    #[arg(long, value_name = "LEVEL", default_value = "warning", value_parser = ["trace", "debug", "info", "warning", "error", "critical", "off"])]
    log_level: String,
    /// For how long callers are asked to go elsewhere: those of a gateway that was told to end, and those of a listener that is
    /// changed or removed; then what is left of the latter is cut off
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = seconds)]
    drain_time: Duration,
    /// How long requests under way may take once it was told to end
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = seconds)]
    grace: Duration,
    /// Where the files between this tool and Envoy lie, and admin.sock, the socket of Envoy's admin interface; empty or not there
    /// [default: a new one in $XDG_RUNTIME_DIR or the temporary directory]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// A file that was read and found good.
struct Loaded {
    checked: Checked,
    parts: Parts,
    /// As Envoy has judged it.
    whole: serde_json::Value,
    /// Since when it is to be live.
    since: Instant,
}

/// What does not change while this process runs.
struct Setting<'a> {
    arguments: &'a Arguments,
    program: Program,
    module: String,
    directory: String,
    socket: String,
    echo_socket: String,
    echo: OnceCell<Echo>,
    places: Places,
    /// The file, as it is told of.
    name: String,
}

/// Runs until it is told to end, or Envoy ends.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    // One thread, the first: Envoy ends with the one that started it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(gateway(arguments));
    // Nobody waits for a host that does not answer.
    runtime.shutdown_background();
    outcome
}

/// Says something to the operator. If nobody reads it, that is theirs to decide.
fn say(what: &str) {
    tell(&format!("waykeeper: {what}"));
}

fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

async fn gateway(arguments: &Arguments) -> io::Result<Outcome> {
    let mut ends = Ends::listen()?;
    if arguments.file == Path::new("-") {
        say("what comes from standard input cannot be followed; name a file");
        return Ok(Outcome::Unusable);
    }
    // Before it is read: whatever changes from now on is seen.
    let mut watch = Watch::of(&arguments.file);
    let checked = match check::gateway(&arguments.file)? {
        Ok(checked) => checked,
        Err(outcome) => return Ok(outcome),
    };
    let setting = match Setting::of(arguments).await {
        Ok(setting) => setting,
        Err(why) => {
            say(&why.0);
            return Ok(Outcome::Unusable);
        }
    };
    let (setting, _directory) = setting;
    let loaded = match setting.load(checked, None).await {
        Ok(loaded) => loaded,
        Err(why) => {
            say(&format!("{}: {why}", setting.name));
            return Ok(Outcome::Faulty);
        }
    };
    let mut bound = BTreeSet::new();
    if let Err(why) = take(&loaded.checked, &mut bound) {
        say(&why);
        return Ok(Outcome::Faulty);
    }
    if watch::is_mount(&arguments.file) {
        say(&format!(
            "{} is itself a mount: it goes on showing the old file when another is renamed into its place outside, as most \
             editors do. Mount its directory in its place",
            setting.name
        ));
    }
    let log = Log::default();
    let admin = Admin::at(Path::new(&setting.socket));
    let bootstrap = loaded.parts.bootstrap.clone();
    let mut applied = Applied::new(
        setting.places.clone(),
        admin.clone(),
        log.clone(),
        bootstrap,
    );
    applied.begin()?;
    let launch = Launch {
        bootstrap: &setting.places.bootstrap(),
        concurrency: arguments.concurrency,
        level: &arguments.log_level,
        drain: arguments.drain_time,
    };
    let mut process = Process::start(&setting.program, &launch, &log)?;
    let mut current = None;
    let mut health = Health::default();
    let mut looks = interval(LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = Some(loaded);
    loop {
        let work = async {
            match next.take() {
                Some(new) if current.is_none() => {
                    started(&admin).await?;
                    watch.also(new.files());
                    setting
                        .change(&mut applied, &mut watch, &mut bound, &mut current, new)
                        .await
                }
                Some(new) => {
                    setting
                        .change(&mut applied, &mut watch, &mut bound, &mut current, new)
                        .await
                }
                None => {
                    tokio::select! {
                        () = watch.changed() => {
                            next = setting.read(current.as_ref(), &mut watch).await;
                        }
                        _ = looks.tick() => {
                            if let Some(current) = &current {
                                health.look(&admin, &current.checked.gateway).await;
                                setting.let_go(&mut applied).await;
                            }
                        }
                    }
                    Ok(())
                }
            }
        };
        tokio::select! {
            done = work => if let Err(why) = done {
                process.stop().await;
                say(&format!("{}: {why}", setting.name));
                return Ok(Outcome::Faulty);
            },
            status = process.ended() => {
                let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                let said = log.last_complaint().map(|said| format!("; it said last: {said}"));
                say(&format!("Envoy ended by itself ({how}){}", said.unwrap_or_default()));
                return Ok(Outcome::Lost);
            }
            at_leisure = ends.told() => {
                end::end(arguments, &admin, &mut process, &mut ends, at_leisure).await;
                return Ok(Outcome::Good);
            }
        }
    }
}

/// Waits until Envoy answers.
async fn started(admin: &Admin) -> Result<(), String> {
    let deadline = Instant::now() + STARTS;
    loop {
        match admin.get("/ready").await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(format!("Envoy does not start: {error}"));
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

/// A path as a text of JSON.
fn in_json(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

// === impl Setting ===

struct Unusable(String);

impl<'a> Setting<'a> {
    async fn of(arguments: &'a Arguments) -> Result<(Self, Directory), Unusable> {
        let program = Program::find(arguments.envoy.as_deref())
            .await
            .map_err(Unusable)?;
        let module = envoy::find_module(arguments.module.as_deref()).map_err(Unusable)?;
        let directory = Directory::make(arguments.directory.as_deref()).map_err(Unusable)?;
        let setting = Self {
            arguments,
            program,
            module: text(&module)?,
            directory: text(directory.path())?,
            socket: text(&directory.socket())?,
            echo_socket: text(&directory.echo_socket())?,
            echo: OnceCell::new(),
            places: Places(directory.path().to_owned()),
            name: arguments.file.display().to_string(),
        };
        Ok((setting, directory))
    }

    /// What Envoy is to be given for a gateway, if it would take all of it at its start.
    async fn load(&self, checked: Checked, before: Option<&Loaded>) -> Result<Loaded, String> {
        let since = Instant::now();
        let told = |error: &dyn Display| error.to_string();
        self.serve_builtin(&checked).map_err(|error| {
            let socket = &self.echo_socket;
            format!("{socket}: no agent can be served there: {error}")
        })?;
        let source = self.arguments.file.file_name();
        let source = source
            .map(|name| name.to_string_lossy())
            .unwrap_or_default();
        let around = Around {
            source: &source,
            module: &self.module,
            directory: &self.directory,
            admin: gateway::Admin::Socket(&self.socket),
            builtin: Some(&self.echo_socket),
        };
        let rendered = gateway::render(&checked, around).map_err(|error| told(&error))?;
        // Before Envoy looks into certificates: what changes after that is a change.
        let parts = Parts::of(&rendered, &self.places).map_err(|error| told(&error))?;
        for file in parts.secrets.values().flat_map(|secret| &secret.files) {
            let opened = std::fs::File::open(file);
            opened.map_err(|error| format!("{}: {error}", file.display()))?;
        }
        let whole = gateway::whole(&rendered).map_err(|error| told(&error))?;
        let judged = before
            .is_some_and(|before| before.whole == whole && before.parts.secrets == parts.secrets);
        if !judged {
            let judged = self.judge(&whole, &parts).await;
            judged?;
        }
        Ok(Loaded {
            checked,
            parts,
            whole,
            since,
        })
    }

    /// Shows Envoy everything at once, in a directory of its own, so that what it has is as it was whatever it says.
    async fn judge(&self, whole: &serde_json::Value, parts: &Parts) -> Result<(), String> {
        let directory = self.places.judged();
        let told = |error: io::Error| format!("{}: {error}", directory.display());
        for (name, text) in &parts.credentials {
            apply::write_text(&directory.join(name), text).map_err(told)?;
        }
        let kept = in_json(&self.places.below(gateway::CREDENTIALS));
        let shown = in_json(&directory.join(gateway::CREDENTIALS));
        // Whatever follows: it may be a file in there.
        let whole = whole.to_string();
        let whole = whole.replace(kept.trim_end_matches('"'), shown.trim_end_matches('"'));
        let file = directory.join("whole.json");
        apply::write_text(&file, &whole).map_err(told)?;
        let judged = self.program.judge(&file).await;
        let _ = std::fs::remove_dir_all(&directory);
        judged
    }

    /// Serves what an agent of the gateway is, if that is this tool's to do, from the first time on that there is one.
    fn serve_builtin(&self, checked: &Checked) -> io::Result<()> {
        let mut agents = checked.gateway.agents.iter();
        if agents.any(|agent| agent.builtin.is_some()) && self.echo.get().is_none() {
            let echo = echo::serve(Path::new(&self.echo_socket))?;
            // Nothing else sets it.
            let _ = self.echo.set(echo);
        }
        Ok(())
    }

    /// Reads a file that has changed; nothing if it cannot be used, which is told.
    async fn read(&self, current: Option<&Loaded>, watch: &mut Watch) -> Option<Loaded> {
        let name = &self.name;
        let stays = || say(&format!("{name}: not taken; what runs goes on"));
        let checked = match check::gateway(&self.arguments.file) {
            Ok(Ok(checked)) => checked,
            Ok(Err(_)) => {
                stays();
                return None;
            }
            Err(error) => {
                say(&format!("{name}: {error}; what runs goes on"));
                return None;
            }
        };
        let loaded = match self.load(checked, current).await {
            Ok(loaded) => loaded,
            Err(why) => {
                say(&format!("{name}: {why}"));
                stays();
                return None;
            }
        };
        watch.also(loaded.files());
        if current.is_some_and(|current| current.parts == loaded.parts) {
            say(&format!("{name}: nothing is different"));
            return None;
        }
        Some(loaded)
    }

    /// Makes a gateway live, or the one after it, if the file changes meanwhile.
    async fn change(
        &self,
        applied: &mut Applied,
        watch: &mut Watch,
        bound: &mut BTreeSet<SocketAddr>,
        current: &mut Option<Loaded>,
        mut new: Loaded,
    ) -> Result<(), String> {
        let name = &self.name;
        let first = current.is_none();
        loop {
            if !first && let Err(why) = take(&new.checked, bound) {
                say(&format!("{name}: {why}; what runs goes on"));
                return Ok(());
            }
            let waits = waits(&current.as_ref().unwrap_or(&new).checked.policy);
            let meanwhile = async || {
                loop {
                    watch.changed().await;
                    if let Some(newer) = self.read(Some(&new), watch).await {
                        return newer;
                    }
                }
            };
            match applied.apply(&new.parts, waits, meanwhile).await {
                Ok(Step::Superseded(newer)) => new = newer,
                Ok(Step::Live { cold }) => {
                    for cluster in cold {
                        say(&format!(
                            "{}: is not ready after {} s: its name has not been looked up, or a host has not said whether it is well. \
                             Until then requests for it are answered 503; all else is live",
                            called(&new.checked, &cluster),
                            apply::WARMS.as_secs()
                        ));
                    }
                    let took = new.since.elapsed().as_secs_f64();
                    match current.as_ref() {
                        None => self.greet(&new.checked, took),
                        Some(before) => {
                            let changes = changes::changes(
                                (&before.checked, &before.parts),
                                (&new.checked, &new.parts),
                            );
                            say(&format!("{name}: {changes}; live in {took:.2} s"));
                            self.tell_of_restart(before, &new, applied);
                        }
                    }
                    *current = Some(new);
                    // However fast one change follows another.
                    self.let_go(applied).await;
                    return Ok(());
                }
                Err(Refused { part, said }) if first => {
                    return Err(format!("Envoy refuses {part}: {said}"));
                }
                Err(Refused { part, said }) => {
                    say(&format!(
                        "{name}: Envoy refuses {part}: {said}\nwaykeeper: {name}: all is again as it was before; what runs goes on"
                    ));
                    return Ok(());
                }
            }
        }
    }

    fn greet(&self, checked: &Checked, took: f64) {
        let listeners = checked.gateway.listeners.iter().map(|listener| {
            let scheme = if listener.tls.is_some() {
                "https"
            } else {
                "http"
            };
            format!("{scheme}://{}", listener.address)
        });
        let listeners: Vec<String> = listeners.collect();
        say(&format!(
            "{} is served at {} by Envoy {}, live in {took:.2} s; changes of the file are followed. Envoy's admin interface: {}",
            self.name,
            listeners.join(", "),
            self.program.version,
            self.socket,
        ));
        if let Some(address) = checked.gateway.operations {
            say(&format!("metrics: http://{address}/stats/prometheus"));
        }
    }

    /// What is live only after a restart.
    fn tell_of_restart(&self, before: &Loaded, new: &Loaded, applied: &Applied) {
        let name = &self.name;
        if before.checked.policy.tables != new.checked.policy.tables {
            say(&format!(
                "{name}: `tables` keep their sizes until this is started again"
            ));
        }
        if applied.parts().bootstrap != new.parts.bootstrap
            && before.parts.bootstrap != new.parts.bootstrap
        {
            say(&format!(
                "{name}: what stands in Envoy's bootstrap has changed too; that is live once this is started again"
            ));
        }
    }

    async fn let_go(&self, applied: &mut Applied) {
        if let Err(Refused { part, said }) = applied.let_go().await {
            say(&format!("Envoy refuses {part}: {said}"));
        }
    }
}

// === impl Loaded ===

impl Loaded {
    /// Files that it names, with what they were when they were read.
    fn files(&self) -> impl Iterator<Item = (Vec<PathBuf>, u64)> {
        let secrets = self.parts.secrets.values();
        secrets.map(|secret| (secret.files.clone(), secret.generation))
    }
}

/// For how long requests may go by a policy that is no longer in force.
fn waits(policy: &Policy) -> Waits {
    let asked = policy.clients.validator.as_ref();
    let asked = asked.map_or(Duration::ZERO, |validator| validator.timeout + MARGIN);
    let collects = policy.routes.iter().filter(|route| route.collect_body);
    let collected = collects
        .map(|route| route.body_timeout)
        .max()
        .unwrap_or_default();
    // As long as Envoy lets undecided ones live, which is longer.
    let idle = gateway::idle_of_undecided(policy);
    let tried = policy
        .routes
        .iter()
        .filter_map(|route| match route.protocol {
            Protocol::Http => route.timeout,
            _ => route.first_byte_timeout,
        });
    Waits {
        undecided: idle.max(asked + collected),
        tried: tried.max().unwrap_or_default(),
    }
}

/// Makes sure that new addresses are free: where another process shares its own, Envoy would share it in silence, and each would
/// get some of the connections. Those that were bound once may still be draining.
fn take(checked: &Checked, bound: &mut BTreeSet<SocketAddr>) -> Result<(), String> {
    let gateway = &checked.gateway;
    let addresses = gateway.listeners.iter().map(|listener| listener.address);
    let addresses: Vec<SocketAddr> = addresses.chain(gateway.operations).collect();
    let overlaps = |one: &SocketAddr, other: &SocketAddr| {
        one.port() == other.port() && one.is_ipv4() == other.is_ipv4()
    };
    for address in &addresses {
        if bound.iter().any(|ours| overlaps(ours, address)) {
            continue;
        }
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(format!(
                    "cannot listen on {address}: something else does; end that, or take another port in `listen` or `operations`"
                ));
            }
            // Whatever else may be wrong with it Envoy tells.
            _ => {}
        }
    }
    bound.extend(addresses);
    Ok(())
}

/// What people call a cluster.
fn called(checked: &Checked, cluster: &str) -> String {
    let mut agents = checked.gateway.agents.iter();
    match agents.find(|agent| agent.cluster == cluster) {
        Some(agent) => format!("agent {}", agent.name),
        None => cluster.to_owned(),
    }
}

fn text(path: &Path) -> Result<String, Unusable> {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(Unusable(format!(
            "{}: is no path that Envoy can be told of",
            path.display()
        ))),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match waykeeper::config::duration(text) {
        Some(time) if time.subsec_nanos() == 0 && time <= Duration::from_secs(86_400) => Ok(time),
        _ => Err("expected whole seconds or more, such as 5s or 2m, up to 24h".to_owned()),
    }
}
