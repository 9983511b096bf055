//! Certificates and keys that are there: whether they fit each other, and whether anybody will believe them. Envoy is not needed
//! for that.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::tls::Identity;
use crate::pem;

/// Tags of DER.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    /// The field that names it.
    pub(super) field: &'static str,
    pub(super) message: String,
    /// Whether Envoy takes none of it.
    pub(super) refused: bool,
}

/// For which time a certificate is made out: from when, and until when, as [`moment`] writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Validity {
    begins: String,
    ends: String,
}

// === impl Flaw ===

impl Flaw {
    fn refused(field: &'static str, message: String) -> Self {
        Self {
            field,
            message,
            refused: true,
        }
    }
}

/// What is wrong with a certificate and its key, both of which can be read.
pub(super) fn of_identity(identity: &Identity) -> Vec<Flaw> {
    let Identity { certificate, key } = identity;
    let chain = pem::certificates(certificate);
    let private = pem::key(key);
    let mut flaws = Vec::new();
    if let Err(wrong) = &private {
        flaws.push(Flaw::refused("key", wrong.clone()));
    }
    let chain = match chain {
        Ok(chain) => chain,
        Err(wrong) => {
            flaws.insert(0, Flaw::refused("certificate", wrong));
            return flaws;
        }
    };
    if let Some(message) = untimely(certificate, &chain) {
        flaws.insert(
            0,
            Flaw {
                field: "certificate",
                message,
                refused: false,
            },
        );
    }
    let provider: Arc<CryptoProvider> = Arc::new(rustls_graviola::default_provider());
    // A kind of key that is not known here Envoy may know.
    let private = private
        .ok()
        .and_then(|key| provider.key_provider.load_private_key(key).ok());
    let fits = private.map(|key| CertifiedKey::new(chain, key).keys_match());
    match fits {
        Some(Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch))) => flaws.push(
            Flaw::refused("key", format!("{key}: is not the key of {certificate}")),
        ),
        Some(Err(Error::InvalidCertificate(_))) => flaws.push(Flaw::refused(
            "certificate",
            format!("{certificate}: its first certificate cannot be read"),
        )),
        _ => {}
    }
    flaws
}

/// What is wrong with a file of authorities that can be read.
pub(super) fn of_authorities(field: &'static str, file: &str) -> Option<Flaw> {
    let authorities = match pem::certificates(file) {
        Ok(authorities) => authorities,
        Err(wrong) => return Some(Flaw::refused(field, wrong)),
    };
    // One that has gone is no matter beside others: the system's file has such.
    let messages = authorities
        .iter()
        .map(|it| untimely(file, std::slice::from_ref(it)));
    let messages: Option<Vec<String>> = messages.collect();
    Some(Flaw {
        field,
        message: messages?.into_iter().next()?,
        refused: false,
    })
}

/// What is said of the first certificate that has expired or is not valid yet.
fn untimely(file: &str, chain: &[CertificateDer<'_>]) -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let now = moment(now.as_secs());
    chain.iter().enumerate().find_map(|(index, certificate)| {
        let Validity { begins, ends } = validity(certificate)?;
        let which = match index {
            0 => "its certificate".to_owned(),
            index => format!("its certificate {}", index + 1),
        };
        if ends < now {
            Some(format!(
                "{file}: {which} expired on {}; who verifies it refuses it",
                day(&ends)?
            ))
        } else if begins > now {
            Some(format!(
                "{file}: {which} is not valid before {}; until then who verifies it refuses it",
                day(&begins)?
            ))
        } else {
            None
        }
    })
}

/// `2026-11-26` of `20261126…`.
fn day(moment: &str) -> Option<String> {
    let (year, month, day) = (moment.get(..4)?, moment.get(4..6)?, moment.get(6..8)?);
    Some(format!("{year}-{month}-{day}"))
}

/// A second since 1970 as GeneralizedTime writes it, so that moments compare as texts.
fn moment(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that a leap day is their last one; days are counted from the 1st of March of the year 0.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = match month {
        0..=9 => (month + 3, 0),
        _ => (month - 9, 1),
    };
    let year = year + era * 400 + later;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z")
}

/// For which time a certificate is made out (RFC 5280, 4.1).
fn validity(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (signed, _) = element(certificate, SEQUENCE)?;
    let rest = element(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = element(rest, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (_issuer, rest) = element(rest, SEQUENCE)?;
    let (validity, _) = element(rest, SEQUENCE)?;
    let (begins, rest) = time(validity)?;
    let (ends, _) = time(rest)?;
    Some(Validity { begins, ends })
}

fn time(der: &[u8]) -> Option<(String, &[u8])> {
    if let Some((text, rest)) = element(der, GENERALIZED_TIME) {
        return Some((std::str::from_utf8(text).ok()?.to_owned(), rest));
    }
    let (text, rest) = element(der, UTC_TIME)?;
    let text = std::str::from_utf8(text).ok()?;
    let century = match text.get(..2)? {
        year if year >= "50" => "19",
        _ => "20",
    };
    Some((format!("{century}{text}"), rest))
}

/// What an element with this tag holds, and what stands behind it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    if *found != tag {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ ..0x80 => (usize::from(short), rest),
        long => {
            let (length, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let length = length.iter().try_fold(0_usize, |sum, byte| {
                sum.checked_mul(256)?.checked_add(usize::from(*byte))
            });
            (length?, rest)
        }
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_certificates_write_them() {
        for (seconds, written) in [
            (0, "19700101000000Z"),
            (951_782_399, "20000228235959Z"),
            (951_782_400, "20000229000000Z"),
            (951_868_800, "20000301000000Z"),
            (1_709_210_096, "20240229123456Z"),
            (4_107_542_399, "21000228235959Z"),
            (4_107_542_400, "21000301000000Z"),
        ] {
            assert_eq!(moment(seconds), written);
        }
    }

    #[test]
    fn a_time_is_read_in_both_forms_and_nothing_is_read_beyond_its_end() {
        let of = |der: &[u8]| time(der).map(|(text, rest)| (text, rest.to_vec()));
        let utc = b"\x17\x0d500101000000Z\x05";
        assert_eq!(of(utc), Some(("19500101000000Z".to_owned(), vec![5])));
        let utc = b"\x17\x0d491231235959Z";
        assert_eq!(of(utc), Some(("20491231235959Z".to_owned(), vec![])));
        let general = b"\x18\x0f20500101000000Z";
        assert_eq!(of(general), Some(("20500101000000Z".to_owned(), vec![])));
        for cut in 0..general.len() {
            assert_eq!(of(&general[..cut]), None);
        }
        assert_eq!(
            element(b"\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff", SEQUENCE),
            None
        );
        assert_eq!(element(b"\x30\x89\x01\0\0\0\0\0\0\0\0", SEQUENCE), None);
    }
}
