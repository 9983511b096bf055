//! Questions that are under way, and who waits for the answers.
//!
//! Whoever needs the same answer shares one question. Its answer is a future, which has it as soon as it is there; the
//! driver knows whom to give a turn then. A question lasts without anybody who waits, for what is heard is remembered; it
//! does not last for ever, should its answer get lost.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::clock::Ticks;
use crate::host::{CalloutId, StreamId, Timestamp};

/// All questions of one kind that are under way: `T` is what they are about, `A` what is answered.
pub(super) struct Questions<T, A> {
    most: usize,
    patience: Duration,
    state: RefCell<State<T, A>>,
}

struct State<T, A> {
    by_topic: HashMap<T, Rc<Question<A>>>,
    by_callout: FxHashMap<CalloutId, T>,
}

/// One question.
struct Question<A> {
    callout: CalloutId,
    at: Timestamp,
    tick: Ticks,
    waiting: RefCell<Vec<StreamId>>,
    answer: RefCell<Option<A>>,
}

/// A question that is no longer under way.
pub(super) struct Closed<T, A> {
    pub(super) topic: T,
    /// When it was asked.
    pub(super) at: Timestamp,
    question: Rc<Question<A>>,
}

/// Why nothing could be asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotAsked<E> {
    /// So many questions are under way, and no more may be.
    TooMany(usize),
    /// The question could not be sent.
    Unsent(E),
}

/// What a stream waits for. Whoever drops it waits no more.
#[must_use]
pub(super) struct Answer<A> {
    question: Rc<Question<A>>,
    stream: StreamId,
}

impl<T: Eq + Hash + Clone, A: Clone> Questions<T, A> {
    /// `most` may be under way at a time. Whoever is asked gives up by itself after `patience`; what has no answer even a
    /// second later is lost.
    pub(super) fn new(most: usize, patience: Duration) -> Self {
        Self {
            most,
            patience,
            state: RefCell::new(State {
                by_topic: HashMap::new(),
                by_callout: FxHashMap::default(),
            }),
        }
    }

    /// Lets `stream` wait for the answer about `topic`, and asks by `send` if nobody has yet.
    pub(super) fn ask<E>(
        &self,
        topic: &T,
        stream: StreamId,
        (at, tick): (Timestamp, Ticks),
        send: impl FnOnce() -> Result<CalloutId, E>,
    ) -> Result<Answer<A>, NotAsked<E>> {
        let mut state = self.state.borrow_mut();
        let question = match state.by_topic.get(topic) {
            Some(question) => Rc::clone(question),
            None if state.by_topic.len() >= self.most => {
                return Err(NotAsked::TooMany(self.most));
            }
            None => {
                let callout = send().map_err(NotAsked::Unsent)?;
                let question = Rc::new(Question {
                    callout,
                    at,
                    tick,
                    waiting: RefCell::default(),
                    answer: RefCell::new(None),
                });
                state.by_callout.insert(callout, topic.clone());
                state.by_topic.insert(topic.clone(), Rc::clone(&question));
                question
            }
        };
        question.waiting.borrow_mut().push(stream);
        Ok(Answer { question, stream })
    }

    /// True if half of those that may be are under way: no time for what nobody's request waits for.
    pub(super) fn are_many(&self) -> bool {
        self.state.borrow().by_topic.len().saturating_mul(2) >= self.most
    }

    /// The question that a callout has answered. It is no longer under way.
    pub(super) fn take(&self, callout: CalloutId) -> Option<Closed<T, A>> {
        let mut state = self.state.borrow_mut();
        let topic = state.by_callout.remove(&callout)?;
        let question = state.by_topic.remove(&topic)?;
        Some(Closed {
            topic,
            at: question.at,
            question,
        })
    }

    /// The questions whose answers are lost. They are no longer under way.
    pub(super) fn take_lost(&self, now: Ticks) -> Vec<Closed<T, A>> {
        let patience = self.patience.saturating_add(Duration::from_secs(1));
        let is_lost = |question: &Question<A>| now >= question.tick.after(patience);
        let mut lost = Vec::new();
        for question in self.state.borrow().by_topic.values() {
            if is_lost(question) {
                lost.push(question.callout);
            }
        }
        lost.into_iter().filter_map(|id| self.take(id)).collect()
    }
}

impl<T, A> Closed<T, A> {
    /// Gives the answer to all who wait for it, and says who they are: they are to be given a turn each.
    pub(super) fn answer(self, answer: A) -> Vec<StreamId> {
        self.question.answer.replace(Some(answer));
        self.question.waiting.take()
    }
}

