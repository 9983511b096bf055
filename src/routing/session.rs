//! Sessions that agents name. Envoy puts the address of the host that has named one beside its name (the envelope), so that
//! it finds the way back. Whoever could read that would know the agent's hosts, and whoever could write it would reach any of
//! them. So callers are given it sealed: encrypted, and bound to the agent and to the client whose session it is.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

use crate::host::Sensitive;

/// Drawn at random for each seal: so long that no two are ever the same, however many are drawn.
pub const NONCE_BYTES: usize = 24;

/// What is longer than this was not sealed here. Agents' names of sessions are some dozens of characters.
const LONGEST: usize = 4096;

/// What stands in an envelope between the host and the session's name, both in base64.
const BETWEEN: &[u8] = b";UV:";

/// What seals sessions, and opens what this or another gateway has sealed.
pub struct Sessions {
    /// The first one seals.
    ciphers: Vec<XChaCha20Poly1305>,
}

/// Whose session it is.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The agent that has named it.
    pub agent: &'a str,
    /// The client that has begun it; none if that was anybody.
    pub client: Option<&'a str>,
}

impl Sessions {
    /// What seals with the first of these keys and opens with all.
    #[must_use]
    pub fn new(keys: &[Sensitive<[u8; 32]>]) -> Self {
        let ciphers = keys.iter().map(|key| XChaCha20Poly1305::new(&key.0.into()));
        Self {
            ciphers: ciphers.collect(),
        }
    }

    /// An envelope sealed: letters, digits, `-` and `_`. `None`: there is no key, or it is longer than any session.
    #[must_use]
    pub fn seal(
        &self,
        owner: Owner<'_>,
        nonce: [u8; NONCE_BYTES],
        envelope: &[u8],
    ) -> Option<String> {
        let text = owner.text();
        let payload = Payload {
            msg: envelope,
            aad: &text,
        };
        let cipher = self.ciphers.first()?;
        let encrypted = cipher.encrypt(&XNonce::from(nonce), payload).ok()?;
        let sealed = URL_SAFE_NO_PAD.encode([&nonce[..], &encrypted].concat());
        (sealed.len() <= LONGEST).then_some(sealed)
    }

    /// The envelope that was sealed for this owner. `None`: it was not, or with no key that is known here.
    #[must_use]
    pub fn open(&self, owner: Owner<'_>, sealed: &[u8]) -> Option<Sensitive<Vec<u8>>> {
        if sealed.len() > LONGEST {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, encrypted) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let text = owner.text();
        let mut opened = self.ciphers.iter().filter_map(|cipher| {
            let payload = Payload {
                msg: encrypted,
                aad: &text,
            };
            cipher.decrypt(&XNonce::from(*nonce), payload).ok()
        });
        opened.next().map(Sensitive)
    }
}

/// Of the keys it shows nothing.
impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Owner<'_> {
    /// What a seal is bound to. No two owners have the same: agents' names hold no zero byte.
    fn text(&self) -> Vec<u8> {
        let client = self.client.map_or([&b"anybody"[..], b""], |client| {
            [b"client ", client.as_bytes()]
        });
        let [kind, client] = client;
        [
            b"waykeeper session 1\0",
            self.agent.as_bytes(),
            b"\0",
            kind,
            client,
        ]
        .concat()
    }
}

/// An envelope with which Envoy finds this host, beside the name of nothing.
#[must_use]
pub fn envelope(host: &[u8]) -> Vec<u8> {
    let host = STANDARD.encode(host);
    [host.as_bytes(), BETWEEN, b"LQ=="].concat()
}

