//! Questions of one request to several servers at once, and who waits for the last answer.
//!
//! Nobody shares them: they bear the caller's own headers. A caller that leaves leaves them behind, and what comes of them then is
//! not even read.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::clock::Ticks;
use super::hold::{Held, Waits};
use super::shared::Shared;
use crate::host::{CalloutAnswer, CalloutId, Host, StreamId};
use crate::routing::SESSION_ID;

/// So many questions may be under way in a worker. Nobody may have more of them than there is room left for others: whoever asks and
/// leaves leaves them behind, and no limit counts those any more.
const MOST: usize = 1024;

/// All questions that are under way.
#[derive(Default)]
pub(super) struct Rounds(RefCell<Vec<Asked>>);

struct Asked {
    callout: CalloutId,
    round: Rc<Round>,
    /// Which of its answers this is.
    place: usize,
    stream: StreamId,
    /// A number for who has asked.
    caller: u64,
    /// It has got lost if it has not come by then.
    lost: Ticks,
}

struct Round {
    answers: RefCell<Vec<Option<Came>>>,
    open: Cell<usize>,
    /// How large each answer may be.
    most: usize,
    bytes: Cell<u64>,
    held: RefCell<Option<Held>>,
    /// Nobody waits any more.
    left: Cell<bool>,
}

/// What a server has answered.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// The session that it names.
    pub(super) session: Vec<u8>,
}

/// What a request waits for. Whoever drops it waits no more.
pub(super) struct Waiting(Rc<Round>);

impl Rounds {
    /// True if so many more may be asked for this caller.
    pub(super) fn have_room(&self, caller: u64, number: usize) -> bool {
        let all = self.0.borrow();
        let own = all.iter().filter(|asked| asked.caller == caller).count();
        let left = MOST.saturating_sub(all.len().saturating_add(number));
        own.saturating_add(number) <= left
    }

    /// One begins. These have been asked, each at its place; `None`: it could not be.
    pub(super) fn begin(
        &self,
        (stream, caller): (StreamId, u64),
        asked: Vec<Option<CalloutId>>,
        most: usize,
        (now, patience): (Ticks, Duration),
    ) -> Waiting {
        let round = Rc::new(Round {
            answers: RefCell::new(asked.iter().map(|_| None).collect()),
            open: Cell::new(asked.iter().flatten().count()),
            most,
            bytes: Cell::new(0),
            held: RefCell::new(None),
            left: Cell::new(false),
        });
        let lost = now.after(patience.saturating_add(Duration::from_secs(1)));
        let mut all = self.0.borrow_mut();
        for (place, callout) in asked.into_iter().enumerate() {
            if let Some(callout) = callout {
                all.push(Asked {
                    callout,
                    round: Rc::clone(&round),
                    place,
                    stream,
                    caller,
                    lost,
                });
            }
        }
        Waiting(round)
    }

    /// How much is read of an answer, if it is one to these.
    pub(super) fn most_bytes(&self, id: CalloutId) -> Option<usize> {
        let all = self.0.borrow();
        let round = &all.iter().find(|asked| asked.callout == id)?.round;
        Some(if round.left.get() { 0 } else { round.most })
    }

    /// Answers that got lost are waited for no more: those that have their turn now.
    pub(super) fn give_up(&self, now: Ticks) -> Vec<StreamId> {
        let mut whole = Vec::new();
        self.0.borrow_mut().retain(|asked| {
            let stays = now < asked.lost;
            if !stays && asked.round.is_whole_with(asked.place, None) {
                whole.push(asked.stream);
            }
            stays
        });
        whole
    }
}

impl Round {
    /// An answer has come, or none. True if it was the last that somebody waits for.
    fn is_whole_with(&self, place: usize, came: Option<Came>) -> bool {
        if let Some(slot) = self.answers.borrow_mut().get_mut(place) {
            *slot = came;
        }
        self.open.set(self.open.get().saturating_sub(1));
        self.open.get() == 0 && !self.left.get()
    }
}

impl Waiting {
    /// All answers, each at its place, once they are there; `None`: there is none.
    pub(super) async fn answers(self) -> Vec<Option<Came>> {
        poll_fn(|_| match self.0.open.get() {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        })
        .await;
        self.0.answers.take()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.left.set(true);
        self.0.answers.take();
        self.0.held.take();
    }
}

impl<H: Host> Shared<H> {
    /// A callout was answered, or failed. `None`: it was none of these. Else whose turn it is now, if it was the last.
    #[inline(never)]
    pub(super) fn server_came(
        &self,
        id: CalloutId,
        came: &CalloutAnswer,
    ) -> Option<Option<StreamId>> {
        let mut all = self.rounds.0.borrow_mut();
        let place = all.iter().position(|asked| asked.callout == id)?;
        let asked = all.swap_remove(place);
        drop(all);
        let round = &asked.round;
        let came = match came {
            CalloutAnswer::Response { status, body } if !round.left.get() => {
                let bytes = round.bytes.get().saturating_add(body.len() as u64);
                let held = (self.holds).hold(
                    &mut round.held.borrow_mut(),
                    bytes,
                    Waits::Answer,
                    asked.caller,
                );
                match held {
                    Ok(()) => {
                        round.bytes.set(bytes);
                        let session = self.host.answer_header(SESSION_ID);
                        Some(Came {
                            status: *status,
                            body: body.clone(),
                            session: session.unwrap_or_default(),
                        })
                    }
                    Err(too_much) => {
                        super::failure::refusal(&*self.host, &self.telemetry, too_much.into());
                        None
                    }
                }
            }
            _ => None,
        };
        Some(
            round
                .is_whole_with(asked.place, came)
                .then_some(asked.stream),
        )
    }
}
