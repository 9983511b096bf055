//! How much: limits are exact across workers from the first request on, and the caller is told how they stand.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use waykeeper::identity::KeyHash;
use waykeeper_demo::auth::{Client, Fault};

use crate::harness::{Answer, Draft, PATIENCE, Puppet, Request, World, eventually};

const NOTES: &str = "/api/v1/memory/notes";
const SEARCH: &str = "/api/v1/search";

/// A limit that holds for longer than any test takes: the first request to come back does so after minutes.
const N: usize = 20;
const N_AN_HOUR: &str = "20/hour";

const FIELDS: [&str; 5] = [
    "ratelimit-policy",
    "ratelimit",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
];

// ------------------------------------------------------------------------------------------ exactly, over two workers

#[tokio::test]
async fn a_plan_admits_each_client_exactly_its_requests() {
    let world = two_workers(|draft| {
        draft.configuration()["plans"]["standard"] = json!({"requests": N_AN_HOUR});
        for client in ["one", "two"] {
            draft.services.auth().insert_key(client, named(client));
        }
    })
    .await;

    let one = (0..4 * N).map(|_| world.get(NOTES).key("one"));
    let two = (0..4 * N).map(|number| match number % 2 {
        0 => world.get(NOTES).key("two"),
        _ => world.post(SEARCH).key("two"),
    });

    assert_eq!(
        admitted_of_each(&world, [one.collect(), two.collect()]).await,
        [N, N]
    );
}

#[tokio::test]
async fn one_count_of_all_admits_exactly_its_requests() {
    let world = two_workers(|draft| limit(draft, json!([]), N_AN_HOUR)).await;

    let requests = (0..4 * N).map(|number| match number % 3 {
        0 => world.get(NOTES).key("demo-standard"),
        1 => world.get(NOTES).key("demo-premium"),
        _ => world.post(SEARCH).key("demo-admin"),
    });

    assert_eq!(
        admitted_of_each(&world, [requests.collect()]).await,
        [N],
        "of all"
    );
}

#[tokio::test]
async fn a_limit_per_route_admits_each_route_exactly_its_requests() {
    let world = two_workers(|draft| limit(draft, json!("route"), N_AN_HOUR)).await;
    let key = |number: usize| ["demo-standard", "demo-premium"][number % 2];

    let notes = (0..4 * N).map(|number| world.get(NOTES).key(key(number)));
    let search = (0..4 * N).map(|number| world.post(SEARCH).key(key(number)));

    assert_eq!(
        admitted_of_each(&world, [notes.collect(), search.collect()]).await,
        [N, N]
    );
}

#[tokio::test]
async fn a_limit_per_client_and_route_admits_each_pair_exactly_its_requests() {
    let world = two_workers(|draft| limit(draft, json!(["client", "route"]), N_AN_HOUR)).await;
    let requests = |path: &str, key: &str| -> Vec<Request> {
        (0..4 * N).map(|_| world.post(path).key(key)).collect()
    };

    let admitted = admitted_of_each(
        &world,
        [
            requests(NOTES, "demo-standard"),
            requests(NOTES, "demo-premium"),
            requests(SEARCH, "demo-standard"),
        ],
    )
    .await;

    assert_eq!(admitted, [N, N, N]);
}

#[tokio::test]
async fn a_limit_per_address_admits_each_address_exactly_its_requests() {
    let world = two_workers(|draft| {
        behind_a_proxy(draft);
        limit(draft, json!("address"), N_AN_HOUR);
    })
    .await;
    let from = |address: &'static str| {
        let key = |number: usize| ["demo-standard", "demo-premium"][number % 2];
        let world = &world;
        (0..4 * N).map(move |number| {
            world
                .get(NOTES)
                .key(key(number))
                .header("x-forwarded-for", address)
        })
    };

    let admitted = admitted_of_each(
        &world,
        [
            from("192.0.2.1").collect(),
            from("2001:db8::1").collect(),
            // Not its own neighbour's: IPv6 counts by /64.
            from("2001:db8:0:1::1").collect(),
        ],
    )
    .await;

    assert_eq!(admitted, [N, N, N]);
}

#[tokio::test]
async fn several_limits_at_once_never_admit_more_and_lose_nothing() {
    let world = two_workers(|draft| {
        draft.configuration()["limits"] = json!([
            {"name": "everyone", "each": [], "requests": "30/hour"},
            {"name": "on-route", "each": "route", "requests": N_AN_HOUR},
        ]);
        draft.route(SEARCH)["rate_limit"] = json!({"requests": "10/hour"});
    })
    .await;

    // Both clients want more of the route than it gives, and the route more than is there for everyone.
    let admitted = admitted_of_each(
        &world,
        [
            (0..40)
                .map(|_| world.post(SEARCH).key("demo-standard"))
                .collect(),
            (0..40)
                .map(|_| world.post(SEARCH).key("demo-premium"))
                .collect(),
            (0..40)
                .map(|_| world.get(NOTES).key("demo-standard"))
                .collect(),
        ],
    )
    .await;
    let [standard, premium, notes] = admitted;
    assert!(standard <= 10 && premium <= 10, "{admitted:?}");
    assert!(standard + premium + notes <= 30, "{admitted:?}");
    assert!(notes <= N, "{admitted:?}");

    // Under contention a request may be refused that a serial order would have let in; what it had taken is given back.
    let mut all = standard + premium + notes;
    let more = [
        (SEARCH, "demo-standard"),
        (SEARCH, "demo-premium"),
        (NOTES, "demo-standard"),
    ];
    for (path, key) in more {
        while world.post(path).key(key).send().await.status == 200 {
            all += 1;
        }
    }
    assert_eq!(all, 30);
}

