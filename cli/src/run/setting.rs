//! What a run goes by: the programs and places that stay, and how a file becomes what Envoy has.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use waykeeper::config::policy::{Policy, Protocol};

use super::apply::{self, Applied, Refused, Step, Waits};
use super::bound::{Bound, addresses};
use super::directory::Directory;
use super::envoy::{self, Program};
use super::judge::{Whole, judge};
use super::watch::Watch;
use super::{Arguments, changes, say};
use crate::check;
use crate::echo::{self, Echo};
use crate::gateway::{self, Around, Checked, Parts, Places};
use crate::readable::unreadable;
use crate::version;

/// What a callout may take beyond its time until its request has moved on.
const MARGIN: Duration = Duration::from_secs(2);

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
    pub(super) places: Places,
    /// The file, as it is told of.
    pub(super) name: String,
}

// === impl Setting ===

pub(super) struct Unusable(pub(super) String);

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
    ) -> Result<Loaded, String> {
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
            envoy: self.program.known,
        };
        let rendered = gateway::render(&checked, around).map_err(|error| told(&error))?;
        // Before Envoy looks into certificates: what changes after that is a change.
        let parts = Parts::of(&rendered, &self.places).map_err(|error| told(&error))?;
        let secrets = parts.secrets.values();
        watch.also(secrets.map(|secret| (secret.files.clone(), secret.generation)));
        // What the file names was looked at, but not what Envoy is told of besides.
        let files = parts.secrets.values().flat_map(|secret| &secret.files);
        let files: BTreeSet<&PathBuf> = files.collect();
        let wrong = files.into_iter().filter_map(|file| {
            let wrong = unreadable(file)?;
            Some(format!("{} {wrong}", file.display()))
        });
        let wrong: Vec<String> = wrong.collect();
        if !wrong.is_empty() {
            return Err(wrong.join("\n  "));
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

    /// What Envoy says against everything at once.
    async fn judge(&self, whole: &serde_json::Value, parts: &Parts) -> Result<(), String> {
        let credentials = parts.credentials.iter();
        let credentials: Vec<_> = credentials
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let whole = Whole {
            envoy: whole,
            credentials: &credentials,
            directory: &self.places.0,
        };
        judge(&self.program, &whole, &self.places.judged()).await
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
    /// `whole` says whether all of `current` is in force, or on its way.
    pub(super) async fn read(
        &self,
        current: Option<&Loaded>,
        whole: bool,
        watch: &mut Watch,
    ) -> Option<Loaded> {
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
        let loaded = match self.load(checked, current, watch).await {
            Ok(loaded) => loaded,
            Err(why) => {
                say(&format!("{name}: {why}"));
                stays();
                return None;
            }
        };
        if whole && current.is_some_and(|current| current.parts == loaded.parts) {
            say(&format!("{name}: nothing is different"));
            return None;
        }
        Some(loaded)
    }

    /// Makes a gateway live, or the one after it, if the file changes meanwhile.
    pub(super) async fn change(
        &self,
        applied: &mut Applied,
        watch: &mut Watch,
        bound: &mut Bound,
        current: &mut Option<Loaded>,
        mut new: Loaded,
    ) -> Result<(), String> {
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
                let goes_on = self.take_back(applied).await;
                say(&format!("{name}: {why}; {goes_on}"));
                return Ok(());
            }
            let waits = waits(&current.as_ref().unwrap_or(&new).checked.policy);
            let meanwhile = async || {
                loop {
                    watch.changed().await;
                    if let Some(newer) = self.read(Some(&new), true, watch).await {
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
                    *current = Some(new);
                    // However fast one change follows another.
                    self.let_go(applied).await;
                    return Ok(());
                }
                Err(Refused { part, said }) if first => {
                    return Err(format!("Envoy refuses {part}: {said}"));
                }
                Err(Refused { part, said }) => {
                    say(&format!("{name}: Envoy refuses {part}: {said}"));
                    let goes_on = self.take_back(applied).await;
                    bound.refused(&listens, Instant::now());
                    say(&format!("{name}: {goes_on}"));
                    return Ok(());
                }
            }
        }
    }

    /// Puts what is live in force again, and tells how far that came.
    async fn take_back(&self, applied: &mut Applied) -> String {
        if applied.whole() {
            return "what runs goes on".to_owned();
        }
        let left = applied.take_back().await;
        if left.is_empty() {
            return "all is again as it was before; what runs goes on".to_owned();
        }
        let left = left
            .iter()
            .map(|Refused { part, said }| format!("{part} ({said})"));
        let left = left.collect::<Vec<_>>().join(", ");
        format!(
            "this could not be put back: {left}; it is tried again when the file changes, all else goes on as before"
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
        if let Err(Refused { part, said }) = applied.let_go().await {
            say(&format!("Envoy refuses {part}: {said}"));
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
