//! What a request asks of an agent beside its answer: the `x-demo-*` headers, by which tests make an agent slow, broken
//! or talkative. Where headers cannot be set (a browser's WebSocket), the same names work in the query. A name or value
//! that means nothing is an error: a test with a slip of the pen must not pass.

use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use waykeeper_shapes::Shape;

use crate::text;

/// All wishes begin so.
const PREFIX: &str = "x-demo-";

/// The names behind [`PREFIX`].
const NAMES: [&str; 12] = [
    "status",
    "delay",
    "interval",
    "events",
    "size",
    "reset",
    "fail-first",
    "id",
    "usage",
    "encoding",
    "protocol",
    "close",
];

/// More words than any test needs, and still quick to count.
const MAX_EVENTS: usize = 1_000_000;

/// What a request asks for beside its answer.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// How to fail.
    pub(super) fault: Fault,
    /// Fail only the first requests that carry the same id.
    pub(super) fail_first: Option<u64>,
    /// Requests that belong together, such as the attempts of one retry.
    pub(super) id: Option<String>,
    /// The time between two events, or between two pieces of a large answer.
    pub(super) interval: Option<Duration>,
    /// How many words a chat's answer has; elsewhere, how many events.
    pub(super) events: Option<usize>,
    /// The length of the answer's body in bytes.
    pub(super) size: Option<u64>,
    /// Answer as a chat in this shape, whatever the path.
    pub(super) usage: Option<Shape>,
    /// Compress the answer.
    pub(super) gzip: bool,
    /// The WebSocket subprotocol to select.
    pub(super) protocol: Option<HeaderValue>,
    /// Close the WebSocket with this code after the first frame.
    pub(super) close: Option<u16>,
}

/// How an answer shall fail.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fault {
    /// This status.
    pub(super) status: Option<StatusCode>,
    /// Nothing for so long.
    pub(super) delay: Option<Duration>,
    /// An end before its end.
    pub(super) reset: Option<Reset>,
}

/// Where an answer breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    /// Before anything was sent.
    BeforeHeaders,
    /// After the headers and so many bytes of body.
    AfterBytes(u64),
}

// === impl Wishes ===

impl Wishes {
    /// Reads the wishes of a request. The error names the header and what may stand in it.
    pub(super) fn of(request: &Parts) -> Result<Self, String> {
        let mut wishes = Self::default();
        let mut seen = Vec::new();
        let headers = request.headers.iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(PREFIX)?;
            Some((name.to_owned(), text::latin1(value.as_bytes())))
        });
        let query = form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes())
            .filter_map(|(name, value)| {
                Some((name.strip_prefix(PREFIX)?.to_owned(), value.into_owned()))
            });
        for (name, value) in headers.chain(query) {
            let failed = |error| format!("{PREFIX}{name}: {error}");
            if seen.contains(&name) {
                return Err(failed(
                    "given twice; give it once, as a header or in the query".to_owned(),
                ));
            }
            wishes.set(&name, &value).map_err(failed)?;
            seen.push(name);
        }
        if wishes.fail_first.is_some() && wishes.id.is_none() {
            return Err(format!(
                "{PREFIX}fail-first: needs {PREFIX}id, which tells whose attempts are counted"
            ));
        }
        if wishes.fail_first.is_some() && wishes.fault == Fault::default() {
            wishes.fault.status = Some(StatusCode::SERVICE_UNAVAILABLE);
        }
        Ok(wishes)
    }

    /// The fault for the `attempt`-th request with this id, counted from 1.
    pub(super) fn fault_at(&self, attempt: u64) -> Fault {
        match self.fail_first {
            Some(count) if attempt > count => Fault::default(),
            _ => self.fault.clone(),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "status" => self.fault.status = Some(status(value)?),
            "delay" => self.fault.delay = Some(text::duration(value)?),
            "reset" => self.fault.reset = Some(reset(value)?),
            "fail-first" => self.fail_first = Some(number(value, u64::MAX)?),
            "id" if value.is_empty() || value.len() > 128 => {
                return Err("must have 1 to 128 characters".to_owned());
            }
            "id" => self.id = Some(value.to_owned()),
            "interval" => self.interval = Some(text::duration(value)?),
            "events" => self.events = Some(number(value, MAX_EVENTS)?),
            "size" => self.size = Some(number(value, u64::MAX)?),
            "usage" => self.usage = Some(Shape::named(value)?),
            "encoding" if value == "gzip" => self.gzip = true,
            "encoding" => return Err(format!("`{value}` is not known; there is `gzip`")),
            "protocol" => self.protocol = Some(protocol(value)?),
            "close" => self.close = Some(close(value)?),
            _ => return Err(format!("no such wish; there are {}", NAMES.join(", "))),
        }
        Ok(())
    }
}

fn number<N: std::str::FromStr + PartialOrd + std::fmt::Display>(
    text: &str,
    most: N,
) -> Result<N, String> {
    match text.parse() {
        Ok(number) if number <= most => Ok(number),
        _ => Err(format!("`{text}` is no whole number from 0 to {most}")),
    }
}

fn status(text: &str) -> Result<StatusCode, String> {
    let error = || format!("`{text}` is no status from 200 to 599");
    let status: StatusCode = text.parse().map_err(|_| error())?;
    if (200..=599).contains(&status.as_u16()) {
        Ok(status)
    } else {
        Err(error())
    }
}

fn reset(text: &str) -> Result<Reset, String> {
    match text {
        "headers" => Ok(Reset::AfterBytes(0)),
        _ => match text.parse() {
            Ok(0) => Ok(Reset::BeforeHeaders),
            Ok(bytes) => Ok(Reset::AfterBytes(bytes)),
            Err(_) => Err(format!(
                "`{text}` is no number of bytes; `0` sends nothing at all, `headers` the headers and no body"
            )),
        },
    }
}

fn protocol(text: &str) -> Result<HeaderValue, String> {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    match HeaderValue::from_str(text) {
        Ok(value) if !text.is_empty() && text.as_bytes().iter().all(token) => Ok(value),
        _ => Err(format!("`{text}` is no subprotocol; it must be a token")),
    }
}

fn close(text: &str) -> Result<u16, String> {
    // RFC 6455, section 7.4: the codes that an endpoint may send.
    match text.parse() {
        Ok(code @ (1000..=1003 | 1007..=1014 | 3000..=4999)) => Ok(code),
        _ => Err(format!(
            "`{text}` is no close code that may be sent, such as 1000 or 4001"
        )),
    }
}
