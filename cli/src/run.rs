//! `waykeeper run`: Envoy as the gateway that a file describes, from its first request to its last. It is started here, follows
//! the file without a restart, and ends with this process.
//!
//! | file | what it does |
//! |---|---|
//! | `setting.rs` | what stays while it runs, and how a file becomes what Envoy has |
//! | `watch.rs` | sees that the file has changed, however it was written |
//! | `live.rs` | makes that live, and says what became of it |
//! | `apply.rs` | gives Envoy the parts that have changed, in order, and takes them back if it refuses one; below it: what is written and answered, certificates, clusters that leave |
//! | `credentials.rs` | has Envoy read a credential again, however it is written |
//! | `bound.rs` | sees that nobody else listens where Envoy is to |
//! | `changes.rs`, `health.rs`, `telling.rs`, `contact.rs`, `log.rs` | what is said: of a change, of the agents and why, of an Envoy that does not answer, by Envoy |
//! | `end.rs` | ends Envoy gently |
//! | `judge.rs` | what Envoy says of all of it beforehand, to `check` too |
//! | `envoy.rs`, `admin.rs`, `directory.rs`, `files.rs` | the program, its admin interface, the files between it and us |

mod admin;
mod apply;
mod bound;
mod changes;
mod contact;
mod credentials;
mod directory;
mod end;
pub(crate) mod envoy;
mod files;
mod health;
pub(crate) mod judge;
mod live;
mod log;
mod patched;
mod setting;
mod telling;
mod watch;

pub(crate) use judge::{Against, Whole, complaint, judge};

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use self::admin::Admin;
use self::apply::Applied;
use self::bound::Bound;
use self::contact::Contact;
use self::end::Ends;
use self::envoy::{Launch, Process};
use self::health::Health;
use self::live::Owed;
use self::log::Log;
use self::setting::{Setting, Unloaded, Unread};
use self::watch::Watch;
use crate::Outcome;
use crate::check;

/// How often Envoy is asked how its agents are.
const LOOKS: Duration = Duration::from_secs(1);
/// How often it is looked for what is waited for.
const POLL: Duration = Duration::from_millis(10);
/// And how seldom at last: each look goes through all of Envoy's statistics.
const MOST_POLL: Duration = Duration::from_millis(80);
/// How soon something is tried again that has failed for a reason that may pass.
const AGAIN: Duration = Duration::from_secs(3);
/// After so much time at the start it is said what is waited for.
const SILENCE: Duration = Duration::from_secs(1);
/// How long Envoy may take until it answers at its admin interface.
const STARTS: Duration = Duration::from_secs(60);

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
    /// How much of its own log Envoy hands on; debug and trace only of components that show no header
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
    let mut watch = Watch::of(Some(&arguments.file));
    let read = match check::gateway(&arguments.file)? {
        Ok(read) => read,
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
    let loaded = match setting.load(read, None, &mut watch).await {
        Ok(loaded) => loaded,
        Err(Unloaded::Fault(line)) => {
            tell(&line);
            return Ok(Outcome::Faulty);
        }
        Err(Unloaded::Faulty(why) | Unloaded::Unwritten { why, .. }) => {
            say(&format!("{}: {why}", setting.name));
            return Ok(Outcome::Faulty);
        }
    };
    let tables = loaded.checked.policy.tables;
    let mut bound = Bound::new(arguments.drain_time);
    if let Err(wrong) = bound.free(&loaded.listens, Instant::now()) {
        wrong.iter().for_each(|line| say(line));
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
    let starting = tokio::spawn(async {
        sleep(SILENCE).await;
        say("starting Envoy …");
    });
    let mut current = None;
    let mut health = Health::default();
    let mut looks = interval(LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = Some((loaded, None));
    let mut contact: Option<Contact> = None;
    let mut late = Late::default();
    loop {
        let work = async {
            if let Some(new) = next.take() {
                if current.is_none() {
                    let started = started(&admin).await;
                    started.map_err(|why| vec![format!("{}: {why}", setting.name)])?;
                    contact::keep(Path::new(&setting.socket));
                }
                late.owed = setting
                    .change(
                        &mut applied,
                        &mut watch,
                        &mut bound,
                        &mut current,
                        &tables,
                        new,
                    )
                    .await?;
                late.tried = Instant::now();
                starting.abort();
                if let Some(current) = &current {
                    let contact = contact.get_or_insert_with(|| {
                        Contact::begin(admin.clone(), Path::new(&setting.socket))
                    });
                    contact.serves(&current.checked.gateway);
                }
                return Ok::<(), Vec<String>>(());
            }
            tokio::select! {
                _ = watch.changed() => {
                    match setting.read(current.as_ref(), applied.whole(), &mut watch).await {
                        Ok(new) if contact.as_ref().is_some_and(Contact::is_lost) => {
                            say(&format!("{}: good; taken once Envoy answers", setting.name));
                            late = Late::default();
                            late.owed = Some(Owed { loaded: new, said: Vec::new() });
                        }
                        Ok(new) => {
                            late = Late::default();
                            next = Some((new, None));
                        }
                        Err(Unread::Same) => late = Late::default(),
                        Err(Unread::Short { bytes }) => late.short = Some(bytes),
                        // One that was good before it is owed all the same.
                        Err(Unread::Faulty) => late.short = None,
                    }
                }
                _ = looks.tick() => {
                    if let Some(current) = &current
                        && !contact.as_ref().is_some_and(Contact::is_lost)
                    {
                        health.look(&admin, &current.checked, applied.clusters_given()).await;
                        setting.let_go(&mut applied).await;
                        if late.tried.elapsed() >= AGAIN {
                            late.tried = Instant::now();
                            if let Some(Owed { loaded, said }) = late.owed.take() {
                                next = Some((loaded, Some(said)));
                            } else if late.short.is_some_and(|bytes| setting.has_room(bytes)) {
                                watch.again();
                            }
                        }
                    }
                }
            }
            Ok(())
        };
        tokio::select! {
            done = work => if let Err(wrong) = done {
                process.stop().await;
                wrong.iter().for_each(|line| say(line));
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

/// What is to be tried again, since it has failed for a reason that may pass.
struct Late {
    owed: Option<Owed>,
    /// So much could not be written of a file that was read.
    short: Option<usize>,
    tried: Instant,
}

impl Default for Late {
    fn default() -> Self {
        Self {
            owed: None,
            short: None,
            tried: Instant::now(),
        }
    }
}

/// Waits until Envoy answers.
async fn started(admin: &Admin) -> Result<(), String> {
    let mut last = String::new();
    let answers = within(STARTS, async || match admin.get("/ready").await {
        Ok(_) => Some(()),
        Err(error) => {
            last = error.to_string();
            None
        }
    });
    let answers = answers.await;
    answers.ok_or_else(|| format!("Envoy does not start: {last}"))
}

/// Looks for something until it is there, at most for so long.
async fn within<T>(time: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let (deadline, mut pause) = (Instant::now() + time, POLL);
    loop {
        let found = look().await;
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        sleep(pause).await;
        pause = (pause * 2).min(MOST_POLL);
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match waykeeper::config::duration(text) {
        Some(time) if time.subsec_nanos() == 0 && time <= Duration::from_secs(86_400) => Ok(time),
        _ => Err("expected whole seconds or more, such as 5s or 2m, up to 24h".to_owned()),
    }
}
