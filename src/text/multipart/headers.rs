//! What the headers of a part say of it (RFC 7578, section 4).

use super::broken::Fault;
use super::parameters::{self, Parameter};
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
        // Some readers pass over a part with parameters that they do not understand, and some know a name by its small letters alone,
        // by what it ends in, or put it together (RFC 2231).
        let [(b"name", name), others @ ..] = parameters.as_slice() else {
            return Err(Fault::Name);
        };
        let is_known =
            |(parameter, _): &Parameter<'_>| matches!(*parameter, b"filename" | b"filename*");
        // Some look for no more than `name=`, the first or the last, and not all take the same value for a quoted one.
        let is_hidden = |(_, value): &Parameter<'_>| parameters::holds(value, b"name=");
        // Some decode what stands between `=?` and `?=` (RFC 2047); in a form it has no place.
        let is_encoded = parameters::holds(name, b"=?");
        if !others.iter().all(is_known) || parameters.iter().any(is_hidden) || is_encoded {
            return Err(Fault::Name);
        }
        self.name = name.to_vec();
        self.is_plain &= others.is_empty();
        Ok(())
    }

    /// Whether some reader may take the name for one of which there are these `readings`: without backslashes, with `%22` and the like
    /// decoded, without blanks or quotes around it, up to a quote or a NUL, as a list or a variable of PHP's, or whatever the case of
    /// letters.
    pub(super) fn may_be(&self, readings: &[Box<str>; 2]) -> bool {
        let mut name = self.name.clone();
        name.retain(|byte| *byte != b'\\');
        let mut name = escapes::decoded(&name, |_| true);
        name.retain(|byte| *byte != b'\\');
        let is_end = |byte: &u8| matches!(*byte, b'"' | b'\'' | 0);
        let start = name
            .iter()
            .position(|byte| !is_end(byte) && !byte.is_ascii_whitespace());
        let name = name.get(start.unwrap_or_default()..).unwrap_or_default();
        let name = name.split(is_end).next().unwrap_or_default();
        let Ok(name) = str::from_utf8(name.trim_ascii_end()) else {
            return false;
        };
        let mut pairs = self::readings(name).into_iter().zip(readings);
        pairs.any(|(name, reading)| case::is_same(name.as_bytes(), reading, reading))
    }
}

/// What PHP calls a variable of that name, and the list or map of which some readers take it for a member, as `name[]` or `name[x]`.
pub(super) fn readings(name: &str) -> [Box<str>; 2] {
    let list = name.split('[').next().unwrap_or_default();
    [name, list].map(|name| {
        let letters = name.chars().map(|letter| match letter {
            ' ' | '.' | '[' => '_',
            other => other,
        });
        letters.collect()
    })
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
