//! How one text can be spelled, and how readers other than the filter undo that. Written as plainly as can be: these
//! are what the filter's own readers are held against.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The byte that the escape at the beginning of a text stands for.
pub(crate) fn escape(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// `%41` as `A`; what is no escape stays as it is.
pub(crate) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    decoded_if(text, |_| true)
}

/// The escapes of these bytes decoded, and all others left as they are.
pub(crate) fn decoded_if(text: &[u8], decode: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match escape(&text[at..]).filter(|byte| decode(*byte)) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(text[at]);
                at += 1;
            }
        }
    }
    decoded
}

/// Whether a secret stands in a text: plain, in escapes (of escapes), or in base64url.
pub(crate) fn holds(text: &[u8], secret: &[u8]) -> bool {
    let once = percent_decoded(text);
    let twice = percent_decoded(&once);
    [text, &once, &twice].into_iter().any(|text| {
        contains(text, secret) || base64_decodings(text).any(|text| contains(&text, secret))
    })
}

pub(crate) fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// What the runs of base64url's letters in a text decode to, wherever in a run one begins to read.
fn base64_decodings(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    text.split(move |byte| !is_letter(byte)).flat_map(|run| {
        (0..4).filter_map(move |start| {
            let run = run.get(start..)?;
            // Of the last letters only whole bytes count.
            let whole = run.len() / 4 * 4;
            let mut decoded = URL_SAFE_NO_PAD.decode(&run[..whole]).ok()?;
            let rest = match run.len() - whole {
                2 => 1,
                3 => 2,
                _ => 0,
            };
            let mut last = run[whole..].to_vec();
            last.resize(4, b'A');
            decoded.extend(URL_SAFE_NO_PAD.decode(last).ok()?.into_iter().take(rest));
            Some(decoded)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_however_it_is_spelled() {
        let secret = b"s3cr~et/key";
        let encoded = URL_SAFE_NO_PAD.encode(secret);
        let shifted = URL_SAFE_NO_PAD.encode([b"ab", &secret[..]].concat());
        for text in [
            "xs3cr~et/keyx".to_owned(),
            "%733cr%7eet%2Fkey".to_owned(),
            "%25733cr%257eet/key".to_owned(),
            format!("key64.{encoded}"),
            format!("a, {shifted}"),
            encoded.replace('z', "%7a"),
        ] {
            assert!(holds(text.as_bytes(), secret), "{text}");
        }
        assert!(!holds(b"s3cr~et/ke", secret));
    }
}
