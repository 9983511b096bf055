//! The decision on several limits at once: all of them take the request, or none does.
//!
//! Limits in one cell are decided by one compare-and-swap. Several cells are all looked at first, then taken in the order
//! of their numbers, the same in every worker, and given back if one has filled up meanwhile. In that moment another
//! request may find them fuller than a strictly serial order would have had them; never emptier.

use std::rc::Rc;

use super::Rule;
use super::gcra::{Gcra, Level, Refused};
use super::headers::{self, seconds_up};
use crate::host::{CellName, Host, Swap, Timestamp, Version};
use crate::state::counters::Records;
use crate::state::{Decision, Grid, StateError};

/// A limit and the record that it decides on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) rule: &'a Rc<Rule>,
    pub(super) cell: CellName,
    pub(super) tag: u64,
}

/// What came of counting a request.
#[derive(Debug, Default)]
pub struct Count {
    standings: Vec<Standing>,
    refused: bool,
}

/// How a limit stands after a decision.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) rule: Rc<Rule>,
    pub(super) level: Level,
    pub(super) refused: bool,
    before: Option<Timestamp>,
}

impl Count {
    /// True if a limit is full; nothing was taken then.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// The names of the limits that are full.
    pub fn full(&self) -> impl Iterator<Item = &str> {
        self.standings
            .iter()
            .filter(|standing| standing.refused)
            .map(|standing| standing.rule.name.as_str())
    }

    /// The fields that tell the caller; none if nothing was counted.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        headers::fields(&self.standings)
    }

    /// Seconds until all limits that are full let one more request through.
    #[must_use]
    pub fn retry_after(&self) -> u64 {
        let full = self.standings.iter().filter(|standing| standing.refused);
        full.map(|standing| seconds_up(standing.level.next))
            .max()
            .unwrap_or(0)
    }

    /// Of a request that is refused, the levels without it are told.
    fn new(mut standings: Vec<Standing>, refused: bool, now: Timestamp) -> Self {
        if refused {
            for standing in &mut standings {
                standing.level = standing.rule.gcra.level(standing.before, now);
            }
        }
        Self { standings, refused }
    }

    /// This count, and behind it what another one found.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.standings.extend(other.standings);
        self.refused |= other.refused;
        self
    }
}

