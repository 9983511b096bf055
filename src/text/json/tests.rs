use std::rc::Rc;

use super::*;

mod any;
mod edit;

/// A search for these pointers, and their ids.
fn search(pointers: &[&str]) -> (Rc<Search>, Vec<MemberId>) {
    let mut search = Search::new();
    let ids = pointers.iter().map(|pointer| search.member(pointer));
    let ids = ids.collect::<Result<_, _>>().expect("pointers");
    (Rc::new(search), ids)
}

/// The text in pieces of one length.
fn scan(search: &Rc<Search>, text: &[u8], length: usize) -> (Scan, Result<(), Broken>) {
    let mut scan = Scan::new(Rc::clone(search));
    let mut fed = text.chunks(length).try_for_each(|piece| scan.feed(piece));
    if fed.is_ok() {
        fed = scan.end();
    }
    (scan, fed)
}

/// Pieces of these lengths must make no difference.
const LENGTHS: [usize; 5] = [1, 2, 3, 7, usize::MAX];

fn found(pointer: &str, text: &str) -> Member {
    let (search, ids) = search(&[pointer]);
    let mut members = LENGTHS.map(|length| {
        let (scan, end) = scan(&search, text.as_bytes(), length);
        assert_eq!(end, Ok(()), "{text}");
        assert!(scan.has_settled());
        assert_eq!(scan.offset(), text.len() as u64);
        scan.member(ids[0]).clone()
    });
    members.sort_by_key(|member| format!("{member:?}"));
    assert_eq!(members.first(), members.last(), "{text}");
    members[0].clone()
}