#[tokio::test]
async fn each_level_admits_exactly_its_requests_and_the_full_one_is_named() {
    let world = two_workers(|draft| {
        draft.configuration()["limits"] = json!([
            {"name": "per-key", "each": "key", "requests": "20/hour"},
            {"name": "per-team", "each": "team", "requests": "30/hour"},
            {"name": "per-organisation", "each": "organisation", "requests": "40/hour"},
        ]);
        let of = |client: &str, team: &str| Client {
            team: Some(team.to_owned()),
            organisation: Some("acme-inc".to_owned()),
            ..named(client)
        };
        let auth = draft.services.auth();
        auth.insert_key("one", of("alice", "blue"));
        auth.insert_key("two", of("alice", "blue"));
        auth.insert_key("three", of("carol", "red"));
    })
    .await;
    let ask = |key| {
        (0..4 * N)
            .map(|_| world.get(NOTES).key(key))
            .collect::<Vec<_>>()
    };

    assert_eq!(admitted_of_each(&world, [ask("one")]).await, [20]);
    assert_eq!(admitted_of_each(&world, [ask("two")]).await, [10]);
    assert_eq!(admitted_of_each(&world, [ask("three")]).await, [10]);

    for (key, policies, told) in [
        (
            "one",
            json!(["per-key", "per-team", "per-organisation"]),
            "(per team)",
        ),
        ("three", json!(["per-organisation"]), "(per organisation)"),
    ] {
        let refused = world.get(NOTES).key(key).send().await.json();
        assert_eq!(refused["violated-policies"], policies);
        let detail = refused["detail"].as_str().expect("text");
        assert!(detail.contains(told), "{detail}");
    }
}

#[tokio::test]
async fn a_limit_per_agent_plan_and_header_counts_what_its_match_names() {
    let world = two_workers(|draft| {
        draft.configuration()["limits"] = json!([
            {"name": "special", "each": ["agent", "plan", {"header": "x-tenant"}], "requests": N_AN_HOUR,
             "match": {"method": "GET", "header": {"x-tier": ["gold", "silver"]}}},
        ]);
    })
    .await;
    let ask = |key: &'static str, tenant: &'static str, tier: &'static str| {
        let ask = |_| {
            world
                .get(NOTES)
                .key(key)
                .header("x-tenant", tenant)
                .header("x-tier", tier)
        };
        (0..2 * N).map(ask).collect::<Vec<_>>()
    };

    let admitted = admitted_of_each(
        &world,
        [
            ask("demo-standard", "one", "gold"),
            ask("demo-standard", "two", "silver"),
            ask("demo-premium", "one", "gold"),
            ask("demo-standard", "one", "bronze"),
        ],
    )
    .await;

    assert_eq!(admitted, [N, N, N, 2 * N]);
}

#[tokio::test]
async fn a_clients_own_limits_from_the_validator_stand_in_place_of_its_plans() {
    let world = two_workers(|draft| {
        draft.configuration()["plans"]["standard"] = json!({
            "requests": "5/hour",
            "limits": [{"name": "weekly", "each": "client", "requests": "4/day"}],
        });
        let own = json!({"requests": "9/hour", "limits": [
            {"name": "own", "requests": "7/month", "algorithm": "fixed_window"},
        ]});
        let auth = draft.services.auth();
        auth.insert_key("usual", named("usual").plan("standard"));
        auth.insert_key(
            "own",
            Client {
                limits: Some(own),
                ..named("own").plan("standard")
            },
        );
        auth.insert_key(
            "free",
            Client {
                limits: Some(json!({})),
                ..named("free").plan("standard")
            },
        );
        let broken = Some(json!({"requests": "sk-secret"}));
        auth.insert_key(
            "broken",
            Client {
                limits: broken,
                ..named("broken")
            },
        );
    })
    .await;
    let ask = |key| {
        (0..4 * N)
            .map(|_| world.get(NOTES).key(key))
            .collect::<Vec<_>>()
    };

    let admitted = admitted_of_each(&world, [ask("usual"), ask("own"), ask("free")]).await;

    assert_eq!(admitted, [4, 7, 4 * N]);
    let refused = world.get(NOTES).key("own").send().await;
    let policies = r#""plan";q=9;w=3600, "own";q=7;w=2678400"#;
    assert_eq!(refused.header("ratelimit-policy"), Some(policies));
    let broken = world.get(NOTES).key("broken").send().await;
    assert_eq!(
        (broken.status, broken.refusal().as_str()),
        (503, "validator_unavailable")
    );
    let log = world.gateway().envoy_log();
    assert!(
        log.contains("limits: requests is not what a plan may have there"),
        "{log}"
    );
    assert!(!log.contains("sk-secret"), "{log}");
}

