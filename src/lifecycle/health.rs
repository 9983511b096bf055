//! An agent that may rest, as one worker knows it: what comes back from it goes into its record, and what stands there is
//! believed for a moment. Whatever is answered while nothing is held against the agent costs a glance.

use std::cell::Cell;
use std::time::Duration;

use crate::config::policy::Rest;
use crate::host::{AgentFault, AttemptEnd, Host, StreamIo, Timestamp};
use crate::reply::retry_after;
use crate::state::health::{Attempt, Came, Change, Health, Key, Probe, Record, Standing};
use crate::state::{State, StateError};

/// Whom there is no room for in an agent's cluster is told sooner than this; to connect may take longer.
const AT_ONCE: Duration = Duration::from_millis(200);

/// For so long a worker believes what it has read.
const BELIEVED: Duration = Duration::from_millis(50);

/// The note by which the module knows on an agent's side whose attempt it sees there.
pub(super) const ASKED: &str = "waykeeper_asked";

/// An agent that may rest.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) rest: Rest,
    pub(super) key: Key,
    health: Health,
    seen: Cell<Option<(Timestamp, Record)>>,
    /// Answers that have come here and stand in no record yet, and when the last one came.
    answers: Cell<(u32, Timestamp)>,
}

/// A request at an agent, and how far that is judged.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) attempt: Attempt,
    /// When all of the request was handed over.
    sent: Option<Timestamp>,
    heard: Heard,
    broken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Nothing,
    /// The headers of an answer that counts once it is whole.
    Headers,
    /// Enough.
    All,
}

