//! `--redis`: counts that several limiters share, and a Redis that dies, hangs and comes back.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::counting::admitted;
use crate::protocol::{RateLimitDescriptor, Unit};
use crate::shared::{eventually, free_address, signal_to};
use crate::{Refused, Service, ask, descriptor, of};

const UNAVAILABLE: i32 = 14;

/// Debian's Redis. What it has answered is on the disk, so that no count is lost when it is killed.
pub(crate) struct RedisServer {
    child: Child,
    address: SocketAddr,
    arguments: Vec<String>,
    directory: TempDir,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        Self::with(free_address(), &[]).await
    }

    pub(crate) async fn with(address: SocketAddr, arguments: &[&str]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let arguments: Vec<_> = arguments.iter().map(|&it| it.to_owned()).collect();
        let child = start(address, &arguments, directory.path());
        let redis = Self {
            child,
            address,
            arguments,
            directory,
        };
        redis.until_connected().await;
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// A limiter that counts here. However slow this machine is, Redis is away only if it has ended.
    pub(crate) async fn limiter(&self, more: &[&str]) -> Service {
        let url = self.url();
        let mut arguments = vec!["--redis", &url, "--redis-timeout", "60s"];
        arguments.extend(more);
        Service::start(&arguments).await
    }

    async fn until_connected(&self) {
        eventually("Redis", || async {
            tokio::net::TcpStream::connect(self.address).await.ok()
        })
        .await;
    }

    async fn kill(&mut self) {
        self.child.kill().await.expect("an end");
    }

    async fn restart(&mut self) {
        self.child = start(self.address, &self.arguments, self.directory.path());
        self.until_connected().await;
    }

    fn signal(&self, signal: Signal) {
        let process = self.child.id().expect("it runs");
        signal_to(process.cast_signed(), signal);
    }

    /// What a client of Redis is answered.
    fn query<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(self.url()).expect("a url");
        let mut connection = client.get_connection().expect("a connection");
        let mut asked = redis::cmd(command[0]);
        for argument in &command[1..] {
            asked.arg(*argument);
        }
        asked.query(&mut connection).expect("an answer")
    }
}

fn start(address: SocketAddr, arguments: &[String], directory: &Path) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        .args(["--port", &address.port().to_string()])
        .args(["--appendfsync", "always", "--dir"])
        .arg(directory)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server: run `make test-tools`")
}

