//! Configurations come and go while requests pass: no request is lost, no count forgotten, no stream broken, and a bad
//! one changes nothing. (`configuration` shows what a change and a fault look like on a quiet gateway.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use waykeeper_demo::auth::{self, Keys};
use waykeeper_demo::gateway::{Discovery, StartError};
use waykeeper_demo::stack::AUTH_CLUSTER;

use crate::harness::{Draft, Metrics, Puppet, Request, World, eventually, repository};

const NOTES: &str = "/api/v1/memory/notes";
const SEARCH: &str = "/api/v1/search";

/// A way to spoil a configuration, and what the log says of it.
type Fault = (fn(&mut Value), &'static str);

const FAULTS: [Fault; 3] = [
    (
        |configuration| configuration["routes"][0]["agents"][0] = json!("chat-gup"),
        r#"routes[0].agents[0]: no agent named "chat-gup"; did you mean "chat-gpu"?"#,
    ),
    (
        |configuration| configuration["plans"]["premium"]["requests"] = json!("50/fortnight"),
        "plans.premium.requests: ",
    ),
    (
        |configuration| configuration["rutes"] = json!([]),
        r#"rutes: unknown field; did you mean "routes"?"#,
    ),
];

// ---------------------------------------------------------------------------------------------------------- under load

#[tokio::test]
async fn configurations_change_under_load_and_no_request_fails() {
    let mut world = start(|draft| {
        draft.workers(2);
        unlimited(draft);
    })
    .await;
    let load = Load::start(&world, 6);

    for (generation, (fault, said)) in FAULTS.iter().enumerate() {
        let generation = format!("generation-{generation}");
        world.reconfigure(|now| name_search(now, &generation)).await;
        in_force(&world, &generation).await;
        load.goes_on().await;

        assert!(!world.offer(fault).await, "{said}");
        eventually(said, || async {
            world.gateway().envoy_log().contains(said).then_some(())
        })
        .await;
        load.goes_on().await;
        assert_eq!(search(&world).await, generation);
    }

    let served = load.stop().await;
    assert!(served > 0);
    let admin = world.gateway().admin();
    for worker in ["worker_0", "worker_1"] {
        let connections = format!("listener.127.0.0.1_0.{worker}.downstream_cx_total");
        assert_ne!(admin.stat(&connections).await.expect("a statistic"), 0);
    }
    assert_eq!(admin.reloads().await.expect("statistics").refused, 3);
}

#[tokio::test]
async fn a_stream_under_way_goes_on_under_the_configuration_it_began_with() {
    let agent = Puppet::listen().await;
    let mut world = start(|draft| draft.connect("chat-gpu", &[agent.address()])).await;
    let stream = world.post("/api/v1/chat/stream").key("demo-premium");
    let stream = tokio::spawn(stream.begin());
    let mut exchange = agent.accept().await;
    exchange.read_until("\r\n\r\n").await;
    exchange
        .write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let mut stream = stream.await.expect("the caller");
    exchange.write("9\r\ndata: 1\n\n\r\n").await;
    let first = stream.chunk().await.expect("an event").expect("an event");

    // Not even its route is left.
    world
        .reconfigure(|now| {
            name_search(now, "next");
            let routes = now["routes"].as_array_mut().expect("routes");
            routes.retain(|route| route["prefix"] != "/api/v1/chat/stream");
        })
        .await;
    in_force(&world, "next").await;
    exchange.write("9\r\ndata: 2\n\n\r\n0\r\n\r\n").await;

    let second = stream.chunk().await.expect("an event").expect("an event");
    assert_eq!(
        (&first[..], &second[..]),
        (&b"data: 1\n\n"[..], &b"data: 2\n\n"[..])
    );
    assert_eq!(stream.chunk().await.expect("the end"), None);
}

#[tokio::test]
async fn a_request_that_waits_for_the_validator_goes_on_as_well() {
    let validator = Puppet::listen().await;
    let mut world = start(|draft| {
        draft.connect(AUTH_CLUSTER, &[validator.address()]);
        draft.configuration()["clients"]["validator"]["timeout"] = json!("30s");
    })
    .await;
    let waiting = tokio::spawn(world.get(NOTES).key("somebody").send());
    let mut exchange = validator.accept().await;
    exchange.read_until("somebody\"}").await;

    world.reconfigure(|now| name_search(now, "next")).await;
    in_force(&world, "next").await;
    let answer = r#"{"client_id":"late"}"#;
    let length = answer.len();
    exchange
        .write(&format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{answer}"
        ))
        .await;

    let served = waiting.await.expect("the caller");
    assert_eq!(
        served.echo().headers.get("x-waykeeper-client"),
        Some("late")
    );
    // And what the old configuration was told, the new one remembers.
    assert_eq!(world.get(NOTES).key("somebody").send().await.status, 200);
}

