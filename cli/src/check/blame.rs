//! Which field of a `gateway.yaml` is to blame for what Envoy says against all that is made of it.

use waykeeper::config::{Fault, Segment};

use crate::gateway::{Checked, Gateway};
use crate::yaml::Value;

/// Complaints are told up to here: Envoy repeats all that it was shown in some.
const LONGEST: usize = 400;

/// What Envoy says against a gateway, as a fault of its file. Envoy complains of one thing only, and says in its own words where;
/// whether a patch is to blame is found by leaving the last ones out: `complaint` is what it says against another gateway.
///
/// # Errors
/// If it cannot be asked.
pub(crate) async fn blame<E>(
    document: &Value,
    checked: &Checked,
    said: &str,
    complaint: impl AsyncFn(&Checked) -> Result<Option<String>, E>,
) -> Result<Fault, E> {
    let all = checked.gateway.patches.len();
    let same = async |patches: usize| {
        let mut shown = checked.clone();
        shown.gateway.patches.truncate(patches);
        let other = complaint(&shown).await?;
        Ok(other.is_some_and(|other| kind(&other) == kind(said)))
    };
    let path = if all == 0 || same(0).await? {
        of_agent(&checked.gateway, said)
    } else {
        // It is not said with so many, and is with so many.
        let (mut without, mut with) = (0, all);
        while with - without > 1 {
            let middle = without.midpoint(with);
            if same(middle).await? {
                with = middle;
            } else {
                without = middle;
            }
        }
        path_of_patch(document, without, said)
    };
    let said = checked.environment.hidden(&shortened(said));
    Ok(Fault {
        positions: document.positions_at(&path),
        path,
        message: format!("Envoy does not take it: {said}"),
    })
}

/// What is said but for figures, which are other ones where more is shown.
fn kind(said: &str) -> String {
    said.chars().filter(|it| !it.is_ascii_digit()).collect()
}

fn field(name: &str) -> Segment {
    Segment::Field(name.to_owned())
}

/// The patch, and in it the field that Envoy names, if it names one.
pub(crate) fn path_of_patch(document: &Value, index: usize, said: &str) -> Vec<Segment> {
    let mut path = vec![field("envoy"), field("patches"), Segment::Item(index)];
    if let Some((name, written)) = written(document, index) {
        path.push(field(name));
        path.extend(way_to_named(written, said).unwrap_or_default());
    }
    path
}

/// Whether Envoy names a field of this patch.
pub(crate) fn names_field(document: &Value, index: usize, said: &str) -> bool {
    let written = written(document, index);
    written.is_some_and(|(_, written)| way_to_named(written, said).is_some())
}

/// What a patch adds or merges, and which of both.
fn written(document: &Value, index: usize) -> Option<(&'static str, &Value)> {
    let patch = { document.get("envoy")?.get("patches")?.items() }.get(index)?;
    let mut fields = ["add", "merge"].into_iter();
    fields.find_map(|name| Some((name, patch.get(name)?)))
}

/// The way to the field that Envoy names.
fn way_to_named(written: &Value, said: &str) -> Option<Vec<Segment>> {
    named(said).find_map(|name| way_to(written, &name))
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
