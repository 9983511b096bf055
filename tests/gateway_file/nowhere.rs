//! What `waykeeper run` says of agents whose names lead nowhere, from the start or since the file has changed.

use crate::caller::Caller;
use crate::gateway::{agent, free_address};
use crate::running::{Running, at, gateway};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_name_leads_nowhere_is_told_of_whenever_that_begins_and_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let (well, moving) = (agent("well").await, agent("moving").await);
    let listen = free_address();
    let caller = Caller::of(listen);
    let text = |moving: &str, validator: &str| {
        let agents = [
            ("well", at(well.address())),
            // Its name has another in statistics.
            ("mo:ving", format!("{{url: '{moving}'}}")),
            ("lost", "{url: 'http://lost.invalid:1'}".to_owned()),
        ];
        let more = format!("clients: {{validator: {{url: '{validator}'}}}}");
        gateway(listen, &agents, &more)
    };
    let good = format!("http://localhost:{}", moving.address().port());
    let validator = format!("http://{}", well.address());
    let mut running = Running::start(directory.path(), &text(&good, &validator), &[]).await;
    let said = running.hears("agent lost: no address is known").await;
    assert!(
        said.contains("for http://lost.invalid:1; requests for it are answered 503 agent_unreachable. The name lost.invalid is not known"),
        "{said}"
    );
    assert_eq!(caller.get("/mo:ving/x", &[]).await.agent(), "moving");

    // Envoy's gauges go on showing the hosts of before.
    for round in 0..2 {
        running
            .change(&text("http://nowhere.invalid:1", &validator))
            .await;
        assert_eq!(caller.get("/mo:ving/x", &[]).await.status, 503);
        let said = running.hears("agent mo:ving: no address is known").await;
        assert!(
            said.contains("The name nowhere.invalid is not known: ")
                && said.contains("See whether the name is right"),
            "{said}"
        );
        if round == 0 {
            // Another change, which is none of its own.
            let other = text("http://nowhere.invalid:1", &validator).replace("/well", "/good");
            running.change(&other).await;
            assert_eq!(caller.get("/good/x", &[]).await.agent(), "well");
        }
        running.change(&text(&good, &validator)).await;
        running.hears("agent mo:ving: all is well again").await;
        assert_eq!(caller.get("/mo:ving/x", &[]).await.agent(), "moving");
        assert_eq!(caller.get("/well/x", &[]).await.agent(), "well");
    }

    // The validator is told of in the same way.
    running
        .change(&text(&good, "http://nobody.invalid:1"))
        .await;
    let said = running.hears("the validator: no address is known").await;
    assert!(
        said.contains("nobody.invalid is not known")
            && said.contains("keys that nobody knows here are answered 503 validator_unavailable"),
        "{said}"
    );
    running.change(&text(&good, &validator)).await;
    running.hears("the validator: all is well again").await;

    let all = running.said_in_all();
    for (told, times) in [
        ("agent lost: ", 1),
        ("agent mo:ving: no address", 2),
        ("agent mo:ving: all is well", 2),
        ("the validator: no address", 1),
        ("agent well: ", 0),
    ] {
        assert_eq!(all.matches(told).count(), times, "{told}: {all}");
    }
}
