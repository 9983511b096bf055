//! Keys and headers that are not what one expects: empty, repeated, too long, bytes that are no text, and a request
//! as large as Envoy lets in. Each is answered; none reaches the validator without need, and none kills the filter.

use crate::harness::World;

const NOTES: &str = "/api/v1/memory/notes";

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_without_asking() {
    let world = World::start().await;
    let long = "k".repeat(513);
    let keys: [(&str, &[u8]); 8] = [
        ("empty", b""),
        ("blank", b"   "),
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
    assert_eq!(world.auth().stats().total, 0);
    assert_eq!(world.agent("memory").stats().total, 0);
}

#[tokio::test]
async fn a_key_of_512_bytes_is_a_key() {
    let world = World::start().await;
    let key = "k".repeat(512);
    world.auth().insert_key(
        &key,
        waykeeper_demo::auth::Client {
            client_id: "long".to_owned(),
            ..Default::default()
        },
    );

    let served = world.get(NOTES).key(&key).send().await;

    assert_eq!(
        served.echo().headers.get("x-waykeeper-client"),
        Some("long")
    );
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

#[tokio::test]
async fn a_joined_pair_of_keys_is_no_key() {
    let world = World::start().await;

    let refused = world
        .get(NOTES)
        .key("demo-premium,demo-premium")
        .send()
        .await;

    assert_eq!(refused.refused(), (401, "invalid_key".to_owned()));
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
