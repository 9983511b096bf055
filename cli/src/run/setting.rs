//! What a run goes by: the programs and places that stay, and how a file becomes what Envoy has.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use waykeeper::config::policy::{Policy, Protocol};

use super::apply::{self, Applied, Refused, Step, Waits};
use super::bound::{Bound, addresses};
use super::credentials::Credentials;
use super::directory::Directory;
use super::envoy::{self, Program};
use super::watch::Watch;
use super::{Arguments, changes, files, say};
use crate::check;
use crate::echo::{self, Echo};
use crate::gateway::{self, Around, Checked, Parts, Places};
use crate::readable::unreadable;
use crate::version;

/// What a callout may take beyond its time until its request has moved on.
const MARGIN: Duration = Duration::from_secs(2);

/// When what could not be done is tried again.
const ON_CHANGE: &str = "when the file changes";
const SOON: &str = "every few seconds";

/// A file that was read and found good.
pub(super) struct Loaded {
    pub(super) checked: Checked,
    pub(super) parts: Parts,
    /// As Envoy has judged it.
    whole: serde_json::Value,
    /// Since when it is to be live.
    since: Instant,
}

/// What does not change while this process runs.
pub(super) struct Setting<'a> {
    arguments: &'a Arguments,
    pub(super) program: Program,
    module: String,
    directory: String,
    pub(super) socket: String,
    echo_socket: String,
    echo: OnceCell<Echo>,
    pub(super) credentials: Credentials,
    pub(super) places: Places,
    /// The file, as it is told of.
    pub(super) name: String,
}

pub(super) struct Unusable(pub(super) String);

/// Why a file is not taken that was read and found good.
pub(super) enum Unloaded {
    Faulty(String),
    /// What Envoy is to be shown of it cannot be written, so much of it.
    Unwritten {
        why: String,
        bytes: usize,
    },
}

/// Why nothing is made of a file, which has been told.
pub(super) enum Unread {
    Told,
    /// There was no room for so much.
    Short {
        bytes: usize,
    },
}

/// A gateway that is not live for a reason that may pass, which has been told.
pub(super) struct Owed {
    pub(super) loaded: Loaded,
    pub(super) said: String,
}

// === impl Setting ===

impl<'a> Setting<'a> {
    pub(super) async fn of(arguments: &'a Arguments) -> Result<(Self, Directory), Unusable> {
        let program = Program::find(arguments.envoy.as_deref())
            .await
            .map_err(Unusable)?;
        let module = envoy::find_module(arguments.module.as_deref()).map_err(Unusable)?;
        if let Some(doubt) = version::doubt(&module) {
            say(&doubt);
        }
        let directory = Directory::make(arguments.directory.as_deref()).map_err(Unusable)?;
        let setting = Self {
            arguments,
            program,
            module: text(&module)?,
            directory: text(directory.path())?,
            socket: text(&directory.socket())?,
            echo_socket: text(&directory.echo_socket())?,
            echo: OnceCell::new(),
            credentials: Credentials::follow(),
            places: Places(directory.path().to_owned()),
            name: arguments.file.display().to_string(),
        };
        Ok((setting, directory))
    }

