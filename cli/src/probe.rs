//! `waykeeper probe`: whether a service answers, for the health checks of containers that have no other tools. Plain
//! HTTP/1.1 only, and no more of it than a status line.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;

use crate::Outcome;

/// Ask a service whether it is up: exit status 0 if it answers with 2xx, else 1
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// http://HOST[:PORT][/PATH]
    url: Url,
    /// How long the answer may take in all
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = timeout)]
    timeout: Duration,
}

/// Which service to ask, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Url {
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
    let message = match ask(&arguments.url, Instant::now() + arguments.timeout) {
        Ok(200..=299) => return Ok(Outcome::Good),
        Ok(status) => format!("answered {status}"),
        Err(error) => error.to_string(),
    };
    writeln!(io::stderr().lock(), "{}: {message}", arguments.url)?;
    Ok(Outcome::Faulty)
}

fn timeout(text: &str) -> Result<Duration, String> {
    match waykeeper::config::duration(text) {
        Some(timeout) if !timeout.is_zero() && timeout <= Duration::from_secs(3_600) => Ok(timeout),
        _ => Err("expected a duration such as 500ms or 5s, up to 1h".to_owned()),
    }
}

/// The status that a GET is answered with.
fn ask(url: &Url, deadline: Instant) -> io::Result<u16> {
    let mut stream = connect(url, deadline)?;
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: {}\r\nuser-agent: waykeeper-probe\r\naccept: */*\r\nconnection: close\r\n\r\n",
        url.path, url.authority
    );
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(request.as_bytes())?;
    let mut line = Vec::new();
    let mut buffer = [0; 256];
    // A status line is short; whatever is longer is something else.
    while line.len() < 1024 && !line.contains(&b'\n') {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => line.extend(buffer.iter().take(count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(late()),
            Err(error) => return Err(error),
        }
    }
    status(&line)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

/// The same beside what else runs; nothing if that is no url.
pub(crate) async fn ask_beside(url: &str, patience: Duration) -> Option<io::Result<u16>> {
    let url: Url = url.parse().ok()?;
    let deadline = Instant::now() + patience;
    let asked = tokio::task::spawn_blocking(move || ask(&url, deadline));
    asked.await.ok()
}

fn connect(url: &Url, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (url.host.as_str(), url.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The time left until the deadline; an error once it has passed.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(late())
    } else {
        Ok(left)
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

/// The status in `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line.trim_ascii_end()).ok()?.split(' ');
    words.next()?.strip_prefix("HTTP/1.")?;
    let status = words.next()?;
    if status.len() != 3 {
        return None;
    }
    status.parse().ok()
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
