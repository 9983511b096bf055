//! The decision on several limits at once: all of them take the request, or none does.
//!
//! Limits in one cell are decided by one compare-and-swap. Several cells are all looked at first, then taken in the order
//! of their names, the same in every worker, and given back if a limit has filled up meanwhile or a cell cannot be reached.
//! In that moment another request may find a bucket emptier than a strictly serial order would have left it; never fuller.
//!
//! What is decided is a pure function of a cell's value and of the time, which is read after it (see `weigh`).

use super::admission::Admission;
use super::receipt::Corrections;
use super::upkeep::Upkeep;
use super::weigh::{Claim, Weighed};
use crate::host::{CellName, Host, Swap, Version};
use crate::sort::sort_by_key;
use crate::state::{self, Decision, Grid, StateError};

/// Counts a request against all claims, or against none of them. What comes back is in the claims' order.
pub(super) fn count<H: Host>(
    host: &H,
    upkeep: &Upkeep,
    claims: &[Claim<'_>],
) -> Result<Admission, StateError> {
    match claims {
        [] => Ok(Admission::default()),
        [first, others @ ..] if others.iter().all(|other| other.cell == first.cell) => {
            in_one_cell(host, upkeep, first.cell, claims)
        }
        _ => in_several_cells(host, upkeep, claims),
    }
}

/// How the limits stand without a request that is refused for another reason. Nothing is taken.
pub(super) fn look<H: Host>(host: &H, claims: &[Claim<'_>]) -> Result<Admission, StateError> {
    let mut sorted = claims.to_vec();
    sort_by_key(&mut sorted, |claim| claim.cell);
    let cells = LookedAt::all(host, &sorted)?;
    let standings = cells.into_iter().flat_map(|cell| cell.weighed.standings);
    Ok(Admission::looked_at(standings.collect()))
}

/// What nearly every request needs: the limits of one client. To sort it, and to look first, as several cells need, would
/// be two per cent of all that the filter adds.
fn in_one_cell<H: Host>(
    host: &H,
    upkeep: &Upkeep,
    cell: CellName,
    claims: &[Claim<'_>],
) -> Result<Admission, StateError> {
    let decided = update(host, cell, claims)?;
    upkeep.forgotten(host, cell, decided.forgotten);
    Ok(Admission::new(decided.standings, decided.refused))
}

/// Looks at all cells, then takes them in the order of their names.
fn in_several_cells<H: Host>(
    host: &H,
    upkeep: &Upkeep,
    claims: &[Claim<'_>],
) -> Result<Admission, StateError> {
    let mut sorted: Vec<(usize, Claim<'_>)> = claims.iter().copied().enumerate().collect();
    sort_by_key(&mut sorted, |(_, claim)| claim.cell);
    let (order, sorted): (Vec<usize>, Vec<Claim<'_>>) = sorted.into_iter().unzip();
    let mut cells = LookedAt::all(host, &sorted)?;
    let full_at_once = cells.iter().any(|cell| cell.weighed.refused);
    let mut taken = 0;
    let mut came = Ok(!full_at_once);
    while came == Ok(true)
        && let Some(cell) = cells.get_mut(taken)
    {
        came = cell.take(host);
        taken += usize::from(came == Ok(true));
    }
    for cell in cells.iter().take(taken) {
        upkeep.forgotten(host, cell.name, cell.weighed.forgotten);
        if came != Ok(true) {
            let corrections = Corrections::to_nothing(&cell.weighed.standings, cell.name);
            upkeep.correct(host, corrections);
        }
    }
    let refused = !came?;
    if full_at_once {
        for cell in &mut cells {
            cell.leave(host, upkeep);
        }
    }
    let standings = cells.into_iter().flat_map(|cell| cell.weighed.standings);
    let mut standings: Vec<_> = order.into_iter().zip(standings).collect();
    sort_by_key(&mut standings, |(place, _)| *place);
    let standings = standings.into_iter().map(|(_, standing)| standing);
    Ok(Admission::new(standings.collect(), refused))
}

/// Decides on the claims of one cell, and writes what came of it.
fn update<H: Host>(host: &H, cell: CellName, claims: &[Claim<'_>]) -> Result<Weighed, StateError> {
    Grid::update(host, cell, |value| {
        let mut weighed = Weighed::new(value, host.now(), claims);
        let value = if weighed.refused {
            weighed.without()
        } else {
            Some(weighed.taken())
        };
        match value {
            Some(value) => Decision::Replace(value, weighed),
            None => Decision::Keep(weighed),
        }
    })
}

/// A cell that was looked at before anything is taken.
struct LookedAt<'c, 'a> {
    name: CellName,
    claims: &'c [Claim<'a>],
    version: Version,
    weighed: Weighed,
}

impl<'c, 'a> LookedAt<'c, 'a> {
    /// Looks at the cells of all claims, which are sorted by them. One look at the clock, after the last of them, serves all.
    fn all<H: Host>(host: &H, claims: &'c [Claim<'a>]) -> Result<Vec<Self>, StateError> {
        let mut values = Vec::new();
        for claims in claims.chunk_by(|one, other| one.cell == other.cell) {
            let name = claims.first().ok_or(StateError::NoCell)?.cell;
            values.push((name, claims, state::read(host, name)?));
        }
        let clock = host.now();
        let cells = values
            .into_iter()
            .map(|(name, claims, (value, version))| Self {
                name,
                claims,
                version,
                weighed: Weighed::new(value, clock, claims),
            });
        Ok(cells.collect())
    }

    /// Takes what was looked at, and looks again as often as another worker was faster. False: a limit has filled up
    /// meanwhile, and nothing was taken.
    fn take<H: Host>(&mut self, host: &H) -> Result<bool, StateError> {
        let taken = self.weighed.taken();
        match host.swap_cell(self.name, &taken, self.version) {
            Swap::Done => return Ok(true),
            Swap::Failed => return Err(StateError::Refused),
            Swap::Changed => {}
        }
        self.weighed = update(host, self.name, self.claims)?;
        Ok(!self.weighed.refused)
    }

    /// Writes down what holds though the request is refused. If another worker was faster, the next request will.
    fn leave<H: Host>(&mut self, host: &H, upkeep: &Upkeep) {
        if let Some(value) = self.weighed.without()
            && host.swap_cell(self.name, &value, self.version) == Swap::Done
        {
            upkeep.forgotten(host, self.name, self.weighed.forgotten);
        }
    }
}
