//! What the tests in the real Envoy share, whichever way it got its configuration: to wait for an event, a place to listen, and
//! what the Makefile makes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// How long a condition that is waited for may take on a busy machine before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Waits until `look` finds something.
pub(crate) async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(POLL).await;
    }
}

/// The ports below those that the system gives to whoever does not care: a connection or another test could get one of them
/// again before it is listened on.
const PORTS: Range<u16> = 10_000..32_000;

/// Where nobody listens, nor will before whoever asked for it. Another run of the tests begins elsewhere.
pub(crate) fn free_address() -> SocketAddr {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let first = std::process::id() as usize * 499;
    loop {
        let place = first.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed)) % PORTS.len();
        let port = PORTS.clone().nth(place).expect("a port");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Sends a process a signal. One that is to stop has stopped then: until its threads have heard of that, some go on.
pub(crate) fn signal_to(process: i32, signal: Signal) {
    let id = Pid::from_raw(process).expect("a process");
    kill_process(id, signal).expect("a signal");
    let began = std::time::Instant::now();
    while signal == Signal::STOP && !has_stopped(process) {
        assert!(began.elapsed() < PATIENCE, "it does not stop");
        std::thread::sleep(POLL);
    }
}

fn has_stopped(process: i32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().unwrap_or_default();
        state.starts_with('T')
    })
}

/// A path in the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    // The tests of more than one package are here.
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let root = folders.find(|folder| folder.join("Cargo.lock").exists());
    root.expect("the repository").join(path)
}

/// A path in the repository that a target of the Makefile makes.
pub(crate) fn needed(path: &str, remedy: &str) -> PathBuf {
    let path = repository(path);
    assert!(
        path.exists(),
        "{} is missing: run `{remedy}`",
        path.display()
    );
    path
}
