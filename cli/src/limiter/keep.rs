//! Counters in memory whose counts outlive this process: a file holds, of each counter, at least what it has counted.
//!
//! Not each hit is written. When a counter reaches what the file says of it, the file is told a little more than is used now, up
//! to a twentieth of the limit; until that is reached in turn, nothing need be written. Nobody is admitted before what he takes
//! is covered by the file, written through to the disk. So whatever ends this process, or the machine, the next one
//! counts at least as much as was admitted, and at most a twentieth of each limit more. After an orderly end it
//! counts exactly as much.
//!
//! One thread writes. What comes while it does is written together, next.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};
use tokio::sync::watch;
use tokio::time::timeout;
use waykeeper::host::Timestamp;

use super::memory::Memory;
use super::protocol::Unit;
use super::question::{Counter, Question};
use super::verdict::{Failure, Verdict};
use super::window::Span;
use super::{Health, now, say};

/// One part in so many of a limit is written ahead.
const AHEAD: u64 = 20;
/// How long one waits for the disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The database keeps pages in memory; it has few.
const CACHE: usize = 16 << 20;

/// The counters of one window: how much of each is used, at most.
type Counts<'a> = TableDefinition<'a, u128, u64>;

pub(super) struct Keep {
    shared: Arc<Shared>,
    written: watch::Receiver<Written>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    /// There is something to write, or it is the end.
    work: Condvar,
}

struct State {
    memory: Memory,
    /// The window of each length whose counts the file gets. It stays when the clock is set back: what was counted in it counts on.
    starts: HashMap<Span, Timestamp>,
    /// What the next batch will write.
    next: Batch,
    /// What is being written.
    writing: Batch,
    /// The number of the batch that is collected.
    number: u64,
    ending: bool,
}

/// Of each counter, when its window began and how much of it is covered.
type Batch = HashMap<Counter, (Timestamp, u64)>;

#[derive(Debug, Clone, Copy, Default)]
struct Written {
    /// The last batch that is on the disk.
    number: u64,
    /// The one after it could not be written so far.
    failing: bool,
}

