//! What a run goes by: the programs and places that stay, and how a file becomes what Envoy has.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::bound::Listen;
use super::credentials::Credentials;
use super::directory::Directory;
use super::envoy::{self, Program};
use super::judge::{Against, Whole, complaint, judge};
use super::watch::Watch;
use super::{Arguments, files, say, tell};
use crate::check::{self, Good};
use crate::echo::{self, Echo};
use crate::gateway::{self, Around, Builtin, Checked, Limiter, Names, Parts, Places, Rendered};
use crate::limiter::builtin::{self as limiter, Served};
use crate::readable::unreadable;
use crate::version;
use crate::yaml::Value;

/// In place of what would be told twice, the second time in OpenSSL's words.
const OF_TLS: &str = "is not given to Envoy with the certificates and keys that are told of above; put the right files there";

/// A file that was read and found good.
pub(super) struct Loaded {
    /// With the names that agents' clusters have now.
    pub(super) checked: Checked,
    pub(super) parts: Parts,
    pub(super) listens: Vec<Listen>,
    /// As it is written.
    pub(super) document: Value,
    /// As it would be if it were the first.
    pub(super) as_first: (Checked, Parts),
    /// As Envoy has judged it.
    whole: serde_json::Value,
    /// Since when it is to be live.
    pub(super) since: Instant,
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
    limiter_socket: PathBuf,
    limiter: OnceCell<(Builtin, Served)>,
    names: RefCell<Names>,
    pub(super) credentials: Credentials,
    pub(super) places: Places,
    /// The file, as it is told of.
    pub(super) name: String,
}

pub(super) struct Unusable(pub(super) String);

/// Why a file is not taken that was read and found good.
pub(super) enum Unloaded {
    /// With the line of the file.
    Fault(String),
    Faulty(String),
    /// What Envoy is to be shown of it cannot be written, so much of it.
    Unwritten {
        why: String,
        bytes: usize,
    },
}

