//! What the validator is to Envoy: a server like any other, that closes connections when it likes and listens to its own name
//! only. (`waiting` shows who waits for it, `identity` what is believed of its answers.)

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use waykeeper_demo::auth::Client;
use waykeeper_demo::stack::AUTH_CLUSTER;

use crate::harness::{Answer, Exchange, Puppet, World, eventually};

const NOTES: &str = "/api/v1/memory/notes";

/// More than Envoy tries again at a time by default.
const CALLERS: usize = 40;

#[tokio::test]
async fn a_question_on_a_connection_that_closes_is_asked_again() {
    let validator = Puppet::listen().await;
    let world = World::with(|draft| {
        draft.lead(AUTH_CLUSTER, &[validator.address()]);
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

/// Servers refuse a request that calls them by what is no host: Envoy, and so any sidecar, and most that speak HTTP/2.
#[tokio::test]
async fn the_validator_is_called_by_a_name_that_servers_take() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("sidecar");
    let [by_name, by_sidecar, by_http2, other_mesh] = [
        "auth-service",
        "outbound|8080||auth-service.agents.svc.cluster.local",
        "outbound|8080|h2|auth-service.agents.svc.cluster.local",
        "default/auth-service/8080",
    ];
    let mut world = World::with(|draft| {
        let auth = draft.services.auth().address();
        for cluster in [by_name, by_sidecar, by_http2, other_mesh] {
            draft.add_cluster(cluster, &[auth]);
        }
        draft.cluster(by_http2)["typed_extension_protocol_options"] = http2();
        let sidecar = json!({"address": {"pipe": {"path": socket}}});
        for cluster in [by_sidecar, other_mesh] {
            let cluster = draft.cluster(cluster);
            cluster["type"] = json!("STATIC");
            cluster["load_assignment"]["endpoints"] =
                json!([{"lb_endpoints": [{"endpoint": sidecar}]}]);
        }
        let document = draft.setup.bootstrap.document_mut();
        let listeners = document["static_resources"]["listeners"].as_array_mut();
        let mut listener = sidecar.clone();
        listener["name"] = json!("sidecar");
        listener["filter_chains"] = json!([{"filters": [forwarding_to(AUTH_CLUSTER)]}]);
        listeners.expect("listeners").push(listener);
        draft.configuration()["clients"]["validator"]["cluster"] = json!(by_sidecar);
    })
    .await;

    let in_mesh = "auth-service.agents.svc.cluster.local:8080";
    for (number, (cluster, written, called)) in [
        (by_sidecar, None, in_mesh),
        (by_http2, None, in_mesh),
        (other_mesh, None, "validator"),
        (other_mesh, Some("keys_1.example:81"), "keys_1.example:81"),
        (by_name, None, by_name),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("key-{number}");
        world.auth().insert_key(&key, Client::named("client"));
        world
            .reconfigure(|now| {
                let validator = &mut now["clients"]["validator"];
                validator["cluster"] = json!(cluster);
                validator["host"] = json!(written);
                if written.is_none() {
                    validator.as_object_mut().expect("fields").remove("host");
                }
                validator["path"] = json!(format!("/validate?{number}"));
            })
            .await;
        // The worker may take it a moment later.
        let asked = eventually(cluster, || async {
            let _ = world
                .get(NOTES)
                .key(&format!("stranger-{number}"))
                .send()
                .await;
            let asked = world.auth().stats().last;
            let path = format!("/validate?{number}");
            asked.into_iter().rev().find(|call| call.path == path)
        })
        .await;
        assert_eq!(asked.headers.get("host"), Some(called), "{cluster}");
        let served = world.get(NOTES).key(&key).send().await;
        assert_eq!(served.status, 200, "{cluster}: {}", served.text());
    }
}

/// Options of a cluster that is spoken to over HTTP/2.
fn http2() -> Value {
    json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }})
}

/// What a sidecar does with a request that it takes.
fn forwarding_to(cluster: &str) -> Value {
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "sidecar",
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }],
            "route_config": {"virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}],
            }]},
        },
    })
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