// ------------------------------------------------------------------------------------------------------ what is carried

#[tokio::test]
async fn counts_go_on_under_the_next_configuration() {
    let mut world = start(|draft| {
        draft.configuration()["plans"]["standard"] = json!({"requests": "9/hour"});
        draft.configuration()["limits"] = json!([
            {"name": "address", "each": "address", "requests": "100/hour"},
            {"name": "each-route", "each": "route", "requests": "8/hour"},
            {"name": "everyone", "each": [], "requests": "30/hour"},
        ]);
        draft.route("/api/v1/memory")["rate_limit"] = json!({"requests": "5/hour"});
    })
    .await;
    let served = async |world: &World, key: &str| {
        let answer = world.get(NOTES).key(key).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("ratelimit").expect("RateLimit").to_owned()
    };
    for remaining in [4, 3] {
        let told = served(&world, "demo-standard").await;
        assert!(
            told.starts_with(&format!("\"route\";r={remaining};")),
            "{told}"
        );
    }

    // Everything stands in another place, and there is more of it.
    world
        .reconfigure(|now| {
            name_search(now, "next");
            let routes = now["routes"].as_array_mut().expect("routes");
            routes.reverse();
            let more = (0..6).map(|number| {
                json!({"prefix": format!("/more/{number}"), "agents": ["rag"], "rate_limit": {"requests": "1/hour"}})
            });
            routes.splice(0..0, more);
            now["limits"].as_array_mut().expect("limits").reverse();
            now["plans"]["another"] = json!({"requests": "1/hour"});
        })
        .await;
    in_force(&world, "next").await;

    for remaining in [2, 1, 0] {
        let told = served(&world, "demo-standard").await;
        assert!(
            told.starts_with(&format!("\"route\";r={remaining};")),
            "{told}"
        );
    }
    let refused = world.get(NOTES).key("demo-standard").send().await;
    assert_eq!(refused.json()["violated-policies"], json!(["route"]));
    // Of the route's eight for everyone five are gone: three are left.
    let told = served(&world, "demo-premium").await;
    assert!(told.starts_with("\"each-route\";r=2;"), "{told}");
    // Of the plan's nine five are gone. (A search is not among the nine: it was made by another client.)
    let search = world.post(SEARCH).key("demo-standard").send().await;
    let told = search.header("ratelimit").expect("RateLimit");
    assert!(told.starts_with("\"plan\";r=3;"), "{told}");
}

#[tokio::test]
async fn a_limit_that_becomes_stricter_locks_nobody_out_for_longer_than_it_says() {
    let mut world = start(|draft| {
        draft.configuration()["plans"]["standard"] = json!({"requests": "10/hour"});
    })
    .await;
    let notes = |world: &World| world.get(NOTES).key("demo-standard").send();
    for _ in 0..10 {
        assert_eq!(notes(&world).await.status, 200);
    }

    world
        .reconfigure(|now| {
            name_search(now, "next");
            now["plans"]["standard"] = json!({"requests": "10/minute", "burst": 1});
        })
        .await;
    in_force(&world, "next").await;

    let refused = notes(&world).await;
    assert_eq!(refused.status, 429);
    let told: u64 = refused
        .header("retry-after")
        .and_then(|seconds| seconds.parse().ok())
        .expect("seconds");
    assert!(told <= 6, "{told}");
}

