//! `waykeeper run`, as an operator starts it: on a file that is changed while it runs, with what it says of that.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

pub(crate) use crate::shared::signal_to;
use crate::{eventually, needed};

/// A gateway that runs; it ends, and Envoy with it, when dropped.
pub(crate) struct Running {
    process: Child,
    pub(crate) file: PathBuf,
    directory: PathBuf,
    said: Arc<Mutex<String>>,
    /// Where its standard output goes: the access log.
    printed: PathBuf,
    listens: JoinHandle<()>,
    /// What was said before that, and waited for.
    heard: String,
}

impl Running {
    /// Writes `gateway.yaml` into the directory and runs it.
    pub(crate) async fn start(directory: &Path, text: &str, arguments: &[&str]) -> Self {
        let file = directory.join("gateway.yaml");
        std::fs::write(&file, text).expect("write");
        let mut running = Self::launch(directory, &file, arguments);
        running.hears("is served at").await;
        running
    }

    /// Runs a file that is there, and does not wait.
    pub(crate) fn launch(directory: &Path, file: &Path, arguments: &[&str]) -> Self {
        let run = directory.join("run");
        let mut command = Command::new(env!("CARGO_BIN_EXE_waykeeper"));
        Self::arguments(&mut command, file, &run, arguments);
        Self::spawn(command, file, run)
    }

    /// Has a command run a file, with Envoy's files in that directory.
    pub(crate) fn arguments(command: &mut Command, file: &Path, run: &Path, arguments: &[&str]) {
        command.arg("run").arg(file);
        if !arguments.contains(&"--envoy") {
            command
                .arg("--envoy")
                .arg(needed(".tools/envoy", "make tools"));
        }
        if !arguments.contains(&"--concurrency") {
            command.args(["--concurrency", "1"]);
        }
        command
            .arg("--module")
            .arg(needed("target/waykeeper.wasm", "make build"))
            .arg("--directory")
            .arg(run)
            .args(arguments);
    }

