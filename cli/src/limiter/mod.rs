//! `waykeeper limiter`: counts for many gateways. It speaks Envoy's rate limit protocol, so any Envoy can ask it; the numbers come
//! with each question, so they stand in one place, the gateway's file.
//!
//! | file | what it does |
//! |---|---|
//! | `protocol.rs` | the protocol's messages |
//! | `question.rs`, `verdict.rs` | what is asked, checked, and what is answered |
//! | `window.rs` | when windows begin and end |
//! | `memory.rs`, `keep.rs`, `redis/` | where counts are: in memory, also in a file, in Redis |
//! | `service.rs` | a question from its message to its answer |
//! | `builtin.rs` | the one that `waykeeper run` serves |
//! | `serve.rs`, `tls.rs`, `metrics.rs` | connections, and what is told of all that |
//! | `elsewhere.rs` | the limits' files of other services of this kind |

pub(crate) mod builtin;
pub(crate) mod elsewhere;
mod keep;
mod memory;
mod metrics;
mod protocol;
mod question;
mod redis;
mod serve;
mod service;
mod tls;
mod verdict;
mod window;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tonic_health::ServingStatus;
use tonic_health::pb::{self, health_server::HealthServer};
use tonic_health::server::HealthReporter;

use self::keep::Keep;
use self::memory::Memory;
use self::redis::{Place, Redis};
use self::serve::End;
use self::service::{Limiter, Store, clock as now};
use self::tls::{Files, Tls};
use crate::Outcome;

/// How many counters memory has room for where nothing is said.
const MOST_COUNTERS: usize = 1_000_000;
/// So many questions may wait for Redis at once.
const MOST_IN_FLIGHT: usize = 1_024;

/// Count for many gateways: a rate limit service that speaks Envoy's protocol
///
/// Answers envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit over gRPC. Each descriptor brings its limit
/// with it; it is counted in fixed windows of the calendar, in UTC. A question is counted whole or not at all, and never is more admitted
/// than a limit says, however many ask at once.
///
/// Counts are in memory, unless --keep or --redis says otherwise.
#[derive(Debug, Args)]
#[command(
    after_help = "Several limiters count together if they share one Redis and one --prefix. Without --redis run one: two would each count for themselves.\n\n\
                  Health checks (grpc.health.v1) are answered SERVING while counts can be counted. SIGTERM and SIGINT end it: new connections are refused, \
                  questions under way are answered.\n\n\
                  Exit status: 0 if it was told to end, 2 if a file, an address or an argument cannot be used."
)]
pub(crate) struct Arguments {
    /// Where it listens; whoever can reach this can spend any limit
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// Speak TLS there, with this certificate (and those between it and the root), as PEM. A file that is replaced is read again
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<String>,
    /// The key of that certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<String>,
    /// Answer only whoever has a certificate that one of these has signed, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_client_ca: Option<String>,
    /// Serve GET /metrics there, for Prometheus
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    /// How many counters memory has room for, each of some 100 bytes; one more is refused with RESOURCE_EXHAUSTED until a window ends
    #[arg(long, value_name = "NUMBER", default_value = "1000000", conflicts_with = "redis", value_parser = clap::value_parser!(u32).range(1..))]
    max_counters: u32,
    /// Keep counts in this file too, so that they outlive a restart and a crash. One process at a time may have it
    #[arg(long, value_name = "FILE", conflicts_with = "redis")]
    keep: Option<PathBuf>,
    /// Count in Redis (5 or newer) or Valkey: redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// The password for Redis, out of this file, so that it stands on no command line
    #[arg(long, value_name = "FILE", requires = "redis")]
    redis_password_file: Option<PathBuf>,
    /// Who may vouch for a Redis with TLS, as PEM [default: whom the system trusts]
    #[arg(long, value_name = "FILE", requires = "redis")]
    redis_ca: Option<String>,
    /// How long Redis may take for an answer; then it counts as away until it answers again
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = patience)]
    redis_timeout: Duration,
    /// What the names of all keys in Redis begin with
    #[arg(long, value_name = "NAME", default_value = "waykeeper", value_parser = prefix)]
    prefix: String,
    /// How long questions under way may take once it was told to end
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = patience)]
    grace: Duration,
}

/// What health checks are told, and metrics.
#[derive(Clone)]
pub(super) struct Health {
    reporter: HealthReporter,
    limiter: Arc<Limiter>,
}

impl Health {
    /// That of a limiter, and what answers about it. It is not well yet.
    fn of(limiter: &Arc<Limiter>) -> (Self, HealthServer<impl pb::health_server::Health>) {
        let (reporter, server) = tonic_health::server::health_reporter();
        let health = Self {
            reporter,
            limiter: Arc::clone(limiter),
        };
        (health, server)
    }

