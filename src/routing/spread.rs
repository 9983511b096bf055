//! Which of a route's agents answers the requests that have something in common: weighted rendezvous hashing.
//!
//! Each agent draws a time for a value, by a hash of the value and of its own name, as a clock would that strikes as often as
//! the agent has weight; whose clock strikes first answers. So each is first as often as its weight says. And since
//! no agent's draw depends on another one, or on its weight, who comes, goes or is weighed anew moves only what it gains or loses.
//!
//! The times are whole numbers, and are compared exactly. So every gateway chooses the same agent, whatever it was built by
//! and for.

use crate::state::SeededHash;

/// The same in every gateway, so that all choose the same agent; and not the one by which an agent's host is chosen, or an agent's
/// share of the values would fall on a part of its hosts. Like that one it need be no secret.
const KEY: &[u8; 16] = b"waykeeper agents";

/// With so many binary places times are drawn. Shares are off by less than one in a thousand million for it.
const PLACES: u32 = 48;

/// Whose clock strikes first for this value. An agent without weight is never chosen, and `None` stands for that there is no
/// other.
#[must_use]
pub(super) fn first<'a, T>(
    value: &[u8],
    agents: impl IntoIterator<Item = (&'a str, u32, T)>,
) -> Option<T> {
    let hash = SeededHash::new(*KEY);
    let weighted = agents.into_iter().filter(|(_, weight, _)| *weight > 0);
    let drawn = weighted.map(|(name, weight, agent)| {
        let drawn = minus_log2(hash.of(&[value, name.as_bytes()]).tag);
        (drawn, u128::from(weight), name, agent)
    });
    let first = drawn.min_by(|one, other| {
        // Both divided by their weights.
        let (ours, theirs) = (one.0 * other.1, other.0 * one.1);
        ours.cmp(&theirs).then_with(|| one.2.cmp(other.2))
    });
    first.map(|(_, _, _, agent)| agent)
}

/// A draw for a value and a name that is another than that by which [`first`] chooses: who tries an agent is no part of another's
/// share.
pub(super) fn hash_for(value: &[u8], name: &str) -> u64 {
    let hash = SeededHash::new(*KEY);
    hash.of(&[b"canary", value, name.as_bytes()]).tag
}

/// Whether a number that is drawn evenly lies within the first so many of a hundred parts of all.
#[must_use]
pub fn is_within(percent: u32, drawn: impl FnOnce() -> u64) -> bool {
    match percent {
        0 => false,
        1..100 => (u128::from(drawn()) * 100) >> 64 < u128::from(percent),
        _ => true,
    }
}

/// How far the logarithm to the base 2 of a number drawn evenly out of those between 0 and 1 lies below 0, in units of the last of
/// its [`PLACES`]; `drawn` is the number as so many 2^64ths.
fn minus_log2(drawn: u64) -> u128 {
    // 0 has no logarithm.
    let drawn = drawn | 1;
    let whole = 63 - drawn.leading_zeros();
    // The rest lies from 1 to below 2, in 2^63rds. Squared, its logarithm is doubled, and shows its next place.
    let mut rest = u128::from(drawn << drawn.leading_zeros());
    let mut log = u128::from(whole);
    for _ in 0..PLACES {
        rest = (rest * rest) >> 63;
        let place = rest >> 64;
        log = (log << 1) | place;
        rest >>= place;
    }
    (64 << PLACES) - log
}

#[cfg(test)]
mod tests;
