//! What operators count by: each request once, under its route, its agent and what became of it, in a form that
//! Prometheus reads.

use std::collections::BTreeMap;
use std::process::Stdio;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;
use waykeeper_demo::auth::{Client, Fault};

use crate::harness::{PATIENCE, World, eventually, needed, repository};

const NOTES: &str = "/api/v1/memory/notes";
const SEARCH: &str = "/api/v1/search";

#[tokio::test]
async fn each_request_is_counted_by_route_agent_and_outcome() {
    // As odd as a route's name may be.
    let odd = "v1.chat::{all}/%7e|'<$>";
    let world = World::with(|draft| {
        draft.workers(2);
        draft.configuration()["limits"] = json!([]);
        draft.route(SEARCH)["name"] = json!(odd);
        draft.route(SEARCH)["rate_limit"] = json!({"requests": "2/hour"});
    })
    .await;
    let memory = "/api/v1/memory";
    let notes = |key: &str| world.get(NOTES).key(key);
    let search = || world.post(SEARCH).key("demo-standard");
    let tools = || world.get("/api/v1/tools/list").key("demo-premium");
    let nobodys = || search().header("x-agent", "nobody");
    let sent = [
        (7, notes("demo-premium"), memory, "memory", "allowed"),
        // An agent's own errors are none of ours.
        (
            2,
            notes("demo-premium").header("x-demo-status", "500"),
            memory,
            "memory",
            "allowed",
        ),
        (3, world.get(NOTES), memory, "none", "missing_key"),
        (2, notes("unheard-of"), memory, "none", "invalid_key"),
        (2, tools(), "/api/v1/tools", "none", "forbidden"),
        (1, nobodys(), odd, "none", "unknown_agent"),
        (2, search(), odd, "rag", "allowed"),
        (4, search(), odd, "rag", "rate_limited"),
        (3, world.get("/nowhere"), "none", "none", "no_route"),
        (
            1,
            world.request("PUT", NOTES),
            "none",
            "none",
            "method_not_allowed",
        ),
        (2, world.get("/api/v1/%2f"), "none", "none", "bad_path"),
    ];
    let mut expected = BTreeMap::new();
    for (times, request, route, agent, outcome) in sent {
        for _ in 0..times {
            request.clone().send().await;
        }
        let labels = json!({"route": route, "agent": agent, "outcome": outcome});
        *expected.entry(labels.to_string()).or_insert(0.0) += f64::from(times);
    }

    let families = families(&world).await;

    // One for all workers.
    let build = &families["waykeeper_build_info"];
    let labels = json!({"version": waykeeper::VERSION});
    let sample = json!({"name": "waykeeper_build_info", "labels": labels, "value": 1});
    assert_eq!(build, &json!({"type": "gauge", "samples": [sample]}));
    let log = world.gateway().envoy_log();
    let first = log.lines().find(|line| line.contains("wasm log"));
    let says = format!("Waykeeper {}", waykeeper::VERSION);
    assert!(first.is_some_and(|line| line.ends_with(&says)), "{log}");

    let requests = &families["waykeeper_requests"];
    assert_eq!(requests["type"], "counter");
    let counted: BTreeMap<String, f64> = requests["samples"]
        .as_array()
        .expect("samples")
        .iter()
        .map(|sample| {
            assert_eq!(sample["name"], "waykeeper_requests_total");
            let value = sample["value"].as_f64().expect("a number");
            (sample["labels"].to_string(), value)
        })
        .collect();
    assert_eq!(counted, expected);
}

#[tokio::test]
async fn the_validators_calls_are_counted_and_timed() {
    let world = World::with(|draft| {
        // Histograms of all workers are put together so often.
        draft.setup.bootstrap.document_mut()["stats_flush_interval"] = json!("0.2s");
    })
    .await;
    let notes = |key: &str| world.get(NOTES).key(key).send();

    for _ in 0..5 {
        notes("demo-premium").await;
    }
    notes("demo-standard").await;
    for _ in 0..3 {
        notes("unheard-of").await;
    }
    for fault in [Fault::status(500), Fault::nonsense(), Fault::hang_up()] {
        world.auth().set_fault(fault);
        assert_eq!(notes("unheard-of-too").await.status, 503);
    }

    let mut families = families(&world).await;
    assert_eq!(
        by_outcome(&families, "waykeeper_validator_calls"),
        json!({"valid": 2, "invalid": 1, "failed": 3})
    );
    assert_eq!(
        by_outcome(&families, "waykeeper_remembered_keys"),
        json!({"hit": 6, "miss": 6})
    );
    let name = "waykeeper_validator_duration_milliseconds";
    let of = |families: &Value, suffix: &str, bound: Option<&str>| {
        families[name]["samples"]
            .as_array()
            .expect("samples")
            .iter()
            .find(|sample| {
                sample["name"] == format!("{name}_{suffix}")
                    && sample["labels"].get("le").and_then(Value::as_str) == bound
            })
            .and_then(|sample| sample["value"].as_f64())
            .expect("the sample")
    };
    families = eventually("six callouts in the histogram", || async {
        let families = self::families(&world).await;
        (of(&families, "count", None) == 6.0).then_some(families)
    })
    .await;
    assert_eq!(families[name]["type"], "histogram");
    assert_eq!(of(&families, "bucket", Some("+Inf")), 6.0);
    assert!(of(&families, "bucket", Some("1000")) >= 1.0);
}

