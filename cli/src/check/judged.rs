//! What Envoy itself says of a gateway: it is shown all that `waykeeper run` would give it, but for the filter, and validates that.

use std::cell::OnceCell;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use waykeeper::config::{Fault, Segment};

use super::{Against, Report};
use crate::gateway::{self, Admin, Around, Checked, Gateway};
use crate::run::envoy::Program;
use crate::run::{Whole, judge};
use crate::yaml::Value;

/// Complaints are told up to here: Envoy repeats all that it was shown in some.
const LONGEST: usize = 400;

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

/// What Envoy says against a gateway, and of what.
struct Complaint {
    /// The field that is to blame, as far as that is known.
    path: Vec<Segment>,
    said: String,
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

    /// What Envoy says of a gateway with the first of its patches alone, and `beside` it the clusters that are written elsewhere.
    fn complaint(
        &self,
        checked: &Checked,
        patches: usize,
        beside: &[Json],
    ) -> io::Result<Option<String>> {
        let Ok(Ready {
            program,
            runtime,
            place,
        }) = self.ready()
        else {
            return Ok(None);
        };
        let directory = place.path().to_string_lossy();
        let mut shown = checked.clone();
        shown.gateway.patches.truncate(patches);
        // Nobody makes these sockets, and short names fit wherever the place is.
        let around = Around {
            source: "gateway.yaml",
            module: "",
            directory: &directory,
            admin: Admin::Socket("/admin.sock"),
            builtin: Some("/echo.sock"),
            envoy: program.known,
        };
        let rendered = gateway::render(&shown, around).map_err(io::Error::other)?;
        let mut envoy = gateway::whole(&rendered).map_err(io::Error::other)?;
        gateway::without_absent(&mut envoy, &shown.gateway);
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
            directory: place.path(),
        };
        let shown_in = place.path().join("judged");
        let against = runtime.block_on(judge(program, &whole, &shown_in)).err();
        Ok(against.map(|against| against.to_string()))
    }

    /// What Envoy says against a gateway, if it does. It complains of one thing only, and says in its own words where; whether a
    /// patch is to blame is found by leaving the last ones out.
    fn judge(
        &self,
        document: &Value,
        checked: &Checked,
        beside: &[Json],
    ) -> io::Result<Option<Complaint>> {
        let all = checked.gateway.patches.len();
        let Some(said) = self.complaint(checked, all, beside)? else {
            return Ok(None);
        };
        let same = |patches: usize| -> io::Result<bool> {
            let other = self.complaint(checked, patches, beside)?;
            Ok(other.is_some_and(|other| kind(&other) == kind(&said)))
        };
        let path = if all == 0 || same(0)? {
            of_agent(&checked.gateway, &said)
        } else {
            // It is not said with so many, and is with so many.
            let (mut without, mut with) = (0, all);
            while with - without > 1 {
                let middle = without.midpoint(with);
                if same(middle)? {
                    with = middle;
                } else {
                    without = middle;
                }
            }
            of_patch(document, without, &said)
        };
        Ok(Some(Complaint {
            path,
            said: shortened(&said),
        }))
    }

    /// The same as a fault, if anybody is asked.
    pub(crate) fn fault(
        &self,
        document: &Value,
        checked: &Checked,
        beside: &[Json],
    ) -> io::Result<Option<Fault>> {
        if !self.asked {
            return Ok(None);
        }
        let complaint = self.judge(document, checked, beside)?;
        Ok(complaint.map(|Complaint { path, said }| Fault {
            positions: document.positions_at(&path),
            path,
            message: format!(
                "Envoy does not take it: {}",
                checked.environment.hidden(&said)
            ),
        }))
    }

    /// Who has validated what it was asked about, in words that go behind "Envoy".
    pub(crate) fn told(&self) -> String {
        match self.ready() {
            _ if !self.asked => "has not validated this: --no-validate".to_owned(),
            Ok(Ready { program, .. }) => format!(
                "has validated this: {} ({})",
                program.version,
                program.path.display()
            ),
            Err(why) => format!("has not validated this: {why}"),
        }
    }
}

