//! `envoy.patches`: what operators add to Envoy's configuration, or change in it, beyond what the rest of the file can say. Here
//! they are read; `apply.rs` puts them into what was rendered, for every command alike; `early.rs` says which match nothing, beside
//! other faults.

mod apply;
mod early;
mod kept;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use waykeeper::config::{Fields, Node, Spot};

use super::agents;
pub(super) use apply::{Misfit, patched};
pub(super) use early::{misfits as misfits_beside_faults, stand_in};
use kept::{Kept, OWN_FILTERS, ROUTER};

use crate::yaml::{Kind, Value};

const MOST_PATCHES: usize = 256;

pub(super) const ENVOY_FIELDS: &[&str] = &["patches"];
pub(super) const FIELDS: &[&str] = &["in", "name", "listener", "before", "after", "add", "merge"];

/// One change of what was rendered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Patch {
    /// Its place in the list.
    pub(crate) index: usize,
    pub(super) of: In,
    /// The one listener that it is about; else all of `listen`.
    pub(super) listener: Option<String>,
    pub(super) change: Change,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// Behind what is there.
    Add(Node),
    /// Beside the one of this name.
    Insert(Side, String, Node),
    /// RFC 7386, into the one of this name where there are several.
    Merge(Option<String>, Node),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

/// What a patch is about, called as Envoy's field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum In {
    Bootstrap,
    Clusters,
    Listeners,
    Manager,
    HttpFilters,
    AccessLog,
    VirtualHost,
    Routes,
}

/// Which part of Envoy's configuration a patch is in, of those that Envoy takes or refuses as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchedPart {
    Bootstrap,
    Clusters,
    Listeners,
    Routes,
}

const WORDS: [(&str, In); 8] = [
    ("bootstrap", In::Bootstrap),
    ("clusters", In::Clusters),
    ("listeners", In::Listeners),
    ("http_connection_manager", In::Manager),
    ("http_filters", In::HttpFilters),
    ("access_log", In::AccessLog),
    ("virtual_host", In::VirtualHost),
    ("routes", In::Routes),
];

// === impl Patch ===

impl Patch {
    pub(crate) fn part(&self) -> PatchedPart {
        match self.of {
            In::Bootstrap => PatchedPart::Bootstrap,
            In::Clusters => PatchedPart::Clusters,
            In::Listeners | In::Manager | In::HttpFilters | In::AccessLog => PatchedPart::Listeners,
            In::VirtualHost | In::Routes => PatchedPart::Routes,
        }
    }

    /// What it adds or changes is called so, if it has a name.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.change {
            Change::Merge(name, _) => name.as_deref(),
            Change::Add(Node::Map(fields)) | Change::Insert(_, _, Node::Map(fields)) => {
                fields.iter().find_map(|field| match field {
                    (field, Node::Text(name)) if field == "name" => Some(name.as_str()),
                    _ => None,
                })
            }
            _ => None,
        }
    }

    /// Whether it is the same, wherever in the list.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        (self.of, &self.listener, &self.change) == (other.of, &other.listener, &other.change)
    }

    /// Goes by other names of clusters. Those in Envoy's bootstrap stay: it is read once, when all have their first.
    pub(super) fn rename(&mut self, names: &BTreeMap<String, String>) {
        if self.of == In::Bootstrap {
            return;
        }
        if let (In::Clusters, Change::Merge(Some(name), _)) = (self.of, &mut self.change)
            && let Some(other) = names.get(name)
        {
            name.clone_from(other);
        }
        let (Change::Add(node) | Change::Insert(_, _, node) | Change::Merge(_, node)) =
            &mut self.change;
        rename(node, names);
    }
}

/// Wherever a cluster is referred to.
fn rename(node: &mut Node, names: &BTreeMap<String, String>) {
    match node {
        Node::Map(fields) => {
            for (field, value) in fields {
                let refers = matches!(field.as_str(), "cluster" | "cluster_name");
                match value {
                    Node::Text(name) if refers => {
                        if let Some(other) = names.get(name) {
                            name.clone_from(other);
                        }
                    }
                    value => rename(value, names),
                }
            }
        }
        Node::List(items) => items.iter_mut().for_each(|item| rename(item, names)),
        _ => {}
    }
}

