//! What is held of requests while it is not decided on them: nothing of it goes on, whatever comes in which order; strangers
//! have only so much held; and an agent that is to get whole bodies gets nothing else.

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use waykeeper_demo::stack::AUTH_CLUSTER;

use crate::harness::{Answer, Draft, Puppet, Request, Shape, World, eventually, needed};

const VALID: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{\"client_id\":\"acme\"}";
const INVALID: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Routes of the memory's: one that passes bodies on as they come, and one that waits for their ends.
const FILES: &str = "/files";
const WHOLE: &str = "/whole";

/// So large may a body be that is collected.
const LARGEST: usize = 200_000;

#[tokio::test]
async fn nothing_goes_on_before_it_is_decided_whatever_comes_in_which_order() {
    // Where Envoy is not told that bodies are to be seen, it stops them by itself.
    for sees_bodies in [true, false] {
        let validator = Puppet::listen().await;
        let world = World::with(|draft| {
            let plugin = draft.setup.filter.plugin_mut().expect("the plugin");
            plugin["allow_on_headers_stop_iteration"] = json!(sees_bodies);
            asks(draft, &validator);
        })
        .await;
        let agent = world.agent("memory");
        for path in [FILES, WHOLE] {
            // Without callbacks for bodies none can be waited for.
            if path == WHOLE && !sees_bodies {
                continue;
            }
            for shape in Shape::ALL {
                for (verdict, status) in [(INVALID, 401), (VALID, 200)] {
                    let what = format!("{path} {shape:?} {status} {sees_bodies}");
                    let before = agent.stats();
                    let received = received(&world).await;
                    let request = world.request("POST", path).key(&what.replace(' ', "-"));
                    let sending = tokio::spawn(send(request, shape, 10_000));
                    let mut question = validator.accept().await;
                    question.read_until("}").await;
                    // All of the request is here.
                    if shape != Shape::HeadersOnly {
                        eventually("the body", || async {
                            (self::received(&world).await >= received + 10_000).then_some(())
                        })
                        .await;
                    }
                    assert_eq!(agent.stats().total, before.total, "{what}");
                    question.write(verdict).await;

                    let answer = sending.await.expect("the sender");
                    assert_eq!(answer.status, status, "{what}: {}", answer.text());
                    let came = agent.stats().total - before.total;
                    assert_eq!(came, u64::from(status == 200), "{what}");
                    if status == 200 && shape != Shape::HeadersOnly {
                        assert_eq!(answer.echo().body_sha256, sha256(10_000), "{what}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn an_agent_hears_of_a_request_only_when_all_of_it_is_there() {
    let world = World::with(routes).await;
    let agent = world.agent("memory");
    // Once, so that the key is known.
    assert_eq!(post(&world, FILES).send().await.status, 200);

    for (what, request) in [
        ("in chunks", post(&world, WHOLE)),
        ("over HTTP/2", post(&world, WHOLE).http2()),
        (
            "with its length",
            post(&world, WHOLE).header("content-length", LARGEST.to_string()),
        ),
    ] {
        let (total, before) = (agent.stats().total, received(&world).await);
        let mut upload = request.upload();
        let half = LARGEST / 2;
        assert!(upload.write(body(half)).await, "{what}");
        eventually("half of the body", || async {
            (received(&world).await >= before + half as u64).then_some(())
        })
        .await;
        assert_eq!(agent.stats().total, total, "{what}");

        assert!(upload.write(body(LARGEST).slice(half..)).await, "{what}");
        upload.end();
        let echo = upload.answer().await.echo();
        assert_eq!(echo.body_sha256, sha256(LARGEST), "{what}");
        // It is told how long the body is, whoever did not say.
        let length = LARGEST.to_string();
        assert_eq!(echo.headers.get("content-length"), Some(&*length), "{what}");
        assert_eq!(echo.headers.get("transfer-encoding"), None, "{what}");
    }

    // Nobody waits for the body of a request that has none.
    assert_eq!(
        world.get(WHOLE).key("demo-premium").send().await.status,
        200
    );
}

#[tokio::test]
async fn a_body_that_is_collected_is_bounded_by_its_route_and_by_envoys_buffer() {
    let world = World::with(routes).await;
    for (what, request, size) in [
        ("in chunks", post(&world, WHOLE), LARGEST + 1),
        ("over HTTP/2", post(&world, WHOLE).http2(), LARGEST + 1),
        ("over Envoy's buffer", post(&world, "/vast"), 3 << 20),
    ] {
        let mut upload = request.upload();
        // Who takes no more has an answer, which says why.
        upload.write(body(size)).await;
        let refused = upload.answer().await;
        assert_eq!(
            refused.refused(),
            (413, "body_too_large".to_owned()),
            "{what}"
        );
    }
    assert_eq!(world.agent("memory").stats().total, 0);
}

#[tokio::test]
async fn a_caller_who_leaves_a_body_unfinished_is_counted_and_named_and_forgotten() {
    let world = World::with(routes).await;
    // Once, so that the key is known.
    assert_eq!(post(&world, FILES).send().await.status, 200);
    let before = received(&world).await;
    let mut caller = TcpStream::connect(world.address()).await.expect("connect");
    let head =
        "POST /whole HTTP/1.1\r\nhost: a\r\nx-api-key: demo-premium\r\ncontent-length: 100\r\n\r\n";
    let unfinished = format!("{head}the beginning");
    caller
        .write_all(unfinished.as_bytes())
        .await
        .expect("write");
    eventually("what there is of it", || async {
        (received(&world).await >= before + unfinished.len() as u64).then_some(())
    })
    .await;
    drop(caller);

    eventually("the end of the request", || async {
        let metrics = world.metrics().await;
        let left = [("outcome", "caller_left")];
        (metrics.sum("waykeeper_requests_total", &left) > 0.0).then_some(())
    })
    .await;
    let line = eventually("its line in the access log", || async {
        let log = world.gateway().access_log();
        let mut lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["path"] == WHOLE)
    })
    .await;
    let noted = line["noted"].as_str().expect("a note");
    let noted: Value = serde_json::from_str(noted).expect("JSON");
    let names = ["client", "plan", "route", "agent"].map(|name| noted[name].as_str());
    assert_eq!(
        names,
        [Some("globex"), Some("premium"), Some(WHOLE), Some("memory")],
        "{line}"
    );
    assert_eq!(world.agent("memory").stats().total, 1);

    // Nor does the end of one that Envoy answers upset Envoy.
    for chunks in ["1\r\na\r\n", "no chunk"] {
        let head = "POST /whole HTTP/1.1\r\nhost: a\r\nx-api-key: demo-premium\r\n";
        let request = format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}\r\n\r\n");
        let refused = world.raw(request).await;
        assert_eq!(refused.status(), Some(400), "{}", refused.text());
    }
    let bugs = world
        .gateway()
        .admin()
        .stat("server.envoy_bug_failures")
        .await;
    assert_eq!(bugs.expect("a statistic"), 0);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_given_up() {
    let world = World::with(|draft| {
        routes(draft);
        draft.route(WHOLE)["body_timeout"] = json!("1s");
        let undecided = draft.setup.bootstrap.route_mut("not-decided");
        undecided.expect("the route")["route"]["idle_timeout"] = json!("60s");
    })
    .await;
    for request in [post(&world, WHOLE), post(&world, WHOLE).http2()] {
        let mut upload = request.upload();
        assert!(upload.write("the beginning").await);
        let refused = upload.answer().await;
        assert_eq!(refused.refused(), (408, "request_timeout".to_owned()));
        let line = world.access_log(&refused).await;
        assert_eq!(line["details"], "waykeeper_request_timeout", "{line}");
        assert_eq!(line["client"], "globex", "{line}");
    }
    assert_eq!(world.agent("memory").stats().total, 0);
}

#[tokio::test]
async fn strangers_have_only_so_much_held() {
    let validator = Puppet::listen().await;
    let world = World::with(|draft| {
        asks(draft, &validator);
        draft.configuration()["clients"]["hold"] = json!({"request": "64KiB", "worker": "1MiB"});
    })
    .await;

    // One alone.
    let mut upload = world.request("POST", FILES).key("one").upload();
    upload.write(body(70_000)).await;
    let refused = upload.answer().await;
    assert_eq!(refused.refused(), (413, "body_too_large".to_owned()));
    assert!(refused.text().contains("65536 bytes"), "{}", refused.text());
    validator.accept().await.write(INVALID).await;

    // All together: seventeen times 60,000 bytes and some headers fit into a mebibyte, and no more.
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let request = world.request("POST", FILES).key("many");
            tokio::spawn(request.body(body(60_000)).send())
        })
        .collect();
    let mut question = validator.accept().await;
    question.read_until("}").await;
    let refusals = "http.gateway.downstream_rq_5xx";
    eventually("those for whom there is no room", || async {
        (stat(&world, refusals).await >= 3).then_some(())
    })
    .await;
    question.write(VALID).await;
    let mut answers = Vec::new();
    for request in requests {
        answers.push(request.await.expect("the sender"));
    }
    let (passed, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((passed.len(), refused.len()), (17, 3));
    for answer in refused {
        assert_eq!(answer.refused(), (503, "gateway_unavailable".to_owned()));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    for answer in passed {
        assert_eq!(answer.echo().body_sha256, sha256(60_000));
    }

    // What was held is given back, and who is known may send what he likes.
    let known = world.request("POST", FILES).key("many");
    assert_eq!(known.body(body(900_000)).send().await.status, 200);
    let again = world.request("POST", FILES).key("other");
    let again = tokio::spawn(again.body(body(60_000)).send());
    validator.accept().await.write(VALID).await;
    assert_eq!(again.await.expect("the sender").status, 200);
}

/// A route that collects has bodies held for callers who are known as well: one client with a small plan must not be able to
/// fill the memory with uploads that it never ends.
#[tokio::test]
async fn one_client_has_only_so_much_collected() {
    let world = World::with(|draft| {
        routes(draft);
        let configuration = draft.configuration();
        configuration["clients"]["hold"] = json!({"request": "256KiB", "worker": "1MiB"});
        configuration["plans"]["premium"] = json!({"requests": "5/minute"});
        // A pause ends none of them.
        let undecided = draft.setup.bootstrap.route_mut("not-decided");
        undecided.expect("the route")["route"]["idle_timeout"] = json!("60s");
    })
    .await;
    // Once, so that the key is known.
    assert_eq!(post(&world, FILES).send().await.status, 200);

    // Six mebibytes, where two workers may hold two, of a client that may send four more requests.
    let mut uploads = Vec::new();
    for _ in 0..60 {
        let mut upload = post(&world, WHOLE).upload();
        upload.write(body(100_000)).await;
        uploads.push(upload);
    }
    eventually("a refusal", || async {
        let refused = stat(&world, "http.gateway.downstream_rq_4xx").await
            + stat(&world, "http.gateway.downstream_rq_5xx").await;
        (refused > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn all_that_is_collected_is_bounded_and_leaves_room_for_others_and_what_ends_makes_room() {
    let world = World::with(|draft| {
        routes(draft);
        let configuration = draft.configuration();
        configuration["clients"]["hold"] = json!({"collected": "1MiB"});
        configuration["plans"] = json!({"standard": {}, "premium": {}});
        let undecided = draft.setup.bootstrap.route_mut("not-decided");
        undecided.expect("the route")["route"]["idle_timeout"] = json!("60s");
    })
    .await;
    let (premium, standard) = ("demo-premium", "demo-standard");
    // Once, so that the keys are known.
    for key in [premium, standard] {
        let known = world.request("POST", FILES).key(key).send().await;
        assert_eq!(known.status, 200);
    }

    // Of a mebibyte one client may have half, in pieces of 100,000 bytes and some headers; another half of the rest.
    let mut uploads = Vec::new();
    for (key, fit) in [(premium, 5), (standard, 2)] {
        for nth in 0..=fit {
            let before = received(&world).await;
            let mut upload = world.request("POST", WHOLE).key(key).upload();
            assert!(upload.write(body(100_000)).await);
            eventually("the body", || async {
                (received(&world).await >= before + 100_000).then_some(())
            })
            .await;
            if nth < fit {
                uploads.push(upload);
                continue;
            }
            let refused = upload.answer().await;
            assert_eq!(
                refused.refused(),
                (503, "gateway_unavailable".to_owned()),
                "{key}"
            );
        }
    }

    for mut upload in uploads {
        upload.end();
        assert_eq!(upload.answer().await.echo().body_sha256, sha256(100_000));
    }
    let again = post(&world, WHOLE).body(body(LARGEST)).send().await;
    assert_eq!(again.status, 200, "{}", again.text());
}

/// Nothing in the filter reads bodies by itself, so a build of it does that reads what a request asks for.
#[tokio::test]
async fn a_part_of_a_body_can_be_read_while_it_is_collected() {
    let world = World::with(|draft| {
        let module = needed("target/waykeeper-probe.wasm", "make probe-filter");
        draft.setup.filter.set_module(&module).expect("the filter");
    })
    .await;
    let size = 100_000;
    let body = body(size);
    for (start, most, part) in [
        (0, 5, 0..5),
        (70_000, 20_000, 70_000..90_000),
        // The end comes before all that was asked for is there.
        (99_990, 100, 99_990..100_000),
    ] {
        for shape in [Shape::WithLength, Shape::Chunked, Shape::Http2] {
            let request = world.request("POST", "/api/v1/chat");
            let request = request.header("x-probe", format!("body {start} {most}"));
            let answer = send(request, shape, size).await;
            assert_eq!(answer.status, 200, "{shape:?} {}", answer.text());
            assert_eq!(answer.body, body.slice(part.clone()), "{shape:?} {part:?}");
        }
    }
}

/// Sends a request of this size.
async fn send(request: Request, shape: Shape, size: usize) -> Answer {
    shape.send(request, body(size)).await
}

/// A world whose validator is `puppet`, with time to answer.
fn asks(draft: &mut Draft, puppet: &Puppet) {
    routes(draft);
    draft.connect(AUTH_CLUSTER, &[puppet.address()]);
    let undecided = draft.setup.bootstrap.route_mut("not-decided");
    undecided.expect("the route")["route"]["idle_timeout"] = json!("30s");
    let clients = &mut draft.configuration()["clients"];
    clients["validator"]["timeout"] = json!("20s");
    clients["default_plan"] = json!(null);
    clients
        .as_object_mut()
        .expect("an object")
        .remove("default_plan");
}

fn routes(draft: &mut Draft) {
    draft.routes().extend([
        json!({"prefix": FILES, "agents": ["memory"]}),
        json!({"prefix": WHOLE, "agents": ["memory"], "collect_body": true, "max_body": format!("{LARGEST}B")}),
        json!({"prefix": "/vast", "agents": ["memory"], "collect_body": true, "max_body": "10MiB"}),
    ]);
}

fn post(world: &World, path: &str) -> Request {
    world.request("POST", path).key("demo-premium")
}

fn body(size: usize) -> Bytes {
    (0..size as u64)
        .map(waykeeper_demo::agent::byte_at)
        .collect::<Vec<_>>()
        .into()
}

fn sha256(size: usize) -> String {
    let hash = Sha256::digest(body(size));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that the gateway has received from callers.
async fn received(world: &World) -> u64 {
    stat(world, "http.gateway.downstream_cx_rx_bytes_total").await
}

async fn stat(world: &World, name: &str) -> u64 {
    let value = world.gateway().admin().stat(name).await;
    value.expect("the admin interface")
}
