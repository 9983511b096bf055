//! A way to the limiter that loses all that comes, without a word: all at once, and in the midst of an answer. And more questions
//! at once than there may be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::{Fleet, GATEWAYS, Load, NOTES, limiter, of_fleet, with_limiter};
use crate::harness::{GrpcReply, GrpcServer, World, eventually, free_address};

/// An answer of a limiter that lets a request pass: its code alone.
const OK: &[u8] = &[8, 1];

#[tokio::test]
async fn a_way_to_the_limiter_that_is_cut_off_multiplies_nothing_and_is_replaced() {
    let at = free_address();
    let _limiter = limiter(at, &[]).await;
    let wire = Wire::to(at).await;
    let limit = json!({"requests": "400/month", "scope": "fleet"});
    let deny = json!({"on_failure": "deny"});
    let mut fleet = Fleet::of(1, wire.address, &limit, &deny, |_| {}).await;
    let load = Load::start(&fleet, 9);
    load.more(30).await;

    for passes in [Passes::Nothing, Passes::PartOfAnAnswer] {
        let failed = [("outcome", "failed")];
        let before = fleet.sum("waykeeper_limiter_calls_total", &failed).await;
        let since = Instant::now();
        wire.set(passes);
        load.refused(300).await;

        // Those that were under way, and then one at a time in each worker, more and more seldom.
        let asked = fleet.sum("waykeeper_limiter_calls_total", &failed).await - before;
        let away = since.elapsed();
        println!("{passes:?}: {asked} questions in {away:?}");
        assert!(asked >= 1.0, "none has failed");
        assert!(asked <= 9.0 + 2.0 * (4.0 + away.as_secs_f64()), "{asked}");

        wire.set(Passes::All);
        load.more(30).await;
    }
    load.full(&fleet).await;
    // The limiter may take half a second, and nobody has waited for much longer.
    let slowest = load.seen.slowest.load(Ordering::SeqCst);
    let admitted = load.stop().await;
    let made = wire.made.load(Ordering::SeqCst);
    println!("{admitted} of 400, slowest {slowest} ms, {made} connections");
    assert!(slowest < 5_000, "{slowest} ms");
    // What was counted and whose answer got lost: no more than were under way.
    assert!((350..=400).contains(&admitted), "{admitted}");

    // The part of this one gateway is what it has alone.
    let world = Arc::get_mut(&mut fleet.0[0]).expect("nobody else calls");
    let alone = |now: &mut serde_json::Value| now["fleet"]["on_failure"] = json!("process_share");
    world.reconfigure(alone).await;
    wire.set(Passes::Nothing);
    let (admitted, refused) = fleet.crowd(180).await;
    assert_eq!((admitted, refused), (400 / GATEWAYS as u64, 180 - 133));
    wire.set(Passes::All);
    eventually("the limiter's word", || async {
        let answer = fleet.0[0].get(NOTES).key("demo-standard").send().await;
        // Of the gateway's part as of the limit nothing is left; only the limiter's window is the calendar's.
        let log = fleet.0[0].gateway().envoy_log();
        assert_eq!(answer.status, 429, "{answer:?}");
        (log.matches("the limiter answers again").count() >= 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn more_questions_than_may_be_under_way_are_as_without_an_answer_and_close_nothing() {
    const MOST: usize = 4;
    let server = GrpcServer::start(|_| GrpcReply::Held(OK.into())).await;
    let world = World::with(|draft| {
        with_limiter(draft, server.address());
        let limit = json!({"requests": "100/month", "scope": "fleet"});
        of_fleet(draft, &limit, &json!({"on_failure": "deny"}));
        let limiter = &mut draft.configuration()["fleet"]["limiter"];
        limiter["timeout"] = json!("10s");
        limiter["max_pending"] = json!(MOST);
    })
    .await;
    let ask = || world.get(NOTES).key("demo-standard").send();
    let asked = async |number| {
        let all = || async { (server.calls().len() == number).then_some(()) };
        eventually("the questions", all).await;
    };

    let waiting: JoinSet<_> = (0..MOST).map(|_| ask()).collect();
    asked(MOST).await;
    for answer in (0..20)
        .map(|_| ask())
        .collect::<JoinSet<_>>()
        .join_all()
        .await
    {
        assert_eq!(answer.refused(), (503, "limits_unavailable".to_owned()));
        assert!(answer.header("retry-after").is_some());
    }

    // At once: the others still wait, and nobody takes the limiter for gone.
    asked(MOST).await;
    server.let_go(MOST);
    for answer in waiting.join_all().await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    server.let_go(1);
    assert_eq!(ask().await.status, 200);
    let metrics = world.metrics().await;
    let calls = |outcome| metrics.sum("waykeeper_limiter_calls_total", &[("outcome", outcome)]);
    assert_eq!((calls("answered"), calls("failed")), (5.0, 0.0));
    let missed = metrics.sum("waykeeper_limiter_missed_total", &[("on_failure", "deny")]);
    assert_eq!(missed, 20.0);
    let log = world.gateway().envoy_log();
    assert!(!log.contains("the limiter does not answer"), "{log}");
}

// -------------------------------------------------------------------------------------------------------- what they share

/// The way to a limiter. Its sockets stay open whatever it loses.
struct Wire {
    address: SocketAddr,
    passes: watch::Sender<Passes>,
    /// So many connections were made.
    made: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

/// What comes through. A connection that has lost something loses all that follows; those that are made later do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passes {
    All,
    Nothing,
    PartOfAnAnswer,
}

impl Wire {
    async fn to(limiter: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let (passes, seen) = watch::channel(Passes::All);
        let made = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&made);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (passes, answers) = (seen.clone(), seen.clone());
                connections.spawn(async move {
                    let far = TcpStream::connect(limiter).await.expect("the limiter");
                    let (near_reads, near_writes) = near.into_split();
                    let (far_reads, far_writes) = far.into_split();
                    // The sockets are held until the wire goes, or an end closes both.
                    tokio::select! {
                        () = forward(near_reads, far_writes, passes, false) => {}
                        () = forward(far_reads, near_writes, answers, true) => {}
                    }
                });
            }
        });
        Self {
            address,
            passes,
            made,
            accepting,
        }
    }

    fn set(&self, passes: Passes) {
        self.passes.send_replace(passes);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut passes: watch::Receiver<Passes>,
    answers: bool,
) {
    let mut bytes = vec![0; 65_536];
    loop {
        let read = tokio::select! {
            biased;
            // Lost at once, also what nobody has sent yet.
            _ = passes.wait_for(|it| *it == Passes::Nothing) => break,
            read = from.read(&mut bytes) => read.unwrap_or(0),
        };
        let now = *passes.borrow();
        if read == 0 || now == Passes::Nothing {
            break;
        }
        let torn = answers && now == Passes::PartOfAnAnswer;
        let length = if torn { read.min(5) } else { read };
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
        if torn {
            break;
        }
    }
    // Reads on, so that the sender never waits for room, until the other end closes.
    while !matches!(from.read(&mut bytes).await, Ok(0) | Err(_)) {}
}
