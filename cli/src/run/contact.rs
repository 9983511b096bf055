//! Whether Envoy answers at its admin interface. Without that no change can be made live, and nothing is known of agents; so it is
//! told within seconds, with what still works and what helps, and so is its end.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::admin::Admin;
use super::say;
use crate::gateway::Gateway;
use crate::probe;

/// How often it is asked.
const LOOKS: Duration = Duration::from_secs(1);
/// How long an answer may take that is not a change's.
const PATIENCE: Duration = Duration::from_secs(3);
/// And one that is waited for before something is told.
const SHORT: Duration = Duration::from_secs(1);
/// It may be busy for so long, as with a large change, before that is told.
const LASTS: Duration = Duration::from_secs(5);

/// Asks, as long as it is not dropped.
#[derive(Debug)]
pub(super) struct Contact {
    shared: Arc<Shared>,
    asks: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    admin: Admin,
    socket: PathBuf,
    /// Another name of the socket, for the one that somebody removes.
    kept: PathBuf,
    lost: AtomicBool,
    /// A listener that can be asked in plain HTTP whether requests are served.
    listener: Mutex<Option<SocketAddr>>,
}

/// Gives the socket of an Envoy that has answered another name, before anybody hears of it.
pub(super) fn keep(socket: &Path) {
    // Without it there is one remedy less.
    let _ = fs::hard_link(socket, other_name(socket));
}

fn other_name(socket: &Path) -> PathBuf {
    socket.with_file_name(".admin.sock")
}

// === impl Contact ===

impl Contact {
    /// Asks from now on an Envoy that has answered.
    pub(super) fn begin(admin: Admin, socket: &Path) -> Self {
        let kept = other_name(socket);
        let shared = Arc::new(Shared {
            admin,
            socket: socket.to_owned(),
            kept,
            lost: AtomicBool::new(false),
            listener: Mutex::new(None),
        });
        let asks = tokio::spawn(Arc::clone(&shared).ask());
        Self { shared, asks }
    }

    /// This gateway is live.
    pub(super) fn serves(&self, gateway: &Gateway) {
        let mut plain = gateway.listeners.iter();
        let plain = plain.find(|it| it.tls.is_none() && !it.proxy_protocol);
        let mut listener = self.shared.listener();
        *listener = plain.map(|it| it.address);
    }

    /// Whether it has been told that Envoy does not answer.
    pub(super) fn is_lost(&self) -> bool {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Contact {
    fn drop(&mut self) {
        self.asks.abort();
    }
}

// === impl Shared ===

impl Shared {
    fn listener(&self) -> std::sync::MutexGuard<'_, Option<SocketAddr>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(self: Arc<Self>) {
        let mut since = None;
        loop {
            // What is told when it has lasted, is told no later.
            let lost = self.lost.load(Ordering::Relaxed);
            let left = |since: Option<Instant>| match since {
                Some(since) if !lost => LASTS.saturating_sub(since.elapsed()),
                _ => LASTS,
            };
            sleep(LOOKS.min(left(since))).await;
            let asked = Instant::now();
            let Err(why) = self.answer(left(since).clamp(SHORT, PATIENCE)).await else {
                since = None;
                if self.lost.swap(false, Ordering::Relaxed) {
                    say(
                        "Envoy answers at its admin interface again; changes of the file are taken, and agents are watched",
                    );
                }
                continue;
            };
            if self.put_back() {
                say(&format!(
                    "{} was removed, and is there again: it is Envoy's admin interface, by which changes are made",
                    self.socket.display()
                ));
                continue;
            }
            let since = since.get_or_insert(asked);
            if lost || since.elapsed() < LASTS {
                continue;
            }
            // Callers and Envoy are asked at one time: what is told of them then holds together, and one that has gone on
            // meanwhile, as this process may have been stopped and not Envoy, is not told of.
            let (served, answer) = tokio::join!(self.served(), self.answer(SHORT));
            if answer.is_err() {
                self.lost.store(true, Ordering::Relaxed);
                say(&self.described(&why, served));
            }
        }
    }

    /// # Errors
    /// What Envoy answers of no use, or that it does not answer in time.
    async fn answer(&self, time: Duration) -> Result<(), String> {
        match timeout(time, self.admin.sum("^server\\.live$")).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    fn is_gone(&self) -> bool {
        let found = fs::symlink_metadata(&self.socket);
        found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    fn put_back(&self) -> bool {
        self.is_gone() && fs::hard_link(&self.kept, &self.socket).is_ok()
    }

    /// `served` says whether callers are answered, as far as that is known, and what is said there.
    fn described(&self, why: &str, served: Option<(bool, String)>) -> String {
        const WAITS: &str =
            "changes of the file are not taken, and agents not watched, until it answers";
        let socket = self.socket.display();
        if self.is_gone() {
            let served = served.map_or_else(String::new, |(served, said)| match served {
                true => "Requests are served on; ".to_owned(),
                false => format!("Requests are not served either ({said}); "),
            });
            return format!(
                "{socket} has been removed, and there is no other way to Envoy. {served}{WAITS} there. Start this command again"
            );
        }
        let lasts = LASTS.as_secs();
        match served {
            Some((true, _)) => format!(
                "Envoy has not answered at its admin interface for {lasts} s: {why}. Requests are served on; {WAITS}. If it does not, \
                 start this command again"
            ),
            Some((false, said)) => format!(
                "Envoy has not answered for {lasts} s, neither at its admin interface ({why}) nor to callers ({said}): it is stopped, \
                 or hangs, and serves nobody. See whether something has stopped it; if it does not go on by itself, start this \
                 command again. Changes of the file are taken once it answers"
            ),
            None => format!(
                "Envoy has not answered at its admin interface for {lasts} s: {why}. It is busy, stopped, or hangs; {WAITS}. If it \
                 does not, start this command again"
            ),
        }
    }

    /// Whether callers are answered, as far as that can be seen from here, and what is said there.
    async fn served(&self) -> Option<(bool, String)> {
        let mut address = (*self.listener())?;
        if address.ip().is_unspecified() {
            let loopback: std::net::IpAddr = match address.ip() {
                std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            };
            address.set_ip(loopback);
        }
        let url = format!("http://{address}/healthz");
        Some(match probe::ask(&url.parse().ok()?, SHORT).await {
            Ok(status) => ((200..300).contains(&status), format!("{url}: {status}")),
            Err(error) => (false, format!("{url}: {error}")),
        })
    }
}