    /// What Envoy is to be given for a gateway, if it would take all of it at its start. Files that it names are watched from then
    /// on even if it would not: what is wrong may be in one of them.
    pub(super) async fn load(
        &self,
        checked: Checked,
        before: Option<&Loaded>,
        watch: &mut Watch,
    ) -> Result<Loaded, Unloaded> {
        let since = Instant::now();
        let told = |error: &dyn Display| Unloaded::Faulty(error.to_string());
        let unwritten = |error: io::Error| {
            let directory = &self.directory;
            Unloaded::Unwritten {
                why: format!("{directory}: a link in it cannot be made: {error}"),
                bytes: 0,
            }
        };
        self.serve_builtin(&checked).map_err(|error| {
            let socket = &self.echo_socket;
            told(&format_args!(
                "{socket}: no agent can be served there: {error}"
            ))
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
            envoy: self.program.known,
        };
        let rendered = gateway::render(&checked, around).map_err(|error| told(&error))?;
        // Before Envoy looks into certificates: what changes after that is a change.
        let parts = Parts::of(&rendered, &self.places).map_err(|error| told(&error))?;
        let secrets = parts.secrets.values();
        watch.also(secrets.map(|secret| (secret.files.clone(), secret.generation)));
        // Envoy looks into these directories when it judges, too.
        self.credentials.keep(&parts.kept).map_err(unwritten)?;
        // What the file names was looked at, but not what Envoy is told of besides.
        let files = parts.secrets.values().flat_map(|secret| &secret.files);
        let files: BTreeSet<&PathBuf> = files.collect();
        let wrong = files.into_iter().filter_map(|file| {
            let wrong = unreadable(file)?;
            Some(format!("{} {wrong}", file.display()))
        });
        let wrong: Vec<String> = wrong.collect();
        if !wrong.is_empty() {
            return Err(Unloaded::Faulty(wrong.join("\n  ")));
        }
        let mut whole = gateway::whole(&rendered).map_err(|error| told(&error))?;
        self.places
            .link_credentials(&mut whole, &mut BTreeMap::new());
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
    async fn judge(&self, whole: &serde_json::Value, parts: &Parts) -> Result<(), Unloaded> {
        let directory = self.places.judged();
        let texts = parts.credentials.iter();
        let mut texts: Vec<_> = texts
            .map(|(name, text)| (directory.join(name), text.clone()))
            .collect();
        let kept = in_json(&self.places.below(gateway::CREDENTIALS));
        let shown = in_json(&directory.join(gateway::CREDENTIALS));
        // Whatever follows: it may be a file in there.
        let whole = whole.to_string();
        let whole = whole.replace(kept.trim_end_matches('"'), shown.trim_end_matches('"'));
        let file = directory.join("whole.json");
        texts.push((file.clone(), whole));
        let mut written = texts.iter();
        let written = written.try_for_each(|(file, text)| files::write_text(file, text));
        let judged = match written {
            Ok(()) => self.program.judge(&file).await.map_err(Unloaded::Faulty),
            Err(error) => Err(Unloaded::Unwritten {
                why: format!("{} cannot be written: {error}", file.display()),
                bytes: texts.iter().map(|(_, text)| text.len()).sum(),
            }),
        };
        let _ = std::fs::remove_dir_all(&directory);
        judged
    }

    /// Whether so much can be written again.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let directory = self.places.judged();
        let written = files::write_text(&directory.join("room"), &" ".repeat(bytes));
        let _ = std::fs::remove_dir_all(&directory);
        written.is_ok()
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

    /// Reads a file that has changed.
    /// `whole` says whether all of `current` is in force, or on its way.
    ///
    /// # Errors
    /// If it cannot be used, which is told.
    pub(super) async fn read(
        &self,
        current: Option<&Loaded>,
        whole: bool,
        watch: &mut Watch,
    ) -> Result<Loaded, Unread> {
        let name = &self.name;
        let stays = || say(&format!("{name}: not taken; what runs goes on"));
        let checked = match check::gateway(&self.arguments.file) {
            Ok(Ok(checked)) => checked,
            Ok(Err(_)) => {
                stays();
                return Err(Unread::Told);
            }
            Err(error) => {
                say(&format!("{name}: {error}; what runs goes on"));
                return Err(Unread::Told);
            }
        };
        let loaded = match self.load(checked, current, watch).await {
            Ok(loaded) => loaded,
            Err(Unloaded::Faulty(why)) => {
                say(&format!("{name}: {why}"));
                stays();
                return Err(Unread::Told);
            }
            Err(Unloaded::Unwritten { why, bytes }) => {
                say(&format!(
                    "{name}: {why}; what runs goes on, and the file is read again once there is room"
                ));
                return Err(Unread::Short { bytes });
            }
        };
        if whole && current.is_some_and(|current| current.parts == loaded.parts) {
            say(&format!("{name}: nothing is different"));
            return Err(Unread::Told);
        }
        Ok(loaded)
    }

    /// Makes a gateway live, or the one after it, if the file changes meanwhile. Gives back one that is to be tried again; what
    /// was said of it before is not said again.
    ///
    /// # Errors
    /// If it is the first and cannot be made live.
    pub(super) async fn change(
        &self,
        applied: &mut Applied,
        watch: &mut Watch,
        bound: &mut Bound,
        current: &mut Option<Loaded>,
        (mut new, said_before): (Loaded, Option<String>),
    ) -> Result<Option<Owed>, String> {
        let name = &self.name;
        let first = current.is_none();
        // Of the first file they were looked at before Envoy was started.
        let mut free = first;
        loop {
            let listens = addresses(&new.checked.gateway);
            if !free && let Err(why) = bound.free(&listens, Instant::now()) {
                if first {
                    return Err(why);
                }
                // What this one was to take the place of may be in force in part.
                let goes_on = self.take_back(applied, ON_CHANGE).await;
                say(&format!("{name}: {why}; {goes_on}"));
                return Ok(None);
            }
            let waits = waits(&current.as_ref().unwrap_or(&new).checked.policy);
            let meanwhile = async || {
                loop {
                    watch.changed().await;
                    if let Ok(newer) = self.read(Some(&new), true, watch).await {
                        return newer;
                    }
                }
            };
            match applied.apply(&new.parts, waits, meanwhile).await {
                Ok(Step::Superseded(newer)) => {
                    new = newer;
                    free = false;
                }
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
                            let changes = match changes.as_str() {
                                "" => "again what it was before",
                                changes => changes,
                            };
                            say(&format!("{name}: {changes}; live in {took:.2} s"));
                            self.tell_of_restart(before, &new, applied);
                        }
                    }
                    bound.live(&listens, Instant::now());
                    self.credentials.only(&new.parts.kept);
                    *current = Some(new);
                    // However fast one change follows another.
                    self.let_go(applied).await;
                    return Ok(None);
                }
                Err(refused) if first => return Err(refused.to_string()),
                Err(refused) => {
                    let said = format!("{name}: {refused}");
                    if said_before.as_ref() != Some(&said) {
                        say(&said);
                    }
                    let may_pass = refused.may_pass();
                    let again = if may_pass { SOON } else { ON_CHANGE };
                    let goes_on = self.take_back(applied, again).await;
                    bound.refused(&listens, Instant::now());
                    if said_before.as_ref() != Some(&said) {
                        let tried = match may_pass && applied.whole() {
                            true => format!(". The change is tried again {again}"),
                            false => String::new(),
                        };
                        say(&format!("{name}: {goes_on}{tried}"));
                    }
                    return Ok(may_pass.then_some(Owed { loaded: new, said }));
                }
            }
        }
    }

    /// Puts what is live in force again, and tells how far that came, and when the rest is tried `again`.
    async fn take_back(&self, applied: &mut Applied, again: &str) -> String {
        if applied.whole() {
            return "what runs goes on".to_owned();
        }
        let left = applied.take_back().await;
        if left.is_empty() {
            return "all is again as it was before; what runs goes on".to_owned();
        }
        let left = left.iter().map(Refused::in_a_list);
        let left = left.collect::<Vec<_>>().join(", ");
        format!(
            "this could not be put back: {left}; it is tried again {again}, all else goes on as before"
        )
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

    pub(super) async fn let_go(&self, applied: &mut Applied) {
        if let Err(refused) = applied.let_go().await {
            say(&refused.to_string());
        }
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

/// A path as a text of JSON.
fn in_json(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}