/// What has come back, and what it is called where it is a failure.
pub(super) type Judged = (Came, &'static str);

const ANSWER: Judged = (Came::Answer, "");
const BROKEN: Judged = (Came::Provoked, "broken");
const LATE: Judged = (Came::Provoked, "late");
pub(super) const NO_ANSWER: Judged = (Came::Provoked, "no_answer");
const UNCONNECTED: Judged = (Came::Unconnected, "unconnected");

/// True of the status of an answer by which the agent has failed. Envoy passes on any number; what is none of HTTP is to be taken
/// for 500 (RFC 9110, section 15).
pub(super) fn is_failure(status: &[u8]) -> bool {
    !matches!(status, [b'1'..=b'4', b'0'..=b'9', b'0'..=b'9'])
}

impl Watched {
    pub(super) fn new(state: &State, name: &str, cluster: &str, rest: Rest) -> Self {
        Self {
            rest,
            key: Key::new(state, name, cluster),
            health: Health::new(state),
            seen: Cell::new(None),
            answers: Cell::default(),
        }
    }

    /// The agent has a record from now on. True if it rests by that.
    pub(super) fn come<H: Host>(&self, host: &H) -> Result<bool, StateError> {
        let record = self.health.come(host, self.key)?;
        Ok(record.standing(host.now(), self.rest.longest) != Standing::Fit)
    }

    /// Whether the agent may be asked.
    pub(super) fn standing<H: Host>(&self, host: &H) -> Result<Standing, StateError> {
        let now = host.now();
        let record = self.record(host, now)?;
        Ok(record.standing(now, self.rest.longest))
    }

    /// True if nobody but a probe goes there.
    pub(super) fn is_due<H: Host>(&self, host: &H, now: Timestamp) -> bool {
        let record = self.record(host, now);
        record.is_ok_and(|it| it.standing(now, self.rest.longest) == Standing::Due)
    }

    /// True if a probe is there.
    pub(super) fn is_probed<H: Host>(&self, host: &H) -> bool {
        let now = host.now();
        self.record(host, now).is_ok_and(|it| it.is_probed(now))
    }

    /// True if it is not known to be fit.
    pub(super) fn is_held_against<H: Host>(&self, host: &H) -> bool {
        !matches!(self.standing(host), Ok(Standing::Fit))
    }

    /// Whether a request of this client is the probe.
    #[inline(never)]
    pub(super) fn take_probe<H: Host>(
        &self,
        host: &H,
        client: u64,
    ) -> Result<Option<Probe>, StateError> {
        let mut probe = None;
        self.change(host, &mut |record, now| {
            probe = record.take_probe(&self.rest, client, now);
        })?;
        Ok(probe)
    }

    /// The probe has not come to anything.
    #[inline(never)]
    pub(super) fn give_back<H: Host>(&self, host: &H, probe: Probe) -> Result<(), StateError> {
        self.change(host, &mut |record, now| record.give_back(probe, now))
    }

    /// The request that is the probe goes on to the agent; `sent`: with all that belongs to it.
    #[inline(never)]
    pub(super) fn hold<H: Host>(
        &self,
        host: &H,
        probe: Probe,
        sent: bool,
    ) -> Result<(), StateError> {
        self.change(host, &mut |record, now| record.hold(probe, sent, now))
    }

    /// Something has come back.
    #[inline(never)]
    pub(super) fn judge<H: Host>(
        &self,
        host: &H,
        attempt: &Attempt,
        came: Came,
    ) -> Result<Change, StateError> {
        let probes = attempt.probe.is_some();
        if !probes {
            let now = host.now();
            let record = self.record(host, now)?;
            if record.standing(now, self.rest.longest) != Standing::Fit {
                return Ok(Change::None);
            }
            if came == Came::Answer {
                if record.is_clean(now) {
                    return Ok(Change::None);
                }
                let (before, _) = self.answers.get();
                self.answers.set((before.saturating_add(1), now));
                if !record.has_row() {
                    return Ok(Change::None);
                }
            }
        }
        let random = host.random();
        let mut change = Change::None;
        let counted = came == Came::Answer && !probes;
        self.change(host, &mut |record, now| {
            if !counted {
                change = record.judge(&self.rest, attempt, came, now, random);
            }
        })?;
        Ok(change)
    }

    /// The record as it is, or was a moment ago.
    fn record<H: Host>(&self, host: &H, now: Timestamp) -> Result<Record, StateError> {
        if let Some((at, record)) = self.seen.get()
            && now.since(at) < BELIEVED
            && now >= at
        {
            return Ok(record);
        }
        if self.answers.get().0 > 0 {
            self.change(host, &mut |_, _| {})?;
        } else {
            self.seen
                .set(Some((now, self.health.look(host, self.key)?)));
        }
        Ok(self.seen.get().map_or(Record::new(self.key), |(_, it)| it))
    }

    /// Changes the record, which hears of the answers first.
    fn change<H: Host>(
        &self,
        host: &H,
        change: &mut dyn FnMut(&mut Record, Timestamp),
    ) -> Result<(), StateError> {
        let (answers, last) = self.answers.take();
        let mut at = Timestamp(0);
        let after = self.health.update(host, self.key, &mut |record, now| {
            at = now;
            record.answered(answers, last, now);
            change(record, now);
        })?;
        self.seen.set(after.map(|record| (at, record)));
        Ok(())
    }
}

impl Asked {
    /// An agent is asked.
    pub(super) fn new(began: Timestamp, client: u64, probe: Option<Probe>) -> Self {
        Self::of(Attempt {
            began,
            client,
            probe,
        })
    }

    /// The same, by this attempt.
    pub(super) fn of(attempt: Attempt) -> Self {
        Self {
            attempt,
            sent: None,
            heard: Heard::Nothing,
            broken: false,
        }
    }

    /// All of the request was handed over.
    pub(super) fn is_sent(&mut self, now: Timestamp) {
        self.sent = self.sent.or(Some(now));
    }

    /// True if it was.
    pub(super) fn is_all_sent(&self) -> bool {
        self.sent.is_some()
    }

    /// The agent has broken off its answer.
    pub(super) fn broke_off(&mut self) {
        self.broken = true;
    }

    /// True if there is nothing to hear of it any more.
    pub(super) fn is_judged(&self) -> bool {
        self.heard == Heard::All
    }

    /// True if the agent has begun to answer, and has not been heard to end.
    pub(super) fn answers(&self) -> bool {
        self.heard == Heard::Headers
    }

    /// The headers of the agent's answer have come.
    pub(super) fn headers<H: Host>(
        &mut self,
        host: &H,
        io: &H::Stream,
        rest: &Rest,
    ) -> Option<Judged> {
        self.heard = Heard::All;
        let status = io.response_header(":status").unwrap_or_default();
        match status.as_slice() {
            status if is_failure(status) => return Some((Came::Provoked, "status")),
            b"429" if rest.heeds_429 => {
                let wait = io.response_header("retry-after");
                let wait = wait.and_then(|wait| retry_after::seconds(&wait, host.now()));
                return Some(match wait {
                    Some(seconds) if seconds > 0 => {
                        (Came::Busy(Duration::from_secs(seconds)), "busy")
                    }
                    _ => (Came::Provoked, "busy"),
                });
            }
            _ => {}
        }
        if let Some(late) = self.late(host, rest) {
            return Some(late);
        }
        // A WebSocket may last for hours, and ends as its agent closes the connection, which looks like one that breaks off.
        if status == b"101" {
            return Some(ANSWER);
        }
        // A probe has found out what was to be known.
        self.heard = Heard::Headers;
        self.attempt.probe.is_some().then_some(ANSWER)
    }

    /// The host has answered in the agent's place.
    pub(super) fn no_answer(&mut self, fault: Option<AgentFault>) -> Option<Judged> {
        self.heard = Heard::All;
        Some(match fault? {
            AgentFault::NoHost | AgentFault::Unconnected => UNCONNECTED,
            AgentFault::Broken => NO_ANSWER,
        })
    }

    /// The answer is whole.
    pub(super) fn whole(&mut self) -> Option<Judged> {
        let was = std::mem::replace(&mut self.heard, Heard::All);
        (was == Heard::Headers).then_some(ANSWER)
    }

    /// The request is over, in this way.
    pub(super) fn ends<H: Host>(
        &mut self,
        host: &H,
        how: AttemptEnd,
        rest: &Rest,
    ) -> Option<Judged> {
        let was = std::mem::replace(&mut self.heard, Heard::All);
        match (was, how) {
            (Heard::All, _) => None,
            (Heard::Headers, AttemptEnd::Left) if !self.broken => Some(ANSWER),
            (Heard::Headers, _) => Some(BROKEN),
            (Heard::Nothing, AttemptEnd::Left) => self.late(host, rest),
            (Heard::Nothing, AttemptEnd::Broken) => Some(NO_ANSWER),
            (Heard::Nothing, AttemptEnd::Unconnected) => Some(UNCONNECTED),
            (Heard::Nothing, AttemptEnd::Waited) => {
                let waited = host.now().since(self.attempt.began);
                (waited >= AT_ONCE).then_some(NO_ANSWER)
            }
        }
    }

    /// Who takes its time to say all of what it asks has to wait for that.
    fn late<H: Host>(&self, host: &H, rest: &Rest) -> Option<Judged> {
        let (most, sent) = (rest.slow_first_token?, self.sent?);
        (host.now().since(sent) > most).then_some(LATE)
    }
}