    /// Says whether counts can be counted.
    async fn set(&self, well: bool) {
        self.limiter.metrics.up.store(well, Relaxed);
        self.tell(well).await;
    }

    async fn tell(&self, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in ["", protocol::SERVICE] {
            self.reporter.set_service_status(service, status).await;
        }
    }
}

/// Runs until it is told to end.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(limiter(arguments));
    runtime.shutdown_background();
    outcome
}

async fn limiter(arguments: &Arguments) -> io::Result<Outcome> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (store, tls) = match store(arguments).and_then(|store| Ok((store, tls(arguments)?))) {
        Ok(usable) => usable,
        Err(why) => {
            say(&why);
            return Ok(Outcome::Unusable);
        }
    };
    let limiter = Arc::new(Limiter::new(store));
    let listener = serve::listen(arguments.listen).await?;
    let scraped = match arguments.metrics {
        Some(address) => Some(serve::listen(address).await?),
        None => None,
    };
    let (health, server) = Health::of(&limiter);
    health.tell(false).await;
    say(&format!(
        "limiter {} listens at {}{}",
        env!("CARGO_PKG_VERSION"),
        listener.local_addr()?,
        match &arguments.metrics {
            Some(address) => format!(", metrics are at http://{address}/metrics"),
            None => String::new(),
        }
    ));
    match limiter.store() {
        Store::Memory(_) => {
            say("counts in memory: they end with this process, and no other limiter shares them");
            health.set(true).await;
        }
        Store::Keep(keep) => {
            tokio::spawn(Arc::clone(keep).report(health.clone()));
        }
        Store::Redis(redis) => {
            tokio::spawn(Arc::clone(redis).keep_connected(health.clone()));
        }
    }
    let (tell, end) = End::new();
    let grace = arguments.grace;
    let asked = Arc::clone(&limiter);
    let questions = serve::questions(listener, tls, asked, server, end.clone(), grace);
    let questions = tokio::spawn(questions);
    if let Some(listener) = scraped {
        tokio::spawn(serve::metrics(listener, Arc::clone(&limiter), end));
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    say("ending");
    health.tell(false).await;
    tell.send_replace(true);
    // Fails only if it panicked; it is gone either way.
    let _ = questions.await;
    if let Store::Keep(keep) = limiter.store() {
        keep.end();
    }
    Ok(Outcome::Good)
}

fn tls(arguments: &Arguments) -> Result<Option<Tls>, String> {
    let (Some(certificate), Some(key)) = (&arguments.tls_certificate, &arguments.tls_key) else {
        return Ok(None);
    };
    let files = Files {
        certificate: certificate.clone(),
        key: key.clone(),
        client_ca: arguments.tls_client_ca.clone(),
    };
    Tls::new(files)
        .map(Some)
        .map_err(|why| format!("TLS: {why}"))
}

fn store(arguments: &Arguments) -> Result<Store, String> {
    let most = usize::try_from(arguments.max_counters).unwrap_or(usize::MAX);
    if let Some(url) = &arguments.redis {
        let password = arguments.redis_password_file.as_deref();
        let place = Place::parse(url, password, arguments.redis_ca.as_deref());
        let place = place.map_err(|wrong| format!("--redis: {wrong}"))?;
        let patience = arguments.redis_timeout;
        let redis = Redis::new(place, &arguments.prefix, patience, MOST_IN_FLIGHT);
        return Ok(Store::Redis(Arc::new(redis)));
    }
    if let Some(file) = &arguments.keep {
        return kept(file, most).map(|keep| Store::Keep(Arc::new(keep)));
    }
    Ok(Store::Memory(Mutex::new(Memory::new(most))))
}

fn kept(file: &Path, most: usize) -> Result<Keep, String> {
    Keep::open(file, most).map_err(|error| format!("--keep {}: {error}", file.display()))
}

/// Says something to the operator. If nobody reads it, that is theirs to decide.
fn say(what: &str) {
    let _ = writeln!(io::stderr().lock(), "waykeeper: {what}");
}

fn patience(text: &str) -> Result<Duration, String> {
    match waykeeper::config::duration(text) {
        Some(time) if !time.is_zero() && time <= Duration::from_secs(3_600) => Ok(time),
        _ => Err("expected a duration such as 500ms or 5s, up to 1h".to_owned()),
    }
}

fn prefix(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 64 letters, digits and . _ : -".to_owned())
    }
}
