//! The official A2A clients and servers, of 1.0 and of the last version before it: several agents that each keep their tasks in their
//! own memory. Cards lead to the gateway, streams stream, and a task goes back to the agent, or the endpoint, that has it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::caller::{Answer, Caller};
use crate::gateway::{Gateway, free_address};
use crate::stand_in::{Came, StandIn, json as answer};
use crate::sticky::CLIENTS;
use crate::{PATIENCE, needed};

const TASKS: usize = 12;

/// A script of this directory's, with one of the official packages.
fn script(name: &str, package: &str, arguments: &[&str]) -> Command {
    let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/gateway_file")
        .join(name);
    let mut command = Command::new("python3");
    command
        .arg(script)
        .args(arguments)
        .env(
            "PYTHONPATH",
            needed(&format!(".tools/{package}"), "make test-tools"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// An agent, and where it is. It ends when dropped.
async fn agent(name: &str, package: &str, own: &str) -> (Child, SocketAddr) {
    let mut process = script(name, package, &[own]).spawn().expect("python3");
    let output = process.stdout.take().expect("its output");
    let mut lines = BufReader::new(output).lines();
    let line = timeout(3 * PATIENCE, lines.next_line()).await;
    let line = line.expect("the agent does not start").expect("its output");
    let port = line.expect("the agent has ended").parse().expect("a port");
    (process, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// What a client saw.
async fn seen(name: &str, package: &str, arguments: &[&str]) -> Value {
    let output = timeout(6 * PATIENCE, script(name, package, arguments).output()).await;
    let output = output.expect("the client is not done").expect("python3");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} {told}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Each conversation is with one agent, all of it was streamed, and both agents have had some.
fn check(seen: &Value, cancelled: &str) {
    let conversations = seen["conversations"].as_array().expect("a list");
    assert_eq!(conversations.len(), TASKS);
    let mut agents = BTreeSet::new();
    for conversation in conversations {
        let said = conversation["said"][0].as_str().unwrap_or_default();
        let (name, _) = said.split_once(' ').unwrap_or_default();
        let told = json!([
            format!("{name} 0"),
            format!("{name} 1"),
            format!("{name} 2")
        ]);
        let all = json!({"said": told, "done": [format!("done by {name}")], "again": told, "cancelled": cancelled});
        assert_eq!(*conversation, all);
        agents.insert(name);
    }
    assert_eq!(agents.len(), 2, "{agents:?}");
}

#[tokio::test]
async fn a2as_own_clients_are_led_through_the_gateway_and_get_back_to_their_tasks() {
    let directory = tempfile::tempdir().expect("a directory");
    let (now, old) = ("a2a-sdk", "a2a-sdk-0.3");
    let (_one, a) = agent("a2a_server.py", now, "one").await;
    let (_two, b) = agent("a2a_server.py", now, "two").await;
    let (_three, c) = agent("a2a_03_server.py", old, "three").await;
    let (_four, d) = agent("a2a_03_server.py", old, "four").await;
    let (listen, operations) = (free_address(), free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
{CLIENTS}
agents:
  one: {{url: 'http://{a}'}}
  two: {{url: 'http://{b}'}}
  three: {{url: 'http://{c}'}}
  four: {{url: 'http://{d}'}}
  both: {{endpoints: ['http://{a}', 'http://{b}'], sticky: {{task: true}}}}
routes:
  - {{prefix: /teller, agents: [one, two], prefix_rewrite: /, a2a: {{public_card: true}}}}
  - {{prefix: /both, agents: [both], prefix_rewrite: /, a2a: {{}}}}
  - {{prefix: /old, agents: [three, four], prefix_rewrite: /, a2a: {{versions: ['0.3']}}}}
"
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let tasks = TASKS.to_string();

    for route in ["teller", "both"] {
        let base = format!("http://{listen}/{route}");
        for arguments in [
            &[&*base, "JSONRPC", &tasks][..],
            &[&base, "HTTP+JSON", &tasks],
            &[&base, "JSONRPC", &tasks, "0.3"],
        ] {
            let seen = seen("a2a_client.py", now, arguments).await;
            let (rpc, rest) = (format!("{base}/rpc"), format!("{base}/rest"));
            assert_eq!(seen["urls"], json!([rpc, rpc, rest]));
            if arguments.len() == 3 {
                let extended = &seen["extended"];
                assert_eq!(extended["description"], "Tells its name to those it knows.");
                assert_eq!(
                    extended["supportedInterfaces"][2]["url"], rest,
                    "{extended}"
                );
            }
            check(&seen, "TASK_STATE_CANCELED");
        }
    }
    // Both clients of the version before, against agents of that version.
    let base = format!("http://{listen}/old");
    let from_old = seen("a2a_03_client.py", old, &[&base, &tasks]).await;
    assert_eq!(
        from_old["urls"],
        json!([format!("{base}/"), format!("{base}/")])
    );
    check(&from_old, "canceled");
    let from_new = seen("a2a_client.py", now, &[&base, "JSONRPC", &tasks, "0.3"]).await;
    check(&from_new, "TASK_STATE_CANCELED");
}

/// An agent that says who it is. What a message begins there, a task or a context alone, is named after it.
async fn namer(name: &'static str, address: Option<SocketAddr>) -> StandIn {
    let says = move |came: &Came| {
        let asked: Value = serde_json::from_slice(&came.body).unwrap_or_default();
        let (task, context) = (format!("task-of-{name}"), format!("context-of-{name}"));
        let said = match asked["method"].as_str() {
            Some("SendMessage") => json!({"task": {"id": task, "contextId": context}}),
            Some("message/send") => {
                json!({"kind": "message", "messageId": "m", "contextId": format!("lone-{context}")})
            }
            _ => json!({}),
        };
        let said = json!({"jsonrpc": "2.0", "id": 1, "agent": name, "result": said});
        answer(200, &said.to_string())
    };
    match address {
        Some(address) => StandIn::start_at(address, says).await,
        None => StandIn::start(says).await,
    }
}

const ACME: (&str, &str) = ("x-api-key", "key-of-acme");
const OTHER: (&str, &str) = ("x-api-key", "key-of-other");
const JSON: (&str, &str) = ("content-type", "application/json");
const GOLD: (&str, &str) = ("x-tier", "gold");

async fn call(
    caller: &Caller,
    path: &str,
    headers: &[(&str, &str)],
    method: &str,
    params: &Value,
) -> Answer {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let headers = [headers, &[JSON]].concat();
    caller.post(path, &headers, &body.to_string()).await
}

/// Who answers whatever asks for this agent's task, or for its context.
async fn followers(
    caller: &Caller,
    prefix: &str,
    key: (&str, &str),
    of: &str,
) -> Vec<(String, String)> {
    let (task, context) = (format!("task-of-{of}"), format!("context-of-{of}"));
    let mut all = Vec::new();
    for (method, params) in [
        ("GetTask", json!({"id": task})),
        ("tasks/get", json!({"id": task})),
        ("CancelTask", json!({"id": task})),
        ("SubscribeToTask", json!({"id": task})),
        ("SendStreamingMessage", json!({"message": {"taskId": task}})),
        (
            "SendStreamingMessage",
            json!({"message": {"contextId": context}}),
        ),
        ("ListTasks", json!({"contextId": context})),
        ("ListTasks", json!({"contextId": format!("lone-{context}")})),
    ] {
        let answer = call(caller, prefix, &[key], method, &params).await;
        all.push((format!("{method} {params}"), answer.agent()));
    }
    for path in [
        format!("/tasks/{task}"),
        format!("/v1/tasks/{task}?historyLength=1"),
        format!("/tasks?contextId={context}"),
        format!("/v1/tasks?pageSize=1&contextId={context}"),
        format!("/tasks?context%49d=lone%2D{context}"),
    ] {
        let answer = caller.get(&format!("{prefix}{path}"), &[key]).await;
        all.push((path, answer.agent()));
    }
    for verb in ["cancel", "subscribe"] {
        let path = format!("{prefix}/v1/tasks/{task}:{verb}");
        let answer = caller.post(&path, &[key, JSON], "{}").await;
        all.push((path, answer.agent()));
    }
    all
}

/// Requests that name a task say nothing of what has led the first one to its agent.
#[tokio::test]
async fn a_task_goes_back_to_an_agent_that_a_rule_or_a_fallback_has_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let (usual, special) = (namer("usual", None).await, namer("special", None).await);
    let spare = namer("spare", None).await;
    let [listen, operations, first] = [(); 3].map(|()| free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
{CLIENTS}
agents:
  usual: {{url: 'http://{}'}}
  special: {{url: 'http://{}'}}
  spare: {{url: 'http://{}'}}
  first: {{url: 'http://{first}'}}
routes:
  - prefix: /ruled
    prefix_rewrite: /
    agents: [usual]
    a2a: {{}}
    rules: [{{match: {{header: {{x-tier: gold}}}}, agents: [special]}}]
  - {{prefix: /tried, prefix_rewrite: /, agents: [first], fallback: [spare], a2a: {{}}}}
",
        usual.address, special.address, spare.address,
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let caller = Caller::of(listen);
    let message = json!({"message": {"messageId": "m", "parts": []}});

    for method in ["SendMessage", "message/send"] {
        let begun = call(&caller, "/ruled", &[ACME, GOLD], method, &message).await;
        assert_eq!(begun.agent(), "special", "{method}");
        let begun = call(&caller, "/tried", &[ACME], method, &message).await;
        assert_eq!(begun.agent(), "spare", "{method}");
    }
    // From now on nothing but the task leads there.
    let _first = namer("first", Some(first)).await;
    let asked = call(&caller, "/tried", &[ACME], "unheard/of", &json!({})).await;
    assert_eq!(asked.agent(), "first");

    for (prefix, has, others) in [("/ruled", "special", "usual"), ("/tried", "spare", "first")] {
        for (what, agent) in followers(&caller, prefix, ACME, has).await {
            assert_eq!(agent, has, "{prefix} {what}");
        }
        // It is nobody else's, and no other has one of that name.
        for (what, agent) in followers(&caller, prefix, OTHER, has).await {
            assert_eq!(agent, others, "{prefix} {what}");
        }
        for (what, agent) in followers(&caller, prefix, ACME, "nobody").await {
            assert_eq!(agent, others, "{prefix} {what}");
        }
    }
}

/// A card that cannot be changed leads round the gateway, which whoever runs it is to know before its callers do.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_card_is_warned_of() {
    let card = |signatures: Value| {
        let interface = json!({"url": "http://agent.internal/rpc", "protocolBinding": "JSONRPC"});
        json!({"name": "a", "supportedInterfaces": [interface], "signatures": signatures})
    };
    let serve = async |card: Value| {
        StandIn::start(move |came| match came.path.as_str() {
            "/.well-known/agent-card.json" => answer(200, &card.to_string()),
            _ => answer(404, "{}"),
        })
        .await
    };
    let signed = serve(card(json!([{"protected": "a", "signature": "b"}]))).await;
    let unsigned = serve(card(json!([]))).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("gateway.yaml");
    let text = format!(
        "listen: [{{address: '127.0.0.1:8080'}}]
{CLIENTS}
agents:
  signed: {{url: 'http://{}'}}
  unsigned: {{url: 'http://{}'}}
routes:
  - {{prefix: /signed, agents: [signed], prefix_rewrite: /, a2a: {{}}}}
  - {{prefix: /unsigned, agents: [unsigned], prefix_rewrite: /, a2a: {{}}}}
  - {{prefix: /left, agents: [signed], prefix_rewrite: /, a2a: {{rewrite_card: false}}}}
",
        signed.address, unsigned.address
    );
    std::fs::write(&file, text).expect("write");
    let said = |arguments: &[&str]| {
        let mut tool = std::process::Command::new(env!("CARGO_BIN_EXE_waykeeper"));
        let output = tool
            .arg("check")
            .args(arguments)
            .arg(&file)
            .output()
            .expect("the tool");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };

    let probed = said(&["--probe"]);

    let warnings: Vec<&str> = probed
        .lines()
        .filter(|line| line.contains("card"))
        .collect();
    assert_eq!(warnings.len(), 1, "{probed}");
    assert!(
        warnings[0].contains("warning: agents.signed: its card is signed"),
        "{probed}"
    );
    assert!(
        warnings[0].contains("http://agent.internal/rpc"),
        "{probed}"
    );
    assert!(!said(&[]).contains("card"));
}
