//! What an agent reports of its load: in a header or trailer of its answers, or in the metrics that it shows.
//!
//! A report is foreign: names that are not looked for are passed over, and so is what is no number, below zero or endless. A number
//! that is larger than any that is believed counts as the largest, however it is written.
//! What is left comes to one number in millionths, of which [`FULL`] is as much as the agent is meant to do.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::config::policy::{Load, LoadSource};

/// As much as an agent is meant to do, in millionths.
pub const FULL: u64 = 1_000_000;

/// No more is believed of any number: a thousand million, in millionths.
const MOST: u64 = 1_000_000_000_000_000;

/// Reports by headers are short; what is longer is none.
const LONGEST: usize = 4096;

/// By which header an agent is asked to report, and for which form.
pub const ASK: (&str, &[u8]) = ("endpoint-load-metrics-format", b"TEXT");

/// ORCA's header in text or JSON, and the one of its message.
pub const ORCA: &str = "endpoint-load-metrics";
/// See [`ORCA`].
pub const ORCA_BINARY: &str = "endpoint-load-metrics-bin";
/// How many requests wait at the agent.
pub const QUEUE_DEPTH: &str = "x-agent-queue-depth";

/// gRPC pads nothing, others do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a report says, as far as it is looked for.
#[derive(Debug, Default)]
struct Said<'w> {
    /// The one that the operator has named.
    wanted: Option<&'w str>,
    named: Option<u64>,
    application: Option<u64>,
    cpu: Option<u64>,
    /// Parts of caches in use, added up, and of how many.
    used: (u64, u64),
    waiting: Option<u64>,
}

/// The load that a header of an answer says, in millionths. `None`: it says none.
#[must_use]
#[inline(never)]
pub fn in_header(load: &Load, name: &str, value: &[u8]) -> Option<u64> {
    let value = value.get(..LONGEST).map_or(value, |_| b"");
    let mut said = Said::new(load);
    match name {
        QUEUE_DEPTH => said.waiting = number(value.trim_ascii()),
        ORCA_BINARY => message(&mut said, &BASE64.decode(value.trim_ascii()).ok()?),
        _ => text(&mut said, value),
    }
    said.load(load)
}

/// The load that metrics in Prometheus' text say.
#[must_use]
#[inline(never)]
pub fn in_metrics(load: &Load, metrics: &[u8]) -> Option<u64> {
    let mut said = Said::new(load);
    for line in metrics.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.first().is_none_or(|first| *first == b'#') {
            continue;
        }
        let end = line.iter().position(|byte| matches!(byte, b'{' | b' '));
        let Some((name, rest)) = end.and_then(|end| line.split_at_checked(end)) else {
            continue;
        };
        // A label's value may hold anything, but behind the last brace stand the number and at most its time.
        let labels = rest.iter().rposition(|byte| *byte == b'}');
        let rest = rest.get(labels.map_or(0, |at| at + 1)..);
        let rest = rest.unwrap_or_default().trim_ascii_start();
        let value = rest.split(u8::is_ascii_whitespace).next();
        if let Some(value) = value.and_then(number) {
            said.take(name, value);
        }
    }
    said.load(load)
}

// === impl Said ===

impl<'w> Said<'w> {
    fn new(load: &'w Load) -> Self {
        let wanted = match &load.from {
            LoadSource::Orca { metric } => metric.as_deref(),
            _ => None,
        };
        Self {
            wanted,
            ..Self::default()
        }
    }

    /// Takes a number that has this name, if it is looked for.
    fn take(&mut self, name: &[u8], value: u64) {
        let bare = ["named_metrics.", "utilization.", "vllm:", "sglang:"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix.as_bytes()));
        let bare = bare.unwrap_or(name);
        if let Some(wanted) = self.wanted {
            if bare == wanted.as_bytes() {
                self.named = Some(value);
            }
            return;
        }
        match bare {
            b"application_utilization" | b"applicationUtilization" => {
                self.application = Some(value);
            }
            b"cpu_utilization" | b"cpuUtilization" => self.cpu = Some(value),
            b"num_requests_waiting" | b"num_queue_reqs" => {
                self.waiting = Some(self.waiting.unwrap_or(0).saturating_add(value).min(MOST));
            }
            b"kv_cache_usage_perc"
            | b"gpu_cache_usage_perc"
            | b"kv_cache_utilization"
            | b"token_usage" => {
                let (all, number) = self.used;
                self.used = (all.saturating_add(value), number + 1);
            }
            _ => {}
        }
    }

    /// What it comes to: what the operator has named; else what the agent says of itself as a whole; else the part of its cache in
    /// use and those who wait, as parts of how many it takes to be full; else its processor.
    fn load(&self, load: &Load) -> Option<u64> {
        if self.wanted.is_some() {
            return self.named;
        }
        let application = self.application.filter(|it| *it > 0);
        application
            .or_else(|| {
                let (all, number) = self.used;
                let used = all.checked_div(number);
                let waiting = self.waiting.map(|it| it / u64::from(load.full_at.max(1)));
                match (used, waiting) {
                    (None, None) => None,
                    (used, waiting) => Some(used.unwrap_or(0).saturating_add(waiting.unwrap_or(0))),
                }
            })
            .or(self.cpu)
            .map(|load| load.min(MOST))
    }
}

