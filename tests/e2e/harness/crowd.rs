//! Thousands of requests at once, put to the gateway by `h2load`: a client of our own in a debug build would be slower
//! than what it looks at.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::PATIENCE;

/// Over so many streams of one connection HTTP/2's requests are spread; the gateway takes no more.
const STREAMS: usize = 100;

/// Requests that are all sent at once.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    pub(crate) size: usize,
    pub(crate) http2: bool,
    pub(crate) path: &'static str,
    pub(crate) key: String,
    /// If there is one, the requests are POST.
    pub(crate) body: &'static str,
}

/// A crowd that waits for its answers.
pub(crate) struct Arrived {
    child: Child,
    directory: TempDir,
}

/// What became of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// None: it was cut off.
    pub(crate) status: Option<u16>,
    /// When its answer was there, since 1970.
    pub(crate) ended: Duration,
}

impl Crowd {
    /// Sends all requests.
    pub(crate) fn send(&self, to: SocketAddr) -> Arrived {
        let directory = tempfile::tempdir().expect("a directory");
        let connections = if self.http2 {
            self.size.div_ceil(STREAMS)
        } else {
            self.size
        };
        let mut command = Command::new("h2load");
        command
            .args(["--threads=1", "--connection-inactivity-timeout=60"])
            .arg(format!("--requests={}", self.size))
            .arg(format!("--clients={connections}"))
            .arg(format!("--log-file={}", log(&directory).display()))
            .arg(format!("--header=x-api-key: {}", self.key));
        if self.http2 {
            command.arg(format!("--max-concurrent-streams={STREAMS}"));
        } else {
            command.arg("--h1");
        }
        if !self.body.is_empty() {
            let body = directory.path().join("body");
            std::fs::write(&body, self.body).expect("write");
            command.arg(format!("--data={}", body.display()));
        }
        let child = command
            .arg(format!("http://{to}{}", self.path))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("h2load, which `make bench-tools` installs");
        Arrived { child, directory }
    }
}

impl Arrived {
    /// What became of them, one by one, when all are answered or cut off. Of those cut off over HTTP/1.1 nothing is said.
    pub(crate) async fn outcomes(mut self) -> Vec<Outcome> {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended.expect("some wait in vain").expect("h2load");
        let text = std::fs::read_to_string(log(&self.directory)).expect("a log");
        text.lines().map(Outcome::read).collect()
    }
}

impl Outcome {
    /// Reads a line of the log: begin, status and duration, times in microseconds.
    fn read(line: &str) -> Self {
        let numbers: Vec<i64> = line
            .split('\t')
            .map(|number| number.parse().expect("a number"))
            .collect();
        let [begin, status, lasted] = numbers[..] else {
            panic!("not a line of h2load's log: {line}");
        };
        let microseconds = u64::try_from(begin + lasted).expect("a time after 1970");
        Self {
            status: u16::try_from(status).ok(),
            ended: Duration::from_micros(microseconds),
        }
    }
}

/// The time now, since 1970, as outcomes have it.
pub(crate) fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time after 1970")
}

/// Lets this process and those that it starts have so many connections at a time.
pub(crate) fn allow_connections(number: u64) {
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= number);
    if enough(limit.current) {
        return;
    }
    let maximum = if enough(limit.maximum) {
        limit.maximum
    } else {
        Some(number)
    };
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(number),
            maximum,
        },
    );
    raised.unwrap_or_else(|error| {
        panic!("{number} open files are needed and not to be had ({error}): ulimit -Hn {number}")
    });
}

fn log(directory: &TempDir) -> std::path::PathBuf {
    directory.path().join("log")
}
