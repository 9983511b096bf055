//! The end: who tells of it, and how Envoy comes to it so that nobody is cut off who need not be.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout};

use super::admin::Admin;
use super::envoy::Process;
use super::{Arguments, say, within};

/// How long the last look may take.
const LAST: Duration = Duration::from_secs(1);

/// Signals that tell this process to end.
pub(super) struct Ends {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// Ends Envoy so that nobody is cut off who need not be.
pub(super) async fn end(
    arguments: &Arguments,
    admin: &Admin,
    process: &mut Process,
    ends: &mut Ends,
    at_leisure: bool,
) {
    let Arguments {
        drain_time, grace, ..
    } = arguments;
    let least = if at_leisure {
        *drain_time
    } else {
        Duration::ZERO
    };
    say(&format!(
        "ending: new requests are asked to go elsewhere, those under way have {} s; another signal ends at once",
        grace.as_secs()
    ));
    let drained = async {
        let (began, mut last) = (Instant::now(), None);
        let most = (*grace).max(least);
        let told = async {
            admin.post("/healthcheck/fail").await?;
            admin.post("/drain_listeners?graceful").await
        };
        if !matches!(timeout(most.max(LAST), told).await, Ok(Ok(_))) {
            say("Envoy does not answer; requests under way are cut off, if there are any");
            return;
        }
        let idle = within(most, async || {
            let left = most.saturating_sub(began.elapsed()).max(LAST);
            let active = admin.sum("^http\\.gateway\\.downstream_rq_active$");
            // Not known is not none.
            let active = timeout(left, active).await.ok().and_then(Result::ok);
            if active == Some(0) && began.elapsed() >= least {
                return Some(());
            }
            last = active;
            None
        });
        if idle.await.is_none() {
            match last {
                Some(0) => {}
                Some(left) => say(&format!("{left} requests under way are cut off")),
                None => say(
                    "requests under way are cut off, if there are any: Envoy's admin interface does not tell",
                ),
            }
        }
    };
    tokio::select! {
        () = drained => {}
        _ = ends.told() => say("ending at once"),
        _ = process.ended() => {}
    }
    process.stop().await;
}

// === impl Ends ===

impl Ends {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one, and says whether whoever sent it gives callers time to go elsewhere: somebody at a terminal is the only
    /// caller mostly.
    pub(super) async fn told(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => false,
            _ = self.hang_up.recv() => false,
        }
    }
}
