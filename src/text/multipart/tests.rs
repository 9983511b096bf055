use std::rc::Rc;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const BOUNDARY: &str = "----form-17";

fn boundary() -> Boundary {
    Boundary::read(format!("multipart/form-data; boundary={BOUNDARY}").as_bytes())
        .expect("a boundary")
}

fn fields(names: &[&str]) -> (Rc<Fields>, Vec<FieldId>) {
    let mut fields = Fields::default();
    let ids = names.iter().map(|name| fields.field(name));
    let ids = ids.collect::<Result<_, _>>().expect("names");
    (Rc::new(fields), ids)
}

fn in_pieces<'a>(
    fields: &Rc<Fields>,
    mut pieces: impl Iterator<Item = &'a [u8]>,
) -> (Form, Result<(), Broken>) {
    let mut form = Form::new(Rc::clone(fields), &boundary());
    let mut fed = pieces.try_for_each(|piece| form.feed(piece));
    if fed.is_ok() {
        fed = form.end();
    }
    (form, fed)
}

/// Pieces of these lengths must make no difference.
const LENGTHS: [usize; 5] = [1, 2, 3, 7, usize::MAX];

/// A form of these parts, each with its headers and its value.
fn form(parts: &[(&str, &str)]) -> String {
    let parts = parts
        .iter()
        .map(|(headers, value)| format!("--{BOUNDARY}\r\n{headers}\r\n\r\n{value}\r\n"));
    parts.collect::<String>() + "--" + BOUNDARY + "--\r\n"
}

fn named(name: &str) -> String {
    format!("Content-Disposition: form-data; name=\"{name}\"")
}

#[track_caller]
fn is_found(text: &str, value: Option<&str>, written: &str) {
    let (fields, ids) = fields(&["model", "prompt"]);
    for length in LENGTHS {
        let (form, end) = in_pieces(&fields, text.as_bytes().chunks(length));
        assert_eq!(end, Ok(()), "{text}");
        assert!(form.has_settled());
        assert_eq!(form.offset(), text.len() as u64);
        let Field::Found(found) = form.field(ids[0]) else {
            panic!("{text}");
        };
        assert_eq!(found.value.as_deref(), value);
        assert_eq!(&text[found.start as usize..found.end as usize], written);
    }
}

#[track_caller]
fn is_broken(text: &str, fault: &Fault) {
    let (fields, _) = fields(&["model", "prompt"]);
    let ends = LENGTHS.map(|length| {
        let (mut form, end) = in_pieces(&fields, text.as_bytes().chunks(length));
        let broken = end.expect_err(text);
        assert_eq!(form.feed(b"\r\n"), Err(broken.clone()), "it stays broken");
        assert_eq!(broken.offset, form.offset());
        broken
    });
    assert_eq!(ends[0].fault, *fault, "{text}");
    assert!(ends.iter().all(|end| *end == ends[0]), "{text}: {ends:?}");
}

#[test]
fn a_field_is_found_by_its_name() {
    let file = "Content-Disposition: form-data; name=\"file\"; filename=\"a;b.wav\"\r\nContent-Type: audio/wav";
    for headers in [
        named("model").as_str(),
        "content-disposition:form-data;name=model",
        "CONTENT-DISPOSITION: Form-Data ; name=\"model\"",
        "Content-Type: text/plain; charset=UTF-8\r\nContent-Disposition: form-data; name=model",
        "Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: 8BIT",
        "X: \t \r\nContent-Disposition: form-data; name=\"model\"",
    ] {
        let text = form(&[(file, "RIFF\r\n--\r\n\n--x\r"), (headers, "whisper-1")]);
        is_found(&text, Some("whisper-1"), "whisper-1");
    }
    for value in [
        "",
        "\r\n",
        "a\r\nb",
        "--",
        "\r\n--",
        "\r\n----form-1",
        "é",
        "-",
    ] {
        let text = form(&[(&named("model"), value), (file, "x")]);
        is_found(&text, Some(value), value);
    }
    let longest = "x".repeat(LONGEST_VALUE);
    let text = form(&[(&named("model"), &longest)]);
    is_found(&text, Some(&longest), &longest);
    let longer = "x".repeat(LONGEST_VALUE + 1);
    let text = form(&[(&named("model"), &longer)]);
    is_found(&text, None, &longer);
    let text = format!("\r\n\r\n{}\r\n \t", form(&[(&named("model"), "a")]));
    is_found(&text, Some("a"), "a");
}