#[tokio::test]
async fn limits_warn_and_shadow_without_refusing_and_say_so_in_metrics() {
    let world = two_workers(|draft| {
        draft.configuration()["limits"] = json!([
            {"name": "soft", "each": "client", "requests": "10/hour", "warn_at": "80%"},
            {"name": "planned", "each": "client", "requests": "4/hour", "enforce": false},
            {"name": "begun", "each": "client", "requests": "1/hour", "enforce": "0%"},
        ]);
    })
    .await;

    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(world.get(NOTES).key("demo-standard").send().await);
    }

    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [vec![200; 10], vec![429; 2]].concat());
    for (number, answer) in (1..).zip(&answers) {
        let warned = answer.header("x-waykeeper-limit-warning");
        let expected = (8..=10).contains(&number).then_some("soft");
        assert_eq!(warned, expected, "{number}");
        assert_eq!(
            answer.header("ratelimit-policy"),
            Some(r#""soft";q=10;w=3600"#)
        );
    }
    let metrics = world.metrics().await;
    for (name, limit, times) in [
        ("waykeeper_limit_warnings_total", "soft", 3.0),
        // What is refused takes nothing of any limit.
        ("waykeeper_limit_would_refuse_total", "planned", 8.0),
        ("waykeeper_limit_would_refuse_total", "begun", 11.0),
    ] {
        let counted = metrics.sum(name, &[("limit", limit)]);
        assert!((counted - times).abs() < 0.5, "{name} {limit}: {counted}");
    }
}

// ------------------------------------------------------------------------------------------------ while the time runs

#[tokio::test]
async fn eight_workers_admit_no_more_than_flows_in() {
    let world = World::with(|draft| {
        draft.workers(8);
        draft.configuration()["limits"] = json!([]);
        draft.configuration()["plans"]["standard"] = json!({"requests": "200/second", "burst": 20});
    })
    .await;

    let (admitted, took) = rush(&world, &["demo-standard"]).await;

    let most = most(20, 200, took);
    println!("{admitted} of {most} in {took:?}");
    assert!(admitted > 20 && admitted <= most, "{admitted} of {most}");
}

#[tokio::test]
async fn limits_in_several_cells_admit_no_more_than_flows_in() {
    let world = two_workers(|draft| {
        draft.configuration()["plans"] = json!({
            "standard": {"requests": "150/second", "burst": 15},
            "premium": {"requests": "150/second", "burst": 15},
        });
        draft.configuration()["limits"] = json!([
            {"name": "everyone", "each": [], "requests": "250/second", "burst": 30},
            {"name": "on-route", "each": "route", "requests": "200/second", "burst": 20},
            {"name": "client", "each": "client", "requests": "140/second", "burst": 20},
        ]);
    })
    .await;

    let (admitted, took) = rush(&world, &["demo-standard", "demo-premium"]).await;

    // The route's is the tightest of them.
    let most = most(20, 200, took);
    println!("{admitted} of {most} in {took:?}");
    assert!(admitted > 20 && admitted <= most, "{admitted} of {most}");
}

