//! Bodies of any size pass without being held in memory, wait at the sender while the validator is asked, and are
//! bounded where a route says so.

use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::json;
use sha2::{Digest, Sha256};
use waykeeper_demo::agent::byte_at;
use waykeeper_demo::auth::Fault;

use crate::harness::{Draft, Puppet, Request, Upload, World, eventually};

/// A route of the memory's without a bound on time.
const FILES: &str = "/files";

/// A piece of a body: whole periods of [`byte_at`], so that pieces follow each other without a seam.
const PIECE: usize = 251 * 256;

/// Some fifty megabytes.
const PIECES: usize = 800;

/// What Envoy may take for a body that is fifty times its buffer: two buffers on each side, and what the allocator
/// keeps.
const MEMORY: u64 = 10 << 20;

#[tokio::test]
async fn fifty_megabytes_go_up_in_flat_memory() {
    let agent = Puppet::listen().await;
    let world = World::with(|draft| {
        files(draft);
        draft.connect("memory", &[agent.address()]);
    })
    .await;
    let before = memory(&world);

    let length = PIECES * PIECE;
    let upload = post(&world).header("content-length", length.to_string());
    let sending = tokio::spawn(async move {
        let mut upload = upload.upload();
        write(&mut upload, PIECES).await;
        upload.end();
        upload.answer().await
    });
    let mut agent = agent.accept().await;
    agent.read_until("\r\n\r\n").await;
    // The agent takes nothing until the gateway has stopped taking more from the client.
    let paused = "http.gateway.downstream_flow_control_paused_reading_total";
    eventually("the upload to be slowed down", || async {
        (stat(&world, paused).await > 0).then_some(())
    })
    .await;
    let held = memory(&world);
    let mut hash = Sha256::new();
    let mut peak = held;
    for _ in 0..PIECES {
        hash.update(agent.read(PIECE).await);
        peak = peak.max(memory(&world));
    }
    agent
        .write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await;

    assert_eq!(sending.await.expect("the sender").status, 200);
    assert_eq!(hex(hash), sha256(PIECES));
    assert!(peak < before + MEMORY, "{before} grew to {peak}");
}

#[tokio::test]
async fn fifty_megabytes_come_down_in_flat_memory() {
    let world = World::with(files).await;
    let before = memory(&world);

    let length = PIECES * PIECE;
    let mut answer = world
        .get("/files/large")
        .key("demo-premium")
        .header("x-demo-size", length.to_string())
        .begin()
        .await;
    // The client takes nothing until the gateway has stopped taking more from the agent.
    let paused = "cluster.memory.upstream_flow_control_paused_reading_total";
    eventually("the download to be slowed down", || async {
        (stat(&world, paused).await > 0).then_some(())
    })
    .await;
    let mut hash = Sha256::new();
    let mut peak = memory(&world);
    while let Some(piece) = answer.chunk().await.expect("a piece") {
        hash.update(&piece);
        peak = peak.max(memory(&world));
    }

    assert_eq!(hex(hash), sha256(PIECES));
    assert!(peak < before + MEMORY, "{before} grew to {peak}");
}

#[tokio::test]
async fn the_agent_gets_every_byte_of_an_upload() {
    let world = World::with(files).await;
    let length = (PIECES * PIECE).to_string();
    let requests = [
        (
            "with its length",
            post(&world).header("content-length", &length),
        ),
        ("in chunks", post(&world)),
        ("over HTTP/2", post(&world).http2()),
    ];
    for (what, request) in requests {
        let mut upload = request.upload();
        write(&mut upload, PIECES).await;
        upload.end();

        let echo = upload.answer().await.echo();

        assert_eq!(echo.body_bytes, (PIECES * PIECE) as u64, "{what}");
        assert_eq!(echo.body_sha256, sha256(PIECES), "{what}");
    }
}

#[tokio::test]
async fn an_upload_waits_at_the_sender_while_the_validator_thinks() {
    let world = World::with(|draft| {
        files(draft);
        draft.configuration()["clients"]["validator"]["timeout"] = json!("10s");
        let undecided = draft.setup.bootstrap.route_mut("not-decided");
        undecided.expect("the route")["route"]["idle_timeout"] = json!("30s");
    })
    .await;
    world
        .auth()
        .set_fault(Fault::slow(Duration::from_millis(500)));
    // Five times what Envoy would buffer before it refused more.
    let pieces = 80;
    let length = (pieces * PIECE).to_string();
    let to = |key: &str| world.request("POST", FILES).key(key);
    let requests = [
        to("demo-standard").header("content-length", &length),
        to("demo-premium"),
        to("demo-admin").http2(),
    ];
    let answers = requests.map(|request| {
        tokio::spawn(async move {
            let mut upload = request.upload();
            write(&mut upload, pieces).await;
            upload.end();
            upload.answer().await
        })
    });
    for answer in answers {
        let answer = answer.await.expect("the sender");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.echo().body_sha256, sha256(pieces));
    }
    assert_eq!(world.auth().stats().total, 3);
    let paused = "http.gateway.downstream_flow_control_paused_reading_total";
    assert!(stat(&world, paused).await > 0, "nothing waited");
}

