//! Who is in flight, and who waits for a place: the cells by which limits bound how many requests are under way at once.
//!
//! A worker that is gone gives nothing back. So each counts in entries of its own, under the number by which [`super::workers`]
//! knows it, and entries of workers that are gone count no more. An entry is there while there is something to count: cells
//! are as large as what is under way, and nothing is ever forgotten to make room.
//!
//! Whoever finds no place may wait in the same cell, so that one swap decides who has it next. A place that comes free is
//! granted to one who waits, and stays so until its worker takes it up, or is gone.

use std::cmp::Ordering;

/// The bytes of those in flight in a cell at most. Beyond it nobody is let in: what is not counted could not be bounded.
const MOST_BYTES: usize = 1 << 16;

/// The bytes of those who wait in a cell at most, whatever they wait for: they keep nobody from a place that is free.
const MOST_BYTES_WAITING: usize = 1 << 16;

const HOLDER: usize = 24;
const WAITER: usize = 56;

/// What is bounded, and by whom its places are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounded {
    /// Tells the limit, and what it is counted per, from its neighbours in the cell.
    pub tag: u64,
    /// Whose part it is taken from, where parts are fair; else 0.
    pub sharer: u64,
}

/// Who waits: a stream of a worker, and how that worker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The number of its worker.
    pub worker: u32,
    /// How that worker is reached.
    pub bell: u32,
    /// Its stream there.
    pub stream: u32,
}

/// How much right one has to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// So many places at once, or none.
    pub places: u32,
    /// So many may be taken, these included.
    pub most: u32,
    /// So many may wait, itself included. 0: it does not wait.
    pub most_waiting: u32,
    /// Who takes turns with the others that wait.
    pub turns_by: u64,
    /// Its part among the sharers; 0: places are not shared, but go in turns.
    pub weight: u16,
    /// Whoever has more goes first.
    pub priority: u16,
}

/// What came of asking for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It has one.
    In,
    /// It waits for one.
    Waits,
    /// All are taken, and it may not wait.
    Full,
    /// More is under way than a cell can tell of: all may be taken.
    Crowded,
}

/// The entries of one cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InFlight {
    holders: Vec<Holder>,
    /// In the order in which they came.
    waiters: Vec<Waiter>,
}

/// How many places of one limit a worker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    bounded: Bounded,
    worker: u32,
    number: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiter {
    bounded: Bounded,
    who: Waiting,
    places: u32,
    most: u32,
    /// Those of the same turn go before all of the next.
    turn: u32,
    turns_by: u64,
    weight: u16,
    priority: u16,
    granted: bool,
}

impl InFlight {
    /// The entries of a cell's value. Those of workers that are gone are left out.
    #[must_use]
    pub fn read(value: &[u8], is_there: impl Fn(u32) -> bool) -> Self {
        let mut read = Self::default();
        let Some((number, rest)) = value.split_first_chunk() else {
            return read;
        };
        let holders = usize::try_from(u32::from_le_bytes(*number)).unwrap_or(usize::MAX);
        let (holders, waiters) = rest.split_at(holders.saturating_mul(HOLDER).min(rest.len()));
        let holders = holders.as_chunks().0.iter().map(Holder::decode);
        read.holders = holders.filter(|it| is_there(it.worker)).collect();
        let waiters = waiters.as_chunks().0.iter().map(Waiter::decode);
        read.waiters = waiters.filter(|it| is_there(it.who.worker)).collect();
        read
    }