    /// Runs a command that runs the file, with Envoy's files in that directory.
    pub(crate) fn spawn(mut command: Command, file: &Path, run: PathBuf) -> Self {
        let printed = run.with_extension("printed");
        let output = std::fs::File::create(&printed).expect("a file for its output");
        let mut process = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the tool");
        let said = Arc::new(Mutex::new(String::new()));
        let errors = process.stderr.take().expect("standard error");
        let heard = Arc::clone(&said);
        let listens = tokio::spawn(async move {
            let mut lines = BufReader::new(errors).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push_str(&line);
                heard.push('\n');
            }
        });
        Self {
            process,
            file: file.to_owned(),
            directory: run,
            said,
            printed,
            listens,
            heard: String::new(),
        }
    }

    /// For one that has its files in a mount of its own.
    pub(crate) fn in_its_mounts(mut self) -> Self {
        let root = format!("/proc/{}/root", self.id());
        let inside = self.directory.strip_prefix("/").expect("a whole path");
        self.directory = Path::new(&root).join(inside);
        self
    }

    /// All that it has printed so far, which is what the access log has of each request.
    pub(crate) fn printed(&self) -> String {
        std::fs::read_to_string(&self.printed).unwrap_or_default()
    }

    /// All that it has said so far.
    pub(crate) fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }

    /// The same, with what was waited for.
    pub(crate) fn said_in_all(&self) -> String {
        format!("{}{}", self.heard, self.said())
    }

    /// Waits until it says something, and forgets all up to there.
    pub(crate) async fn hears(&mut self, text: &str) -> String {
        self.hears_one_of(&[text]).await
    }

    /// The same for whichever comes first.
    pub(crate) async fn hears_one_of(&mut self, texts: &[&str]) -> String {
        let said = Arc::clone(&self.said);
        let process = &mut self.process;
        let found = eventually(&format!("{texts:?}"), || {
            let ended = process.try_wait().expect("the tool");
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            let places = texts
                .iter()
                .filter_map(|text| Some((said.find(text)?, text)));
            let found = places.min().map(|(place, text)| {
                let end = said[place..]
                    .find('\n')
                    .map_or(said.len(), |line| place + line);
                let rest = said.split_off(end);
                assert!(said[place..].starts_with(*text));
                std::mem::replace(&mut *said, rest)
            });
            assert!(
                found.is_some() || ended.is_none(),
                "it ended with {ended:?} before it said {texts:?}: {said}"
            );
            async move { found }
        })
        .await;
        self.heard.push_str(&found);
        found
    }

    /// Replaces the file by another, as editors and programs do, and waits until that is live.
    pub(crate) async fn change(&mut self, text: &str) -> String {
        self.replace(text);
        let said = self
            .hears_one_of(&["; live in", "what runs goes on", "nothing is different"])
            .await;
        assert!(said.contains("; live in"), "{said}");
        said
    }

    /// Gives it a file that it will not take, and tells what it says.
    pub(crate) async fn refuse(&mut self, text: &str) -> String {
        self.replace(text);
        let said = self.hears_one_of(&["; live in", "what runs goes on"]).await;
        assert!(said.contains("what runs goes on"), "{said}");
        said
    }

    pub(crate) fn replace(&self, text: &str) {
        let beside = self.file.with_extension("new");
        std::fs::write(&beside, text).expect("write");
        std::fs::rename(beside, &self.file).expect("rename");
    }

    pub(crate) fn id(&self) -> i32 {
        let id = self.process.id().expect("a running process");
        i32::try_from(id).expect("a process id")
    }

    /// The process of Envoy.
    pub(crate) fn envoy(&self) -> i32 {
        let id = self.id();
        let children = format!("/proc/{id}/task/{id}/children");
        let children = std::fs::read_to_string(children).expect("children");
        let children: Vec<i32> = children
            .split_whitespace()
            .map(|id| id.parse().unwrap())
            .collect();
        // There may be one that judges a configuration.
        let serves = |id: &&i32| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            !String::from_utf8_lossy(&line).contains("validate")
        };
        *children.iter().find(serves).expect("Envoy")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        signal_to(self.id(), signal);
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(crate::PATIENCE, self.process.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it does not end: {}", self.said()));
        ended.expect("the tool")
    }

    /// Waits for its end with that status, and tells what it said.
    pub(crate) async fn fails(mut self, status: i32) -> String {
        let ended = self.ended().await;
        // What it said last comes by another way.
        let listened = tokio::time::timeout(crate::PATIENCE, &mut self.listens).await;
        let said = self.said();
        assert!(listened.is_ok(), "it goes on saying something: {said}");
        assert_eq!(ended.code(), Some(status), "{said}");
        said
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Asks Envoy's admin interface.
    pub(crate) async fn admin(&self, path: &str) -> String {
        let stream = UnixStream::connect(self.directory.join("admin.sock")).await;
        let stream = TokioIo::new(stream.expect("the admin interface"));
        let (mut sender, connection) = http1::handshake(stream).await.expect("a connection");
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "admin");
        let request = request
            .body(Empty::<bytes::Bytes>::new())
            .expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        let body = answer
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        String::from_utf8_lossy(&body).into_owned()
    }

    pub(crate) async fn stat(&self, name: &str) -> u64 {
        let stats = self.admin(&format!("/stats?filter=^{name}$")).await;
        let value = stats.trim().rsplit(": ").next().expect("a value");
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}: {stats:?}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- it said last\n{}", self.said());
        }
    }
}

/// Whether there is such a process.
pub(crate) fn lives(process: i32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // One whose end nobody has asked for yet is dead.
    !state.is_empty() && !state.contains(") Z ")
}

/// A gateway on one address, with these agents, each on a route of its name.
pub(crate) fn gateway(listen: SocketAddr, agents: &[(&str, String)], more: &str) -> String {
    let named: String = agents
        .iter()
        .map(|(name, agent)| format!("  {name}: {agent}\n"))
        .collect();
    let routes: String = agents
        .iter()
        .map(|(name, _)| {
            format!(
                "  - {{prefix: /{name}, agents: [{name}], auth_required: false, streams: true}}\n"
            )
        })
        .collect();
    format!("listen: [{{address: '{listen}'}}]\nagents:\n{named}routes:\n{routes}{more}\n")
}

/// An agent at a url.
pub(crate) fn at(address: SocketAddr) -> String {
    format!("{{url: 'http://{address}'}}")
}

/// What has Envoy refuse a listener when it is to open it, and not before: an option that no socket has.
pub(crate) fn refused(listener: &str) -> String {
    format!(
        "envoy: {{patches: [{{in: listeners, name: {listener}, merge: {{socket_options: [{{level: 41, name: 9999, int_value: 1}}]}}}}]}}\n"
    )
}
