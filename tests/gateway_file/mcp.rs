//! The official MCP client and server, several of the latter: sessions that each keep in their own memory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::caller::Caller;
use crate::gateway::{Around, Gateway, free_address};
use crate::sticky::CLIENTS;
use crate::{PATIENCE, eventually, needed};

const SESSIONS: usize = 50;
const CALLS: usize = 4;

/// A script of this directory's, with the official package.
struct Script {
    process: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Script {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/gateway_file")
            .join(name);
        let mut process = Command::new("python3")
            .arg(script)
            .args(arguments)
            .env("PYTHONPATH", needed(".tools/mcp", "make test-tools"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3");
        let input = process.stdin.take().expect("its input");
        let output = process.stdout.take().expect("its output");
        Self {
            process,
            input,
            lines: BufReader::new(output).lines(),
        }
    }

    async fn line(&mut self) -> String {
        let line = timeout(3 * PATIENCE, self.lines.next_line()).await;
        let line = line.expect("the script is not done").expect("its output");
        line.expect("the script has ended")
    }

    async fn ask(&mut self, word: &str) -> Vec<Value> {
        match self.tell(word).await {
            Value::Array(seen) => seen,
            other => panic!("{other}"),
        }
    }

    /// What it says to a word.
    async fn tell(&mut self, word: &str) -> Value {
        let word = format!("{word}\n");
        self.input
            .write_all(word.as_bytes())
            .await
            .expect("its input");
        serde_json::from_str(&self.line().await).expect("JSON")
    }

    async fn address(&mut self) -> SocketAddr {
        let port = self.line().await.parse().expect("a port");
        SocketAddr::from(([127, 0, 0, 1], port))
    }
}

#[tokio::test]
async fn mcps_own_client_loses_no_session_and_a_dead_replica_ends_only_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut one = Script::start("mcp_server.py", &["one"]);
    let mut two = Script::start("mcp_server.py", &["two"]);
    let (a, b) = (one.address().await, two.address().await);
    let (listen, operations) = (free_address(), free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
{CLIENTS}
sessions: {{keys: ['{}']}}
agents: {{tools: {{endpoints: ['http://{a}', 'http://{b}'], sticky: {{header: mcp-session-id}}}}}}
routes: [{{prefix: /mcp, agents: [tools], streams: true}}]
",
        "3".repeat(64)
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let url = format!("http://{listen}/mcp");
    let (sessions, calls) = (SESSIONS.to_string(), CALLS.to_string());
    let mut client = Script::start("mcp_client.py", &[&url, &sessions, &calls]);

    let seen = client.ask("begin").await;

    assert_eq!(seen.len(), SESSIONS);
    let counts = |first: usize| serde_json::json!((first..first + CALLS).collect::<Vec<_>>());
    let of = |session: &Value| {
        session["replicas"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    for session in &seen {
        assert_eq!(
            session["replicas"].as_array().map(Vec::len),
            Some(1),
            "{session}"
        );
        assert_eq!(session["counts"], counts(1), "{session}");
    }
    let of_one = seen.iter().filter(|session| of(session) == "one").count();
    assert!((5..=45).contains(&of_one), "{of_one}");

    one.process.kill().await.expect("kill");
    let after = client.ask("again").await;

    for (before, after) in seen.iter().zip(&after) {
        if of(before) == "two" {
            assert_eq!(after["counts"], counts(1 + CALLS), "{before} {after}");
        } else {
            // As MCP has it: the session is over, and a new one is to begin.
            assert!(after["error"].is_string(), "{after}");
        }
    }
    // Those that begin anew all get somewhere.
    let mut client = Script::start("mcp_client.py", &[&url, "10", &calls]);
    for session in client.ask("begin").await {
        assert_eq!(session["replicas"], serde_json::json!(["two"]), "{session}");
        assert_eq!(session["counts"], counts(1), "{session}");
    }
}

/// What the official client sees of a gateway that lets not everybody call every tool: with sessions, and in the revision without.
#[tokio::test]
async fn mcps_own_client_hears_in_its_own_words_what_it_may_not_call() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut with_sessions = Script::start("mcp_tools_server.py", &["one", "sessions"]);
    let mut without = Script::start("mcp_tools_server.py", &["two", "stateless"]);
    let (a, b) = (with_sessions.address().await, without.address().await);
    let (listen, operations) = (free_address(), free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
clients:
  keys:
    - {{sha256: 57fcf72d7b3693f562ccebb3dc0e5164ee1d84381b0842c060e6959e0f772cbf, client_id: admin, roles: [admin]}}
    - {{sha256: 54f9df4e39e2624f3d32921a4151e7d22aa4a89f65048037bf15324e78321968, client_id: user}}
sessions: {{keys: ['{}']}}
limits: [{{name: per-tool, each: [client, tool, route], requests: 4/hour}}]
agents:
  old: {{url: 'http://{a}', sticky: {{header: mcp-session-id}}}}
  new: {{url: 'http://{b}'}}
routes:
  - prefix: /old
    agents: [old]
    prefix_rewrite: /mcp
    mcp: &mcp
      tools:
        - {{match: files.write, roles: [admin]}}
        - {{match: '*'}}
  - {{prefix: /new, agents: [new], prefix_rewrite: /mcp, mcp: *mcp}}
",
        "3".repeat(64)
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    for (path, mode, server) in [
        ("old", "legacy", "one"),
        ("new", "2026-07-28", "two"),
        ("new", "auto", "two"),
    ] {
        let url = format!("http://{listen}/{path}");
        let mut client = Script::start("mcp_tools_client.py", &[&url, mode]);
        for (key, may_write) in [("key-of-user", false), ("key-of-admin", true)] {
            let seen = client.tell(key).await;

            let full = serde_json::json!({
                "code": -32005, "status": 429, "message": seen["limited"][2]["message"],
            });
            assert_eq!(seen["limited"][2], full, "{mode} {key} {seen}");
            // Of this client's calls there were some in the other mode before.
            if mode == "auto" {
                continue;
            }
            let wrote = if may_write {
                serde_json::json!(format!("{server} wrote a"))
            } else {
                serde_json::json!({
                    "code": -32003, "status": 403, "message": "This client may not call the tool files.write.",
                })
            };
            assert_eq!(
                seen["read"],
                format!("{server} read a"),
                "{mode} {key} {seen}"
            );
            assert_eq!(seen["write"], wrote, "{mode} {key}");
            assert_eq!(
                seen["count"],
                format!("{server} counted to 3"),
                "{mode} {key} {seen}"
            );
            let steps = serde_json::json!([[1.0, 3.0], [2.0, 3.0], [3.0, 3.0]]);
            assert_eq!(seen["steps"], steps, "{mode} {key}");
            assert_eq!(seen["prompt"], "Hello you", "{mode} {key}");
            assert_eq!(seen["again"], format!("{server} read b"), "{mode} {key}");
            assert_eq!(
                seen["limited"][1],
                format!("{server} read c"),
                "{mode} {key}"
            );
        }
    }
}

/// Some servers behind one address, as the official client sees them.
fn several(listen: SocketAddr, operations: SocketAddr, servers: &[(&str, SocketAddr)]) -> String {
    let agents = servers
        .iter()
        .map(|(name, at)| format!("  {name}-server: {{url: 'http://{at}'}}\n"));
    let named = servers
        .iter()
        .map(|(name, _)| format!("{name}: {name}-server"));
    format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
clients:
  keys:
    - {{sha256: 57fcf72d7b3693f562ccebb3dc0e5164ee1d84381b0842c060e6959e0f772cbf, client_id: admin, roles: [admin]}}
    - {{sha256: 54f9df4e39e2624f3d32921a4151e7d22aa4a89f65048037bf15324e78321968, client_id: user}}
sessions: {{keys: ['{}']}}
agents:
{}
routes:
  - prefix: /mcp
    first_byte_timeout: 30s
    mcp:
      servers: {{{}}}
      tools:
        - {{match: '*__secret', roles: [admin]}}
        - {{match: '*'}}
",
        "3".repeat(64),
        agents.collect::<String>(),
        named.collect::<Vec<_>>().join(", ")
    )
}

/// What the official client is told by two official servers that are one to it: with sessions, and in the revision without.
#[tokio::test]
async fn mcps_own_client_finds_several_servers_behind_one_address() {
    for (mode, of_servers, version) in [
        ("legacy", "sessions", "2025-11-25"),
        ("legacy", "stateless", "2025-11-25"),
        ("2026-07-28", "sessions", "2026-07-28"),
        ("auto", "stateless", "2026-07-28"),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut files = Script::start("mcp_several_server.py", &["files", of_servers]);
        let mut web = Script::start("mcp_several_server.py", &["web", of_servers]);
        let servers = [
            ("files", files.address().await),
            ("web", web.address().await),
        ];
        let (listen, operations) = (free_address(), free_address());
        let text = several(listen, operations, &servers);
        let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
        let url = format!("http://{listen}/mcp");
        let mut client = Script::start("mcp_several_client.py", &[&url, mode, "0"]);
        for (key, is_admin) in [("key-of-user", false), ("key-of-admin", true)] {
            let seen = client.tell(key).await;

            let all = |names: &[&str]| {
                let of = |server: &'static str| {
                    names.iter().map(move |name| format!("{server}__{name}"))
                };
                of("files").chain(of("web")).collect::<Vec<_>>()
            };
            let first: &[&str] = if is_admin {
                &["read", "secret"]
            } else {
                &["read"]
            };
            let pages = serde_json::json!([all(first), all(&["steps", "count"]), all(&["can"])]);
            assert_eq!(seen["tools"], pages, "{mode} {key} {seen}");
            assert_eq!(seen["version"], version, "{mode} {key} {seen}");
            assert_eq!(seen["read"], "web read a__b", "{mode} {key} {seen}");
            match is_admin {
                true => assert_eq!(seen["secret"], "files told"),
                false => assert_eq!(seen["secret"]["code"], -32003, "{mode} {seen}"),
            }
            assert_eq!(seen["steps_of"], "files made 3", "{mode} {key} {seen}");
            let steps = serde_json::json!([[1.0, 3.0], [2.0, 3.0], [3.0, 3.0]]);
            assert_eq!(seen["steps"], steps, "{mode} {key} {seen}");
            for unknown in ["nobody", "elsewhere"] {
                assert_eq!(seen[unknown]["code"], -32602, "{mode} {key} {seen}");
            }
            for (what, wanted) in [
                (
                    "prompts",
                    serde_json::json!(["files__greeting", "web__greeting"]),
                ),
                ("prompt", "files greets you".into()),
                (
                    "resources",
                    serde_json::json!(["files+memo://list", "web+memo://list"]),
                ),
                ("resource", "memo of web".into()),
                (
                    "templates",
                    serde_json::json!(["files+memo://of/{person}", "web+memo://of/{person}"]),
                ),
                ("of", "files has a memo of me".into()),
            ] {
                assert_eq!(seen[what], wanted, "{mode} {key} {what} {seen}");
            }
            if mode == "legacy" && of_servers == "sessions" {
                // Nobody could say whose question is answered.
                assert_eq!(seen["can"], "files {}", "{seen}");
            }
            if mode != "2026-07-28" {
                assert_eq!(
                    seen["instructions"],
                    "files (names begin with files__): Ask \"files\".\n\nweb (names begin with web__): Ask \"web\".",
                    "{mode} {seen}"
                );
            }
        }
    }
}

/// Each caller has a session of its own at each server, whichever worker it comes to.
#[tokio::test]
async fn each_session_of_several_servers_is_one_at_each() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut files = Script::start("mcp_several_server.py", &["files", "sessions"]);
    let mut web = Script::start("mcp_several_server.py", &["web", "sessions"]);
    let servers = [
        ("files", files.address().await),
        ("web", web.address().await),
    ];
    let (listen, operations) = (free_address(), free_address());
    let text = several(listen, operations, &servers);
    let around = Around {
        more_workers: 1,
        ..Around::default()
    };
    let _gateway = Gateway::start_with(directory.path(), &text, &around, operations).await;
    let url = format!("http://{listen}/mcp");
    let sessions = SESSIONS.to_string();
    let mut client = Script::start("mcp_several_client.py", &[&url, "legacy", &sessions]);
    for (files, web) in [([1, 2], 1), ([3, 4], 2)] {
        let seen = client.ask("count").await;
        assert_eq!(seen.len(), SESSIONS);
        for session in seen {
            let counted = serde_json::json!([
                format!("files {}", files[0]),
                format!("web {web}"),
                format!("files {}", files[1]),
            ]);
            assert_eq!(session, counted);
        }
    }
    let statuses = client.tell("raw").await;
    let wanted = serde_json::json!({
        "initialized": 202, "own": 200, "others": 404, "others call": 404, "changed": 404, "none": 400,
        "stream": 405, "end": 200, "ended": 404, "ended call": 404,
    });
    assert_eq!(statuses, wanted);

    // A server that is gone is missing, and no other is.
    web.process.kill().await.expect("kill");
    let seen = client.tell("some").await;
    assert_eq!(seen["tools"], serde_json::json!(["files__read"]), "{seen}");
    assert_eq!(seen["files"], "files read a", "{seen}");
    // It took no part when this session began.
    assert_eq!(seen["web"]["code"], -32602, "{seen}");
    eventually("the metric", || async {
        let metrics = Caller::of(operations)
            .get("/stats/prometheus", &[])
            .await
            .text();
        let counts = |line: &str| {
            line.starts_with("waykeeper_mcp_servers_missing_total{")
                && line.contains("agent=\"web-server\"")
                && line.contains("route=\"/mcp\"")
        };
        metrics.lines().any(counts).then_some(())
    })
    .await;
}
