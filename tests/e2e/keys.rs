//! Keys and headers that are not what one expects: empty, repeated, too long, bytes that are no text, and a request
//! as large as Envoy lets in. Each is answered; none reaches the validator without need, and none kills the filter. And keys
//! beside other credentials, which Envoy joins into one value: none of them reaches an agent.

use serde_json::json;

use crate::harness::{Request, World};

const NOTES: &str = "/api/v1/memory/notes";

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_without_asking() {
    let world = World::start().await;
    let long = "k".repeat(4097);
    let keys: [(&str, &[u8]); 6] = [
        ("with a space", b"demo premium"),
        ("with a tab", b"demo\tpremium"),
        ("too long", long.as_bytes()),
        ("Latin-1", b"caf\xe9"),
        ("no text at all", b"\x80\xff\xfe"),
        ("beyond ASCII", "schl\u{fc}ssel".as_bytes()),
    ];
    for (what, key) in keys {
        let by_header = world.get(NOTES).header("x-api-key", key).send().await;
        let by_scheme = world
            .get(NOTES)
            .header("authorization", [b"Bearer ", key].concat())
            .send()
            .await;
        for answer in [by_header, by_scheme] {
            assert_eq!(answer.refused(), (401, "invalid_key".to_owned()), "{what}");
        }
    }
    // A source that is empty counts as absent.
    for empty in ["", "   "] {
        let by_header = world.get(NOTES).key(empty);
        let by_scheme = format!("Bearer {empty}");
        let by_scheme = world.get(NOTES).header("authorization", by_scheme);
        for request in [by_header, by_scheme] {
            for request in [request.clone(), request.http2()] {
                let refused = request.send().await.refused();
                assert_eq!(refused, (401, "missing_key".to_owned()), "{empty:?}");
            }
        }
    }
    assert_eq!(world.auth().stats().total, 0);
    assert_eq!(world.agent("memory").stats().total, 0);
}

