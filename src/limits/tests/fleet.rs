//! Whatever the order in which questions, answers, windows and clocks come: a fleet admits no more than its limit in a window.

use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::host::simulated::SentRequest;
use crate::host::{CalloutAnswer, Timestamp};
use crate::limits::fleet::protocol::{Code, DescriptorStatus, RateLimitRequest, RateLimitResponse};
use crate::limits::fleet::{Progress, Question, Step, Topic, Verdict, Wanted};

const QUANTITY: u32 = 900;
const WINDOW: u64 = 1_000;

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A request comes to a worker.
    Comes(usize),
    /// The oldest question, or one behind it, reaches the service.
    Arrives(usize),
    /// The oldest answer, or one behind it, reaches its worker, or gets lost.
    Heard { index: usize, lost: bool },
    /// Milliseconds pass.
    Passes(u64),
    /// The service gives the client a fresh start, as a worker has asked it to.
    BeginsAnew(usize),
}

/// A request that waits for an answer.
struct Waits {
    worker: usize,
    progress: Progress,
    topic: Topic,
}

/// A question on its way, or its answer.
struct Way {
    worker: usize,
    topic: Topic,
    sent: Timestamp,
    message: Vec<u8>,
}

/// Workers of several gateways, and the one service.
struct Model {
    workers: Vec<Worker>,
    process: Process,
    begun: Timestamp,
    fresh_starts: u64,
    waiting: Vec<Waits>,
    to_service: Vec<Way>,
    answers: Vec<(Way, u64)>,
    /// What the service has counted in each window.
    counted: BTreeMap<u64, u32>,
    /// What was let in by each window's count.
    admitted: BTreeMap<u64, u32>,
}

impl Model {
    fn new(manner: &str) -> Self {
        let world = World::new(json!({
            "clients": {"keys": [{"sha256": "00".repeat(32), "client_id": "one", "plan": "standard"}]},
            "plans": {"standard": {"requests": format!("{QUANTITY}/second"), "scope": "fleet"}},
            "fleet": {"limiter": {"cluster": "limiter"}, "gateways": 1, "manner": manner, "on_failure": "deny"},
            "agents": {"agent": {"cluster": "agent"}},
            "routes": [{"prefix": "/", "agents": ["agent"]}],
        }));
        Self {
            workers: (0..3).map(|_| world.worker()).collect(),
            begun: world.process.now(),
            process: world.process,
            fresh_starts: 0,
            waiting: Vec::new(),
            to_service: Vec::new(),
            answers: Vec::new(),
            counted: BTreeMap::new(),
            admitted: BTreeMap::new(),
        }
    }

    fn now(&self) -> Timestamp {
        self.process.now()
    }

    /// Milliseconds since the beginning, by the clock of all.
    fn elapsed(&self) -> u64 {
        u64::try_from(self.now().since(self.begun).as_millis()).unwrap()
    }

    /// Each fresh start begins another one.
    fn window(&self) -> u64 {
        self.elapsed() / WINDOW * 10_000 + self.fresh_starts
    }

    fn begin_anew(&mut self, worker: usize) {
        let Worker { host, limits } = &self.workers[worker];
        let whose = Whose {
            asked: of("one", 0),
            uses: &|_| true,
            in_shadow: true,
        };
        let them = limits.of_client_in_fleet(&whose, Wanted::Reset(&[]));
        assert!(them.has("plan"));
        let fleet = limits.fleet().unwrap();
        fleet.end_leases(host, &them).unwrap();
        self.fresh_starts += 1;
    }

    fn send(&mut self, worker: usize, question: &Question) {
        let (Worker { host, limits }, sent) = (&self.workers[worker], self.now());
        host.call(&limits.fleet().unwrap().callout(question))
            .unwrap();
        for callout in host.sent_callouts() {
            let SentRequest::Grpc { message, .. } = callout.request else {
                panic!("by HTTP");
            };
            self.to_service.push(Way {
                worker,
                topic: question.topic,
                sent,
                message,
            });
        }
    }

