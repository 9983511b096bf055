//! `waykeeper explain` says offline what the real Envoy does: each of these requests is explained, and sent by curl.

use std::path::Path;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use serde_json::{Map, Value, json};
use tokio::process::Command;

use crate::gateway::free_address;
use crate::running::Running;
use crate::stand_in::{Came, StandIn, json as answer};

/// All that an agent was told, and for what it was asked.
fn tells(name: &str, came: &Came) -> Response<Full<Bytes>> {
    let body: Value = serde_json::from_slice(&came.body).unwrap_or_default();
    let ours = came.headers.iter();
    let ours = ours.filter(|(name, _)| name.as_str().starts_with("x-waykeeper-"));
    let told: Map<String, Value> = ours
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").into()))
        .collect();
    let said = json!({"agent": name, "path": came.path, "model": body["model"], "told": told});
    answer(200, &said.to_string())
}

const CONFIGURATION: &str = r#"
listen: [{address: LISTEN}]
address: {from: envoy}
clients:
  key_sources: [{header: x-api-key}, {header: authorization, scheme: Bearer}, {query: api_key, any_request: true}]
  keys:
    - {sha256: "HASH-OF-ALICE", client_id: alice, plan: premium, team: red, roles: [admin, ops]}
    - {sha256: "HASH-OF-BOB", client_id: bob, plan: standard}
    - {sha256: "HASH-OF-EVE", client_id: eve, expires: "2001-01-01T00:00:00Z"}
plans:
  standard: {requests: 1000/minute, in_flight: 50}
  premium: {requests: 5000/minute, burst: 100}
limits:
  - {name: per-address, each: address, requests: 100000/minute}
  - {name: of-red, each: team, match: {team: red}, requests: 9000/hour, algorithm: sliding_window}
  - {name: at-gpu, each: agent, match: {agent: gpu}, requests: 9000/minute}
model_aliases: {fast: small-1}
agents:
  gpu: {url: "http://GPU", weight: 3, capabilities: [vision], models: ["big-*", {model: chat, as: gpu-chat}]}
  cpu: {url: "http://CPU", weight: 1, models: ["big-1", {model: small-1, as: cpu/small}, {model: chat, as: cpu-chat}]}
  plain: {url: "http://PLAIN"}
routes:
  - prefix: /v1/chat
    methods: [POST]
    max_scan: 2KiB
    rules:
      - {name: admins, match: {role: admin, header: {x-debug: "*"}}, agents: [plain]}
      - {name: nightly, match: {body: {/metadata/tier: ["night*", 7, true]}}, roles: [ops], agents: [plain], otherwise: skip}
      - {name: pictures, match: {images: true, plan: premium}, agents: [gpu], otherwise: take}
      - {name: european, match: {host: "*.eu.example.com", query: {zone: [a, b]}}, agents: [cpu]}
      - {name: streamed, match: {stream: true, tools: false, team: [red, blue]}, agents: [{agent: gpu, weight: 1}, {agent: cpu, weight: 9}], otherwise: skip}
      - {name: large, match: {size: {from: 1KiB}}, agents: [gpu, cpu]}
      - {name: small-ones, match: {model: [small-1, "tiny-*"]}, agents: [cpu, plain]}
    agents: [gpu, cpu]
  - {prefix: /v1/strict, rules: [{name: only, match: {model: "m-*"}, agents: [plain]}]}
  - {prefix: /openai/deployments, agents: [gpu, cpu]}
  - {prefix: /open, agents: [plain], auth_required: false, prefix_rewrite: /inner}
  - {prefix: /admin, agents: [plain], roles: [admin]}
  - {prefix: /, agents: [plain], methods: [GET], timeout: 7s}
"#;