#[tokio::test]
async fn a_changed_limit_counts_what_was_used_as_requests() {
    let limit_to = |now: &mut Value, requests: &str| {
        now["limits"] = json!([]);
        now["plans"]["standard"] = json!({"requests": requests});
        name_search(now, requests);
    };
    let mut world = start(|draft| limit_to(draft.configuration(), "5/day")).await;
    let notes = |world: &World| world.get(NOTES).key("demo-standard").send();
    let remaining = async |world: &World| {
        let answer = notes(world).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let remaining = answer.header("x-ratelimit-remaining-requests");
        remaining.and_then(|number| number.parse().ok())
    };
    for left in (0..5).rev() {
        assert_eq!(remaining(&world).await, Some(left));
    }

    // Of fifty, five were used.
    world.reconfigure(|now| limit_to(now, "50/day")).await;
    in_force(&world, "50/day").await;
    assert_eq!(remaining(&world).await, Some(44));

    // Of six, all were; of five, no more than five, and the next comes after a fifth of a day.
    for (lowered, next) in [("6/day", 14_400), ("5/day", 17_280)] {
        world.reconfigure(|now| limit_to(now, lowered)).await;
        in_force(&world, lowered).await;
        let refused = notes(&world).await;
        assert_eq!(refused.status, 429);
        let told: u64 = refused
            .header("retry-after")
            .and_then(|seconds| seconds.parse().ok())
            .expect("seconds");
        assert!(told <= next && told > next - 60, "{lowered}: {told}");
    }
}

#[tokio::test]
async fn a_ninth_limited_route_and_a_second_one_on_a_prefix_reset_no_count() {
    let limited = |number: usize| json!({"prefix": format!("/more/{number}"), "agents": ["rag"], "rate_limit": {"requests": "4/hour"}});
    let mut world = start(|draft| {
        draft.configuration()["limits"] = json!([]);
        draft.configuration()["plans"] = json!({"standard": {}, "premium": {}});
        // One limited route is there already.
        draft.routes().extend((0..6).map(limited));
        let route = draft.route("/api/v1/memory");
        route["rate_limit"] = json!({"requests": "5/hour"});
        route["methods"] = json!(["GET", "POST", "DELETE"]);
    })
    .await;
    let remaining = async |world: &World, path: &str| {
        let answer = world.get(path).key("demo-standard").send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let remaining = answer.header("x-ratelimit-remaining-requests");
        remaining.and_then(|number| number.parse::<u64>().ok())
    };
    assert_eq!(remaining(&world, NOTES).await, Some(4));
    assert_eq!(remaining(&world, "/more/0").await, Some(3));

    world
        .reconfigure(|now| {
            name_search(now, "next");
            let routes = now["routes"].as_array_mut().expect("routes");
            let memory = routes
                .iter_mut()
                .find(|route| route["prefix"] == "/api/v1/memory")
                .expect("the route");
            memory["methods"] = json!(["GET"]);
            let mut second = memory.clone();
            second["methods"] = json!(["POST"]);
            routes.push(second);
            routes.push(limited(6));
        })
        .await;
    in_force(&world, "next").await;

    assert_eq!(remaining(&world, NOTES).await, Some(3));
    assert_eq!(remaining(&world, "/more/0").await, Some(2));
    assert_eq!(remaining(&world, "/more/6").await, Some(3));
}

#[tokio::test]
async fn remembered_keys_are_remembered_under_the_next_configuration() {
    let mut world = start(|_| ()).await;
    assert_eq!(
        world.get(NOTES).key("demo-premium").send().await.status,
        200
    );
    assert_eq!(world.get(NOTES).key("unheard-of").send().await.status, 401);
    assert_eq!(world.auth().stats().total, 2);
    // Nobody can ask any more; who is remembered is known all the same.
    world.auth().set_fault(auth::Fault::status(500));

    world
        .reconfigure(|now| {
            name_search(now, "next");
            now["clients"]["validator"]["timeout"] = json!("2s");
            // Plans are remembered by name: their places change.
            now["plans"]["a-first-one"] = json!({"requests": "1/hour"});
        })
        .await;
    in_force(&world, "next").await;

    let served = world.get(NOTES).key("demo-premium").send().await;
    assert_eq!(
        served.echo().headers.get("x-waykeeper-plan"),
        Some("premium")
    );
    assert_eq!(world.get(NOTES).key("unheard-of").send().await.status, 401);
}

