//! Of a field that is not known where it stands: where else it is one, by the schema of the file.

use std::iter;
use std::sync::LazyLock;

use serde_json::{Map, Value};
use waykeeper::config::{self, did_you_mean};

use crate::gateway;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A `gateway.yaml`.
    Gateway,
    /// The filter's own document.
    Document,
}

/// In the place of a name that the operator chooses.
pub(super) const ANY: &str = "*";

/// No more places are told.
const MOST_TOLD: usize = 3;

/// The mappings that people know by a word, by the fields on the way there, lists without their numbers. In this order they are told.
const KNOWN: [(&[&str], &str); 9] = [
    (&["routes"], "a route"),
    (&["agents", ANY], "an agent"),
    (&["routes", "rules"], "a rule"),
    (&["routes", "rules", "match"], "a rule's match"),
    (&["plans", ANY], "a plan"),
    (&["limits"], "a limit"),
    (&["clients", "keys"], "an entry of clients.keys"),
    (&["listen"], "a listener"),
    (&[], "the file itself"),
];

/// A mapping that the schema knows.
struct Home {
    way: Vec<String>,
    fields: Vec<String>,
}

static OF_GATEWAY: LazyLock<Vec<Home>> = LazyLock::new(|| homes(&gateway::schema()));
static OF_DOCUMENT: LazyLock<Vec<Home>> = LazyLock::new(|| homes(&config::schema()));

/// `retry is a field of a route, not of an agent`, or nothing where none is called so, or nearly so. `way`: the fields on the way
/// there, and it.
pub(super) fn elsewhere(way: &[&str], kind: Kind) -> Option<String> {
    let (name, way) = way.split_last()?;
    let homes: &[Home] = match kind {
        Kind::Gateway => &OF_GATEWAY,
        Kind::Document => &OF_DOCUMENT,
    };
    let here = homes.iter().find(|home| home.is_at(way))?;
    if let Some(places) = places(homes, here, name) {
        return Some(format!("{name} {places}"));
    }
    let known = homes.iter().filter(|home| home.rank().is_some());
    let known = || {
        known
            .clone()
            .flat_map(|home| &home.fields)
            .map(String::as_str)
    };
    let near = did_you_mean(name, known());
    let meant =
        known().find(|it| !near.is_empty() && did_you_mean(name, iter::once(*it)) == near)?;
    let places = places(homes, here, meant)?;
    Some(format!("did you mean {meant:?}? It {places}"))
}

/// `is a field of …, not of …`.
fn places(homes: &[Home], here: &Home, name: &str) -> Option<String> {
    let mut places: Vec<(usize, &Home)> = homes
        .iter()
        .filter(|home| home.way != here.way && home.fields.iter().any(|it| it == name))
        .filter_map(|home| Some((home.nearness(here)?, home)))
        .collect();
    places.sort_by_key(|(nearness, _)| *nearness);
    let places = places.iter().take(MOST_TOLD);
    let mut places: Vec<String> = places
        .map(|(_, home)| format!("of {}", home.word()))
        .collect();
    let last = places.pop()?;
    let all = match places.as_slice() {
        [] => last,
        before => format!("{} and {last}", before.join(", ")),
    };
    Some(format!("is a field {all}, not of {}", here.word()))
}

impl Home {
    fn is_at(&self, way: &[&str]) -> bool {
        let fits = |(own, other): (&String, &&str)| own == ANY || own == other;
        self.way.len() == way.len() && self.way.iter().zip(way).all(fits)
    }

    /// Its place among those that people know.
    fn rank(&self) -> Option<usize> {
        KNOWN.iter().position(|(way, _)| self.way == *way)
    }

    /// How soon it is told of a field that stands here. `None`: it has nothing to do with what stands there.
    fn nearness(&self, here: &Self) -> Option<usize> {
        let is_within = match here.way.as_slice() {
            [] => self.way.len() == 1,
            way => self.way.starts_with(way),
        };
        match self.rank() {
            Some(rank) => Some(rank),
            None if is_within => Some(KNOWN.len() + self.way.len()),
            None if here.way.starts_with(&self.way) => Some(usize::MAX),
            None => None,
        }
    }

    /// What it is called.
    fn word(&self) -> String {
        let fits = |known: &&(&[&str], &str)| {
            self.way
                .iter()
                .map(String::as_str)
                .take(known.0.len())
                .eq(known.0.iter().copied())
        };
        let nearest = KNOWN.iter().filter(fits).max_by_key(|(way, _)| way.len());
        let (way, word) = nearest.copied().unwrap_or_default();
        let rest = self.way.get(way.len()..).unwrap_or_default().join(".");
        match (way.is_empty(), rest.is_empty()) {
            (_, true) => word.to_owned(),
            (true, false) => rest,
            (false, false) => format!("{word}'s {rest}"),
        }
    }
}

/// All mappings with fields of their own.
fn homes(schema: &Value) -> Vec<Home> {
    let mut homes = Vec::new();
    gather(schema, schema, &mut Vec::new(), &mut homes);
    homes
}

fn gather(schema: &Value, at: &Value, way: &mut Vec<String>, homes: &mut Vec<Home>) {
    /// Deeper than anything stands, and nothing stands within itself.
    const DEEPEST: usize = 12;
    let Some(at) = at.as_object().filter(|_| way.len() < DEEPEST) else {
        return;
    };
    let mut within = |way: &mut Vec<String>, name: &str, at: &Value| {
        way.push(name.to_owned());
        gather(schema, at, way, homes);
        way.pop();
    };
    let fields = at.get("properties").and_then(Value::as_object);
    for (name, field) in fields.into_iter().flatten() {
        within(way, name, field);
    }
    if let Some(named) = at.get("additionalProperties") {
        within(way, ANY, named);
    }
    if let Some(fields) = fields.filter(|_| at.get("type").is_some()) {
        add(homes, way, fields);
    }
    let definition = at.get("$ref").and_then(Value::as_str);
    let definition = definition.and_then(|it| schema.pointer(it.strip_prefix('#')?));
    let others = ["oneOf", "anyOf", "allOf"]
        .iter()
        .filter_map(|it| at.get(*it)?.as_array());
    let others = definition
        .into_iter()
        .chain(at.get("items"))
        .chain(others.flatten());
    for other in others {
        gather(schema, other, way, homes);
    }
}

fn add(homes: &mut Vec<Home>, way: &[String], fields: &Map<String, Value>) {
    let fields = fields.keys().cloned();
    match homes.iter_mut().find(|home| home.way == way) {
        Some(home) => home.fields.extend(fields),
        None => homes.push(Home {
            way: way.to_vec(),
            fields: fields.collect(),
        }),
    }
}
