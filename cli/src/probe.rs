//! `waykeeper probe`: whether a service answers, for the health checks of containers that have no other tools. Plain
//! HTTP/1.1 only, and no more of it than the answer's status.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::Empty;
use hyper::Request;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::reach::innermost;
use crate::{Outcome, http};

/// Ask a service whether it is up: exit status 0 if it answers with 2xx, else 1
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// http://HOST[:PORT][/PATH]
    url: Url,
    /// How long the answer may take in all
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = patience)]
    timeout: Duration,
}

/// Which service to ask, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// As it stands in the `Host` header.
    authority: String,
    /// Without the brackets of IPv6.
    host: String,
    port: u16,
    /// With the query.
    path: String,
}

/// Asks once.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    let asked = runtime.block_on(ask(&arguments.url, arguments.timeout));
    // A name that is still looked up is waited for by nobody.
    runtime.shutdown_background();
    let message = match asked {
        Ok(200..=299) => return Ok(Outcome::Good),
        Ok(status) => format!("answered {status}"),
        Err(error) => error.to_string(),
    };
    writeln!(io::stderr().lock(), "{}: {message}", arguments.url)?;
    Ok(Outcome::Faulty)
}

pub(crate) fn patience(text: &str) -> Result<Duration, String> {
    match waykeeper::config::duration(text) {
        Some(timeout) if !timeout.is_zero() && timeout <= Duration::from_secs(3_600) => Ok(timeout),
        _ => Err("expected a duration such as 500ms or 5s, up to 1h".to_owned()),
    }
}

/// The status that a GET is answered with, in so much time.
pub(crate) async fn ask(url: &Url, time: Duration) -> io::Result<u16> {
    let asked = async {
        let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
        for address in lookup_host((url.host.as_str(), url.port)).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return status(url, stream).await,
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    let late = |_| Err(io::Error::new(ErrorKind::TimedOut, "no answer in time"));
    timeout(time, asked).await.unwrap_or_else(late)
}

async fn status(url: &Url, stream: TcpStream) -> io::Result<u16> {
    let request = Request::get(&url.path)
        .header("host", &url.authority)
        .header("user-agent", "waykeeper-probe")
        .header("accept", "*/*")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let answer = http::ask(stream, request).await;
    answer
        .map(|answer| answer.status().as_u16())
        .map_err(
            |error| match error.is_parse() || error.is_incomplete_message() {
                true => io::Error::new(ErrorKind::InvalidData, "the answer is not HTTP"),
                false => io::Error::other(innermost(&error)),
            },
        )
}

// === impl Url ===

impl FromStr for Url {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "expected http://HOST[:PORT][/PATH]";
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SHAPE);
        }
        let rest = text.strip_prefix("http://").ok_or(SHAPE)?;
        let (rest, _) = rest.split_once('#').unwrap_or((rest, ""));
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).ok_or(SHAPE)?;
        let path = match path {
            "" => "/".to_owned(),
            path if path.starts_with('?') => format!("/{path}"),
            path => path.to_owned(),
        };
        // The last colon parts the port, unless it stands inside an IPv6 address.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| "the port is no number")?)
            }
            _ => (authority, 80),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if host.contains('@')
            || (bare.is_none() && host.contains(':'))
            || bare.unwrap_or(host).is_empty()
        {
            return Err(SHAPE);
        }
        Ok(Self {
            authority: authority.to_owned(),
            host: bare.unwrap_or(host).to_owned(),
            port,
            path,
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, host, port, path) in [
            ("http://a", "a", 80, "/"),
            ("http://a:8080/ready", "a", 8080, "/ready"),
            ("http://[::1]:9901/x?y=1#z", "::1", 9901, "/x?y=1"),
            ("http://[::1]", "::1", 80, "/"),
            ("http://a?y=1:2", "a", 80, "/?y=1:2"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(
                (url.host.as_str(), url.port, url.path.as_str()),
                (host, port, path),
                "{text}"
            );
        }
    }
}
