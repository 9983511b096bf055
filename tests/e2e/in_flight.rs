//! How many requests may be under way at once: exact over workers, with those who wait in their turn, and no place lost
//! whatever becomes of a request, of a configuration or of the module.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use waykeeper_demo::auth::Client;

use crate::harness::{Answer, Arriving, Draft, Request, World, eventually, repository};

const NOTES: &str = "/api/v1/memory/notes";

// ------------------------------------------------------------------------------------------ exactly, over two workers

#[tokio::test]
async fn of_a_crowd_as_many_are_under_way_as_may_be_and_the_others_are_refused() {
    let world = two_workers(json!({"in_flight": 5})).await;

    for _ in 0..3 {
        let crowd = (0..60).map(|_| slow(&world, "demo-standard", "300ms"));
        let answers = all(crowd).await;

        let mut refused = answers.iter().filter(|answer| answer.status != 200);
        assert!(refused.clone().count() > 0);
        assert!(refused.all(is_crowded));
        assert_eq!(world.agent("memory").stats().most_in_flight, 5);
    }
    assert_places(&world, "demo-standard", 5).await;
}

#[tokio::test]
async fn who_may_wait_is_served_in_the_end_and_no_more_at_once_than_may_be() {
    let world = two_workers(json!({"in_flight": 3, "wait": "60s"})).await;

    // Long enough that most have come before the first of them go.
    let crowd = (0..60).map(|_| slow(&world, "demo-standard", "200ms"));
    let answers = all(crowd).await;

    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(world.agent("memory").stats().most_in_flight, 3);
    have_waited(&world, 30.0).await;
    assert_places_with(&world, "demo-standard", 3, waits).await;
}

#[tokio::test]
async fn a_place_that_comes_free_is_taken_up_by_another_worker_before_its_next_tick() {
    let world = two_workers(json!({"in_flight": 1, "wait": "60s"})).await;
    let mut times = Vec::new();

    for round in 1..=20 {
        let holds = hold(&world, "demo-standard").await;
        let waiting = tokio::spawn(world.get(NOTES).key("demo-standard").send());
        have_waited(&world, f64::from(round)).await;
        let freed = Instant::now();
        drop(holds);
        assert_eq!(waiting.await.expect("the caller").status, 200);
        times.push(freed.elapsed());
    }

    // A worker that is not told finds out on its next tick, nearly a second later.
    times.sort_unstable();
    let median = times[times.len() / 2];
    println!("median {median:?}, fastest {:?}", times[0]);
    assert!(median < Duration::from_millis(250), "{times:?}");
}

#[tokio::test]
async fn an_agent_gets_no_more_at_once_than_it_takes_whoever_calls() {
    let world = World::with(|draft| {
        unlimited(draft);
        draft.configuration()["agents"]["memory"]["max_in_flight"] = json!(4);
        draft.configuration()["agents"]["memory"]["wait"] = json!("60s");
    })
    .await;
    let keys = ["demo-standard", "demo-premium", "demo-admin"];

    let crowd = (0..45).map(|number| slow(&world, keys[number % 3], "30ms"));
    let answers = all(crowd).await;

    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(world.agent("memory").stats().most_in_flight, 4);
    // Other agents have nothing to do with it.
    let mut holds = Vec::new();
    for _ in 0..4 {
        holds.push(hold(&world, "demo-premium").await);
    }
    let search = world.post("/api/v1/search").key("demo-premium").send();
    assert_eq!(search.await.status, 200);
}

// --------------------------------------------------------------------------------------------- whatever becomes of it

#[tokio::test]
async fn a_place_comes_free_when_the_caller_leaves_and_when_the_agent_breaks_off() {
    let world = two_workers(json!({"in_flight": 1})).await;

    for _ in 0..5 {
        drop(hold(&world, "demo-standard").await);
        assert_places(&world, "demo-standard", 1).await;
        eventually("an answer that breaks off", || async {
            let broken = world.get(NOTES).key("demo-standard");
            let broken = broken
                .header("x-demo-reset", "3")
                .header("x-demo-size", "9");
            // Whoever has left before may not be gone yet.
            broken.try_send().await.err().map(drop)
        })
        .await;
        assert_places(&world, "demo-standard", 1).await;
    }
}