/// Why nothing is made of a file, which has been told.
pub(super) enum Unread {
    /// It cannot be used.
    Faulty,
    /// It is live.
    Same,
    /// There was no room for so much.
    Short { bytes: usize },
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
            limiter_socket: directory.limiter_socket(),
            limiter: OnceCell::new(),
            names: RefCell::default(),
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
        Good { document, checked }: Good,
        before: Option<&Loaded>,
        watch: &mut Watch,
    ) -> Result<Loaded, Unloaded> {
        let since = Instant::now();
        let unable = gateway::unable_to_follow(&document, &checked, self.program.known);
        if let Some(fault) = unable.first() {
            return Err(Unloaded::Fault(check::told(&self.name, &document, fault)));
        }
        let unwritten = |error: io::Error| {
            let directory = &self.directory;
            Unloaded::Unwritten {
                why: format!("{directory}: a link in it cannot be made: {error}"),
                bytes: 0,
            }
        };
        self.serve_builtin(&checked).map_err(|error| {
            let socket = &self.echo_socket;
            Unloaded::Faulty(format!("{socket}: no agent can be served there: {error}"))
        })?;
        self.serve_limiter(&checked)
            .map_err(|why| Unloaded::Faulty(format!("no limiter can be served: {why}")))?;
        // Before Envoy looks into certificates: what changes after that is a change.
        let (mut rendered, mut parts) = self.render(&checked)?;
        let as_first = (checked.clone(), parts.clone());
        let named = self.names.borrow_mut().named(&checked, &parts);
        let checked = match named {
            Some(named) => {
                (rendered, parts) = self.render(&named)?;
                named
            }
            None => checked,
        };
        let secrets = parts.secrets.values();
        let secrets = secrets.map(|secret| (secret.files.clone(), secret.generation));
        // As one is that is not there.
        let none = gateway::generation(&[PathBuf::new()]);
        let absent = parts.absent().into_iter().map(|file| (vec![file], none));
        watch.also(secrets.chain(absent));
        // Envoy looks into these directories when it judges, too.
        let kept = self.credentials.keep(&parts.kept, &checked);
        kept.map_err(unwritten)?;
        // What the file names was looked at, but not what Envoy is told of besides.
        let files = parts.secrets.values().flat_map(|secret| &secret.files);
        let files: BTreeSet<&PathBuf> = files.collect();
        let wrong = files.into_iter().filter_map(|file| {
            let wrong = unreadable(file)?;
            Some(format!("{} {wrong}", file.display()))
        });
        let wrong: Vec<String> = wrong.collect();
        if !wrong.is_empty() {
            return Err(Unloaded::Faulty(
                match gateway::secrets::keep_all_from_envoy(&checked.gateway) {
                    true => OF_TLS.to_owned(),
                    false => wrong.join("\n  "),
                },
            ));
        }
        let whole = self.whole(&rendered)?;
        let judged = before
            .is_some_and(|before| before.whole == whole && before.parts.secrets == parts.secrets);
        if !judged && let Err(against) = self.judge(&whole, &parts).await {
            return Err(self.unloaded(against, &document, &checked).await);
        }
        Ok(Loaded {
            listens: Listen::all(&self.name, &document, &checked.gateway, &parts),
            document,
            checked,
            parts,
            as_first,
            whole,
            since,
        })
    }

    fn render(&self, checked: &Checked) -> Result<(Rendered, Parts), Unloaded> {
        let source = self.arguments.file.file_name();
        let source = source
            .map(|name| name.to_string_lossy())
            .unwrap_or_default();
        let around = Around {
            source: &source,
            module: &self.module,
            directory: &self.directory,
            admin: gateway::Admin::Socket(&self.socket),
            builtin: Some(&self.directory),
            envoy: self.program.known,
        };
        let rendered = gateway::render(checked, around).map_err(broken)?;
        let parts = Parts::of(&rendered, &self.places).map_err(broken)?;
        Ok((rendered, parts))
    }

    /// What Envoy is shown before it is given any of it.
    fn whole(&self, rendered: &Rendered) -> Result<serde_json::Value, Unloaded> {
        let mut whole = gateway::whole(rendered).map_err(broken)?;
        self.places
            .link_credentials(&mut whole, &mut BTreeMap::new());
        Ok(whole)
    }

    /// What Envoy says against everything at once.
    async fn judge(&self, whole: &serde_json::Value, parts: &Parts) -> Result<(), Against> {
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

    /// What is told of what is said against a gateway: as `check` tells it, but for certificates and keys that were told of.
    async fn unloaded(&self, against: Against, document: &Value, checked: &Checked) -> Unloaded {
        let said = match against {
            Against::Envoy(said) => said,
            Against::Unasked(why) => return Unloaded::Faulty(why),
            Against::Unwritten { bytes, .. } => {
                return Unloaded::Unwritten {
                    why: against.to_string(),
                    bytes,
                };
            }
        };
        let lower = said.to_ascii_lowercase();
        if (lower.contains("private key") || lower.contains("certificate"))
            && gateway::secrets::keep_all_from_envoy(&checked.gateway)
        {
            return Unloaded::Faulty(OF_TLS.to_owned());
        }
        let complaint = async |other: &Checked| {
            let (rendered, parts) = self.render(other)?;
            let whole = self.whole(&rendered)?;
            Ok(complaint(self.judge(&whole, &parts).await))
        };
        match check::blame(document, checked, &said, complaint).await {
            Ok(fault) => Unloaded::Fault(check::told(&self.name, document, &fault)),
            Err(unloaded) => unloaded,
        }
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

    /// Counts for a gateway whose limiter is this tool's to serve, from the first time on that it is.
    fn serve_limiter(&self, checked: &Checked) -> io::Result<()> {
        let limiter = checked.gateway.limiter.as_ref();
        let Some(builtin) = limiter.and_then(Limiter::builtin) else {
            return Ok(());
        };
        match self.limiter.get() {
            Some((served, _)) if served == builtin => {}
            Some(_) => say(
                "fleet.limiter.builtin: another file is taken once this is started again; until then it counts as it did",
            ),
            None => {
                let served = limiter::serve(&self.limiter_socket, builtin.keep.as_deref())?;
                // Nothing else sets it.
                let _ = self.limiter.set((builtin.clone(), served));
            }
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
        let read = match check::gateway(&self.arguments.file) {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => {
                stays();
                return Err(Unread::Faulty);
            }
            Err(error) => {
                say(&format!("{name}: {error}; what runs goes on"));
                return Err(Unread::Faulty);
            }
        };
        let loaded = match self.load(read, current, watch).await {
            Ok(loaded) => loaded,
            Err(Unloaded::Fault(line)) => {
                tell(&line);
                stays();
                return Err(Unread::Faulty);
            }
            Err(Unloaded::Faulty(why)) => {
                say(&format!("{name}: {why}"));
                stays();
                return Err(Unread::Faulty);
            }
            Err(Unloaded::Unwritten { why, bytes }) => {
                say(&format!(
                    "{name}: {why}; what runs goes on, and the file is read again once there is room"
                ));
                return Err(Unread::Short { bytes });
            }
        };
        if whole && current.is_some_and(|current| current.as_first.1 == loaded.as_first.1) {
            say(&format!("{name}: nothing is different"));
            return Err(Unread::Same);
        }
        Ok(loaded)
    }
}

/// A template of ours is.
fn broken(error: impl Display) -> Unloaded {
    Unloaded::Faulty(error.to_string())
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
