//! Any text, in any pieces: what is read and found is what `serde_json` reads and finds.

use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::sample::Index;
use serde::de::IgnoredAny;
use serde_json::Value as Read;

use super::*;

const POINTERS: [&str; 8] = [
    "/a", "/a/b", "/a/0", "/a/1/b", "/b", "/b/a/c", "/k~1é/0", "/c/b",
];

/// A value as it is written, blanks and escapes and all.
fn written() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        quoted(),
    ];
    leaf.prop_recursive(5, 60, 5, |inner| {
        let items = prop::collection::vec((blank(), inner.clone(), blank()), 0..5);
        let array = items.prop_map(|items| {
            let items = items
                .iter()
                .map(|(before, item, behind)| [&**before, item, behind].concat());
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        });
        prop_oneof![array, object(inner)]
    })
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member = (blank(), name(), blank(), blank(), value, blank());
    let members = prop::collection::vec(member, 0..6);
    (members, blank()).prop_map(|(members, blank)| {
        let mut names: Vec<String> = Vec::new();
        let mut text = String::from("{");
        for (first, name, second, third, value, last) in members {
            // Some readers would find another of two, or take one for what is looked for.
            let plain: String = serde_json::from_str(&name).expect("a string");
            let lower = plain.to_lowercase();
            let is_respelt = lower != plain && ["a", "b", "c", "k/é"].contains(&&*lower);
            if is_respelt || names.iter().any(|other| other.to_lowercase() == lower) {
                continue;
            }
            text.push_str(if names.is_empty() { "" } else { "," });
            names.push(plain);
            write!(text, "{first}{name}{second}:{third}{value}{last}").expect("a string");
        }
        text + &blank + "}"
    })
}

fn blank() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(String::new()), 1 => "[ \t\n\r]{1,10}"]
}

/// Names that lead somewhere, often, and others.
fn name() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        r#""a""#,
        r#""b""#,
        r#""c""#,
        r#""0""#,
        r#""1""#,
        r#""\u0061""#,
        r#""\u0062""#,
        r#""k/é""#,
        r#""k\/\u00e9""#,
        r#""k\/\u00E9""#,
        r#""""#,
    ]);
    // Behind a name that leads somewhere a zero makes it one that some readers take for it, which has a test of its own.
    let other = quoted().prop_filter("a zero", |name| !name.contains("\\u0000"));
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => other]
}

/// Any text in quotes, with some of its characters escaped.
fn quoted() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => prop::char::range(' ', '~'),
        2 => any::<char>(),
        1 => prop::sample::select(vec!['"', '\\', '/', '\n', '\0', '\u{7f}', 'é', '漢', '😀', '\u{2028}']),
    ];
    let text = prop::collection::vec((character, 0_u8..6), 0..24);
    text.prop_map(|text| {
        let mut quoted = String::from("\"");
        for (character, way) in text {
            let must = character < ' ' || character == '"' || character == '\\';
            match (way, character) {
                (1, '"' | '\\' | '/') => quoted.extend(['\\', character]),
                (1, '\n') => quoted.push_str("\\n"),
                (0, _) | (1.., '\0'..' ' | '"' | '\\') => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(quoted, "\\u{unit:04x}").expect("a string");
                    }
                }
                _ if must => unreachable!(),
                _ => quoted.push(character),
            }
        }
        quoted + "\""
    })
}

pub(super) fn text_of_an_object() -> impl Strategy<Value = String> {
    let text = (blank(), object(written()), blank());
    text.prop_map(|(before, object, behind)| [before, object, behind].concat())
}

/// A text in pieces.
fn in_pieces(search: &Rc<Search>, text: &[u8], cuts: &[Index]) -> (Scan, Result<(), Broken>) {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    cuts.extend([0, text.len()]);
    cuts.sort_unstable();
    let mut scan = Scan::new(Rc::clone(search));
    let mut pieces = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]);
    let mut fed = pieces.try_for_each(|piece| scan.feed(piece));
    if fed.is_ok() {
        fed = scan.end();
    }
    (scan, fed)
}

/// The array on the way of a pointer where that goes on by a name.
fn array_on_the_way<'a>(read: &Read, pointer: &'a str) -> Option<&'a str> {
    let ends = pointer.match_indices('/').map(|(at, _)| at);
    ends.filter(|at| *at > 0)
        .map(|at| pointer.split_at(at))
        .find(|(before, step)| {
            let is_name = step
                .split('/')
                .nth(1)
                .is_some_and(|step| step.parse::<u64>().is_err());
            is_name && read.pointer(before).is_some_and(Read::is_array)
        })
        .map(|(before, _)| before)
}

