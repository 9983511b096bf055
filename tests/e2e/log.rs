//! What traffic can make the filter write to Envoy's log: a line a minute of each kind, whatever callers and the
//! validator do, and no key in any of them.

use std::time::Instant;

use serde_json::json;
use waykeeper_demo::auth::{Answer, Client};

use crate::harness::{Draft, World, eventually};

const NOTES: &str = "/api/v1/memory/notes";

/// How many requests of each kind come.
const FLOOD: usize = 60;

/// The reference's cluster without hosts.
const NOBODY: &str = "waykeeper/nobody";

#[tokio::test]
async fn a_flood_of_whatever_kind_writes_a_line_a_minute() {
    let mut world = World::with(unlimited).await;
    let started = Instant::now();
    let raw = |status: u16, body: String| Answer::Raw { status, body };
    let client = |plan: Option<&str>, ttl: u64| {
        Answer::Client(Client {
            client_id: "acme".to_owned(),
            plan: plan.map(str::to_owned),
            ttl: Some(ttl),
            ..Client::default()
        })
    };
    let large = format!(r#"{{"client_id":"acme","x":"{}"}}"#, "x".repeat(17 << 10));
    for (key, answer) in [
        ("sk-good", client(None, 0)),
        ("sk-remembered-gold", client(Some("gold"), 300)),
        ("sk-gold", client(Some("gold"), 0)),
        ("sk-array", raw(200, r#"["acme"]"#.to_owned())),
        ("sk-number", raw(200, r#"{"client_id":7}"#.to_owned())),
        (
            "sk-echo",
            raw(200, r#"{"client_id":"key sk-echo"}"#.to_owned()),
        ),
        ("sk-status", raw(500, String::new())),
        ("sk-large", raw(200, large)),
    ] {
        world.auth().insert_key(key, answer);
    }

    // Each bad one is followed by a good one: the validator fails every second time.
    for (key, code) in [
        ("sk-remembered-gold", "unknown_plan"),
        ("sk-gold", "unknown_plan"),
        ("sk-echo", "validator_unavailable"),
        ("sk-array", "validator_unavailable"),
        ("sk-number", "validator_unavailable"),
        ("sk-status", "validator_unavailable"),
        ("sk-large", "validator_unavailable"),
    ] {
        for _ in 0..FLOOD {
            let refused = world.get(NOTES).key(key).send().await;
            assert_eq!(refused.refused(), (503, code.to_owned()), "{key}");
            assert_eq!(world.get(NOTES).key("sk-good").send().await.status, 200);
        }
    }
    let kinds = [
        r#"the validator names a plan that the configuration does not know: "gold""#,
        "the validator fails: its answer is not believed: client_id: a string that is no name",
        "the validator fails: status 500",
        "the validator fails: no answer in time, or one that is too large",
        "the validator answers again",
    ];
    told_once(&world, started, &kinds).await;
    // Whatever it is that is not believed.
    told_once(&world, started, &["its answer is not believed"]).await;

    world
        .reconfigure(|now| now["clients"]["validator"]["cluster"] = json!(NOBODY))
        .await;
    let unreachable = "the validator cannot be asked: ";
    eventually("the next configuration", || async {
        let refused = world.get(NOTES).key("sk-good").send().await;
        (refused.status == 503).then_some(())
    })
    .await;
    for _ in 0..FLOOD {
        let refused = world.get(NOTES).key("sk-good").send().await;
        assert_eq!(refused.refused(), (503, "validator_unavailable".to_owned()));
    }
    told_once(&world, started, &[unreachable]).await;

    let log = world.gateway().envoy_log();
    assert!(!log.contains("sk-"), "{log}");
}

/// Each of these was written, and not more often than once a minute since then.
async fn told_once(world: &World, started: Instant, kinds: &[&str]) {
    for kind in kinds {
        eventually(kind, || async { (lines(world, kind) > 0).then_some(()) }).await;
    }
    let minutes = usize::try_from(started.elapsed().as_secs() / 60).expect("minutes");
    for kind in kinds {
        let written = lines(world, kind);
        assert!(written <= 1 + minutes, "{kind}: {written} lines");
    }
}

/// How many lines of the filter's hold this.
fn lines(world: &World, text: &str) -> usize {
    let log = world.gateway().envoy_log();
    log.lines()
        .filter(|line| line.contains("[wasm]") && line.contains(text))
        .count()
}

/// No limit stands in the way of a flood.
fn unlimited(draft: &mut Draft) {
    draft.configuration()["limits"] = json!([]);
    draft.configuration()["plans"] = json!({"standard": {}});
}
