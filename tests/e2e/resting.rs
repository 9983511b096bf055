//! Agents that fail rest: their requests go to others, one probe at a time finds out whether they are fit again, and no client
//! can have one rest for others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::harness::{Draft, Request, World, eventually};

const KEYS: [&str; 3] = ["demo-standard", "demo-premium", "demo-admin"];

/// How an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Fit,
    Fails,
    /// Says 429, for so many seconds.
    Busy(u32),
    Hangs,
    Resets,
    Refuses,
}

/// An agent of any mood.
struct Moody {
    address: SocketAddr,
    seen: Arc<Seen>,
    mood: watch::Sender<Mood>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    /// Requests that have come.
    all: AtomicUsize,
    now: AtomicUsize,
    /// At most so many at once since this was last asked.
    most: AtomicUsize,
}

impl Moody {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let (seen, (mood, moods)) = (Arc::<Seen>::default(), watch::channel(Mood::Fit));
        let task = tokio::spawn(serve(listener, address, Arc::clone(&seen), moods));
        Self {
            address,
            seen,
            mood,
            task,
        }
    }

    fn becomes(&self, mood: Mood) {
        self.mood.send(mood).expect("the agent");
    }

    fn all(&self) -> usize {
        self.seen.all.load(Ordering::SeqCst)
    }

    /// How many were there at once at most since this was last asked.
    fn take_most(&self) -> usize {
        let now = self.seen.now.load(Ordering::SeqCst);
        self.seen.most.swap(now, Ordering::SeqCst)
    }
}

impl Drop for Moody {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    seen: Arc<Seen>,
    mut moods: watch::Receiver<Mood>,
) {
    let mut listener = Some(listener);
    let mut open = JoinSet::new();
    loop {
        if *moods.borrow_and_update() == Mood::Refuses {
            listener = None;
            open.abort_all();
        } else if listener.is_none() {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.set_reuseaddr(true).expect("an option");
            socket.bind(address).expect("bind");
            listener = Some(socket.listen(128).expect("listen"));
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => {
                let (stream, _) = accepted.expect("accept");
                open.spawn(answer(stream, Arc::clone(&seen), moods.clone()));
            }
            changed = moods.changed() => if changed.is_err() { return },
        }
    }
}

/// A request that is at an agent.
struct Here<'s>(&'s Seen);

