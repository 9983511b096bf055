//! What Envoy itself says of a gateway: it is shown all that `waykeeper run` would give it, but for the filter, and validates that.

use std::cell::OnceCell;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use waykeeper::config::Fault;

use super::{Report, blame};
use crate::gateway::{self, Admin, Around, Checked};
use crate::run::envoy::Program;
use crate::run::{Against, Whole, complaint, judge};
use crate::yaml::Value;

/// Who validates.
pub(crate) struct Judge<'a> {
    /// The program that was named; else the one that `run` would find.
    written: Option<&'a Path>,
    /// Whether anybody is asked.
    asked: bool,
    /// Looked for once, by whatever needs it first.
    found: OnceCell<Result<Ready, String>>,
}

/// An Envoy that can be asked.
pub(crate) struct Ready {
    pub(crate) program: Program,
    runtime: Runtime,
    /// Where it is shown what it is asked about; for this user alone, since values of the environment may be in that.
    place: TempDir,
}

// === impl Judge ===

impl<'a> Judge<'a> {
    pub(crate) fn of(written: Option<&'a Path>, asked: bool) -> Self {
        Self {
            written,
            asked,
            found: OnceCell::new(),
        }
    }

    /// Looks for the program, and for a place to show it something.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn ready(&self) -> Result<&Ready, &str> {
        let found = self.found.get_or_init(|| {
            let told = |error: io::Error| error.to_string();
            // One thread, this one: Envoy ends with the one that started it.
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().map_err(told)?;
            Ok(Ready {
                program: runtime.block_on(Program::find(self.written))?,
                runtime,
                place: tempfile::Builder::new()
                    .prefix("waykeeper-check-")
                    .permissions(Permissions::from_mode(0o700))
                    .tempdir()
                    .map_err(told)?,
            })
        });
        found.as_ref().map_err(String::as_str)
    }

    /// The Envoy that is asked, if one is.
    pub(super) fn program(&self) -> Option<&Program> {
        let ready = self.ready().ok().filter(|_| self.asked);
        ready.map(|ready| &ready.program)
    }

    /// What Envoy says against a gateway as a fault, if anybody is asked; `beside` it are the clusters that are written elsewhere.
    pub(crate) fn fault(
        &self,
        document: &Value,
        checked: &Checked,
        beside: &[Json],
    ) -> io::Result<Option<Fault>> {
        if !self.asked {
            return Ok(None);
        }
        let Ok(ready) = self.ready() else {
            return Ok(None);
        };
        ready.runtime.block_on(async {
            match ready.judge(checked, beside).await? {
                Ok(()) => Ok(None),
                Err(Against::Envoy(said)) => {
                    let complaint =
                        async |other: &Checked| ready.judge(other, beside).await.map(complaint);
                    blame(document, checked, &said, complaint).await.map(Some)
                }
                Err(why) => Err(io::Error::other(why.to_string())),
            }
        })
    }

    /// Who has validated what it was asked about, in words that go behind "Envoy"; `what` that is: "this", or "the rest" of it.
    pub(crate) fn told(&self, what: &str) -> String {
        match self.ready() {
            _ if !self.asked => format!("has not validated {what}: --no-validate"),
            Ok(Ready { program, .. }) => format!(
                "has validated {what}: {} ({})",
                program.version,
                program.path.display()
            ),
            Err(why) => format!("has not validated {what}: {why}"),
        }
    }
}

// === impl Ready ===

impl Ready {
    /// Shows Envoy a gateway.
    async fn judge(&self, checked: &Checked, beside: &[Json]) -> io::Result<Result<(), Against>> {
        let directory = self.place.path().to_string_lossy();
        // Nobody makes these sockets, and short names fit wherever the place is.
        let around = Around {
            source: "gateway.yaml",
            module: "",
            directory: &directory,
            admin: Admin::Socket("/admin.sock"),
            builtin: Some("/"),
            envoy: self.program.known,
        };
        let rendered = gateway::render(checked, around).map_err(io::Error::other)?;
        let mut envoy = gateway::whole(&rendered).map_err(io::Error::other)?;
        gateway::without_absent(&mut envoy, &checked.gateway);
        if let Some(Json::Array(clusters)) = envoy.pointer_mut("/static_resources/clusters") {
            let new = |it: &&Json| !clusters.iter().any(|other| other["name"] == it["name"]);
            let more: Vec<Json> = beside.iter().filter(new).cloned().collect();
            clusters.extend(more);
        }
        let credentials = rendered.credentials.iter();
        let credentials: Vec<_> = credentials
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let whole = Whole {
            envoy: &envoy,
            credentials: &credentials,
            directory: self.place.path(),
        };
        let shown_in = self.place.path().join("judged");
        Ok(judge(&self.program, &whole, &shown_in).await)
    }
}

impl Report<'_> {
    /// Has Envoy validate a gateway that is good so far, and says what it says.
    pub(super) fn check_by_envoy(
        &mut self,
        document: &Value,
        checked: &Checked,
        against: super::Against<'_>,
    ) -> io::Result<()> {
        if let Some(program) = against.judge.program() {
            let unable = gateway::unable(document, checked, program.known);
            for fault in &unable {
                self.fault(document.line_at(&fault.positions), fault)?;
            }
            if !unable.is_empty() {
                return Ok(());
            }
            for fault in gateway::unable_to_follow(document, checked, program.known) {
                self.warning(document.line_at(&fault.positions), fault)?;
            }
        }
        let beside = against.envoy.map_or(&[][..], |envoy| &envoy.written);
        match against.judge.fault(document, checked, beside)? {
            Some(fault) => self.fault(document.line_at(&fault.positions), fault),
            None => Ok(()),
        }
    }

    /// Says who has validated what.
    pub(super) fn tell_judge(&mut self, judge: &Judge<'_>) -> io::Result<()> {
        // It was not shown the files with which it does not start.
        let what = if self.stops { "the rest" } else { "this" };
        writeln!(self.output, "    {}", judge.told(what))
    }
}