impl Keep {
    /// Opens the file, or makes it, and takes in what it holds of windows that last.
    ///
    /// # Errors
    /// If it is no such file, another process has it, or it holds more counters than there may be.
    pub(super) fn open(file: &Path, most: usize) -> io::Result<Self> {
        let database = Database::builder().set_cache_size(CACHE).create(file);
        let mut disk = Disk {
            database: database.map_err(io::Error::other)?,
            starts: HashMap::new(),
        };
        let mut memory = Memory::new(most);
        disk.load(&mut memory, now()).map_err(io::Error::other)?;
        if memory.len() > 0 {
            say(&format!(
                "{}: {} counters go on",
                file.display(),
                memory.len()
            ));
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                memory,
                starts: disk.starts.clone(),
                next: Batch::new(),
                writing: Batch::new(),
                number: 1,
                ending: false,
            }),
            work: Condvar::new(),
        });
        let (tell, written) = watch::channel(Written::default());
        let (name, theirs) = (file.display().to_string(), Arc::clone(&shared));
        let write = move || theirs.write(&mut disk, &tell, &name);
        let writer = thread::Builder::new()
            .name("keep".to_owned())
            .spawn(write)?;
        Ok(Self {
            shared,
            written,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Counts all parts of a question, or none, and returns when that is kept.
    ///
    /// # Errors
    /// [`Failure::Full`], and [`Failure::Away`] if it cannot be written: then it has been counted, and is written later.
    pub(super) async fn count(&self, question: &Question) -> Result<Verdict, Failure> {
        let (verdict, batch) = {
            let mut state = self.shared.state();
            let verdict = state.memory.count(question, now())?;
            let batch = if verdict.admitted {
                state.cover(question)
            } else {
                0
            };
            (verdict, batch)
        };
        if batch > 0 {
            self.shared.work.notify_one();
            let mut written = self.written.clone();
            let done = written.wait_for(|it| it.number >= batch || it.failing);
            match timeout(PATIENCE, done).await {
                Ok(Ok(it)) if it.number >= batch => {}
                _ => return Err(Failure::Away),
            }
        }
        Ok(verdict)
    }

    /// How many counters there are.
    pub(super) fn len(&self) -> usize {
        self.shared.state().memory.len()
    }

    /// Says whether it can be written, for as long as this process runs.
    pub(super) async fn report(self: Arc<Self>, health: Health) {
        let mut written = self.written.clone();
        loop {
            let failing = written.borrow_and_update().failing;
            health.set(!failing).await;
            if written.changed().await.is_err() {
                return;
            }
        }
    }

    /// Writes what is used, exactly. Nothing may be counted afterwards.
    pub(super) fn end(&self) {
        self.shared.state().ending = true;
        self.shared.work.notify_one();
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(writer) = writer {
            // Fails only if it panicked; it is gone either way.
            let _ = writer.join();
        }
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    /// Sees that the file will cover what a question has taken; by which batch it does, or 0 if it does already.
    fn cover(&mut self, question: &Question) -> u64 {
        let mut batch = 0;
        for part in &question.parts {
            if part.hits == 0 {
                continue;
            }
            let Some((window, count)) = self.memory.get_mut(part.counter) else {
                continue;
            };
            let ahead = count.used + u64::from(part.limit) / AHEAD;
            let ahead = ahead.min(part.limit.into()).max(count.used);
            // What was given back outlives a crash too, so that a fresh start is one.
            let is_far_ahead = part.back && count.kept > ahead;
            if count.used > count.kept || is_far_ahead {
                count.kept = ahead;
                let kept = count.kept;
                let span = part.counter.span;
                let start = self.starts.entry(span).or_insert(window.start);
                if *start < window.start {
                    *start = window.start;
                    self.next.retain(|counter, _| counter.span != span);
                }
                self.next.insert(part.counter, (*start, kept));
            }
            if self.next.contains_key(&part.counter) {
                batch = self.number;
            } else if self.writing.contains_key(&part.counter) {
                batch = batch.max(self.number - 1);
            }
        }
        batch
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread that writes.
    fn write(&self, disk: &mut Disk, tell: &watch::Sender<Written>, file: &str) {
        let mut failing = false;
        loop {
            let (batch, number) = {
                let idle = |state: &mut State| {
                    state.next.is_empty() && state.writing.is_empty() && !state.ending
                };
                let state = self.work.wait_while(self.state(), idle);
                let mut state = state.unwrap_or_else(PoisonError::into_inner);
                if state.ending {
                    break;
                }
                // One that could not be written is tried again before the next.
                if state.writing.is_empty() {
                    state.writing = std::mem::take(&mut state.next);
                    state.number += 1;
                }
                (state.writing.clone(), state.number - 1)
            };
            match disk.write(&batch) {
                Ok(()) => {
                    self.state().writing.clear();
                    if failing {
                        failing = false;
                        say(&format!("{file} can be written again"));
                    }
                    tell.send_replace(Written { number, failing });
                }
                Err(error) => {
                    if !failing {
                        failing = true;
                        say(&format!(
                            "{file} cannot be written: {error}. Until it can, what it does not cover is answered UNAVAILABLE"
                        ));
                        tell.send_modify(|written| written.failing = true);
                    }
                    let ending = |state: &mut State| !state.ending;
                    let _ = self.work.wait_timeout_while(self.state(), AGAIN, ending);
                }
            }
        }
        let state = self.state();
        let exact = state.memory.iter().map(|(counter, window, count)| {
            let start = state.starts.get(&counter.span).copied().unwrap_or_default();
            (counter, (start.max(window.start), count.used))
        });
        let exact: Batch = exact.collect();
        drop(state);
        if let Err(error) = disk.write(&exact) {
            say(&format!(
                "{file} cannot be written: {error}. What it holds is at least what was admitted, not exactly"
            ));
        }
    }
}

/// The file. Each window has a table of its own, named by the length and the beginning.
struct Disk {
    database: Database,
    /// The window of each length that was written last.
    starts: HashMap<Span, Timestamp>,
}

impl Disk {
    /// Writes a batch whole, or nothing of it. All of one length are of one window.
    fn write(&mut self, batch: &Batch) -> Result<(), redb::Error> {
        let mut windows: HashMap<Span, (Timestamp, Vec<(u128, u64)>)> = HashMap::new();
        for (counter, (start, used)) in batch {
            let window = windows.entry(counter.span);
            let (_, counts) = window.or_insert_with(|| (*start, Vec::new()));
            counts.push((counter.id, *used));
        }
        let mut starts = self.starts.clone();
        let transaction = self.database.begin_write()?;
        for (span, (start, counts)) in windows {
            let before = starts.insert(span, start).filter(|before| *before != start);
            if let Some(before) = before {
                transaction.delete_table(Counts::new(&name(span, before)))?;
            }
            let name = name(span, start);
            let mut table = transaction.open_table(Counts::new(&name))?;
            for (id, used) in counts {
                table.insert(id, used)?;
            }
        }
        transaction.commit()?;
        self.starts = starts;
        Ok(())
    }

    /// Takes in what is left of windows that last, and removes the others.
    fn load(
        &mut self,
        memory: &mut Memory,
        now: Timestamp,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let transaction = self.database.begin_write()?;
        let tables: Vec<String> = transaction
            .list_tables()?
            .map(|it| it.name().to_owned())
            .collect();
        for table in tables {
            let (span, start) = read_name(&table).ok_or("it is no file of waykeeper limiter")?;
            if start < span.around(now).start {
                transaction.delete_table(Counts::new(&table))?;
            }
        }
        transaction.commit()?;
        let transaction = self.database.begin_read()?;
        let tables: Vec<String> = transaction
            .list_tables()?
            .map(|it| it.name().to_owned())
            .collect();
        for table in tables {
            let Some((span, start)) = read_name(&table) else {
                continue;
            };
            self.starts.insert(span, start);
            for record in transaction.open_table(Counts::new(&table))?.iter()? {
                let (id, used) = record?;
                let counter = Counter {
                    span,
                    id: id.value(),
                };
                let put = memory.put(counter, used.value(), now);
                put.map_err(|_| "it holds more counters than --max-counters allows")?;
            }
        }
        Ok(())
    }
}

/// Such as `minute*1@1900000800`.
fn name(span: Span, start: Timestamp) -> String {
    let seconds = start.since(Timestamp(0)).as_secs();
    format!("{}*{}@{seconds}", span.unit().name(), span.multiplier())
}

fn read_name(name: &str) -> Option<(Span, Timestamp)> {
    let (span, start) = name.split_once('@')?;
    let (unit, multiplier) = span.split_once('*')?;
    let span = Span::new(Unit::of_name(unit)?, multiplier.parse().ok()?)?;
    Some((span, Timestamp::from_seconds(start.parse().ok()?)))
}

#[cfg(test)]
mod tests;
