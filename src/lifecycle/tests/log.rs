//! What traffic writes to the log: of each kind one line a minute, however many there were.

use std::cell::RefCell;
use std::sync::Once;

use ::log::{LevelFilter, Log, Metadata, Record, set_logger, set_max_level};

use super::*;
use crate::host::HostError;
use crate::state::StateError;

/// Keeps the lines of each thread apart, since each test has a thread of its own.
struct Lines;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

/// The lines that `f` writes to the log.
fn written(f: impl FnOnce()) -> Vec<String> {
    static LOGGER: Once = Once::new();
    LOGGER.call_once(|| {
        set_logger(&Lines).expect("no other logger");
        set_max_level(LevelFilter::Trace);
    });
    LINES.take();
    f();
    LINES.take()
}

impl World {
    /// A request whose key is asked about, if it is not known, and the validator says this.
    fn asked(&mut self, key: &str, answer: &CalloutAnswer) {
        self.request(STREAM, "GET", "/events", &[("x-api-key", key)]);
        for callout in self.host.sent_callouts() {
            self.gateway.on_callout(callout.id, answer);
            self.turns();
        }
    }
}

fn response(status: u16, body: &str) -> CalloutAnswer {
    CalloutAnswer::Response {
        status,
        body: body.as_bytes().to_vec(),
    }
}

/// What `cause` writes when it is caused a hundred times, and then once more a minute later.
fn flood(world: &mut World, mut cause: impl FnMut(&mut World)) -> Vec<String> {
    written(|| {
        for _ in 0..100 {
            cause(world);
        }
        world.process.pass(Duration::from_secs(60));
        cause(world);
    })
}

/// This line, and after a minute the same with the number of those that were left out.
fn twice(line: &str) -> [String; 2] {
    [
        line.to_owned(),
        format!("{line} (99 more like this were left out)"),
    ]
}

#[test]
fn whatever_the_validator_says_a_flood_of_it_is_one_line_a_minute() {
    for (answer, line) in [
        (
            response(200, r#"{"client_id":"acme","plan":"gold"}"#),
            r#"the validator names a plan that the configuration does not know: "gold""#,
        ),
        (
            response(200, r#"{"client_id":"acme","ttl":"1"}"#),
            "the validator fails: its answer is not believed: ttl: expected a whole number of seconds from 0, found a string",
        ),
        (response(500, ""), "the validator fails: status 500"),
        (
            CalloutAnswer::Failed,
            "the validator fails: no answer in time, or one that is too large",
        ),
    ] {
        let mut world = World::new();
        let lines = flood(&mut world, |world| world.asked("k", &answer));
        assert_eq!(lines, twice(line));
    }
}

#[test]
fn a_validator_that_cannot_be_asked_is_told_of_once_a_minute() {
    let mut world = World::new();
    world.host.refuse_callouts();
    let lines = flood(&mut world, |world| world.asked("k", &CalloutAnswer::Failed));
    let line = "the validator cannot be asked: the host refused a callout (status 2)";
    assert_eq!(lines, twice(line));
}

#[test]
fn a_validator_that_fails_every_second_time_is_told_of_once_a_minute_and_so_is_its_recovery() {
    let mut world = World::new();
    let brief = response(200, r#"{"client_id":"acme","ttl":0}"#);
    let lines = flood(&mut world, |world| {
        world.asked("k", &response(500, ""));
        world.asked("k", &brief);
    });
    assert_eq!(
        lines,
        [
            "the validator fails: status 500",
            "the validator answers again",
            "the validator fails: status 500 (99 more like this were left out)",
            "the validator answers again",
        ]
    );
}

#[test]
fn a_recovery_within_the_minute_of_the_last_one_is_told_of_when_it_is_over() {
    let mut world = World::new();
    let (bad, good) = (response(500, ""), response(401, ""));
    let lines = written(|| {
        world.asked("1", &bad);
        world.asked("2", &good);
        world.process.pass(Duration::from_secs(59));
        world.asked("3", &CalloutAnswer::Failed);
        for key in ["4", "5", "6"] {
            world.asked(key, &good);
        }
        world.process.pass(Duration::from_secs(1));
        world.asked("7", &good);
        world.asked("8", &good);
    });
    assert_eq!(
        lines,
        [
            "the validator fails: status 500",
            "the validator answers again",
            "the validator fails: no answer in time, or one that is too large",
            "the validator answers again",
        ]
    );
}

#[test]
fn cells_that_cannot_be_changed_are_told_of_once_a_minute() {
    let mut world = World::new();
    let rival = world.process.worker();
    world.host.before_swap(move |cell| {
        let (value, version) = rival.read_cell(cell).unwrap().unwrap();
        rival.swap_cell(cell, &value, version);
    });
    let lines = flood(&mut world, |world| world.asked("k", &response(200, ACME)));
    let contended = StateError::Contended;
    let [kept, kept_later] = twice(&format!(
        "a validator's answer could not be remembered: {contended}"
    ));
    let [counted, counted_later] = twice(&format!("the limits could not be checked: {contended}"));
    assert_eq!(lines, [kept, counted, kept_later, counted_later]);
}

#[test]
fn what_the_host_refuses_is_told_of_once_a_minute_for_each_kind_of_call() {
    let world = World::new();
    let lines = written(|| {
        for _ in 0..100 {
            for call in ["the headers", "a property"] {
                let error = HostError { call, status: 2 };
                let telemetry = &world.gateway.shared.telemetry;
                telemetry.host_failed(&*world.host, error);
            }
        }
    });
    assert_eq!(
        lines,
        [
            "the host refused the headers (status 2)",
            "the host refused a property (status 2)",
        ]
    );
}