/// Commands, with `GATEWAY` for the gateway, and what becomes of them: the agents that may answer, or the code of a refusal.
const ASKED: &[(&str, &str)] = &[
    (
        "GATEWAY/v1/chat/completions -H 'x-api-key: alice' -H 'x-debug: 1' --json '{}'",
        "plain",
    ),
    (
        "GATEWAY/v1/chat/completions -H 'x-api-key: bob' -H 'x-debug: 1' --json '{\"model\": \"big-1\"}'",
        "gpu cpu",
    ),
    (
        "GATEWAY/v1/chat/completions -H 'authorization: Bearer alice' --json '{\"model\": \"chat\"}'",
        "gpu cpu",
    ),
    (
        "'GATEWAY/v1/chat/completions?api_key=alice&x=y' --json '{\"model\": \"big-2\"}'",
        "gpu",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: bob' --json '{\"model\": \"fast\"}'",
        "cpu plain",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: bob' --json '{\"model\": \"tiny-3\"}'",
        "plain",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: bob' --json '{\"model\": \"unheard\"}'",
        "model_not_found",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: alice' --json '{\"metadata\": {\"tier\": 7.0}}'",
        "plain",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: bob' --json '{\"metadata\": {\"tier\": \"nightly\"}}'",
        "forbidden",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: alice' --json '{\"input\": [{\"type\": \"input_image\"}], \"model\": \"big-9\"}'",
        "gpu",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: alice' --json '{\"model\": \"big-1\", \"stream\": true}'",
        "gpu cpu",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: alice' --json '{\"model\": \"big-1\", \"stream\": true, \"tools\": []}'",
        "gpu cpu",
    ),
    (
        "'GATEWAY/v1/chat/x?zone=%61' -H 'host: Api.EU.example.com:80' -H 'x-api-key: bob' --json '{\"model\": \"chat\"}'",
        "cpu",
    ),
    (
        "'GATEWAY/v1/chat/x?zone=a&zone=c' -H 'host: api.eu.example.com' -H 'x-api-key: bob' --json '{\"model\": \"big-2\"}'",
        "gpu",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: bob' --json \"{\\\"model\\\": \\\"big-1\\\", \\\"pad\\\": \\\"$(printf '%1500s' x)\\\"}\"",
        "gpu cpu",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: bob' -H 'x-agent: cpu' --json '{\"model\": \"big-1\"}'",
        "cpu",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: bob' -H 'x-agent: plain' --json '{\"model\": \"big-1\"}'",
        "unknown_agent",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: bob' -H 'x-agent-capability: vision' --json '{\"model\": \"big-1\"}'",
        "gpu",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: bob' -H 'x-agent-capability: vision,audio' --json '{\"model\": \"big-1\"}'",
        "unknown_capability",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: bob' --json '{\"model\": \"big-1\", \"Model\": \"x\"}'",
        "bad_body",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: bob' -F model=big-2",
        "gpu",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: bob' -F 'model=fast' -F 'file=@gateway.yaml'",
        "cpu",
    ),
    (
        "GATEWAY/v1/strict -H 'x-api-key: bob' --json \"{\\\"pad\\\": \\\"$(printf '%90000s' x)\\\", \\\"model\\\": \\\"m-1\\\"}\"",
        "bad_body",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: bob' -d '{\"model\": \"big-1\"}'",
        "bad_body",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: bob'",
        "method_not_allowed",
    ),
    ("GATEWAY/v1/chat/x -X POST -H 'x-api-key: bob'", "gpu cpu"),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: eve' --json '{}'",
        "expired_key",
    ),
    (
        "GATEWAY/v1/chat/x -H 'x-api-key: mallory' --json '{}'",
        "invalid_key",
    ),
    ("GATEWAY/v1/chat/x --json '{}'", "missing_key"),
    (
        "GATEWAY/v1/strict -H 'x-api-key: bob' --json '{\"model\": \"m-1\"}'",
        "plain",
    ),
    (
        "GATEWAY/v1/strict -H 'x-api-key: bob' --json '{\"model\": \"n-1\"}'",
        "model_not_found",
    ),
    ("GATEWAY/v1/strict -H 'x-api-key: bob'", "no_rule"),
    (
        "GATEWAY/openai/deployments/chat/embeddings?v=1 -H 'x-api-key: bob' --json '{}'",
        "gpu cpu",
    ),
    (
        "GATEWAY/openai/deployments/fast/embeddings -H 'x-api-key: bob' --json '{}'",
        "cpu",
    ),
    (
        "GATEWAY/openai/deployments/a\\;b/embeddings -H 'x-api-key: bob' --json '{}'",
        "bad_path",
    ),
    ("GATEWAY/open/a//b/%2e/c?d=e", "plain"),
    ("GATEWAY/open/a%2fb", "bad_path"),
    (
        "--path-as-is GATEWAY/open/../admin -H 'x-api-key: bob'",
        "forbidden",
    ),
    ("GATEWAY/admin -H 'x-api-key: alice'", "plain"),
    (
        "GATEWAY/elsewhere -H 'x-api-key: bob' -H 'x-waykeeper-client: root' ",
        "plain",
    ),
    (
        "GATEWAY/elsewhere -X DELETE -H 'x-api-key: bob'",
        "method_not_allowed",
    ),
];

/// What a shell says of a command.
async fn typed(directory: &Path, command: &str) -> Vec<u8> {
    let mut shell = Command::new("bash");
    let output = shell.args(["-c", command]).current_dir(directory).output();
    let output = output.await.expect("bash");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {errors}");
    output.stdout
}

#[tokio::test]
async fn what_is_explained_is_what_happens() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut file = CONFIGURATION.to_owned();
    let mut agents = Vec::new();
    for (name, place) in [("gpu", "GPU"), ("cpu", "CPU"), ("plain", "PLAIN")] {
        let agent = StandIn::start(move |came| tells(name, came)).await;
        file = file.replace(place, &agent.address.to_string());
        agents.push(agent);
    }
    let gateway = free_address();
    file = file.replace("LISTEN", &gateway.to_string());
    for (placeholder, key) in [
        ("HASH-OF-ALICE", "alice"),
        ("HASH-OF-BOB", "bob"),
        ("HASH-OF-EVE", "eve"),
    ] {
        let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
        let hash: String = digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        file = file.replace(placeholder, &hash);
    }
    let _gateway = Running::start(directory.path(), &file, &[]).await;
    let tool = env!("CARGO_BIN_EXE_waykeeper");
    let mut faults = Vec::new();
    for (asked, expected) in ASKED {
        let asked = asked.replace("GATEWAY", &format!("http://{gateway}"));
        let explain = format!("{tool} explain gateway.yaml --json -- curl {asked}");
        let explained = typed(directory.path(), &explain).await;
        let explained: Value = serde_json::from_slice(&explained).expect("an explanation");
        let sent = format!("curl -s -w '\\n%{{http_code}}' {asked}");
        let answered = String::from_utf8(typed(directory.path(), &sent).await).expect("text");
        let (body, status) = answered.rsplit_once('\n').expect("a status");
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let mut differs = |what: &str| {
            faults.push(format!(
                "{asked}: {what}\nexplained {explained:#}\nin truth {status} {body:#}"
            ));
        };
        let outcome = &explained["outcome"];
        if outcome["result"] == "refused" {
            let same = outcome["status"] == status.parse::<u16>().expect("a status")
                && outcome["code"] == body["error"]["code"]
                && outcome["detail"] == body["detail"]
                && outcome["code"] == *expected;
            if !same {
                differs("refused in another way");
            }
            continue;
        }
        let may_answer = explained["agents"].as_array().expect("agents");
        let names: Vec<_> = may_answer
            .iter()
            .map(|agent| agent["name"].as_str().expect("a name"))
            .collect();
        if names.join(" ") != *expected {
            differs("other agents are explained");
        }
        let Some(agent) = may_answer
            .iter()
            .find(|agent| agent["name"] == body["agent"])
        else {
            differs("another agent answers");
            continue;
        };
        let same = agent["path"] == body["path"]
            && agent["model"] == body["model"]
            && agent["is_told"] == body["told"];
        if !same || outcome["result"] != "forwarded" {
            differs("it gets something else");
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}
