use std::collections::HashMap;

use super::*;
use crate::host::simulated::Process;

fn choices(weights: &[u32]) -> Vec<Choice> {
    let choice = |(index, weight): (usize, &u32)| Choice {
        agent: AgentId(index),
        weight: *weight,
    };
    weights.iter().enumerate().map(choice).collect()
}

/// How many of ten thousand draws each agent gets.
fn shares(choices: &[Choice], load: impl Fn(AgentId) -> Option<u64>) -> HashMap<usize, u32> {
    let host = Process::default().worker();
    let mut shares = HashMap::new();
    for _ in 0..10_000 {
        let agent = less_loaded(&host, choices, &load).unwrap();
        *shares.entry(agent.0).or_default() += 1;
    }
    shares
}

/// Five standard deviations of a fair draw.
fn is_about(number: Option<&u32>, part: f64) -> bool {
    let mean = 10_000.0 * part;
    let strays = 5.0 * (10_000.0 * part * (1.0 - part)).sqrt();
    (f64::from(number.copied().unwrap_or(0)) - mean).abs() <= strays
}

#[test]
fn where_nobody_is_known_to_be_busier_weights_count() {
    for load in [None, Some(5)] {
        let shares = shares(&choices(&[6, 3, 1, 0]), |_| load);
        for (agent, part) in [(0, 0.6), (1, 0.3), (2, 0.1), (3, 0.0)] {
            assert!(is_about(shares.get(&agent), part), "{shares:?}");
        }
    }
}

#[test]
fn the_busier_of_two_gets_nothing_and_of_three_what_the_others_do_not_take() {
    let busy = |id: AgentId| Some(if id.0 == 0 { 900 } else { 100 });
    let two = shares(&choices(&[1, 1]), busy);
    assert_eq!(two.get(&0), None, "{two:?}");
    // The busiest of three is never the less busy one of two.
    let three = shares(&choices(&[8, 1, 1]), busy);
    assert_eq!(three.get(&0), None, "{three:?}");
    assert!(is_about(three.get(&1), 0.5), "{three:?}");
    // One in the middle has what it gets beside the busiest: each pair is drawn as often.
    let order = |id: AgentId| Some(id.0 as u64);
    let three = shares(&choices(&[1, 1, 1]), order);
    assert!(is_about(three.get(&0), 2.0 / 3.0), "{three:?}");
    assert!(is_about(three.get(&1), 1.0 / 3.0), "{three:?}");
}

#[test]
fn one_of_which_nothing_is_known_has_its_share_and_no_more() {
    let known = |id: AgentId| (id.0 != 1).then_some(500);
    let shares = shares(&choices(&[1, 1]), known);
    assert!(is_about(shares.get(&1), 0.5), "{shares:?}");
}

#[test]
fn one_alone_is_drawn_whatever_its_load_and_none_of_none() {
    let host = Process::default().worker();
    let one = choices(&[0, 2, 0]);
    assert_eq!(
        less_loaded(&host, &one, &|_| Some(u64::MAX)),
        Some(AgentId(1))
    );
    assert_eq!(less_loaded(&host, &choices(&[0, 0]), &|_| None), None);
    assert_eq!(less_loaded(&host, &[], &|_| None), None);
}

fn ids(choices: &[Choice]) -> Vec<usize> {
    choices.iter().map(|choice| choice.agent.0).collect()
}

#[test]
fn the_cheapest_that_is_not_full_is_preferred() {
    let document = serde_json::json!({
        "agents": {
            "a": {"cluster": "a", "price": {"input": 1, "output": 1}},
            "b": {"cluster": "b", "price": {"input": 0.2, "output": 0.6}},
            "c": {"cluster": "c", "price": {"input": 0.2, "output": 0.6}},
            "d": {"cluster": "d", "price": {"input": 0, "output": 0}, "weight": 0},
        },
        "routes": [{"prefix": "/", "agents": ["a"], "auth_required": false}],
    });
    let agents = crate::config::read(&document).unwrap().agents;
    let all = choices(&[1, 1, 1, 0]);
    let cheapest = |full: &[usize]| ids(&cheapest(&agents, &all, &|id| full.contains(&id.0)));
    assert_eq!(cheapest(&[]), [1, 2]);
    assert_eq!(cheapest(&[1]), [2]);
    assert_eq!(cheapest(&[1, 2]), [0]);
    assert_eq!(cheapest(&[0, 1, 2]), [1, 2], "all are full");
}

#[test]
fn those_about_as_fast_as_the_fastest_are_as_fast() {
    let all = choices(&[1, 1, 1, 1]);
    let times = [Some(100), Some(125), Some(126), None];
    assert_eq!(ids(&fastest(&all, &|id| times[id.0])), [0, 1]);
    assert_eq!(ids(&fastest(&all, &|_| None)), [0, 1, 2, 3]);
    assert_eq!(ids(&fastest(&all, &|_| Some(u64::MAX))), [0, 1, 2, 3]);
}
