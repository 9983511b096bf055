//! `Retry-After` (RFC 9110, section 10.2.3): how we write it, and how it is read as others do, as whole seconds or a date.

use std::time::UNIX_EPOCH;

use crate::host::{Timestamp, seconds_up};

/// The seconds that a client of OpenAI's or Anthropic's interfaces may be left to sleep: it does so without a word, and then tries
/// again. Who is to wait for longer is better told at once.
const LONGEST_SLEEP: u64 = 60;

/// The headers that tell a caller to come back after so many seconds. Beyond a minute they say to those clients that they are not
/// to try again by themselves.
pub fn headers(seconds: u64) -> impl Iterator<Item = (&'static str, String)> {
    let not_again = (seconds > LONGEST_SLEEP).then(|| ("x-should-retry", "false".to_owned()));
    [("retry-after", seconds.to_string())]
        .into_iter()
        .chain(not_again)
}

/// The seconds that a value asks to wait from `now` on, rounded up. `None`: it is neither seconds nor a date.
#[must_use]
pub fn seconds(value: &[u8], now: Timestamp) -> Option<u64> {
    let value = std::str::from_utf8(value).ok()?.trim_ascii();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().unwrap_or(u64::MAX));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let date = Timestamp::from_seconds(date.duration_since(UNIX_EPOCH).ok()?.as_secs());
    Some(seconds_up(date.since(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nothing_else() {
        let now = Timestamp::from_seconds(784_111_777);
        for (value, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("99999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(seconds(value.as_bytes(), now), expected, "{value:?}");
        }
        let half_a_second_later = Timestamp(now.0 + 500_000_000);
        let date = b"Sun, 06 Nov 1994 08:49:47 GMT";
        assert_eq!(seconds(date, half_a_second_later), Some(10));
    }
}