#[tokio::test]
async fn an_upload_with_a_bad_key_is_refused_before_it_is_all_there() {
    let world = World::with(files).await;
    world
        .auth()
        .set_fault(Fault::slow(Duration::from_millis(100)));

    for request in [
        world.request("POST", FILES).key("unheard-of"),
        world
            .request("POST", FILES)
            .key("unheard-of-either")
            .http2(),
    ] {
        let mut upload = request.upload();
        assert!(upload.write(piece()).await);

        let refused = upload.answer().await;

        assert_eq!(refused.refused(), (401, "invalid_key".to_owned()));
    }
    assert_eq!(world.agent("memory").stats().total, 0);
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_before_it_is_sent() {
    let world = World::with(bounded).await;
    let head = |length: usize| {
        format!(
            "POST {FILES} HTTP/1.1\r\nhost: a\r\nx-api-key: demo-premium\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        )
    };

    let refused = world.raw(head(PIECE + 1)).await;

    assert_eq!(refused.status(), Some(413), "{}", refused.text());
    assert_eq!(refused.code().as_deref(), Some("body_too_large"));
    assert_eq!(world.agent("memory").stats().total, 0);
}

#[tokio::test]
async fn a_body_is_counted_and_refused_by_the_byte() {
    let world = World::with(bounded).await;
    let chunked = || post(&world);
    let http2 = || post(&world).http2();
    let sized = |length: usize| post(&world).header("content-length", length.to_string());

    for (what, request, excess) in [
        ("of the length it says", sized(PIECE), 0),
        ("in chunks", chunked(), 0),
        ("over HTTP/2", http2(), 0),
        ("too large in chunks", chunked(), 1),
        ("too large over HTTP/2", http2(), 1),
    ] {
        let mut upload = request.upload();
        assert!(upload.write(piece()).await, "{what}");
        if excess == 0 {
            upload.end();
            let echo = upload.answer().await.echo();
            assert_eq!(echo.body_sha256, sha256(1), "{what}");
        } else {
            assert!(upload.write("x").await, "{what}");
            // Refused while it could still go on.
            let refused = upload.answer().await.refused();
            assert_eq!(refused, (413, "body_too_large".to_owned()), "{what}");
        }
    }
    assert_eq!(world.agent("memory").stats().complete, 3);
}

#[tokio::test]
async fn a_body_that_waited_for_the_validator_is_counted_too() {
    let world = World::with(bounded).await;
    world
        .auth()
        .set_fault(Fault::slow(Duration::from_millis(200)));

    let mut upload = post(&world).upload();
    assert!(upload.write(piece()).await);
    assert!(upload.write("x").await);
    upload.end();

    let refused = upload.answer().await;
    assert_eq!(refused.refused(), (413, "body_too_large".to_owned()));
    assert_eq!(world.agent("memory").stats().complete, 0);
}

#[tokio::test]
async fn a_body_that_grows_too_large_while_the_answer_comes_ends_both() {
    let agent = Puppet::listen().await;
    let world = World::with(|draft| {
        bounded(draft);
        draft.connect("memory", &[agent.address()]);
    })
    .await;
    for request in [post(&world), post(&world).http2()] {
        let mut upload = request.upload();
        assert!(upload.write("the beginning").await);
        let mut agent = agent.accept().await;
        agent.read_until("the beginning").await;
        agent
            .write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nan early answer")
            .await;
        let mut answer = upload.response().await;
        let piece = answer.chunk().await.expect("a piece");
        assert_eq!(piece.as_deref(), Some(&b"an early answer"[..]));

        write(&mut upload, 2).await;

        let end = answer.chunk().await;
        assert!(end.is_err(), "{end:?}");
    }
}

#[tokio::test]
async fn trailers_pass_whether_the_request_waited_or_not() {
    let world = World::with(|draft| {
        files(draft);
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        draft.cluster("memory")["typed_extension_protocol_options"][options]
            ["explicit_http_config"] = json!({"http2_protocol_options": {}});
    })
    .await;
    world
        .auth()
        .set_fault(Fault::slow(Duration::from_millis(200)).for_calls(1));

    for what in ["waited", "known"] {
        let mut upload = post(&world).http2().upload();
        assert!(upload.write("the body").await);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", what.parse().expect("a value"));
        upload.end_with(trailers).await;

        let echo = upload.answer().await.echo();

        assert_eq!(echo.body_start, "the body");
        assert_eq!(echo.trailers.get("x-checksum"), Some(what));
    }
    assert_eq!(world.auth().stats().total, 1);
}

/// A world with the route [`FILES`].
fn files(draft: &mut Draft) {
    let route = json!({"prefix": FILES, "agents": ["memory"], "methods": ["GET", "POST"]});
    draft.routes().push(route);
}

/// The same, for bodies of one [`PIECE`] at most.
fn bounded(draft: &mut Draft) {
    files(draft);
    draft.route(FILES)["max_body"] = json!(format!("{PIECE}B"));
}

fn post(world: &World) -> Request {
    world.request("POST", FILES).key("demo-premium")
}

fn piece() -> Bytes {
    (0..PIECE as u64).map(byte_at).collect::<Vec<_>>().into()
}

async fn write(upload: &mut Upload, pieces: usize) {
    let piece = piece();
    for _ in 0..pieces {
        // Who takes no more has an answer, which says why.
        if !upload.write(piece.clone()).await {
            return;
        }
    }
}

/// The hash of a body of so many pieces.
fn sha256(pieces: usize) -> String {
    let piece = piece();
    let mut hash = Sha256::new();
    (0..pieces).for_each(|_| hash.update(&piece));
    hex(hash)
}

fn hex(hash: Sha256) -> String {
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn stat(world: &World, name: &str) -> u64 {
    let value = world.gateway().admin().stat(name).await;
    value.expect("the admin interface")
}

/// The memory that Envoy occupies now, in bytes.
fn memory(world: &World) -> u64 {
    let id = world.gateway().process_id().expect("Envoy");
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: u64 = kilobytes.expect("a size").parse().expect("a number");
    kilobytes << 10
}