#[tokio::test]
async fn what_one_validator_said_is_not_believed_under_another() {
    let other = auth::start("127.0.0.1:0", Keys::default())
        .await
        .expect("a second auth service");
    let mut world = start(|draft| {
        draft.add_cluster("other-auth", &[other.address()]);
    })
    .await;
    let status = async |world: &World| world.get(NOTES).key("demo-premium").send().await.status;
    assert_eq!(status(&world).await, 200);

    let mut first = json!(null);
    world
        .reconfigure(|now| {
            name_search(now, "other");
            first = std::mem::replace(
                &mut now["clients"]["validator"]["cluster"],
                json!("other-auth"),
            );
        })
        .await;
    in_force(&world, "other").await;

    assert_eq!(status(&world).await, 401);
    assert_eq!(other.stats().total, 1);
    // Back again, the first one's word still holds, and it is not asked a second time.
    world
        .reconfigure(|now| {
            name_search(now, "back");
            now["clients"]["validator"]["cluster"] = first;
        })
        .await;
    in_force(&world, "back").await;
    assert_eq!(status(&world).await, 200);
    assert_eq!(world.auth().stats().total, 1);
}

#[tokio::test]
async fn another_generation_forgets_a_leaked_key_and_no_step_back_brings_it_to_life() {
    let mut world = start(|draft| draft.workers(2)).await;
    let status = async |world: &World| world.get(NOTES).key("demo-premium").send().await.status;
    // Often enough that either worker has just seen it.
    for _ in 0..20 {
        assert_eq!(status(&world).await, 200);
    }
    world.auth().revoke("demo-premium");
    assert_eq!(status(&world).await, 200, "it is remembered");

    let steps = [
        ("raised", 2, "/validate"),
        ("elsewhere", 2, "/validate?after=leak"),
        ("back", 2, "/validate"),
        ("higher", 3, "/validate"),
    ];
    for (name, generation, path) in steps {
        let before = status(&world).await;
        world
            .reconfigure(|now| {
                name_search(now, name);
                let validator = &mut now["clients"]["validator"];
                validator["path"] = json!(path);
                validator["remember"] = json!({"valid": "300s", "generation": generation});
            })
            .await;
        in_force(&world, name).await;
        // Each worker takes it for itself, a moment before or after the other.
        eventually(name, || async {
            for _ in 0..20 {
                if status(&world).await != 401 {
                    return None;
                }
            }
            Some(())
        })
        .await;
        assert_eq!(before, if name == "raised" { 200 } else { 401 }, "{name}");
    }
    // Who is not revoked is asked about anew, once, and gets in.
    let asked = world.auth().stats().total;
    for _ in 0..20 {
        let served = world.get(NOTES).key("demo-standard").send().await;
        assert_eq!(served.status, 200);
    }
    assert_eq!(world.auth().stats().total, asked + 1);
}

#[tokio::test]
async fn tables_of_another_size_wait_for_the_next_start() {
    let mut world = start(|draft| {
        draft.configuration()["tables"] =
            json!({"keys": 1024, "counters": 2048, "address_counters": 4096});
        draft.configuration()["plans"]["premium"] = json!({"requests": "3/hour"});
    })
    .await;
    let status = async |world: &World| world.get(NOTES).key("demo-premium").send().await.status;
    assert_eq!(status(&world).await, 200);

    world
        .reconfigure(|now| {
            name_search(now, "next");
            now["tables"] = json!({"keys": 4096, "counters": 8192});
        })
        .await;
    in_force(&world, "next").await;

    let said = "tables: the new sizes take effect when Envoy starts anew; until then 1024 keys, 2048 counters and 4096 address counters";
    eventually(said, || async {
        world.gateway().envoy_log().contains(said).then_some(())
    })
    .await;
    assert_eq!(status(&world).await, 200);
    assert_eq!(status(&world).await, 200);
    assert_eq!(status(&world).await, 429);
    assert_eq!(world.auth().stats().total, 1);
}

