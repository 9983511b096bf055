//! Envoy on the files that the tool has written.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tokio::process::Child;
use waykeeper_demo::serving::ListenError;

use crate::caller::{Answer, Caller};
pub(crate) use crate::shared::free_address;
use crate::{eventually, needed};

/// A running Envoy; it ends when dropped.
pub(crate) struct Gateway {
    _envoy: Child,
    directory: PathBuf,
    /// Envoy's admin interface.
    pub(crate) admin: SocketAddr,
    version: Option<&'static str>,
}

/// What an Envoy is started with beside the files.
#[derive(Default)]
pub(crate) struct Around<'a> {
    /// Configuration of its own.
    pub(crate) more: &'a str,
    /// Its environment, beside that of the test.
    pub(crate) environment: &'a [(&'a str, &'a str)],
    /// Names that it finds elsewhere than the world does.
    pub(crate) elsewhere: &'a [(&'a str, SocketAddr)],
    /// Another Envoy than the one that the tool writes for unless it is told.
    pub(crate) version: Option<&'static str>,
    /// How many workers it has beside the first.
    pub(crate) more_workers: usize,
}

impl Around<'_> {
    fn program(&self) -> PathBuf {
        match self.version {
            None => needed(".tools/envoy", "make tools"),
            Some(version) => {
                let program = format!(".tools/envoy-{version}/envoy/_bin/envoy");
                needed(&program, "make test-tools")
            }
        }
    }
}

impl Gateway {
    /// Writes `gateway.yaml` into the directory, lets the tool make Envoy's files of it, and starts Envoy with these and `more`
    /// beside them. Its `operations` must be at that address.
    pub(crate) async fn start(
        directory: &Path,
        text: &str,
        more: &str,
        operations: SocketAddr,
    ) -> Self {
        let around = Around {
            more,
            ..Around::default()
        };
        Self::start_with(directory, text, &around, operations).await
    }

    /// The same with more around it.
    pub(crate) async fn start_with(
        directory: &Path,
        text: &str,
        around: &Around<'_>,
        operations: SocketAddr,
    ) -> Self {
        write(directory, text, around.version);
        let out = directory.join("out");
        let bootstrap = out.join("envoy.yaml");
        let written = std::fs::read_to_string(&bootstrap).expect("envoy.yaml");
        // Ports and keys of the test may hold these figures too.
        let port = |port: &dyn std::fmt::Display| format!("port_value: {port}}}");
        let usual = port(&9901);
        assert_eq!(written.matches(&usual).count(), 2, "{written}");
        let admin = free_address();
        let mut moved = written.replace(&usual, &port(&admin.port()));
        for (name, address) in around.elsewhere {
            let place =
                |host: &str, port: &str| format!("{{address: \"{host}\", port_value: {port}}}");
            let (host, port) = name.split_once(':').unwrap_or((name, "443"));
            let named = place(host, port);
            assert!(moved.contains(&named), "no {named}: {moved}");
            let there = place(&address.ip().to_string(), &address.port().to_string());
            moved = moved.replace(&named, &there);
        }
        let moved_to = directory.join("envoy.yaml");
        std::fs::write(&moved_to, moved).expect("write");
        Self::run(directory, &moved_to, around, operations, admin).await
    }

    /// Starts Envoy with this configuration, which serves `/ready` and the admin interface at these addresses.
    pub(crate) async fn run(
        directory: &Path,
        bootstrap: &Path,
        around: &Around<'_>,
        ready: SocketAddr,
        admin: SocketAddr,
    ) -> Self {
        let access_log = std::fs::File::create(directory.join("access.log")).expect("a log");
        let log = directory.join("envoy.log");
        let log_file = std::fs::File::create(&log).expect("a log");
        let mut command = tokio::process::Command::new(around.program());
        command.arg("--config-path").arg(bootstrap);
        if !around.more.is_empty() {
            command.args(["--config-yaml", around.more]);
        }
        command
            .envs(around.environment.iter().copied())
            .args([
                "--concurrency",
                &(1 + around.more_workers).to_string(),
                "--disable-hot-restart",
                "--log-level",
                "warning",
                "--file-flush-interval-msec",
                "50",
            ])
            .stdout(access_log)
            .stderr(log_file)
            .kill_on_drop(true);
        let mut envoy = command.spawn().expect("Envoy");
        let caller = Caller::of(ready);
        let is_ready = || {
            let ended = envoy.try_wait().expect("Envoy");
            let log = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "Envoy ended: {}", log());
            let caller = caller.clone();
            async move {
                let answer = caller.send("GET", "/ready", &[]).await.ok()?;
                (answer.status == 200).then_some(())
            }
        };
        eventually("Envoy", is_ready).await;
        Self {
            _envoy: envoy,
            directory: directory.to_owned(),
            admin,
            version: around.version,
        }
    }

    /// The line of the access log about an answer.
    pub(crate) async fn logged(&self, answer: &Answer) -> Value {
        let id = answer.header("x-request-id").expect("an id");
        let log = self.directory.join("access.log");
        let line = || async {
            let log = std::fs::read_to_string(&log).expect("the access log");
            let mut lines = log
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            lines.find(|line: &Value| line["request_id"] == id)
        };
        eventually("the access log", line).await
    }

    /// Changes `gateway.yaml` and lets the tool write the files anew, under the running Envoy.
    pub(crate) fn change(&self, from: &str, to: &str) {
        let file = self.directory.join("gateway.yaml");
        let text = std::fs::read_to_string(&file).expect("gateway.yaml");
        assert!(text.contains(from), "{from}");
        write(&self.directory, &text.replace(from, to), self.version);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.join("envoy.log"));
            eprintln!("--- envoy's log\n{}", log.unwrap_or_default());
        }
    }
}

fn write(directory: &Path, text: &str, version: Option<&str>) {
    let file = directory.join("gateway.yaml");
    std::fs::write(&file, text).expect("write");
    let version = version.map(|version| format!("--envoy-version={version}"));
    let written = Command::new(env!("CARGO_BIN_EXE_waykeeper"))
        .arg("envoy")
        .arg(&file)
        .arg("--out")
        .arg(directory.join("out"))
        .arg("--module")
        .arg(needed("target/waykeeper.wasm", "make build"))
        .args(version)
        .output()
        .expect("the tool");
    assert!(
        written.status.success(),
        "{}{text}",
        String::from_utf8_lossy(&written.stderr)
    );
}

/// A sample agent.
pub(crate) async fn agent(name: &str) -> waykeeper_demo::agent::Agent {
    let started: Result<_, ListenError> = waykeeper_demo::agent::start(name, "127.0.0.1:0").await;
    started.expect("an agent")
}
