//! Whether a service can be reached as Envoy would reach it: its name, a connection, TLS, and an answer in HTTP. What is wrong
//! is said in one line.

mod tls;

pub(crate) use tls::connect as secured;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::http::request::Builder;
use hyper::{Method, Request, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::gateway::{ClientTls, Endpoint, Health, Host, Http, Upstream};
use crate::http;

/// As Envoy's connect_timeout, which TLS is part of.
const CONNECT: Duration = Duration::from_secs(1);
/// For an answer where no health check says how long it may take.
const ANSWER: Duration = Duration::from_secs(5);
/// So many services are asked at a time.
const AT_ONCE: usize = 32;

/// How what is wrong is said, for those who say what helps.
pub(crate) const NO_CONNECTION: &str = "no connection within";
pub(crate) const REFUSES: &str = "refuses connections";
pub(crate) const FAILS: &str = "cannot be connected to";
pub(crate) const NO_ANSWER: &str = "connected, but no answer within";
pub(crate) const NO_HTTP: &str = "connected, but speaks no";

/// What became of one endpoint.
pub(crate) struct Reached {
    /// Which of those that were asked about.
    pub(crate) index: usize,
    pub(crate) url: String,
    /// What it answered, or what is wrong.
    pub(crate) outcome: Result<String, String>,
}

/// A stream that HTTP is spoken over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Reaches for all endpoints of these services; what comes back is in their order.
///
/// # Errors
/// Only if no event loop can be made.
pub(crate) fn reach_all(upstreams: &[&Upstream]) -> io::Result<Vec<Reached>> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    Ok(runtime.block_on(reach_each(upstreams)))
}

/// No card of an agent, or what else is asked for so, is larger.
const MOST_FETCHED: usize = 1 << 20;

/// Asks the first endpoint of each of these services for what is at a path. `None`: nothing came with 200.
///
/// # Errors
/// Only if no event loop can be made.
pub(crate) fn fetch_all(asked: &[(&Upstream, String)]) -> io::Result<Vec<Option<Bytes>>> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    Ok(runtime.block_on(async {
        let mut all = Vec::new();
        for (upstream, path) in asked {
            let fetched = timeout(ANSWER, fetch(upstream, path)).await;
            all.push(fetched.ok().flatten());
        }
        all
    }))
}

async fn fetch(upstream: &Upstream, path: &str) -> Option<Bytes> {
    let endpoint = upstream.endpoints.first()?;
    let address = addresses(endpoint).await.ok()?.into_iter().next()?;
    let (stream, second) = in_time(connect(upstream, endpoint, address)).await.ok()?;
    let request = request(Method::GET, path, second, endpoint);
    let request = request.body(Empty::<Bytes>::new()).ok()?;
    let answer = http::ask(stream, request).await.ok()?;
    if answer.status() != StatusCode::OK {
        return None;
    }
    let body = Limited::new(answer.into_body(), MOST_FETCHED);
    Some(body.collect().await.ok()?.to_bytes())
}

/// The same, in an event loop that is there.
pub(crate) async fn reach_each(upstreams: &[&Upstream]) -> Vec<Reached> {
    let mut endpoints = Vec::new();
    for (index, upstream) in upstreams.iter().enumerate() {
        let owned = upstream.endpoints.iter();
        endpoints.extend(owned.map(|endpoint| (index, (*upstream).clone(), endpoint.clone())));
    }
    let (mut asking, mut reached) = (JoinSet::new(), Vec::new());
    let mut take = |done: Result<(usize, Reached), _>| reached.extend(done);
    for (place, (index, upstream, endpoint)) in endpoints.into_iter().enumerate() {
        if asking.len() == AT_ONCE
            && let Some(done) = asking.join_next().await
        {
            take(done);
        }
        asking.spawn(async move {
            let outcome = reach(&upstream, &endpoint).await;
            let url = endpoint.url.to_string();
            let reached = Reached {
                index,
                url,
                outcome,
            };
            (place, reached)
        });
    }
    while let Some(done) = asking.join_next().await {
        take(done);
    }
    reached.sort_by_key(|(place, _)| *place);
    reached.into_iter().map(|(_, reached)| reached).collect()
}

/// Reaches for one endpoint: all addresses of its name, each of which Envoy takes for a place to send requests to.
async fn reach(upstream: &Upstream, endpoint: &Endpoint) -> Result<String, String> {
    let addresses = addresses(endpoint).await?;
    let several = addresses.len() > 1;
    let mut answer = Err("its name has no address".to_owned());
    for address in addresses {
        answer = reach_at(upstream, endpoint, address).await;
        if let Err(wrong) = answer {
            return Err(if several {
                format!("{}: {wrong}", address.ip())
            } else {
                wrong
            });
        }
    }
    answer
}

