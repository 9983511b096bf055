//! `waykeeper run`, started as a user would start it, on a file that finds the demo's services by its environment.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Split};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use super::{GRACE, Options, say};
use crate::stack::{AGENTS, AUTH_SERVICE, Services};

/// How long it may take to end, beyond what requests under way may take.
const ENDS: Duration = Duration::from_secs(10);

/// The running tool; killed when dropped, and Envoy with it.
pub(super) struct Tool {
    process: Child,
    lines: Split<BufReader<ChildStderr>>,
    envoy_log: File,
    /// Where its logs are, and the files between it and Envoy.
    directory: tempfile::TempDir,
}

// === impl Tool ===

impl Tool {
    /// Starts it. To be called from a thread that lives as long as this process does: the tool ends when that thread does, and so
    /// it does when this process is killed.
    pub(super) fn start(
        options: &Options,
        services: &Services,
        listen: SocketAddr,
        operations: SocketAddr,
    ) -> std::io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let envoy_log = File::create(directory.path().join("envoy.log"))?;
        let mut command = Command::new(&options.tool);
        command
            .arg("become")
            .arg(std::process::id().to_string())
            .arg(&options.tool)
            .arg("run")
            .arg(&options.configuration)
            .arg("--envoy")
            .arg(&options.envoy)
            .arg("--module")
            .arg(&options.module)
            .args(["--concurrency", &options.concurrency.to_string()])
            .args(["--grace", &format!("{}s", GRACE.as_secs())])
            .arg("--directory")
            .arg(directory.path().join("run"))
            .env(variable("gateway"), listen.to_string())
            .env(variable("operations"), operations.to_string())
            .env(variable(AUTH_SERVICE), url(services.auth().address()));
        for (agent, (_, service)) in services.agents().iter().zip(AGENTS) {
            command.env(variable(service), url(agent.address()));
        }
        let mut process = command
            .stdin(Stdio::null())
            .stdout(File::create(directory.path().join("access.log"))?)
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal is ours to hand on: it would be a second signal, which ends the tool at once.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let errors = process.stderr.take();
        let errors = errors.ok_or_else(|| std::io::Error::other("no standard error"))?;
        Ok(Self {
            process,
            lines: BufReader::new(errors).split(b'\n'),
            envoy_log,
            directory,
        })
    }

    pub(super) fn access_log(&self) -> PathBuf {
        self.directory.path().join("access.log")
    }

    pub(super) fn envoy_log(&self) -> PathBuf {
        self.directory.path().join("envoy.log")
    }

    /// The socket of Envoy's admin interface.
    pub(super) fn admin(&self) -> PathBuf {
        self.directory.path().join("run").join("admin.sock")
    }

    /// What Envoy has said, for people to read.
    pub(super) fn read_envoy_log(&self) -> String {
        let bytes = std::fs::read(self.envoy_log()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Hands on what it says, and returns where it serves once it does; `None` if it ended before.
    pub(super) async fn serves(&mut self) -> Option<SocketAddr> {
        loop {
            let line = self.next().await?;
            let (_, served) = line.split_once(" is served at http://").unwrap_or_default();
            let address = served.split([',', ' ']).next();
            if let Some(address) = address.and_then(|address| address.parse().ok()) {
                return Some(address);
            }
        }
    }

    /// Hands on what it says until it has no more to say.
    pub(super) async fn talks(&mut self) {
        while self.next().await.is_some() {}
    }

    /// How it ended, once it has.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Ends it as Ctrl-C does: requests under way may finish.
    pub(super) async fn end(mut self) {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(Pid::from_raw) {
            // It may have ended in this instant, which is as well.
            let _ = kill_process(id, Signal::INT);
        }
        let gentle = async {
            self.talks().await;
            self.process.wait().await
        };
        if timeout(GRACE + ENDS, gentle).await.is_err() {
            // As above.
            let _ = self.process.kill().await;
        }
    }

    /// The next line of its own; those of Envoy's log go into a file.
    async fn next(&mut self) -> Option<String> {
        loop {
            let line = self.lines.next_segment().await.ok().flatten()?;
            let line = String::from_utf8_lossy(&line);
            if let Some(logged) = line.strip_prefix("envoy: ") {
                // It is for people to read, if they can.
                let _ = writeln!(self.envoy_log, "{logged}");
            } else {
                say(&line);
                return Some(line.into_owned());
            }
        }
    }
}

/// By which variable of the environment the demo's file finds a service.
fn variable(service: &str) -> String {
    format!("DEMO_{}", service.replace('-', "_").to_uppercase())
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}
