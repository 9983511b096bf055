//! What the headers of a part say of it (RFC 7578, section 4).

use super::broken::Fault;
use super::parameters;
use crate::text::{case, escapes, headers};

/// A part, by its headers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its name as it is written, without quotes.
    pub(super) name: Vec<u8>,
    /// Whether it can be nothing but text in UTF-8 as it stands there.
    pub(super) is_plain: bool,
}

impl Part {
    /// Reads headers with the empty line that ends them.
    pub(super) fn read(block: &[u8]) -> Result<Self, Fault> {
        let mut part = Self {
            name: Vec::new(),
            is_plain: true,
        };
        let mut is_named = false;
        for line in lines(block) {
            let name = headers::token(line);
            let value = line
                .get(name.len()..)
                .and_then(|rest| rest.strip_prefix(b":"));
            let value = value.ok_or(Fault::Headers)?.trim_ascii();
            if name.is_empty() || value.iter().any(is_control) {
                return Err(Fault::Headers);
            }
            if name.eq_ignore_ascii_case(b"content-disposition") {
                if std::mem::replace(&mut is_named, true) {
                    return Err(Fault::Name);
                }
                part.disposition(value)?;
            } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
                let mut plain = [&b"7bit"[..], b"8bit", b"binary"].into_iter();
                part.is_plain &= plain.any(|plain| value.eq_ignore_ascii_case(plain));
            } else if name.eq_ignore_ascii_case(b"content-type") {
                let read = parameters::read(value);
                // Of another type some readers decode it: `"a"` is a in JSON.
                part.is_plain &= read.is_some_and(|(kind, parameters)| {
                    kind.eq_ignore_ascii_case(b"text/plain")
                        && !parameters.iter().any(parameters::is_other_charset)
                });
            }
        }
        match is_named {
            // It would say in which charset the others are (RFC 7578, section 4.6).
            true if part.name.eq_ignore_ascii_case(b"_charset_") => Err(Fault::Headers),
            true => Ok(part),
            false => Err(Fault::Name),
        }
    }

    fn disposition(&mut self, value: &[u8]) -> Result<(), Fault> {
        let (kind, parameters) = parameters::read(value).ok_or(Fault::Headers)?;
        if !kind.eq_ignore_ascii_case(b"form-data") {
            return Err(Fault::Headers);
        }
        let mut is_named = false;
        for (parameter, value) in parameters {
            if parameter == b"name" {
                if std::mem::replace(&mut is_named, true) {
                    return Err(Fault::Name);
                }
                self.name = value.to_vec();
            } else if parameters::begins_with(parameter, b"name*") {
                // Some readers put the name together from these (RFC 2231); in a form they have no place.
                return Err(Fault::Name);
            } else if parameter != b"filename" && parameters::ends_with(parameter, b"name") {
                // Some readers know a parameter by its small letters alone, some by what it ends in.
                return Err(Fault::Name);
            } else if !is_named && value.windows(5).any(|part| part == b"name=") {
                // Some readers look for no more than this.
                return Err(Fault::Name);
            }
            self.is_plain &= !parameters::begins_with(parameter, b"filename");
        }
        if is_named { Ok(()) } else { Err(Fault::Name) }
    }

    /// Whether some reader may take the name for `wanted`, which is `folded` so: without backslashes, with `%22` and the like
    /// decoded, up to a NUL, without blanks or quotes around it, or whatever the case of letters.
    pub(super) fn may_be(&self, wanted: &str, folded: &str) -> bool {
        let mut readings = vec![self.name.clone()];
        if self.name.contains(&b'\\') {
            readings.push(
                self.name
                    .iter()
                    .copied()
                    .filter(|byte| *byte != b'\\')
                    .collect(),
            );
        }
        if self.name.contains(&b'%') {
            let decoded: Vec<_> = readings
                .iter()
                .map(|name| escapes::decoded(name, |_| true))
                .collect();
            readings.extend(decoded);
        }
        let ended: Vec<_> = (readings.iter())
            .filter_map(|name| {
                Some(
                    name.get(..name.iter().position(|byte| *byte == 0)?)?
                        .to_vec(),
                )
            })
            .collect();
        readings.extend(ended);
        readings.iter().any(|reading| {
            let is_around =
                |byte: &u8| byte.is_ascii_whitespace() || matches!(*byte, b'"' | b'\'' | 0);
            let start = reading
                .iter()
                .position(|byte| !is_around(byte))
                .unwrap_or(0);
            let end = reading
                .iter()
                .rposition(|byte| !is_around(byte))
                .map_or(0, |last| last + 1);
            let inner = reading.get(start..end).unwrap_or_default();
            case::is_same(inner, wanted, folded)
        })
    }
}

/// The lines of a block, which end by CR LF, but for the empty one at its end.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = block.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty())
}

fn is_control(byte: &u8) -> bool {
    byte.is_ascii_control() && *byte != b'\t'
}
