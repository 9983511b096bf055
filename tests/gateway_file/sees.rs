//! What agents are told of who calls: of a provider nothing, of others what is for all, and of each what is written there. The access
//! log has all of it.

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::gateway::{Gateway, free_address};
use crate::stand_in::{StandIn, json as answer};
use crate::under_istio::{served, write};

/// The agents, what is written of each, and what it is told beside the address.
const AGENTS: [(&str, &str, &[&str]); 7] = [
    ("plain", "", &["client", "route"]),
    ("quiet", "sees: []", &[]),
    ("placed", "sees: [address]", &[]),
    ("named", "sees: [plan, agent]", &["plan", "agent"]),
    ("told", "sees: [client, address, plan]", &["client", "plan"]),
    ("hosted", "provider: vllm", &[]),
    (
        "trusted",
        "provider: vllm, sees: [address, client]",
        &["client"],
    ),
];
/// Those that are told where a request comes from.
const PLACED: [&str; 4] = ["plain", "placed", "told", "trusted"];

/// What stands in `gateway.yaml` but for `listen`; each agent has a host of its own.
fn text(place: impl Fn(&str) -> String) -> String {
    let agents = AGENTS.map(|(name, fields, _)| {
        let fields = if fields.is_empty() {
            String::new()
        } else {
            format!(", {fields}")
        };
        format!("  {name}: {{url: '{}'{fields}}}\n", place(name))
    });
    let routes = AGENTS.map(|(name, ..)| format!("  - {{prefix: /{name}, agents: [{name}]}}\n"));
    format!(
        "clients: {{keys: [{{sha256: '{}', client_id: acme, plan: big, team: core}}]}}
plans: {{big: {{}}}}
agents_see: [client, route]
# Which agents see of none: it is between the gateway and its Envoy.
proof: a secret of sixteen or more
agents:
{}routes:
{}",
        crate::aws::hex(ring::digest::digest(&ring::digest::SHA256, b"key").as_ref()),
        agents.concat(),
        routes.concat(),
    )
}

/// Asks all of them, and returns the answers.
async fn told(caller: &Caller, agent: &StandIn) -> Vec<crate::caller::Answer> {
    let mut answers = Vec::new();
    for (name, _, names) in AGENTS {
        let sent = [
            ("x-api-key", "key"),
            ("cookie", "a=b"),
            ("user-agent", "caller/1"),
        ];
        let answer = caller.get(&format!("/{name}/x"), &sent).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let came = agent.came().remove(0);
        let mut known: Vec<&str> = { came.headers.keys() }
            .filter_map(|name| name.as_str().strip_prefix("x-waykeeper-"))
            .collect();
        known.sort_unstable();
        let mut names = names.to_vec();
        names.sort_unstable();
        assert_eq!(known, names, "{name}");
        let value = |name| came.header(&format!("x-waykeeper-{name}"));
        if names.contains(&"client") {
            assert_eq!(value("client"), Some("acme"));
        }
        let of_address = [
            "x-forwarded-for",
            "x-forwarded-proto",
            "cookie",
            "x-envoy-expected-rq-timeout-ms",
        ];
        for header in of_address {
            let there = came.header(header).is_some();
            assert_eq!(there, PLACED.contains(&name), "{name}: {header}");
        }
        // What says nothing of who that is stays: by its number both sides find a request.
        assert_eq!(came.header("x-request-id"), answer.header("x-request-id"));
        assert!(came.header("x-request-id").is_some());
        assert_eq!(came.header("user-agent"), Some("caller/1"));
        answers.push(answer);
    }
    answers
}

#[tokio::test]
async fn an_agent_is_told_of_who_calls_what_is_written_there_and_a_provider_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = StandIn::start(|_| answer(200, "{}")).await;
    let [listen, operations] = [(); 2].map(|()| free_address());
    let text = format!(
        "listen: [{{address: '{listen}'}}]\noperations: '{operations}'\n{}",
        text(|_| format!("http://{}", agent.address))
    );
    let gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let answers = told(&Caller::of(listen), &agent).await;

    for ((name, ..), answer) in AGENTS.iter().zip(&answers) {
        let line = gateway.logged(answer).await;
        let noted = line["noted"].as_str().unwrap_or("{}");
        let noted: Value = serde_json::from_str(noted).expect("a JSON object");
        for (known, value) in [
            ("client", json!("acme")),
            ("plan", json!("big")),
            ("team", json!("core")),
            ("agent", json!(name)),
            ("route", json!(format!("/{name}"))),
        ] {
            let logged = if line[known].is_null() {
                &noted[known]
            } else {
                &line[known]
            };
            assert_eq!(*logged, value, "{name}: {line}");
        }
    }
}

#[tokio::test]
async fn so_it_is_under_istio() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = StandIn::start(|_| answer(200, "{}")).await;
    let port = agent.address.port();
    let text = format!(
        "listen: [{{address: '0.0.0.0:8080'}}]\n{}",
        text(|name| format!("http://{name}:{port}"))
    );
    let manifests = write(directory.path(), &text, &[]);
    let (_gateway, caller) = served(directory.path(), &manifests).await;
    told(&caller, &agent).await;
}