fn year(client: &str, limit: u32) -> RateLimitDescriptor {
    descriptor(client, limit, Unit::Year)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_limiters_on_one_redis_are_exact_together() {
    let redis = RedisServer::start().await;
    let first = redis.limiter(&[]).await;
    let second = redis.limiter(&[]).await;
    let clients = [first.client().await, second.client().await];
    let question = |_| vec![year("acme", 500), year("all", 700)];
    assert_eq!(admitted(&clients, question).await, 500);
    for client in &clients {
        let looks = vec![of(0, year("acme", 500)), of(0, year("all", 700))];
        assert_eq!(ask(client, looks).await, Ok((true, vec![0, 200])));
    }
    let apart = redis.limiter(&["--prefix", "other"]).await;
    let client = apart.client().await;
    assert_eq!(
        ask(&client, vec![year("acme", 500)]).await,
        Ok((true, vec![499]))
    );
}

#[tokio::test]
async fn keys_are_named_by_the_prefix_hold_no_name_of_a_client_and_expire_with_the_window() {
    let redis = RedisServer::start().await;
    let service = redis.limiter(&["--prefix", "edge"]).await;
    let client = service.client().await;
    let question = vec![year("acme", 5), descriptor("acme", 5, Unit::Hour)];
    ask(&client, question).await.expect("an answer");
    let mut keys: Vec<String> = redis.query(&["KEYS", "*"]);
    keys.retain(|key| key != "{edge}:probe");
    keys.sort();
    assert_eq!(keys.len(), 2, "{keys:?}");
    for (key, (unit, most)) in keys.iter().zip([("hour", 3_600), ("year", 366 * 86_400)]) {
        assert!(key.starts_with(&format!("{{edge}}:{unit}*1:")), "{key}");
        assert!(!key.contains("acme"), "{key}");
        let left: i64 = redis.query(&["TTL", key]);
        assert!((0..=most).contains(&left), "{key}: {left}");
    }
}

/// Callers that ask until they are refused by the limit, whatever becomes of Redis meanwhile.
struct Load {
    admitted: Arc<AtomicU32>,
    unavailable: watch::Receiver<u32>,
    callers: JoinSet<()>,
}

const CALLERS: u32 = 16;

async fn load(services: &[&Service], limit: u32) -> Load {
    let admitted = Arc::new(AtomicU32::new(0));
    let (tell, unavailable) = watch::channel(0);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS as usize {
        let client = services[caller % services.len()].client().await;
        let (admitted, tell) = (Arc::clone(&admitted), tell.clone());
        callers.spawn(async move {
            loop {
                match ask(&client, vec![year("acme", limit)]).await {
                    Ok((true, _)) => {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok((false, _)) => return,
                    Err(Refused { status, message }) => {
                        assert_eq!(status, UNAVAILABLE, "{message}");
                        tell.send_modify(|count| *count += 1);
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
    }
    Load {
        admitted,
        unavailable,
        callers,
    }
}

impl Load {
    /// Waits until so many have been admitted.
    async fn until(&self, wanted: u32) {
        eventually("load", || async {
            (self.admitted.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    }

    /// Waits until each caller has been told that the store is away, and goes on asking.
    async fn until_unavailable(&mut self) {
        let count = *self.unavailable.borrow() + 10 * CALLERS;
        let told = self.unavailable.wait_for(|told| *told >= count);
        let told = tokio::time::timeout(crate::shared::PATIENCE, told).await;
        told.expect("answers while Redis is away").expect("callers");
    }

    /// Waits until all have been refused by the limit.
    async fn admitted(self) -> u32 {
        self.callers.join_all().await;
        self.admitted.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_and_started_again_under_load_lets_nobody_past_the_limit() {
    let mut redis = RedisServer::start().await;
    let first = redis.limiter(&[]).await;
    let second = redis.limiter(&[]).await;
    let limit = 3_000;
    let mut load = load(&[&first, &second], limit).await;
    for round in 1..=2 {
        load.until(round * 500).await;
        redis.kill().await;
        load.until_unavailable().await;
        first.until_health(2).await;
        redis.restart().await;
    }
    let got = load.admitted().await;
    // Each kill may lose the answers under way, which have been counted.
    assert!((limit - 2 * CALLERS..=limit).contains(&got), "{got}");
    for service in [&first, &second] {
        let log = service.log();
        let of = |what: &str| log.lines().filter(|line| line.contains(what)).count();
        assert_eq!((of(" is away: "), of("can be used again")), (2, 2), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_hangs_all_are_answered_and_afterwards_it_goes_on() {
    let redis = RedisServer::start().await;
    let service = Service::start(&["--redis", &redis.url(), "--redis-timeout", "2s"]).await;
    let limit = 3_000;
    let mut load = load(&[&service], limit).await;
    load.until(500).await;
    redis.signal(Signal::STOP);
    load.until_unavailable().await;
    service.until_health(2).await;
    redis.signal(Signal::CONT);
    let got = load.admitted().await;
    let log = service.log();
    // Whenever it is away, what each caller waits for may be counted and not answered.
    let times = log
        .lines()
        .filter(|line| line.contains("is away: no answer in time"));
    let times = u32::try_from(times.count()).expect("few");
    assert!(times > 0, "{log}");
    assert!(
        (limit - times * CALLERS..=limit).contains(&got),
        "{got}\n{log}"
    );
}

#[tokio::test]
async fn a_redis_that_comes_later_is_waited_for_and_one_that_cannot_write_is_not_used() {
    let address = free_address();
    let url = format!("redis://{address}");
    let service = Service::begin(&["--redis", &url]).await;
    let client = service.client().await;
    let refused = ask(&client, vec![year("acme", 5)])
        .await
        .expect_err("no Redis");
    assert_eq!(refused.status, UNAVAILABLE);
    let redis = RedisServer::with(address, &[]).await;
    service.until_well().await;
    assert_eq!(
        ask(&client, vec![year("acme", 5)]).await,
        Ok((true, vec![4]))
    );
    // As when it has become the replica of another.
    let _: String = redis.query(&["REPLICAOF", "127.0.0.1", "1"]);
    eventually("a refusal", || async {
        let answer = ask(&client, vec![year("acme", 5)]).await;
        matches!(&answer, Err(refused) if refused.status == UNAVAILABLE).then_some(())
    })
    .await;
    service.until_health(2).await;
    assert!(service.log().contains("READONLY"), "{}", service.log());
    let _: String = redis.query(&["REPLICAOF", "NO", "ONE"]);
    service.until_well().await;
    assert_eq!(
        ask(&client, vec![year("acme", 5)]).await,
        Ok((true, vec![3]))
    );
}

#[tokio::test]
async fn a_password_is_read_from_its_file_for_each_connection_and_never_shown() {
    let redis = RedisServer::with(free_address(), &["--requirepass", "s3cret-right"]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("password");
    std::fs::write(&file, "s3cret-wrong\n").expect("a file");
    let file_name = file.to_str().expect("a path");
    let service =
        Service::begin(&["--redis", &redis.url(), "--redis-password-file", file_name]).await;
    service.until_health(2).await;
    eventually("the reason", || async {
        service.log().contains("cannot be used: ").then_some(())
    })
    .await;
    std::fs::write(&file, "s3cret-right\n").expect("a file");
    service.until_well().await;
    let client = service.client().await;
    assert_eq!(
        ask(&client, vec![year("acme", 5)]).await,
        Ok((true, vec![4]))
    );
    assert!(!service.log().contains("s3cret"), "{}", service.log());
}

#[tokio::test]
async fn redis_is_spoken_with_over_tls_if_its_certificate_is_vouched_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let path = |name: &str| {
        directory
            .path()
            .join(name)
            .to_str()
            .expect("a path")
            .to_owned()
    };
    std::fs::write(path("cert.pem"), made.cert.pem()).expect("a file");
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).expect("a file");
    let tls = free_address();
    let _redis = RedisServer::with(
        free_address(),
        &[
            "--tls-port",
            &tls.port().to_string(),
            "--tls-cert-file",
            &path("cert.pem"),
            "--tls-key-file",
            &path("key.pem"),
            "--tls-auth-clients",
            "no",
        ],
    )
    .await;
    let url = format!("rediss://{tls}");
    let service = Service::start(&["--redis", &url, "--redis-ca", &path("cert.pem")]).await;
    let client = service.client().await;
    assert_eq!(
        ask(&client, vec![year("acme", 5)]).await,
        Ok((true, vec![4]))
    );
    let stranger = Service::begin(&["--redis", &url]).await;
    eventually("the reason", || async {
        stranger
            .log()
            .contains("cannot be used: TLS: ")
            .then_some(())
    })
    .await;
    stranger.until_health(2).await;
}