// ---------------------------------------------------------------------------------------------------------- the alarm

/// A mistake in the file that Envoy watches.
struct Mistake {
    what: &'static str,
    /// The file with the mistake in it, made of a good one.
    spoil: fn(Value) -> String,
    /// The counter that tells of it, beside the one that tells of all.
    told: &'static str,
    /// What the log says of it.
    logged: &'static str,
    /// Whether the log shows the file as it stands.
    shown: bool,
}

const FILTER: &str = "/resources/0/typed_config";
const MODULE: &str = "/resources/0/typed_config/config/vm_config/code/local/filename";
const UNREAD: &str = "Filesystem config update failure: ";
const REJECTED: &str = "Filesystem config update rejected: ";

/// Stands among the headers that the validator demands.
const SECRET: &str = "a-secret-of-the-validator";

const MISTAKES: [Mistake; 8] = [
    Mistake {
        what: "no JSON",
        spoil: |file| format!("{file}]"),
        told: "update_failure",
        logged: UNREAD,
        shown: true,
    },
    Mistake {
        what: "another kind than Envoy expects",
        spoil: |file| {
            put(
                file,
                "/resources/0/typed_config/config/name",
                json!(["waykeeper"]),
            )
        },
        told: "update_failure",
        logged: UNREAD,
        shown: true,
    },
    Mistake {
        what: "a message that Envoy does not know",
        spoil: |file| {
            put(
                file,
                "/resources/0/typed_config/@type",
                json!("type.googleapis.com/nothing"),
            )
        },
        told: "update_failure",
        logged: UNREAD,
        shown: true,
    },
    Mistake {
        what: "another filter",
        spoil: |file| {
            let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
            put(file, FILTER, json!({"@type": router}))
        },
        told: "update_rejected",
        logged: REJECTED,
        shown: false,
    },
    Mistake {
        what: "refused by the filter",
        spoil: |file| {
            let value = "/resources/0/typed_config/config/configuration/value/tables";
            put(file, value, json!({"keys": 1}))
        },
        told: "update_rejected",
        logged: "configuration refused: tables.keys: ",
        shown: false,
    },
    Mistake {
        what: "no module",
        spoil: |file| put(file, MODULE, json!("/nowhere.wasm")),
        told: "update_rejected",
        logged: REJECTED,
        shown: false,
    },
    Mistake {
        what: "a module that is none",
        spoil: |file| put(file, MODULE, json!(repository("README.md"))),
        told: "update_rejected",
        logged: REJECTED,
        shown: false,
    },
    // Envoy takes what is left: nothing is wrong with it but that the field does nothing.
    Mistake {
        what: "a field that Envoy does not know",
        spoil: misspelled,
        told: "update_success",
        logged: "Unknown field: ",
        shown: false,
    },
];

