//! What a scalar is: by YAML 1.2's core schema where it is plain, text where it is quoted. What other readers of YAML
//! take for something else is said beside it.

use saphyr_parser::{ScalarStyle, Tag};

use super::{Broken, Kind, Value, broken};

/// A scalar with its style and its tag.
pub(super) fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    line: usize,
) -> Result<Value, Broken> {
    let as_text = || Value {
        line,
        doubt: None,
        plain: false,
        kind: Kind::Text(text.to_owned()),
    };
    match tag {
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => return Ok(as_text()),
        Some(tag)
            if tag.is_yaml_core_schema()
                && ["null", "bool", "int", "float"].contains(&tag.suffix.as_str()) => {}
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => return Ok(as_text()),
        Some(tag) => {
            return Err(broken(
                line,
                format!("the tag {}{} is not known here", tag.handle, tag.suffix),
            ));
        }
        None if style != ScalarStyle::Plain => return Ok(as_text()),
        None => {}
    }
    Ok(Value {
        line,
        doubt: doubt(text),
        plain: true,
        kind: plain(text),
    })
}

/// A plain scalar by YAML 1.2's core schema.
pub(crate) fn plain(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Kind::Number(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Kind::Number(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Kind::Number(f64::NAN),
        _ => {}
    }
    let based = |prefix: &str, base: u32| {
        let digits = text.strip_prefix(prefix)?;
        digits
            .bytes()
            .all(|byte| char::from(byte).is_digit(base))
            .then_some(())?;
        u64::from_str_radix(digits, base).ok()
    };
    if let Some(number) = based("0o", 8).or_else(|| based("0x", 16)) {
        return Kind::Number(number as f64);
    }
    // Rust's floats are those of the core schema, once words such as `infinity` are out of the way.
    let numeric = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    match text.parse() {
        Ok(number) if numeric => Kind::Number(number),
        _ => Kind::Text(text.to_owned()),
    }
}

/// What some readers of YAML take a plain scalar for, where others do not.
fn doubt(text: &str) -> Option<String> {
    let readings = readings(text)?;
    Some(format!(
        "`{text}` is {readings}; put it in quotes, or write it otherwise"
    ))
}

fn readings(text: &str) -> Option<&'static str> {
    const BOOLEANS: [&str; 6] = ["y", "n", "yes", "no", "on", "off"];
    if BOOLEANS.contains(&text.to_ascii_lowercase().as_str()) {
        return Some("true or false to some readers of YAML and a word to others");
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let all = |allowed: &[u8]| {
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || allowed.contains(&byte))
    };
    let starts_with_digit = digits.starts_with(|first: char| first.is_ascii_digit());
    if digits.len() > 1 && digits.starts_with('0') && all(b"_") {
        return Some("octal to some readers of YAML and decimal to others");
    }
    if digits.starts_with("0o") && digits.len() > 2 {
        return Some("octal to some readers of YAML and a word to others");
    }
    if starts_with_digit && digits.contains('_') && all(b"_.") {
        return Some("a number to some readers of YAML and a word to others");
    }
    if is_base_60(digits) {
        return Some("a number to base 60 to some readers of YAML and a word to others");
    }
    None
}

/// Whether YAML 1.1 takes it for a number such as `1:30` or `1:30.5`; an address with its port is none.
fn is_base_60(digits: &str) -> bool {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let mut rest = parts.peekable();
    !first.is_empty()
        && is_number(first)
        && is_number(fraction)
        && rest.peek().is_some()
        && rest.all(|part| {
            matches!(part.len(), 1 | 2)
                && is_number(part)
                && part.parse().is_ok_and(|it: u8| it < 60)
        })
}
