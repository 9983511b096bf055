//! What is asked: which counters, how much, and up to which limit. A question is checked before any store hears of it.

use sha2::{Digest, Sha256};

use super::protocol::{RateLimitDescriptor, RateLimitRequest, Unit};
use super::window::Span;

/// So many descriptors a question may have: what one turn of a store may cost.
const MOST_DESCRIPTORS: usize = 64;

/// One question, of at least one part. All of it is counted, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) parts: Vec<Part>,
}

/// What one descriptor asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) counter: Counter,
    pub(super) limit: u32,
    pub(super) hits: u64,
    /// The hits are given back.
    pub(super) back: bool,
}

/// What is counted in one place: a descriptor's entries and the length of the window. The limit is not part of it, so that a
/// limit that is changed goes on from where it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Counter {
    pub(super) span: Span,
    pub(super) id: Id,
}

/// Half of the SHA-256 of a domain and a descriptor's entries. So nobody's name lies in memory, on disk or in Redis, and each
/// counter takes the same room.
pub(super) type Id = u128;

impl Question {
    /// # Errors
    /// What is wrong with the request, for whoever configured its sender. It repeats no value.
    pub(super) fn read(request: &RateLimitRequest) -> Result<Self, String> {
        if request.domain.is_empty() {
            return Err("the request has no domain".to_owned());
        }
        let count = request.descriptors.len();
        if count == 0 || count > MOST_DESCRIPTORS {
            return Err(format!(
                "the request has {count} descriptors; there may be 1 to {MOST_DESCRIPTORS}"
            ));
        }
        let otherwise = request.hits_addend.max(1);
        let read = |(index, descriptor)| {
            Part::read(&request.domain, descriptor, otherwise)
                .map_err(|wrong| format!("descriptors[{index}] {wrong}"))
        };
        let parts: Result<_, _> = request.descriptors.iter().enumerate().map(read).collect();
        Ok(Self { parts: parts? })
    }
}

impl Part {
    fn read(domain: &str, descriptor: &RateLimitDescriptor, hits: u32) -> Result<Self, String> {
        if descriptor.entries.is_empty() {
            return Err("has no entries".to_owned());
        }
        if descriptor.entries.iter().any(|entry| entry.key.is_empty()) {
            return Err("has an entry without a key".to_owned());
        }
        let Some(limit) = &descriptor.limit else {
            return Err(
                "brings no limit, and this service knows none of its own: whoever asks must send one"
                    .to_owned(),
            );
        };
        let multiplier = limit.unit_multiplier.unwrap_or(1);
        let unit = Unit::try_from(limit.unit).unwrap_or(Unit::Unknown);
        let Some(span) = Span::new(unit, multiplier) else {
            return Err(format!(
                "has a limit per {multiplier} units of number {}; there may be seconds, minutes, hours, days, months and \
                 years, up to a thousand years",
                limit.unit
            ));
        };
        Ok(Self {
            counter: Counter {
                span,
                id: id(domain, descriptor),
            },
            limit: limit.requests_per_unit,
            hits: descriptor.hits_addend.unwrap_or_else(|| hits.into()),
            back: descriptor.is_negative_hits,
        })
    }
}

