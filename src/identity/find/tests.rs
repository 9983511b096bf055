use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::*;
use crate::identity::{MAX_KEY, Removal, offered_protocols, without_key};

fn header(name: &str, scheme: Option<&str>) -> KeySource {
    KeySource::Header {
        name: name.to_owned(),
        scheme: scheme.map(str::to_owned),
    }
}

fn sources() -> Vec<KeySource> {
    vec![
        header("x-api-key", None),
        header("authorization", Some("Bearer")),
        KeySource::Query {
            name: "api_key".to_owned(),
            any_request: false,
        },
        KeySource::WebsocketProtocol {
            prefix: "waykeeper.key.".to_owned(),
        },
    ]
}

fn found_in(
    sources: &[KeySource],
    handshake: bool,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<String, Found> {
    let headers = HeaderBlock::from_pairs(headers);
    let presented = Presented {
        headers: &headers,
        path: path.as_bytes(),
        handshake,
    };
    match find_key(sources, presented) {
        Found::Key(credential) => Ok(credential.secret().to_owned()),
        other => Err(other),
    }
}

fn found(handshake: bool, path: &str, headers: &[(&str, &str)]) -> Result<String, Found> {
    found_in(&sources(), handshake, path, headers)
}

/// What becomes of `authorization` where these schemes are looked for: the key found, and what goes on to the agent.
fn judged(schemes: &[Option<&str>], values: &[&str]) -> (Result<String, Found>, Option<String>) {
    let sources: Vec<_> = schemes
        .iter()
        .map(|scheme| header("authorization", *scheme))
        .collect();
    let pairs: Vec<_> = values
        .iter()
        .map(|value| ("authorization", *value))
        .collect();
    (
        found_in(&sources, false, "/", &pairs),
        rest(&sources, &pairs),
    )
}

fn rest(sources: &[KeySource], pairs: &[(&str, &str)]) -> Option<String> {
    let headers = HeaderBlock::from_pairs(pairs);
    let presented = Presented {
        headers: &headers,
        path: b"/",
        handshake: false,
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match &without_key(sources, presented)[..] {
        [] => {
            let values: Vec<_> = headers.get_all("authorization").collect();
            Some(text(values.join(&b","[..])))
        }
        [Removal::Header("authorization")] => None,
        [Removal::Rest("authorization", rest)] => Some(text(rest.to_vec())),
        other => panic!("{other:?}"),
    }
}

fn removals(path: &str, headers: &[(&str, &str)]) -> Vec<String> {
    let headers = HeaderBlock::from_pairs(headers);
    let presented = Presented {
        headers: &headers,
        path: path.as_bytes(),
        handshake: false,
    };
    without_key(&sources(), presented)
        .into_iter()
        .map(|removal| match removal {
            Removal::Header(name) => name.to_owned(),
            Removal::Rest(_, bytes) | Removal::Path(bytes) => {
                String::from_utf8(bytes.to_vec()).unwrap()
            }
        })
        .collect()
}

#[test]
fn the_first_source_that_is_present_counts_even_if_it_holds_no_key() {
    let both = [("authorization", "Bearer second"), ("x-api-key", "first")];
    assert_eq!(found(false, "/", &both), Ok("first".to_owned()));
    let nonsense_first = [("x-api-key", "a b"), ("authorization", "Bearer second")];
    assert_eq!(found(false, "/", &nonsense_first), Err(Found::Malformed));
    assert_eq!(found(false, "/", &[]), Err(Found::Missing));
}

#[test]
fn an_empty_source_counts_as_absent() {
    for empty in [
        ("x-api-key", ""),
        ("x-api-key", " \t"),
        ("x-api-key", ", ,"),
    ] {
        assert_eq!(
            found(false, "/", &[empty, ("authorization", "Bearer second")]),
            Ok("second".to_owned()),
            "{empty:?}"
        );
        assert_eq!(
            found(false, "/", &[empty]),
            Err(Found::Missing),
            "{empty:?}"
        );
    }
    for empty in [
        "Bearer",
        "Bearer ",
        "bearer\t",
        "Bearer,Bearer",
        "Bearer ,,",
    ] {
        let pairs = [("authorization", empty)];
        assert_eq!(
            found(true, "/ws?api_key=k", &pairs),
            Ok("k".to_owned()),
            "{empty:?}"
        );
        assert_eq!(found(false, "/", &pairs), Err(Found::Missing), "{empty:?}");
    }
    let protocols = [("sec-websocket-protocol", "waykeeper.key64., waykeeper.key.")];
    assert_eq!(found(true, "/ws?api_key=", &protocols), Err(Found::Missing));
}

#[test]
fn another_scheme_is_no_key_at_all() {
    for value in ["Basic abc", "Bearerabc", "abc", ""] {
        assert_eq!(
            judged(&[Some("Bearer")], &[value]),
            (Err(Found::Missing), Some(value.to_owned())),
            "{value:?}"
        );
    }
    for value in [
        "Bearer abc",
        "bearer   abc",
        "BEARER abc ",
        "Bearer\tabc",
        "Bearer \t abc",
        ", Bearer abc",
    ] {
        assert_eq!(
            judged(&[Some("Bearer")], &[value]),
            (Ok("abc".to_owned()), None),
            "{value:?}"
        );
    }
}

#[test]
fn a_key_that_is_malformed_is_refused_and_removed_all_the_same() {
    for value in [
        "Bearer a b",
        "Bearer a, b",
        "Bearer:a",
        "Bearer=a",
        "Bearer,a",
        "Bearer \u{a0}a",
        "Bearer\u{a0}a",
        "Bearer\u{b}a",
        "Bearer \u{80}",
        "\u{a0}Bearer\u{a0}a",
        "\u{a0}Bearer a",
        ",\u{80} Bearer a",
    ] {
        assert_eq!(
            judged(&[Some("Bearer")], &[value]),
            (Err(Found::Malformed), None),
            "{value:?}"
        );
    }
}

#[test]
fn a_key_is_found_and_removed_wherever_it_stands_among_credentials_that_were_joined() {
    let digest = r#"Digest username="a, Basic b\", Basic c", realm="Bearer x", nc=1, uri = "/""#;
    let hiding = r#"Digest username="a, Bearer b", nc=1"#;
    let basic = "Basic Zm9v==";
    for (joined, rest) in [
        (format!("{basic},Bearer K"), basic.to_owned()),
        (format!("Bearer K,{basic}"), basic.to_owned()),
        (format!("bearer K , ,\t{basic}"), basic.to_owned()),
        (
            format!("Bearer K,{basic},BEARER\tK, {digest},, Bearer K"),
            format!("{basic}, {digest}"),
        ),
        (format!("{digest},Bearer K"), digest.to_owned()),
        (
            format!("Negotiate,{basic},Bearer K"),
            format!("Negotiate, {basic}"),
        ),
        // A string that does not end is none.
        (
            r#"Digest a=",Bearer K"#.to_owned(),
            r#"Digest a=""#.to_owned(),
        ),
        (
            r#"Digest a="b"c,Bearer K"#.to_owned(),
            r#"Digest a="b"c"#.to_owned(),
        ),
        (
            r#"Basic Zg="#.to_owned() + ",Bearer K",
            "Basic Zg=".to_owned(),
        ),
    ] {
        assert_eq!(
            judged(&[Some("Bearer")], &[&joined]),
            (Ok("K".to_owned()), Some(rest)),
            "{joined:?}"
        );
    }
    // Nor is a string that stands in no credential, or has odd bytes behind it.
    for joined in ["=\"a,Bearer K,X b=\"", "X a=\"b,Bearer K,Y c=\"\u{80}"] {
        let (key, rest) = judged(&[Some("Bearer")], &[joined]);
        assert_eq!(key, Ok("K".to_owned()), "{joined:?}");
        assert!(!rest.is_some_and(|rest| rest.contains('K')), "{joined:?}");
    }
    // What a reader who knows no quoted strings takes for a key does not count, and does not go on.
    assert_eq!(
        judged(&[Some("Bearer")], &[hiding]),
        (Err(Found::Missing), None)
    );
    assert_eq!(
        judged(&[Some("Bearer")], &[hiding, "Bearer K"]),
        (Ok("K".to_owned()), None)
    );
    // Where what is left would be read in another way, nothing is left.
    let shifting = r#"X a="b,Bearer "K,Y c=",Bearer d""#;
    assert_eq!(
        judged(&[Some("Bearer")], &[shifting]),
        (Ok("\"K".to_owned()), None)
    );
    for untouched in [digest, basic] {
        assert_eq!(
            judged(&[Some("Bearer")], &[untouched]),
            (Err(Found::Missing), Some(untouched.to_owned()))
        );
    }
}

#[test]
fn a_comma_without_a_scheme_behind_it_is_the_key_s_own() {
    for key in ["a,b", "a,Basic", "a,bearer=b", "a,\"b\",c"] {
        assert_eq!(
            judged(&[Some("Bearer")], &[&format!("Bearer {key}")]),
            (Ok(key.to_owned()), None),
            "{key}"
        );
    }
    for key in ["a,b", "a,", ",a", "a,b,a"] {
        assert_eq!(
            found(false, "/", &[("x-api-key", key)]),
            Ok(key.to_owned()),
            "{key}"
        );
    }
}

#[test]
fn a_key_may_be_repeated_but_not_contradicted() {
    for same in [&["a", "a"][..], &["a,a"], &["a, a ,a"], &["a, a", "a"]] {
        let pairs: Vec<_> = same.iter().map(|value| ("x-api-key", *value)).collect();
        assert_eq!(found(false, "/", &pairs), Ok("a".to_owned()), "{same:?}");
    }
    for different in [&["a", "b"][..], &["a", ""], &["", "a"], &["a, a", "b"]] {
        let pairs: Vec<_> = different
            .iter()
            .map(|value| ("x-api-key", *value))
            .collect();
        assert_eq!(
            found(false, "/", &pairs),
            Err(Found::Malformed),
            "{different:?}"
        );
    }
    for same in [
        &["Bearer a", "bearer a"][..],
        &["Bearer a,Bearer a, BEARER  a"],
    ] {
        assert_eq!(
            judged(&[Some("Bearer")], same),
            (Ok("a".to_owned()), None),
            "{same:?}"
        );
    }
    for different in [
        &["Bearer a", "Bearer b"][..],
        &["Bearer a,Bearer b"],
        &["Bearer a,Basic x,Bearer b"],
        &["Bearer a,Bearer"],
    ] {
        let (found, rest) = judged(&[Some("Bearer")], different);
        assert_eq!(found, Err(Found::Malformed), "{different:?}");
        assert!(rest.is_none_or(|rest| rest == "Basic x"), "{different:?}");
    }
}

#[test]
fn several_sources_may_look_at_one_header() {
    let (bearer, token) = (Some("Bearer"), Some("Token"));
    let joined = "Token t,Basic x,Bearer b";
    let rest = Some("Basic x".to_owned());
    assert_eq!(
        judged(&[bearer, token], &[joined]),
        (Ok("b".to_owned()), rest.clone())
    );
    assert_eq!(
        judged(&[token, bearer], &[joined]),
        (Ok("t".to_owned()), rest)
    );
    // What takes whatever stands there takes all of it.
    assert_eq!(
        judged(&[bearer, None], &["Basic x"]),
        (Err(Found::Malformed), None)
    );
    assert_eq!(judged(&[bearer, None], &["k"]), (Ok("k".to_owned()), None));
    assert_eq!(
        judged(&[bearer, None], &["Basic x,Bearer b"]),
        (Ok("b".to_owned()), None)
    );
    assert_eq!(judged(&[None], &["k,k"]), (Ok("k".to_owned()), None));
}

#[test]
fn a_key_has_1_to_4096_visible_characters() {
    let longest = "k".repeat(4096);
    assert_eq!(
        found(false, "/", &[("x-api-key", &longest)]),
        Ok(longest.clone())
    );
    for value in [
        longest + "k",
        "a b".to_owned(),
        "ä".to_owned(),
        "a\u{7f}".to_owned(),
    ] {
        assert_eq!(
            found(false, "/", &[("x-api-key", &value)]),
            Err(Found::Malformed),
            "{value:?}"
        );
    }
}

#[test]
fn the_query_counts_on_handshakes_only_and_is_decoded() {
    assert_eq!(found(false, "/ws?api_key=k", &[]), Err(Found::Missing));
    assert_eq!(
        found(true, "/ws?a=1&api_key=k%2Bk+%zz&b", &[]),
        Ok("k+k+%zz".to_owned())
    );
    assert_eq!(found(true, "/ws?api%5Fkey=k", &[]), Ok("k".to_owned()));
    assert_eq!(found(true, "/ws?api_key=", &[]), Err(Found::Missing));
    assert_eq!(
        found(true, "/ws?api_key=a&api_key=b", &[]),
        Err(Found::Malformed)
    );
}

#[test]
fn a_subprotocol_carries_a_key_plain_or_in_base64url() {
    let protocols = |value: &str| found(true, "/", &[("sec-websocket-protocol", value)]);
    assert_eq!(protocols("chat, waykeeper.key.abc"), Ok("abc".to_owned()));
    let encoded = URL_SAFE_NO_PAD.encode("a=/b");
    assert_eq!(
        protocols(&format!("waykeeper.key64.{encoded}")),
        Ok("a=/b".to_owned())
    );
    assert_eq!(protocols("waykeeper.key64.!"), Err(Found::Malformed));
    assert_eq!(protocols("chat"), Err(Found::Missing));
}

#[test]
fn every_source_is_cleared_whichever_counted() {
    let headers = [("x-api-key", "k"), ("authorization", "Bearer k")];
    assert_eq!(
        removals("/a?x=1&api_key=k&api%5fkey=z&y=2", &headers),
        ["x-api-key", "authorization", "/a?x=1&y=2"]
    );
    assert_eq!(removals("/a?api_key", &[]), ["/a"]);
    assert!(removals("/a?key=api_key", &[("authorization", "Basic x")]).is_empty());
}

#[test]
fn what_is_offered_beside_the_key_goes_on_and_is_answered_first() {
    let offered = |value: &str| {
        let headers = HeaderBlock::from_pairs(&[("sec-websocket-protocol", value)]);
        offered_protocols(&sources(), &headers).map(|(others, answer)| {
            (
                String::from_utf8(others).unwrap(),
                String::from_utf8(answer).unwrap(),
            )
        })
    };
    let text = |others: &str, answer: &str| Some((others.to_owned(), answer.to_owned()));
    assert_eq!(
        offered("waykeeper.key.k, chat, v2"),
        text("chat, v2", "chat")
    );
    assert_eq!(offered("waykeeper.key.k"), text("", "waykeeper.key.k"));
    assert_eq!(offered("chat"), None);
}

#[test]
fn neither_a_credential_nor_what_is_taken_out_shows_itself() {
    let headers = HeaderBlock::from_pairs(&[("authorization", "Bearer secret,Basic secret")]);
    let presented = Presented {
        headers: &headers,
        path: b"/?api_key=secret&a=secret",
        handshake: false,
    };
    let sources = sources();
    let removals = without_key(&sources, presented);
    assert_eq!(removals.len(), 2);
    let shown = format!("{:?} {removals:?}", find_key(&sources, presented));
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn many_commas_and_quotes_take_no_more_time_than_others() {
    // As much as Envoy lets in. In time that grows by the square this would take minutes.
    for unit in [
        ",",
        ", a ",
        "=\"",
        "=\"\\\"",
        "a,=",
        ",a =",
        "= \"",
        ",Bearer",
        "Bearer a,",
    ] {
        let value = unit.repeat(60 * 1024 / unit.len());
        for value in [
            value.clone(),
            format!("Bearer {value}"),
            format!("Basic {value}"),
        ] {
            let started = std::time::Instant::now();
            let _ = judged(&[Some("Bearer"), Some("Token")], &[&value]);
            assert!(started.elapsed().as_secs() < 2, "{unit:?}");
        }
    }
}

/// Values in which borders, keys and strings meet in every way.
fn credentials() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "Bearer",
        "bearer",
        "Basic",
        "Token",
        "MARKER",
        "Zm9v",
        " ",
        "\t",
        ",",
        ", ",
        "=",
        "\"",
        "\\",
        "a",
        ":",
        "\u{a0}",
        "Bearer MARKER",
        "realm=\"x, y\"",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_of_a_request_can_break_the_search(
        path in prop::collection::vec(any::<u8>(), 0..80),
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
        handshake: bool,
    ) {
        let names = ["x-api-key", "authorization", "sec-websocket-protocol"];
        let pairs: Vec<_> = names.iter().zip(&values).collect();
        let headers = HeaderBlock::from_pairs(&pairs);
        let presented = Presented { headers: &headers, path: &path, handshake };
        if let Found::Key(credential) = find_key(&sources(), presented) {
            prop_assert!((1..=MAX_KEY).contains(&credential.secret().len()));
        }
        let _ = offered_protocols(&sources(), &headers);
        // What is cleared once holds no key any more.
        let sources = sources();
        for removal in without_key(&sources, presented) {
            if let Removal::Path(path) = removal {
                let again = without_key(&sources, Presented { path: &path, ..presented });
                prop_assert!(!again.iter().any(|removal| matches!(removal, Removal::Path(_))));
            }
        }
    }

    /// What goes on holds nothing that any source would find, and what is found is what was removed.
    #[test]
    fn whatever_is_joined_nothing_goes_on_in_which_a_source_finds_something(
        value in credentials(), more in prop::option::of(credentials()), two: bool,
    ) {
        let schemes: &[_] = if two { &[Some("Bearer"), Some("Token")] } else { &[Some("Bearer")] };
        let mut values = vec![value.as_str()];
        values.extend(more.as_deref());
        let (found, rest) = judged(schemes, &values);
        let rest = rest.unwrap_or_default();
        let (again, same) = judged(schemes, &[&rest]);
        prop_assert_eq!(again, Err(Found::Missing), "{:?}", rest);
        prop_assert_eq!(same.unwrap_or_default(), rest.clone());
        if let Ok(key) = found
            && key.contains("MARKER")
            // What goes on is joined so, and what is put together may read like the key.
            && values.join(", ").matches(&key).count() == 1
        {
            prop_assert!(!rest.contains(&key), "{:?}: {:?}", values, rest);
        }
    }

    /// Lines that were joined are read like the same lines apart.
    #[test]
    fn joined_and_apart_are_the_same(keys in prop::collection::vec("[a-z]{1,3}", 1..4), basic: bool) {
        let mut lines: Vec<_> = keys.iter().map(|key| format!("Bearer {key}")).collect();
        if basic {
            lines.insert(1, "Basic Zm9v".to_owned());
        }
        let apart: Vec<_> = lines.iter().map(String::as_str).collect();
        let joined = apart.join(",");
        prop_assert_eq!(judged(&[Some("Bearer")], &apart), judged(&[Some("Bearer")], &[&joined]));
    }
}