// === impl In ===

impl In {
    fn word(self) -> &'static str {
        let found = WORDS.iter().find(|(_, of)| *of == self);
        found.map_or("", |(word, _)| word)
    }

    /// Whether there may be more of them.
    fn takes_more(self) -> bool {
        matches!(self, Self::Clusters | Self::HttpFilters | Self::AccessLog)
    }

    /// Whether those that are there can be changed.
    fn is_changed(self) -> bool {
        self != Self::AccessLog
    }

    /// Whether there are several, which have names.
    fn is_named(self) -> bool {
        matches!(
            self,
            Self::Clusters | Self::Listeners | Self::HttpFilters | Self::Routes
        )
    }

    /// Whether each listener has its own.
    fn is_of_listener(self) -> bool {
        !matches!(self, Self::Bootstrap | Self::Clusters | Self::Listeners)
    }

    fn fields(self) -> Vec<&'static str> {
        let known = [
            ("name", self.is_named()),
            ("listener", self.is_of_listener()),
            ("before", self == Self::HttpFilters),
            ("after", self == Self::HttpFilters),
            ("add", self.takes_more()),
            ("merge", self.is_changed()),
        ];
        let known = known.into_iter().filter(|(_, is_known)| *is_known);
        known.map(|(name, _)| name).collect()
    }
}

/// All words for what a patch may be about.
pub(super) fn words() -> [&'static str; 8] {
    WORDS.map(|(word, _)| word)
}

/// Reads `envoy`; `written` is the same as it stands in the file, and `only` the name of the listener if there is one.
pub(super) fn patches(spot: &Spot<'_>, written: Option<&Value>, only: Option<&str>) -> Vec<Patch> {
    let fields = spot.fields(ENVOY_FIELDS);
    let list = fields.and_then(|fields| fields.get("patches"));
    let written = written.and_then(|written| written.get("patches"));
    let written = written.map_or(&[][..], Value::items);
    let Some(items) = list.as_ref().and_then(|spot| spot.list(MOST_PATCHES)) else {
        return Vec::new();
    };
    { items.zip(written).enumerate() }
        .filter_map(|(index, (spot, written))| patch(index, &spot, written, only))
        .collect()
}

/// The clusters that the patches of a file add, whatever else is wrong with it.
pub(crate) fn added_clusters(document: &Value) -> Vec<&str> {
    let patches = document.get("envoy").and_then(|it| it.get("patches"));
    let patches = patches.map_or(&[][..], Value::items).iter();
    patches
        .filter(|patch| patch.get("in").and_then(Value::text) == Some(In::Clusters.word()))
        .filter_map(|patch| patch.get("add")?.get("name")?.text())
        .collect()
}

fn patch(index: usize, spot: &Spot<'_>, written: &Value, only: Option<&str>) -> Option<Patch> {
    let fields = spot.fields(FIELDS)?;
    let of = fields.need("in")?.choice(&WORDS)?;
    let known = of.fields();
    for (name, spot) in fields.iter() {
        if name != "in" && FIELDS.contains(&name) && !known.contains(&name) {
            spot.fault(format!("has no meaning in {}", of.word()));
        }
    }
    let only = only.filter(|_| of == In::Listeners);
    let (add, merge) = match (of.takes_more(), of.is_changed()) {
        (true, true) => {
            let both = (fields.get("add"), fields.get("merge"));
            if both.0.is_some() == both.1.is_some() {
                fields.fault("must have exactly one of add and merge");
                return None;
            }
            both
        }
        (true, false) => (fields.need("add"), None),
        _ => (None, fields.need("merge")),
    };
    let change = match (add, merge) {
        (Some(add), _) => added(of, &fields, &add, written.get("add")?)?,
        (None, Some(merge)) => merged(of, &fields, &merge, written.get("merge")?, only)?,
        (None, None) => return None,
    };
    Some(Patch {
        index,
        of,
        listener: text(&fields, "listener"),
        change,
    })
}

