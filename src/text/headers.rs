//! Names of headers, as agents read them: in any case of letters, and many take `_` for `-`.

/// What the names of headers begin with that only the gateway or Envoy may set, or that tell an inference gateway (Gateway API
/// Inference Extension, llm-d) who goes first, and where.
const RESERVED: [&[u8]; 9] = [
    b"x-waykeeper-",
    b"x-envoy-",
    b"x-gateway-inference-",
    b"x-gateway-model-name-rewrite",
    b"x-gateway-destination-endpoint",
    b"x-llm-d-",
    b"x-prefiller-",
    b"x-encoder-hosts-ports",
    b"x-data-parallel-host-port",
];

/// What a token may hold beside letters and digits. The hyphen stands last: so it may stand in a class of a pattern.
pub const TOKEN_MARKS: &str = "!#$%&'*+.^_`|~-";

/// True for headers that only the gateway or Envoy may set. From a caller they are removed.
#[must_use]
#[inline]
pub fn is_reserved(name: &[u8]) -> bool {
    // What these begin with: few of a request's names do.
    let maybe = matches!(
        name,
        [
            b'x' | b'X',
            b'-' | b'_',
            b'w' | b'W' | b'e' | b'E' | b'g' | b'G' | b'l' | b'L' | b'p' | b'P' | b'd' | b'D',
            ..
        ]
    );
    maybe && RESERVED.iter().any(|prefix| begins_with(name, prefix))
}

/// True if an agent may read `name` as one that begins with `prefix`, which is in lower case.
#[must_use]
#[inline]
pub fn begins_with(name: &[u8], prefix: &[u8]) -> bool {
    name.len() >= prefix.len()
        && name.iter().zip(prefix).all(|(byte, wanted)| {
            byte.to_ascii_lowercase() == *wanted || (*byte == b'_' && *wanted == b'-')
        })
}

/// True if an agent may read `name` as `wanted`, which is in lower case.
#[must_use]
pub fn is_same(name: &[u8], wanted: &[u8]) -> bool {
    name.len() == wanted.len() && begins_with(name, wanted)
}

/// True if an agent may read both names as one.
#[must_use]
pub fn are_same(one: &[u8], other: &[u8]) -> bool {
    let folded = |byte: &u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    one.iter().map(folded).eq(other.iter().map(folded))
}

/// Whether `text` is a token (RFC 9110, section 5.6.2), as the names of headers and the schemes of credentials are.
#[must_use]
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(is_token_byte)
}

/// The token that `bytes` begin with; empty if they begin with none.
#[must_use]
pub fn token(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| !is_token_byte(byte));
    end.and_then(|end| bytes.get(..end)).unwrap_or(bytes)
}

fn is_token_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || TOKEN_MARKS.as_bytes().contains(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_known_however_they_are_spelled() {
        for name in [
            "x-waykeeper-client",
            "X_Waykeeper-Client",
            "x_envoy_retry_on",
            "x-envoy-",
            "X-Gateway-Inference-Fairness-Id",
            "x-gateway_inference-objective",
            "x-gateway-model-name-rewrite",
            "x-gateway-destination-endpoint",
            "x-gateway-destination-endpoint-subset",
            "x-llm-d-inference-fairness-id",
            "x_llm_d_slo_ttft_ms",
        ] {
            assert!(is_reserved(name.as_bytes()), "{name}");
        }
        for name in [
            "x-waykeeper",
            "x-way",
            "x-agent",
            ":path",
            "x-envoya",
            "x-gateway",
            "x-gateway-id",
            "x-llm-model",
        ] {
            assert!(!is_reserved(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_name_is_the_same_however_it_is_spelled() {
        assert!(is_same(b"X_Agent", b"x-agent"));
        assert!(!is_same(b"x-agents", b"x-agent"));
        assert!(!is_same(b"x-agen", b"x-agent"));
    }

    #[test]
    fn a_token_ends_before_the_first_byte_that_none_holds() {
        assert_eq!(token(b"Bearer key"), b"Bearer");
        assert_eq!(token(b"a=b"), b"a");
        assert_eq!(token(b" a"), b"");
        assert!(is_token(b"!#$%&'*+-.^_`|~9a"));
        assert!(!is_token(b""));
        assert!(!is_token("ä".as_bytes()));
    }
}
