//! What is changed of a route's requests and of the answers to them: headers, the host, members of a JSON body.

use super::document::Node;
use super::near::did_you_mean;
use super::policy::{BodyEdit, Edits, HeaderEdits, Part, Protocol, Template, Variable};
use super::reader::{Fields, Spot};
use super::{hosts, names};
use crate::text::headers::are_same;
use crate::text::json::{Edit, leads_to_item};

const MOST_HEADERS: usize = 64;
const MOST_MEMBERS: usize = 32;
const LONGEST_TEXT: usize = 4096;
/// A body that is changed is held in the filter's own memory, twice.
const LARGEST_BODY: u64 = 16 << 20;

pub(super) const REQUEST_FIELDS: &[&str] = &["headers", "host", "body"];
pub(super) const RESPONSE_FIELDS: &[&str] = &["headers"];
pub(super) const HEADERS_FIELDS: &[&str] = &["set", "add", "remove"];
pub(super) const BODY_FIELDS: &[&str] = &["set", "remove"];

/// By which words texts speak of what is known of a request.
pub const VARIABLES: [(&str, Variable); 7] = [
    ("client", Variable::Client),
    ("plan", Variable::Plan),
    ("team", Variable::Team),
    ("organisation", Variable::Organisation),
    ("route", Variable::Route),
    ("agent", Variable::Agent),
    ("request_id", Variable::RequestId),
];

/// What a route's `request` and `response` say. `None`: nothing is changed.
#[inline(never)]
pub(super) fn edits(
    route: &Fields<'_>,
    protocol: Protocol,
    max_body: Option<u64>,
) -> Option<Box<Edits>> {
    let mut edits = Edits::default();
    if let Some(spot) = route.get("request")
        && let Some(fields) = spot.fields(REQUEST_FIELDS)
    {
        if let Some(headers) = fields.get("headers") {
            edits.request = headers_of(&headers);
        }
        let host = fields.get("host");
        edits.host = host.and_then(|spot| spot.checked(hosts::host).map(str::to_owned));
        if let Some(body) = fields.get("body") {
            if protocol == Protocol::Websocket {
                body.fault("a WebSocket's request has no body");
            } else if route.get("max_body").is_none() {
                body.fault("needs max_body: all of the body is held until it is changed");
            } else if max_body.is_some_and(|most| most > LARGEST_BODY) {
                body.fault("is for bodies of at most 16MiB: write a smaller max_body");
            }
            edits.body = members(&body);
        }
    }
    if let Some(spot) = route.get("response")
        && let Some(fields) = spot.fields(RESPONSE_FIELDS)
        && let Some(headers) = fields.get("headers")
    {
        edits.response = headers_of(&headers);
    }
    (!edits.are_none()).then(|| Box::new(edits))
}

fn headers_of(spot: &Spot<'_>) -> HeaderEdits {
    let mut edits = HeaderEdits::default();
    let Some(fields) = spot.fields(HEADERS_FIELDS) else {
        return edits;
    };
    let mut taken: Vec<String> = Vec::new();
    if let Some(spot) = fields.get("set") {
        edits.set = valued(&spot, &mut taken);
    }
    if let Some(spot) = fields.get("add") {
        edits.add = valued(&spot, &mut taken);
    }
    if let Some(spot) = fields.get("remove") {
        for item in spot.nonempty_list(MOST_HEADERS).into_iter().flatten() {
            let name = item.checked(names::edited_header);
            let name = name.and_then(|name| take(&item, name, &mut taken));
            edits.remove.extend(name);
        }
    }
    edits
}

fn valued(spot: &Spot<'_>, taken: &mut Vec<String>) -> Vec<(String, Template)> {
    let mut valued = Vec::new();
    let named = spot.headers(MOST_HEADERS);
    for (name, spot) in named.iter().flat_map(Fields::iter) {
        if let Err(fault) = names::edited_header(name) {
            spot.fault(fault);
            continue;
        }
        let value = spot
            .secret(names::header_value)
            .map(|text| template(&spot, text));
        let name = take(&spot, name, taken);
        valued.extend(name.zip(value.flatten()));
    }
    valued
}

/// A header's name as it is compared, unless something is done with it already.
fn take(spot: &Spot<'_>, name: &str, taken: &mut Vec<String>) -> Option<String> {
    let name = name.to_ascii_lowercase();
    if taken
        .iter()
        .any(|other| are_same(other.as_bytes(), name.as_bytes()))
    {
        spot.fault("something is done with this header already");
        return None;
    }
    taken.push(name.clone());
    Some(name)
}