/// Whether this is an envelope of Envoy's, and not what the agent itself has said.
#[must_use]
pub fn is_envelope(value: &[u8]) -> bool {
    value.windows(BETWEEN.len()).any(|window| window == BETWEEN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ENVELOPE: &[u8] = b"MTAuMC4wLjE6OTAwMA==;UV:YWJj";

    fn sessions(keys: &[u8]) -> Sessions {
        let keys: Vec<_> = keys.iter().map(|key| Sensitive([*key; 32])).collect();
        Sessions::new(&keys)
    }

    fn owner<'a>(agent: &'a str, client: Option<&'a str>) -> Owner<'a> {
        Owner { agent, client }
    }

    fn opened(sessions: &Sessions, owner: Owner<'_>, sealed: &str) -> Option<Vec<u8>> {
        sessions.open(owner, sealed.as_bytes()).map(|it| it.0)
    }

    #[test]
    fn keys_are_replaced_one_by_one() {
        let (old, both, new) = (sessions(&[1]), sessions(&[2, 1]), sessions(&[2]));
        let owner = owner("tools", Some("acme"));
        let by_old = old.seal(owner, [9; NONCE_BYTES], ENVELOPE).unwrap();
        let by_both = both.seal(owner, [9; NONCE_BYTES], ENVELOPE).unwrap();
        let whole = Some(ENVELOPE.to_vec());
        assert_eq!(opened(&both, owner, &by_old), whole);
        assert_eq!(opened(&both, owner, &by_both), whole);
        assert_eq!(opened(&new, owner, &by_both), whole);
        assert_eq!(opened(&new, owner, &by_old), None);
        assert_eq!(opened(&old, owner, &by_both), None);
    }

    #[test]
    fn a_session_is_its_owners() {
        let sessions = sessions(&[1]);
        let owners = [
            owner("tools", Some("acme")),
            owner("tools", Some("acme2")),
            owner("tools", Some("anybody")),
            owner("tools", Some("")),
            owner("tools", None),
            owner("tool", Some("acme")),
            owner("tool", None),
        ];
        for (index, mine) in owners.iter().enumerate() {
            let sealed = sessions.seal(*mine, [9; NONCE_BYTES], ENVELOPE).unwrap();
            for (other, theirs) in owners.iter().enumerate() {
                let opened = opened(&sessions, *theirs, &sealed);
                assert_eq!(opened.is_some(), index == other, "{mine:?} {theirs:?}");
            }
        }
    }

    #[test]
    fn what_was_not_sealed_does_not_open() {
        let (sessions, owner) = (sessions(&[1]), owner("tools", None));
        for bytes in [0, 1, 23, 24, 39, 40, 41, 200] {
            let forged = URL_SAFE_NO_PAD.encode(vec![7; bytes]);
            assert_eq!(opened(&sessions, owner, &forged), None, "{bytes}");
        }
        let envelope = std::str::from_utf8(ENVELOPE).unwrap();
        for forged in ["", "=", "a session", envelope, &"A".repeat(5_000)] {
            assert_eq!(opened(&sessions, owner, forged), None, "{forged}");
        }
        let sealed = sessions.seal(owner, [9; NONCE_BYTES], ENVELOPE).unwrap();
        for other in [
            sealed.to_ascii_uppercase(),
            format!("{sealed}="),
            format!("{sealed},{sealed}"),
            format!("{sealed}A"),
        ] {
            assert_eq!(opened(&sessions, owner, &other), None, "{other}");
        }
    }

    #[test]
    fn nothing_is_sealed_that_would_not_open_again() {
        let (sessions, owner) = (sessions(&[1]), owner("tools", None));
        for length in [2_900, 3_020, 3_030, 3_040, 3_100] {
            let envelope = vec![b'a'; length];
            let sealed = sessions.seal(owner, [9; NONCE_BYTES], &envelope);
            let opened = sealed.map(|sealed| opened(&sessions, owner, &sealed));
            assert!(opened.is_none_or(|opened| opened == Some(envelope)));
        }
        assert_eq!(Sessions::new(&[]).seal(owner, [9; NONCE_BYTES], b"a"), None);
    }

    #[test]
    fn an_envelope_is_told_from_what_an_agent_says() {
        assert!(is_envelope(ENVELOPE));
        for other in [&b""[..], b"1234", b"UV:", b"a;b", b"a;uv:b"] {
            assert!(!is_envelope(other));
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_whole_and_can_stand_in_a_header(
            envelope in prop::collection::vec(any::<u8>(), 0..600),
            nonce: [u8; NONCE_BYTES],
            client in prop::option::of("[a-z@.-]{1,20}"),
        ) {
            let sessions = sessions(&[1]);
            let owner = owner("tools", client.as_deref());
            let sealed = sessions.seal(owner, nonce, &envelope).unwrap();
            prop_assert!(sealed.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(opened(&sessions, owner, &sealed), Some(envelope));
        }

        #[test]
        fn whatever_is_changed_in_a_seal_it_does_not_open(
            nonce: [u8; NONCE_BYTES],
            place: prop::sample::Index,
            bit in 0_u8..8,
            cut: prop::sample::Index,
        ) {
            let (sessions, owner) = (sessions(&[1]), owner("tools", Some("acme")));
            let sealed = sessions.seal(owner, nonce, ENVELOPE).unwrap();
            let mut bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            let flipped = URL_SAFE_NO_PAD.encode(&bytes);
            prop_assert_eq!(opened(&sessions, owner, &flipped), None);
            let cut = &sealed[..cut.index(sealed.len())];
            prop_assert_eq!(opened(&sessions, owner, cut), None);
        }

        #[test]
        fn anything_may_be_sent_in_a_sessions_place(sent in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(sessions(&[1, 2]).open(owner("tools", None), &sent).is_none());
        }
    }
}