#[tokio::test]
async fn a_caller_who_leaves_while_it_waits_leaves_the_queue() {
    let world = two_workers(json!({"in_flight": 1, "wait": "60s", "max_waiting": 1})).await;
    let holds = hold(&world, "demo-standard").await;
    let leaves = tokio::spawn(world.get(NOTES).key("demo-standard").send());
    have_waited(&world, 1.0).await;
    // There is room for one who waits.
    let further = world.get(NOTES).key("demo-standard").send().await;
    assert!(is_crowded(&further));

    leaves.abort();
    let stays = eventually("the queue has room", || async {
        let asks = tokio::spawn(world.get(NOTES).key("demo-standard").send());
        // It is refused, or waits as the second one.
        let waits = eventually("the queue's word", || async {
            let waits = waits_so_far(&world).await > 1.5;
            (waits || asks.is_finished()).then_some(waits)
        });
        if waits.await {
            return Some(asks);
        }
        assert!(is_crowded(&asks.await.expect("the caller")));
        None
    })
    .await;
    drop(holds);

    assert_eq!(stays.await.expect("the caller").status, 200);
}

#[tokio::test]
async fn who_has_waited_in_vain_is_refused_and_told_when_to_come_back() {
    let world = two_workers(json!({"requests": "100/hour", "in_flight": 1, "wait": "1s"})).await;
    let _holds = hold(&world, "demo-standard").await;

    let answer = world.get(NOTES).key("demo-standard").send().await;

    assert!(is_crowded(&answer), "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let detail = answer.json()["detail"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(detail.contains(r#""in-flight" (per client)"#), "{detail}");
    // It has given back what its rate had counted: this one and the one that holds.
    let next = world.get(NOTES).key("demo-standard").send().await;
    assert_eq!(next.header("x-ratelimit-remaining-requests"), Some("99"));
}

#[tokio::test]
async fn a_stream_keeps_its_place_over_new_configurations_for_as_long_as_it_lasts() {
    let mut world = two_workers(json!({"in_flight": 1})).await;
    let holds = hold(&world, "demo-standard").await;

    world
        .reconfigure(|now| now["plans"]["premium"] = json!({"in_flight": 7}))
        .await;
    // For longer than a worker may be silent before it is taken for gone.
    let end = Instant::now() + Duration::from_secs(13);
    while Instant::now() < end {
        let answer = world.get(NOTES).key("demo-standard").send().await;
        assert!(is_crowded(&answer), "{answer:?}");
        sleep(Duration::from_millis(200)).await;
    }

    drop(holds);
    assert_places(&world, "demo-standard", 1).await;
}

#[tokio::test]
async fn a_limit_that_is_raised_has_room_although_somebody_waits_by_the_former_number() {
    let mut world = two_workers(json!({"in_flight": 1, "wait": "60s"})).await;
    let holds = hold(&world, "demo-standard").await;
    let waiting = tokio::spawn(world.get(NOTES).key("demo-standard").send());
    have_waited(&world, 1.0).await;

    world
        .reconfigure(|now| now["plans"]["standard"] = json!({"in_flight": 3}))
        .await;
    let answer = world.get(NOTES).key("demo-standard").send().await;
    assert_eq!(answer.status, 200, "{answer:?}");

    drop(holds);
    assert_eq!(waiting.await.expect("the caller").status, 200);
}

#[tokio::test]
async fn what_a_module_that_has_trapped_had_counted_counts_no_more_after_ten_seconds() {
    let world = World::with(|draft| {
        trapping(draft);
        draft.workers(1);
        unlimited(draft);
        draft.configuration()["plans"]["standard"] = json!({"in_flight": 1});
    })
    .await;
    let _holds = hold(&world, "demo-standard").await;
    let trapped = Instant::now();
    world.get(NOTES).header("x-probe", "trap").send().await;

    let refused = AtomicU64::new(0);
    eventually("the place", || async {
        let answer = world.get(NOTES).key("demo-standard").send().await;
        refused.fetch_add(is_crowded(&answer).into(), Ordering::Relaxed);
        (answer.status == 200).then_some(())
    })
    .await;

    // Until then too few are let in, never too many.
    assert!(refused.into_inner() > 0);
    assert!(
        trapped.elapsed() > Duration::from_secs(9),
        "{:?}",
        trapped.elapsed()
    );
}

// --------------------------------------------------------------------------------------------------------------- chaos

#[tokio::test]
async fn after_three_minutes_of_chaos_no_place_is_lost() {
    chaos(Duration::from_secs(180)).await;
}

#[tokio::test]
#[ignore = "takes an hour: `make soak` runs it"]
async fn soak_after_an_hour_of_chaos_no_place_is_lost() {
    chaos(Duration::from_secs(3_600)).await;
}

/// Callers who leave, agents that break off, WebSockets, bodies that stop, new configurations and modules that trap, for so
/// long. Then every place is free.
async fn chaos(time: Duration) {
    const KEYS: [&str; 3] = ["demo-standard", "demo-premium", "demo-admin"];
    let bound = |most: u32| json!({"in_flight": most, "wait": "1s"});
    let mut world = World::with(|draft| {
        trapping(draft);
        draft.workers(2);
        unlimited(draft);
        draft.configuration()["plans"] = json!({"standard": bound(4), "premium": bound(4)});
        draft.configuration()["agents"]["memory"]["max_in_flight"] = json!(6);
        draft.configuration()["agents"]["memory"]["share"] = json!({"by": "client"});
    })
    .await;
    let seed = 13;
    println!("chaos by seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let end = Instant::now() + time;
    let mut under_way = JoinSet::new();
    let done = Arc::new(AtomicU64::new(0));
    let mut steps = 0_u64;

    while Instant::now() < end {
        steps += 1;
        while under_way.len() >= 24 {
            under_way.join_next().await;
        }
        let key = KEYS[chance.random_range(0..KEYS.len())];
        let patience = Duration::from_millis(chance.random_range(1..400));
        let request = world.get(NOTES).key(key);
        let request = match chance.random_range(0..8) {
            0 => request.header("x-demo-delay", "150ms"),
            1 => request.header("x-demo-reset", "0"),
            2 => request
                .header("x-demo-reset", "9")
                .header("x-demo-size", "90000"),
            3 => request.header("x-demo-status", "503"),
            4 => request.header("x-demo-size", "3000000"),
            _ => long(&world, key),
        };
        let (http2, stuck) = (chance.random_bool(0.3), chance.random_bool(0.1));
        let done = Arc::clone(&done);
        let stuck = stuck.then(|| world.post(NOTES).key(key).upload());
        under_way.spawn(async move {
            if let Some(mut upload) = stuck {
                upload.write("half of it").await;
                sleep(patience).await;
                return;
            }
            let request = if http2 { request.http2() } else { request };
            // Whoever has not got all by then leaves.
            if let Ok(Ok(answer)) = timeout(patience, request.try_send()).await {
                done.fetch_add(u64::from(answer.status == 200), Ordering::Relaxed);
            }
        });
        if steps.is_multiple_of(400) {
            let most = chance.random_range(4..7);
            world
                .reconfigure(|now| now["plans"]["premium"] = bound(most))
                .await;
        }
        if steps.is_multiple_of(1_500) {
            let trap = world.get(NOTES).header("x-probe", "trap").try_send().await;
            assert!(trap.is_ok_and(|answer| answer.status == 503));
        }
        sleep(Duration::from_millis(chance.random_range(0..10))).await;
    }
    while under_way.join_next().await.is_some() {}
    world
        .reconfigure(|now| {
            now["plans"] = json!({"standard": {"in_flight": 4}, "premium": {"in_flight": 4}})
        })
        .await;

    println!(
        "{steps} requests, {} answered to the end",
        done.load(Ordering::Relaxed)
    );
    assert!(done.load(Ordering::Relaxed) > 0);
    // Every place is free, or is within the ten seconds that a module which has trapped is waited for.
    for key in KEYS {
        assert_places(&world, key, 4).await;
    }
}

// --------------------------------------------------------------------------------------------------------- fair shares

#[tokio::test]
async fn one_greedy_client_and_nine_modest_ones_each_get_their_part() {
    const MODEST: usize = 9;
    const PLACES: u32 = 10;
    let clients: Vec<String> = (0..=MODEST)
        .map(|number| format!("client-{number}"))
        .collect();
    let world = World::with(|draft| {
        draft.workers(2);
        unlimited(draft);
        for client in &clients {
            let named = Client {
                client_id: client.clone(),
                ..Client::default()
            };
            draft.services.auth().insert_key(client, named);
        }
        draft.configuration()["agents"]["memory"]["max_in_flight"] = json!(PLACES);
        draft.configuration()["agents"]["memory"]["wait"] = json!("60s");
        draft.configuration()["agents"]["memory"]["share"] = json!({"by": "client"});
    })
    .await;
    let world = Arc::new(world);
    let begin = Instant::now() + Duration::from_secs(1);
    let end = begin + Duration::from_secs(6);
    let held: Arc<Mutex<Vec<Duration>>> = Arc::new(Mutex::new(vec![Duration::ZERO; MODEST + 1]));
    let mut callers = JoinSet::new();

    // The greedy one always has forty on their way, the others two each; answers take unevenly long.
    for (client, key) in clients.iter().enumerate() {
        for number in 0..if client == 0 { 40 } else { 2 } {
            let (world, held, key) = (Arc::clone(&world), Arc::clone(&held), key.clone());
            callers.spawn(async move {
                let mut turn = number;
                while Instant::now() < end {
                    let length = [20, 150, 60, 240, 90][turn % 5];
                    let answer = slow(&world, &key, &format!("{length}ms")).send().await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    // At first who comes first has all places, and behind the end the greedy one has what it had asked for
                    // before, alone.
                    if (begin..end).contains(&Instant::now()) {
                        let mut held = held.lock().expect("what is held");
                        held[client] += Duration::from_millis(length);
                    }
                    turn += 1;
                }
            });
        }
    }
    while let Some(caller) = callers.join_next().await {
        caller.expect("a caller");
    }

    let held = held.lock().expect("what is held");
    let all: Duration = held.iter().sum();
    let share = |client: usize| held[client].as_secs_f64() / all.as_secs_f64();
    println!("shares: {:?}", (0..=MODEST).map(share).collect::<Vec<_>>());
    // First come, first served would give the greedy one 40 of 58.
    for client in 0..=MODEST {
        let share = share(client);
        assert!((0.07..0.14).contains(&share), "{client}: {share}");
    }
    assert_eq!(
        world.agent("memory").stats().most_in_flight,
        u64::from(PLACES)
    );
}

#[tokio::test]
async fn parts_that_nobody_needs_are_lent_and_weights_and_priorities_count() {
    let world = World::with(|draft| {
        unlimited(draft);
        draft.configuration()["agents"]["memory"]["max_in_flight"] = json!(4);
        draft.configuration()["agents"]["memory"]["wait"] = json!("60s");
        draft.configuration()["agents"]["memory"]["share"] =
            json!({"by": "client", "weights": {"premium": 3}});
    })
    .await;
    let mut lent = Vec::new();
    for _ in 0..4 {
        lent.push(hold(&world, "demo-standard").await);
    }
    let mut waiting = JoinSet::new();
    for key in [
        "demo-standard",
        "demo-standard",
        "demo-premium",
        "demo-premium",
        "demo-premium",
    ] {
        let request = long(&world, key);
        waiting.spawn(async move { (key, request.begin().await) });
    }
    have_waited(&world, 5.0).await;

    let mut order = Vec::new();
    let mut under_way = Vec::new();
    while let Some(holds) = lent.pop() {
        drop(holds);
        let (key, arriving) = waiting.join_next().await.expect("one").expect("a caller");
        assert_eq!(arriving.status, 200);
        order.push(key);
        under_way.push(arriving);
    }

    // Three parts of four are premium's.
    assert_eq!(order[..3], ["demo-premium"; 3]);
    assert_eq!(order[3], "demo-standard");
}

// -------------------------------------------------------------------------------------------------------- what they share

async fn two_workers(standard: Value) -> World {
    World::with(|draft| {
        draft.workers(2);
        unlimited(draft);
        draft.configuration()["plans"]["standard"] = standard;
    })
    .await
}

/// Nothing is limited, and a route's answers may take their time.
fn unlimited(draft: &mut Draft) {
    draft.configuration()["limits"] = json!([]);
    draft.configuration()["plans"] = json!({"standard": {}, "premium": {}});
    draft.route("/api/v1/memory")["timeout"] = json!("300s");
    let undecided = undecided(draft.connection_manager()).expect("the route of who waits");
    undecided["idle_timeout"] = json!("90s");
}

/// What Envoy does about requests that nobody has decided on.
fn undecided(value: &mut Value) -> Option<&mut Value> {
    if value["cluster"] == "waykeeper/nobody" {
        return Some(value);
    }
    match value {
        Value::Array(items) => items.iter_mut().find_map(undecided),
        Value::Object(fields) => fields.values_mut().find_map(undecided),
        _ => None,
    }
}

fn trapping(draft: &mut Draft) {
    let module = repository("target/waykeeper-probe.wasm");
    assert!(module.exists(), "run `make probe-filter`");
    draft.setup.filter.set_module(&module).expect("the filter");
}

fn slow(world: &World, key: &str, delay: &str) -> Request {
    world.get(NOTES).key(key).header("x-demo-delay", delay)
}

/// It takes longer than any test, unless its caller leaves.
fn long(world: &World, key: &str) -> Request {
    let request = world.get(NOTES).key(key);
    let request = request.header("x-demo-interval", "100ms");
    request.header("x-demo-events", "1000")
}

async fn all(requests: impl Iterator<Item = Request>) -> Vec<Answer> {
    requests
        .map(Request::send)
        .collect::<JoinSet<_>>()
        .join_all()
        .await
}

/// A request that is under way until it is dropped.
async fn hold(world: &World, key: &str) -> Arriving {
    // Whoever has left before may not be gone yet.
    eventually("a free place", || async {
        let begun = timeout(Duration::from_secs(1), long(world, key).begin())
            .await
            .ok()?;
        (begun.status == 200).then_some(begun)
    })
    .await
}

/// So many requests have waited for a place so far, or wait now.
async fn have_waited(world: &World, number: f64) {
    eventually("those who wait", || async {
        (waits_so_far(world).await > number - 0.5).then_some(())
    })
    .await;
}

async fn waits_so_far(world: &World) -> f64 {
    let metrics = world.metrics().await;
    metrics.sum("waykeeper_limit_waits_total", &[])
}

fn is_crowded(answer: &Answer) -> bool {
    answer.status == 429 && answer.refusal() == "too_many_in_flight"
}

/// A client has so many places, no more and no fewer, once those who have left are gone.
async fn assert_places(world: &World, key: &str, number: usize) {
    assert_places_with(world, key, number, refuses).await;
}

/// As [`assert_places`]; `has_no_place` says of a further request whether it is kept out.
async fn assert_places_with(
    world: &World,
    key: &str,
    number: usize,
    has_no_place: impl AsyncFn(Request) -> bool,
) {
    let mut held = Vec::new();
    while held.len() < number {
        held.push(hold(world, key).await);
    }
    assert!(
        has_no_place(long(world, key)).await,
        "there is one place more"
    );
}

async fn refuses(request: Request) -> bool {
    is_crowded(&request.send().await)
}

async fn waits(request: Request) -> bool {
    timeout(Duration::from_millis(500), request.begin())
        .await
        .is_err()
}
