//! What is said of an agent that is not well: its trouble, what comes of it, and what is found out here about why. That may take
//! seconds, as of a host that answers nothing, and nothing else waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::health::Trouble;
use super::say;
use crate::gateway::{Environment, Upstream, Whom};
use crate::reach;

/// How long it may take to find out what is wrong: a connection, an answer, and an alert of TLS.
const ASKED: Duration = Duration::from_secs(8);
/// So many hosts are named.
const NAMED: usize = 3;

/// What there is to tell of an agent.
#[derive(Debug)]
pub(super) struct News {
    pub(super) whom: Whom,
    pub(super) upstream: Upstream,
    pub(super) trouble: Trouble,
    /// Addresses of hosts that get nothing, and whether that is since they failed to answer about their health.
    pub(super) out: Vec<(String, bool)>,
    /// To be told only if something is found to be wrong.
    pub(super) doubtful: bool,
    /// None of its values is told.
    pub(super) environment: Environment,
}

/// Finds out and tells, as long as it is not dropped.
#[derive(Debug)]
pub(super) struct Telling {
    task: JoinHandle<()>,
    told: Arc<AtomicBool>,
}

// === impl Telling ===

impl Telling {
    /// Begins when `asking` has room.
    pub(super) fn begin(news: News, asking: Arc<Semaphore>) -> Self {
        let told = Arc::new(AtomicBool::new(false));
        let tells = Arc::clone(&told);
        let task = tokio::spawn(async move {
            let _room = asking.acquire().await;
            if let Some(line) = news.described().await {
                say(&news.environment.hidden(&line));
                tells.store(true, Ordering::Relaxed);
            }
        });
        Self { task, told }
    }

    /// Whether it was told, once that is known.
    pub(super) fn ended(&self) -> Option<bool> {
        let told = self.told.load(Ordering::Relaxed);
        (told || self.task.is_finished()).then_some(told)
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl News ===

impl News {
    async fn described(&self) -> Option<String> {
        let whom = &self.whom;
        let urls = self.upstream.endpoints.iter();
        let urls: Vec<String> = urls.map(|it| it.url.to_string()).collect();
        let urls = urls.join(", ");
        let lost = whom.lost();
        if self.trouble == Trouble::NoHost {
            return Some(format!(
                "{whom}: no address is known for {urls}; {lost}. {}",
                looked_up(&self.upstream).await
            ));
        }
        let found = found(&self.upstream).await;
        if found.is_none() && self.doubtful {
            return None;
        }
        Some(match self.trouble {
            Trouble::None | Trouble::NoHost => return None,
            Trouble::Unreachable => format!(
                "{whom}: connections to {urls} fail; {lost}. {}",
                found.unwrap_or_else(|| "Asked from here it answers by now".to_owned())
            ),
            Trouble::Useless => format!(
                "{whom}: connections to {urls} come to nothing; {lost}. {}",
                found.unwrap_or_default()
            ),
            Trouble::Unwell { out, of } => {
                let consequence = match out < of {
                    true => "the others get its requests",
                    false => lost,
                };
                let named = self.out.iter().take(NAMED).map(|(it, _)| it.as_str());
                let named: Vec<&str> = named.collect();
                // One that is made anew is not in Envoy's list before it is used.
                let named = match named.is_empty() {
                    true => String::new(),
                    false => format!(" ({})", named.join(", ")),
                };
                let why = found.unwrap_or_else(|| self.in_general());
                format!("{whom}: {out} of {of} hosts{named} left out; {consequence}. {why}")
            }
        })
    }

    /// Why hosts are left out that answer when they are asked from here.
    fn in_general(&self) -> String {
        let asked = self.out.iter().any(|(_, asked)| *asked);
        match &self.upstream.health {
            Some(health) if asked => format!(
                "Asked from here GET {} is answered 200 by now; Envoy takes them in again when that lasts",
                health.path
            ),
            None if asked => "It says by grpc.health.v1 that it cannot count, or does not answer that; for one that never does write health_check: false"
                .to_owned(),
            _ => "They refused connections, or answered 502, 503 or 504, many times in a row; they are tried again after a while"
                .to_owned(),
        }
    }
}

/// What is wrong with the first endpoint with which something is, as `check --probe` finds it, and what helps.
async fn found(upstream: &Upstream) -> Option<String> {
    const LISTENS: &str =
        "See whether it runs and listens there, and whether a firewall lets connections by";
    let Ok(reached) = timeout(ASKED, reach::reach_each(&[upstream])).await else {
        return Some(format!("No answer within {} s", ASKED.as_secs()));
    };
    let mut wrong = reached
        .into_iter()
        .filter_map(|it| Some((it.url, it.outcome.err()?)));
    let (url, wrong) = wrong.next()?;
    let says = |text: &str| wrong.contains(text);
    let helps = if says(reach::NO_CONNECTION) || says(reach::REFUSES) || says(reach::FAILS) {
        format!(". {LISTENS}")
    } else if says(reach::NO_ANSWER) && upstream.health.is_some() {
        ". Let `health` name a path that answers 200 within its `timeout`, or leave `health` out"
            .to_owned()
    } else if says(reach::NO_HTTP) && upstream.tls.is_none() {
        ". If it speaks TLS, its url is one of https".to_owned()
    } else {
        String::new()
    };
    Some(format!("{url}: {wrong}{helps}"))
}

/// Why Envoy knows no address, as far as that is seen from here.
async fn looked_up(upstream: &Upstream) -> String {
    let mut known = Vec::new();
    for endpoint in &upstream.endpoints {
        match reach::addresses(endpoint).await {
            Ok(found) => known.extend(found.iter().map(|it| it.ip().to_string())),
            Err(wrong) => {
                return format!(
                    "{}. See whether the name is right, and whether DNS knows it here; it is looked up again and again",
                    capitalized(&wrong)
                );
            }
        }
    }
    format!(
        "This machine finds {}, and Envoy does not, which asks the name servers of /etc/resolv.conf itself: see whether they know \
         the name; it is looked up again and again",
        known.join(", ")
    )
}

/// As it begins a sentence.
fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|it| it.to_ascii_uppercase());
    first.into_iter().chain(rest).collect()
}