#[track_caller]
fn is_found(pointer: &str, text: &str, value: Value, written: &str) {
    let Member::Found(found) = found(pointer, text) else {
        panic!("{pointer} is not in {text}");
    };
    assert_eq!(found.value, value);
    let end = found.end.expect("an end") as usize;
    assert_eq!(&text[found.start as usize..end], written);
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn number(text: &str) -> Value {
    Value::Number(text.into())
}

#[track_caller]
fn is_broken(pointers: &[&str], text: &[u8], offset: u64, fault: &Fault) {
    let (search, _) = search(pointers);
    for length in LENGTHS {
        let (mut scan, end) = scan(&search, text, length);
        let broken = Broken {
            offset,
            fault: fault.clone(),
        };
        let shown = String::from_utf8_lossy(text);
        assert_eq!(end, Err(broken.clone()), "{shown} in pieces of {length}");
        assert_eq!(scan.offset(), offset);
        assert_eq!(scan.feed(b"}"), Err(broken.clone()), "it stays broken");
        assert_eq!(scan.end(), Err(broken));
    }
}

#[test]
fn a_member_is_found_by_its_pointer() {
    for (pointer, json, value, written) in [
        ("/model", r#"{"model":"a"}"#, text("a"), r#""a""#),
        (
            "/model",
            " {\n\"x\" : [1,{}] ,\t\"model\"\r: \"a\" } ",
            text("a"),
            r#""a""#,
        ),
        ("/a", r#"{"a":null}"#, Value::Null, "null"),
        ("/a", r#"{"a":true}"#, Value::Bool(true), "true"),
        ("/a", r#"{"a":false,"b":1}"#, Value::Bool(false), "false"),
        ("/a", r#"{"a":0}"#, number("0"), "0"),
        (
            "/a",
            r#"{"a":-12.50e+03 }"#,
            number("-12.50e+03"),
            "-12.50e+03",
        ),
        ("/a", r#"{"a":[1,[]],"b":[]}"#, Value::Array, "[1,[]]"),
        (
            "/a",
            r#"{"a":{"b":{}},"c":1}"#,
            Value::Object,
            r#"{"b":{}}"#,
        ),
        (
            "/a/b",
            r#"{"b":1,"x":{"b":2},"a":{"c":{"b":3},"b":4}}"#,
            number("4"),
            "4",
        ),
        ("/m/0/r", r#"{"m":[{"r":1},{"r":2}]}"#, number("1"), "1"),
        ("/m/1/r", r#"{"m":[{"r":1},{"r":2}]}"#, number("2"), "2"),
        (
            "/m/10",
            r#"{"m":[0,1,2,3,4,5,6,7,8,9,"ten"]}"#,
            text("ten"),
            r#""ten""#,
        ),
        ("/m/0/1", r#"{"m":[[1,2],3]}"#, number("2"), "2"),
        ("/m/0", r#"{"m":{"0":5}}"#, number("5"), "5"),
        ("/a~1b/c~0d", r#"{"a/b":{"c~d":1}}"#, number("1"), "1"),
        ("/~01", r#"{"~1":1}"#, number("1"), "1"),
        ("/", r#"{"":1}"#, number("1"), "1"),
        ("/a//b", r#"{"a":{"":{"b":1}}}"#, number("1"), "1"),
        ("/é", r#"{"é":1}"#, number("1"), "1"),
        ("", r#" {"a":1} "#, Value::Object, r#"{"a":1}"#),
    ] {
        is_found(pointer, json, value, written);
    }
}

#[test]
fn escapes_stand_for_what_they_stand_for() {
    for (json, value) in [
        (r#"{"\u006dodel":"a"}"#, "a"),
        (r#"{"m\u006Fde\u006c":"a"}"#, "a"),
        (r#"{"model":"\"\\\/\b\f\n\r\t"}"#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#"{"model":"\u00e9\uD83D\uDe00é😀"}"#, "é😀é😀"),
        (r#"{"model":"\u0000"}"#, "\0"),
        (r#"{"model":""}"#, ""),
        (
            r#"{"model":"\ud7ff\ue000\uffff"}"#,
            "\u{d7ff}\u{e000}\u{ffff}",
        ),
    ] {
        let Member::Found(found) = found("/model", json) else {
            panic!("{json}");
        };
        assert_eq!(found.value, text(value), "{json}");
    }
    is_found("/😀", r#"{"\ud83d\ude00":1}"#, number("1"), "1");
    is_found("/a~1b", r#"{"a\/b":1}"#, number("1"), "1");
}

#[test]
fn a_member_that_cannot_come_is_absent() {
    for (pointer, json) in [
        ("/a", "{}"),
        ("/a", r#"{"b":{"a":1},"c":["a"],"d":"a"}"#),
        ("/a/b", r#"{"b":1}"#),
        ("/a/b", r#"{"a":{}}"#),
        ("/a/b", r#"{"a":null}"#),
        ("/a/b", r#"{"a":"b"}"#),
        ("/a/b/c/d", r#"{"a":{"b":5}}"#),
        ("/a/0", r#"{"a":[]}"#),
        ("/a/1", r#"{"a":[1]}"#),
        ("/a/0/b", r#"{"a":[3,{"b":1}]}"#),
        ("/a/0", r#"{"a":{"00":1}}"#),
        (
            "/a/0",
            r#"{"b":[1],"a":[[]]}"#.replace("[[]]", "[]").as_str(),
        ),
        ("/a", r#"{"aa":1,"":2,"\u0061\u0061":3}"#),
        ("/é", "{\"e\u{301}\":1}"),
    ] {
        assert_eq!(found(pointer, json), Member::Absent, "{pointer} in {json}");
    }
}

#[test]
fn a_member_is_known_as_soon_as_it_can_be() {
    // The text, how many bytes of it are needed for each pointer, and what is known then.
    for (pointer, json, needed, then) in [
        ("/a", r#"{"a":"x","b":1}"#, 8, Some(text("x"))),
        ("/a", r#"{"a":true}"#, 9, Some(Value::Bool(true))),
        ("/a", r#"{"a":12,"b":1}"#, 8, Some(number("12"))),
        ("/a", r#"{"a":12 }"#, 8, Some(number("12"))),
        ("/a", r#"{"a":[1,2]}"#, 6, Some(Value::Array)),
        ("/a", r#"{"a":{"b":1}}"#, 6, Some(Value::Object)),
        ("/a/b", r#"{"a":"","c":1}"#, 7, None),
        ("/a/b", r#"{"a":{"c":1},"c":1}"#, 12, None),
        ("/a/1", r#"{"a":[0],"c":1}"#, 8, None),
        ("/a", r#"{"b":{}} "#, 8, None),
    ] {
        let (search, ids) = search(&[pointer]);
        let mut scan = Scan::new(search);
        for (at, byte) in json.bytes().enumerate() {
            let is_known = at >= needed;
            assert_eq!(scan.has_settled(), is_known, "{json} after {at}");
            assert_eq!(*scan.member(ids[0]) != Member::Unknown, is_known);
            scan.feed(&[byte]).expect("json");
        }
        let value = match scan.member(ids[0]) {
            Member::Found(found) => Some(found.value.clone()),
            _ => None,
        };
        assert_eq!(value, then, "{json}");
    }
}

#[test]
fn pointers_may_overlap() {
    let (search, ids) = search(&["/a/b", "/a", "/a/b/c", "/a/d", "/a", ""]);
    assert_eq!(ids[1], ids[4]);
    let (scan, end) = scan(&search, br#"{"a":{"b":{"c":1}}}"#, usize::MAX);
    assert_eq!(end, Ok(()));
    let range = |id: MemberId| match scan.member(id) {
        Member::Found(found) => found.start..found.end.expect("an end"),
        other => panic!("{other:?}"),
    };
    assert_eq!(range(ids[0]), 10..17);
    assert_eq!(range(ids[1]), 5..18);
    assert_eq!(range(ids[2]), 15..16);
    assert_eq!(*scan.member(ids[3]), Member::Absent);
    assert_eq!(range(ids[5]), 0..19);
}

#[test]
fn no_more_than_a_bound_is_kept_of_a_value() {
    let longest = "é".repeat(LONGEST_VALUE / 2);
    let number_of = |length: usize| "1".repeat(length);
    for (written, value) in [
        (format!("\"{longest}\""), text(&longest)),
        (
            format!("\"{longest}x\""),
            Value::LongText(longest.as_bytes().into()),
        ),
        (
            format!("\"{longest}\\n\""),
            Value::LongText(longest.as_bytes().into()),
        ),
        (
            format!("\"x{longest}\""),
            Value::LongText(format!("x{longest}").as_bytes()[..LONGEST_VALUE].into()),
        ),
        (
            format!("\"{}\"", "\\u00e9".repeat(LONGEST_VALUE / 2)),
            text(&longest),
        ),
        (number_of(1024), number(&number_of(1024))),
        (number_of(1025), Value::LongNumber),
    ] {
        let json = format!("{{\"b\":0,\"a\":{written},\"c\":0}}");
        is_found("/a", &json, value, &written);
    }
}

#[test]
fn what_is_not_json_is_not_read() {
    for (json, offset) in [
        ("", None),
        (" \n", None),
        ("{", None),
        (r#"{"a"#, None),
        (r#"{"a":1"#, None),
        (r#"{"a":"\"#, None),
        (r#"{"a":tru"#, None),
        ("x", Some(0)),
        ("\u{feff}{}", Some(0)),
        ("{}{}", Some(2)),
        ("{},", Some(2)),
        ("{}]", Some(2)),
        ("{} x", Some(3)),
        ("{]", Some(1)),
        ("{,}", Some(1)),
        ("{a:1}", Some(1)),
        ("{'a':1}", Some(1)),
        (r#"{"a"}"#, Some(4)),
        (r#"{"a" 1}"#, Some(5)),
        (r#"{"a":}"#, Some(5)),
        (r#"{"a":1,}"#, Some(7)),
        (r#"{"a":1 "b":2}"#, Some(7)),
        (r#"{"a":1]"#, Some(6)),
        (r#"{"a":[1}"#, Some(7)),
        (r#"{"a":[1,]}"#, Some(8)),
        (r#"{"a":[,1]}"#, Some(6)),
        (r#"{"a":[1 2]}"#, Some(8)),
        (r#"{"a":[:]}"#, Some(6)),
        ("{/**/}", Some(1)),
        ("{}//", Some(2)),
        (r#"{"a":NaN}"#, Some(5)),
        (r#"{"a":Infinity}"#, Some(5)),
        (r#"{"a":-Infinity}"#, Some(6)),
        (r#"{"a":nul}"#, Some(8)),
        (r#"{"a":nulll}"#, Some(9)),
        (r#"{"a":True}"#, Some(5)),
        (r#"{"a":01}"#, Some(6)),
        (r#"{"a":-01}"#, Some(7)),
        (r#"{"a":+1}"#, Some(5)),
        (r#"{"a":.5}"#, Some(5)),
        (r#"{"a":5.}"#, Some(7)),
        (r#"{"a":1e}"#, Some(7)),
        (r#"{"a":1e+}"#, Some(8)),
        (r#"{"a":1.e2}"#, Some(7)),
        (r#"{"a":-}"#, Some(6)),
        (r#"{"a":1-2}"#, Some(6)),
        (r#"{"a":0x1}"#, Some(6)),
        ("{\"a\":\"\t\"}", Some(6)),
        ("{\"a\n\":1}", Some(3)),
        ("{\"a\":\"0123456789\u{1f}\"}", Some(16)),
        ("{\"a\":\"01\u{1f}23456789\"}", Some(8)),
        ("{\"a\":\"\n0123456789\"}", Some(6)),
        ("{\"0\u{0}123456789\":1}", Some(3)),
        (r#"{"a":"\x"}"#, Some(7)),
        (r#"{"a":"\u12g4"}"#, Some(10)),
        (r#"{"a":"\u12"}"#, Some(10)),
        (r#"{"a":"\U0041"}"#, Some(7)),
        ("{\u{b}}", Some(1)),
        ("{\u{a0}}", Some(1)),
    ] {
        let (offset, fault) = match offset {
            Some(offset) => (offset, Fault::NotJson),
            None => (json.len() as u64, Fault::Truncated),
        };
        is_broken(&["/a"], json.as_bytes(), offset, &fault);
        is_broken(&[], json.as_bytes(), offset, &fault);
    }
}

#[test]
fn a_text_is_utf_8_throughout() {
    for (bytes, within) in [
        (&b"\xff"[..], 0),
        (b"\x80", 0),
        (b"\xc0\xaf", 0),
        (b"\xe0\x80\xaf", 0),
        (b"\xed\xa0\x80", 0),
        (b"\xf4\x90\x80\x80", 0),
        (b"\xf5\x80\x80\x80", 0),
        (b"abcdefghij\xc3", 10),
        (b"\xe2\x82", 0),
        (b"\xf0\x9f\x98", 0),
        (b"\xc3\xa9\xc3x", 2),
        (b"\xe2\x82\\n", 0),
    ] {
        for prefix in [
            &b"{\"a\":\""[..],
            b"{\"b\":[\"",
            b"{\"a\":1,\"",
            b"{\"b\":{\"c",
        ] {
            let whole = [prefix, bytes, b"\""].concat();
            let (search, _) = search(&["/a"]);
            for length in LENGTHS {
                let (_, end) = scan(&search, &whole, length);
                let broken = end.expect_err("no UTF-8");
                assert_eq!(broken.fault, Fault::NotUtf8, "{bytes:?}");
                // In a character that is cut, the byte that is wrong is the one that shows it.
                let least = (prefix.len() + within) as u64;
                assert!((least..=least + 3).contains(&broken.offset), "{bytes:?}");
            }
        }
    }
    is_broken(&[], b"{\xc3\xa9}", 1, &Fault::NotJson);
    is_broken(&[], b"{\"a\":\"\xe2\x82", 8, &Fault::Truncated);
}

#[test]
fn only_an_object_is_read_where_a_name_is_looked_for() {
    let text: Fault = Fault::NotAnObject("".into());
    for json in [
        "[]",
        "[{\"a\":1}]",
        "\"a\"",
        "1",
        "-1",
        "null",
        "true",
        "false",
    ] {
        is_broken(&["/a"], json.as_bytes(), 0, &text);
        is_broken(&[], json.as_bytes(), 0, &text);
    }
    let inner = Fault::NotAnObject("/a".into());
    is_broken(&["/a/b"], br#"{"a":[1]}"#, 5, &inner);
    is_broken(&["/a/0", "/a/b"], br#"{"a":[1]}"#, 5, &inner);
    is_broken(&["/a/01"], br#"{"a":[1]}"#, 5, &inner);
    let item = Fault::NotAnObject("/a/0".into());
    is_broken(&["/a/0/b"], br#"{"a":[[]]}"#, 6, &item);
}

#[test]
fn a_name_that_is_looked_for_may_not_come_twice() {
    for (pointers, json, offset, twice) in [
        (&["/a"][..], r#"{"a":1,"a":1}"#, 10, "/a"),
        (&["/a"], r#"{"a":1,"b":[{}],"\u0061":2}"#, 24, "/a"),
        (&["/a/b"], r#"{"a":{"b":1},"a":{}}"#, 16, "/a"),
        (&["/a/b"], r#"{"a":null,"a":{}}"#, 13, "/a"),
        (&["/a/b"], r#"{"a":{"b":1,"c":2,"b":3}}"#, 21, "/a/b"),
        (&["/a/0/b"], r#"{"a":[{"b":1,"b":2}]}"#, 16, "/a/0/b"),
        (&["/a~1b"], r#"{"a/b":1,"a/b":2}"#, 14, "/a~1b"),
        (&["/"], r#"{"":1,"":2}"#, 8, "/"),
    ] {
        is_broken(
            pointers,
            json.as_bytes(),
            offset,
            &Fault::Twice(twice.into()),
        );
    }
    let (search, _) = search(&["/a/0/b"]);
    for elsewhere in [
        r#"{"x":1,"x":2}"#,
        r#"{"x":{"a":1,"a":2}}"#,
        r#"{"a":[{"b":1},{"b":1,"b":2}]}"#,
        r#"{"a":[{"b":{"b":1,"b":2}}]}"#,
        r#"{"b":1,"b":2}"#,
    ] {
        let (_, end) = scan(&search, elsewhere.as_bytes(), usize::MAX);
        assert_eq!(end, Ok(()), "{elsewhere}");
    }
}

#[test]
fn a_name_that_some_readers_take_for_a_wanted_one_is_refused() {
    for (pointer, json, offset, respelt) in [
        ("/model", r#"{"Model":1}"#, 8, "/model"),
        ("/model", r#"{"model":1,"MODEL":1}"#, 18, "/model"),
        ("/model", r#"{"\u004dodel":1}"#, 13, "/model"),
        ("/messages", r#"{"meſsages":1}"#, 12, "/messages"),
        (
            "/kkkk",
            "{\"\u{212a}\u{212a}\u{212a}\u{212a}\":1}",
            15,
            "/kkkk",
        ),
        ("/k", r#"{"\u212A":1}"#, 9, "/k"),
        ("/\u{212a}", r#"{"k":1}"#, 4, "/\u{212a}"),
        ("/Ärger", r#"{"ärger":1}"#, 9, "/Ärger"),
        ("/straße", r#"{"straẞe":1}"#, 11, "/straße"),
        ("/σ", r#"{"ς":1}"#, 5, "/σ"),
        ("/a/b", r#"{"A":1}"#, 4, "/a"),
        ("/a/b", r#"{"a":{"B":1}}"#, 9, "/a/b"),
        ("/model", r#"{"model\u0000":1}"#, 14, "/model"),
        (
            "/model",
            r#"{"model":1,"Model\u0000 and more":1}"#,
            33,
            "/model",
        ),
        ("/k", r#"{"\u212A\u0000":1}"#, 15, "/k"),
        ("/a/b", r#"{"a\u0000b":{}}"#, 11, "/a"),
    ] {
        let fault = Fault::Respelt(respelt.into());
        is_broken(&[pointer], json.as_bytes(), offset, &fault);
    }
    for (pointer, elsewhere) in [
        ("/model", r#"{"models":1,"mode":1,"":1,"Modem":1}"#),
        ("/model", r#"{"x":{"Model":1},"y":[{"MODEL":1}]}"#),
        (
            "/model",
            r#"{"x":{"model\u0000":1},"mode\u0000l":1,"\u0000model":1}"#,
        ),
        ("/a/b", r#"{"B":1}"#),
        ("/a/b", r#"{"a":{"x":{"B":1}}}"#),
    ] {
        assert_eq!(found(pointer, elsewhere), Member::Absent, "{elsewhere}");
    }
}

#[test]
fn what_some_readers_take_for_what_is_looked_for_anywhere_is_refused() {
    let mut search = Search::new();
    search.anywhere("type", &["image", "image_url"]);
    search.anywhere("image_url", &[]);
    let search = Rc::new(search);
    for (json, respelt) in [
        (r#"{"a":[{"Type":"image"}]}"#, Some("type")),
        (
            r#"{"a":[{"TYPE":"text","tYPE":"image_url"}]}"#,
            Some("type"),
        ),
        (r#"{"type\u0000x":"image"}"#, Some("type")),
        (r#"{"type":"image\u0000"}"#, Some("type")),
        (r#"{"type":"image\u0000 and so on"}"#, Some("type")),
        (r#"{"a":{"Image_Url":{}}}"#, Some("image_url")),
        (r#"{"image_url\u0000":1}"#, Some("image_url")),
        (r#"{"a":{"Type":"text","x":"image"}}"#, None),
        (r#"{"a":{"Type":{"x":"image"}},"types":"image"}"#, None),
        (r#"{"Type":"Image","TYPE":["image"]}"#, None),
    ] {
        for length in [1, 3, usize::MAX] {
            let (mut scan, mut end) = (Scan::new(Rc::clone(&search)), Ok(()));
            for piece in json.as_bytes().chunks(length) {
                end = end.and_then(|()| scan.feed(piece));
            }
            let fault = end.err().map(|broken| broken.fault);
            let respelt = respelt.map(|name| Fault::Respelt(name.into()));
            assert_eq!(fault, respelt, "{json} in pieces of {length}");
        }
    }
}

#[test]
fn half_a_surrogate_pair_passes_only_where_nothing_is_looked_for() {
    for half in [
        r"\ud83d",
        r"\ude00",
        r"\ud83dx",
        r"\ud83d\n",
        r"\ud83d\u0041",
        r"\ud83d\ud83d\ude00",
        r"\ud83d\ud83d",
        r"\ude00\ud83d",
        r"\ud83dé",
        r"\ud83d\ude00\ude00",
    ] {
        for (before, after) in [
            (r#"{"a":""#, r#""}"#),
            (r#"{"model"#, r#"":1}"#),
            (r#"{"a":1,""#, r#"":1}"#),
        ] {
            let json = format!("{before}{half}{after}");
            let (search, _) = search(&["/a"]);
            for length in LENGTHS {
                let (_, end) = scan(&search, json.as_bytes(), length);
                assert_eq!(end.expect_err(&json).fault, Fault::LoneSurrogate, "{json}");
            }
        }
        let long = "x".repeat(2000);
        for (pointer, json) in [
            ("/a", format!(r#"{{"b":"{half}"}}"#)),
            ("/a", format!(r#"{{"b":{{"{half}":1}}}}"#)),
            ("/a", format!(r#"{{"a":{{"{half}":"{half}"}}}}"#)),
            ("/a/b", format!(r#"{{"a":"{half}"}}"#)),
            ("/a/0", format!(r#"{{"a":["",{{"a":"{half}"}}]}}"#)),
        ] {
            found(pointer, &json);
        }
        let json = format!(r#"{{"a":"{long}{half}"}}"#);
        let (search, _) = search(&["/a"]);
        let (_, end) = scan(&search, json.as_bytes(), usize::MAX);
        assert_eq!(end.expect_err(&json).fault, Fault::LoneSurrogate);
    }
}

#[test]
fn as_deep_as_serde_json_is_read_and_no_deeper() {
    let nested = |open: &str, close: &str, levels: usize| {
        format!(
            "{{\"a\":{}{}}}",
            open.repeat(levels - 1),
            close.repeat(levels - 1)
        )
    };
    let (search, _) = search(&["/a"]);
    for (open, close) in [("[", "]"), ("[{\"a\":", "}]")] {
        let each = open.matches(['[', '{']).count();
        for levels in 60..=140 {
            let mut text = nested(open, close, levels);
            if each == 2 {
                text = text.replace(":}", ":1}");
            }
            let depth = 1 + each * (levels - 1);
            let ours = scan(&search, text.as_bytes(), usize::MAX).1;
            let serde = serde_json::from_str::<serde_json::Value>(&text);
            assert_eq!(ours.is_ok(), depth <= DEEPEST, "{depth}");
            assert_eq!(serde.is_ok(), depth <= DEEPEST, "{depth}");
            if let Err(broken) = ours {
                assert_eq!(broken.fault, Fault::TooDeep);
            }
        }
    }
}

#[test]
fn a_member_may_be_looked_for_anywhere() {
    let mut search = Search::new();
    let image = search.anywhere("type", &["image_url", "input_image"]);
    let audio = search.anywhere("type", &["input_audio"]);
    let tools = search.anywhere("tools", &[]);
    let model = search.member("/model").expect("a pointer");
    let search = Rc::new(search);
    for (json, expected) in [
        (r#"{"model":1}"#, [false, false, false]),
        (r#"{"type":"image_url"}"#, [true, false, false]),
        (
            r#"{"m":[{"c":[{"type":"input_image"},{"type":"text"}]}]}"#,
            [true, false, false],
        ),
        (
            r#"{"m":[{"\u0074ype":"input\u005faudio"}]}"#,
            [false, true, false],
        ),
        (
            r#"{"a":{"type":"input_image","type":"input_audio"}}"#,
            [true, true, false],
        ),
        (r#"{"a":[[{"tools":[]}]]}"#, [false, false, true]),
        (r#"{"tools":null}"#, [false, false, true]),
        (
            r#"{"tool":1,"type":["image_url"],"x":"image_url"}"#,
            [false, false, false],
        ),
        (r#"{"type":{"x":"image_url"}}"#, [false, false, false]),
        (
            r#"{"type":1,"x":"image_url","type":"image_urls"}"#,
            [false, false, false],
        ),
        (
            r#"{"x":{"type":"\ud83d"},"y":{"\ud83d":"image_url"}}"#,
            [false, false, false],
        ),
    ] {
        for length in LENGTHS {
            let (scan, end) = scan(&search, json.as_bytes(), length);
            assert_eq!(end, Ok(()), "{json}");
            let known = |seen: bool| {
                if seen {
                    Anywhere::Seen
                } else {
                    Anywhere::Absent
                }
            };
            let found = [image, audio, tools].map(|id| scan.anywhere(id));
            assert_eq!(found, expected.map(known), "{json}");
            assert!(scan.has_settled());
        }
    }
    let mut scan = Scan::new(search);
    scan.feed(br#"{"model":"x","tools":["#).expect("json");
    assert_eq!(scan.anywhere(tools), Anywhere::Seen, "its name is enough");
    assert_eq!(scan.anywhere(image), Anywhere::Unknown);
    assert!(matches!(scan.member(model), Member::Found(_)));
    assert!(!scan.has_settled());
    scan.feed(br#"{"type":"input_audio"},{"type":"image_url""#)
        .expect("json");
    assert!(scan.has_settled());
}

#[test]
fn a_search_for_nothing_is_settled_from_the_start() {
    let scan = Scan::new(Rc::new(Search::new()));
    assert!(scan.has_settled());
}

#[test]
fn a_pointer_that_leads_to_nothing_is_not_looked_for() {
    let mut search = Search::new();
    for (pointer, bad) in [
        ("model", BadPointer::NoSlash),
        ("#/model", BadPointer::NoSlash),
        ("/a~", BadPointer::Tilde),
        ("/a~2", BadPointer::Tilde),
        ("/a/-", BadPointer::Hyphen),
        ("/-/a", BadPointer::Hyphen),
    ] {
        assert_eq!(search.member(pointer), Err(bad), "{pointer}");
    }
    assert!(search.member(&"/a".repeat(DEEPEST)).is_ok());
    let deeper = search.member(&"/a".repeat(DEEPEST + 1));
    assert_eq!(deeper, Err(BadPointer::TooDeep));
    search.member("/model/a").expect("a pointer");
    let respelt = BadPointer::Respelt("/model".into());
    assert_eq!(search.member("/Model"), Err(respelt.clone()));
    assert_eq!(search.member("/MODEL/b"), Err(respelt));
    search.member("/x/Model").expect("elsewhere");
    search.member("/model/b").expect("a pointer");
    let respelt = BadPointer::Respelt("/model/a".into());
    assert_eq!(search.member("/model/A"), Err(respelt));
}

#[test]
fn a_fault_is_told_in_words_that_hold_nothing_of_the_text() {
    let (search, _) = search(&["/model"]);
    for (json, words) in [
        (r#"{"secret"x"#, "the JSON is malformed at byte 9"),
        ("[]", "the JSON is not an object"),
        (
            r#"{"model":1,"model":2}"#,
            "the JSON has /model twice, again before byte 18",
        ),
        (
            r#"{"MODEL":1}"#,
            "the JSON has a name before byte 8 that some readers take for /model",
        ),
        (
            r#"{"model":"\ud800"}"#,
            "the JSON has half a surrogate pair before byte 17",
        ),
        ("{", "the JSON ends too early, after 1 bytes"),
    ] {
        let (_, end) = scan(&search, json.as_bytes(), usize::MAX);
        assert_eq!(end.expect_err(json).to_string(), words);
    }
}
