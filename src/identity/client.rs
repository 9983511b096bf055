//! A client, and the few bytes in which it is remembered.

use super::{KeyHash, KeyId};
use crate::config::policy::{LimitSet, PlanId};
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
    pub limits: Option<LimitSet>,
    /// By which key it has come.
    pub key: KeyId,
}

impl Client {
    /// True if the client has one of `roles`, or none is asked for.
    #[must_use]
    #[inline]
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
        match &self.limits {
            Some(set) => own::encode(set, &mut bytes),
            None => bytes.push(0),
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
            [number] => Some(own::decode(number, &mut rest)?),
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

/// A client's own limits, as they are remembered: each by its name, what kind it is, how hard, and four numbers.
mod own {
    use std::time::Duration;

    use super::{Rest, push};
    use crate::config::policy::{
        Algorithm, Each, InFlight, Limit, LimitSet, Queue, Rate, Scope, Span, Subject,
    };

    const TOKEN_BUCKET: u8 = 0;
    const SLIDING_WINDOW: u8 = 1;
    const FIXED_WINDOW: u8 = 2;
    const IN_FLIGHT: u8 = 3;
    const IN_FLEET: u8 = 4;

    struct One<'a> {
        name: &'a str,
        kind: u8,
        warn_at: Option<u8>,
        enforce: u8,
        utc_offset: i32,
        words: [u64; 3],
    }

    pub(super) fn encode(set: &LimitSet, bytes: &mut Vec<u8>) {
        let number = set.limits.len() + set.in_flight.len() + 1;
        bytes.push(u8::try_from(number).unwrap_or(0));
        set.limits.iter().for_each(|it| rate(it).encode(bytes));
        (set.in_flight.iter()).for_each(|it| at_once(it).encode(bytes));
    }

    pub(super) fn decode(number: u8, rest: &mut Rest<'_>) -> Option<LimitSet> {
        let mut set = LimitSet::default();
        for _ in 1..number {
            decode_one(rest, &mut set)?;
        }
        Some(set)
    }

    fn rate(limit: &Limit) -> One<'_> {
        let (kind, utc_offset) = match limit.algorithm {
            _ if limit.span == Span::Fleet => (IN_FLEET, 0),
            Algorithm::TokenBucket => (TOKEN_BUCKET, 0),
            Algorithm::SlidingWindow => (SLIDING_WINDOW, 0),
            Algorithm::FixedWindow { utc_offset } => (FIXED_WINDOW, utc_offset),
        };
        let Rate {
            quantity,
            period,
            burst,
        } = limit.rate;
        One {
            name: &limit.name,
            kind,
            warn_at: limit.warn_at,
            enforce: limit.enforce,
            utc_offset,
            words: [quantity, period.as_secs(), burst],
        }
    }

    fn at_once(limit: &InFlight) -> One<'_> {
        let queue = limit.queue.map(|it| [it.wait.as_secs(), it.most.into()]);
        let [wait, waiting] = queue.unwrap_or_default();
        One {
            name: &limit.name,
            kind: IN_FLIGHT,
            warn_at: limit.warn_at,
            enforce: limit.enforce,
            utc_offset: 0,
            words: [limit.most.into(), wait, waiting],
        }
    }

    impl One<'_> {
        fn encode(&self, bytes: &mut Vec<u8>) {
            push(bytes, self.name.as_bytes());
            bytes.extend([self.kind, self.warn_at.unwrap_or(0), self.enforce]);
            bytes.extend(self.utc_offset.to_le_bytes());
            for word in self.words {
                bytes.extend(word.to_le_bytes());
            }
        }
    }

    fn decode_one(rest: &mut Rest<'_>, set: &mut LimitSet) -> Option<()> {
        let name = rest.name()?;
        let [kind, warn_at, enforce] = rest.bytes()?;
        let utc_offset = i32::from_le_bytes(rest.bytes()?);
        let mut word = || rest.bytes().map(u64::from_le_bytes);
        let [first, second, third] = [word()?, word()?, word()?];
        let (each, scope) = (Each::new([Subject::Client]), Scope::default());
        let warn_at = (warn_at > 0).then_some(warn_at);
        let number = |word: u64| u32::try_from(word).ok();
        if kind == IN_FLIGHT {
            let queue = Queue {
                wait: Duration::from_secs(second),
                most: number(third)?,
            };
            set.in_flight.push(InFlight {
                name,
                each,
                scope,
                most: number(first)?,
                queue: (second > 0).then_some(queue),
                warn_at,
                enforce,
                share: None,
            });
            return Some(());
        }
        set.limits.push(Limit {
            name,
            each,
            scope,
            rate: Rate {
                quantity: first,
                period: Duration::from_secs(second),
                burst: third,
            },
            algorithm: match kind {
                TOKEN_BUCKET => Algorithm::TokenBucket,
                SLIDING_WINDOW => Algorithm::SlidingWindow,
                FIXED_WINDOW | IN_FLEET => Algorithm::FixedWindow { utc_offset },
                _ => return None,
            },
            span: if kind == IN_FLEET {
                Span::Fleet
            } else {
                Span::Process
            },
            warn_at,
            enforce,
        });
        Some(())
    }
}
