//! Bodies that are looked into while they arrive: what is found in JSON is what a strict reader of the whole finds, and nothing is
//! found where readers may differ. The input is the body.

use std::rc::Rc;

use waykeeper::text::json::{Anywhere, DEEPEST, Fault, Member, MemberId, Scan, Search, Value};
use waykeeper::text::multipart::{Boundary, Field, Fields, Form};

use crate::json::{self, Json};

const POINTERS: [&[&str]; 6] = [
    &["a"],
    &["a", "b"],
    &["model"],
    &["messages", "0", "role"],
    &["messages", "1"],
    &["é/k"],
];

/// Pieces of these lengths must make no difference.
const LENGTHS: [usize; 4] = [usize::MAX, 1, 3, 17];

/// Runs one input: as JSON, and as a form.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    members(data);
    fields(data);
}

fn members(data: &[u8]) {
    let mut search = Search::new();
    let ids = POINTERS.map(|names| {
        let pointer: String = names
            .iter()
            .map(|name| format!("/{}", name.replace('/', "~1")))
            .collect();
        search.member(&pointer).expect("a pointer")
    });
    let image = search.anywhere("type", &["image"]);
    let search = Rc::new(search);
    let read = json::read(data).filter(|(_, deepest)| *deepest <= DEEPEST);
    let runs = LENGTHS.map(|length| {
        let mut scan = Scan::new(Rc::clone(&search));
        let mut fed = data.chunks(length).try_for_each(|piece| scan.feed(piece));
        if fed.is_ok() {
            fed = scan.end();
        }
        (scan, fed)
    });
    for (scan, end) in &runs {
        match (end, &runs[0].1) {
            (Ok(()), Ok(())) => assert!(
                ids.iter()
                    .all(|id| scan.member(*id) == runs[0].0.member(*id))
            ),
            (Err(one), Err(other)) if other.fault == Fault::NotUtf8 => {
                assert_eq!(one.fault, other.fault)
            }
            (one, other) => assert_eq!(one, other),
        }
    }
    let (scan, end) = &runs[0];
    let whole = match (end, &read) {
        (Ok(()), Some((whole, _))) => whole,
        (Ok(()), None) => panic!("read what is no JSON"),
        (Err(broken), Some((whole, _))) => {
            assert!(is_ambiguous(whole), "{broken:?}");
            return;
        }
        (Err(_), None) => return,
    };
    assert!(!is_ambiguous(whole), "read what readers take differently");
    assert!(scan.has_settled());
    for (names, id) in POINTERS.iter().zip(ids) {
        is_found(scan, id, at(whole, names), data);
    }
    assert_eq!(scan.anywhere(image) == Anywhere::Seen, has_image(whole));
}

/// What is found is what is there, in its place.
fn is_found(scan: &Scan, id: MemberId, expected: Option<&Json>, data: &[u8]) {
    let (found, expected) = match (scan.member(id), expected) {
        (Member::Found(found), Some(expected)) => (found, expected),
        (Member::Absent, None) => return,
        other => panic!("{other:?}"),
    };
    let is_same = match (&found.value, expected) {
        (Value::Null, Json::Null)
        | (Value::Bool(_), Json::Bool)
        | (Value::Array, Json::List(_))
        | (Value::Object, Json::Object(_)) => true,
        (Value::Number(ours), Json::Number(theirs)) => **ours == **theirs,
        (Value::Text(ours), Json::Text(Some(theirs))) => **ours == **theirs,
        (Value::LongText(begins), Json::Text(Some(long))) => {
            long.len() > 1024 && **begins == long.as_bytes()[..1024]
        }
        (Value::LongNumber, Json::Number(long)) => long.len() > 1024,
        _ => false,
    };
    assert!(is_same, "{found:?} {expected:?}");
    let end = found.end.expect("an end") as usize;
    let (cut, _) = json::read(&data[found.start as usize..end]).expect("a value");
    assert_eq!(cut, *expected);
}

