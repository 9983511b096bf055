use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Weights = BTreeMap<String, u32>;

fn chosen(value: u64, weights: &Weights) -> Option<&str> {
    let value = value.to_string();
    let agents = weights
        .iter()
        .map(|(name, weight)| (name.as_str(), *weight, name.as_str()));
    first(value.as_bytes(), agents)
}

fn some_weights() -> impl Strategy<Value = Weights> {
    let names = prop::sample::select(vec!["a", "b", "c", "d", "chat-gpu", "chat-cpu"]);
    let weight = prop_oneof![0..4_u32, 1..=100_u32, 1..=1_000_000_u32];
    prop::collection::btree_map(names.prop_map(str::to_owned), weight, 1..6)
}

#[test]
fn a_time_is_the_logarithm_to_the_last_place() {
    let unit = 2_f64.powi(48);
    for drawn in [0, 1, 2, 3, 1 << 20, 1 << 63, u64::MAX / 3, u64::MAX] {
        let exact = 64.0 - ((drawn | 1) as f64).log2();
        let read = minus_log2(drawn) as f64 / unit;
        assert!((read - exact).abs() < 1e-12, "{drawn}: {read} for {exact}");
    }
    assert_eq!(minus_log2(1 << 63 | 1), 1 << 48);
    assert_eq!(minus_log2(0), 64 << 48);
    assert!(minus_log2(u64::MAX) > 0, "nobody is always first");
}

/// What is written here is what every gateway has to choose, also those of another version: sessions lie with these agents.
#[test]
fn every_gateway_chooses_the_same() {
    let weights = Weights::from([("a", 1), ("b", 2), ("c", 3)].map(|(a, b)| (a.to_owned(), b)));
    let chosen: String = (0..24)
        .filter_map(|value| chosen(value, &weights))
        .collect();
    assert_eq!(chosen, "bcbbacbcabaaccaccccbbbba");
}

#[test]
fn who_has_no_weight_is_never_chosen() {
    let mut weights = Weights::from([("a".to_owned(), 0)]);
    assert_eq!(chosen(1, &weights), None);
    weights.insert("b".to_owned(), 1);
    assert!((0..1000).all(|value| chosen(value, &weights) == Some("b")));
}

/// What the hash of a value chooses among agents tells nothing of what it chooses among hosts.
#[test]
fn the_choice_of_a_host_does_not_follow_from_that_of_the_agent() {
    let weights = Weights::from([("a".to_owned(), 1), ("b".to_owned(), 1)]);
    let mut odd = [0_i32; 2];
    for value in 0..4000 {
        let hash = crate::routing::hash_of_value(value.to_string().as_bytes()).unwrap();
        let hash = u64::from_str_radix(&hash, 16).unwrap();
        let agent = usize::from(chosen(value, &weights) == Some("b"));
        odd[agent] += if hash.is_multiple_of(2) { 1 } else { -1 };
    }
    assert!(odd.iter().all(|odd| odd.abs() < 270), "{odd:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A share of `n` values lies within 6 standard deviations of what the weight says, and one value: by Bernstein's bound that
    /// fails for a fair choice less than once in ten million.
    #[test]
    fn shares_follow_weights(weights in some_weights(), start in any::<u32>()) {
        const VALUES: u64 = 4000;
        let whole: u64 = weights.values().map(|weight| u64::from(*weight)).sum();
        prop_assume!(whole > 0);
        let mut shares = BTreeMap::<&str, u64>::new();
        for value in 0..VALUES {
            *shares.entry(chosen(u64::from(start) + value, &weights).unwrap()).or_default() += 1;
        }
        for (name, weight) in &weights {
            let part = f64::from(*weight) / whole as f64;
            let expected = part * VALUES as f64;
            let deviation = (expected * (1.0 - part)).sqrt();
            let share = shares.get(name.as_str()).copied().unwrap_or(0) as f64;
            prop_assert!((share - expected).abs() <= 6.0 * deviation + 12.0, "{name}: {share} for {expected}");
        }
    }

    /// Another weight, or none, which is as good as going: what moves moves to an agent that has more, or away from one
    /// that has less.
    #[test]
    fn only_the_changed_share_moves(weights in some_weights(), changed in 0..6_usize, weight in 0..1_000_000_u32, start in any::<u32>()) {
        let name = weights.keys().nth(changed % weights.len()).unwrap().clone();
        let before = weights[&name];
        let mut after = weights.clone();
        if weight == 0 {
            after.remove(&name);
        } else {
            after.insert(name.clone(), weight);
        }
        for value in 0..500 {
            let value = u64::from(start) + value;
            let (old, new) = (chosen(value, &weights), chosen(value, &after));
            if old != new {
                let gained = new == Some(&name);
                prop_assert!(gained || old == Some(&name), "{old:?} to {new:?} as {name} changes");
                prop_assert_eq!(gained, weight > before);
            }
        }
    }

    #[test]
    fn the_order_of_the_agents_says_nothing(weights in some_weights(), value in any::<u64>()) {
        let backwards = weights.iter().rev().map(|(name, weight)| (name.as_str(), *weight, name.as_str()));
        prop_assert_eq!(first(value.to_string().as_bytes(), backwards), chosen(value, &weights));
    }
}
