//! Answers of a server of MCP that is one of several: whatever it says, the joint answer is JSON, each item in it stands behind the
//! name of its server, and only what the caller may see and a strict reader finds is there.
//!
//! The first byte of an input is the list that is asked for, `0` to `3`. The rest is the body of the answer, a JSON text or a
//! stream of events.

use waykeeper::routing::servers::{
    About, Cursors, Kind, List, OfServer, Page, apart, message_of, read_session, write_session,
};

use crate::input::Input;
use crate::json::{Json, has_half_a_pair, read};

const LISTS: [(List, &str, &str, Kind); 4] = [
    (List::Tools, "tools", "name", Kind::Name),
    (List::Prompts, "prompts", "name", Kind::Name),
    (List::Resources, "resources", "uri", Kind::Uri),
    (
        List::Templates,
        "resourceTemplates",
        "uriTemplate",
        Kind::Uri,
    ),
];

/// Longer names are not read.
const LONGEST: usize = 1024;

/// Runs one input.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let list = LISTS[usize::from(input.byte().wrapping_sub(b'0')) % LISTS.len()];
    let body = input.rest();
    is_read_back(body);
    let Ok(message) = message_of(body.to_vec()) else {
        return;
    };
    lists(list, &message);
    tells(&message);
}

/// Nothing stands in the list but what a strict reader finds in the message, by its name for callers.
fn lists((list, array, name, kind): (List, &str, &str, Kind), message: &[u8]) {
    let may_see = |name: &str| !name.ends_with('x');
    let mut page = Page::new(list);
    let taken = page.take("one", message, &may_see);
    let other = format!(r#"{{"result":{{"{array}":[{{"{name}":"last"}}]}}}}"#);
    page.take("two", other.as_bytes(), &may_see)
        .expect("a list");
    let result = page.result(r#","more":1"#);
    let (told, _) = read(&result).expect("a list of several is JSON");
    let Some(Json::List(items)) = one(&told, array) else {
        panic!("{told:?}")
    };
    let whole = read(message).map(|(whole, _)| whole);
    if taken.is_ok() {
        assert!(whole.is_some(), "took what is no JSON");
    }
    let result = whole.as_ref().and_then(|whole| one(whole, "result"));
    let had = match result.and_then(|result| one(result, array)) {
        Some(Json::List(had)) if taken.is_ok() => had.as_slice(),
        _ => &[],
    };
    let named = |item: &Json| match one(item, name) {
        Some(Json::Text(Some(own))) if own.len() <= LONGEST => Some(own.clone()),
        _ => None,
    };
    let mut had = had
        .iter()
        .filter_map(named)
        .map(|own| waykeeper::routing::servers::joined(kind, "one", &own))
        .filter(|named| may_see(named));
    let (last, of_one) = items.split_last().expect("the other's");
    for item in of_one {
        let Some(Json::Text(Some(told))) = one(item, name) else {
            panic!("an item whose name readers may take differently: {item:?}")
        };
        assert_eq!(apart(kind, told).map(|(server, _)| server), Some("one"));
        assert!(had.any(|it| it == *told), "{told} is in no list");
    }
    let had_all =
        !has_half_a_pair(&told) && whole.as_ref().is_none_or(|whole| !has_half_a_pair(whole));
    assert!(!had_all || had.next().is_none(), "an item is missing");
    assert!(one(last, name).is_some_and(
        |it| matches!(it, Json::Text(Some(it)) if apart(kind, it) == Some(("two", "last")))
    ));
    if let Some(Json::Text(Some(cursor))) = one(&told, "nextCursor") {
        let cursors = Cursors::read(cursor).expect("what was told is read back");
        let own = match result.and_then(|it| one(it, "nextCursor")) {
            Some(Json::Text(Some(own))) => Some(own.as_str()),
            _ => None,
        };
        assert_eq!(cursors.of("one"), own);
        assert_eq!(cursors.of("two"), None);
    }
}

/// What the server says of itself is passed on as JSON.
fn tells(message: &[u8]) {
    let mut about = About::default();
    let _ = about.take("one", message);
    let told = about.result(r#","more":1"#);
    assert!(read(told.as_bytes()).is_some(), "{told}");
}

/// The servers' own sessions come back as they were, and what a caller makes up is read without harm.
fn is_read_back(bytes: &[u8]) {
    let visible: String = bytes
        .iter()
        .filter(|byte| byte.is_ascii_graphic())
        .map(|byte| char::from(*byte))
        .collect();
    let all: Vec<OfServer> = visible
        .split(',')
        .map(|part| {
            let (version, session) = part.split_once(':').unwrap_or((part, ""));
            OfServer {
                server: "one".to_owned(),
                version: version.to_owned(),
                session: session.to_owned(),
            }
        })
        .collect();
    assert_eq!(read_session(write_session(&all).as_bytes()), Some(all));
    let _ = read_session(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Cursors::read(text);
    }
}

/// A member that all readers find: once, and in no other letters.
fn one<'a>(object: &'a Json, name: &str) -> Option<&'a Json> {
    let Json::Object(members) = object else {
        return None;
    };
    let mut found = members.iter().filter(|(other, _)| {
        let other = other.as_deref().unwrap_or_default();
        other.to_lowercase() == name.to_lowercase()
    });
    match (found.next(), found.next()) {
        (Some((Some(other), value)), None) if other == name => Some(value),
        _ => None,
    }
}
