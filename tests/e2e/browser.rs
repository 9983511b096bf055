//! A real browser (Chromium) on a page of another origin: the WebSocket that it can only give its key as a subprotocol,
//! and `fetch` with everything that CORS puts between a page and an answer.

use serde_json::{Value, json};

use crate::harness::{World, eventually, visit};

#[tokio::test]
async fn a_page_opens_a_websocket_with_its_key_as_a_subprotocol() {
    let world = World::start().await;
    let awkward = "a/key=no(token)";
    world.auth().insert_key(
        awkward,
        waykeeper_demo::auth::Client::named("awkward").plan("premium"),
    );

    let seen = visit(
        &world,
        r#"
        const url = gateway.replace("http", "ws") + "/api/v1/chat/ws";
        const event = (socket, name) => new Promise((resolve, reject) => {
            socket.addEventListener(name, resolve, { once: true });
            if (name !== "close") {
                const failed = (end) => reject(new Error(`closed with ${end.code} while waiting for ${name}`));
                socket.addEventListener("close", failed, { once: true });
            }
        });
        const open = async (...protocols) => {
            const socket = new WebSocket(url, protocols);
            socket.binaryType = "arraybuffer";
            await event(socket, "open");
            return socket;
        };

        const socket = await open("waykeeper.key.demo-premium", "chat.v1");
        const messages = [];
        for (const message of ["Grüße", new Uint8Array([0, 159, 255])]) {
            const answer = event(socket, "message");
            socket.send(message);
            const { data } = await answer;
            messages.push(typeof data === "string" ? data : Array.from(new Uint8Array(data)));
        }
        const closed = event(socket, "close");
        socket.close(4002, "done");
        const { code, wasClean } = await closed;

        const keyAlone = await open("waykeeper.key.demo-premium");
        const base64url = btoa("a/key=no(token)").replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
        const encoded = await open("chat.v2", "waykeeper.key64." + base64url);
        const refused = await event(new WebSocket(url, ["waykeeper.key.unheard-of"]), "close");

        return {
            messages, code, wasClean,
            protocols: [socket.protocol, keyAlone.protocol, encoded.protocol],
            refused: refused.code,
        };
        "#,
    )
    .await;

    let expected = json!({
        "messages": ["Grüße", [0, 159, 255]],
        "code": 4002,
        "wasClean": true,
        "protocols": ["chat.v1", "waykeeper.key.demo-premium", "chat.v2"],
        "refused": 1006,
    });
    assert_eq!(seen, expected);
    let arrived = format!("{:?}", world.agent("chat-gpu").stats().last);
    assert!(!arrived.contains("waykeeper.key"), "{arrived}");
}

#[tokio::test]
async fn a_page_of_another_origin_reads_answers_as_they_come_and_refusals_too() {
    let world = World::with(|draft| {
        draft.configuration()["plans"]["standard"] = json!({"requests": "1/hour"});
    })
    .await;

    let seen = visit(
        &world,
        r#"
        const ask = (key) => fetch(gateway + "/v1/chat/completions?x-demo-interval=200ms&x-demo-events=8", {
            method: "POST",
            headers: { authorization: `Bearer ${key}`, "content-type": "application/json", "x-stainless-lang": "js" },
            body: JSON.stringify({ model: "demo", stream: true, messages: [{ role: "user", content: "Hello" }] }),
        });
        const names = ["x-request-id", "ratelimit", "x-ratelimit-remaining-requests", "retry-after", "www-authenticate"];
        const headers = (response) => Object.fromEntries(names.map((name) => [name, response.headers.get(name)]));

        const served = await ask("demo-standard");
        const pieces = [];
        const decoder = new TextDecoder();
        for await (const piece of served.body) {
            pieces.push({ arrived: Date.now(), text: decoder.decode(piece, { stream: true }) });
        }
        const limited = await ask("demo-standard");
        const unknown = await ask("unheard-of");

        return {
            pieces,
            served: { status: served.status, headers: headers(served) },
            limited: { status: limited.status, headers: headers(limited), body: await limited.json() },
            unknown: { status: unknown.status, headers: headers(unknown), body: await unknown.json() },
        };
        "#,
    )
    .await;

    assert_eq!(seen["served"]["status"], 200, "{seen}");
    let header =
        |answer: &str, name: &str| seen[answer]["headers"][name].as_str().map(str::to_owned);
    assert!(header("served", "x-request-id").is_some(), "{seen}");
    assert!(header("served", "ratelimit").is_some(), "{seen}");
    assert_eq!(
        header("served", "x-ratelimit-remaining-requests").as_deref(),
        Some("0")
    );
    assert_eq!(seen["limited"]["status"], 429, "{seen}");
    assert_eq!(seen["limited"]["body"]["error"]["code"], "rate_limited");
    assert!(header("limited", "retry-after").is_some(), "{seen}");
    assert_eq!(seen["unknown"]["status"], 401, "{seen}");
    assert_eq!(seen["unknown"]["body"]["error"]["code"], "invalid_key");
    assert!(header("unknown", "www-authenticate").is_some(), "{seen}");

    // The beginning was read before the end was made.
    let pieces = seen["pieces"].as_array().expect("pieces");
    let text: String = pieces
        .iter()
        .filter_map(|piece| piece["text"].as_str())
        .collect();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let first_arrived = pieces[0]["arrived"].as_u64().expect("a time");
    let sent = text.lines().filter_map(|line| {
        let event: Value = serde_json::from_str(line.strip_prefix("data: ")?).ok()?;
        event["demo"]["sent_ms"].as_u64()
    });
    let last_sent = sent.max().expect("an event");
    assert!(first_arrived < last_sent, "{first_arrived}, {last_sent}");

    // The preflight was answered before anyone was asked for a key, and was not counted.
    eventually("the preflight in the access log", || async {
        let log = world.gateway().access_log();
        let mut lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let preflight = lines.find(|line| line["method"] == "OPTIONS")?;
        assert_eq!(preflight["status"], 200);
        Some(())
    })
    .await;
    let agents = ["chat-gpu", "chat-cpu"].map(|name| world.agent(name).stats().total);
    assert_eq!(agents.iter().sum::<u64>(), 1);
}
