//! Numbers in decimals. The standard library reads and prints any double to the last digit, by tables that take 30 KB of the filter;
//! these are as exact for numbers that people write: up to 15 digits, 22 of them behind the point.

/// Powers of ten are exact up to here.
const EXACT: u32 = 22;

/// From here on doubles are too far apart to have a fraction.
const LARGE: f64 = (1_u64 << 53) as f64;

/// The number that these digits stand for: with a sign, a point and an exponent where there are any. Endless, where it is too large.
#[must_use]
#[inline(never)]
pub fn read(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (digits, power) = match unsigned.split_once(['e', 'E']) {
        Some((digits, power)) => (digits, exponent(power)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (mut mantissa, mut places) = (0_u64, 0_i64);
    for (digit, is_behind) in
        (whole.bytes().map(|it| (it, false))).chain(fraction.bytes().map(|it| (it, true)))
    {
        let digit = u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
        // What is left out is less than any double tells apart.
        let more = mantissa
            .checked_mul(10)
            .and_then(|it| it.checked_add(digit));
        places += i64::from(more.is_none()) - i64::from(is_behind);
        mantissa = more.unwrap_or(mantissa);
    }
    let size = scaled(mantissa as f64, power.saturating_add(places));
    Some(if text.starts_with('-') { -size } else { size })
}

fn exponent(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More than any double has.
    let power = unsigned.parse().unwrap_or(1_000_000_i64).min(1_000_000);
    Some(if text.starts_with('-') { -power } else { power })
}

fn scaled(mut number: f64, power: i64) -> f64 {
    let mut left = power.unsigned_abs();
    while left > 0 && number != 0.0 && number.is_finite() {
        let step = left.min(EXACT.into());
        let by = (0..step).fold(1.0, |power, _| power * 10.0);
        number = if power < 0 { number / by } else { number * by };
        left -= step;
    }
    number
}

/// A number in as few digits as stand for it and no other. `None`: it has too many.
#[must_use]
#[inline(never)]
pub fn written(number: f64) -> Option<String> {
    let size = number.abs();
    let mut power = 1.0;
    for places in 0..=EXACT as usize {
        let digits = size * power + 0.5;
        if digits >= LARGE {
            return None;
        }
        let digits = digits as u64;
        if digits as f64 / power == size {
            let digits = format!("{digits:0width$}", width = places + 1);
            let (whole, fraction) = digits.split_at_checked(digits.len() - places)?;
            let point = if places > 0 { "." } else { "" };
            let sign = if number < 0.0 { "-" } else { "" };
            return Some([sign, whole, point, fraction].concat());
        }
        power *= 10.0;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_however_they_are_written() {
        for (text, number) in [
            ("0", 0.0),
            ("-0", 0.0),
            ("17", 17.0),
            ("+5", 5.0),
            ("-1.50", -1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("0.7", 0.7),
            ("3e2", 300.0),
            ("3E-2", 0.03),
            ("12.5e+1", 125.0),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("100000000000000000000000", 1e23),
            ("1e400", f64::INFINITY),
            ("1e99999999999999999999", f64::INFINITY),
            ("1e-99999999999999999999", 0.0),
            ("0e99999999999999999999", 0.0),
        ] {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for text in [
            "", ".", "-", "e5", "5e", "5e+", "1,5", "0x5", "inf", "NaN", "1.2.3", " 1", "1e5.0",
            "--1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_written_in_the_fewest_digits() {
        for (number, text) in [
            (0.0, "0"),
            (-5.0, "-5"),
            (0.7, "0.7"),
            (-0.25, "-0.25"),
            (1.05, "1.05"),
            (0.1, "0.1"),
            (1e-9, "0.000000001"),
            (123_456_789.123_456, "123456789.123456"),
        ] {
            assert_eq!(written(number).as_deref(), Some(text));
        }
        for number in [0.1 + 0.2, 1e300, 1e-30, f64::NAN, f64::INFINITY] {
            assert_eq!(written(number), None, "{number}");
        }
    }

    proptest! {
        #[test]
        fn what_people_write_is_read_to_the_last_bit_and_written_as_it_was(digits in 0_u64..1_000_000_000_000_000, places in 0_usize..=15) {
            let text = format!("{digits:0width$}", width = places + 1);
            let (whole, fraction) = text.split_at(text.len() - places);
            let text = format!("{whole}.{fraction}0");
            let number: f64 = text.parse().expect("a number");
            prop_assert_eq!(read(&text), Some(number));
            let again = written(number).expect("few digits");
            prop_assert!(again.len() < text.len(), "{}", again);
            prop_assert_eq!(again.parse::<f64>(), Ok(number));
        }

        #[test]
        fn any_other_number_is_read_as_a_near_one(number in proptest::num::f64::NORMAL) {
            let read = read(&format!("{number:e}")).expect("a number");
            prop_assert!(read == number || ((read - number) / number).abs() < 1e-13, "{read} {number}");
        }
    }
}