#[tokio::test]
async fn counts_go_on_when_the_configuration_changes() {
    let mut world = World::start().await;
    world.get(NOTES).key("demo-premium").send().await;

    world
        .reconfigure(|now| {
            let routes = now["routes"].as_array_mut().expect("routes");
            routes.reverse();
            routes.retain(|route| route["prefix"] != SEARCH);
        })
        .await;
    eventually("the next configuration", || async {
        let answer = world.post(SEARCH).send().await;
        (answer.status == 404).then_some(())
    })
    .await;
    world.get(NOTES).key("demo-premium").send().await;

    let families = families(&world).await;
    let samples = families["waykeeper_requests"]["samples"].as_array();
    let allowed: Vec<&Value> = samples
        .expect("samples")
        .iter()
        .filter(|sample| sample["labels"]["outcome"] == "allowed")
        .collect();
    assert_eq!(allowed.len(), 1, "{allowed:?}");
    assert_eq!(allowed[0]["value"], 2);
}

/// The samples of a metric whose only label is its outcome.
fn by_outcome(families: &Value, name: &str) -> Value {
    families[name]["samples"]
        .as_array()
        .expect("samples")
        .iter()
        .map(|sample| {
            let labels = sample["labels"].as_object().expect("labels");
            assert_eq!(labels.len(), 1, "{sample}");
            let outcome = labels["outcome"].as_str().expect("an outcome");
            (outcome.to_owned(), sample["value"].clone())
        })
        .collect()
}

/// The filter's metrics, as Prometheus' own parser reads what Envoy gives to a scraper: by name, each with its type and
/// its samples.
async fn families(world: &World) -> Value {
    let scrape = world.operations("GET", "/stats/prometheus").send().await;
    assert_eq!(scrape.status, 200);
    let mut parser = Command::new("python3")
        .arg(repository("tests/e2e/prometheus_families.py"))
        .env(
            "PYTHONPATH",
            needed(".tools/prometheus-client", "make test-tools"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3");
    let mut input = parser.stdin.take().expect("its input");
    let parsed = async {
        input.write_all(&scrape.body).await.expect("write");
        drop(input);
        parser.wait_with_output().await
    };
    let parsed = timeout(3 * PATIENCE, parsed)
        .await
        .expect("the parser is not done");
    let parsed = parsed.expect("python3");
    let told = String::from_utf8_lossy(&parsed.stderr);
    assert!(parsed.status.success(), "{told}");
    serde_json::from_slice(&parsed.stdout).expect("JSON")
}

/// A small table, a crowd of clients: an operator is told before anything is forgotten, and how large it should be; of that
/// size it is not told again.
#[tokio::test]
async fn a_table_that_is_nearly_full_is_told_of_and_the_size_that_is_named_is_large_enough() {
    // A table of 1024 has 32 cells, and room for some 6,000 counters that lie alone.
    const CROWD: usize = 5_200;
    const FULL: &str = "tables.counters: nearly full: ";
    let crowd = |counters: u64| async move {
        let world = World::with(|draft| {
            draft.workers(2);
            for client in 0..CROWD {
                let name = format!("crowd-{client}");
                (draft.services.auth()).insert_key(
                    &name,
                    Client {
                        client_id: name.clone(),
                        ..Client::default()
                    },
                );
            }
            let configuration = draft.configuration();
            configuration["limits"] = json!([]);
            configuration["plans"] = json!({"standard": {"requests": "100/day"}});
            configuration["clients"]["default_plan"] = json!("standard");
            configuration["tables"] =
                json!({"keys": 65_536, "counters": counters, "address_counters": 1024});
        })
        .await;
        for few in (0..CROWD).collect::<Vec<_>>().chunks(50) {
            let sent = few.iter().map(|client| {
                let key = format!("crowd-{client}");
                let request = world.get(NOTES).key(&key);
                async move { assert_eq!(request.send().await.status, 200) }
            });
            join_all(sent).await;
        }
        let value = |families: &Value, name: &str| {
            families[name]["samples"][0]["value"]
                .as_f64()
                .unwrap_or(0.0)
        };
        // A round takes as long as the largest table says.
        let families = eventually("all are seen", || async {
            let families = families(&world).await;
            let in_use = value(&families, "waykeeper_counters_in_use");
            (in_use >= CROWD as f64).then_some(families)
        })
        .await;
        assert_eq!(value(&families, "waykeeper_counters_in_use"), CROWD as f64);
        assert_eq!(value(&families, "waykeeper_counters_forgotten_total"), 0.0);
        let room = value(&families, "waykeeper_counters_room");
        (world, room)
    };

    let (world, room) = crowd(1024).await;
    assert!(room < 1.25 * CROWD as f64, "{room}");
    let log = eventually("the line", || async {
        let log = world.gateway().envoy_log();
        log.contains(FULL).then_some(log)
    })
    .await;
    assert_eq!(log.matches(FULL).count(), 1, "{log}");
    let line = log.lines().find(|line| line.contains(FULL)).expect("it");
    let (_, size) = line.split_once("Write counters: ").expect("a size");
    let size = size.split(' ').next().expect("a word");
    let size: u64 = size.parse().expect("a number");
    drop(world);

    let (world, room) = crowd(size).await;
    assert!(room > 1.5 * CROWD as f64, "{room}");
    assert!(!world.gateway().envoy_log().contains("nearly full"));
}