#[tokio::test]
async fn a_key_of_4096_bytes_is_a_key_and_an_empty_source_is_passed_over() {
    let world = World::start().await;
    // Of characters that the question to the validator has to escape.
    let key = "\"\\".repeat(2048);
    world.auth().insert_key(
        &key,
        waykeeper_demo::auth::Client {
            client_id: "long".to_owned(),
            ..Default::default()
        },
    );
    let bearer = format!("Bearer {key}");
    for request in [
        world.get(NOTES).key(&key),
        world.get(NOTES).header("authorization", &bearer),
        // As a client does that has both ways and is given a token for the second.
        world.get(NOTES).key("").header("authorization", &bearer),
    ] {
        for request in [request.clone(), request.http2()] {
            let headers = request.send().await.echo().headers;
            assert_eq!(headers.get("x-waykeeper-client"), Some("long"));
            for name in ["x-api-key", "authorization"] {
                assert_eq!(headers.get(name), None, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn two_different_keys_are_none() {
    let world = World::start().await;
    let two = |first: &str, second: &str| world.get(NOTES).key(first).key(second);

    for (first, second) in [
        ("demo-premium", "demo-admin"),
        ("demo-premium", ""),
        ("", "demo-premium"),
        ("unheard-of", "demo-premium"),
    ] {
        let refused = two(first, second).send().await;
        assert_eq!(
            refused.refused(),
            (401, "invalid_key".to_owned()),
            "{first}, {second}"
        );
    }
    assert_eq!(world.auth().stats().total, 0);
    // Said twice, it is the same key.
    assert_eq!(two("demo-premium", "demo-premium").send().await.status, 200);
}

const BASIC: &str = "Basic Zm9vOmJhcg==";
const DIGEST: &str = r#"Digest username="a, Basic b", realm="x", nonce="y", uri="/", response="z""#;
/// What a reader who knows no quoted strings takes for a key.
const HIDDEN: &str = r#"Digest username="a, Bearer demo-premium", realm="x""#;

#[tokio::test]
async fn a_key_beside_another_credential_counts_and_goes_no_further() {
    let world = World::with(|draft| {
        draft.route("/api/v1/memory")["auth_required"] = json!(false);
        let locked = json!({"prefix": "/locked", "agents": ["memory"]});
        draft.routes().push(locked);
    })
    .await;
    let key = "Bearer demo-premium";
    let both = |credentials: String| [BASIC.to_owned(), DIGEST.to_owned(), credentials].join(", ");
    // What the caller sends, line by line, and what is left of it.
    let cases: [(&[&str], Option<String>); 15] = [
        (&[key], None),
        (&[HIDDEN, key], None),
        (&["bearer\tdemo-premium"], None),
        (&[key, key], None),
        (&["BEARER  demo-premium, , Bearer demo-premium"], None),
        (&[BASIC, key], Some(BASIC.to_owned())),
        (&[key, BASIC], Some(BASIC.to_owned())),
        (&[key, BASIC, "bearer demo-premium"], Some(BASIC.to_owned())),
        (
            &["Basic Zm9vOmJhcg==,Bearer\tdemo-premium"],
            Some(BASIC.to_owned()),
        ),
        (&[DIGEST, key], Some(DIGEST.to_owned())),
        (&[BASIC, key, DIGEST], Some([BASIC, DIGEST].join(", "))),
        (
            &[BASIC, DIGEST, key, "Negotiate abc"],
            Some(both("Negotiate abc".to_owned())),
        ),
        (
            &["Negotiate", BASIC, key],
            Some(format!("Negotiate, {BASIC}")),
        ),
        (
            &[r#"Digest realm=""#, key],
            Some(r#"Digest realm=""#.to_owned()),
        ),
        (&["", key], None),
    ];
    for path in [NOTES, "/locked/notes"] {
        for (lines, left) in &cases {
            let by_scheme = with_lines(world.get(path), lines);
            let beside = by_scheme.clone().key("demo-admin");
            for (request, client) in [(by_scheme, "globex"), (beside, "operations")] {
                for request in [request.clone(), request.http2()] {
                    let answer = request.send().await;

                    let headers = answer.echo().headers;
                    let what = format!("{path} {lines:?}: {}", answer.text());
                    assert_eq!(headers.get("x-waykeeper-client"), Some(client), "{what}");
                    assert_eq!(headers.get("authorization"), left.as_deref(), "{what}");
                    assert!(!answer.text().contains("demo-"), "{what}");
                }
            }
        }
    }
    let logs = world.gateway().access_log() + &world.gateway().envoy_log();
    assert!(!logs.contains("demo-premium"), "{logs}");
}

#[tokio::test]
async fn what_is_joined_and_is_no_key_is_refused_or_goes_on_as_it_came() {
    let world = World::with(|draft| {
        draft.route("/api/v1/memory")["auth_required"] = json!(false);
        draft.configuration()["clients"]["key_sources"] = json!([
            {"header": "authorization", "scheme": "Bearer"},
            {"header": "authorization", "scheme": "Token"},
            {"header": "x-token"},
        ]);
    })
    .await;
    let both = |request: Request| [request.clone(), request.http2()];

    for lines in [
        &["Bearer demo-premium", "Bearer demo-admin"][..],
        &["Bearer demo-premium", BASIC, "Bearer demo-admin"],
        &["Bearer demo premium", BASIC],
        &["Bearer demo-premium, demo-premium"],
        &["Bearer:demo-premium"],
        &["Bearer\u{a0}demo-premium"],
        &["Bearer\u{a0}demo-premium", BASIC],
        &["Bearer", "Bearer demo-premium"],
    ] {
        for request in both(with_lines(world.get(NOTES), lines)) {
            let refused = request.send().await.refused();
            assert_eq!(refused, (401, "invalid_key".to_owned()), "{lines:?}");
        }
    }
    assert_eq!(world.auth().stats().total, 0);
    for lines in [&[BASIC][..], &[DIGEST], &[BASIC, DIGEST], &["Bearers abc"]] {
        for request in both(with_lines(world.get(NOTES), lines)) {
            let headers = request.send().await.echo().headers;
            let joined = lines.join(",");
            assert_eq!(headers.get("authorization"), Some(joined.as_str()));
            assert_eq!(headers.get("x-waykeeper-client"), None);
        }
    }
    // The first source counts, and all of them are cleared.
    for lines in [
        &["Token demo-admin", BASIC, "Bearer demo-premium"][..],
        &["Token unheard-of", "bearer demo-premium", BASIC],
    ] {
        let request = with_lines(world.get(NOTES), lines).header("x-token", "unheard-of");
        for request in both(request) {
            let headers = request.send().await.echo().headers;
            assert_eq!(headers.get("x-waykeeper-client"), Some("globex"));
            assert_eq!(headers.get("authorization"), Some(BASIC));
            assert_eq!(headers.get("x-token"), None);
        }
    }
    // Without a scheme a comma is the key's own, unless it joins what is the same.
    for (value, status) in [
        ("demo-premium,demo-premium", 200),
        ("demo-premium , demo-premium", 200),
        ("demo-premium,", 401),
        ("demo-premium,demo-admin", 401),
    ] {
        for request in both(world.get(NOTES).header("x-token", value)) {
            let answer = request.send().await;
            assert_eq!(answer.status, status, "{value}: {}", answer.text());
        }
    }
}

fn with_lines(request: Request, lines: &[&str]) -> Request {
    let latin1 = |line: &str| line.chars().map(|c| c as u8).collect::<Vec<_>>();
    lines.iter().fold(request, |request, line| {
        request.header("authorization", latin1(line))
    })
}

#[tokio::test]
async fn header_bytes_that_are_no_text_reach_the_agent_unchanged() {
    let world = World::start().await;
    let odd: Vec<u8> = (0x80..=0xff).collect();

    let served = world
        .get(NOTES)
        .key("demo-premium")
        .header("x-odd", &odd)
        .header("user-agent", b"\xff\xfe")
        .send()
        .await;

    let latin1: String = odd.iter().map(|byte| char::from(*byte)).collect();
    assert_eq!(served.echo().headers.get("x-odd"), Some(latin1.as_str()));
    assert_eq!(
        served.echo().headers.get("user-agent"),
        Some("\u{ff}\u{fe}")
    );
}

#[tokio::test]
async fn bytes_that_are_no_text_are_harmless_wherever_the_filter_looks() {
    let world = World::start().await;
    let names = [
        "x-agent",
        "content-type",
        "content-length-hint",
        "x-request-id",
        "x-forwarded-for",
        "sec-websocket-protocol",
        "x-waykeeper-client",
        "upgrade-insecure-requests",
        "origin",
    ];
    for name in names {
        let answer = world
            .get(NOTES)
            .key("demo-premium")
            .header(name, b"\xc3\x28\xff")
            .send()
            .await;
        // Only x-agent has a meaning here, and these bytes name no agent.
        let expected = if name == "x-agent" { 400 } else { 200 };
        assert_eq!(answer.status, expected, "{name}: {}", answer.text());
    }
    let metrics = world.metrics().await;
    assert!(metrics.has("envoy_wasm_waykeeper_vm_reload"));
    assert_eq!(metrics.sum("envoy_wasm_waykeeper_vm_reload", &[]), 0.0);
}

#[tokio::test]
async fn headers_as_large_as_envoy_takes_pass_and_larger_ones_do_not() {
    let world = World::start().await;
    // Envoy's limit is 60 KiB for all headers together.
    let large = "x".repeat(59 * 1024);
    let too_large = "x".repeat(61 * 1024);

    let served = world
        .get(NOTES)
        .key("demo-premium")
        .header("x-large", &large)
        .send()
        .await;
    let refused = world
        .get(NOTES)
        .key("demo-premium")
        .header("x-large", &too_large)
        .send()
        .await;

    assert_eq!(
        served.echo().headers.get("x-large").map(str::len),
        Some(large.len())
    );
    assert_eq!(refused.refused(), (431, "headers_too_large".to_owned()));
}

#[tokio::test]
async fn as_many_headers_as_envoy_takes_pass_and_more_do_not() {
    let world = World::start().await;
    let with = |count: usize| {
        (0..count).fold(world.get(NOTES).key("demo-premium"), |request, number| {
            request.header(&format!("x-h-{number}"), "v")
        })
    };

    let served = with(90).send().await;
    let refused = with(101).send().await;

    assert_eq!(served.echo().headers.get("x-h-89"), Some("v"));
    assert_eq!(refused.refused(), (431, "headers_too_large".to_owned()));
}