impl<A: Clone> Future for Answer<A> {
    type Output = A;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<A> {
        match &*self.question.answer.borrow() {
            Some(answer) => Poll::Ready(answer.clone()),
            None => Poll::Pending,
        }
    }
}

impl<A> Drop for Answer<A> {
    fn drop(&mut self) {
        let mut waiting = self.question.waiting.borrow_mut();
        if let Some(at) = waiting.iter().position(|id| *id == self.stream) {
            waiting.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    const NOW: (Timestamp, Ticks) = (Timestamp::from_seconds(1), Ticks::START);

    fn questions(most: usize) -> Questions<&'static str, u8> {
        Questions::new(most, Duration::from_millis(1500))
    }

    fn sent(number: u32) -> impl FnOnce() -> Result<CalloutId, ()> {
        move || Ok(CalloutId(number.into()))
    }

    fn not_sent() -> Result<CalloutId, ()> {
        panic!("asked twice")
    }

    fn look(answer: Pin<&mut Answer<u8>>) -> Poll<u8> {
        answer.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn ticks(number: u64) -> Ticks {
        let mut ticks = Ticks::START;
        (0..number).for_each(|_| ticks.advance());
        ticks
    }

    #[test]
    fn who_asks_the_same_shares_the_question_and_its_answer_lasts_until_all_have_it() {
        let questions = questions(1);
        let first = questions.ask(&"a", StreamId(1), NOW, sent(7)).unwrap();
        let second = questions.ask(&"a", StreamId(2), NOW, not_sent).unwrap();
        let (mut first, mut second) = (pin!(first), pin!(second));
        assert_eq!(look(first.as_mut()), Poll::Pending);

        let closed = questions.take(CalloutId(7)).unwrap();
        assert_eq!(closed.topic, "a");
        assert_eq!(closed.answer(9), [1, 2].map(StreamId));

        assert_eq!(look(first), Poll::Ready(9));
        assert_eq!(look(second.as_mut()), Poll::Ready(9));
        // The next one asks again.
        assert!(questions.take(CalloutId(7)).is_none());
        assert!(questions.ask(&"a", StreamId(3), NOW, sent(8)).is_ok());
    }

    #[test]
    fn questions_are_bounded_and_those_who_wait_are_not() {
        let questions = questions(2);
        let _waiting = [("a", 1), ("b", 2)]
            .map(|(topic, id)| questions.ask(&topic, StreamId(id), NOW, sent(id)).unwrap());
        let _more: Vec<_> = (3..5_000)
            .map(|id| questions.ask(&"a", StreamId(id), NOW, not_sent).unwrap())
            .collect();
        let refused = questions.ask(&"c", StreamId(9_000), NOW, not_sent);
        assert_eq!(refused.err(), Some(NotAsked::TooMany(2)));
        // One is answered, and there is room again.
        questions.take(CalloutId(2)).unwrap();
        assert!(questions.ask(&"c", StreamId(9_000), NOW, sent(3)).is_ok());
    }

    #[test]
    fn what_cannot_be_sent_is_not_under_way() {
        let questions = questions(1);
        let refused = questions.ask(&"a", StreamId(1), NOW, || Err("no"));
        assert_eq!(refused.err(), Some(NotAsked::Unsent("no")));
        assert!(questions.ask(&"b", StreamId(2), NOW, sent(1)).is_ok());
    }

    #[test]
    fn who_leaves_is_given_no_turn_and_the_question_lasts() {
        let questions = questions(1);
        let leaving = questions.ask(&"a", StreamId(1), NOW, sent(7)).unwrap();
        drop(leaving);
        let closed = questions.take(CalloutId(7)).unwrap();
        assert!(closed.answer(9).is_empty());
    }

    #[test]
    fn an_answer_is_lost_a_second_after_its_own_time() {
        let questions = questions(2);
        let (at, _) = NOW;
        let _old = questions.ask(&"a", StreamId(1), NOW, sent(1)).unwrap();
        let _new = questions.ask(&"b", StreamId(2), (at, ticks(1)), sent(2));
        assert!(questions.take_lost(ticks(3)).is_empty());
        let lost = questions.take_lost(ticks(4));
        let topics: Vec<_> = lost.iter().map(|closed| closed.topic).collect();
        assert_eq!(topics, ["a"]);
        // What comes later all the same is an answer to nothing.
        assert!(questions.take(CalloutId(1)).is_none());
    }
}
