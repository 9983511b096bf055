//! Counters in Redis or Valkey, which several limiters can share. One script checks and counts all parts of a question or none,
//! by Redis's own clock. While Redis is away every question is answered at once that there is no answer; one task sees to
//! the connection.

mod place;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, Script};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use waykeeper::host::Timestamp;

pub(super) use place::Place;

use super::question::{Counter, Part, Question};
use super::verdict::{Failure, Standing, Verdict, left};
use super::{Health, now, say};

const MICROSECONDS: u64 = 1_000_000;
/// More than any limit is, and still exact where Lua counts.
const MOST_HITS: u64 = 1 << 40;
/// How often Redis is asked whether it is there.
const LOOKS: Duration = Duration::from_secs(1);
/// How soon a connection is tried again, at first and at last.
const AGAIN: Duration = Duration::from_millis(50);
const MOST_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Redis {
    place: Place,
    prefix: String,
    /// How long one answer may take.
    patience: Duration,
    script: Script,
    /// With a number, so that what is said of a former one is told from what is said of this.
    connection: Mutex<Option<(u64, MultiplexedConnection)>>,
    /// It was lost.
    lost: Notify,
    /// How many more may ask at once.
    places: Semaphore,
    /// The last reason why it is away.
    reason: Mutex<String>,
}

impl Redis {
    pub(super) fn new(
        place: Place,
        prefix: &str,
        patience: Duration,
        most_in_flight: usize,
    ) -> Self {
        Self {
            place,
            prefix: prefix.to_owned(),
            patience,
            script: Script::new(include_str!("count.lua")),
            connection: Mutex::default(),
            lost: Notify::new(),
            places: Semaphore::new(most_in_flight),
            reason: Mutex::default(),
        }
    }

