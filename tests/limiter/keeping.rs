//! `--keep`: counts that outlive the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::JoinSet;

use crate::protocol::{RateLimitDescriptor, Unit};
use crate::shared::eventually;
use crate::{Client, Service, ask, descriptor, of};

const LIMIT: u32 = 400;
const CALLERS: u32 = 16;

fn plan() -> Vec<RateLimitDescriptor> {
    vec![descriptor("acme", LIMIT, Unit::Year)]
}

/// Callers that ask again and again until they are refused, or the limiter has gone. They say how many were admitted.
pub(crate) fn callers(client: &Client, admitted: &Arc<AtomicU32>) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, admitted) = (client.clone(), Arc::clone(admitted));
        callers.spawn(async move {
            while let Ok((true, _)) = ask(&client, plan()).await {
                admitted.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    callers
}

#[tokio::test]
async fn after_a_restart_it_counts_on_exactly() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("counts");
    let arguments = ["--keep", file.to_str().expect("a path")];
    let service = Service::start(&arguments).await;
    let client = service.client().await;
    let share = of(123, plan().remove(0));
    assert_eq!(
        ask(&client, vec![share]).await,
        Ok((true, vec![LIMIT - 123]))
    );
    let (status, log) = service.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let service = Service::start(&arguments).await;
    let client = service.client().await;
    assert_eq!(ask(&client, plan()).await, Ok((true, vec![LIMIT - 124])));
    assert!(
        service.log().contains("1 counters go on"),
        "{}",
        service.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_it_admits_no_more_than_the_limit_and_at_most_a_twentieth_less() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("counts");
    let arguments = ["--keep", file.to_str().expect("a path")];
    let admitted = Arc::new(AtomicU32::new(0));
    let service = Service::start(&arguments).await;
    let under_way = callers(&service.client().await, &admitted);
    eventually("load", || async {
        (admitted.load(Ordering::Relaxed) >= LIMIT / 4).then_some(())
    })
    .await;
    service.kill().await;
    under_way.join_all().await;
    let before = admitted.load(Ordering::Relaxed);
    assert!(before < LIMIT, "it was killed too late to see anything");
    let service = Service::start(&arguments).await;
    callers(&service.client().await, &admitted).join_all().await;
    let all = admitted.load(Ordering::Relaxed);
    assert!(all <= LIMIT, "{all}");
    // What was written ahead, and answers that were lost on their way.
    assert!(
        all >= LIMIT - LIMIT / 20 - CALLERS,
        "{all}, {before} of them before"
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_and_nothing_is_served() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("missing").join("counts");
    let file = file.to_str().expect("a path");
    let ended = tokio::process::Command::new(env!("CARGO_BIN_EXE_waykeeper"))
        .args(["limiter", "--listen", "127.0.0.1:0", "--keep", file])
        .output()
        .await
        .expect("the limiter");
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8(ended.stderr).expect("text");
    assert!(
        said.starts_with(&format!("waykeeper: --keep {file}: ")),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}