impl<'s> Here<'s> {
    fn new(seen: &'s Seen) -> Self {
        seen.all.fetch_add(1, Ordering::SeqCst);
        let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(now, Ordering::SeqCst);
        Self(seen)
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(mut stream: TcpStream, seen: Arc<Seen>, moods: watch::Receiver<Mood>) {
    let mut read = Vec::new();
    loop {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(size) => read.extend_from_slice(&piece[..size]),
        }
        if !read.ends_with(b"\r\n\r\n") {
            continue;
        }
        read.clear();
        let _here = Here::new(&seen);
        let mood = *moods.borrow();
        let text = match mood {
            Mood::Fit => "200 OK\r\nx-demo-agent: moody".to_owned(),
            Mood::Fails => "500 Internal Server Error".to_owned(),
            Mood::Busy(seconds) => format!("429 Too Many Requests\r\nretry-after: {seconds}"),
            Mood::Hangs => {
                // Until the gateway gives up.
                let _ = stream.read(&mut piece).await;
                return;
            }
            Mood::Resets | Mood::Refuses => {
                stream.set_zero_linger().expect("an option");
                return;
            }
        };
        let answer = format!("HTTP/1.1 {text}\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// For so long, and a little more, another worker may go by what it has read of an agent before.
const BELIEVED: Duration = Duration::from_millis(100);

fn rest() -> Value {
    json!({"failures": 3, "first": "500ms", "longest": "1s"})
}

/// Two agents share a route, of which the first has moods, and may rest.
async fn world(moody: &Moody, change: impl FnOnce(&mut Draft)) -> World {
    World::with(|draft| {
        draft.workers(2);
        draft.configuration()["limits"] = json!([]);
        draft.configuration()["plans"] = json!({"standard": {}, "premium": {}});
        draft.configuration()["agents"]["rag"]["rest"] = rest();
        *draft.routes() = vec![
            json!({
                "prefix": "/try", "name": "try", "agents": ["rag", "memory"], "timeout": "2s",
            }),
            json!({"prefix": "/only", "name": "only", "agents": ["rag"], "timeout": "2s"}),
        ];
        draft.connect("rag", &[moody.address]);
        // What Envoy itself does to a host that fails is not what is looked at.
        let cluster = draft.cluster("rag");
        cluster
            .as_object_mut()
            .expect("a cluster")
            .remove("outlier_detection");
        change(draft);
    })
    .await
}

/// The module on the agent's side of a cluster.
pub(crate) fn stand_on_agents_side(draft: &mut Draft, agent: &str) {
    draft.configuration()["agents"][agent]["rest"]["each_attempt"] = json!(true);
    let of_agent = draft.configuration()["agents"][agent].clone();
    let mut plugin = draft.setup.filter.plugin_mut().expect("the filter").clone();
    let attempts =
        json!({"agent": agent, "cluster": of_agent["cluster"], "rest": of_agent["rest"]});
    plugin["configuration"]["value"] = json!({"attempts": attempts});
    plugin["name"] = json!(format!("waykeeper.{agent}"));
    plugin["root_id"] = plugin["name"].clone();
    let filter = json!({
        "name": "waykeeper.attempts",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": plugin,
        },
    });
    let codec = json!({
        "name": "envoy.filters.http.upstream_codec",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"},
    });
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let cluster = of_agent["cluster"].as_str().expect("a cluster");
    let options = &mut draft.cluster(cluster)["typed_extension_protocol_options"][options];
    match options["http_filters"].as_array_mut() {
        Some(filters) => filters.insert(0, filter),
        None => options["http_filters"] = json!([filter, codec]),
    }
}

fn ask(world: &World, path: &str, caller: usize) -> Request {
    world.get(path).key(KEYS[caller % KEYS.len()])
}

async fn metric(world: &World, name: &str) -> u64 {
    world.metrics().await.sum(name, &[("agent", "rag")]) as u64
}

/// Callers that ask one thing after the other.
struct Load {
    callers: JoinSet<()>,
    lost: Arc<AtomicUsize>,
    /// How many answers each caller has had.
    answers: Vec<Arc<AtomicUsize>>,
    ends: Arc<AtomicBool>,
}

impl Load {
    fn begin(world: &World, callers: usize) -> Self {
        let mut load = Self {
            callers: JoinSet::new(),
            lost: Arc::default(),
            answers: (0..callers).map(|_| Arc::default()).collect(),
            ends: Arc::default(),
        };
        for (caller, answers) in load.answers.iter().enumerate() {
            let request = ask(world, "/try/x", caller);
            let (lost, answers, ends) = (load.lost.clone(), answers.clone(), load.ends.clone());
            load.callers.spawn(async move {
                while !ends.load(Ordering::SeqCst) {
                    let answer = request.clone().try_send().await;
                    if !answer.is_ok_and(|answer| answer.status == 200) {
                        lost.fetch_add(1, Ordering::SeqCst);
                    }
                    answers.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        load
    }

    fn answers(&self) -> Vec<usize> {
        let answers = self.answers.iter();
        answers.map(|it| it.load(Ordering::SeqCst)).collect()
    }

    /// Waits until whatever is under way now has come to its end, and is counted.
    async fn all_ask_anew(&self) {
        let before = self.answers();
        eventually("each caller's next answer", || async {
            let now = self.answers();
            let mut all = now.iter().zip(&before);
            all.all(|(now, before)| now > before).then_some(())
        })
        .await;
    }

    fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }

    async fn end(mut self) -> usize {
        self.ends.store(true, Ordering::SeqCst);
        while self.callers.join_next().await.is_some() {}
        self.answers().iter().sum()
    }
}

/// An agent of each mood, under load from both workers: it is left, probed by one at a time, and returned to.
async fn is_left_and_returned_to(each_attempt: bool) {
    let moody = Moody::listen().await;
    let world = world(&moody, |draft| {
        if each_attempt {
            stand_on_agents_side(draft, "rag");
        }
    })
    .await;
    let load = Load::begin(&world, 9);
    let moods = [
        Mood::Fails,
        Mood::Busy(1),
        Mood::Resets,
        Mood::Refuses,
        Mood::Hangs,
    ];
    for mood in moods {
        let before = moody.all();
        eventually("as it gets requests", || async {
            (moody.all() > before + 20).then_some(())
        })
        .await;
        let (lost, rests) = (
            load.lost(),
            metric(&world, "waykeeper_agent_rests_total").await,
        );
        let began = Instant::now();
        moody.becomes(mood);
        eventually("its rest", || async {
            (metric(&world, "waykeeper_agent_rests_total").await > rests).then_some(())
        })
        .await;
        let left = began.elapsed();
        sleep(BELIEVED).await;
        load.all_ask_anew().await;
        // What the gateway has given up the agent notices a moment later.
        eventually("as those leave that were there", || async {
            (moody.seen.now.load(Ordering::SeqCst) == 0).then_some(())
        })
        .await;
        let (lost_by_rest, all) = (load.lost() - lost, moody.all());
        moody.take_most();
        eventually("a probe that fails", || async {
            (metric(&world, "waykeeper_agent_rests_total").await > rests + 1).then_some(())
        })
        .await;
        // As many probes may have failed by now as it has come to rest again, and one may be there.
        let (most, probes) = (moody.take_most(), moody.all() - all);
        let lost_to_probes = load.lost() - lost - lost_by_rest;
        let failed = metric(&world, "waykeeper_agent_rests_total").await - rests - 1;
        assert!(most <= 1, "{mood:?}: {most} at once");
        assert!(
            probes <= failed as usize + 1,
            "{mood:?}: {probes} of {failed}"
        );
        assert!(
            lost_to_probes <= failed as usize + 1,
            "{mood:?}: {lost_to_probes} of {failed}"
        );
        assert_eq!(metric(&world, "waykeeper_agent_resting").await, 1);
        let began = Instant::now();
        moody.becomes(Mood::Fit);
        eventually("its return", || async {
            (metric(&world, "waykeeper_agent_resting").await == 0).then_some(())
        })
        .await;
        println!(
            "{mood:?}: left after {left:?}, with {lost_by_rest} requests lost and {lost_to_probes} to probes; returned to after {:?}",
            began.elapsed()
        );
    }
    let all = load.end().await;
    println!("{all} requests");
    let log = world.gateway().envoy_log();
    for line in [
        "the agent \"rag\" rests for",
        "the agent \"rag\" answers again",
    ] {
        assert!(log.matches(line).count() >= moods.len(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_fails_in_whatever_way_is_left_probed_by_one_and_returned_to() {
    is_left_and_returned_to(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_where_each_attempt_is_judged_on_the_agents_side() {
    is_left_and_returned_to(true).await;
}

#[tokio::test]
async fn what_one_client_provokes_has_no_agent_rest_for_others_and_a_second_client_does() {
    let moody = Moody::listen().await;
    let world = world(&moody, |draft| {
        let memory = draft.services.agent("memory").expect("an agent").address();
        draft.connect("rag", &[memory]);
        draft.configuration()["agents"]["rag"]["rest"] = json!({"failures": 3});
    })
    .await;
    let failing = |caller| ask(&world, "/only/x", caller).header("x-demo-status", "500");
    for _ in 0..100 {
        assert_eq!(failing(0).send().await.status, 500);
    }
    assert_eq!(metric(&world, "waykeeper_agent_rests_total").await, 0);
    let answer = ask(&world, "/only/x", 1).send().await;
    assert_eq!(answer.status, 200);
    // What a client asks that cannot be answered is no failure.
    for caller in 0..20 {
        let answer = ask(&world, "/only/x", caller).header("x-demo-status", "404");
        assert_eq!(answer.send().await.status, 404);
    }
    for caller in 0..3 {
        assert_eq!(failing(caller).send().await.status, 500);
    }
    eventually("its rest", || async {
        let refused = ask(&world, "/only/x", 1).send().await;
        (refused.status == 503).then_some(())
    })
    .await;
}

#[tokio::test]
async fn where_all_rest_callers_are_told_at_once_for_how_long() {
    let moody = Moody::listen().await;
    let mut world = world(&moody, |draft| {
        draft.configuration()["agents"]["rag"]["rest"] = json!({"longest": "300s"});
    })
    .await;
    moody.becomes(Mood::Busy(200));
    assert_eq!(ask(&world, "/only/x", 0).send().await.status, 429);
    sleep(BELIEVED).await;
    let came = moody.all();
    let refused = ask(&world, "/only/x", 1).send().await;
    let wait: u64 = refused
        .header("retry-after")
        .expect("a wait")
        .parse()
        .expect("seconds");
    assert!((180..=220).contains(&wait), "{wait}");
    assert_eq!(refused.refused(), (503, "agents_resting".to_owned()));
    // Also who names it.
    let named = ask(&world, "/try/x", 1)
        .header("x-agent", "rag")
        .send()
        .await;
    assert_eq!(named.refused(), (503, "agents_resting".to_owned()));
    for caller in 0..20 {
        let answer = ask(&world, "/try/x", caller).send().await;
        assert_eq!(answer.header("x-demo-agent"), Some("memory"));
    }
    assert_eq!(moody.all(), came);
    // A configuration that changes something else leaves it so; one by which it is elsewhere does not.
    world
        .reconfigure(|now| now["routes"][1]["timeout"] = json!("3s"))
        .await;
    assert_eq!(ask(&world, "/only/x", 1).send().await.status, 503);
    assert_eq!(metric(&world, "waykeeper_agent_resting").await, 1);
    world
        .reconfigure(|now| now["agents"]["rag"]["cluster"] = json!("memory"))
        .await;
    assert_eq!(ask(&world, "/only/x", 1).send().await.status, 200);
    assert_eq!(metric(&world, "waykeeper_agent_resting").await, 0);
}

#[tokio::test]
async fn an_attempt_that_failed_within_a_request_counts_where_the_agents_side_sees_it() {
    for each_attempt in [false, true] {
        let moody = Moody::listen().await;
        let world = world(&moody, |draft| {
            let memory = draft.services.agent("memory").expect("an agent").address();
            draft.connect("rag", &[memory]);
            draft.configuration()["agents"]["rag"]["rest"] = json!({"failures": 1, "first": "1m"});
            if each_attempt {
                stand_on_agents_side(draft, "rag");
            }
            draft.routes()[1]["retry"] = json!({"max_attempts": 2, "retry_on": [500]});
        })
        .await;
        let request = ask(&world, "/only/x", 0).header("x-demo-fail-first", "1");
        let id = format!("once {each_attempt}");
        let request = request
            .header("x-demo-status", "500")
            .header("x-demo-id", id);
        assert_eq!(request.send().await.status, 200);
        let failures = metric(&world, "waykeeper_agent_failures_total").await;
        assert_eq!(failures, u64::from(each_attempt));
        sleep(BELIEVED).await;
        let refused = ask(&world, "/only/x", 0).send().await.status == 503;
        assert_eq!(refused, each_attempt);
    }
}

#[tokio::test]
async fn callers_that_leave_and_requests_that_never_reach_it_are_not_held_against_an_agent() {
    for each_attempt in [false, true] {
        let moody = Moody::listen().await;
        let world = world(&moody, |draft| {
            if each_attempt {
                stand_on_agents_side(draft, "rag");
            }
            draft.cluster("rag")["circuit_breakers"] =
                json!({"thresholds": [{"max_requests": 1, "max_connections": 1, "max_pending_requests": 1}]});
            draft.routes()[1]["timeout"] = json!("60s");
        })
        .await;
        moody.becomes(Mood::Hangs);
        for caller in 0..6 {
            let came = moody.all();
            let asked = tokio::spawn(ask(&world, "/only/x", caller).send());
            eventually("the request", || async {
                (moody.all() > came).then_some(())
            })
            .await;
            // More than may be there at once.
            let mut others = JoinSet::new();
            for caller in 0..6 {
                others.spawn(ask(&world, "/only/x", caller).send());
            }
            let refused = others.join_next().await.expect("one").expect("an answer");
            assert_eq!(refused.status, 503, "{}", refused.text());
            others.shutdown().await;
            asked.abort();
            eventually("as all leave", || async {
                let admin = world.gateway().admin();
                for stat in ["upstream_rq_active", "upstream_rq_pending_active"] {
                    let stat = admin.stat(&format!("cluster.rag.{stat}")).await;
                    if stat.ok()? != 0 {
                        return None;
                    }
                }
                (moody.seen.now.load(Ordering::SeqCst) == 0).then_some(())
            })
            .await;
        }
        moody.becomes(Mood::Fit);
        assert_eq!(ask(&world, "/only/x", 0).send().await.status, 200);
        assert_eq!(
            metric(&world, "waykeeper_agent_failures_total").await,
            0,
            "{each_attempt}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_breaks_and_an_answer_that_is_late_are_failures() {
    for each_attempt in [false, true] {
        let moody = Moody::listen().await;
        let world = world(&moody, |draft| {
            let memory = draft.services.agent("memory").expect("an agent").address();
            draft.connect("rag", &[memory]);
            draft.configuration()["agents"]["rag"]["rest"]["slow_first_token"] = json!("1s");
            draft.routes()[1]["timeout"] = json!("60s");
            if each_attempt {
                stand_on_agents_side(draft, "rag");
            }
        })
        .await;
        let broken = ask(&world, "/only/x", 0)
            .header("x-demo-size", "100000")
            .header("x-demo-reset", "50000");
        assert!(broken.try_send().await.is_err());
        let late = ask(&world, "/only/x", 1).header("x-demo-delay", "2500ms");
        assert_eq!(late.send().await.status, 200);
        let count = |reason: &'static str| {
            let world = &world;
            eventually(reason, move || async move {
                let labels = [("agent", "rag"), ("outcome", reason)];
                let counted = world
                    .metrics()
                    .await
                    .sum("waykeeper_agent_failures_total", &labels);
                (counted == 1.0).then_some(())
            })
        };
        count("broken").await;
        count("late").await;
    }
}
