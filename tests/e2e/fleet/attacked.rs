//! Three gateways and their limiter, whoever calls: who leaves in the middle, keys and subjects as long and as odd as they may be, thousands
//! of subjects at once, and the moments at which windows end.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use waykeeper_demo::auth::Client;

use super::{Fleet, GATEWAYS, NOTES, limiter};
use crate::harness::{Exchange, Request, World, free_address, linear_memories};

/// As many bytes as a key may have.
const LONGEST_KEY: usize = 4_096;
/// As many as a client's name may have.
const LONGEST_NAME: usize = 128;
/// So many counters are there in the limiter.
const COUNTERS: u64 = 1_500;
const LIMIT: u64 = 120;

#[tokio::test]
async fn whoever_calls_never_more_than_the_limit_passes_and_nobody_has_the_limiter_let_alone() {
    let at = free_address();
    let scraped = free_address();
    let counters = COUNTERS.to_string();
    let _limiter = limiter(
        at,
        &[
            "--max-counters",
            &counters,
            "--metrics",
            &scraped.to_string(),
        ],
    )
    .await;
    let plan = json!({"requests": format!("{LIMIT}/month"), "scope": "fleet"});
    let app = json!({"name": "app", "each": {"header": "x-app"}, "requests": "2/month", "scope": "fleet"});
    let key = "k".repeat(LONGEST_KEY);
    let fleet = Fleet::of(
        GATEWAYS,
        at,
        &plan,
        &json!({"on_failure": "deny"}),
        |draft| {
            draft.configuration()["fleet"]["limiter"]["timeout"] = json!("10s");
            draft.configuration()["plans"]["premium"] = json!({"limits": [app]});
            let client = Client {
                client_id: "c".repeat(LONGEST_NAME),
                plan: Some("premium".to_owned()),
                ..Client::default()
            };
            draft.services.auth().insert_key(&key, client);
        },
    )
    .await;
    let of_app = |number: usize, app: &[u8]| {
        let world = &fleet.0[number % GATEWAYS];
        world.get(NOTES).key(&key).header("x-app", app)
    };
    let before = memory_of(&fleet);

    // Callers that leave, early and late. What they have taken they have taken, and no more than there is.
    let leaving = (0..120).map(|number| {
        let request = fleet.0[number % GATEWAYS].get(NOTES).key("demo-standard");
        let request = request.header("x-demo-id", "leaves");
        let patience = Duration::from_millis(number as u64);
        async move { drop(timeout(patience, request.try_send()).await) }
    });
    leaving.collect::<JoinSet<_>>().join_all().await;
    let (admitted, refused) = fleet.crowd(200).await;
    let mut reached = 0;
    for world in &fleet.0 {
        reached += world.agent("memory").stats().attempts_of("leaves");
    }
    println!("{reached} of those who left, and {admitted} others");
    assert!(refused > 0);
    assert!(reached + admitted <= LIMIT, "{reached} + {admitted}");

    // Each value that a header may have is a subject of its own, to the byte; asked for at all gateways at once.
    let values = (0..=255_u8).filter(|byte| matches!(byte, 9 | 32..=126 | 128..));
    let values: Vec<_> = values.map(|byte| [b'a', byte, b'z'].repeat(60)).collect();
    for few in values.chunks(40) {
        let all = few
            .iter()
            .flat_map(|value| (0..GATEWAYS).map(move |number| of_app(number, value)));
        let statuses = statuses(all).await;
        for (value, three) in few.iter().zip(statuses.chunks(GATEWAYS)) {
            let passed = three.iter().filter(|status| **status == 200).count();
            let full = three.iter().filter(|status| **status == 429).count();
            assert_eq!((passed, full), (2, 1), "{value:?}: {three:?}");
        }
    }

    // More subjects than there are counters. Whoever has one is counted on, and nobody else: those without are refused.
    let subjects: Vec<_> = (0..COUNTERS + 300)
        .map(|number| format!("app-{number}"))
        .collect();
    let (mut passed, mut unavailable) = (0, 0);
    for (round, few) in subjects.chunks(300).enumerate() {
        let all = few
            .iter()
            .enumerate()
            .map(|(number, app)| of_app(number, app.as_bytes()));
        for status in statuses(all).await {
            match status {
                200 => passed += 1,
                503 => unavailable += 1,
                _ => panic!("{status}"),
            }
        }
        // All the while: 429, and not 503.
        assert_eq!(fleet.crowd(9).await, (0, 9), "round {round}");
    }
    let used = values.len() as u64 + 1;
    assert_eq!((passed, unavailable), (COUNTERS - used, 300 + used));
    for (number, value) in values.iter().enumerate().take(30) {
        assert_eq!(statuses([of_app(number, value)].into_iter()).await, [429]);
    }
    for world in &fleet.0 {
        let log = world.gateway().envoy_log();
        assert!(!log.contains("the limiter does not answer"), "{log}");
    }
    let scrape = format!("GET /metrics HTTP/1.1\r\nhost: {scraped}\r\nconnection: close\r\n\r\n");
    let mut scraped = Exchange::open(scraped).await;
    scraped.write(&scrape).await;
    let text = scraped.read_to_end().await;
    let told = format!("waykeeper_limiter_counters {COUNTERS}\n");
    assert!(text.contains(&told), "{text}");
    // Nothing is kept of those who have called, but what tables have room for from the beginning.
    let after = memory_of(&fleet);
    println!("{before} bytes before, {after} after");
    assert!(after < before + (GATEWAYS << 22), "{before} {after}");
}