fn at<'a>(whole: &'a Json, names: &[&str]) -> Option<&'a Json> {
    let mut at = whole;
    for name in names {
        at = match at {
            Json::Object(members) => {
                let mut members = members.iter();
                &members
                    .find(|(other, _)| other.as_deref() == Some(*name))?
                    .1
            }
            Json::List(items) => items.get(name.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(at)
}

/// Whether readers may differ on what is looked for.
fn is_ambiguous(whole: &Json) -> bool {
    !matches!(whole, Json::Object(_))
        || has_image_for_some(whole)
        || POINTERS.iter().any(|names| {
            let is_half = matches!(at(whole, names), Some(Json::Text(None)));
            is_half || (0..names.len()).any(|step| differs(whole, &names[..step], names[step]))
        })
}

/// Whether they may differ on this step from the value that `before` leads to.
fn differs(whole: &Json, before: &[&str], name: &str) -> bool {
    match at(whole, before) {
        Some(Json::Object(members)) => {
            let of_it = |other: &&(Option<String>, Json)| {
                other
                    .0
                    .as_deref()
                    .is_some_and(|other| folded(other) == folded(name))
            };
            let is_exact = |other: &(Option<String>, Json)| other.0.as_deref() == Some(name);
            members.iter().any(|(name, _)| name.is_none())
                || members.iter().filter(of_it).count() > 1
                || members
                    .iter()
                    .find(of_it)
                    .is_some_and(|other| !is_exact(other))
        }
        Some(Json::List(_)) => name.parse::<usize>().is_err(),
        _ => false,
    }
}

/// As readers have it that regard neither the case of letters nor what stands behind a zero.
fn folded(text: &str) -> String {
    let text = text.split('\0').next().unwrap_or_default();
    text.to_lowercase().to_uppercase().to_lowercase()
}

fn has_image(value: &Json) -> bool {
    match value {
        Json::Object(members) => members.iter().any(|(name, value)| {
            let is_text = |text: &Option<String>, is: &str| text.as_deref() == Some(is);
            let is_image = matches!(value, Json::Text(text) if is_text(text, "image"));
            (is_text(name, "type") && is_image) || has_image(value)
        }),
        Json::List(items) => items.iter().any(has_image),
        _ => false,
    }
}

/// Whether some readers find an image where others do not.
fn has_image_for_some(value: &Json) -> bool {
    match value {
        Json::Object(members) => members.iter().any(|(name, value)| {
            let is_it = match (name.as_deref(), value) {
                (Some("type"), Json::Text(Some(text))) if text == "image" => false,
                (Some(name), Json::Text(Some(text))) => {
                    folded(name) == "type" && text.split('\0').next() == Some("image")
                }
                _ => false,
            };
            is_it || has_image_for_some(value)
        }),
        Json::List(items) => items.iter().any(has_image_for_some),
        _ => false,
    }
}

fn fields(data: &[u8]) {
    let boundary = Boundary::read(b"multipart/form-data; boundary=-b").expect("a boundary");
    let mut fields = Fields::default();
    let id = fields.field("model").expect("a name");
    let fields = Rc::new(fields);
    let runs = LENGTHS.map(|length| {
        let mut form = Form::new(Rc::clone(&fields), &boundary);
        let mut fed = data.chunks(length).try_for_each(|piece| form.feed(piece));
        if fed.is_ok() {
            fed = form.end();
        }
        (form.field(id).clone(), fed)
    });
    assert!(runs.iter().all(|run| *run == runs[0]), "{runs:?}");
    let [(field, end), ..] = &runs;
    if end.is_err() {
        return;
    }
    // A reader that knows no more than delimiters finds the same parts.
    let text = [b"\r\n", data].concat();
    let parts = split(&text, b"\r\n---b");
    let last = parts.last().expect("one part at least");
    assert!(last.starts_with(b"--"), "the last delimiter");
    let mut values = parts.iter().filter_map(|part| {
        let end = part.windows(4).position(|window| window == b"\r\n\r\n")?;
        let headers = String::from_utf8_lossy(&part[..end]).to_ascii_lowercase();
        let headers: String = headers.split([' ', '\t', '"']).collect();
        let is_model = headers.contains(";name=model") && !headers.contains("name=models");
        is_model.then_some(&part[end + 4..])
    });
    if let Field::Found(found) = field {
        let value = &data[found.start as usize..found.end as usize];
        assert!(values.any(|other| other == value), "{found:?}");
        match &found.value {
            Some(text) => assert_eq!(text.as_bytes(), value),
            None => assert!(value.len() > 1024),
        }
    }
}

fn split<'a>(text: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest
        .windows(delimiter.len())
        .position(|window| window == delimiter)
    {
        parts.push(&rest[..at]);
        rest = &rest[at + delimiter.len()..];
    }
    parts.push(rest);
    parts
}