fn is_same(value: &Value, read: &Read) -> bool {
    match (value, read) {
        (Value::Null, Read::Null)
        | (Value::Array, Read::Array(_))
        | (Value::Object, Read::Object(_)) => true,
        (Value::Bool(ours), Read::Bool(theirs)) => ours == theirs,
        (Value::Number(ours), Read::Number(theirs)) => {
            serde_json::from_str::<serde_json::Number>(ours).is_ok_and(|ours| ours == *theirs)
        }
        (Value::Text(ours), Read::String(theirs)) => **ours == **theirs,
        _ => false,
    }
}

proptest! {
    #[test]
    fn what_is_found_is_what_serde_json_finds(
        text in text_of_an_object(),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let read: Read = serde_json::from_str(&text).expect("generated JSON");
        let pointers: Vec<_> = POINTERS.into_iter().filter(|pointer| {
            // All but those by a name into an array: of these one alone makes the whole text broken.
            POINTERS.iter().all(|other| array_on_the_way(&read, other).is_none_or(|_| other != pointer))
        }).collect();
        let (search, ids) = search(&pointers);
        let (scan, end) = in_pieces(&search, text.as_bytes(), &cuts);
        prop_assert_eq!(end, Ok(()));
        prop_assert!(scan.has_settled());
        for (pointer, id) in pointers.iter().zip(&ids) {
            let theirs = read.pointer(pointer);
            let Member::Found(found) = scan.member(*id) else {
                prop_assert_eq!(scan.member(*id), &Member::Absent);
                prop_assert_eq!(theirs, None, "{}", pointer);
                continue;
            };
            let theirs = theirs.expect("found by us");
            prop_assert!(is_same(&found.value, theirs), "{:?} {}", found, theirs);
            let (start, end) = (found.start as usize, found.end.expect("an end") as usize);
            let cut: Read = serde_json::from_str(&text[start..end]).expect("a value");
            prop_assert_eq!(&cut, theirs);
            prop_assert_eq!(text[start..end].trim().len(), end - start);
            let replaced = [&text[..start], "\"another\"", &text[end..]].concat();
            let mut expected = read.clone();
            *expected.pointer_mut(pointer).expect("it is there") = "another".into();
            prop_assert_eq!(serde_json::from_str::<Read>(&replaced).expect("JSON"), expected);
        }
    }

    #[test]
    fn an_array_where_a_name_is_looked_for_breaks_the_text(
        text in text_of_an_object(),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let read: Read = serde_json::from_str(&text).expect("generated JSON");
        for pointer in POINTERS {
            let (search, _) = search(&[pointer]);
            let (_, end) = in_pieces(&search, text.as_bytes(), &cuts);
            let fault = end.err().map(|broken| broken.fault);
            let expected = array_on_the_way(&read, pointer);
            prop_assert_eq!(fault, expected.map(|array| Fault::NotAnObject(array.into())));
        }
    }

    #[test]
    fn as_much_is_read_as_serde_json_reads(
        text in text_of_an_object(),
        changes in prop::collection::vec((any::<Index>(), 0_u8..3, any::<u8>(), any::<Index>()), 0..3),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let mut text = text.into_bytes();
        for (at, change, byte, of) in changes {
            let marks = b"{}[]:,\"\\u0123456789abcdefDd8+-.eE \n\t\x00\x1f\xc3\xa9\xed\xa0\xf0ntr/";
            let byte = if byte < 128 { marks[of.index(marks.len())] } else { byte };
            let at = at.index(text.len().max(1));
            match change {
                0 => text.insert(at, byte),
                1 if at < text.len() => text[at] = byte,
                _ if at < text.len() => drop(text.remove(at)),
                _ => {}
            }
        }
        // It skips what it does not look at: whether that is UTF-8, too.
        let is_read = std::str::from_utf8(&text).is_ok()
            && serde_json::from_slice::<IgnoredAny>(&text).is_ok()
            && text.trim_ascii_start().first() == Some(&b'{');
        let (nothing, _) = search(&[]);
        let (_, end) = in_pieces(&nothing, &text, &cuts);
        prop_assert_eq!(end.is_ok(), is_read, "{:?} {:?}", String::from_utf8_lossy(&text), end);
        let (_, whole) = in_pieces(&nothing, &text, &[]);
        prop_assert_eq!(end.is_ok(), whole.is_ok());
    }

    #[test]
    fn pieces_make_no_difference(
        text in text_of_an_object(),
        again in any::<Index>(),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        // A second time from somewhere on: names come twice, objects do not close.
        let from = (again.index(text.len())..text.len()).find(|at| text.is_char_boundary(*at));
        let text = [&text, &text[from.unwrap_or(0)..]].concat();
        let (search, ids) = search(&["/a", "/b", "/k~1é/0"]);
        let (pieces, ended) = in_pieces(&search, text.as_bytes(), &cuts);
        let (whole, end) = in_pieces(&search, text.as_bytes(), &[]);
        prop_assert_eq!(ended, end);
        for id in ids {
            prop_assert_eq!(pieces.member(id), whole.member(id));
        }
        prop_assert_eq!(pieces.offset(), whole.offset());
    }
}
