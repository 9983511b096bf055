//! Agents of fallback lists that rest: each is judged by its own attempts, requests go past those that rest, and each comes back,
//! wherever it stands.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::caller::{Answer, Caller};
use crate::eventually;
use crate::fallback::Mortal;
use crate::gateway::{Around, Gateway, free_address};

/// How an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Fit,
    Fails,
    /// Says 429, for so many seconds.
    Busy(u32),
    /// Answers after a while.
    Slow,
    Hangs,
    Resets,
}

/// An agent of any mood, which says its name.
struct Moody {
    address: SocketAddr,
    came: Arc<AtomicUsize>,
    mood: watch::Sender<Mood>,
}

impl Moody {
    async fn listen(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let (came, (mood, moods)) = (Arc::<AtomicUsize>::default(), watch::channel(Mood::Fit));
        let count = Arc::clone(&came);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(name, stream, Arc::clone(&count), moods.clone()));
            }
        });
        Self {
            address,
            came,
            mood,
        }
    }

    fn becomes(&self, mood: Mood) {
        self.mood.send(mood).expect("the agent");
    }

    /// How many requests have come since this was asked last.
    fn came(&self) -> usize {
        self.came.swap(0, Ordering::SeqCst)
    }
}

async fn answer(
    name: &'static str,
    mut stream: TcpStream,
    came: Arc<AtomicUsize>,
    moods: watch::Receiver<Mood>,
) {
    let (mut read, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(size @ 1..) = stream.read(&mut piece).await {
        read.extend_from_slice(&piece[..size]);
        if !read.ends_with(b"\r\n\r\n") {
            continue;
        }
        read.clear();
        came.fetch_add(1, Ordering::SeqCst);
        let mood = *moods.borrow();
        let head = match mood {
            Mood::Fit => "200 OK".to_owned(),
            Mood::Fails => "500 Internal Server Error".to_owned(),
            Mood::Busy(seconds) => format!("429 Too Many Requests\r\nretry-after: {seconds}"),
            Mood::Slow => {
                sleep(Duration::from_secs(4)).await;
                "200 OK".to_owned()
            }
            // Until the gateway gives up.
            Mood::Hangs => continue,
            Mood::Resets => {
                stream.set_zero_linger().expect("an option");
                return;
            }
        };
        let length = name.len();
        let text = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n{name}");
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// For so long, and a little more, a worker may go by what it has read of an agent before.
const BELIEVED: Duration = Duration::from_millis(100);

/// The gateway over two workers, and agents of which the first two rest.
struct Lists {
    gateway: Gateway,
    caller: Caller,
    operations: Caller,
    first: Moody,
    second: Moody,
    third: Moody,
    _directory: tempfile::TempDir,
}

impl Lists {
    async fn start(rest: &str) -> Self {
        let [first, second, third] = [
            Moody::listen("first").await,
            Moody::listen("second").await,
            Moody::listen("third").await,
        ];
        let directory = tempfile::tempdir().expect("a directory");
        let [listen, operations] = [(); 2].map(|()| free_address());
        let text = format!(
            "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
clients:
  keys:
    - {{sha256: 'c018c41c1afaf2c0b66c64f97d0ee135657b699ad260f299234cd40a5d625e0e', client_id: me}}
    - {{sha256: '6c9d7b3a6b02e9998d84009e355582681510aace553c705ec68b6538d99a4194', client_id: them}}
agents:
  first: {{url: 'http://{}', rest: {rest}}}
  second: {{url: 'http://{}', rest: {rest}}}
  third: {{url: 'http://{}'}}
routes:
  - {{prefix: /all, agents: [first], fallback: [second, third]}}
  - {{prefix: /pair, agents: [first], fallback: [second]}}
  - {{prefix: /timed, agents: [first], fallback: [second], first_byte_timeout: 2s}}
  - {{prefix: /second, agents: [second]}}
",
            first.address, second.address, third.address,
        );
        let around = Around {
            more_workers: 1,
            ..Around::default()
        };
        let gateway = Gateway::start_with(directory.path(), &text, &around, operations).await;
        Self {
            gateway,
            caller: Caller::of(listen),
            operations: Caller::of(operations),
            first,
            second,
            third,
            _directory: directory,
        }
    }

    async fn ask(&self, path: &str) -> Answer {
        self.caller.get(path, &[("x-api-key", "example-key")]).await
    }

    /// As another client: what one provokes counts once.
    async fn they_ask(&self, path: &str) -> Answer {
        let key = ("x-api-key", "example-premium-key");
        self.caller.get(path, &[key]).await
    }

    /// Asks, and tells who has answered and how often each was asked.
    async fn told(&self, path: &str) -> (u16, String, [usize; 3]) {
        let answer = self.ask(path).await;
        (answer.status, answer.text(), self.came())
    }

    fn came(&self) -> [usize; 3] {
        [&self.first, &self.second, &self.third].map(Moody::came)
    }

    async fn metric(&self, name: &str, agent: &str) -> u64 {
        metric(&self.operations, name, agent).await
    }

    /// Asks until the first agent answers, and another does not have to; nothing is lost meanwhile.
    async fn first_returns(&self) {
        // Until both workers know that it rests.
        sleep(BELIEVED).await;
        eventually("its return", || async {
            let answer = self.ask("/all/x").await;
            assert_eq!(answer.status, 200);
            (answer.text() == "first").then_some(())
        })
        .await;
        sleep(BELIEVED).await;
        self.came();
    }
}

/// The sum over all outcomes, or that of one: `NAME…outcome="…"`.
async fn metric(operations: &Caller, name: &str, agent: &str) -> u64 {
    let text = operations.get("/stats/prometheus", &[]).await.text();
    let (name, outcome) = name.split_once('/').unwrap_or((name, ""));
    let label = format!("agent=\"{agent}\"");
    let outcome = format!("outcome=\"{outcome}");
    let has = |line: &&str| {
        line.starts_with(name)
            && line.contains(&label)
            && (outcome.ends_with('"') || line.contains(&outcome))
    };
    let values = text.lines().filter(has);
    let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

fn told(agent: &str, came: [usize; 3]) -> (u16, String, [usize; 3]) {
    (200, agent.to_owned(), came)
}

/// A rest is longer than a busy machine takes to look at what comes of it.
const REST: &str = "{failures: 1, first: 4s, longest: 4s, slow_first_token: 2s}";

#[tokio::test]
async fn an_attempt_that_failed_within_a_request_has_its_agent_rest_and_the_next_one_is_asked_at_once()
 {
    let lists = Lists::start(REST).await;
    for (mood, path, outcome) in [
        (Mood::Fails, "/all/x", "status"),
        (Mood::Busy(4), "/all/x", "busy"),
        (Mood::Resets, "/all/x", "no_answer"),
        (Mood::Hangs, "/timed/x", "no_answer"),
    ] {
        let name = format!("waykeeper_agent_failures_total/{outcome}");
        let before = lists.metric(&name, "first").await;
        lists.first.becomes(mood);
        let answer = lists.ask(path).await;
        assert_eq!(
            (answer.status, &*answer.text()),
            (200, "second"),
            "{mood:?}"
        );
        assert_eq!(answer.header("x-waykeeper-agent"), Some("second"));
        assert_eq!(lists.came(), [1, 1, 0], "{mood:?}");
        sleep(BELIEVED).await;
        assert_eq!(lists.metric(&name, "first").await, before + 1, "{mood:?}");
        let answer = lists.ask(path).await;
        assert_eq!(
            (answer.status, &*answer.text()),
            (200, "second"),
            "{mood:?}"
        );
        assert_eq!(
            answer.header("x-waykeeper-agent"),
            None,
            "it is the first now"
        );
        assert_eq!(lists.gateway.logged(&answer).await["attempts"], 1);
        assert_eq!(lists.came(), [0, 1, 0], "{mood:?}");
        lists.first.becomes(Mood::Fit);
        lists.first_returns().await;
    }
    // Its answer is passed on all the same.
    lists.first.becomes(Mood::Slow);
    assert_eq!(lists.told("/all/x").await, told("first", [1, 0, 0]));
    sleep(BELIEVED).await;
    assert_eq!(lists.told("/all/x").await, told("second", [0, 1, 0]));
    assert_eq!(
        lists
            .metric("waykeeper_agent_failures_total/late", "first")
            .await,
        1
    );
    // Who has answered is none of that.
    assert_eq!(
        lists
            .metric("waykeeper_agent_failures_total", "second")
            .await,
        0
    );
}

#[tokio::test]
async fn where_all_of_a_list_rest_callers_are_told_at_once_of_the_shortest_rest() {
    let lists = Lists::start("{longest: 300s}").await;
    lists.first.becomes(Mood::Busy(200));
    lists.second.becomes(Mood::Busy(100));
    assert_eq!(
        lists.told("/pair/x").await,
        (429, "second".to_owned(), [1, 1, 0])
    );
    sleep(BELIEVED).await;
    let begun = Instant::now();
    let answer = lists.ask("/pair/x").await;
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (503, Some("agents_resting"))
    );
    let wait: u64 = answer
        .header("retry-after")
        .expect("a wait")
        .parse()
        .expect("seconds");
    assert!((80..=110).contains(&wait), "{wait}");
    assert_eq!(lists.came(), [0; 3]);
    assert_eq!(lists.told("/all/x").await, told("third", [0, 0, 1]));
}

#[tokio::test]
async fn an_agent_behind_the_first_is_probed_and_returns_when_a_request_comes_to_it() {
    let lists = Lists::start("{failures: 1, first: 4s, longest: 4s}").await;
    let resting = |agent| lists.metric("waykeeper_agent_resting", agent);
    lists.second.becomes(Mood::Fails);
    assert_eq!(lists.ask("/second/x").await.status, 500);
    sleep(BELIEVED).await;
    assert_eq!(resting("second").await, 1);
    lists.came();
    lists.first.becomes(Mood::Busy(6));
    assert_eq!(
        lists.told("/all/x").await,
        told("third", [1, 0, 1]),
        "past the second"
    );
    lists.first.becomes(Mood::Fit);
    lists.first_returns().await;
    assert_eq!(resting("second").await, 1, "it was over long ago");
    for _ in 0..20 {
        assert_eq!(lists.told("/all/x").await, told("first", [1, 0, 0]));
    }
    // A probe that fails is lost to nobody, and the agent rests again.
    let rests = lists.metric("waykeeper_agent_rests_total", "second").await;
    lists.first.becomes(Mood::Fails);
    assert_eq!(lists.they_ask("/all/x").await.text(), "third");
    assert_eq!(lists.came(), [1, 1, 1]);
    sleep(BELIEVED).await;
    let again = lists.metric("waykeeper_agent_rests_total", "second").await;
    assert_eq!(again, rests + 1);
    assert_eq!(lists.told("/all/x").await, told("third", [0, 0, 1]));
    // Once more, and it is fit; the first may be the probe before that.
    lists.second.becomes(Mood::Fit);
    eventually("the return of the second", || async {
        assert_eq!(lists.ask("/all/x").await.status, 200);
        assert_eq!(lists.they_ask("/all/x").await.status, 200);
        (resting("second").await == 0).then_some(())
    })
    .await;
    assert!(lists.second.came() > 0);
}

#[tokio::test]
async fn judged_by_what_callers_get_each_agent_of_a_list_is_judged_for_itself() {
    let lists = Lists::start("{failures: 1, first: 1m, each_attempt: false}").await;
    lists.first.becomes(Mood::Fails);
    assert_eq!(lists.told("/pair/x").await, told("second", [1, 1, 0]));
    sleep(BELIEVED).await;
    assert_eq!(
        lists.told("/pair/x").await,
        told("second", [0, 1, 0]),
        "the first has failed"
    );
    let failed = "waykeeper_agent_failures_total";
    assert_eq!(
        lists.metric(&format!("{failed}/no_answer"), "first").await,
        1
    );
    assert_eq!(lists.metric(failed, "second").await, 0);
    lists.second.becomes(Mood::Fails);
    assert_eq!(lists.told("/all/x").await, told("third", [0, 1, 1]));
    sleep(BELIEVED).await;
    assert_eq!(
        lists.metric(&format!("{failed}/no_answer"), "second").await,
        1
    );
    assert_eq!(lists.told("/all/x").await, told("third", [0, 0, 1]));
}

/// Callers that ask one thing after the other.
struct Load {
    callers: JoinSet<Vec<String>>,
    goes_on: Arc<AtomicBool>,
    /// Answers of the mortal agent, and of the one that stands in for it.
    answers: Arc<[AtomicUsize; 2]>,
}

impl Load {
    fn begin(caller: &Caller) -> Self {
        let mut load = Self {
            callers: JoinSet::new(),
            goes_on: Arc::new(AtomicBool::new(true)),
            answers: Arc::default(),
        };
        for number in 0..16 {
            let (goes_on, answers) = (Arc::clone(&load.goes_on), Arc::clone(&load.answers));
            let caller = caller.clone();
            load.callers.spawn(async move {
                let mut lost = Vec::new();
                while goes_on.load(Ordering::Relaxed) {
                    match caller.send("GET", &format!("/{number}"), &[]).await {
                        Ok(answer) if answer.status == 200 => {
                            let which = usize::from(answer.text() != "mortal");
                            answers[which].fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => lost.push(format!("{} {}", answer.status, answer.text())),
                        Err(error) => lost.push(error.to_string()),
                    }
                }
                lost
            });
        }
        load
    }

    fn count(&self, which: usize) -> usize {
        self.answers[which].load(Ordering::Relaxed)
    }

    async fn more(&self, which: usize, than: usize) {
        let before = self.count(which);
        eventually("answers", || async {
            (self.count(which) > before + than).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn under_load_an_agent_that_is_killed_is_left_and_returned_to_and_no_request_is_lost() {
    let mut mortal = Mortal {
        address: free_address(),
        alive: None,
    };
    mortal.live().await;
    let safe = Moody::listen("safe").await;
    let directory = tempfile::tempdir().expect("a directory");
    let [listen, operations] = [(); 2].map(|()| free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
agents:
  mortal: {{url: 'http://{}', rest: {{failures: 3, first: 300ms, longest: 1s}}}}
  safe: {{url: 'http://{}', rest: {{}}}}
routes:
  - {{prefix: /, agents: [mortal], fallback: [safe], auth_required: false}}
",
        mortal.address, safe.address,
    );
    let around = Around {
        more_workers: 1,
        ..Around::default()
    };
    let _gateway = Gateway::start_with(directory.path(), &text, &around, operations).await;
    let (caller, operations) = (Caller::of(listen), Caller::of(operations));
    let load = Load::begin(&caller);
    for _ in 0..4 {
        load.more(0, 150).await;
        let rests = metric(&operations, "waykeeper_agent_rests_total", "mortal").await;
        let begun = Instant::now();
        mortal.die().await;
        eventually("its rest", || async {
            let now = metric(&operations, "waykeeper_agent_rests_total", "mortal").await;
            (now > rests).then_some(())
        })
        .await;
        let left = begun.elapsed();
        load.more(1, 150).await;
        let passed = metric(&operations, "waykeeper_fallbacks_total", "mortal").await;
        mortal.live().await;
        let begun = Instant::now();
        load.more(0, 0).await;
        println!(
            "left after {left:?}, with {passed} requests passed on so far; returned to after {:?}",
            begun.elapsed()
        );
        eventually("its return", || async {
            let rests = metric(&operations, "waykeeper_agent_resting", "mortal").await;
            (rests == 0).then_some(())
        })
        .await;
    }
    load.goes_on.store(false, Ordering::Relaxed);
    let counts = [load.count(0), load.count(1)];
    let lost: Vec<String> = load
        .callers
        .join_all()
        .await
        .into_iter()
        .flatten()
        .collect();
    println!("{counts:?} answered by the one and by the other");
    assert_eq!(lost, [""; 0], "of {counts:?}");
}
