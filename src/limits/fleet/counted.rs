//! A limit that is counted for all gateways: what the service is told of it, and how long its windows last.

use std::rc::Rc;
use std::time::Duration;

use super::entries::{self, unit};
use super::protocol::{DescriptorStatus, Entry, RateLimitDescriptor, RateLimitOverride, Unit};
use super::{LEAST_SHARE, PARTS, Told, lasts};
use crate::config::policy::{self, Limit, Rate, Scope, Subject};
use crate::limits::Rule;
use crate::limits::algorithm::Level;
use crate::limits::place::Places;
use crate::limits::subject::Asked;
use crate::state::Hashed;

/// One such limit.
#[derive(Debug)]
pub(super) struct Counted {
    /// The limit, as callers are told of it.
    pub(super) whole: Rc<Rule>,
    /// What a process has of it while the service does not answer.
    pub(super) part: Rc<Rule>,
    /// What stands in each of its descriptors.
    pub(super) entries: Vec<(String, String)>,
    pub(super) subjects: Box<[Subject]>,
    pub(super) scope: Option<Box<Scope>>,
    pub(super) quantity: u32,
    pub(super) unit: Unit,
    pub(super) window: Duration,
    /// 0: there is none.
    pub(super) share: u32,
    pub(super) salt: u64,
}

impl Counted {
    pub(super) fn new(
        fleet: &policy::Fleet,
        places: &Places,
        limit: &Limit,
        of: &[&str],
        entry: Option<(&str, &str)>,
    ) -> Self {
        let rate = limit.rate;
        let part = Limit {
            rate: Rate {
                quantity: (rate.quantity / u64::from(fleet.gateways)).max(1),
                ..rate
            },
            ..limit.clone()
        };
        let quantity = u32::try_from(rate.quantity).unwrap_or(u32::MAX);
        let share = quantity / PARTS.saturating_mul(fleet.gateways);
        let entries = entries::fixed(limit, entry).into_iter();
        let entries = entries.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            salt: places.salt(limit, of),
            whole: Rc::new(Rule::new(places, limit, None, of, false)),
            part: Rc::new(Rule::new(places, &part, None, of, false)),
            entries: entries.collect(),
            subjects: limit.each.subjects().into(),
            scope: (limit.scope != Scope::default()).then(|| Box::new(limit.scope.clone())),
            quantity,
            unit: unit(rate),
            window: match rate.period {
                // The shortest of all months.
                Rate::MONTH => Duration::from_secs(28 * 86_400),
                period => period,
            },
            share: if share < LEAST_SHARE { 0 } else { share },
        }
    }

    /// How long the window of its descriptor still lasts: no longer than windows are.
    pub(super) fn lasts(&self, status: &DescriptorStatus) -> Option<Duration> {
        let longest = match self.unit {
            Unit::Month => Duration::from_secs(31 * 86_400),
            _ => self.window,
        };
        lasts(status).map(|it| it.min(longest))
    }

    pub(super) fn told(&self, remaining: u64, reset: Duration) -> Told {
        Told {
            whole: Rc::clone(&self.whole),
            level: Level {
                remaining,
                next: reset,
                full: reset,
            },
        }
    }

    /// What the service is told: the limit's name, its plan if it is one's, and each that it is counted per.
    pub(super) fn descriptor(&self, places: &Places, asked: &Asked<'_>) -> RateLimitDescriptor {
        let entry = |(key, value)| Entry { key, value };
        let mut entries: Vec<_> = self.entries.iter().cloned().map(entry).collect();
        for subject in &self.subjects {
            entries.push(entry(places.in_words(subject, asked)));
        }
        RateLimitDescriptor {
            entries,
            limit: Some(RateLimitOverride {
                requests_per_unit: self.quantity,
                unit: self.unit.into(),
            }),
            hits_addend: None,
            is_negative_hits: false,
        }
    }

    /// By which the share of it is known that a request takes from. `None`: the request lacks what it is counted per.
    pub(super) fn key(&self, places: &Places, asked: &Asked<'_>) -> Option<Hashed> {
        let Hashed { cell, tag } = places.hash_of(&self.subjects, asked)?;
        let tag = tag ^ self.salt;
        Some(Hashed { cell, tag })
    }
}
