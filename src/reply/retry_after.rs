//! `Retry-After` (RFC 9110, section 10.2.3) as others write it, whole seconds or a date; and when it is too long to be
//! waited for in silence.

use std::time::UNIX_EPOCH;

use crate::host::{Timestamp, seconds_up};

/// Has clients of OpenAI's and Anthropic's interfaces give up at once, by its value [`NOT_AGAIN`].
pub const SHOULD_RETRY: &str = "x-should-retry";

/// See [`SHOULD_RETRY`].
pub const NOT_AGAIN: &str = "false";

/// The seconds that such a client may be left to sleep: it does so without a word, and then tries again. Who is to wait for
/// longer is better told at once.
const LONGEST_SLEEP: u64 = 60;

/// True if a wait of so many seconds is better told than slept through: then [`SHOULD_RETRY`] stands beside it.
#[must_use]
pub fn is_too_long_to_sleep(seconds: u64) -> bool {
    seconds > LONGEST_SLEEP
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
