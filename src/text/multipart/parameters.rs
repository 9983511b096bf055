//! The value of a header and its parameters, such as `form-data; name="model"` (RFC 2045, section 5.1; RFC 7578, section 4.2).

use crate::text::headers;

/// A parameter: its name as it is written, and its value without quotes, but with escapes.
pub(super) type Parameter<'a> = (&'a [u8], &'a [u8]);

/// What stands before the first `;`, and the parameters. `None`: it is not written so, or readers may find another end of a
/// quoted value, at a quote behind a backslash.
pub(super) fn read(value: &[u8]) -> Option<(&[u8], Vec<Parameter<'_>>)> {
    let end = value.iter().position(|byte| *byte == b';');
    let (kind, mut rest) = value.split_at(end.unwrap_or(value.len()));
    let mut parameters = Vec::new();
    while let Some(behind) = rest.strip_prefix(b";") {
        let (parameter, behind) = parameter(behind.trim_ascii_start())?;
        parameters.push(parameter);
        rest = behind.trim_ascii_start();
    }
    rest.is_empty().then_some((kind.trim_ascii(), parameters))
}

fn parameter(text: &[u8]) -> Option<(Parameter<'_>, &[u8])> {
    let name = headers::token(text);
    let rest = text.get(name.len()..)?.strip_prefix(b"=")?;
    if name.is_empty() {
        return None;
    }
    let Some(quoted) = rest.strip_prefix(b"\"") else {
        let value = headers::token(rest);
        let behind = rest.get(value.len()..)?;
        return (!value.is_empty()).then_some(((name, value), behind));
    };
    let end = quoted.iter().position(|byte| *byte == b'"')?;
    let (value, behind) = quoted.split_at(end);
    let is_vague = value.ends_with(b"\\");
    (!is_vague).then_some(((name, value), behind.strip_prefix(b"\"")?))
}

/// Whether a parameter `charset` says that text is something else than UTF-8.
pub(super) fn is_other_charset((name, value): &Parameter<'_>) -> bool {
    let is_utf_8 = [&b"utf-8"[..], b"utf8", b"us-ascii"]
        .iter()
        .any(|charset| value.eq_ignore_ascii_case(charset));
    begins_with(name, b"charset") && !(is_utf_8 && name.len() == 7)
}

/// Whether `name` begins so, in any case of letters.
pub(super) fn begins_with(name: &[u8], prefix: &[u8]) -> bool {
    let start = name.get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Whether a value holds that, in any case of letters.
pub(super) fn holds(value: &[u8], part: &[u8]) -> bool {
    let mut parts = value.windows(part.len());
    parts.any(|it| it.eq_ignore_ascii_case(part))
}