#[tokio::test]
async fn a_limit_of_seconds_holds_beside_many_limits_of_days() {
    let world = World::with(|draft| {
        draft.configuration()["tables"] = json!({"counters": 1024});
        draft.configuration()["plans"]["standard"] = json!({"requests": "5/second"});
        draft.configuration()["limits"] = (0..32)
            .map(|number| json!({"name": format!("day-{number}"), "each": "client", "requests": "100/day"}))
            .collect();
    })
    .await;

    for _ in 0..3 {
        let mut admitted = 0;
        let refused = loop {
            let answer = world.get(NOTES).key("demo-standard").send().await;
            if answer.status != 200 {
                break answer;
            }
            admitted += 1;
        };
        assert!(admitted >= 5, "{admitted}");
        assert_eq!(refused.json()["violated-policies"], json!(["plan"]));
        assert_eq!(refused.header("retry-after"), Some("1"));
        sleep_until(Instant::now() + Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn windows_admit_exactly_their_requests_over_two_workers() {
    let world = two_workers(|draft| {
        draft.configuration()["limits"] = json!([]);
        draft.configuration()["plans"] = json!({
            "standard": {"requests": "20/month", "algorithm": "fixed_window", "utc_offset": "+05:30"},
            "premium": {"requests": "20/day", "algorithm": "sliding_window"},
        });
    })
    .await;
    let ask = |key| (0..4 * N).map(|_| world.get(NOTES).key(key)).collect();

    let admitted = admitted_of_each(&world, [ask("demo-standard"), ask("demo-premium")]).await;

    assert_eq!(admitted, [N, N]);
    let refused = world.get(NOTES).key("demo-standard").send().await;
    assert_eq!(refused.status, 429);
    // A month has no fixed number of seconds: its longest is told.
    assert_eq!(
        refused.header("ratelimit-policy"),
        Some(r#""plan";q=20;w=2678400"#)
    );
    let next = Standing::of(&refused).next;
    assert!(next > 0 && next <= 31 * 86_400, "{next}");
}

#[tokio::test]
async fn windows_of_seconds_open_again_as_time_passes() {
    let world = two_workers(|draft| {
        draft.configuration()["limits"] = json!([]);
        draft.configuration()["plans"] = json!({
            "standard": {"requests": "5/second", "algorithm": "fixed_window"},
            "premium": {"requests": "5/second", "algorithm": "sliding_window"},
        });
    })
    .await;
    let second = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a time")
            .as_secs()
    };

    // When each request was begun and answered, in seconds, and whether it was admitted.
    let mut asked = [("demo-standard", Vec::new()), ("demo-premium", Vec::new())];
    // However slow this machine is: until a window of each was full and has opened again, a few times.
    let opened = |asked: &[(u64, u64, bool)]| {
        let pairs = asked.windows(2);
        pairs.filter(|pair| !pair[0].2 && pair[1].2).count()
    };
    let deadline = Instant::now() + PATIENCE;
    while asked.iter().any(|(_, asked)| opened(asked) < 4) {
        assert!(Instant::now() < deadline, "{asked:?}");
        for (key, asked) in &mut asked {
            let begun = second();
            let answer = world.get(NOTES).key(key).send().await;
            match answer.status {
                200 => {}
                // Of a sliding window it may be the next one that has room.
                429 => assert!(
                    matches!(answer.header("retry-after"), Some("1" | "2")),
                    "{key}"
                ),
                other => panic!("{key}: {other}"),
            }
            asked.push((begun, second(), answer.status == 200));
        }
    }

    for (key, asked) in &asked {
        let (first, last) = (asked[0].0, asked[asked.len() - 1].1);
        let admitted = asked.iter().filter(|it| it.2);
        let number = admitted.clone().count() as u64;
        println!("{key}: {number} of {} in {} s", asked.len(), last - first);
        assert!(number <= 5 * (last - first + 1), "{key}: {asked:?}");
        for (begun, ended, _) in asked.iter().filter(|it| !it.2) {
            // Whoever is refused finds a full window: its own, or for a sliding one part of that before, too.
            let from = begun - u64::from(*key == "demo-premium");
            let may_count = admitted.clone().filter(|it| it.1 >= from && it.0 <= *ended);
            assert!(may_count.count() >= 5, "{key} {begun}: {asked:?}");
        }
        for window in first..=last {
            let within = admitted
                .clone()
                .filter(|it| (it.0, it.1) == (window, window));
            assert!(within.count() <= 5, "{key} {window}: {asked:?}");
        }
    }
}

// --------------------------------------------------------------------------------------------- what the caller is told

#[tokio::test]
async fn an_allowed_response_tells_how_the_tightest_limit_stands() {
    let world = World::start().await;

    let first = world.get(NOTES).key("demo-standard").send().await;
    let premium = world.get(NOTES).key("demo-premium").send().await;

    assert_eq!(
        told(&first),
        [
            r#""plan";q=50;w=60, "per-address";q=1000;w=60"#,
            r#""plan";r=49;t=2"#,
            "50",
            "49",
            "2s",
        ]
    );
    // A plan's burst is what can go at once.
    assert_eq!(
        told(&premium),
        [
            r#""plan";q=500;w=60, "per-address";q=1000;w=60"#,
            r#""plan";r=99;t=1"#,
            "500",
            "99",
            "120ms",
        ]
    );
}

#[tokio::test]
async fn a_refused_response_tells_when_to_come_back() {
    let world = World::with(|draft| {
        draft.route("/api/v1/memory")["rate_limit"] = json!({"requests": "2/hour"});
    })
    .await;
    let ask = || world.get(NOTES).key("demo-standard").send();

    let before = Instant::now();
    let answers = [ask().await, ask().await, ask().await];
    let seconds_passed = before.elapsed().as_secs() + 1;

    assert_eq!(
        answers.each_ref().map(|answer| answer.status),
        [200, 200, 429]
    );
    for (answer, remaining) in answers.iter().zip([1, 0, 0]) {
        let policies = r#""plan";q=50;w=60, "route";q=2;w=3600, "per-address";q=1000;w=60"#;
        assert_eq!(answer.header("ratelimit-policy"), Some(policies));
        let standing = Standing::of(answer);
        assert_eq!(
            (standing.limit.as_str(), standing.remaining),
            ("route", remaining)
        );
        assert!(standing.next <= 1800 && standing.next >= 1800 - seconds_passed);
        assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("2"));
    }
    let [first, second, refused] = &answers;
    assert_eq!(first.header("x-ratelimit-reset-requests"), Some("30m0s"));
    assert_eq!(second.header("x-ratelimit-remaining-requests"), Some("0"));
    assert_eq!(first.header("retry-after"), None);
    assert_eq!(second.header("retry-after"), None);

    assert_eq!(refused.refusal(), "rate_limited");
    let next = Standing::of(refused).next.to_string();
    assert_eq!(refused.header("retry-after"), Some(next.as_str()));
    let problem = refused.json();
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );
    assert_eq!(problem["violated-policies"], json!(["route"]));
    assert_eq!(problem["error"]["type"], "rate_limit_error");
    let detail = problem["detail"].as_str().expect("text");
    assert!(
        detail.contains("\"route\"") && detail.contains(&next),
        "{detail}"
    );
}

#[tokio::test]
async fn of_limits_that_leave_as_much_the_slower_one_is_told() {
    let world = World::with(|draft| {
        draft.configuration()["limits"] = json!([]);
        draft.configuration()["plans"]["standard"] = json!({"requests": "5/minute"});
        draft.route("/api/v1/memory")["rate_limit"] = json!({"requests": "5/hour"});
        draft.route(SEARCH)["rate_limit"] = json!({"requests": "50/hour", "burst": 4});
    })
    .await;

    let notes = world.get(NOTES).key("demo-standard").send().await;
    let search = world.post(SEARCH).key("demo-standard").send().await;

    assert_eq!(notes.header("ratelimit"), Some(r#""route";r=4;t=720"#));
    // Three are left of either; the route's fourth comes after 72 seconds, the plan's after less than 12.
    assert_eq!(search.header("ratelimit"), Some(r#""route";r=3;t=72"#));
}

#[tokio::test]
async fn an_agents_own_limits_give_way_on_limited_routes_only() {
    let puppet = Puppet::listen().await;
    let world = World::with(|draft| {
        draft.configuration()["limits"] = json!([]);
        draft.configuration()["plans"] = json!({"standard": {}, "premium": {}});
        draft.route(SEARCH)["rate_limit"] = json!({"requests": "5/hour"});
        for cluster in ["memory", "rag"] {
            draft.connect(cluster, &[puppet.address()]);
        }
    })
    .await;
    let agents_own = FIELDS.map(|name| format!("{name}: 7\r\n")).concat();
    let response =
        format!("HTTP/1.1 200 OK\r\n{agents_own}content-length: 0\r\nconnection: close\r\n\r\n");
    let ask = async |path: &str| {
        let asked = tokio::spawn(world.post(path).key("demo-standard").send());
        let mut exchange = puppet.accept().await;
        exchange.read_until("\r\n\r\n").await;
        exchange.write(&response).await;
        asked.await.expect("the caller")
    };

    let limited = ask(SEARCH).await;
    let unlimited = ask(NOTES).await;

    assert_eq!(
        told(&limited),
        [
            r#""route";q=5;w=3600"#,
            r#""route";r=4;t=720"#,
            "5",
            "4",
            "12m0s"
        ]
    );
    assert_eq!(told(&unlimited), ["7"; 5]);
}

// ------------------------------------------------------------------------------------------------- what counts for whom

#[tokio::test]
async fn a_refused_request_takes_nothing_from_other_limits() {
    let world = World::with(|draft| {
        draft.configuration()["limits"] =
            json!([{"name": "everyone", "each": [], "requests": "7/hour"}]);
        draft.configuration()["plans"]["standard"] = json!({"requests": "5/hour"});
        draft.route(SEARCH)["rate_limit"] = json!({"requests": "2/hour"});
    })
    .await;
    let search = || world.post(SEARCH).key("demo-standard").send();
    let notes = |key: &str| world.get(NOTES).key(key).send();

    for _ in 0..2 {
        assert_eq!(search().await.status, 200);
    }
    for _ in 0..10 {
        let refused = search().await;
        assert_eq!(refused.status, 429);
        // What is told of a refusal holds after it too.
        assert_eq!(Standing::of(&refused).remaining, 0);
    }

    // Of the plan's five two are gone, and of everyone's seven as well.
    let standing = Standing::of(&notes("demo-standard").await);
    assert_eq!((standing.limit.as_str(), standing.remaining), ("plan", 2));
    let standing = Standing::of(&notes("demo-premium").await);
    assert_eq!(
        (standing.limit.as_str(), standing.remaining),
        ("everyone", 3)
    );

    // Nor does everyone's take from the plan when it is full.
    for _ in 0..3 {
        assert_eq!(notes("demo-premium").await.status, 200);
    }
    for _ in 0..5 {
        let refused = notes("demo-standard").await;
        assert_eq!(refused.json()["violated-policies"], json!(["everyone"]));
        assert!(
            refused
                .header("ratelimit-policy")
                .is_some_and(|policies| policies.starts_with(r#""plan";q=5;w=3600"#))
        );
    }
}

#[tokio::test]
async fn the_keys_of_one_client_count_together_and_each_plan_is_its_own() {
    let world = World::with(|draft| {
        draft.configuration()["plans"]["standard"] = json!({"requests": "4/hour"});
        draft.configuration()["plans"]["premium"] = json!({"requests": "6/hour"});
        let auth = draft.services.auth();
        auth.insert_key("first", named("twin"));
        auth.insert_key("second", named("twin"));
        // Of the configuration, without a plan as well.
        let sha256: String = KeyHash::of(b"listed")
            .0
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        draft.configuration()["clients"]["keys"] =
            json!([{"sha256": sha256, "client_id": "listed"}]);
    })
    .await;
    let remaining = async |key: &str| {
        let answer = world.get(NOTES).key(key).send().await;
        assert_eq!(answer.status, 200, "{key}: {}", answer.text());
        Standing::of(&answer).remaining
    };

    assert_eq!(remaining("first").await, 3);
    assert_eq!(remaining("second").await, 2);
    assert_eq!(remaining("demo-standard").await, 3);
    assert_eq!(remaining("listed").await, 3);
    assert_eq!(remaining("demo-premium").await, 5);
    // Another client of the same plan.
    assert_eq!(remaining("demo-admin").await, 5);
    assert_eq!(remaining("first").await, 1);
}

#[tokio::test]
async fn whoever_has_no_key_is_counted_by_address() {
    let world = World::with(|draft| {
        behind_a_proxy(draft);
        limit(draft, json!("client"), "3/hour");
        let route = draft.route("/api/v1/memory");
        route["auth_required"] = json!(false);
        route["rate_limit"] = json!({"requests": "2/hour"});
        draft.route(SEARCH)["auth_required"] = json!(false);
    })
    .await;
    let status = async |path: &str, address: &str| {
        let request = world.post(path).header("x-forwarded-for", address);
        request.send().await.status
    };

    for expected in [200, 200, 429] {
        assert_eq!(status(NOTES, "192.0.2.1").await, expected);
    }
    // One is left per client, here per address, whatever the route.
    for expected in [200, 429] {
        assert_eq!(status(SEARCH, "192.0.2.1").await, expected);
    }
    assert_eq!(status(NOTES, "192.0.2.2").await, 200);
    // Whoever has a key is counted by that, wherever it calls from.
    let known = world
        .get(NOTES)
        .header("x-forwarded-for", "192.0.2.1")
        .key("demo-standard");
    assert_eq!(known.send().await.status, 200);
}

#[tokio::test]
async fn ipv6_addresses_count_by_their_network() {
    let world = World::with(|draft| {
        behind_a_proxy(draft);
        limit(draft, json!("address"), "2/hour");
    })
    .await;
    let remaining = async |address: &str| {
        let request = world.get(NOTES).key("demo-premium");
        let answer = request.header("x-forwarded-for", address).send().await;
        (answer.status, Standing::of(&answer).remaining)
    };

    assert_eq!(remaining("2001:db8::1").await, (200, 1));
    assert_eq!(remaining("2001:db8::ffff:2").await, (200, 0));
    assert_eq!(remaining("2001:db8:0:0:1::").await, (429, 0));
    assert_eq!(remaining("2001:db8:0:1::1").await, (200, 1));
}

#[tokio::test]
async fn the_gate_tells_even_those_whom_it_lets_in_and_others_refuse() {
    let world = World::with(|draft| limit(draft, json!("address"), "3/hour")).await;

    let no_key = world.get(NOTES).send().await;
    let wrong_key = world.get(NOTES).key("unheard-of").send().await;
    let served = world.get(NOTES).key("demo-premium").send().await;
    let refused = world.get(NOTES).key("demo-premium").send().await;

    let told = [no_key, wrong_key, served, refused].map(|answer| {
        let policy = answer.header("ratelimit-policy").map(str::to_owned);
        assert_eq!(policy.as_deref(), Some(r#""special";q=3;w=3600"#));
        (answer.status, Standing::of(&answer).remaining)
    });
    assert_eq!(told, [(401, 2), (401, 1), (200, 0), (429, 0)]);
}

// ------------------------------------------------------------------------------------------------------- as time passes

#[tokio::test]
async fn whoever_is_refused_is_told_to_wait_for_every_limit_that_is_empty() {
    let world = World::with(|draft| {
        behind_a_proxy(draft);
        limit(draft, json!("address"), "2/hour");
        draft.configuration()["plans"]["standard"] = json!({"requests": "1/minute"});
        draft.route("/api/v1/chat/ws")["agents"] = json!([{"agent": "chat-gpu", "weight": 0}]);
        draft.lead("rag", &[]);
    })
    .await;
    let from = |address: &str, request: Request| request.header("x-forwarded-for", address);
    let wait = |answer: &Answer| -> u64 {
        let told = answer.header("retry-after").expect("a time");
        told.parse().expect("seconds")
    };
    let hour = 1700..=1800;

    // The last token of the gate goes with the request that the plan refuses.
    from("192.0.2.1", world.get(NOTES))
        .key("demo-standard")
        .send()
        .await;
    let refused = from("192.0.2.1", world.get(NOTES))
        .key("demo-standard")
        .send()
        .await;
    assert_eq!(refused.refused(), (429, "rate_limited".to_owned()));
    assert!(hour.contains(&wait(&refused)), "{refused:?}");
    let detail = refused.json()["detail"].to_string();
    assert!(
        detail.contains(&format!(" {} seconds", wait(&refused))),
        "{detail}"
    );
    let told = refused.header("ratelimit").expect("a limit");
    assert_eq!(told, format!("\"special\";r=0;t={}", wait(&refused)));

    // Refused by the validator's failure, by the agent itself, and by Envoy, which finds no agent; each time the gate is
    // empty for half an hour.
    let empty = |address: &'static str| from(address, world.get("/nowhere")).send();
    for address in ["192.0.2.2", "192.0.2.3", "192.0.2.4"] {
        assert_eq!(empty(address).await.status, 404);
    }
    world.auth().set_fault(Fault::status(500));
    let unknown = from("192.0.2.2", world.get(NOTES))
        .key("nobody-knows")
        .send()
        .await;
    world.auth().clear_fault();
    assert_eq!(unknown.refused(), (503, "validator_unavailable".to_owned()));
    let notes = from("192.0.2.3", world.get(NOTES)).key("demo-premium");
    let agents = notes.header("x-demo-status", "503").send().await;
    assert_eq!(
        (agents.status, agents.header("x-demo-agent")),
        (503, Some("memory"))
    );
    let search = from("192.0.2.4", world.post("/api/v1/search"));
    let envoys = search.key("demo-premium").send().await;
    assert_eq!(envoys.refused(), (503, "agent_unreachable".to_owned()));
    for answer in [unknown, agents, envoys] {
        assert!(hour.contains(&wait(&answer)), "{answer:?}");
        assert_eq!(answer.header("x-should-retry"), Some("false"), "{answer:?}");
    }
    // Who may come back is not kept away.
    let other = from("192.0.2.6", world.post("/api/v1/search"));
    let envoys = other.key("demo-premium").send().await;
    assert_eq!(wait(&envoys), 1);
    // An agent's own answer passes as it is.
    for (address, status) in [("192.0.2.7", "429"), ("192.0.2.8", "503")] {
        let own = from(address, world.post("/api/v1/chat")).key("demo-premium");
        let agents = own.header("x-demo-status", status).send().await;
        assert_eq!(agents.status.to_string(), status);
        assert_eq!(agents.header("retry-after"), None, "{status}");
    }
}

#[tokio::test]
async fn a_burst_goes_at_once_and_no_more() {
    let mut world = World::with(|draft| {
        draft.configuration()["plans"]["standard"] = json!({"requests": "60/hour", "burst": 3});
    })
    .await;
    let ask = || world.get(NOTES).key("demo-standard").send();

    for remaining in [2, 1, 0] {
        let answer = ask().await;
        assert_eq!(answer.status, 200);
        assert_eq!(Standing::of(&answer).remaining, remaining);
        assert!(
            answer
                .header("ratelimit-policy")
                .is_some_and(|policies| policies.starts_with(r#""plan";q=60;w=3600"#))
        );
    }
    let refused = ask().await;
    assert_eq!(refused.status, 429);
    assert!(Standing::of(&refused).next <= 60);

    // The limit that is told is no smaller than what remains.
    for (burst, limit) in [(3, 60), (100, 100)] {
        world
            .reconfigure(|now| {
                now["plans"]["premium"] = json!({"requests": "60/hour", "burst": burst});
            })
            .await;
        let served = eventually("the burst", || async {
            let served = world.get(NOTES).key("demo-premium").send().await;
            let told = served.header("x-ratelimit-limit-requests");
            (told == Some(&*limit.to_string())).then_some(served)
        })
        .await;
        let policies = served.header("ratelimit-policy");
        assert!(policies.is_some_and(|it| it.starts_with(r#""plan";q=60;w=3600"#)));
        assert!(Standing::of(&served).remaining < burst.min(limit));
    }
}

#[tokio::test]
async fn whoever_comes_back_when_told_is_admitted() {
    let world = World::with(|draft| {
        draft.configuration()["plans"]["standard"] = json!({"requests": "30/minute", "burst": 1});
    })
    .await;
    let begin = Instant::now();
    let mut admitted = 0;

    // However slow this machine is: whenever one is refused, it is admitted at the moment that it was told.
    let mut waited = 0;
    while waited < 2 {
        let answer = world.get(NOTES).key("demo-standard").send().await;
        if answer.status == 200 {
            admitted += 1;
            continue;
        }
        assert_eq!(answer.status, 429);
        let told = answer.header("retry-after").expect("a time");
        sleep_until(Instant::now() + Duration::from_secs(told.parse().expect("seconds"))).await;
        let again = world.get(NOTES).key("demo-standard").send().await;
        assert_eq!(again.status, 200, "told {told}: {}", again.text());
        admitted += 1;
        waited += 1;
    }

    // One at once, and then one every two seconds.
    let most = 1 + begin.elapsed().as_secs() / 2;
    assert!(admitted <= most, "{admitted} in {:?}", begin.elapsed());
}

// --------------------------------------------------------------------------------------------------------------- tools

/// How a limit stands, as `RateLimit` tells it.
struct Standing {
    limit: String,
    remaining: u64,
    next: u64,
}

impl Standing {
    fn of(answer: &Answer) -> Self {
        let field = answer.header("ratelimit").expect("no RateLimit");
        let read = || {
            let (limit, rest) = field.strip_prefix('"')?.split_once("\";r=")?;
            let (remaining, next) = rest.split_once(";t=")?;
            Some(Self {
                limit: limit.to_owned(),
                remaining: remaining.parse().ok()?,
                next: next.parse().ok()?,
            })
        };
        let standing = read().unwrap_or_else(|| panic!("RateLimit: {field}"));
        let remaining = standing.remaining.to_string();
        assert_eq!(
            answer.header("x-ratelimit-remaining-requests"),
            Some(remaining.as_str())
        );
        standing
    }
}

/// All that a response tells of limits, in the order of [`FIELDS`].
fn told(answer: &Answer) -> [&str; 5] {
    FIELDS.map(|name| answer.header(name).unwrap_or_default())
}

/// A client that the validator knows by nothing but its name.
fn named(client_id: &str) -> Client {
    Client {
        client_id: client_id.to_owned(),
        ..Client::default()
    }
}

/// Two workers and no limit but what `change` adds.
async fn two_workers(change: impl FnOnce(&mut Draft)) -> World {
    World::with(|draft| {
        draft.workers(2);
        draft.configuration()["limits"] = json!([]);
        draft.configuration()["plans"] = json!({"standard": {}, "premium": {}});
        draft.route(SEARCH)["rate_limit"] = json!({"requests": "1000000/minute"});
        change(draft);
    })
    .await
}

/// No limit but this one, called `special`.
fn limit(draft: &mut Draft, each: Value, requests: &str) {
    draft.configuration()["plans"] = json!({"standard": {}, "premium": {}});
    draft
        .route(SEARCH)
        .as_object_mut()
        .expect("a route")
        .remove("rate_limit");
    draft.configuration()["limits"] =
        json!([{"name": "special", "each": each, "requests": requests}]);
}

/// Envoy believes the caller what address a request comes from, as it does a proxy before it.
fn behind_a_proxy(draft: &mut Draft) {
    draft.connection_manager()["xff_num_trusted_hops"] = json!(1);
}

/// Asks with all these keys for notes, as fast as the gateway answers, and says how many requests were admitted and in
/// what time: from the arrival of the first of them to the end of the last.
async fn rush(world: &World, keys: &[&str]) -> (usize, Duration) {
    let address = world.address();
    let mut running = JoinSet::new();
    for key in keys {
        let mut h2load = Command::new("h2load");
        h2load
            .args(["--duration=3", "--clients=24", "--max-concurrent-streams=8"])
            .arg(format!("--header=x-api-key: {key}"))
            .arg(format!("http://{address}{NOTES}"));
        running.spawn(async move {
            h2load
                .output()
                .await
                .expect("h2load: run `make bench-tools`")
        });
    }
    for ended in running.join_all().await {
        assert!(ended.status.success(), "{ended:?}");
    }
    // Envoy goes on for a moment with what it has read.
    let times = eventually("the end of the rush in the access log", || async {
        let metrics = world.metrics().await;
        let of = |outcome| metrics.sum("waykeeper_requests_total", &[("outcome", outcome)]);
        let left = [("outcome", "caller_left"), ("agent", "memory")];
        let admitted = of("allowed") + metrics.sum("waykeeper_requests_total", &left);
        assert!(of("rate_limited") > admitted, "there was no rush");
        let log = world.gateway().access_log();
        let times: Vec<(u64, u64)> = log.lines().filter_map(begin_and_end).collect();
        (times.len() == admitted as usize).then_some(times)
    })
    .await;
    let first = times.iter().map(|(begin, _)| *begin).min();
    let last = times.iter().map(|(_, end)| *end).max();
    let took = last.zip(first).map(|(last, first)| last - first);
    (times.len(), Duration::from_millis(took.expect("a request")))
}

/// When an admitted request began and ended, in milliseconds of its day, by its line of the access log.
fn begin_and_end(line: &str) -> Option<(u64, u64)> {
    let line: Value = serde_json::from_str(line).ok()?;
    // Whoever has asked no limit, or met one, is of no interest.
    if line["details"].as_str()?.starts_with("waykeeper_") || line["client"].is_null() {
        return None;
    }
    let clock = line["time"]
        .as_str()?
        .split_once('T')?
        .1
        .strip_suffix('Z')?;
    let (minutes, seconds) = clock.rsplit_once(':')?;
    let (hour, minute) = minutes.split_once(':')?;
    let minutes = hour.parse::<u64>().ok()? * 60 + minute.parse::<u64>().ok()?;
    let begin = minutes * 60_000 + (seconds.parse::<f64>().ok()? * 1000.0).round() as u64;
    Some((begin, begin + line["milliseconds"].as_u64()?))
}

/// The most that a limit lets pass in this time.
fn most(burst: u128, a_second: u128, took: Duration) -> usize {
    usize::try_from(burst + took.as_nanos() * a_second / 1_000_000_000).expect("a number")
}

/// Sends all requests at once, over both workers, and says how many of each list were admitted. The others met a full
/// limit.
async fn admitted_of_each<const LISTS: usize>(
    world: &World,
    requests: [Vec<Request>; LISTS],
) -> [usize; LISTS] {
    let mut answers = JoinSet::new();
    let mut lists = requests.map(Vec::into_iter);
    loop {
        let before = answers.len();
        for (list, requests) in lists.iter_mut().enumerate() {
            if let Some(request) = requests.next() {
                answers.spawn(async move { (list, request.send().await) });
            }
        }
        if answers.len() == before {
            break;
        }
    }
    let mut admitted = [0; LISTS];
    for (list, answer) in answers.join_all().await {
        match answer.status {
            200 => admitted[list] += 1,
            _ => assert_eq!(answer.refused(), (429, "rate_limited".to_owned())),
        }
    }
    for worker in ["worker_0", "worker_1"] {
        let connections = format!("listener.127.0.0.1_0.{worker}.downstream_cx_total");
        let connections = world.gateway().admin().stat(&connections).await;
        assert_ne!(
            connections.expect("a statistic"),
            0,
            "{worker} had nothing to do"
        );
    }
    admitted
}