/// Counts a request against all claims, or against none of them. What comes back is in the claims' order.
pub(super) fn count<H: Host>(
    host: &H,
    claims: &[Claim<'_>],
    now: Timestamp,
) -> Result<Count, StateError> {
    match claims {
        [] => Ok(Count::default()),
        [first, others @ ..] if others.iter().all(|other| other.cell == first.cell) => {
            in_one_cell(host, first.cell, claims, now)
        }
        _ => in_several_cells(host, claims, now),
    }
}

/// What nearly every request needs: the limits of one client. To sort it, and to look first, as several cells need, would
/// be two per cent of all that the filter adds.
fn in_one_cell<H: Host>(
    host: &H,
    name: CellName,
    claims: &[Claim<'_>],
    now: Timestamp,
) -> Result<Count, StateError> {
    let (standings, refused) = Grid::update(host, name, |value| {
        let (after, standings) = decide(value, claims, now);
        match after {
            Some(after) => Decision::Replace(after, (standings, false)),
            None => Decision::Keep((standings, true)),
        }
    })?;
    if refused {
        mend(host, name, claims, &standings, now)?;
    }
    Ok(Count::new(standings, refused, now))
}

/// Looks at all cells, then takes them in the order of their numbers.
fn in_several_cells<H: Host>(
    host: &H,
    claims: &[Claim<'_>],
    now: Timestamp,
) -> Result<Count, StateError> {
    let mut sorted: Vec<(usize, Claim<'_>)> = claims.iter().copied().enumerate().collect();
    sorted.sort_by_key(|(_, claim)| claim.cell.number);
    let (order, sorted): (Vec<usize>, Vec<Claim<'_>>) = sorted.into_iter().unzip();
    let mut cells = Vec::new();
    for claims in sorted.chunk_by(|one, other| one.cell == other.cell) {
        cells.push(Cell::look(host, claims, now)?);
    }
    let mut refused = cells.iter().any(|cell| cell.after.is_none());
    let mut taken = 0;
    while !refused && let Some(cell) = cells.get_mut(taken) {
        refused = !cell.take(host, now)?;
        taken += usize::from(!refused);
    }
    if refused {
        for cell in cells.iter().take(taken) {
            cell.give_back(host, now)?;
        }
        for cell in &cells {
            mend(host, cell.name, cell.claims, &cell.standings, now)?;
        }
    }
    let standings = cells.into_iter().flat_map(|cell| cell.standings);
    let mut standings: Vec<_> = order.into_iter().zip(standings).collect();
    standings.sort_by_key(|(place, _)| *place);
    let standings = standings.into_iter().map(|(_, standing)| standing);
    Ok(Count::new(standings.collect(), refused, now))
}

/// A cell that was looked at, and what is to become of it.
struct Cell<'c, 'a> {
    claims: &'c [Claim<'a>],
    name: CellName,
    version: Version,
    /// The value with all claims taken; `None` if one of its limits is full.
    after: Option<Vec<u8>>,
    standings: Vec<Standing>,
}

impl<'c, 'a> Cell<'c, 'a> {
    fn look<H: Host>(
        host: &H,
        claims: &'c [Claim<'a>],
        now: Timestamp,
    ) -> Result<Self, StateError> {
        let name = claims
            .first()
            .map(|claim| claim.cell)
            .ok_or(StateError::NoCell)?;
        let (value, version) = host.read_cell(name).ok_or(StateError::NoCell)?;
        let (after, standings) = decide(value, claims, now);
        Ok(Self {
            claims,
            name,
            version,
            after,
            standings,
        })
    }

    /// Takes what was looked at, and looks again as often as another worker was faster. False: a limit has filled up
    /// meanwhile, and nothing was taken.
    fn take<H: Host>(&mut self, host: &H, now: Timestamp) -> Result<bool, StateError> {
        let after = self.after.take().unwrap_or_default();
        match host.swap_cell(self.name, &after, self.version) {
            Swap::Done => return Ok(true),
            Swap::Failed => return Err(StateError::Refused),
            Swap::Changed => {}
        }
        Grid::update(host, self.name, |value| {
            let (after, standings) = decide(value, self.claims, now);
            self.standings = standings;
            after.map_or(Decision::Keep(false), |after| {
                Decision::Replace(after, true)
            })
        })
    }

    /// Gives back what was taken.
    fn give_back<H: Host>(&self, host: &H, now: Timestamp) -> Result<(), StateError> {
        change_moments(host, self.name, self.claims, now, |gcra, moment| {
            gcra.give_back(moment)
        })
    }
}

/// Puts moments right that their limits cannot have.
fn mend<H: Host>(
    host: &H,
    cell: CellName,
    claims: &[Claim<'_>],
    standings: &[Standing],
    now: Timestamp,
) -> Result<(), StateError> {
    let is_impossible = |standing: &Standing| {
        let gcra = &standing.rule.gcra;
        standing
            .before
            .is_some_and(|moment| gcra.mended(moment, now).is_some())
    };
    if !standings.iter().any(is_impossible) {
        return Ok(());
    }
    change_moments(host, cell, claims, now, |gcra, moment| {
        gcra.mended(moment, now).unwrap_or(moment)
    })
}

/// Changes the moments of the claims that have one. In a full cell all stay: a moment may be another record's there,
/// and newcomers have started from it.
fn change_moments<H: Host>(
    host: &H,
    cell: CellName,
    claims: &[Claim<'_>],
    now: Timestamp,
    change: impl Fn(&Gcra, Timestamp) -> Timestamp,
) -> Result<(), StateError> {
    Grid::update(host, cell, |value| {
        let mut records = Records::read(value, now);
        if records.is_full() {
            return Decision::Keep(());
        }
        for Claim { rule, tag, .. } in claims {
            if let Some(moment) = records.get(*tag) {
                records.put(*tag, change(&rule.gcra, moment));
            }
        }
        Decision::Replace(records.into_bytes(), ())
    })
}

/// Decides on the claims of one cell: a pure function of its value and the time.
fn decide(
    value: Vec<u8>,
    claims: &[Claim<'_>],
    now: Timestamp,
) -> (Option<Vec<u8>>, Vec<Standing>) {
    let mut records = Records::read(value, now);
    let mut standings = Vec::with_capacity(claims.len());
    for Claim { rule, tag, .. } in claims {
        let before = records.get(*tag);
        let (level, refused) = match rule.gcra.take(before, now) {
            Ok((moment, level)) => {
                records.put(*tag, moment);
                (level, false)
            }
            Err(Refused(level)) => (level, true),
        };
        standings.push(Standing {
            rule: Rc::clone(rule),
            level,
            refused,
            before,
        });
    }
    let all_taken = standings.iter().all(|standing| !standing.refused);
    (all_taken.then(|| records.into_bytes()), standings)
}