/// ORCA's text (`TEXT cpu_utilization=0.3, named_metrics.x=0.4`, with `:` too) and its JSON: pairs of a name and a number, in
/// whatever they lie.
fn text(said: &mut Said<'_>, value: &[u8]) {
    for pair in value.split(|byte| matches!(byte, b',' | b'{' | b'}')) {
        let Some(at) = pair.iter().position(|byte| matches!(byte, b'=' | b':')) else {
            continue;
        };
        let (name, value) = pair.split_at(at);
        let name = name.trim_ascii();
        let name = name.strip_prefix(b"TEXT ").unwrap_or(name).trim_ascii();
        let name = name.strip_prefix(b"\"").unwrap_or(name);
        let name = name.strip_suffix(b"\"").unwrap_or(name);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let Some(value) = number(value) {
            said.take(name, value);
        }
    }
}

/// A field of a protobuf message.
enum Field<'a> {
    Double(f64),
    Bytes(&'a [u8]),
    Other,
}

/// `xds.data.orca.v3.OrcaLoadReport`, as far as it goes.
fn message(said: &mut Said<'_>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((number, field)) = field(&mut rest) {
        match (number, field) {
            (1, Field::Double(value)) => put(said, b"cpu_utilization", value),
            (9, Field::Double(value)) => put(said, b"application_utilization", value),
            // The maps `utilization` and `named_metrics`.
            (5 | 8, Field::Bytes(mut entry)) => {
                let (mut name, mut value) = (&b""[..], 0.0);
                while let Some((number, field)) = self::field(&mut entry) {
                    match (number, field) {
                        (1, Field::Bytes(bytes)) => name = bytes,
                        (2, Field::Double(double)) => value = double,
                        _ => {}
                    }
                }
                put(said, name, value);
            }
            _ => {}
        }
    }
}

fn put(said: &mut Said<'_>, name: &[u8], value: f64) {
    if value.is_finite() && value >= 0.0 {
        // The cast saturates.
        said.take(name, ((value * 1e6) as u64).min(MOST));
    }
}

/// The next field of a message. `None`: there is none, or none that can be read.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = varint(rest)?;
    let field = match tag & 7 {
        0 => {
            varint(rest)?;
            Field::Other
        }
        1 => Field::Double(f64::from_le_bytes(*part(rest, 8)?.first_chunk()?)),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Field::Bytes(part(rest, length)?)
        }
        5 => {
            part(rest, 4)?;
            Field::Other
        }
        _ => return None,
    };
    Some((tag >> 3, field))
}

fn part<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (part, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(part)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *part(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A number from 0 as programs print it (`3`, `0.25`, `4e-05`), in millionths; at most [`MOST`]. The standard library's reader of
/// doubles would be larger than all else here.
fn number(text: &[u8]) -> Option<u64> {
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let end = text.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (digits, exponent) = text.split_at(end.unwrap_or(text.len()));
    let mut scale = 6 + match exponent.get(1..) {
        None => 0,
        Some(exponent) => whole(exponent)?,
    };
    let (mut mantissa, mut any, mut point) = (0_u64, false, false);
    for byte in digits {
        match byte {
            b'0'..=b'9' if mantissa < 1 << 59 => {
                mantissa = mantissa * 10 + u64::from(byte - b'0');
                any = true;
                scale -= i64::from(point);
            }
            // More digits than matter.
            b'0'..=b'9' => scale += i64::from(!point),
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    if !any {
        return None;
    }
    let power = u32::try_from(scale.unsigned_abs()).ok();
    let power = power.and_then(|power| 10_u64.checked_pow(power));
    let value = match power {
        _ if mantissa == 0 => 0,
        Some(power) if scale < 0 => mantissa / power,
        Some(power) => mantissa.saturating_mul(power),
        None if scale < 0 => 0,
        None => MOST,
    };
    Some(value.min(MOST))
}

/// A whole number with a sign; beyond a thousand million, about so much.
fn whole(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text.split_first()? {
        (b'-', digits) => (-1, digits),
        (b'+', digits) => (1, digits),
        _ => (1, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0;
    for byte in digits {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        if value < 1_000_000_000 {
            value = value * 10 + i64::from(digit);
        }
    }
    Some(sign * value)
}

#[cfg(test)]
mod tests;
