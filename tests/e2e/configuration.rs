//! The filter's configuration in Envoy's hands: what is unusable is refused with its place and reason, at the start and
//! later; what is good takes effect while Envoy runs.

use serde_json::json;
use waykeeper_demo::gateway::{Discovery, StartError};

use crate::harness::{World, eventually};

const NOTES: &str = "/api/v1/memory/notes";

#[tokio::test]
async fn envoy_does_not_start_with_an_unusable_configuration_and_says_all_that_is_wrong() {
    let started = World::try_with(|draft| {
        draft.setup.discovery = Discovery::Bootstrap;
        draft.configuration()["plans"]["standard"]["requests"] = json!("fifty a minute");
        draft.route("/api/v1/memory")["agents"] = json!(["memroy"]);
        draft.configuration()["limits"][0]["eech"] = json!("address");
    })
    .await;

    let Err(StartError::Ended { status, log }) = started else {
        panic!("envoy runs");
    };
    assert!(!status.success());
    // Before all that anybody complains of.
    let first = log.lines().find(|line| !line.contains("[info]"));
    let first = first.unwrap_or_default();
    assert!(
        first.contains("limits[0].eech: unknown field; did you mean \"each\"?"),
        "{log}"
    );
    for told in [
        "plans.standard.requests: expected a rate",
        "routes[6].agents[0]: no agent named \"memroy\"; did you mean \"memory\"?",
    ] {
        assert!(log.contains(told), "{told} is not in:\n{log}");
    }
}

#[tokio::test]
async fn a_good_change_takes_effect_without_a_restart() {
    let mut world = World::with(|draft| draft.workers(2)).await;
    let process = world.gateway().process_id();
    assert_eq!(
        world
            .get("/new/notes")
            .key("demo-premium")
            .send()
            .await
            .status,
        404
    );

    world
        .reconfigure(|configuration| {
            let routes = configuration["routes"].as_array_mut().expect("routes");
            routes.push(json!({"prefix": "/new", "agents": ["memory"]}));
        })
        .await;

    eventually("the new route", || async {
        let answer = world.get("/new/notes").key("demo-premium").send().await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(world.gateway().process_id(), process);
}

#[tokio::test]
async fn a_bad_change_is_refused_with_its_place_and_the_old_configuration_serves_on() {
    let mut world = World::start().await;

    let taken = world
        .offer(|configuration| configuration["routes"][6]["agents"] = json!(["memroy"]))
        .await;

    assert!(!taken);
    let log = world.gateway().envoy_log();
    assert!(log.contains("routes[6].agents[0]"), "{log}");
    assert_eq!(
        world.get(NOTES).key("demo-premium").send().await.status,
        200
    );
    // And the next good one is taken.
    world
        .reconfigure(|configuration| configuration["routes"][6]["timeout"] = json!("7s"))
        .await;
}

#[tokio::test]
async fn what_was_remembered_and_counted_outlives_a_change() {
    let mut world = World::with(|draft| {
        draft.route("/api/v1/memory")["rate_limit"] = json!({"requests": "2/hour"});
    })
    .await;
    assert_eq!(
        world.get(NOTES).key("demo-premium").send().await.status,
        200
    );

    world
        .reconfigure(|configuration| configuration["routes"][6]["timeout"] = json!("7s"))
        .await;

    assert_eq!(
        world.get(NOTES).key("demo-premium").send().await.status,
        200
    );
    assert_eq!(
        world.get(NOTES).key("demo-premium").send().await.status,
        429
    );
    assert_eq!(world.auth().stats().total, 1);
}

#[tokio::test]
async fn without_a_first_good_configuration_nobody_gets_in() {
    let world = World::try_with(|draft| {
        draft.configuration()["plans"]["standard"]["requests"] = json!("fifty a minute");
    })
    .await
    .unwrap_or_else(|error| panic!("{error}"));

    let refused = world.get(NOTES).key("demo-premium").send().await;

    assert_eq!(refused.refused(), (500, "gateway_error".to_owned()));
    assert_eq!(world.agent("memory").stats().total, 0);
}
