//! What operators do without: fields that tell callers, headers that tell agents, and the question for an address.

use serde_json::{Value, json};

use crate::harness::{Answer, Draft, World, eventually};

const NOTES: &str = "/api/v1/memory/notes";
const TOOLS: &str = "/api/v1/tools/list";

/// What the filter knows of a request that a client of the plan `premium` makes at [`NOTES`], as the access log names it.
const KNOWN: [(&str, &str); 5] = [
    ("client", "globex"),
    ("plan", "premium"),
    ("team", "search"),
    ("route", "/api/v1/memory"),
    ("agent", "memory"),
];

const TOLD: [&str; 5] = [
    "ratelimit-policy",
    "ratelimit",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
];

fn seen(names: &'static [&'static str]) -> impl FnOnce(&mut Draft) {
    move |draft| draft.configuration()["agents_see"] = json!(names)
}

/// The gateway's headers that the agent got, by their names.
fn headers(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut headers = Vec::new();
    for (name, values) in answer.json()["headers"].as_object().expect("an echo") {
        let name = name.replace('_', "-");
        if let Some(name) = name.strip_prefix("x-waykeeper-")
            && name != "cluster"
        {
            let value = values[0].as_str().expect("text").to_owned();
            headers.push((name.to_owned(), value));
        }
    }
    headers.sort();
    headers
}

/// The access log names all that is known, whatever agents see.
async fn logged(world: &World, answer: &Answer, known: &[(&str, &str)]) {
    let line = world.access_log(answer).await;
    let noted: Value = line["noted"].as_str().map_or(Value::Null, |noted| {
        serde_json::from_str(noted).expect("a JSON object")
    });
    for (name, _) in KNOWN {
        let wanted = known.iter().find(|(other, _)| *other == name);
        let wanted = wanted.map_or(Value::Null, |(_, value)| json!(value));
        let told = if line[name].is_null() {
            &noted[name]
        } else {
            assert_eq!(noted[name], Value::Null, "told twice: {line}");
            &line[name]
        };
        assert_eq!(*told, wanted, "{name}: {line}");
    }
}

fn told(answer: &Answer) -> Vec<&'static str> {
    let is_told = |name: &&str| answer.header(name).is_some();
    TOLD.into_iter().filter(is_told).collect()
}

#[tokio::test]
async fn agents_see_what_is_chosen_and_the_access_log_all_of_it() {
    let names = |names: &[&str]| -> Vec<(String, String)> {
        let mut all: Vec<_> = KNOWN
            .iter()
            .filter(|(name, _)| names.contains(name))
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        all.sort();
        all
    };
    for chosen in [
        &[][..],
        &["client"],
        &["route", "plan"],
        &["agent", "roles", "team"],
    ] {
        let world = World::with(seen(chosen)).await;
        let forged = world
            .get(NOTES)
            .key("demo-premium")
            .header("x-waykeeper-client", "root")
            .header("x-waykeeper-team", "root")
            .send()
            .await;
        assert_eq!(headers(&forged), names(chosen), "{chosen:?}");
        logged(&world, &forged, &KNOWN).await;
    }
}

#[tokio::test]
async fn the_access_log_names_who_was_refused_though_agents_would_not_see_it() {
    let world = World::with(seen(&[])).await;
    let forbidden = world.get(TOOLS).key("demo-premium").send().await;
    assert_eq!(forbidden.refused(), (403, "forbidden".to_owned()));
    let known = [
        ("client", "globex"),
        ("plan", "premium"),
        ("team", "search"),
        ("route", "/api/v1/tools"),
    ];
    logged(&world, &forbidden, &known).await;

    // Neither a caller's own names nor those of another request on the same connection.
    let missing = world
        .get(NOTES)
        .header("x-waykeeper-client", "root")
        .send()
        .await;
    assert_eq!(missing.refused(), (401, "missing_key".to_owned()));
    logged(&world, &missing, &[("route", "/api/v1/memory")]).await;
}

#[tokio::test]
async fn callers_are_told_what_is_chosen_and_no_more() {
    for (tell, ours) in [
        (json!(["ratelimit"]), &TOLD[..2]),
        (json!(["openai"]), &TOLD[2..]),
        (json!([]), &[]),
    ] {
        let world = World::with(|draft| draft.configuration()["tell"] = tell.clone()).await;
        let served = world.get(NOTES).key("demo-premium").send().await;
        assert_eq!(served.status, 200);
        assert_eq!(told(&served), ours, "{tell}");
    }
}

#[tokio::test]
async fn a_refusal_says_when_to_come_back_though_nothing_else_is_told() {
    let world = World::with(|draft| {
        draft.configuration()["tell"] = json!([]);
        draft.configuration()["plans"]["premium"] = json!({"requests": "2/hour"});
    })
    .await;
    for _ in 0..2 {
        let served = world.get(NOTES).key("demo-premium").send().await;
        assert_eq!((served.status, told(&served)), (200, Vec::new()));
        assert_eq!(served.header("retry-after"), None);
    }
    let refused = world.get(NOTES).key("demo-premium").send().await;
    assert_eq!(refused.refused(), (429, "rate_limited".to_owned()));
    assert_eq!(told(&refused), Vec::<&str>::new());
    let wait: u64 = refused
        .header("retry-after")
        .expect("a wait")
        .parse()
        .expect("seconds");
    assert!((1700..=1800).contains(&wait), "{wait}");
}

