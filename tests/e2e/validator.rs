//! What the validator is to Envoy: a server like any other, that closes connections when it likes. (`waiting` shows who waits
//! for it, `identity` what is believed of its answers.)

use std::collections::BTreeMap;

use serde_json::json;
use tokio::task::JoinHandle;
use waykeeper_demo::stack::AUTH_CLUSTER;

use crate::harness::{Answer, Exchange, Puppet, World, eventually};

const NOTES: &str = "/api/v1/memory/notes";

/// More than Envoy tries again at a time by default.
const CALLERS: usize = 40;

#[tokio::test]
async fn a_question_on_a_connection_that_closes_is_asked_again() {
    let validator = Puppet::listen().await;
    let world = World::with(|draft| {
        let bootstrap = &mut draft.setup.bootstrap;
        bootstrap
            .set_endpoints(AUTH_CLUSTER, &[validator.address()])
            .expect("the cluster");
        let configuration = draft.configuration();
        configuration["clients"]["validator"]["timeout"] = json!("20s");
        configuration["plans"]["standard"] = json!({});
    })
    .await;
    let call = |key: String| tokio::spawn(world.get(NOTES).key(&key).send());

    // One question for many: the connection that it goes over has carried another.
    let first = call("first".to_owned());
    let mut connection = validator.accept().await;
    question(&mut connection).await;
    answer(&mut connection).await;
    assert_eq!(first.await.expect("the caller").status, 200);
    let waiting: Vec<_> = (0..CALLERS).map(|_| call("shared".to_owned())).collect();
    question(&mut connection).await;
    eventually("all of them", || async {
        let metrics = world.metrics().await;
        let misses = metrics.sum("waykeeper_remembered_keys_total", &[("outcome", "miss")]);
        (misses == 1.0 + CALLERS as f64).then_some(())
    })
    .await;
    drop(connection);
    let mut connection = validator.accept().await;
    question(&mut connection).await;
    answer(&mut connection).await;
    all_served(waiting).await;

    // Many questions: all their connections have carried another, and close at once.
    let calls = |kind: &str| (0..CALLERS).map(|n| call(format!("{kind}-{n}"))).collect();
    let warm: Vec<_> = calls("warm");
    let mut connections = vec![connection];
    while connections.len() < CALLERS {
        connections.push(validator.accept().await);
    }
    let mut asked = BTreeMap::new();
    questions(&mut connections, &mut asked).await;
    answers(&mut connections).await;
    all_served(warm).await;
    let new: Vec<_> = calls("new");
    asked.clear();
    questions(&mut connections, &mut asked).await;
    connections.clear();
    while connections.len() < CALLERS {
        connections.push(validator.accept().await);
    }
    questions(&mut connections, &mut asked).await;
    answers(&mut connections).await;
    all_served(new).await;
    assert_eq!(asked.len(), CALLERS);
    assert!(asked.values().all(|times| *times == 2), "{asked:?}");
}

/// Reads a question from each connection, and counts how often each is asked.
async fn questions(connections: &mut [Exchange], asked: &mut BTreeMap<String, u32>) {
    for connection in connections {
        *asked.entry(question(connection).await).or_insert(0) += 1;
    }
}

async fn answers(connections: &mut [Exchange]) {
    for connection in connections {
        answer(connection).await;
    }
}

/// Reads a question, and says which key it is about.
async fn question(connection: &mut Exchange) -> String {
    let head = connection.read_until("\r\n\r\n").await;
    assert!(!head.contains("x-envoy-retry"), "{head}");
    assert!(!head.contains("x-envoy-max-retries"), "{head}");
    connection.read_until("\"}").await
}

async fn answer(connection: &mut Exchange) {
    let client = r#"{"client_id":"client"}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
        client.len()
    );
    connection.write(&(head + client)).await;
}

async fn all_served(callers: Vec<JoinHandle<Answer>>) {
    for caller in callers {
        let served = caller.await.expect("the caller");
        assert_eq!(served.status, 200, "{}", served.text());
    }
}