    /// The value of a cell with these entries.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        if self.holders.is_empty() && self.waiters.is_empty() {
            return Vec::new();
        }
        let mut bytes = Vec::with_capacity(self.bytes());
        let number = u32::try_from(self.holders.len()).unwrap_or(u32::MAX);
        bytes.extend(number.to_le_bytes());
        for holder in &self.holders {
            holder.encode(&mut bytes);
        }
        for waiter in &self.waiters {
            waiter.encode(&mut bytes);
        }
        bytes
    }

    /// How many places of a limit are taken.
    #[must_use]
    pub fn taken(&self, tag: u64) -> u64 {
        let held = self.holders.iter().filter(|it| it.bounded.tag == tag);
        let granted = self
            .waiters
            .iter()
            .filter(|it| it.bounded.tag == tag && it.granted);
        let held: u64 = held.map(|it| u64::from(it.number)).sum();
        let granted: u64 = granted.map(|it| u64::from(it.places)).sum();
        held.saturating_add(granted)
    }

    /// How many wait for a place of a limit.
    #[must_use]
    pub fn waiting(&self, tag: u64) -> u64 {
        let waiting = |it: &&Waiter| it.bounded.tag == tag && !it.granted;
        let waiting = self.waiters.iter().filter(waiting);
        u64::try_from(waiting.count()).unwrap_or(u64::MAX)
    }

    /// Has one enter. Whoever waits already goes before it. Those who are granted a place by this are to be told.
    pub fn enter(
        &mut self,
        bounded: Bounded,
        who: Waiting,
        claim: Claim,
    ) -> (Entered, Vec<Waiting>) {
        if HOLDER * self.holders.len() + HOLDER > MOST_BYTES {
            return (Entered::Crowded, Vec::new());
        }
        let turn = self.turn(bounded.tag, claim.turns_by);
        self.waiters.push(Waiter {
            bounded,
            who,
            places: claim.places,
            most: claim.most,
            turn,
            turns_by: claim.turns_by,
            weight: claim.weight,
            priority: claim.priority,
            granted: false,
        });
        let mut granted = self.grant(bounded.tag);
        if let Some(index) = granted.iter().position(|it| *it == who) {
            granted.swap_remove(index);
            self.take_up(bounded.tag, who);
            return (Entered::In, granted);
        }
        if self.waiting(bounded.tag) > u64::from(claim.most_waiting)
            || WAITER * self.waiters.len() > MOST_BYTES_WAITING
        {
            self.waiters.pop();
            return (Entered::Full, granted);
        }
        (Entered::Waits, granted)
    }

    /// Has one who is in be counted, whatever the limit says: its worker was taken for gone.
    pub fn count_again(&mut self, bounded: Bounded, worker: u32, places: u32) {
        self.hold(bounded, worker, places);
    }

    /// Has one who was granted a place take it up. `None`: it waits no more, and has no place. [`Entered::Waits`]: it still
    /// waits.
    pub fn take_up(&mut self, tag: u64, who: Waiting) -> Option<Entered> {
        let index = self.position(tag, who)?;
        let waiter = self.waiters.get(index)?;
        if !waiter.granted {
            return Some(Entered::Waits);
        }
        let waiter = self.waiters.remove(index);
        self.hold(waiter.bounded, who.worker, waiter.places);
        Some(Entered::In)
    }

    /// True if one waits, and was granted nothing yet.
    #[must_use]
    pub fn waits(&self, tag: u64, who: Waiting) -> bool {
        let index = self.position(tag, who);
        let waiter = index.and_then(|index| self.waiters.get(index));
        waiter.is_some_and(|it| !it.granted)
    }

    /// Has one leave who waits or was granted a place. Those who are granted one by this are to be told.
    pub fn give_up(&mut self, tag: u64, who: Waiting) -> Vec<Waiting> {
        if let Some(index) = self.position(tag, who) {
            self.waiters.remove(index);
        }
        self.grant(tag)
    }

    /// Has one leave who is in, with so many places. Those who are granted a place by this are to be told.
    pub fn leave(&mut self, bounded: Bounded, worker: u32, places: u32) -> Vec<Waiting> {
        let its = |it: &Holder| it.bounded == bounded && it.worker == worker;
        if let Some(index) = self.holders.iter().position(its)
            && let Some(holder) = self.holders.get_mut(index)
        {
            holder.number = holder.number.saturating_sub(places);
            if holder.number == 0 {
                self.holders.swap_remove(index);
            }
        }
        self.grant(bounded.tag)
    }

    /// Grants the places that are free to those whose turn it is.
    pub fn grant(&mut self, tag: u64) -> Vec<Waiting> {
        let mut granted = Vec::new();
        while let Some(index) = self.next(tag)
            && let Some(waiter) = self.waiters.get_mut(index)
        {
            waiter.granted = true;
            granted.push(waiter.who);
        }
        granted
    }

    /// Where the one waits who has the next place. Who may not have it keeps it from nobody who may: their numbers differ where a
    /// limit is in force for a part of them, has changed, or is another for each of a client's keys. But who needs more places than are
    /// free has those behind it wait until there are enough, or it would wait for ever.
    fn next(&self, tag: u64) -> Option<usize> {
        let taken = self.taken(tag);
        let mut above = 0;
        loop {
            let (index, waiter) = self.first(tag, taken, above)?;
            if taken.saturating_add(waiter.places.into()) <= u64::from(waiter.most) {
                return Some(index);
            }
            above = waiter.most;
        }
    }

    /// The first of those who might have a place and may be in with more than `above`.
    fn first(&self, tag: u64, taken: u64, above: u32) -> Option<(usize, &Waiter)> {
        let may = |it: &Waiter| {
            it.bounded.tag == tag && !it.granted && taken < u64::from(it.most) && it.most > above
        };
        let waiting = || {
            let all = self.waiters.iter().enumerate();
            all.filter(|(_, it)| may(it))
        };
        let shared = waiting().any(|(_, it)| it.weight > 0);
        let parts = if shared { self.parts(tag) } else { Vec::new() };
        waiting().min_by(|(_, one), (_, other)| order(one, other, &parts))
    }

    /// How many places each sharer has, in the order of the sharers.
    fn parts(&self, tag: u64) -> Vec<(u64, u64)> {
        let held = self.holders.iter().map(|it| (it.bounded, it.number.into()));
        let granted = self.waiters.iter().filter(|it| it.granted);
        let granted = granted.map(|it| (it.bounded, u64::from(it.places)));
        let mut parts: Vec<(u64, u64)> = Vec::new();
        for (Bounded { sharer, .. }, number) in held.chain(granted).filter(|(it, _)| it.tag == tag)
        {
            match parts.binary_search_by_key(&sharer, |(it, _)| *it) {
                Ok(index) => {
                    if let Some((_, part)) = parts.get_mut(index) {
                        *part = part.saturating_add(number);
                    }
                }
                Err(index) => parts.insert(index, (sharer, number)),
            }
        }
        parts
    }

    /// In which turn a newcomer is: that of those who are next, or the one after its own last.
    fn turn(&self, tag: u64, turns_by: u64) -> u32 {
        let waiting = || (self.waiters.iter()).filter(|it| it.bounded.tag == tag && !it.granted);
        let present = waiting().map(|it| it.turn).min().unwrap_or(0);
        let own = waiting().filter(|it| it.turns_by == turns_by);
        let after = own.map(|it| it.turn.saturating_add(1)).max().unwrap_or(0);
        present.max(after)
    }

    fn hold(&mut self, bounded: Bounded, worker: u32, places: u32) {
        let its = |it: &&mut Holder| it.bounded == bounded && it.worker == worker;
        match self.holders.iter_mut().find(its) {
            Some(holder) => holder.number = holder.number.saturating_add(places),
            None => self.holders.push(Holder {
                bounded,
                worker,
                number: places,
            }),
        }
    }

    fn position(&self, tag: u64, who: Waiting) -> Option<usize> {
        let its = |it: &Waiter| it.bounded.tag == tag && it.who == who;
        self.waiters.iter().position(its)
    }

    fn bytes(&self) -> usize {
        4 + HOLDER * self.holders.len() + WAITER * self.waiters.len()
    }
}

