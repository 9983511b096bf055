//! The other way, live: the filter as Istio's `WasmPlugin`, and a `VirtualService` with a route for each agent.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::generated;
use crate::harness::{Answer, Exchange, Puppet, Request, World};
use crate::manifests::{Manifests, text};
use crate::render;

const NOTES: &str = "/api/v1/memory/notes";
const NOTES_CLUSTER: &str = "outbound|8000||memory-store.agents.svc.cluster.local";

const PROOF: &str = "3f0c-a-proof-that-no-caller-knows";

async fn start() -> World {
    start_with(Manifests::of_plugin(PROOF)).await
}

async fn start_with(manifests: Manifests) -> World {
    render::start(&generated::gateway(&manifests), None).await
}

/// A request of a caller who knows how the routes are told apart, and has no key.
fn forged(world: &World, proof: &str) -> Request {
    world
        .get(NOTES)
        .header("x-waykeeper-cluster", NOTES_CLUSTER)
        .header("x-waykeeper-proof", proof)
}

#[tokio::test]
async fn each_agent_is_reached_by_its_own_route() {
    let world = start().await;
    for (method, path, agent) in [
        ("GET", NOTES, "memory"),
        ("GET", "/api/v1/tools/list", "tools"),
        ("POST", "/api/v1/search/documents", "rag"),
    ] {
        let answer = world.request(method, path).key("demo-admin").send().await;
        assert_eq!(answer.echo().agent, agent, "{path}");
        for header in [
            "x-waykeeper-cluster",
            "x-waykeeper-kind",
            "x-waykeeper-proof",
            "x-api-key",
        ] {
            assert_eq!(answer.echo().headers.get(header), None, "{path}: {header}");
        }
    }
    for agent in ["chat-gpu", "chat-cpu"] {
        let chat = world
            .post("/api/v1/chat")
            .header("x-agent", agent)
            .key("demo-admin")
            .send()
            .await;
        assert_eq!(chat.json()["system_fingerprint"], json!(agent));
    }
}

#[tokio::test]
async fn refusals_are_the_filter_s() {
    let world = start().await;
    let missing = world.get(NOTES).send().await;
    assert_eq!(missing.status, 401);
    assert_eq!(missing.json()["error"]["code"], "missing_key");
    // Whatever a caller knows, the filter takes it out before it decides.
    for proof in ["wrong", PROOF] {
        let spoofed = forged(&world, proof).send().await;
        assert_eq!(spoofed.status, 401, "{}", spoofed.text());
    }
    let forbidden = world
        .get("/api/v1/tools/list")
        .key("demo-standard")
        .send()
        .await;
    assert_eq!(forbidden.status, 403);
}

/// Whoever deletes both deletes one of them first, and while they are made one comes first.
#[tokio::test]
async fn without_the_plugin_nobody_gets_in() {
    let manifests = Manifests::of_plugin(PROOF).without("WasmPlugin");
    let world = start_with(manifests).await;
    let refused = |answer: Answer| assert_eq!(answer.status, 503, "{}", answer.text());
    refused(world.get(NOTES).key("demo-admin").send().await);
    refused(
        world
            .get(NOTES)
            .header("x-waykeeper-cluster", NOTES_CLUSTER)
            .send()
            .await,
    );
    for wrong in ["", "3f0c", &PROOF.to_uppercase(), &format!("{PROOF},")] {
        refused(forged(&world, wrong).send().await);
    }
    // It is the proof that holds them back, and nothing else: who had it would get in.
    let known = forged(&world, PROOF).send().await;
    assert_eq!(known.echo().agent, "memory");
    assert!(forged_in_frames(&world, PROOF).await);
}

