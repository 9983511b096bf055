//! Escapes in paths and queries (RFC 3986, section 2.1), and the one spelling in which paths are compared.

use super::hex;

/// The byte that the escape at the beginning of `text` stands for. `None`: no escape stands there.
#[must_use]
pub fn escaped(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    hex::byte(*high, *low)
}

/// True for the bytes of which no path may hold an escape: some agents decode these before they look at the path.
#[must_use]
pub fn is_never_escaped(byte: u8) -> bool {
    matches!(byte, b'.' | b'\\' | 0)
}

/// RFC 3986, section 2.3: an escape of these means the same as the character itself, to everyone.
#[must_use]
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// `text` with the escapes of unreserved characters decoded, and every other byte as it is spelled.
///
/// A `%` that begins no escape could be made to begin one by this; there must be none.
#[must_use]
pub fn unreserved_decoded(text: &[u8]) -> Vec<u8> {
    decoded(text, is_unreserved)
}

/// The one spelling of all those that a lenient reader takes for the same: every visible ASCII character is written as
/// itself, but for `% / \ ? #`, which would mean something else; the other escapes have their digits in upper case.
///
/// As with [`unreserved_decoded`], every `%` must begin an escape.
#[must_use]
pub fn canonical(text: &[u8]) -> Vec<u8> {
    let mut canonical = decoded(text, |byte| {
        byte.is_ascii_graphic() && !b"%/\\?#".contains(&byte)
    });
    let mut digits = 0;
    for byte in &mut canonical {
        if digits > 0 {
            byte.make_ascii_uppercase();
            digits -= 1;
        } else if *byte == b'%' {
            digits = 2;
        }
    }
    canonical
}

/// `text` with the escapes of the bytes that `plain` picks decoded. A `%` that begins no escape stays as it is.
#[must_use]
pub fn decoded(text: &[u8], plain: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        let (byte, behind) = match escaped(rest).filter(|byte| plain(*byte)) {
            Some(byte) => (byte, behind.get(2..).unwrap_or_default()),
            None => (*first, behind),
        };
        decoded.push(byte);
        rest = behind;
    }
    decoded
}

/// A name or a value of a query as forms write it: all escapes decoded, and a blank for each `+`.
#[must_use]
pub fn form_decoded(text: &[u8]) -> Vec<u8> {
    let blanks = |byte: &u8| if *byte == b'+' { b' ' } else { *byte };
    let spaced: Vec<u8> = text.iter().map(blanks).collect();
    decoded(&spaced, |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_has_two_hexadecimal_digits() {
        assert_eq!(escaped(b"%41"), Some(b'A'));
        assert_eq!(escaped(b"%fFx"), Some(0xff));
        for none in [
            &b""[..],
            b"%",
            b"%4",
            b"%4g",
            b"%+4",
            b"%%41",
            b"41",
            b"x%41",
        ] {
            assert_eq!(escaped(none), None, "{none:?}");
        }
    }

    #[test]
    fn one_spelling_stands_for_all_that_mean_the_same() {
        for (spelled, one) in [
            ("/files%3Aadmin", "/files:admin"),
            ("/files%3aadmin", "/files:admin"),
            ("/%74%6F%6fls", "/tools"),
            ("/a%40b%3B%7Bc%7d%22", "/a@b;{c}\""),
            ("/%c3%a9%20", "/%C3%A9%20"),
            ("/%25%32%35%2f%5c%3f%23", "/%2525%2F%5C%3F%23"),
        ] {
            let found = canonical(spelled.as_bytes());
            assert_eq!(String::from_utf8_lossy(&found), one, "{spelled}");
        }
    }

    #[test]
    fn in_forms_a_plus_is_a_blank_and_an_escaped_one_is_not() {
        assert_eq!(
            form_decoded(b"a+b%2Bc%20%C3%A9+"),
            "a b+c \u{e9} ".as_bytes()
        );
    }

    #[test]
    fn only_unreserved_characters_are_decoded_for_the_agent() {
        assert_eq!(
            unreserved_decoded(b"/%74%3a%2D%c3%a9%25%37"),
            b"/t%3a-%c3%a9%257"
        );
    }
}