/// Who goes before whom: by priority; of those who share, whose part is filled least; by turns. The rest is who came first.
fn order(one: &Waiter, other: &Waiter, parts: &[(u64, u64)]) -> Ordering {
    let filled = |it: &Waiter, weight: u16| {
        let found = parts.binary_search_by_key(&it.bounded.sharer, |(sharer, _)| *sharer);
        let part = found.ok().and_then(|index| parts.get(index));
        part.map_or(0, |(_, part)| part.saturating_mul(weight.into()))
    };
    let by_part = || filled(one, other.weight).cmp(&filled(other, one.weight));
    let by_priority = other.priority.cmp(&one.priority);
    by_priority
        .then_with(by_part)
        .then_with(|| one.turn.cmp(&other.turn))
}

impl Holder {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.bounded.tag.to_le_bytes());
        bytes.extend(self.bounded.sharer.to_le_bytes());
        bytes.extend(self.worker.to_le_bytes());
        bytes.extend(self.number.to_le_bytes());
    }

    fn decode(bytes: &[u8; HOLDER]) -> Self {
        let mut words = Words(bytes);
        Self {
            bounded: words.bounded(),
            worker: words.u32(),
            number: words.u32(),
        }
    }
}

impl Waiter {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.bounded.tag.to_le_bytes());
        bytes.extend(self.bounded.sharer.to_le_bytes());
        bytes.extend(self.turns_by.to_le_bytes());
        let Waiting {
            worker,
            bell,
            stream,
        } = self.who;
        for word in [worker, bell, stream, self.most, self.turn] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.weight.to_le_bytes());
        bytes.extend(self.priority.to_le_bytes());
        bytes.extend(self.places.to_le_bytes());
        bytes.extend(u32::from(self.granted).to_le_bytes());
    }

    fn decode(bytes: &[u8; WAITER]) -> Self {
        let mut words = Words(bytes);
        Self {
            bounded: words.bounded(),
            turns_by: words.u64(),
            who: Waiting {
                worker: words.u32(),
                bell: words.u32(),
                stream: words.u32(),
            },
            most: words.u32(),
            turn: words.u32(),
            weight: words.u16(),
            priority: words.u16(),
            places: words.u32(),
            granted: words.u32() != 0,
        }
    }
}

/// The rest of an entry, word by word.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let Some((word, rest)) = self.0.split_first_chunk() else {
            return [0; N];
        };
        self.0 = rest;
        *word
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    fn bounded(&mut self) -> Bounded {
        Bounded {
            tag: self.u64(),
            sharer: self.u64(),
        }
    }
}

#[cfg(test)]
mod tests;
