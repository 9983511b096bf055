//! Bytes as hex digits, two for each, in either case.

/// The byte that two digits stand for.
#[must_use]
pub fn byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// The `N` bytes that `text` stands for; `None` if it has another length, or anything but digits.
#[must_use]
pub fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, []) = text.as_bytes().as_chunks() else {
        return None;
    };
    if pairs.len() != N {
        return None;
    }
    let mut bytes = [0; N];
    for (decoded, [high, low]) in bytes.iter_mut().zip(pairs) {
        *decoded = byte(*high, *low)?;
    }
    Some(bytes)
}

/// The digits of some bytes, in lower case.
#[must_use]
pub fn encoded(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(encoded(&[0, 0x0f, 0xa0, 0xff]), "000fa0ff");
        assert_eq!(decoded("000FA0ff"), Some([0, 0x0f, 0xa0, 0xff]));
    }

    #[test]
    fn nothing_else_is_read() {
        for none in [
            "", "00", "000", "0000 ", "000g", "+000", "00000", "000000", "é00",
        ] {
            assert_eq!(decoded::<2>(none), None, "{none:?}");
        }
    }
}
