//! Limits that are counted for all gateways, and who counts them as the file says.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::caller::Caller;
use crate::certificates::Authority;
use crate::eventually;
use crate::gateway::{agent, free_address};
use crate::running::{Running, at, gateway};

/// So many of a month's five are left, whoever asks for them; nothing else answers for the limiter.
fn text(listen: SocketAddr, agent: SocketAddr, limiter: &str) -> String {
    let more = format!(
        "fleet: {{gateways: 2, on_failure: deny, limiter: {{{limiter}, timeout: 5s}}}}\n\
         limits: [{{name: monthly, each: [], requests: 5/month, scope: fleet}}]"
    );
    gateway(listen, &[("a", at(agent))], &more)
}

/// A running `waykeeper limiter`; it is killed when dropped.
pub(crate) struct Limiter {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Limiter {
    pub(crate) async fn start(address: &str) -> Self {
        Self::with(address, &[]).await
    }

    /// That of its process.
    pub(crate) fn id(&self) -> i32 {
        let id = self.process.id().expect("it runs");
        id.try_into().expect("an id")
    }

    async fn with(address: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_waykeeper"))
            .args(["limiter", "--listen", address])
            .args(arguments)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the limiter");
        let said = process.stderr.take().expect("standard error");
        let mut lines = BufReader::new(said).lines();
        let line = lines.next_line().await.expect("a line").expect("a line");
        let (_, address) = line.split_once("listens at ").expect("where it listens");
        let address = address.parse().expect("an address");
        // Nobody reads what else it says.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { process, address }
    }
}

async fn statuses(callers: &[&Caller]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for caller in callers {
        statuses.push(caller.get("/a/x", &[]).await.status);
    }
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_that_name_a_limiter_share_one_count() {
    let agent = agent("a").await;
    let mut limiter = Limiter::start("127.0.0.1:0").await;
    let url = format!("url: 'http://{}'", limiter.address);
    let (one, other) = (free_address(), free_address());
    let (first, second) = (tempfile::tempdir(), tempfile::tempdir());
    let (first, second) = (first.expect("a directory"), second.expect("a directory"));
    let here = text(one, agent.address(), &url);
    let mut running = Running::start(first.path(), &here, &[]).await;
    let there = text(other, agent.address(), &url);
    let _also = Running::start(second.path(), &there, &[]).await;
    let (one, other) = (Caller::of(one), Caller::of(other));

    let seen = statuses(&[&one, &other, &one, &other, &one, &other, &one]).await;

    assert_eq!(seen, [200, 200, 200, 200, 200, 429, 429]);

    // One that is gone is told of, and what the file says of that holds.
    limiter.process.kill().await.expect("an end");
    running.hears("the limiter").await;
    assert_eq!(statuses(&[&one, &other]).await, [503, 503]);
    let _back = Limiter::start(&limiter.address.to_string()).await;
    running.hears("the limiter: all is well again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limiter_is_spoken_to_in_tls_by_those_who_know_each_other_and_by_nobody_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "authority");
    let stranger = Authority::new(directory.path(), "stranger");
    let (server, own) = (
        authority.sign("localhost"),
        authority.sign("gateway.example"),
    );
    let strangers = stranger.sign("gateway.stranger");
    let path = |file: &Path| file.to_str().expect("a path").to_owned();
    let [certificate, key, ca] =
        [&server.certificate, &server.key, &authority.file].map(|it| path(it));
    let options = [
        "--tls-certificate",
        &certificate,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &ca,
    ];
    let limiter = Limiter::with("127.0.0.1:0", &options).await;
    let port = limiter.address.port();
    let agent = agent("a").await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let shows = |who: &crate::certificates::Identity| {
        format!(
            "certificate: {}, key: {}",
            path(&who.certificate),
            path(&who.key)
        )
    };
    let text = |url: &str, tls: &str| {
        let limiter = format!("url: '{url}:{port}'{tls}");
        text(listen, agent.address(), &limiter)
    };
    let known = |name: &str| text(name, &format!(", tls: {{ca: {ca}, {}}}", shows(&own)));
    let counted = |left: &'static str| {
        let caller = &caller;
        eventually("the limiter's word", move || async move {
            let answer = caller.get("/a/x", &[]).await;
            let told = answer.header("x-ratelimit-remaining-requests") == Some(left);
            (answer.status == 200 && told).then_some(())
        })
    };
    let mut running = Running::start(directory.path(), &known("https://localhost"), &[]).await;

    counted("4").await;
    for wrong in [
        // Another name than its certificate's.
        known("https://127.0.0.1"),
        // No certificate of the gateway's own, and one of somebody else's authority.
        text("https://localhost", &format!(", tls: {{ca: {ca}}}")),
        text(
            "https://localhost",
            &format!(", tls: {{ca: {ca}, {}}}", shows(&strangers)),
        ),
        // An authority that has not signed the limiter's, and the system's.
        text(
            "https://localhost",
            &format!(", tls: {{ca: {}, {}}}", path(&stranger.file), shows(&own)),
        ),
        text("https://localhost", ""),
        // In clear.
        text("http://localhost", ""),
    ] {
        running.change(&wrong).await;
        assert_eq!(statuses(&[&caller, &caller]).await, [503, 503], "{wrong}");
    }
    // Nothing was counted meanwhile.
    running.change(&known("https://localhost")).await;
    counted("3").await;
}

async fn restarted(directory: &Path, text: &str, caller: &Caller, times: usize) -> Vec<u16> {
    let mut running = Running::start(directory, text, &[]).await;
    let seen = statuses(&vec![caller; times]).await;
    let socket = running.directory().join("limiter.sock");
    assert!(socket.exists());
    running.signal(Signal::INT);
    assert!(running.ended().await.success());
    assert!(!socket.exists());
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_builtin_limiter_has_counted_outlives_a_restart_if_it_is_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = agent("a").await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let file = directory.path().join("counts");
    let kept = format!("builtin: {{keep: '{}'}}", file.display());
    let kept = text(listen, agent.address(), &kept);
    let in_memory = text(listen, agent.address(), "builtin: {}");

    let first = restarted(directory.path(), &kept, &caller, 3).await;
    let second = restarted(directory.path(), &kept, &caller, 3).await;
    let third = restarted(directory.path(), &in_memory, &caller, 6).await;

    assert_eq!(first, [200, 200, 200]);
    assert_eq!(second, [200, 200, 429]);
    assert_eq!(third, [200, 200, 200, 200, 200, 429]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limiter_is_probed_as_it_is_spoken_to() {
    let agent = agent("a").await;
    let limiter = Limiter::start("127.0.0.1:0").await;
    for (limiter, status, says) in [
        (limiter.address, 0, "answers in HTTP/2"),
        (free_address(), 1, "refuses connections"),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("url: 'http://{limiter}'");
        let file = directory.path().join("gateway.yaml");
        std::fs::write(&file, text(free_address(), agent.address(), &url)).expect("write");
        let mut tool = Command::new(env!("CARGO_BIN_EXE_waykeeper"));
        let tool = tool.args(["check", "--probe", "--no-validate"]).arg(file);
        let probed = tool.output().await.expect("the tool");
        let told = [probed.stdout, probed.stderr].concat();
        let told = String::from_utf8(told).expect("text");
        assert_eq!(probed.status.code(), Some(status), "{told}");
        let line = told.lines().find(|line| line.contains("fleet.limiter"));
        assert!(line.is_some_and(|line| line.contains(says)), "{told}");
    }
}
