//! The program `waykeeper-demo`, as a shell or a container runs it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_waykeeper-demo");

/// A service in a process of its own; killed when the test is over.
struct Service {
    process: Child,
    line: String,
}

impl Service {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(PROGRAM)
            .args(arguments)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self { process, line }
    }

    fn url(&self, path: &str) -> String {
        let (_, url) = self
            .line
            .trim_end()
            .split_once(" listens on ")
            .expect("the line names the address");
        format!("{url}{path}")
    }

    /// The most memory that the process ever held, in bytes.
    fn peak_memory(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        peak.trim()
            .strip_suffix(" kB")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 1024
    }

    /// Sends a signal and returns the exit code.
    fn end(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "still running after the signal");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

#[tokio::test]
async fn auth_serves_the_demo_keys_until_it_is_terminated() {
    let mut auth = Service::start(&["auth"]);
    let client = reqwest::Client::new();
    for (key, plan) in [
        ("demo-standard", "standard"),
        ("demo-premium", "premium"),
        ("demo-admin", "premium"),
    ] {
        let answer = client
            .post(auth.url("/validate"))
            .json(&json!({"api_key": key}))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["plan"], plan);
    }
    drop(client);
    assert_eq!(auth.end(Signal::TERM), Some(0));
}

#[tokio::test]
async fn auth_serves_the_keys_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    std::fs::write(
        &file,
        r#"{"keys": [{"api_key": "mine", "client_id": "me"}]}"#,
    )
    .unwrap();
    let auth = Service::start(&["auth", "--keys", file.to_str().unwrap()]);
    let client = reqwest::Client::new();
    let ask = |key| {
        client
            .post(auth.url("/validate"))
            .json(&json!({"api_key": key}))
            .send()
    };
    assert_eq!(ask("mine").await.unwrap().status(), 200);
    assert_eq!(ask("demo-standard").await.unwrap().status(), 401);
}

#[tokio::test]
async fn an_agent_serves_until_it_is_interrupted_and_finishes_what_it_began() {
    let mut agent = Service::start(&["agent", "chat-gpu"]);
    let request = reqwest::Client::new()
        .get(agent.url("/x"))
        .header("x-demo-events", "20");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["x-demo-agent"], "chat-gpu");
    let rest = tokio::spawn(answer.text());
    let code = tokio::task::spawn_blocking(move || agent.end(Signal::INT))
        .await
        .unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(rest.await.unwrap().unwrap().matches("data: ").count(), 20);
}

#[tokio::test]
async fn uploads_and_downloads_of_50_mb_leave_memory_flat() {
    let agent = Service::start(&["agent", "a"]);
    let client = reqwest::Client::new();
    client.get(agent.url("/x")).send().await.unwrap();
    let before = agent.peak_memory();

    let pieces = stream::iter((0..50).map(|_| Ok::<_, std::io::Error>(vec![b'u'; 1 << 20])));
    let upload = client
        .post(agent.url("/x"))
        .body(reqwest::Body::wrap_stream(pieces));
    let echo: Value = upload.send().await.unwrap().json().await.unwrap();
    assert_eq!(echo["body_bytes"], 50 << 20);
    let requests = [
        client.get(agent.url("/x")),
        client
            .get(agent.url("/x"))
            .header("x-demo-encoding", "gzip"),
        client.post(agent.url("/api/v1/chat")),
    ];
    for request in requests {
        let mut body = request
            .header("x-demo-size", "52428800")
            .send()
            .await
            .unwrap()
            .bytes_stream();
        while let Some(piece) = body.next().await {
            piece.unwrap();
        }
    }
    let grown = agent.peak_memory() - before;
    assert!(grown < 8 << 20, "grew by {grown} bytes");
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for command in [["auth"].as_slice(), &["agent", "a"]] {
        let output = run(&[command, &["--listen", &address]].concat());
        assert_eq!(output.status.code(), Some(1));
        let expected = format!(
            "waykeeper-demo: cannot listen on {address}: the port is in use; stop what listens there or choose another with --listen\n"
        );
        assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    }
}

#[test]
fn what_cannot_be_used_is_one_clear_line() {
    let cases = [
        (
            ["auth", "--keys", "/no/such/file"].as_slice(),
            "waykeeper-demo: /no/such/file: ",
        ),
        (
            &["auth", "--listen", "nowhere"],
            "waykeeper-demo: cannot listen on nowhere: ",
        ),
    ];
    for (arguments, expected) in cases {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.starts_with(expected) && text.lines().count() == 1,
            "{text}"
        );
    }
}

#[test]
fn an_agent_needs_a_name_that_a_header_can_hold() {
    for name in ["", "a b", "ä"] {
        let output = run(&["agent", name]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(
            String::from_utf8(output.stderr)
                .unwrap()
                .contains("a name has 1 to 128"),
            "{name}"
        );
    }
}

#[test]
fn help_names_the_services() {
    let output = run(&["--help"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("auth") && text.contains("agent"),
        "{text}"
    );
    for command in ["auth", "agent"] {
        let output = run(&[command, "--help"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && text.contains("--listen <HOST:PORT>"),
            "{text}"
        );
    }
}
