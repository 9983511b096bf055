//! A client, and the few bytes in which it is remembered.

use super::{KeyHash, KeyId};
use crate::config::policy::{Limit, PlanId};
use crate::text::names::LONGEST_NAME;

const _: () = assert!(LONGEST_NAME <= u8::MAX as usize);

/// Who calls, as the configuration or the validator names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// The plan as the validator named it; `None`: it named none.
    pub plan_name: Option<String>,
    /// The plan in force.
    pub plan: Option<PlanId>,
    /// Its team.
    pub team: Option<String>,
    /// Its organisation.
    pub organisation: Option<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// Its own limits, in place of its plan's. `None`: it has its plan's.
    pub limits: Option<Vec<Limit>>,
    /// By which key it has come.
    pub key: KeyId,
}

impl Client {
    /// True if the client has one of `roles`, or none is asked for.
    #[must_use]
    pub fn has_one_of(&self, roles: &[String]) -> bool {
        roles.is_empty() || roles.iter().any(|role| self.roles.contains(role))
    }

    /// The client as it is remembered: its id, plan, team and organisation, each with its length before it, in one byte
    /// ([`LONGEST_NAME`]), an absent one with length 0; the number of its own limits and one, or 0 for none of its own; each of
    /// these; its roles. The plan's place and the key are left out: one depends on the configuration, the other leads
    /// here.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let optional = |name: &Option<String>| name.clone().unwrap_or_default();
        let mut bytes = Vec::new();
        let named = [&self.plan_name, &self.team, &self.organisation].map(optional);
        push(&mut bytes, self.id.as_bytes());
        for name in &named {
            push(&mut bytes, name.as_bytes());
        }
        let limits = self.limits.as_deref();
        let number = limits.map_or(0, |limits| limits.len() + 1);
        bytes.push(u8::try_from(number).unwrap_or(0));
        for limit in limits.unwrap_or_default() {
            own::encode(limit, &mut bytes);
        }
        for role in &self.roles {
            push(&mut bytes, role.as_bytes());
        }
        bytes
    }

    /// The client that was remembered so, of the key with this hash. Its plan's place is still open.
    #[must_use]
    pub fn decode(bytes: &[u8], key: &KeyHash) -> Option<Self> {
        let mut rest = Rest(bytes);
        let id = rest.name()?;
        let [plan_name, team, organisation] = [rest.name()?, rest.name()?, rest.name()?]
            .map(|name| (!name.is_empty()).then_some(name));
        let limits = match rest.bytes()? {
            [0] => None,
            [number] => (1..number)
                .map(|_| own::decode(&mut rest))
                .collect::<Option<Vec<_>>>()
                .map(Some)?,
        };
        let roles = std::iter::from_fn(|| rest.name()).collect();
        Some(Self {
            id,
            plan_name,
            plan: None,
            team,
            organisation,
            roles,
            limits,
            key: key.id(),
        })
    }
}

/// A name with its length before it.
fn push(bytes: &mut Vec<u8>, name: &[u8]) {
    bytes.push(u8::try_from(name.len()).unwrap_or(0));
    bytes.extend(name);
}

/// What is still to be read of a client that was remembered.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, behind) = self.0.split_first_chunk()?;
        self.0 = behind;
        Some(*bytes)
    }

    fn name(&mut self) -> Option<String> {
        let [length] = self.bytes()?;
        let (name, behind) = self.0.split_at_checked(usize::from(length))?;
        self.0 = behind;
        String::from_utf8(name.to_vec()).ok()
    }
}

/// A client's own limits, as they are remembered.
mod own {
    use std::time::Duration;

    use super::{Rest, push};
    use crate::config::policy::{Algorithm, Each, Limit, Rate, Scope, Subject};

    pub(super) fn encode(limit: &Limit, bytes: &mut Vec<u8>) {
        push(bytes, limit.name.as_bytes());
        let (algorithm, utc_offset) = match limit.algorithm {
            Algorithm::TokenBucket => (0_u8, 0),
            Algorithm::SlidingWindow => (1, 0),
            Algorithm::FixedWindow { utc_offset } => (2, utc_offset),
        };
        bytes.extend([algorithm, limit.warn_at.unwrap_or(0), limit.enforce]);
        bytes.extend(utc_offset.to_le_bytes());
        for word in [
            limit.rate.quantity,
            limit.rate.period.as_secs(),
            limit.rate.burst,
        ] {
            bytes.extend(word.to_le_bytes());
        }
    }

    pub(super) fn decode(rest: &mut Rest<'_>) -> Option<Limit> {
        let name = rest.name()?;
        let [algorithm, warn_at, enforce] = rest.bytes()?;
        let utc_offset = i32::from_le_bytes(rest.bytes()?);
        let mut word = || rest.bytes().map(u64::from_le_bytes);
        Some(Limit {
            name,
            each: Each::new([Subject::Client]),
            scope: Scope::default(),
            rate: Rate {
                quantity: word()?,
                period: Duration::from_secs(word()?),
                burst: word()?,
            },
            algorithm: match algorithm {
                0 => Algorithm::TokenBucket,
                1 => Algorithm::SlidingWindow,
                2 => Algorithm::FixedWindow { utc_offset },
                _ => return None,
            },
            warn_at: (warn_at > 0).then_some(warn_at),
            enforce,
        })
    }
}
