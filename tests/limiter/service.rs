//! The limiter as a process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::Client;
use crate::shared::{eventually, signal_to};

/// A running limiter; it is killed when dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
    _directory: TempDir,
}

impl Service {
    /// Starts it, and waits until it counts.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let service = Self::begin(arguments).await;
        service.until_well().await;
        service
    }

    /// Starts it, and waits until it listens.
    pub(crate) async fn begin(arguments: &[&str]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let log = directory.path().join("log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_waykeeper"))
            .args(["limiter", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .kill_on_drop(true)
            .spawn()
            .expect("the limiter");
        let address = eventually("the limiter", || {
            let said = std::fs::read_to_string(&log).expect("the log");
            let ended = child.try_wait().expect("the limiter");
            assert!(ended.is_none(), "it ended: {said}");
            let address = said.lines().find_map(|line| {
                let (_, rest) = line.split_once("listens at ")?;
                rest.split([',', ' ']).next()?.parse().ok()
            });
            async move { address }
        });
        let address = address.await;
        Self {
            child,
            address,
            log,
            _directory: directory,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::to(self.address).await.expect("a connection")
    }

    /// Waits until its health check says that it counts.
    pub(crate) async fn until_well(&self) {
        self.until_health(1).await;
    }

    pub(crate) async fn until_health(&self, wanted: u8) {
        let client = self.client().await;
        eventually("the limiter's health", || async {
            let health = client.health("").await.expect("a status");
            (health == wanted).then_some(())
        })
        .await;
    }

    /// All that it has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let process = self.child.id().expect("it runs");
        signal_to(process.cast_signed(), signal);
    }

    /// Tells it to end, and waits.
    pub(crate) async fn end(mut self) -> (ExitStatus, String) {
        self.signal(Signal::TERM);
        let status = self.child.wait().await.expect("an end");
        (status, self.log())
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("an end");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the limiter's log\n{}", self.log());
        }
    }
}
