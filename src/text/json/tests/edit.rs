//! Members of a whole text are changed, and nothing else.

use proptest::prelude::*;
use serde_json::Value as Read;

use super::any::text_of_an_object;
use super::*;

/// None lies in another.
const POINTERS: [&str; 7] = ["/a/b", "/a/c/a", "/a/0x", "/b", "/c", "/k~1é/a", "/é\"new"];

fn edited(pointers: &[(&str, Option<&str>)], text: &str) -> Result<String, String> {
    let edit = Edit::new(&mut pointers.iter().map(|(pointer, _)| *pointer)).expect("pointers");
    let values: Vec<_> = pointers
        .iter()
        .map(|(_, value)| value.map(|value| value.as_bytes().to_vec()))
        .collect();
    let edited = edit.apply(text.as_bytes(), &values);
    let edited = edited.map_err(|broken| broken.to_string())?;
    Ok(String::from_utf8(edited).expect("UTF-8"))
}

#[test]
fn what_is_set_stands_there_once_and_what_is_removed_does_not() {
    let user = [("/user", Some("\"me\""))];
    let gone = [("/user", None), ("/b", None)];
    let inner = [("/m/user", Some("1")), ("/m/x", None)];
    for (edits, text, expected) in [
        (&user[..], "{}", r#"{"user":"me"}"#),
        (&user, " { } ", r#" { "user":"me"} "#),
        (&user, r#"{"a": 1 }"#, r#"{"a": 1 ,"user":"me"}"#),
        (
            &user,
            r#"{"user": "you", "a":1}"#,
            r#"{"user": "me", "a":1}"#,
        ),
        (
            &user,
            r#"{"\u0075ser":{"a":["}"]} }"#,
            r#"{"\u0075ser":"me" }"#,
        ),
        (
            &user,
            r#"{"a":{"user":1},"user":[1]}"#,
            r#"{"a":{"user":1},"user":"me"}"#,
        ),
        (&gone, r#"{"user":1}"#, "{}"),
        (
            &gone,
            r#"{ "user" : 1 , "b" : 2 , "c" : 3 }"#,
            r#"{ "c" : 3 }"#,
        ),
        (&gone, r#"{"a":1,"user":1,"b":2}"#, r#"{"a":1}"#),
        (
            &gone,
            r#"{"user":"\\","a":"\"user\":1,","b":[]}"#,
            r#"{"a":"\"user\":1,"}"#,
        ),
        (
            &gone,
            r#"{ "a" : [ 1 , {"user":1} ] }"#,
            r#"{ "a" : [ 1 , {"user":1} ] }"#,
        ),
        (&inner, "{}", r#"{"m":{"user":1}}"#),
        (&inner, r#"{"m":null}"#, r#"{"m":{"user":1}}"#),
        (
            &inner,
            r#"{"m":{"x":1,"y":2},"z":3}"#,
            r#"{"m":{"y":2,"user":1},"z":3}"#,
        ),
        (&inner[1..], r#"{"m": "text"}"#, r#"{"m": "text"}"#),
        (&inner[1..], r#"{"m": null}"#, r#"{"m": null}"#),
        (&inner[1..], "{}", "{}"),
    ] {
        assert_eq!(edited(edits, text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn a_text_that_readers_take_in_two_ways_is_not_changed() {
    let edits = [("/user", Some("1")), ("/m/x", Some("1"))];
    for (text, why) in [
        (r#"{"user":1,"user":2}"#, "/user twice"),
        (r#"{"user":1,"\u0075ser":2}"#, "/user twice"),
        (r#"{"User":1}"#, "some readers take for /user"),
        (r#"{"m":{},"m":{}}"#, "/m twice"),
        (r#"{"m":{"X":1}}"#, "some readers take for /m/x"),
        (r#"{"m":"x"}"#, "something else than an object at /m"),
        (r#"{"m":7}"#, "something else than an object at /m"),
        (r#"{"m":[]}"#, "an array at /m"),
        ("[]", "not an object"),
        ("", "ends too early"),
        (r#"{"a":1"#, "ends too early"),
        (r#"{"a":1}}"#, "malformed"),
        (r#"{"a":1,}"#, "malformed"),
    ] {
        let refused = edited(&edits, text).expect_err(text);
        assert!(refused.contains(why), "{text}: {refused}");
    }
}

/// What `serde_json` makes of it. `None`: something is to be set where no object is.
fn model(edits: &[(&str, Option<Read>)], read: &Read) -> Option<Read> {
    let mut read = read.clone();
    for (pointer, value) in edits {
        let mut names: Vec<String> = (pointer.split('/').skip(1))
            .map(|name| name.replace("~1", "/").replace("~0", "~"))
            .collect();
        let last = names.pop()?;
        let mut at = Some(&mut read);
        for name in names {
            let object = at.take()?;
            at = match (object.as_object_mut(), value) {
                (Some(object), None) => object.get_mut(&name),
                (None, None) => None,
                (Some(object), Some(_)) => {
                    let inner = object.entry(name).or_insert(Read::Null);
                    if inner.is_null() {
                        *inner = serde_json::json!({});
                    }
                    Some(inner)
                }
                (None, Some(_)) => return None,
            };
            if at.is_none() {
                break;
            }
        }
        match (at.map(Read::as_object_mut), value) {
            (Some(Some(object)), Some(value)) => {
                object.insert(last, value.clone());
            }
            (Some(Some(object)), None) => {
                object.remove(&last);
            }
            (_, Some(_)) => return None,
            (_, None) => {}
        }
    }
    Some(read)
}

proptest! {
    #[test]
    fn what_is_changed_is_what_serde_json_changes(
        text in text_of_an_object(),
        chosen in prop::collection::vec(prop::option::of(prop::option::of(any::<i32>())), POINTERS.len()),
    ) {
        let read: Read = serde_json::from_str(&text).expect("generated JSON");
        let edits: Vec<(&str, Option<Read>)> = POINTERS
            .into_iter()
            .zip(&chosen)
            .filter_map(|(pointer, value)| Some((pointer, (*value)?.map(Read::from))))
            .collect();
        let edit = Edit::new(&mut edits.iter().map(|(pointer, _)| *pointer)).expect("pointers");
        let values: Vec<_> = edits
            .iter()
            .map(|(_, value)| value.as_ref().map(|value| value.to_string().into_bytes()))
            .collect();
        let edited = edit.apply(text.as_bytes(), &values);
        let array = |pointer: &str| {
            let mut ends = pointer.match_indices('/').skip(1).map(|(at, _)| at);
            ends.any(|at| read.pointer(&pointer[..at]).is_some_and(Read::is_array))
        };
        if edits.iter().any(|(pointer, _)| array(pointer)) {
            prop_assert!(edited.is_err());
            return Ok(());
        }
        match (edited, model(&edits, &read)) {
            (Err(_), None) => {}
            (Ok(edited), Some(model)) => {
                let again: Read = serde_json::from_slice(&edited).expect("JSON");
                prop_assert_eq!(&again, &model);
                if model == read && edits.iter().all(|(_, value)| value.is_none()) {
                    prop_assert_eq!(edited, text.as_bytes());
                }
            }
            (edited, model) => prop_assert!(false, "{:?} {:?}", edited, model),
        }
    }
}