/// Somebody applies the file as it is: what it demands stands in a public place.
#[tokio::test]
async fn the_routes_as_they_are_shipped_take_nobody() {
    let shipped = Manifests::as_shipped("wasm-plugin").without("WasmPlugin");
    // Nor does kustomize open them, if nobody has written a proof.
    let service = |manifests: &Manifests| manifests.get("VirtualService", "waykeeper").clone();
    assert_eq!(service(&shipped), service(&Manifests::of("wasm-plugin")));
    let demanded = &service(&shipped)["spec"]["http"][0]["match"][0]["headers"];
    let demanded = text(&demanded["x-waykeeper-proof"]["exact"]).to_owned();
    let world = start_with(shipped).await;

    for guess in [
        "",
        "REPLACE-ME",
        "REPLACE-ME\\n",
        "\"REPLACE-ME\\n\"",
        "REPLACE-ME,",
        demanded.trim(),
    ] {
        for request in [forged(&world, guess), forged(&world, guess).http2()] {
            let answer = request.send().await;
            assert_eq!(answer.status, 503, "{guess:?}: {}", answer.text());
        }
    }
    // Nor with the newline itself, folded or not.
    for guess in [
        &*demanded,
        "REPLACE-ME\r\n \r\n",
        "REPLACE-ME\n ",
        "REPLACE-ME\r",
    ] {
        let request = format!(
            "GET {NOTES} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-waykeeper-cluster: {NOTES_CLUSTER}\r\n\
             x-waykeeper-proof: {guess}\r\n\r\n"
        );
        let answer = world.raw(request).await;
        let status = answer.status().expect("an answer");
        assert!([400, 503].contains(&status), "{guess:?}: {}", answer.text());
    }
    // HTTP/2 could carry one; Envoy does not take it.
    for guess in [&*demanded, demanded.trim()] {
        assert!(!forged_in_frames(&world, guess).await, "{guess:?}");
    }
}

#[tokio::test]
async fn without_the_virtual_service_no_agent_is_reached() {
    let manifests = Manifests::of_plugin(PROOF).without("VirtualService");
    let world = start_with(manifests).await;
    assert_eq!(world.get(NOTES).key("demo-admin").send().await.status, 404);
    let spoofed = forged(&world, PROOF).send().await;
    assert_eq!(spoofed.status, 401, "{}", spoofed.text());
}

/// As long as its routes take the old proof and the new one, plugins may have either.
#[tokio::test]
async fn a_proof_is_changed_while_requests_go_on() {
    const NEXT: &str = "a-proof-that-is-yet-to-come";
    let mut manifests = Manifests::of_plugin(PROOF);
    let service = manifests.get_mut("VirtualService", "waykeeper");
    for route in service["spec"]["http"].as_array_mut().expect("routes") {
        if let Some(matches) = route["match"].as_array_mut() {
            let mut next = matches[0].clone();
            next["headers"]["x-waykeeper-proof"] = json!({"exact": NEXT});
            matches.push(next);
        }
    }
    let mut world = start_with(manifests).await;
    let served = async |world: &World| {
        let answer = world.get(NOTES).key("demo-admin").send().await;
        answer.status == 200 && answer.echo().agent == "memory"
    };
    assert!(served(&world).await);
    prove(&mut world, NEXT).await;
    assert!(served(&world).await);

    // One that no route demands opens none.
    prove(&mut world, "a-proof-that-nobody-asks-for").await;
    let lost = world.get(NOTES).key("demo-admin").send().await;
    assert_eq!(lost.status, 503, "{}", lost.text());
    let refused = world
        .offer(|text| change(text, |document| document["proof"] = json!("REPLACE-ME")))
        .await;
    assert!(
        !refused,
        "a word that everybody knows is taken for a secret"
    );
}

async fn prove(world: &mut World, proof: &str) {
    world
        .reconfigure(|text| change(text, |document| document["proof"] = json!(proof)))
        .await;
}

/// Changes a document that is JSON in a text, as a plugin's is.
fn change(text: &mut Value, change: impl FnOnce(&mut Value)) {
    let mut document = serde_json::from_str(text.as_str().expect("text")).expect("JSON");
    change(&mut document);
    *text = json!(document.to_string());
}