fn text(fields: &Fields<'_>, name: &str) -> Option<String> {
    let text = fields.get(name)?.text()?;
    Some(text.to_owned())
}

fn added(of: In, fields: &Fields<'_>, spot: &Spot<'_>, written: &Value) -> Option<Change> {
    if let Some(name) = fields.get("name") {
        name.fault("stands beside merge only; what is added has its name in it");
    }
    look(spot, written, "", &[]);
    let name = match written.get("name").map(|name| &name.kind) {
        Some(Kind::Text(name)) => name,
        _ => {
            spot.fault("has no name that is a text");
            return None;
        }
    };
    if of == In::Clusters
        && let Err(why) = agents::elsewhere(name)
    {
        spot.fault(why);
    }
    let node = written.node();
    if of != In::HttpFilters {
        return Some(Change::Add(node));
    }
    let (before, after) = (fields.get("before"), fields.get("after"));
    let (side, beside) = match (before, after) {
        (Some(before), None) => (Side::Before, before.text()?),
        (None, Some(after)) => {
            let beside = after.text()?;
            if beside == ROUTER {
                after.fault(format!(
                    "the router sends the request on, and no filter comes after it; write before: {ROUTER}"
                ));
            }
            (Side::After, beside)
        }
        _ => {
            fields.fault("must have exactly one of before and after, with the name of a filter");
            return None;
        }
    };
    Some(Change::Insert(side, beside.to_owned(), node))
}

/// `only` is what is changed, if no name says it.
fn merged(
    of: In,
    fields: &Fields<'_>,
    spot: &Spot<'_>,
    written: &Value,
    only: Option<&str>,
) -> Option<Change> {
    for side in ["before", "after"] {
        if let (In::HttpFilters, Some(spot)) = (of, fields.get(side)) {
            spot.fault("stands beside add only");
        }
    }
    let only = only.filter(|_| fields.get("name").is_none());
    let name = if let Some(only) = only {
        Some(only.to_owned())
    } else if of.is_named() {
        let spot = fields.need("name")?;
        let name = spot.text()?;
        if of == In::HttpFilters
            && let Some((_, why)) = OWN_FILTERS.iter().find(|(own, _)| *own == name)
        {
            spot.fault(format!("stays as it is: {why}"));
        }
        Some(name.to_owned())
    } else {
        None
    };
    if spot.is_map() && written.entries().is_empty() {
        spot.fault("changes nothing");
    }
    look(spot, written, "", kept::of(of));
    Some(Change::Merge(name, written.node()))
}

/// Tells what is written twice in something that Envoy reads, and what must not be written there. `path` is where it stands.
fn look(spot: &Spot<'_>, written: &Value, path: &str, kept: &[Kept]) {
    match &written.kind {
        Kind::Map(entries) => {
            let Some(fields) = spot.named(usize::MAX) else {
                return;
            };
            for ((name, inner), entry) in fields.iter().zip(entries) {
                let path = match path {
                    "" => name.to_owned(),
                    path => format!("{path}.{name}"),
                };
                let is_map = matches!(entry.value.kind, Kind::Map(_));
                let touched = kept.iter().find(|kept| kept.is_touched(&path, is_map));
                match touched {
                    Some(kept) => inner.fault(format!("stays as it is: {}", kept.why)),
                    None => look(&inner, &entry.value, &path, kept),
                }
            }
        }
        Kind::List(items) if !path.is_empty() => {
            let list = spot.list(usize::MAX).into_iter().flatten();
            for (inner, item) in list.zip(items) {
                look(&inner, item, &format!("{path}[]"), kept);
            }
        }
        // What is added and what is merged are mappings.
        _ if path.is_empty() => {
            let _ = spot.named(usize::MAX);
        }
        _ => {}
    }
}