/// The addresses of an endpoint to which Envoy sends requests.
///
/// # Errors
/// What is wrong, in words that begin with `the name` or `no answer`.
pub(crate) async fn addresses(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, String> {
    let port = endpoint.url.port;
    match &endpoint.url.host {
        Host::Address(address) => Ok(vec![SocketAddr::new(*address, port)]),
        Host::Name(name) => {
            let found = timeout(ANSWER, lookup_host((name.as_str(), port))).await;
            let found = found.map_err(|_| format!("no answer about the name {name} in time"))?;
            let found = found.map_err(|error| format!("the name {name} is not known: {error}"))?;
            let found: Vec<_> = found.collect();
            // Envoy asks for those of IPv6 only if there are no others.
            let of_four = found.iter().copied().filter(SocketAddr::is_ipv4);
            let of_four: Vec<_> = of_four.collect();
            Ok(if of_four.is_empty() { found } else { of_four })
        }
    }
}

async fn reach_at(
    upstream: &Upstream,
    endpoint: &Endpoint,
    address: SocketAddr,
) -> Result<String, String> {
    let (stream, second) = in_time(connect(upstream, endpoint, address)).await?;
    let time = upstream.health.as_ref().map_or(ANSWER, |it| it.timeout);
    let asked = ask(stream, second, upstream.health.as_ref(), endpoint);
    let Ok(asked) = timeout(time, asked).await else {
        let shown = waykeeper::config::show_duration(time);
        return Err(format!("{NO_ANSWER} {shown}"));
    };
    match asked {
        Ok(status) => judge(upstream.health.as_ref(), status, second),
        Err(wrong) => Err(match &upstream.tls {
            Some(tls) => alert(tls, upstream, endpoint, address).await,
            None => None,
        }
        .unwrap_or(wrong)),
    }
}

async fn in_time<T>(connecting: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let connected = timeout(CONNECT, connecting).await;
    connected.map_err(|_| format!("{NO_CONNECTION} 1s, which is all that Envoy waits"))?
}

/// A connection, and whether HTTP/2 is spoken over it.
async fn connect(
    upstream: &Upstream,
    endpoint: &Endpoint,
    address: SocketAddr,
) -> Result<(Box<dyn Stream>, bool), String> {
    let stream = connect_plainly(address).await?;
    match &upstream.tls {
        None => Ok((Box::new(stream), upstream.http == Http::Two)),
        Some(tls) => {
            let (stream, second) =
                tls::connect(stream, tls, &endpoint.url.host, upstream.http).await?;
            if upstream.http == Http::Two && !second {
                return Err("does not offer HTTP/2, which http2: true demands".to_owned());
            }
            Ok((Box::new(stream), second))
        }
    }
}

async fn connect_plainly(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).await;
    stream.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("{REFUSES}: nothing listens there"),
        _ => format!("{FAILS}: {error}"),
    })
}

/// What a service that has broken off an exchange says about TLS, if it does.
async fn alert(
    tls: &ClientTls,
    upstream: &Upstream,
    endpoint: &Endpoint,
    address: SocketAddr,
) -> Option<String> {
    let listening = async {
        let stream = connect_plainly(address).await?;
        let (stream, _) = tls::connect(stream, tls, &endpoint.url.host, upstream.http).await?;
        Ok(tls::late_alert(stream).await)
    };
    in_time(listening).await.ok()?
}

/// The status of an answer.
async fn ask(
    stream: Box<dyn Stream>,
    second: bool,
    health: Option<&Health>,
    endpoint: &Endpoint,
) -> Result<StatusCode, String> {
    let (method, path) = match health {
        Some(health) => (Method::GET, health.path.as_str()),
        None => (Method::HEAD, "/"),
    };
    let request = request(method, path, second, endpoint);
    let request = request.body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = http::ask(stream, request).await;
    answer.map(|answer| answer.status()).map_err(|error| {
        let spoken = if second { "HTTP/2" } else { "HTTP" };
        format!("{NO_HTTP} {spoken}: {}", innermost(&error))
    })
}

fn request(method: Method, path: &str, second: bool, endpoint: &Endpoint) -> Builder {
    let authority = endpoint.url.authority();
    let request = Request::builder()
        .method(method)
        .header("user-agent", "waykeeper-check");
    if second {
        let scheme = if endpoint.url.secure { "https" } else { "http" };
        request
            .version(Version::HTTP_2)
            .uri(format!("{scheme}://{authority}{path}"))
    } else {
        request.uri(path).header("host", authority)
    }
}

pub(crate) fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// What an answer means to Envoy.
fn judge(health: Option<&Health>, status: StatusCode, second: bool) -> Result<String, String> {
    let spoken = if second { "HTTP/2" } else { "HTTP/1.1" };
    let Some(Health { path, .. }) = health else {
        return Ok(format!("answers in {spoken}"));
    };
    if status == StatusCode::OK {
        return Ok(format!("answers in {spoken}, GET {path} with 200"));
    }
    let code = status.as_u16();
    Err(format!(
        "answers GET {path} with {code}, and Envoy sends requests only where that is 200: name a path in health that is, or no \
         health at all"
    ))
}
