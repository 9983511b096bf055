use super::*;

use proptest::prelude::*;

fn allowed(path: &str, slashes: EncodedSlashes) -> bool {
    Path::read(path.as_bytes())
        .and_then(|path| path.allow(Some(slashes)))
        .is_ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn paths_that_agents_could_read_another_way_are_refused() {
    for path in [
        "",
        "*",
        "relative",
        "//",
        "/a//b",
        "/a/./b",
        "/a/../b",
        "/a/..",
        "/a/.",
        "/a/..;/b",
        "/a/.;x=1/b",
        "/a/..%3b/b",
        "/a/.%3Bx",
        "/a/;/b",
        "/;x/b",
        "/a/%3b/b",
        "/a\\b",
        "/%2e%2e/b",
        "/a/%2E/b",
        "/a%2eb",
        "/a%5cb",
        "/a%5Cb",
        "/a%00b",
        "/a%2fb",
        "/a%2Fb",
        "/a b",
        "/a#b",
        "/a?b#c",
        "/\u{e9}",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%+1",
        "/a/%%32e%%32e/b",
        "/a%2%65",
        "/a%%35cb",
        "/a%%32fb",
        "/a%u002fb",
    ] {
        assert!(!allowed(path, EncodedSlashes::Refuse), "{path:?}");
    }
}

#[test]
fn ordinary_paths_pass() {
    for path in [
        "/",
        "/a",
        "/a/",
        "/a.b/..c/...",
        "/a;x=1",
        "/a;x=1/b;y;z",
        "/a/;x",
        "/;x",
        "/a%3bx",
        "/a%20b",
        "/a%c3%a9",
        "/a%252fb",
        "/a?next=//x/../%2f\\%",
    ] {
        assert!(allowed(path, EncodedSlashes::Refuse), "{path:?}");
    }
}

#[test]
fn an_encoded_slash_may_be_kept_but_never_beside_dots_or_in_parameters() {
    for path in [
        "/models/org%2Fmodel",
        "/models/org%2fmodel?x=1",
        "/m/a%2fb%2fc",
        "/m/a%2f%62",
        "/m/a%2fb;x=1",
    ] {
        assert!(allowed(path, EncodedSlashes::Keep), "{path:?}");
        assert!(allowed(path, EncodedSlashes::KeepAnywhere), "{path:?}");
        assert!(!allowed(path, EncodedSlashes::Refuse), "{path:?}");
    }
    for path in [
        "/models%2forg/x",
        "/m%2fa/b%2fc",
        "/m/a%2fb/",
        "/m/arn:x%2fy/invoke",
    ] {
        assert!(!allowed(path, EncodedSlashes::Keep), "{path:?}");
        assert!(allowed(path, EncodedSlashes::KeepAnywhere), "{path:?}");
    }
    for path in [
        "/models/..%2fx",
        "/models/x%2f..",
        "/models/%2fx",
        "/models/x%2f",
        "/models/x%2f/y",
        "/m/a%2f%2fb",
        "/m/a%2f%2e%2e",
        "/m/a.%2fb",
        "/m/a%2f;x/b",
        "/m/a%2f%3bx",
        "/m/a;x%2fb",
        "/m/a%3bx%2f../b",
        "/m/a%2fb;x%2fc",
    ] {
        assert!(!allowed(path, EncodedSlashes::KeepAnywhere), "{path:?}");
    }
}

#[test]
fn escapes_of_unreserved_characters_go_on_decoded_and_all_else_as_it_came() {
    let onward = |path: &'static str| {
        let path = Path::read(path.as_bytes()).ok()?;
        path.rewritten("/", None).map(|path| text(&path))
    };
    assert_eq!(
        onward("/api/%74ools/%41%20%3a;%c3?q=%74").as_deref(),
        Some("/api/tools/A%20%3a;%c3?q=%74")
    );
    assert_eq!(onward("/api/tools/%20%3a;x"), None);
}

#[test]
fn a_doubtful_path_has_the_parts_that_the_most_generous_reader_sees() {
    let parts = |path: &str| {
        let path = Path::read(path.as_bytes()).expect("a path");
        let parts = path.parts().map(|part| (text(part.name), part.doubt));
        parts.collect::<Vec<_>>()
    };
    let part = |name: &str, doubt| (name.to_owned(), doubt);
    assert_eq!(
        parts("/files%3Aall/t%6fols;v=1;w/org%2fm%C3;x/%c3/;y"),
        [
            part("files:all", Doubt::None),
            part("tools", Doubt::Parameters),
            part("org", Doubt::EncodedSlash),
            part("m%C3", Doubt::EncodedSlash),
            part("%C3", Doubt::None),
            part("", Doubt::Parameters),
        ]
    );
}

#[test]
fn the_rewrite_takes_the_place_of_the_matched_segments_and_nothing_else() {
    let rewritten = |path: &'static str, prefix, rewrite| {
        let path = Path::read(path.as_bytes()).ok()?;
        path.rewritten(prefix, Some(rewrite))
            .map(|path| text(&path))
    };
    for (path, prefix, rewrite, expected) in [
        ("/api/x?q=1", "/api", "/handle", "/handle/x?q=1"),
        ("/api", "/api", "/handle", "/handle"),
        ("/api/", "/api", "/handle", "/handle/"),
        ("/api/x", "/api", "/", "/x"),
        ("/api", "/api", "/", "/"),
        ("/x", "/", "/handle", "/handle/x"),
        ("/", "/", "/handle", "/handle"),
        ("/;x", "/", "/handle", "/handle/;x"),
        ("/a%3ab/x", "/a:b", "/handle", "/handle/x"),
        ("/a:b/%3a%78", "/a%3Ab", "/handle", "/handle/%3ax"),
        ("/a;v=1/b;w%3d2/c;x", "/a/b", "/handle", "/handle/c;x"),
        ("/a;v=1", "/a", "/handle", "/handle"),
    ] {
        assert_eq!(
            rewritten(path, prefix, rewrite).as_deref(),
            Some(expected),
            "{path}"
        );
    }
}

/// Paths made of what makes paths differ.
pub(in crate::routing) fn tricky() -> impl Strategy<Value = String> {
    let pieces = [
        "/", "/", "/", "a", "b", "a", ":", "%3a", "%3A", "%61", ";", "%3b", "=", ".", "%2e", "%2f",
        "%2F", "%", "%2", "%5c", "\\", "%25", "%c3", "%C3", "2e", "2f", "?", "%00", "%20",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..16)
        .prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn what_goes_on_reads_the_same_and_is_allowed_by_the_same_rule(
        path in prop_oneof![
            tricky().prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..60),
        ],
    ) {
        let Ok(came) = Path::read(&path) else { return Ok(()) };
        let onward = came.rewritten("/", None).unwrap_or_else(|| path.clone());
        let again = Path::read(&onward);
        prop_assert!(again.is_ok(), "{} became {}", text(&path), text(&onward));
        let again = again.expect("a path");
        prop_assert_eq!(again.rewritten("/", None), None);
        prop_assert_eq!(again.query, came.query);
        prop_assert!(again.parts().eq(came.parts()));
        for slashes in [
            EncodedSlashes::Refuse,
            EncodedSlashes::Keep,
            EncodedSlashes::KeepAnywhere,
        ] {
            prop_assert_eq!(again.allow(Some(slashes)), came.allow(Some(slashes)));
        }
        // Nothing that could lead elsewhere is left, however often it is decoded at once.
        prop_assert!(came.parts().all(|part| part.name != b"." && part.name != b".."));
    }
}
