//! What counting a request came to.

use super::Rule;
use super::algorithm::Refused;
use super::fleet::Told;
use super::headers;
use super::in_flight::Tickets;
use super::standing::Standing;
use crate::config::policy::Tell;
use crate::host::{Timestamp, seconds_up};

/// What counting a request came to: how its limits stand, and a receipt for what it took of each.
///
/// Whoever drops it leaves everything taken: a request that ran counts. [`Limits::release`](super::Limits::release) and
/// [`Limits::settle`](super::Limits::settle) use the receipt up, so that nothing is given back twice.
#[derive(Debug, Default)]
pub struct Admission {
    pub(super) standings: Vec<Standing>,
    refused: bool,
}

/// A limit that does not let a request through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is counted per, in words.
    pub per: &'a str,
}

impl<'a> Full<'a> {
    fn of(standing: &'a Standing) -> Self {
        Self::of_rule(&standing.rule)
    }

    pub(super) fn of_rule(rule: &'a Rule) -> Self {
        Self {
            name: &rule.name,
            per: &rule.per,
        }
    }
}

impl Admission {
    /// Of a request that is refused, the levels without it are told.
    pub(super) fn new(mut standings: Vec<Standing>, refused: bool) -> Self {
        if refused {
            for standing in &mut standings {
                standing.take_nothing();
            }
        }
        Self { standings, refused }
    }

    /// How limits stand of which nothing was asked.
    pub(super) fn looked_at(standings: Vec<Standing>) -> Self {
        Self {
            refused: false,
            ..Self::new(standings, true)
        }
    }

    /// True if a limit is full; nothing was taken then.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// The limits that do not let the request through.
    pub fn full(&self) -> impl Iterator<Item = Full<'_>> {
        let refusing = |standing: &&Standing| standing.enforced && standing.refused.is_some();
        self.standings.iter().filter(refusing).map(Full::of)
    }

    /// The limits that never let such a request through: it asks for more than their burst. There is no wait to be told of them.
    pub fn too_small(&self) -> impl Iterator<Item = Full<'_>> {
        let never =
            |standing: &&Standing| standing.enforced && standing.refused == Some(Refused::TooLarge);
        self.standings.iter().filter(never).map(Full::of)
    }

    /// True if there is anything in [`Self::warning`] or [`Self::would_refuse`].
    #[must_use]
    pub fn has_remarks(&self) -> bool {
        let remarkable = |standing: &Standing| {
            standing.rule.warn_at.is_some() || !standing.enforced && standing.refused.is_some()
        };
        self.standings.iter().any(remarkable)
    }

    /// The names of the limits of which so much is used that the caller is warned.
    pub fn warning(&self) -> impl Iterator<Item = &str> {
        let warn = |standing: &&Standing| !self.refused && standing.warns();
        let standings = self.standings.iter().filter(warn);
        standings.map(|standing| standing.rule.name.as_str())
    }

    /// The names of the limits that would not have let the request through if they were in force for it.
    pub fn would_refuse(&self) -> impl Iterator<Item = &str> {
        let would = |standing: &&Standing| !standing.enforced && standing.refused.is_some();
        let standings = self.standings.iter().filter(would);
        standings.map(|standing| standing.rule.name.as_str())
    }

    /// The fields of `tell` that tell the caller; none if nothing was counted.
    #[must_use]
    pub fn fields(&self, tell: Tell) -> Vec<(&'static str, String)> {
        let mut fields = Vec::new();
        self.each_field(tell, None, &[], |name, value| {
            fields.push((name, value.to_owned()));
        });
        fields
    }

    /// Tells each of [`Self::fields`] on its own; beside these limits those in the fleet, and the warning also of the bounds under
    /// which these tickets are.
    pub fn each_field(
        &self,
        tell: Tell,
        tickets: Option<&Tickets>,
        fleet: &[Told],
        told: impl FnMut(&'static str, &str),
    ) {
        let mut told = told;
        if tickets.is_some() || !fleet.is_empty() || self.has_remarks() {
            let in_flight = tickets.into_iter().flat_map(Tickets::warning);
            let in_fleet = fleet.iter().filter_map(Told::warning);
            let warning: Vec<&str> = self.warning().chain(in_flight).chain(in_fleet).collect();
            headers::warning(&warning, &mut told);
        }
        headers::each_field(&self.standings, fleet, tell, told);
    }

    /// The moment from which all limits let one more such request through, those included that this one has just emptied.
    /// `None`: they do already.
    #[must_use]
    pub fn opens(&self) -> Option<Timestamp> {
        self.standings.iter().filter_map(Standing::opens).max()
    }

    /// Whole seconds from `now` until all limits let one more such request through; 0 if they do.
    #[must_use]
    pub fn wait(&self, now: impl FnOnce() -> Timestamp) -> u64 {
        self.opens()
            .map_or(0, |opens| seconds_up(opens.since(now())))
    }

    /// What was taken is not given back, whatever becomes of the request.
    #[must_use]
    pub fn kept(mut self) -> Self {
        for standing in &mut self.standings {
            standing.taken = false;
        }
        self
    }

    /// This one, and behind it what another one found.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.standings.extend(other.standings);
        self.refused |= other.refused;
        self
    }
}