#[tokio::test]
async fn whatever_keeps_a_configuration_from_being_in_force_raises_the_alarm() {
    let mut world = start(|draft| {
        draft.configuration()["clients"]["validator"]["headers"] =
            json!({"x-gateway": "waykeeper", "x-secret": SECRET});
    })
    .await;
    let page = std::fs::read_to_string(repository("docs/metrics.md")).expect("the page");
    let alarm = page.split("```promql").nth(1).expect("an expression");
    let alarm = alarm.split("```").next().expect("an expression");
    let counters: Vec<_> = alarm
        .split("increase(")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('[')?.0))
        .collect();
    assert!(counters.len() >= 2, "{alarm}");
    let raised = |metrics: &Metrics| counters.iter().map(|name| metrics.sum(name, &[])).sum();
    let discovery = "envoy_extension_config_discovery_http_filter_waykeeper_";
    let quiet = world.metrics().await;
    for name in &counters {
        assert!(quiet.has(name), "{name}");
    }
    assert_eq!(raised(&quiet), 0.0);

    let mut read = world.gateway().envoy_log().len();
    for (times, mistake) in (1_u8..).zip(MISTAKES) {
        let Mistake { what, told, .. } = mistake;
        let mut file = world.filter().clone();
        let text = (mistake.spoil)(file.document_mut().take());
        let told = format!("{discovery}{told}");
        let before = world.metrics().await.sum(&told, &[]);
        world.gateway().reconfigure_with(&text).expect("write");

        eventually(what, || async {
            let metrics = world.metrics().await;
            let alarm: f64 = raised(&metrics);
            (alarm == f64::from(times) && metrics.sum(&told, &[]) == before + 1.0).then_some(())
        })
        .await;
        let log = eventually(mistake.logged, || async {
            let log = world.gateway().envoy_log();
            let log = log.get(read..).expect("a log grows").to_owned();
            log.contains(mistake.logged).then_some(log)
        })
        .await;
        read += log.len();
        assert_eq!(log.contains(SECRET), mistake.shown, "{what}: {log}");
        assert_eq!(world.post(SEARCH).send().await.status, 200, "{what}");
    }

    // A good one leaves it as it is.
    let before = world.metrics().await;
    world.reconfigure(|now| name_search(now, "good")).await;
    in_force(&world, "good").await;
    assert_eq!(raised(&world.metrics().await), raised(&before));
}

fn put(mut file: Value, place: &str, value: Value) -> String {
    *file.pointer_mut(place).expect("a place") = value;
    file.to_string()
}

fn misspelled(mut file: Value) -> String {
    file["resources"][0]["typed_config"]["config"]["failure_polcy"] = json!("x");
    file.to_string()
}

/// Envoy can be told to be strict about what it does not know.
#[tokio::test]
async fn a_strict_envoy_refuses_a_field_that_it_does_not_know() {
    let world = start(|draft| {
        let strict = "--reject-unknown-dynamic-fields".to_owned();
        draft.setup.arguments.push(strict);
    })
    .await;
    let refused = "envoy_extension_config_discovery_http_filter_waykeeper_update_rejected";
    assert_eq!(world.metrics().await.sum(refused, &[]), 0.0);

    let text = misspelled(world.filter().clone().document_mut().take());
    world.gateway().reconfigure_with(&text).expect("write");

    eventually("a refusal", || async {
        (world.metrics().await.sum(refused, &[]) == 1.0).then_some(())
    })
    .await;
    let log = world.gateway().envoy_log();
    let told = log
        .lines()
        .any(|line| line.contains(REJECTED) && line.contains("failure_polcy"));
    assert!(told, "{log}");
    assert_eq!(world.post(SEARCH).send().await.status, 200);
}

// -------------------------------------------------------------------------------------------------------- at the start

#[tokio::test]
async fn a_bad_configuration_is_told_offline() {
    let started = World::try_with(|draft| {
        validate_only(draft);
        for (fault, _) in FAULTS {
            fault(draft.configuration());
        }
    })
    .await;

    let (status, log) = ended(started);
    assert!(!status.success(), "{log}");
    for (_, said) in FAULTS {
        assert!(log.contains(said), "{said} is not in:\n{log}");
    }
}

#[tokio::test]
async fn a_good_configuration_is_valid_offline() {
    let started = World::try_with(validate_only).await;

    let (status, log) = ended(started);
    assert!(status.success(), "{log}");
}

