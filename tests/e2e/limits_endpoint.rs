//! Callers ask how their limits stand, and operators about every client: the answers are those of all workers.

use serde_json::{Value, json};
use tokio::task::JoinSet;
use waykeeper::identity::KeyHash;
use waykeeper::text::hex;

use crate::harness::{Answer, Draft, World};

const PATH: &str = "/.well-known/waykeeper/limits";
const NOTES: &str = "/api/v1/memory/notes";

/// Two clients of a plan, and an operator, over two workers.
async fn world(change: impl FnOnce(&mut Draft)) -> World {
    World::with(|draft| {
        draft.workers(2);
        let key = |key: &str, client: &str, roles: Value| {
            let sha256 = hex::encoded(&KeyHash::of(key.as_bytes()).0);
            let mut listed = json!({"sha256": sha256, "client_id": client, "plan": "standard"});
            if roles != json!([]) {
                listed["roles"] = roles;
            }
            listed
        };
        let configuration = draft.configuration();
        configuration["clients"]["keys"] = json!([
            key("one-key", "one", json!([])),
            key("two-key", "two", json!([])),
            key("boss-key", "boss", json!(["operator"])),
        ]);
        configuration["plans"] = json!({"standard": {"requests": "20/hour"}, "premium": {}});
        configuration["limits"] =
            json!([{"name": "gate", "each": "address", "requests": "1000/day"}]);
        configuration["limits_endpoint"] = json!({"operator_role": "operator"});
        change(draft);
    })
    .await
}

fn limit<'v>(answer: &'v Value, name: &str) -> &'v Value {
    let mut all = answer["limits"].as_array().expect("limits").iter();
    all.find(|it| it["name"] == name).unwrap_or(&Value::Null)
}

async fn left(world: &World, query: &str, key: &str) -> Value {
    let answer = world.get(&format!("{PATH}{query}")).key(key).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json()
}

async fn reset(world: &World, query: &str, key: &str) -> Answer {
    let request = world.post(&format!("{PATH}/reset{query}"));
    request.key(key).send().await
}

/// The last of so many requests, which came over both workers.
async fn pass(world: &World, key: &str, number: usize) -> Answer {
    let mut all = JoinSet::new();
    (1..number).for_each(|_| {
        all.spawn(world.get(NOTES).key(key).send());
    });
    for answer in all.join_all().await {
        assert_eq!(answer.status, 200);
    }
    world.get(NOTES).key(key).send().await
}

#[tokio::test]
async fn what_a_caller_is_told_is_what_the_headers_of_its_answers_say() {
    let world = world(|_| {}).await;
    let last = pass(&world, "one-key", 12).await;

    // Whichever workers answer.
    for _ in 0..8 {
        let answer = left(&world, "", "one-key").await;
        let plan = limit(&answer, "plan");
        assert_eq!((&plan["used"], &plan["remaining"]), (&json!(12), &json!(8)));
        assert_eq!(
            last.header("ratelimit-policy")
                .map(|it| it.contains("\"plan\";q=20;w=3600")),
            Some(true)
        );
        assert_eq!(
            last.header("x-ratelimit-remaining-requests"),
            Some(plan["remaining"].to_string().as_str())
        );
        let told = last.header("ratelimit").expect("the field");
        let at_most: u64 = told
            .rsplit_once("t=")
            .expect("a time")
            .1
            .parse()
            .expect("seconds");
        assert!(
            plan["one_more_seconds"].as_u64() <= Some(at_most),
            "{plan} {told}"
        );
    }
    assert_eq!(limit(&left(&world, "", "two-key").await, "plan")["used"], 0);
}

#[tokio::test]
async fn asking_counts_at_the_gate_and_nowhere_else() {
    let world = world(|_| {}).await;
    pass(&world, "one-key", 3).await;

    let once = left(&world, "", "one-key").await;
    let again = left(&world, "", "one-key").await;

    assert_eq!(limit(&once, "gate")["used"], 4);
    assert_eq!(limit(&again, "gate")["used"], 5);
    assert_eq!(limit(&again, "plan")["used"], 3);
}

#[tokio::test]
async fn a_full_gate_takes_no_questions_either() {
    let world = world(|draft| {
        draft.configuration()["limits"][0]["requests"] = json!("2/hour");
    })
    .await;
    let ask = || world.get(PATH).key("one-key").send();

    let answers = [ask().await.status, ask().await.status];

    assert_eq!(answers, [200, 200]);
    assert_eq!(ask().await.refused(), (429, "rate_limited".to_owned()));
}

#[tokio::test]
async fn an_operator_sees_every_client_and_nobody_else_sees_another() {
    let world = world(|_| {}).await;
    pass(&world, "one-key", 5).await;

    let seen = left(&world, "?client=one", "boss-key").await;

    assert_eq!(
        (&seen["client"], &seen["plan"]),
        (&json!("one"), &json!("standard"))
    );
    assert_eq!(limit(&seen, "plan")["used"], 5);
    let query = format!("{PATH}?client=one");
    for (request, refused) in [
        (world.get(&query).key("two-key"), (403, "forbidden")),
        (world.get(&query).key("wrong"), (401, "invalid_key")),
        (world.get(&query), (401, "missing_key")),
        (world.get(PATH), (401, "missing_key")),
        (world.post(PATH).key("one-key"), (405, "method_not_allowed")),
        (
            world
                .get(&format!("{PATH}/reset?client=one"))
                .key("boss-key"),
            (405, "method_not_allowed"),
        ),
        (
            world
                .get(&format!("{query}&organization=x"))
                .key("boss-key"),
            (400, "bad_query"),
        ),
    ] {
        let (status, code) = request.send().await.refused();
        assert_eq!((status, code.as_str()), refused);
    }
}

#[tokio::test]
async fn a_reset_gives_one_client_a_fresh_start_in_all_workers() {
    let world = world(|_| {}).await;
    pass(&world, "one-key", 20).await;
    pass(&world, "two-key", 20).await;
    for key in ["one-key", "two-key"] {
        assert_eq!(world.get(NOTES).key(key).send().await.status, 429, "{key}");
    }
    let refused = reset(&world, "?client=one", "one-key").await;
    assert_eq!(refused.refused(), (403, "forbidden".to_owned()));

    let answer = reset(&world, "?client=one", "boss-key").await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["done_in"], json!(["process"]));
    assert_eq!(limit(&answer.json(), "plan")["was_used"], true);
    let last = pass(&world, "one-key", 20).await;
    assert_eq!(last.status, 200);
    for key in ["one-key", "two-key"] {
        assert_eq!(world.get(NOTES).key(key).send().await.status, 429, "{key}");
    }
}

#[tokio::test]
async fn a_head_has_no_body_and_a_page_may_read_the_answer() {
    let world = world(|_| {}).await;
    let head = world.request("HEAD", PATH).key("one-key").send().await;
    assert_eq!((head.status, head.text()), (200, String::new()));

    let origin = "http://127.0.0.1:5173";
    let read = world.get(PATH).key("one-key").header("origin", origin);
    let read = read.send().await;

    assert_eq!(read.header("access-control-allow-origin"), Some(origin));
    let logged = world.access_log(&read).await;
    assert_eq!(logged["details"], "waykeeper_answered", "{logged}");
    assert_eq!(logged["client"], "one", "{logged}");
}
