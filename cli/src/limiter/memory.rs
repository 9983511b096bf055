//! Counters in memory, of the windows that now is in: one for each length of window. When a window ends, all its counters go at
//! once. Their number is bounded, and none goes before its time: a question that needs one more has no answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use waykeeper::host::Timestamp;

use super::question::{Counter, Id, Part, Question};
use super::verdict::{Failure, Standing, Verdict, left};
use super::window::{Span, Window};

pub(super) struct Memory {
    spans: HashMap<Span, Live>,
    /// How many counters there are.
    len: usize,
    most: usize,
}

/// The window of this length that now is in.
struct Live {
    window: Window,
    counts: HashMap<Id, Count>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) used: u64,
    /// What was handed to a file as used; never less than that after it was counted. 0 where nothing is kept.
    pub(super) kept: u64,
}

impl Memory {
    /// With room for so many counters.
    pub(super) fn new(most: usize) -> Self {
        Self {
            spans: HashMap::new(),
            len: 0,
            most,
        }
    }

    /// How many counters there are, those included whose window has ended since it was last counted in.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Counts all parts of a question, or none.
    ///
    /// # Errors
    /// [`Failure::Full`] if that takes more counters than there may be; nothing is counted then either.
    pub(super) fn count(
        &mut self,
        question: &Question,
        now: Timestamp,
    ) -> Result<Verdict, Failure> {
        let mut before = Vec::with_capacity(question.parts.len());
        let mut fits = Vec::with_capacity(question.parts.len());
        let mut failure = None;
        for part in &question.parts {
            match self.take(part, now) {
                Ok(taken) => {
                    fits.push(taken.is_some());
                    before.extend(taken.map(|before| (part.counter, before)));
                }
                Err(full) => {
                    failure = Some(full);
                    break;
                }
            }
        }
        let admitted = failure.is_none() && fits.iter().all(|fits| *fits);
        if !admitted {
            for (counter, before) in before.into_iter().rev() {
                self.restore(counter, before);
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        let standings = question.parts.iter().zip(fits);
        let standings = standings.map(|(part, fits)| self.standing(part, fits, now));
        Ok(Verdict {
            admitted,
            standings: standings.collect(),
        })
    }

    /// What is counted there now.
    pub(super) fn get_mut(&mut self, counter: Counter) -> Option<(Window, &mut Count)> {
        let live = self.spans.get_mut(&counter.span)?;
        let count = live.counts.get_mut(&counter.id)?;
        Some((live.window, count))
    }

    /// Takes in what was counted before this process began.
    ///
    /// # Errors
    /// [`Failure::Full`].
    pub(super) fn put(
        &mut self,
        counter: Counter,
        used: u64,
        now: Timestamp,
    ) -> Result<(), Failure> {
        self.get(counter, now);
        self.set(counter, Count { used, kept: used }, now)
    }

    /// All that is counted.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Counter, Window, Count)> {
        self.spans.iter().flat_map(|(span, live)| {
            live.counts.iter().map(|(id, count)| {
                let counter = Counter {
                    span: *span,
                    id: *id,
                };
                (counter, live.window, *count)
            })
        })
    }

    /// Takes a part if it fits, and says what was counted before: `Some(None)` for a counter that was not there.
    fn take(&mut self, part: &Part, now: Timestamp) -> Result<Option<Option<Count>>, Failure> {
        let counter = part.counter;
        let before = self.get(counter, now);
        let count = before.unwrap_or_default();
        let used = if part.back {
            count.used.saturating_sub(part.hits)
        } else {
            match count.used.checked_add(part.hits) {
                Some(used) if used <= u64::from(part.limit) => used,
                _ => return Ok(None),
            }
        };
        if before.is_none() && used == 0 {
            return Ok(Some(None));
        }
        self.set(counter, Count { used, ..count }, now)?;
        Ok(Some(before))
    }

    fn restore(&mut self, counter: Counter, before: Option<Count>) {
        let Entry::Occupied(mut span) = self.spans.entry(counter.span) else {
            return;
        };
        let counts = &mut span.get_mut().counts;
        if let Some(before) = before {
            counts.insert(counter.id, before);
        } else if counts.remove(&counter.id).is_some() {
            self.len -= 1;
        }
        if counts.is_empty() {
            span.remove();
        }
    }

    fn standing(&mut self, part: &Part, fits: bool, now: Timestamp) -> Standing {
        let used = self.get(part.counter, now).map_or(0, |count| count.used);
        Standing {
            fits,
            remaining: left(part.limit, used),
            reset: part.counter.span.around(now).end.since(now),
        }
    }

    /// What is counted there in the window that now is in. What was counted in one that begins later, before the clock was set
    /// back, counts now; an earlier one goes.
    fn get(&mut self, counter: Counter, now: Timestamp) -> Option<Count> {
        let Entry::Occupied(mut span) = self.spans.entry(counter.span) else {
            return None;
        };
        let window = counter.span.around(now);
        let live = span.get_mut();
        if live.window.start < window.start {
            self.len -= live.counts.len();
            span.remove();
            return None;
        }
        live.window = window;
        live.counts.get(&counter.id).copied()
    }

    /// Sets what is counted in the window that now is in.
    fn set(&mut self, counter: Counter, count: Count, now: Timestamp) -> Result<(), Failure> {
        if let Some(known) = self
            .spans
            .get_mut(&counter.span)
            .and_then(|live| live.counts.get_mut(&counter.id))
        {
            *known = count;
            return Ok(());
        }
        if !self.has_room(now) {
            return Err(Failure::Full);
        }
        let live = self.spans.entry(counter.span).or_insert_with(|| Live {
            window: counter.span.around(now),
            counts: HashMap::new(),
        });
        live.counts.insert(counter.id, count);
        self.len += 1;
        Ok(())
    }

    /// True if there may be one more.
    fn has_room(&mut self, now: Timestamp) -> bool {
        if self.len >= self.most {
            self.spans.retain(|_, live| live.window.end > now);
            self.len = self.spans.values().map(|live| live.counts.len()).sum();
        }
        self.len < self.most
    }
}

#[cfg(test)]
mod tests;
