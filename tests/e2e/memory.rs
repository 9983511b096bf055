//! What the filter's memory holds of keys: nothing, once they are decided on. Looked for in the linear memory of the
//! modules within Envoy, which holds their heap and their stack. Envoy's own copies are not the filter's to clear.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use waykeeper_demo::auth::{Client, Fault};

use crate::harness::{Request, World, eventually, holders, linear_memories};

const NOTES: &str = "/api/v1/memory/notes";
const CHAT: &str = "/api/v1/chat/ws";
const PROTOCOLS: &str = "sec-websocket-protocol";
const WORKERS: u32 = 2;
const WAYS: usize = 8;

#[tokio::test]
async fn no_key_that_was_decided_on_is_left_in_the_modules_memory() {
    let world = World::with(|draft| {
        draft.workers(WORKERS);
        // A busy machine takes its time to read all of the memory.
        let undecided = draft.setup.bootstrap.route_mut("not-decided");
        undecided.expect("the route")["route"]["idle_timeout"] = json!("30s");
        let clients = &mut draft.configuration()["clients"];
        clients["validator"]["timeout"] = json!("10s");
        clients["keys"] = json!([{"sha256": "0".repeat(64), "client_id": "listed-marker"}]);
    })
    .await;
    // What stays is found: in each worker, and on the main thread.
    let memories = memories(&world);
    assert_eq!(holders(&memories, "listed-marker"), WORKERS as usize + 1);
    // So is a key while it is decided on, once: in the headers of the request that waits.
    world.auth().set_fault(Fault::hang());
    let waiting = key(0);
    let asked = tokio::spawn(world.get(NOTES).key(&waiting).send());
    eventually("the question", || async {
        (world.auth().stats().in_flight == 1).then_some(())
    })
    .await;
    let memories = self::memories(&world);
    let copies = |memory: &String| memory.matches(&waiting).count();
    assert_eq!(memories.iter().map(copies).sum::<usize>(), 1);
    world.auth().clear_fault();
    assert_eq!(asked.await.expect("the caller").status, 503);
    assert_none_is_left(&world, 0..=0).await;

    for number in 1..=120 {
        let valid = number % 2 == 0;
        if valid {
            let client = Client::named(&format!("client-{number}"));
            world.auth().insert_key(&key(number), client);
        }
        let answer = presented(&world, number / 2, &key(number)).send().await;
        assert_eq!(answer.status == 401, !valid, "{}", answer.text());
        // Each way by itself, before another request writes over what it left.
        if number <= 2 * WAYS {
            assert_none_is_left(&world, number..=number).await;
        }
    }

    assert_none_is_left(&world, 0..=120).await;
    let memories = self::memories(&world);
    assert_eq!(holders(&memories, "listed-marker"), WORKERS as usize + 1);
}

/// A request with a key in one of the places where it may stand.
fn presented(world: &World, way: usize, key: &str) -> Request {
    let bearer = format!("Bearer {key}");
    let encoded = URL_SAFE_NO_PAD.encode(key);
    let handshake = |path: &str| {
        let headers = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        headers
            .iter()
            .fold(world.get(path), |request, (name, value)| {
                request.header(name, value)
            })
    };
    let basic = |request: Request| request.header("authorization", "Basic Zm9v");
    match way % WAYS {
        0 => world.get(NOTES).key(key),
        1 => world.get(NOTES).key(&format!("{key}, {key}")),
        2 => world.get(NOTES).http2().header("authorization", bearer),
        3 => basic(world.get(NOTES)).header("authorization", bearer),
        4 => basic(world.get(NOTES).http2()).header("authorization", bearer),
        5 => handshake(&format!("{CHAT}?api_key={}", key.replacen('-', "%2D", 1))),
        6 => handshake(CHAT).header(PROTOCOLS, format!("waykeeper.key.{key}, chat")),
        _ => handshake(CHAT).header(PROTOCOLS, format!("waykeeper.key64.{encoded}")),
    }
}

/// Waits until no stream is left, and looks for keys in every spelling in which the filter may have held them.
async fn assert_none_is_left(world: &World, numbers: std::ops::RangeInclusive<usize>) {
    eventually("the end of all streams", || async {
        let admin = world.gateway().admin();
        let active = admin.stat("http.gateway.downstream_rq_active").await;
        (active.expect("a number") == 0).then_some(())
    })
    .await;
    let memories = memories(world);
    let left: Vec<_> = numbers
        .map(key)
        .flat_map(|key| {
            let encoded = URL_SAFE_NO_PAD.encode(&key);
            [words(&key[..16]), words(&key[16..32]), encoded, key]
        })
        .filter(|spelling| holders(&memories, spelling) > 0)
        .collect();
    assert!(left.is_empty(), "{} are left: {left:?}", left.len());
}

fn memories(world: &World) -> Vec<String> {
    linear_memories(world.gateway().process_id().expect("Envoy"))
}

/// A key that occurs nowhere else, nor does a piece of it of 16 characters.
fn key(number: usize) -> String {
    let half = |salt: usize| (number + 1).wrapping_mul(salt) & 0xffff_ffff;
    format!(
        "{number:03}-{:08x}-kept{number:03}-{:08x}-none",
        half(0x9e37_79b1),
        half(0x85eb_ca6b)
    )
}

/// What SHA-256 makes of a piece of a key: words of four bytes, which stand in memory the other way round.
fn words(piece: &str) -> String {
    let piece: Vec<char> = piece.chars().collect();
    piece.chunks(4).flat_map(|word| word.iter().rev()).collect()
}
