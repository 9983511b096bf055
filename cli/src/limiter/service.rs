//! The one call of the protocol: a request is read, counted and answered.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::server::UnaryService;
use tonic::{Request, Response, Status};
use waykeeper::host::Timestamp;

use super::keep::Keep;
use super::memory::Memory;
use super::metrics::{Metrics, Outcome};
use super::protocol::{Code, DescriptorStatus, RateLimit, RateLimitRequest, RateLimitResponse};
use super::question::{Part, Question};
use super::redis::Redis;
use super::verdict::{Failure, Standing, Verdict};
use super::{now, say};

/// How often one complaint is said.
const SAID: Duration = Duration::from_secs(60);

/// Where counts are.
pub(super) enum Store {
    Memory(Mutex<Memory>),
    Keep(Arc<Keep>),
    Redis(Arc<Redis>),
}

/// What all calls share.
pub(super) struct Limiter {
    store: Store,
    pub(super) metrics: Metrics,
    complaints: Mutex<[Option<Instant>; 2]>,
}

/// The call, for one request.
pub(super) struct ShouldRateLimit(pub(super) Arc<Limiter>);

impl Store {
    async fn count(&self, question: &Question) -> Result<Verdict, Failure> {
        match self {
            Self::Memory(memory) => {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                memory.count(question, now())
            }
            Self::Keep(keep) => keep.count(question).await,
            Self::Redis(redis) => redis.count(question).await,
        }
    }

    /// How many counters are held here.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Memory(memory) => {
                Some(memory.lock().unwrap_or_else(PoisonError::into_inner).len())
            }
            Self::Keep(keep) => Some(keep.len()),
            Self::Redis(_) => None,
        }
    }
}

impl Limiter {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            metrics: Metrics::default(),
            complaints: Mutex::default(),
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    async fn answer(&self, request: &RateLimitRequest) -> Result<RateLimitResponse, Status> {
        let question = Question::read(request).map_err(|wrong| {
            self.metrics.count(Outcome::Invalid);
            self.complain(0, &format!("a question was refused: {wrong}"));
            Status::invalid_argument(wrong)
        })?;
        let began = Instant::now();
        let verdict = self.store.count(&question).await;
        self.metrics.took(began.elapsed());
        match verdict {
            Ok(verdict) => {
                self.metrics.count(if verdict.admitted {
                    Outcome::Ok
                } else {
                    Outcome::OverLimit
                });
                Ok(response(&question, &verdict))
            }
            Err(failure) => Err(self.failed(failure)),
        }
    }

    fn failed(&self, failure: Failure) -> Status {
        match failure {
            Failure::Full => {
                self.metrics.count(Outcome::Full);
                let full = "all counters are taken by windows that last; --max-counters sets how many there are";
                self.complain(1, full);
                Status::resource_exhausted(full)
            }
            Failure::Away => {
                self.metrics.count(Outcome::Unavailable);
                Status::unavailable("the store of the counts is away")
            }
            Failure::Crowded => {
                self.metrics.count(Outcome::Unavailable);
                Status::unavailable("too many questions wait for the store of the counts")
            }
        }
    }

    /// Says what may be said for each request, but seldom.
    fn complain(&self, kind: usize, what: &str) {
        let mut said = self
            .complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(last) = said.get_mut(kind) else {
            return;
        };
        if last.is_none_or(|last| last.elapsed() > SAID) {
            *last = Some(Instant::now());
            say(&format!("{what} (said once a minute)"));
        }
    }
}

impl UnaryService<RateLimitRequest> for ShouldRateLimit {
    type Response = RateLimitResponse;
    type Future = Pin<Box<dyn Future<Output = Result<Response<RateLimitResponse>, Status>> + Send>>;

    fn call(&mut self, request: Request<RateLimitRequest>) -> Self::Future {
        let limiter = Arc::clone(&self.0);
        Box::pin(async move { limiter.answer(request.get_ref()).await.map(Response::new) })
    }
}

fn response(question: &Question, verdict: &Verdict) -> RateLimitResponse {
    let statuses = question.parts.iter().zip(&verdict.standings);
    RateLimitResponse {
        overall_code: code(verdict.admitted).into(),
        statuses: statuses
            .map(|(part, standing)| status(part, standing))
            .collect(),
    }
}

fn status(part: &Part, standing: &Standing) -> DescriptorStatus {
    let span = part.counter.span;
    DescriptorStatus {
        code: code(standing.fits).into(),
        current_limit: Some(RateLimit {
            requests_per_unit: part.limit,
            unit: span.unit().into(),
            unit_multiplier: Some(span.multiplier()).filter(|multiplier| *multiplier > 1),
        }),
        limit_remaining: standing.remaining,
        duration_until_reset: prost_types::Duration::try_from(standing.reset).ok(),
    }
}

fn code(fits: bool) -> Code {
    if fits { Code::Ok } else { Code::OverLimit }
}

/// The time of this machine.
pub(super) fn clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(0).after(since.unwrap_or_default())
}