#[tokio::test]
async fn at_no_end_of_a_window_passes_more_than_the_limit_strict_or_leased() {
    const TIME: Duration = Duration::from_secs(4);
    let at = free_address();
    let _limiter = limiter(at, &[]).await;
    // As if there were one gateway, so that 200 are enough for shares: of 2.
    let more = json!({"manner": "leased", "gateways": 1, "on_failure": "deny"});
    let strict = json!({"requests": "20/second", "scope": "fleet"});
    let leased = json!({"requests": "200/second", "scope": "fleet"});
    let fleet = Fleet::of(GATEWAYS, at, &strict, &more, |draft| {
        draft.configuration()["plans"]["premium"] = leased.clone();
    })
    .await;

    let end = Instant::now() + TIME;
    let passed = ["demo-standard", "demo-premium"].map(|_| Arc::new(Mutex::new(Vec::new())));
    let mut callers = JoinSet::new();
    for number in 0..24 {
        // The others need more.
        let which = usize::from(number % 4 > 0);
        let key = ["demo-standard", "demo-premium"][which];
        let world = Arc::clone(&fleet.0[number % GATEWAYS]);
        let passed = Arc::clone(&passed[which]);
        callers.spawn(async move {
            while Instant::now() < end {
                let begun = second();
                let answer = world.get(NOTES).key(key).send().await;
                match answer.status {
                    200 => passed
                        .lock()
                        .expect("what has passed")
                        .push((begun, second())),
                    429 => {}
                    _ => panic!("{answer:?}"),
                }
                sleep(Duration::from_millis(2)).await;
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.expect("a caller");
    }

    let shares = fleet.sum("waykeeper_limiter_calls_total", &[("outcome", "share")]);
    assert!(shares.await > 0.0);
    for (passed, limit) in passed.iter().zip([20, 200]) {
        let passed = passed.lock().expect("what has passed");
        let first = passed.iter().map(|(begun, _)| *begun).min().expect("one");
        let last = passed.iter().map(|(_, ended)| *ended).max().expect("one");
        let mut windows = Vec::new();
        for window in first..=last {
            let within = passed.iter().filter(|it| **it == (window, window));
            windows.push(within.count());
        }
        println!("{limit} a second: {windows:?}, {} in all", passed.len());
        assert!(windows.iter().all(|number| *number <= limit), "{windows:?}");
        let number = usize::try_from(last - first + 1).expect("a number");
        assert!(passed.len() <= limit * number);
        // It was asked for more than that, and windows did begin anew.
        assert!(passed.len() > limit, "{windows:?}");
    }
}

// -------------------------------------------------------------------------------------------------------- what they share

async fn statuses(requests: impl Iterator<Item = Request>) -> Vec<u16> {
    let mut sent = JoinSet::new();
    for (number, request) in requests.enumerate() {
        sent.spawn(async move { (number, request.send().await.status) });
    }
    let mut statuses = sent.join_all().await;
    statuses.sort_unstable();
    statuses.into_iter().map(|(_, status)| status).collect()
}

/// The second that it is now.
fn second() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a time").as_secs()
}

/// All memory of the filter's modules.
fn memory_of(fleet: &Fleet) -> usize {
    let of = |world: &Arc<World>| {
        let memories = linear_memories(world.gateway().process_id().expect("Envoy"));
        memories
            .iter()
            .map(|memory| memory.chars().count())
            .sum::<usize>()
    };
    fleet.0.iter().map(of).sum()
}