/// What Envoy itself answers for a request that took the last token waits for the limit too.
#[tokio::test]
async fn an_unreachable_agent_calls_nobody_back_too_early_though_nothing_else_is_told() {
    let world = World::with(|draft| {
        draft.configuration()["tell"] = json!([]);
        draft.configuration()["plans"]["premium"] = json!({"requests": "1/hour"});
        draft.configuration()["agents"]["memory"]["cluster"] = json!("nobody");
    })
    .await;
    let unreachable = world.get(NOTES).key("demo-premium").send().await;
    assert_eq!(unreachable.status, 503);
    let wait: u64 = unreachable
        .header("retry-after")
        .expect("a wait")
        .parse()
        .expect("seconds");
    assert!((3500..=3600).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_reload_changes_who_is_told_what() {
    let mut world = World::start().await;
    let served = world.get(NOTES).key("demo-premium").send().await;
    assert_eq!((headers(&served).len(), told(&served)), (5, TOLD.to_vec()));

    world
        .reconfigure(|now| {
            now["agents_see"] = json!(["route"]);
            now["tell"] = json!(["openai"]);
        })
        .await;
    let served = eventually("the next configuration", || async {
        let served = world.get(NOTES).key("demo-premium").send().await;
        (told(&served) == TOLD[2..]).then_some(served)
    })
    .await;
    assert_eq!(
        headers(&served),
        [("route".to_owned(), "/api/v1/memory".to_owned())]
    );
    logged(&world, &served, &KNOWN).await;

    let refused = world.offer(|now| now["tell"] = json!(["openapi"])).await;
    assert!(!refused, "an unknown word");
    assert!(world.gateway().envoy_log().contains(
        r#"tell[0]: expected ratelimit or openai, found "openapi"; did you mean "openai"?"#
    ));
    let served = world.get(NOTES).key("demo-premium").send().await;
    assert_eq!(told(&served), TOLD[2..]);
}

// === addresses ===

/// Three requests an hour for each address, out of the header.
fn three_for_each_address(hops: u32) -> impl FnOnce(&mut Draft) {
    move |draft| {
        draft.configuration()["address"] = json!({"from": "x-forwarded-for", "trusted_hops": hops});
        draft.configuration()["limits"] =
            json!([{"name": "per-address", "each": "address", "requests": "3/hour"}]);
    }
}

async fn passes(world: &World, lines: &[&str]) -> bool {
    let mut request = world.get(NOTES);
    for line in lines {
        request = request.header("x-forwarded-for", line);
    }
    match request.send().await.refused() {
        (401, _) => true,
        (429, _) => false,
        other => panic!("{other:?}"),
    }
}

/// Envoy appends the connection's address behind whatever a caller writes.
#[tokio::test]
async fn no_caller_gets_another_bucket_by_writing_addresses() {
    let world = World::with(three_for_each_address(0)).await;
    for lines in [
        &[][..],
        &["203.0.113.1"],
        &["203.0.113.2", "203.0.113.3, 203.0.113.4"],
    ] {
        assert!(passes(&world, lines).await, "{lines:?}");
    }
    for lines in [
        &[][..],
        &["203.0.113.5"],
        &["203.0.113.6,"],
        &["nonsense"],
        &["[::1]:1"],
    ] {
        assert!(!passes(&world, lines).await, "{lines:?}");
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_its_callers_are_counted_and_not_what_they_write() {
    let mut world = World::with(|draft| {
        three_for_each_address(1)(draft);
        draft.connection_manager()["xff_num_trusted_hops"] = json!(1);
    })
    .await;
    for lines in [
        &["203.0.113.7"][..],
        &["6.6.6.6, 203.0.113.7"],
        &["6.6.6.6", "203.0.113.7:4711"],
    ] {
        assert!(passes(&world, lines).await, "{lines:?}");
    }
    for lines in [
        &["203.0.113.7"][..],
        &["7.7.7.7,8.8.8.8 , 203.0.113.7"],
        &["7.7.7.7", "::ffff:203.0.113.7"],
    ] {
        assert!(!passes(&world, lines).await, "{lines:?}");
    }
    assert!(passes(&world, &["203.0.113.7, 203.0.113.8"]).await);
    // Whoever comes around the proxy is counted by the connection.
    for _ in 0..3 {
        assert!(passes(&world, &[]).await);
    }
    assert!(!passes(&world, &[]).await);
    assert!(!passes(&world, &["nonsense"]).await);

    // Envoy reads no entry with a port: asked for the address, it names the proxy's, which has no request left.
    world
        .reconfigure(|now| {
            now["address"] = json!({"from": "envoy"});
            now["tell"] = json!([]);
        })
        .await;
    eventually("the next configuration", || async {
        let request = world.get(NOTES).header("x-forwarded-for", "203.0.113.9");
        told(&request.send().await).is_empty().then_some(())
    })
    .await;
    for (entry, passed) in [
        ("203.0.113.10", true),
        ("203.0.113.11:4711", false),
        ("[2001:db8::11]:4711", false),
    ] {
        assert_eq!(passes(&world, &[entry]).await, passed, "{entry}");
    }
}