impl Report<'_> {
    /// Has Envoy validate a gateway that is good so far, and says what it says.
    pub(super) fn check_by_envoy(
        &mut self,
        document: &Value,
        checked: &Checked,
        against: Against<'_>,
    ) -> io::Result<()> {
        let beside = against.envoy.map_or(&[][..], |envoy| &envoy.written);
        match against.judge.fault(document, checked, beside)? {
            Some(fault) => self.fault(document.line_at(&fault.positions), fault),
            None => Ok(()),
        }
    }

    /// Says who has validated what.
    pub(super) fn tell_judge(&mut self, judge: &Judge<'_>) -> io::Result<()> {
        writeln!(self.output, "    {}", judge.told())
    }
}

/// What is said but for figures, which are other ones where more is shown.
fn kind(said: &str) -> String {
    said.chars().filter(|it| !it.is_ascii_digit()).collect()
}

fn field(name: &str) -> Segment {
    Segment::Field(name.to_owned())
}

/// The patch, and in it the field that Envoy names, if it names one.
fn of_patch(document: &Value, index: usize, said: &str) -> Vec<Segment> {
    let mut path = vec![field("envoy"), field("patches"), Segment::Item(index)];
    let patches = document.get("envoy").and_then(|it| it.get("patches"));
    let patch = patches.and_then(|it| it.items().get(index));
    let written = ["add", "merge"].into_iter().find_map(|name| {
        let written = patch?.get(name)?;
        Some((name, written))
    });
    if let Some((name, written)) = written {
        path.push(field(name));
        let way = named(said).find_map(|name| way_to(written, &name));
        path.extend(way.unwrap_or_default());
    }
    path
}

/// What may be the field that a complaint is about: what stands in quotes, as one that is not known; then what is followed by a
/// colon, the last one first, as in `….stream_idle_timeout: …` or `FilterValidationError.MaxRequestBytes: …`.
fn named(said: &str) -> impl Iterator<Item = String> {
    let quoted = said.split('\'').skip(1).step_by(2).map(str::to_owned);
    let before_colons = said.rsplit(':').skip(1).map(|piece| {
        let piece = piece
            .split('[')
            .next_back()
            .filter(|it| it.ends_with(']'))
            .map_or(piece, |index| {
                piece.get(..piece.len() - index.len() - 1).unwrap_or(piece)
            });
        let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_';
        snake(piece.rsplit(|it| !is_part(it)).next().unwrap_or_default())
    });
    quoted.chain(before_colons)
}

/// `max_request_bytes` of `MaxRequestBytes`.
fn snake(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

/// The way to the first field of this name.
fn way_to(value: &Value, name: &str) -> Option<Vec<Segment>> {
    for entry in value.entries() {
        let inner = || way_to(&entry.value, name);
        if let Some(rest) = (entry.name == name).then(Vec::new).or_else(inner) {
            return Some([vec![field(&entry.name)], rest].concat());
        }
    }
    let mut items = value.items().iter().enumerate();
    items.find_map(|(index, item)| {
        let rest = way_to(item, name)?;
        Some([vec![Segment::Item(index)], rest].concat())
    })
}

/// The agent whose cluster is named, if one is.
fn of_agent(gateway: &Gateway, said: &str) -> Vec<Segment> {
    let named =
        |name: &str| said.contains(&format!("'{name}'")) || said.contains(&format!("\"{name}\""));
    let mut agents = gateway.agents.iter();
    let agent = agents.find(|agent| {
        named(&agent.cluster) || agent.websocket_cluster.as_deref().is_some_and(named)
    });
    agent.map_or_else(Vec::new, |agent| vec![field("agents"), field(&agent.name)])
}

/// The beginning of what is said.
fn shortened(said: &str) -> String {
    match said.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", said.get(..end).unwrap_or_default()),
        None => said.to_owned(),
    }
}