    /// Counts all parts of a question, or none. Where an answer got lost, it may have been counted all the same.
    ///
    /// # Errors
    /// [`Failure::Away`] and [`Failure::Crowded`].
    pub(super) async fn count(&self, question: &Question) -> Result<Verdict, Failure> {
        let connection = lock(&self.connection).clone();
        let Some((number, mut connection)) = connection else {
            return Err(Failure::Away);
        };
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Failure::Crowded);
        };
        match self.ask(&mut connection, question).await {
            Ok(verdict) => Ok(verdict),
            Err(why) => {
                self.lose(number, why);
                Err(Failure::Away)
            }
        }
    }

    /// Sees to the connection, for as long as this process runs.
    pub(super) async fn keep_connected(self: Arc<Self>, health: Health) {
        let mut away_since = None;
        for number in 0.. {
            let mut pause = AGAIN;
            let connection = loop {
                match self.connect().await {
                    Ok(connection) => break connection,
                    Err(why) => {
                        if away_since.is_none() {
                            away_since = Some(Instant::now());
                            health.set(false).await;
                            say(&format!(
                                "{} cannot be used: {why}. Until it can, every question is answered UNAVAILABLE",
                                self.place
                            ));
                        }
                        sleep(pause).await;
                        pause = MOST_AGAIN.min(pause * 2);
                    }
                }
            };
            *lock(&self.connection) = Some((number, connection.clone()));
            health.set(true).await;
            match away_since.take() {
                None => say(&format!("counts in {}", self.place)),
                Some(since) => say(&format!(
                    "{} can be used again, after {:.1} s",
                    self.place,
                    since.elapsed().as_secs_f32()
                )),
            }
            self.watch(number, connection).await;
            away_since = Some(Instant::now());
            health.set(false).await;
            let why = lock(&self.reason).clone();
            say(&format!(
                "{} is away: {why}. Until it is back, every question is answered UNAVAILABLE",
                self.place
            ));
        }
    }

    /// Returns when the connection is of no use any more.
    async fn watch(&self, number: u64, mut connection: MultiplexedConnection) {
        loop {
            tokio::select! {
                () = self.lost.notified() => return,
                () = sleep(LOOKS) => if let Err(why) = self.probe(&mut connection).await {
                    self.lose(number, why);
                },
            }
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, String> {
        let connected = async {
            let mut connection = self.place.connect(self.patience).await?;
            self.probe(&mut connection).await?;
            Ok(connection)
        };
        let connected = timeout(self.patience.max(LOOKS), connected).await;
        connected.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    /// Whether it does all that a question needs, writing included.
    async fn probe(&self, connection: &mut MultiplexedConnection) -> Result<(), String> {
        let key = format!("{{{}}}:probe", self.prefix);
        let mut call = self.script.prepare_invoke();
        call.key(key)
            .arg(&[1, MOST_HITS, 0, MICROSECONDS, 0, 0, 0, 0]);
        let answer: Result<Vec<u64>, _> = call.invoke_async(connection).await;
        answer.map(|_| ()).map_err(|error| in_words(&error))
    }

    async fn ask(
        &self,
        connection: &mut MultiplexedConnection,
        question: &Question,
    ) -> Result<Verdict, String> {
        let mut call = self.script.prepare_invoke();
        let now = now();
        for part in &question.parts {
            call.key(self.key(part.counter)).arg(&numbers(part, now));
        }
        let answer: Result<Vec<u64>, _> = call.invoke_async(connection).await;
        let answer = answer.map_err(|error| in_words(&error))?;
        verdict(question, &answer)
            .ok_or_else(|| "its answer has another shape than ours".to_owned())
    }

    /// In braces is what decides where the key lies in a cluster: all of one prefix lie together.
    fn key(&self, counter: Counter) -> String {
        let (unit, multiplier) = (counter.span.unit(), counter.span.multiplier());
        let unit = unit.name();
        format!(
            "{{{}}}:{unit}*{multiplier}:{:032x}",
            self.prefix, counter.id
        )
    }

    fn lose(&self, number: u64, why: String) {
        let mut connection = lock(&self.connection);
        if connection
            .as_ref()
            .is_some_and(|(current, _)| *current == number)
        {
            *connection = None;
            *lock(&self.reason) = why;
            self.lost.notify_one();
        }
    }
}

/// What the script is told of a part.
fn numbers(part: &Part, now: Timestamp) -> [u64; 8] {
    let span = part.counter.span;
    let [mut period, mut before, mut start, mut end, mut after] = [0; 5];
    let microseconds = |moment: Timestamp| moment.0 / 1_000;
    match span.seconds() {
        Some(seconds) => period = seconds * MICROSECONDS,
        None => {
            let window = span.around(now);
            let last = span.around(Timestamp(window.start.0.saturating_sub(1)));
            let next = span.around(window.end);
            before = microseconds(last.start);
            start = microseconds(window.start);
            end = microseconds(window.end);
            after = microseconds(next.end);
        }
    }
    let hits = part.hits.min(MOST_HITS);
    [
        hits,
        part.limit.into(),
        part.back.into(),
        period,
        before,
        start,
        end,
        after,
    ]
}

fn verdict(question: &Question, answer: &[u64]) -> Option<Verdict> {
    let (admitted, rest) = answer.split_first()?;
    let (rest, _) = rest.as_chunks::<3>();
    if rest.len() != question.parts.len() {
        return None;
    }
    let standing = |(part, [room, used, reset]): (&Part, &[u64; 3])| Standing {
        fits: *room == 1,
        remaining: left(part.limit, *used),
        reset: Duration::from_micros(*reset),
    };
    Some(Verdict {
        admitted: *admitted == 1,
        standings: question.parts.iter().zip(rest).map(standing).collect(),
    })
}

/// What is wrong, without what was asked.
fn in_words(error: &RedisError) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("it answers {code} {detail}"),
        (Some(code), None) => format!("it answers {code}"),
        (None, _) => error.to_string(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::protocol::Unit;
    use crate::limiter::question::tests::{descriptor, question};

    #[test]
    fn windows_of_the_calendar_are_told_as_moments_and_others_by_their_length() {
        let of = |unit, now| numbers(&question(vec![descriptor(&["a"], 5, unit)]).parts[0], now);
        let now = Timestamp::from_seconds(1_835_395_200); // The 29th of February 2028.
        let moments = [1_832_976_000, 1_835_481_600].map(|it: u64| it * MICROSECONDS);
        let month = of(Unit::Month, now);
        assert_eq!(month[..4], [1, 5, 0, 0]);
        assert_eq!(month[5..7], moments, "February's beginning and end");
        assert_eq!(
            month[4],
            1_830_297_600 * MICROSECONDS,
            "January's beginning"
        );
        assert_eq!(month[7], 1_838_160_000 * MICROSECONDS, "March's end");
        assert_eq!(
            of(Unit::Minute, now),
            [1, 5, 0, 60 * MICROSECONDS, 0, 0, 0, 0]
        );
    }
}