#[tokio::test]
async fn a_good_configuration_mends_a_bad_first_one() {
    let (fault, said) = FAULTS[0];
    let started = World::try_with(|draft| fault(draft.configuration())).await;
    let mut world = started.unwrap_or_else(|error| panic!("{error}"));

    assert_eq!(
        world.get(NOTES).key("demo-premium").send().await.status,
        500
    );
    assert!(world.gateway().envoy_log().contains(said));
    // The alarm for that: counters that were never at 0 do not grow.
    let taken = "envoy_extension_config_discovery_http_filter_waykeeper_update_success";
    let metrics = world.metrics().await;
    assert!(metrics.has(taken) && metrics.sum(taken, &[]) == 0.0);

    world
        .reconfigure(|now| now["routes"][0]["agents"][0] = json!("chat-gpu"))
        .await;
    eventually("the good one", || async {
        let served = world.get(NOTES).key("demo-premium").send().await;
        (served.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_configuration_may_be_json_in_a_string() {
    let world = start(|draft| {
        name_search(draft.configuration(), "text");
        let text = draft.configuration().to_string();
        let filter = draft.setup.filter.document_mut();
        *filter
            .pointer_mut("/resources/0/typed_config/config/configuration")
            .expect("the configuration") =
            json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": text});
    })
    .await;

    assert_eq!(search(&world).await, "text");
}

// --------------------------------------------------------------------------------------------------------------- tools

/// Callers that come again and again, and to whom nothing may happen.
struct Load {
    over: Arc<AtomicBool>,
    served: Arc<std::sync::atomic::AtomicUsize>,
    callers: JoinSet<()>,
}

impl Load {
    fn start(world: &World, callers: usize) -> Self {
        let request = world
            .post(NOTES)
            .key("demo-premium")
            // So that some are under way whenever something changes.
            .header("x-demo-delay", "5ms");
        let mut load = Self {
            over: Arc::default(),
            served: Arc::default(),
            callers: JoinSet::new(),
        };
        for _ in 0..callers {
            let (over, served) = (Arc::clone(&load.over), Arc::clone(&load.served));
            let request: Request = request.clone();
            load.callers.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let answer = request.clone().send().await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load
    }

    /// Waits until some more were served.
    async fn goes_on(&self) {
        let before = self.served.load(Ordering::Relaxed);
        eventually("more requests", || async {
            (self.served.load(Ordering::Relaxed) > before + 20).then_some(())
        })
        .await;
    }

    async fn stop(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.callers.join_all().await;
        self.served.load(Ordering::Relaxed)
    }
}

/// No limit stands in the way of a load.
fn unlimited(draft: &mut Draft) {
    draft.configuration()["limits"] = json!([]);
    draft.configuration()["plans"] =
        json!({"standard": {}, "premium": {"requests": "1000000/minute"}});
    draft.route(SEARCH)["rate_limit"] = json!({"requests": "1000000/minute"});
}

/// Gives the search route a name by which a configuration is known.
fn name_search(configuration: &mut Value, name: &str) {
    let routes = configuration["routes"].as_array_mut().expect("routes");
    let search = routes.iter_mut().find(|route| route["prefix"] == SEARCH);
    search.expect("the route")["name"] = json!(name);
}

/// A world in which anybody may search, and thereby see which configuration is in force.
async fn start(change: impl FnOnce(&mut Draft)) -> World {
    World::with(|draft| {
        draft.route(SEARCH)["auth_required"] = json!(false);
        change(draft);
    })
    .await
}

/// The name of the search route under the configuration in force.
async fn search(world: &World) -> String {
    let answer = world.post(SEARCH).send().await;
    let headers = answer.echo().headers;
    headers.get("x-waykeeper-route").expect("a name").to_owned()
}

/// Waits until requests are decided by the configuration that calls the search route so.
async fn in_force(world: &World, name: &str) {
    eventually(name, || async {
        (search(world).await == name).then_some(())
    })
    .await;
}

/// Envoy looks at its configuration, and ends.
fn validate_only(draft: &mut Draft) {
    draft.setup.discovery = Discovery::Bootstrap;
    draft
        .setup
        .arguments
        .extend(["--mode", "validate"].map(str::to_owned));
}

/// How an Envoy ended that was not to serve, and all it logged.
fn ended(started: Result<World, StartError>) -> (std::process::ExitStatus, String) {
    match started {
        Err(StartError::Ended { status, log }) => (status, log),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("envoy serves"),
    }
}
