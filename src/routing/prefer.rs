//! Which of several agents is drawn: by weight, of two the less loaded; or first by what their route prefers.

use crate::config::policy::{Agent, AgentId, Choice};
use crate::host::Host;

/// One that is not slower than the fastest by more than a quarter of its time is as fast.
const AS_FAST: u64 = 4;

/// Draws two by weight, different ones if there are, and takes the one with the less load. Where the load of one of them is not
/// known, or both have the same, the first one counts: so all have their shares as long as nobody is known to be busier.
#[inline(never)]
pub fn less_loaded<H: Host>(
    host: &H,
    choices: &[Choice],
    load: &dyn Fn(AgentId) -> Option<u64>,
) -> Option<AgentId> {
    let random = host.random();
    let first = by_weight(choices, None, random)?;
    // One random number is enough for both, if the second draw goes by other bits of it than the first.
    let mixed = (random ^ (random >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let Some(second) = by_weight(choices, Some(first), mixed ^ (mixed >> 32)) else {
        return Some(first);
    };
    let Some(of_first) = load(first) else {
        return Some(first);
    };
    match load(second) {
        Some(of_second) if of_second < of_first => Some(second),
        _ => Some(first),
    }
}

/// The agent into whose share of the whole a random number falls, of all but one.
pub fn by_weight(choices: &[Choice], without: Option<AgentId>, random: u64) -> Option<AgentId> {
    let all = || (choices.iter()).filter(|choice| Some(choice.agent) != without);
    let whole: u64 = all().map(|choice| u64::from(choice.weight)).sum();
    let mut point = random.checked_rem(whole)?;
    for choice in all() {
        match point.checked_sub(u64::from(choice.weight)) {
            Some(rest) => point = rest,
            None => return Some(choice.agent),
        }
    }
    None
}

/// The cheapest of these that have a weight and are not full; if all are full, the cheapest of all.
#[inline(never)]
#[must_use]
pub fn cheapest(
    agents: &[Agent],
    choices: &[Choice],
    is_full: &dyn Fn(AgentId) -> bool,
) -> Vec<Choice> {
    let price = |choice: &Choice| {
        let price = agents.get(choice.agent.0)?.price?;
        Some(price.to_compare())
    };
    let mut left: Vec<Choice> = weighted(choices);
    let mut all_full = Vec::new();
    while let Some(least) = left.iter().filter_map(price).min() {
        let is_least = |choice: &Choice| price(choice) == Some(least);
        let cheapest: Vec<Choice> = left.iter().copied().filter(is_least).collect();
        let mut free = cheapest.clone();
        free.retain(|choice| !is_full(choice.agent));
        if !free.is_empty() {
            return free;
        }
        if all_full.is_empty() {
            all_full = cheapest;
        }
        left.retain(|choice| !is_least(choice));
    }
    all_full
}

/// Those of these whose time is about the shortest. One of which none is known is none of them, unless none is known of any.
#[inline(never)]
#[must_use]
pub fn fastest(choices: &[Choice], time: &dyn Fn(AgentId) -> Option<u64>) -> Vec<Choice> {
    let times = choices.iter().filter_map(|choice| time(choice.agent));
    let Some(shortest) = times.min() else {
        return choices.to_vec();
    };
    let bound = shortest.saturating_add(shortest / AS_FAST);
    let is_fast = |choice: &&Choice| time(choice.agent).is_some_and(|it| it <= bound);
    choices.iter().filter(is_fast).copied().collect()
}

/// Those that are reached by other means than their name.
#[must_use]
pub fn weighted(choices: &[Choice]) -> Vec<Choice> {
    choices.iter().copied().filter(|it| it.weight > 0).collect()
}

#[cfg(test)]
mod tests;
