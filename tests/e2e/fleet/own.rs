//! A client's own limits, by the validator's word, in flight and for all gateways.

use serde_json::json;
use waykeeper_demo::auth::Client;

use super::{Fleet, NOTES, limiter};
use crate::harness::{Answer, free_address};

#[tokio::test]
async fn a_clients_own_limits_are_in_place_of_its_plans_in_flight_and_in_the_fleet() {
    let at = free_address();
    let _limiter = limiter(at, &[]).await;
    let plan = json!({"requests": "3/month", "scope": "fleet"});
    let own = json!({
        "in_flight": 2,
        "limits": [{"name": "mine", "requests": "9/month", "scope": "fleet"}],
    });
    let fleet = Fleet::of(2, at, &plan, &json!({}), |draft| {
        draft.route("/api/v1/memory")["timeout"] = json!("300s");
        let client = Client {
            client_id: "owner".to_owned(),
            plan: Some("standard".to_owned()),
            limits: Some(own.clone()),
            ..Client::default()
        };
        draft.services.auth().insert_key("own", client);
    })
    .await;
    let ask = |number: usize| fleet.0[number % 2].get(NOTES).key("own");

    // Two at a time of each gateway: four of the month's nine. What finds no place takes nothing of them.
    let mut held = Vec::new();
    for number in 0..4 {
        let long = ask(number).header("x-demo-interval", "100ms");
        let begun = long.header("x-demo-events", "1000").begin().await;
        assert_eq!(begun.status, 200);
        held.push(begun);
    }
    for number in 0..6 {
        let answer = ask(number).send().await;
        assert_eq!(answer.refused(), (429, "too_many_in_flight".to_owned()));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(detail(&answer).contains(r#""in-flight" (per client)"#));
    }
    drop(held);

    let mut left = Vec::new();
    let full = loop {
        let answer = ask(left.len()).send().await;
        match answer.status {
            200 => {
                assert!(left.len() < 5, "more than nine");
                left.push(answer);
            }
            // Those who have left may not be gone yet.
            429 if answer.refusal() == "too_many_in_flight" => {}
            _ => break answer,
        }
    };
    for (number, answer) in left.iter().enumerate() {
        let policy = answer.header("ratelimit-policy").unwrap_or_default();
        assert!(policy.starts_with(r#""mine";q=9;w="#), "{policy}");
        assert!(!policy.contains("plan"), "{policy}");
        let remaining = (4 - number).to_string();
        let told = answer.header("x-ratelimit-remaining-requests");
        assert_eq!(told, Some(remaining.as_str()));
    }
    assert_eq!(left.len(), 5);
    assert_eq!(full.refused(), (429, "rate_limited".to_owned()));
    assert!(detail(&full).contains(r#""mine" (per client)"#));
    assert!(!detail(&full).contains("plan"));
    let told = full.header("ratelimit").unwrap_or_default();
    assert!(told.starts_with(r#""mine";r=0;t="#), "{told}");
    assert_eq!(full.header("x-ratelimit-limit-requests"), Some("9"));
    let wait = full.header("retry-after").unwrap_or_default();
    assert!(wait.parse::<u64>().is_ok_and(|wait| wait > 0), "{wait}");

    // Its plan's are others': as many as the plan says, whatever the owner has used.
    assert_eq!(fleet.crowd(20).await, (3, 17));
}

fn detail(answer: &Answer) -> String {
    let problem = answer.json();
    problem["detail"].as_str().unwrap_or_default().to_owned()
}