fn id(domain: &str, descriptor: &RateLimitDescriptor) -> Id {
    let mut hash = Sha256::new();
    // With their lengths, so that no two lists run together into one.
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    add(domain);
    for entry in &descriptor.entries {
        add(&entry.key);
        add(&entry.value);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let (half, _) = hash.split_first_chunk().unwrap_or((&[0; 16], &[]));
    u128::from_be_bytes(*half)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::limiter::protocol::{Entry, RateLimitOverride};

    /// A descriptor of one entry for each value.
    pub(in crate::limiter) fn descriptor(
        values: &[&str],
        requests_per_unit: u32,
        unit: Unit,
    ) -> RateLimitDescriptor {
        let entry = |value: &&str| Entry {
            key: "client".to_owned(),
            value: (*value).to_owned(),
        };
        RateLimitDescriptor {
            entries: values.iter().map(entry).collect(),
            limit: Some(RateLimitOverride {
                requests_per_unit,
                unit: unit.into(),
                unit_multiplier: None,
            }),
            ..RateLimitDescriptor::default()
        }
    }

    pub(in crate::limiter) fn question(descriptors: Vec<RateLimitDescriptor>) -> Question {
        let request = RateLimitRequest {
            domain: "waykeeper".to_owned(),
            descriptors,
            hits_addend: 0,
        };
        Question::read(&request).unwrap()
    }

    fn id_of(domain: &str, entries: &[(&str, &str)]) -> Id {
        let entry = |(key, value): &(&str, &str)| Entry {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        let descriptor = RateLimitDescriptor {
            entries: entries.iter().map(entry).collect(),
            ..RateLimitDescriptor::default()
        };
        id(domain, &descriptor)
    }

    #[test]
    fn a_descriptors_hits_go_before_the_requests_and_unset_is_one() {
        let mut own = descriptor(&["a"], 5, Unit::Hour);
        own.hits_addend = Some(0);
        let other = descriptor(&["b"], 5, Unit::Hour);
        let mut request = RateLimitRequest {
            domain: "d".to_owned(),
            descriptors: vec![own, other],
            hits_addend: 3,
        };
        let hits = |request: &RateLimitRequest| -> Vec<u64> {
            let parts = Question::read(request).unwrap().parts;
            parts.iter().map(|part| part.hits).collect()
        };
        assert_eq!(hits(&request), [0, 3]);
        request.hits_addend = 0;
        assert_eq!(hits(&request), [0, 1]);
    }

    #[test]
    fn counters_differ_by_domain_and_by_each_boundary_of_their_entries() {
        let ids = [
            id_of("d", &[("ab", "c")]),
            id_of("d", &[("a", "bc")]),
            id_of("d", &[("ab", "c"), ("", "")]),
            id_of("da", &[("b", "c")]),
            id_of("d", &[("c", "ab")]),
            id_of("d", &[("a", "b"), ("c", "d")]),
            id_of("d", &[("c", "d"), ("a", "b")]),
        ];
        for (index, id) in ids.iter().enumerate() {
            assert_eq!(ids.iter().position(|other| other == id), Some(index));
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_a_value() {
        let secret = "acme-secret";
        let bare = RateLimitDescriptor {
            limit: None,
            ..descriptor(&[secret], 5, Unit::Hour)
        };
        let unitless = descriptor(&[secret], 5, Unit::Unknown);
        let empty = descriptor(&[], 5, Unit::Hour);
        let mut keyless = descriptor(&[secret], 5, Unit::Hour);
        keyless.entries[0].key.clear();
        let many = vec![descriptor(&[secret], 5, Unit::Hour); 65];
        for (domain, descriptors, said) in [
            (
                "",
                vec![descriptor(&[secret], 5, Unit::Hour)],
                "has no domain",
            ),
            ("d", vec![], "has 0 descriptors"),
            ("d", many, "has 65 descriptors"),
            (
                "d",
                vec![descriptor(&[secret], 5, Unit::Hour), bare],
                "descriptors[1] brings no limit",
            ),
            (
                "d",
                vec![unitless],
                "descriptors[0] has a limit per 1 units of number 0",
            ),
            ("d", vec![empty], "descriptors[0] has no entries"),
            (
                "d",
                vec![keyless],
                "descriptors[0] has an entry without a key",
            ),
        ] {
            let request = RateLimitRequest {
                domain: domain.to_owned(),
                descriptors,
                hits_addend: 0,
            };
            let wrong = Question::read(&request).unwrap_err();
            assert!(wrong.contains(said), "{wrong}");
            assert!(!wrong.contains(secret), "{wrong}");
        }
    }
}
