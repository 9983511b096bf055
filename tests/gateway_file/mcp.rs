//! The official MCP client and server, several of the latter: sessions that each keep in their own memory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::gateway::{Gateway, free_address};
use crate::sticky::CLIENTS;
use crate::{PATIENCE, needed};

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