fn members(spot: &Spot<'_>) -> Vec<(String, BodyEdit)> {
    let mut edits = Vec::new();
    let Some(fields) = spot.fields(BODY_FIELDS) else {
        return edits;
    };
    if let Some(set) = fields.get("set") {
        let named = set.named(MOST_MEMBERS);
        for (pointer, spot) in named.iter().flat_map(Fields::iter) {
            if let Some(edit) = value(&spot)
                && is_alone(&spot, pointer, &edits)
            {
                edits.push((pointer.to_owned(), edit));
            }
        }
    }
    if let Some(remove) = fields.get("remove") {
        for spot in remove.nonempty_list(MOST_MEMBERS).into_iter().flatten() {
            if let Some(pointer) = spot.text()
                && is_alone(&spot, pointer, &edits)
            {
                edits.push((pointer.to_owned(), BodyEdit::Remove));
            }
        }
    }
    edits
}

/// Whether a pointer leads to a member that nothing else is done with.
fn is_alone(spot: &Spot<'_>, pointer: &str, others: &[(String, BodyEdit)]) -> bool {
    let before = others.iter().map(|(other, _)| other.as_str());
    let within = |one: &str, other: &str| {
        let rest = one.strip_prefix(other);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    // As the change of a body is made ready: what passes here is never left undone there.
    if let Err(fault) = Edit::new(&mut before.chain([pointer])) {
        spot.fault(fault.to_string());
    } else if pointer.is_empty() {
        spot.fault("is the whole body; a JSON pointer to a member is such as /user");
    } else if leads_to_item(pointer) {
        spot.fault("a number leads to an item of an array; only members of objects can be changed");
    } else if let Some((other, _)) =
        (others.iter()).find(|(other, _)| within(other, pointer) || within(pointer, other))
    {
        let same = if other == pointer {
            "something is done with this member already"
        } else {
            "one of these members lies in the other"
        };
        spot.fault(same);
    } else {
        return true;
    }
    false
}

fn value(spot: &Spot<'_>) -> Option<BodyEdit> {
    match spot.node() {
        Node::Bool(flag) => Some(BodyEdit::Json(flag.to_string())),
        Node::Number(number) if number.is_finite() => {
            let json = match spot.node().whole() {
                Some(whole) => whole.to_string(),
                None => serde_json::Value::from(*number).to_string(),
            };
            Some(BodyEdit::Json(json))
        }
        Node::Text(text) if text.len() <= LONGEST_TEXT => template(spot, text).map(BodyEdit::Text),
        Node::Text(_) => {
            spot.fault("the value is longer than 4096 bytes");
            None
        }
        _ => {
            spot.fault("expected a text, a number, true or false");
            None
        }
    }
}

/// A text in which variables stand in braces.
fn template(spot: &Spot<'_>, text: &str) -> Option<Template> {
    let read = parts(text);
    if let Err(fault) = &read {
        spot.fault(fault.as_str());
    }
    read.ok().map(Template)
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        literal.push_str(before);
        let twice = [("{{", '{'), ("}}", '}')].into_iter();
        let mut twice = twice.filter_map(|(twice, one)| Some((from.strip_prefix(twice)?, one)));
        if let Some((behind, brace)) = twice.next() {
            literal.push(brace);
            rest = behind;
            continue;
        }
        let inner = from.strip_prefix('{').and_then(|it| it.split_once('}'));
        let Some((name, behind)) = inner else {
            return Err("has a brace alone; a variable is such as {client}, a brace that is meant is written twice".to_owned());
        };
        if literal.ends_with('$') {
            return Err(format!(
                "write {{{name}}} without the $: that is for variables of the environment"
            ));
        }
        let Some((_, variable)) = VARIABLES.iter().find(|(other, _)| *other == name) else {
            let all: Vec<_> = VARIABLES.iter().map(|(name, _)| *name).collect();
            let near = did_you_mean(name, all.iter().copied());
            return Err(format!(
                "no variable {{{name}}}{near}; there are {} (a brace that is meant is written twice)",
                all.join(", ")
            ));
        };
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(Part::Variable(*variable));
        rest = behind;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stand_in_braces_and_braces_twice() {
        let text = |text: &str| Part::Text(text.to_owned());
        let client = || Part::Variable(Variable::Client);
        for (written, read) in [
            ("", vec![]),
            ("a b", vec![text("a b")]),
            ("{client}", vec![client()]),
            (
                "a{client}b{client}",
                vec![text("a"), client(), text("b"), client()],
            ),
            ("{{client}}", vec![text("{client}")]),
            ("{{{client}}}", vec![text("{"), client(), text("}")]),
            ("$ {client}$", vec![text("$ "), client(), text("$")]),
        ] {
            assert!(parts(written) == Ok(read), "{written}");
        }
        for wrong in [
            "{",
            "}",
            "a}b",
            "{client",
            "{}",
            "{Client}",
            "{ client }",
            "${client}",
            "{client}}",
        ] {
            assert!(parts(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_text_is_not_shown() {
        let template = Template(parts("Bearer secret {client}").unwrap());
        assert_eq!(format!("{template:?}"), "[Client]");
    }
}