    fn go_on(&mut self, worker: usize, mut progress: Progress, said_in: Option<u64>) {
        let now = self.now();
        let asked = of("one", 0);
        let Worker { host, limits } = &self.workers[worker];
        let step = limits.step_in_fleet(host, asked, &mut progress, now);
        match step {
            Step::Pass { ahead, .. } => {
                // By a share of the present window, or by the count of the window in which the service was asked.
                let window = said_in.unwrap_or_else(|| self.window());
                *self.admitted.entry(window).or_default() += 1;
                if let Some(question) = ahead {
                    self.send(worker, &question);
                }
            }
            Step::Ask(question) => {
                let topic = question.topic;
                // Whoever needs the same share waits for the same answer.
                if !self
                    .waiting
                    .iter()
                    .any(|it| it.worker == worker && it.topic == topic)
                {
                    self.send(worker, &question);
                }
                self.waiting.push(Waits {
                    worker,
                    progress,
                    topic,
                });
            }
            Step::Full { .. } | Step::Alone(_) => {
                let fleet = self.workers[worker].limits.fleet().unwrap();
                fleet.put_back(&mut progress);
            }
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Comes(worker) => self.go_on(worker, Progress::default(), None),
            Event::BeginsAnew(worker) => self.begin_anew(worker),
            Event::Passes(milliseconds) => self.process.pass(Duration::from_millis(milliseconds)),
            Event::Arrives(index) if index < self.to_service.len() => {
                let way = self.to_service.remove(index);
                let window = self.window();
                let message = self.count(&way.message);
                self.answers.push((Way { message, ..way }, window));
            }
            Event::Heard { index, lost } if index < self.answers.len() => {
                let (way, window) = self.answers.remove(index);
                let came = if lost {
                    CalloutAnswer::Failed
                } else {
                    CalloutAnswer::Message(way.message)
                };
                let fleet = self.workers[way.worker].limits.fleet().unwrap();
                let times = (way.sent, self.now());
                let (verdict, _) = fleet.hear(way.topic, &came, times, 7);
                let mut turns = Vec::new();
                let mut index = 0;
                while index < self.waiting.len() {
                    let it = &self.waiting[index];
                    if it.worker == way.worker && it.topic == way.topic {
                        turns.push(self.waiting.remove(index));
                    } else {
                        index += 1;
                    }
                }
                for mut turn in turns {
                    Limits::heard_in_fleet(&mut turn.progress, verdict.clone());
                    let said_in = matches!(verdict, Verdict::Said(_)).then_some(window);
                    self.go_on(turn.worker, turn.progress, said_in);
                }
            }
            Event::Arrives(_) | Event::Heard { .. } => {}
        }
    }

    /// What the service answers: it counts all or nothing.
    fn count(&mut self, message: &[u8]) -> Vec<u8> {
        let request = RateLimitRequest::decode(message).unwrap();
        let lasts = WINDOW - self.elapsed() % WINDOW;
        let window = self.window();
        let counted = self.counted.entry(window).or_default();
        let fits = *counted + request.hits_addend <= QUANTITY;
        if fits {
            *counted += request.hits_addend;
        }
        let code = if fits { Code::Ok } else { Code::OverLimit };
        let lasts = Duration::from_millis(lasts) - Duration::from_nanos(1);
        let status = DescriptorStatus {
            code: code.into(),
            limit_remaining: QUANTITY - *counted,
            duration_until_reset: Some(prost_types::Duration {
                seconds: i64::try_from(lasts.as_secs()).unwrap(),
                nanos: i32::try_from(lasts.subsec_nanos()).unwrap(),
            }),
        };
        let said = RateLimitResponse {
            overall_code: code.into(),
            statuses: vec![status],
        };
        said.encode_to_vec()
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        9 => (0..3_usize).prop_map(Event::Comes),
        4 => (0..3_usize).prop_map(Event::Arrives),
        4 => (0..3_usize, prop::bool::weighted(0.05)).prop_map(|(index, lost)| Event::Heard { index, lost }),
        2 => (1..400_u64).prop_map(Event::Passes),
        1 => (0..3_usize).prop_map(Event::BeginsAnew),
    ]
}

proptest! {
    #[test]
    fn no_order_of_questions_answers_and_windows_admits_more_than_the_limit(
        leased: bool, events in prop::collection::vec(event(), 1..900),
    ) {
        let mut model = Model::new(if leased { "leased" } else { "strict" });
        for event in events {
            model.happens(event);
        }
        for (window, admitted) in &model.admitted {
            let counted = model.counted.get(window).copied().unwrap_or(0);
            prop_assert!(*admitted <= counted, "window {window}: {admitted} of {counted}");
        }
    }
}

#[test]
fn a_share_that_is_heard_of_after_its_window_is_worth_nothing() {
    let mut model = Model::new("leased");
    model.happens(Event::Passes(900));
    model.happens(Event::Comes(0));
    model.happens(Event::Arrives(0));
    model.happens(Event::Passes(200));
    model.happens(Event::Heard {
        index: 0,
        lost: false,
    });
    // It asks again, in the next window.
    assert!(model.admitted.is_empty());
    assert_eq!(model.to_service.len(), 1);
}