/// Streams, WebSockets and second tries go the same way.
#[tokio::test]
async fn an_agent_never_sees_the_proof() {
    let agent = Puppet::listen().await;
    let generated = generated::gateway(&Manifests::of_plugin(PROOF));
    let world = World::with(|draft| {
        render::install(draft, &generated, None);
        let chat = "outbound|8000||chat-gpu.agents.svc.cluster.local";
        let bootstrap = &mut draft.setup.bootstrap;
        bootstrap
            .set_endpoints(chat, &[agent.address()])
            .expect("the cluster");
    })
    .await;

    let stream = world.post("/api/v1/chat/stream").key("demo-admin").begin();
    let streaming = tokio::spawn(stream);
    let mut at_agent = agent.accept().await;
    assert_unproven(&mut at_agent, "POST /api/v1/chat/stream").await;
    at_agent
        .write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(streaming.await.expect("an answer").status, 200);

    let tried = world.post("/api/v1/chat").header("x-agent", "chat-gpu");
    let tried = tokio::spawn(tried.key("demo-admin").send());
    assert_unproven(&mut at_agent, "POST /api/v1/chat").await;
    at_agent
        .write("HTTP/1.1 503 no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .await;
    let mut again = agent.accept().await;
    assert_unproven(&mut again, "POST /api/v1/chat").await;
    again
        .write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(tried.await.expect("an answer").status, 200);

    let socket = world
        .get("/api/v1/chat/ws")
        .key("demo-admin")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let socket = tokio::spawn(socket.begin());
    assert_unproven(&mut again, "GET /api/v1/chat/ws").await;
    again
        .write(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n",
        )
        .await;
    assert_eq!(socket.await.expect("an answer").status, 101);
}

/// Sends a forged request in frames of HTTP/2, where a value may hold any byte, and says whether the agent has answered.
async fn forged_in_frames(world: &World, proof: &str) -> bool {
    let mut fields = Vec::new();
    for (name, value) in [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", NOTES),
        ("x-waykeeper-cluster", NOTES_CLUSTER),
        ("x-waykeeper-proof", proof),
    ] {
        // Literally, with a new name, and in no table.
        fields.push(0);
        for text in [name, value] {
            let length = u8::try_from(text.len()).expect("a short text");
            assert!(length < 127, "{text} needs a longer length");
            fields.push(length);
            fields.extend(text.as_bytes());
        }
    }
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let [.., high, middle, low] = payload.len().to_be_bytes();
        [&[high, middle, low, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let (settings, headers, end_of_both) = (4, 1, 0x5);
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    request.extend(frame(settings, 0, 0, &[]));
    request.extend(frame(headers, end_of_both, 1, &fields));

    let mut connection = TcpStream::connect(world.address()).await.expect("connect");
    connection.write_all(&request).await.expect("write");
    let (data, reset, away) = (0, 3, 7);
    let mut answered = false;
    loop {
        let mut head = [0; 9];
        if connection.read_exact(&mut head).await.is_err() {
            return answered;
        }
        let [high, middle, low, kind, flags, ..] = head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let mut payload = vec![0; usize::try_from(length).expect("a length")];
        connection.read_exact(&mut payload).await.expect("a frame");
        answered |= kind == data && String::from_utf8_lossy(&payload).contains(r#""agent":"#);
        let ends_stream = [data, headers].contains(&kind) && flags & 1 == 1;
        if ends_stream || [reset, away].contains(&kind) {
            return answered;
        }
    }
}

async fn assert_unproven(at_agent: &mut Exchange, begins: &str) {
    let head = at_agent.read_until("\r\n\r\n").await;
    assert!(head.starts_with(begins), "{head}");
    assert!(head.contains("x-waykeeper-client: "), "{head}");
    assert!(!head.contains("proof"), "{head}");
    if let Some(length) = head.split("content-length: ").nth(1) {
        let length = length.split("\r\n").next().expect("a line");
        at_agent.read(length.parse().expect("a number")).await;
    }
}