#[test]
fn a_field_that_has_not_come_is_absent_at_the_end() {
    for text in [
        form(&[]),
        form(&[(&named("models"), "a"), (&named("mode"), "model")]),
        form(&[(
            "Content-Disposition: form-data; name=x; filename=\"model\"",
            &named("model"),
        )]),
    ] {
        let (fields, ids) = fields(&["model"]);
        let mut form = Form::new(fields, &boundary());
        for (at, byte) in text.bytes().enumerate() {
            let is_end = at >= text.len() - 2;
            let expected = if is_end {
                Field::Absent
            } else {
                Field::Unknown
            };
            assert_eq!(*form.field(ids[0]), expected, "{text}");
            assert_eq!(form.has_settled(), is_end);
            form.feed(&[byte]).expect("a form");
        }
        assert_eq!(form.end(), Ok(()));
    }
}

#[test]
fn what_readers_take_in_different_ways_is_not_read() {
    let model = || Box::from("model");
    let good = form(&[(&named("model"), "a")]);
    for (text, fault) in [
        (String::new(), Fault::Truncated),
        (good.trim_end_matches("--\r\n").to_owned(), Fault::Truncated),
        (format!("x{good}"), Fault::Preamble),
        (format!(" {good}"), Fault::Preamble),
        (format!("\n{good}"), Fault::Preamble),
        (format!("-{good}"), Fault::Preamble),
        (format!("{good}x"), Fault::Epilogue),
        (format!("{good}{good}"), Fault::Epilogue),
        (good.replace("\r\n", "\n"), Fault::Delimiter),
        (good.replacen("17\r\n", "17 \r\n", 1), Fault::Delimiter),
        (good.replacen("17\r\n", "17-\r\n", 1), Fault::Delimiter),
        (good.replacen("17\r\n", "178\r\n", 1), Fault::Delimiter),
        (
            form(&[(&named("x"), &format!("\n--{BOUNDARY}"))]),
            Fault::Delimiter,
        ),
        (
            form(&[(&named("x"), &format!("\r--{BOUNDARY}"))]),
            Fault::Delimiter,
        ),
        (
            form(&[(&named("x"), &format!("a--{BOUNDARY}--"))]),
            Fault::Delimiter,
        ),
        (
            form(&[(&named("x"), &format!("\r\n---{BOUNDARY}"))]),
            Fault::Delimiter,
        ),
        (good.replace("a\r\n--", "--"), Fault::Delimiter),
        (form(&[("A: b\nC: d", "")]), Fault::LineEnd),
        (form(&[("A: b\rC: d", "")]), Fault::LineEnd),
        (form(&[("A: b\n", "")]), Fault::LineEnd),
        (
            form(&[(&format!("{}\r\nX: {}", named("x"), "y".repeat(9000)), "")]),
            Fault::LongHeaders,
        ),
        (
            form(&[(&format!("{}\r\n folded", named("x")), "")]),
            Fault::Headers,
        ),
        (
            form(&[("Content-Disposition : form-data; name=x", "")]),
            Fault::Headers,
        ),
        (
            form(&[("Content-Disposition: form-data; name=x\0", "")]),
            Fault::Headers,
        ),
        (
            form(&[("Content-Disposition: attachment; name=x", "")]),
            Fault::Headers,
        ),
        (
            form(&[("Content-Disposition: form-data; name=\"x", "")]),
            Fault::Headers,
        ),
        (
            form(&[("Content-Disposition: form-data; name=", "")]),
            Fault::Headers,
        ),
        (
            form(&[("Content-Disposition: form-data; name = x", "")]),
            Fault::Headers,
        ),
        (
            form(&[("Content-Disposition: form-data; name=\"x\"y", "")]),
            Fault::Headers,
        ),
        (
            form(&[("Content-Disposition: form-data; name=x;", "")]),
            Fault::Headers,
        ),
        (
            form(&[("Content-Disposition: form-data; name=x y", "")]),
            Fault::Headers,
        ),
        (
            form(&[(r#"Content-Disposition: form-data; name="x\"y""#, "")]),
            Fault::Headers,
        ),
        (
            form(&[(
                r#"Content-Disposition: form-data; filename="x\"; name="model""#,
                "",
            )]),
            Fault::Headers,
        ),
        (form(&[(&named("_charset_"), "utf-7")]), Fault::Headers),
        (form(&[("Content-Disposition: form-data", "")]), Fault::Name),
        (form(&[("Content-Type: text/plain", "")]), Fault::Name),
        (format!("--{BOUNDARY}\r\n\r\nx"), Fault::Name),
        (
            form(&[(&format!("{0}\r\n{0}", named("x")), "")]),
            Fault::Name,
        ),
        (
            form(&[("Content-Disposition: form-data; name=x; Name=model", "")]),
            Fault::Name,
        ),
        (
            form(&[("Content-Disposition: form-data; naMe=model", "")]),
            Fault::Name,
        ),
        (
            form(&[("Content-Disposition: form-data; xname=model; name=x", "")]),
            Fault::Name,
        ),
        (
            form(&[("Content-Disposition: form-data; name=x; Filename=model", "")]),
            Fault::Name,
        ),
        (
            form(&[(
                "Content-Disposition: form-data; filename=\"name=model\"; name=x",
                "",
            )]),
            Fault::Name,
        ),
        (
            form(&[("Content-Disposition: form-data; name*=utf-8''model", "")]),
            Fault::Name,
        ),
        // What some readers pass over: Go's, where a parameter comes twice, and busboy, where one with `*` has no charset.
        (form(&[(&(named("model") + "; a=1; a=2"), "")]), Fault::Name),
        (form(&[(&(named("model") + "; a*=1"), "")]), Fault::Name),
        // Where readers look for `name=` alone, and the first counts, the last, or what PHP does not take for quoted.
        (
            form(&[("Content-Disposition: form-data; filename=model; name=x", "")]),
            Fault::Name,
        ),
        (
            form(&[(&(named("x") + "; filename=\"a; NAME=model\""), "")]),
            Fault::Name,
        ),
        (form(&[(&named("x; name=model"), "")]), Fault::Name),
        (
            form(&[(
                "Content-Disposition: form-data; name=x'; filename=\"'; name=model;\"",
                "",
            )]),
            Fault::Name,
        ),
        // Tomcat's and ASP.NET's decode it.
        (form(&[(&named("=?utf-8?Q?model?="), "")]), Fault::Name),
        (
            form(&[("Content-Disposition: form-data; name=x; name*0=mo", "")]),
            Fault::Name,
        ),
        (
            form(&[(&(named("model") + "; filename=a"), "")]),
            Fault::Encoded(model()),
        ),
        (
            form(&[(&(named("model") + "; filename*=utf-8''a"), "")]),
            Fault::Encoded(model()),
        ),
        (
            form(&[(
                &(named("model") + "\r\nContent-Transfer-Encoding: base64"),
                "YQ==",
            )]),
            Fault::Encoded(model()),
        ),
        (
            form(&[(
                &(named("model") + "\r\nContent-Type: text/plain; charset=utf-16"),
                "",
            )]),
            Fault::Encoded(model()),
        ),
        (
            form(&[(
                &(named("model") + "\r\nContent-Type: text/plain; charset*0=utf-8"),
                "",
            )]),
            Fault::Encoded(model()),
        ),
        (
            form(&[(
                &(named("model") + "\r\nContent-Type: application/json"),
                "\"a\"",
            )]),
            Fault::Encoded(model()),
        ),
        (
            form(&[(&(named("model") + "\r\nContent-Type: text/json"), "")]),
            Fault::Encoded(model()),
        ),
        (
            form(&[
                (&named("model"), "a"),
                (&named("x"), ""),
                (&named("model"), "a"),
            ]),
            Fault::Twice(model()),
        ),
    ] {
        is_broken(&text, &fault);
    }
    for name in [
        "Model",
        "MODEL",
        " model",
        "model ",
        r"mo\del",
        "%6dodel",
        "model%00",
        "%22model%22",
        "'model'",
        r"mo\%64el",
        "'model'x",
        "model[]",
        "model[0]",
        "Model%5B%5D",
    ] {
        is_broken(&form(&[(&named(name), "a")]), &Fault::Respelt(model()));
    }
    let (fields, _) = fields(&["chat_id", "tags", "tags[]"]);
    for (name, respelt) in [
        ("chat id", Some("chat_id")),
        ("chat.id", Some("chat_id")),
        ("chat[id", Some("chat_id")),
        ("tags[a]", Some("tags")),
        ("tags[]", None),
        ("tags", None),
        ("chats", None),
    ] {
        let text = form(&[(&named(name), "a")]);
        let (_, end) = in_pieces(&fields, text.as_bytes().chunks(7));
        let respelt = respelt.map(|it| Fault::Respelt(it.into()));
        assert_eq!(end.err().map(|it| it.fault), respelt, "{name}");
    }
    is_broken(
        &form(&[
            (&named("model"), "a"),
            ("Content-Disposition: form-data; name=Model", ""),
        ]),
        &Fault::Respelt(model()),
    );
}

#[test]
fn a_value_is_utf_8() {
    let (fields, _) = fields(&["model"]);
    let text = form(&[(&named("x"), "aé"), (&named("model"), "aé")]).into_bytes();
    let cut = |at: usize| [&text[..at], &text[at + 1..]].concat();
    let ends: Vec<_> = text
        .iter()
        .zip(0..)
        .filter(|(byte, _)| **byte == 0xa9)
        .collect();
    let of = |at: usize| in_pieces(&fields, cut(at).chunks(usize::MAX)).1;
    assert_eq!(
        of(ends[0].1),
        Ok(()),
        "what nobody looks for may be anything"
    );
    let broken = of(ends[1].1).expect_err("half a character");
    assert_eq!(broken.fault, Fault::NotUtf8);
    assert!(broken.to_string().contains("is not UTF-8"), "{broken}");
}

#[test]
fn a_content_type_names_the_boundary() {
    let longest = "b".repeat(70);
    for (value, expected) in [
        ("multipart/form-data; boundary=abc", "abc"),
        ("Multipart/Form-Data;BOUNDARY=\"abc\"", "abc"),
        ("multipart/form-data; charset=utf-8; boundary=a'b", "a'b"),
        (
            "multipart/form-data ; boundary=\"a b:c/d=e?\"",
            "a b:c/d=e?",
        ),
        (
            &format!("multipart/form-data; boundary={longest}"),
            &longest,
        ),
    ] {
        let read = Boundary::read(value.as_bytes()).expect(value);
        assert_eq!(read.as_bytes(), expected.as_bytes());
    }
    for (value, bad) in [
        ("", BadBoundary::NotAForm),
        ("application/json", BadBoundary::NotAForm),
        ("multipart/mixed; boundary=a", BadBoundary::NotAForm),
        ("multipart/form-data-x; boundary=a", BadBoundary::NotAForm),
        ("multipart/form-data", BadBoundary::NotOne),
        (
            "multipart/form-data; boundary=a; boundary=b",
            BadBoundary::NotOne,
        ),
        (
            "multipart/form-data; boundary=a; boundary*=utf-8''b",
            BadBoundary::NotOne,
        ),
        ("multipart/form-data; boundary*0=a", BadBoundary::NotOne),
        ("multipart/form-data; boundary=", BadBoundary::Malformed),
        ("multipart/form-data; boundary=a/b", BadBoundary::Malformed),
        (
            "multipart/form-data; boundary=a, multipart/form-data; boundary=b",
            BadBoundary::Malformed,
        ),
        ("multipart/form-data; boundary=\"a", BadBoundary::Malformed),
        (
            "multipart/form-data; boundary=\"\"",
            BadBoundary::NotABoundary,
        ),
        (
            "multipart/form-data; boundary=\"a \"",
            BadBoundary::NotABoundary,
        ),
        (
            "multipart/form-data; boundary=\"a\\b\"",
            BadBoundary::NotABoundary,
        ),
        // Where readers look for `boundary=` alone, the first or the last, and end it at a comma.
        (
            "multipart/form-data; x=\"boundary=a\"; boundary=b",
            BadBoundary::Malformed,
        ),
        (
            "multipart/form-data; boundary=b; xBoundary=a",
            BadBoundary::Malformed,
        ),
        (
            "multipart/form-data; boundary=\"b Boundary=a\"",
            BadBoundary::NotABoundary,
        ),
        (
            "multipart/form-data; boundary=\"a,b\"",
            BadBoundary::NotABoundary,
        ),
        (
            "multipart/form-data; boundary=\" a\"",
            BadBoundary::NotABoundary,
        ),
        (
            &format!("multipart/form-data; boundary=b{longest}"),
            BadBoundary::NotABoundary,
        ),
        (
            "multipart/form-data; boundary=a; charset=utf-7",
            BadBoundary::Charset,
        ),
        (
            "multipart/form-data; boundary=a; charset*=x",
            BadBoundary::Charset,
        ),
    ] {
        assert_eq!(Boundary::read(value.as_bytes()), Err(bad), "{value}");
    }
}

#[test]
fn a_name_with_several_spellings_is_not_looked_for() {
    let mut fields = Fields::default();
    let model = fields.field("model");
    assert_eq!(fields.field("model"), model);
    for bad in [
        "", "Model", "a\"b", "a\\b", "a%22b", "'a'", " a", "a\n", "a\0",
    ] {
        assert_eq!(fields.field(bad), Err(BadName), "{bad:?}");
    }
    assert!(fields.field("timestamp_granularities[]").is_ok());
}

/// The parts of a whole form, as plainly as can be: their headers and values.
fn plainly(text: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let text = [b"\r\n", text].concat();
    let delimiter = format!("\r\n--{BOUNDARY}").into_bytes();
    let mut starts = text.windows(delimiter.len()).zip(0..);
    let mut starts: Vec<usize> = starts
        .by_ref()
        .filter(|(window, _)| **window == *delimiter)
        .map(|(_, at)| at)
        .collect();
    let last = starts.pop()?;
    text[last + delimiter.len()..]
        .starts_with(b"--")
        .then_some(())?;
    let mut parts = Vec::new();
    for (index, start) in starts.iter().enumerate() {
        let end = *starts.get(index + 1).unwrap_or(&last);
        let part = text[start + delimiter.len()..end].strip_prefix(b"\r\n")?;
        let split = part.windows(4).position(|window| window == b"\r\n\r\n")?;
        let headers = String::from_utf8_lossy(&part[..split]).into_owned();
        parts.push((headers, part[split + 4..].to_vec()));
    }
    Some(parts)
}

fn any_form() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop::sample::select(vec!["model", "prompt", "file", "x", "mode", "n"]);
    let piece = prop_oneof![
        4 => "[a-z]{0,12}",
        1 => prop::sample::select(vec!["\r\n", "\r", "\n", "--", "-", "----form-1", "\r\n--", "é😀"]).prop_map(str::to_owned),
        1 => prop::collection::vec(Just("long "), 0..250).prop_map(|words| words.concat()),
    ];
    let value = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    prop::collection::vec((name, value), 0..5).prop_map(|parts| {
        let mut parts: Vec<_> = parts
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        parts.sort();
        parts.dedup_by(|one, other| one.0 == other.0);
        parts.reverse();
        parts
    })
}

proptest! {
    #[test]
    fn what_is_found_is_what_was_written(
        parts in any_form(),
        change in prop::option::of((any::<Index>(), prop::sample::select(&b"\r\n-: ;=\"xmM%\\"[..]), 0_u8..3)),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let written: Vec<_> = parts.iter().map(|(name, value)| (named(name), value)).collect();
        let written: Vec<_> = written.iter().map(|(headers, value)| (headers.as_str(), value.as_str())).collect();
        let mut text = form(&written).into_bytes();
        if let Some((at, byte, change)) = change {
            let at = at.index(text.len());
            match change {
                0 => text.insert(at, byte),
                1 => text[at] = byte,
                _ => drop(text.remove(at)),
            }
        }
        let (fields, ids) = fields(&["model", "prompt"]);
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        let (form, end) = in_pieces(&fields, at.windows(2).map(|pair| &text[pair[0]..pair[1]]));
        let (whole, whole_end) = in_pieces(&fields, std::iter::once(&text[..]));
        prop_assert_eq!(&end, &whole_end);
        let changed = change.is_some();
        // A value may end in what makes a delimiter of what is behind it, or hold one.
        let is_odd = text.windows(BOUNDARY.len()).filter(|window| *window == BOUNDARY.as_bytes()).count() != parts.len() + 1;
        if end.is_err() {
            prop_assert!(changed || is_odd, "{end:?}");
            return Ok(());
        }
        let plain = plainly(&text).expect("a form that we read");
        for (name, id) in ["model", "prompt"].into_iter().zip(ids) {
            prop_assert_eq!(form.field(id), whole.field(id));
            let theirs = plain.iter().find(|(headers, _)| {
                let quoted = format!("name=\"{name}\"");
                headers.contains(&quoted) || headers.ends_with(&format!("name={name}"))
            });
            match (form.field(id), theirs) {
                (Field::Absent, None) => {}
                (Field::Found(found), Some((_, value))) => {
                    prop_assert_eq!(&text[found.start as usize..found.end as usize], value);
                    let kept = found.value.as_deref().map(str::as_bytes);
                    let expected = (value.len() <= LONGEST_VALUE).then_some(&value[..]);
                    prop_assert_eq!(kept, expected);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
