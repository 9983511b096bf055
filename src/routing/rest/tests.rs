use super::*;
use crate::config;
use crate::config::policy::Policy;
use crate::host::Host;
use crate::host::simulated::SimulatedHost;
use crate::routing::by_weight;

fn policy() -> Policy {
    let document = serde_json::json!({
        "agents": {
            "a": {"cluster": "a", "weight": 5},
            "b": {"cluster": "b", "weight": 3},
            "c": {"cluster": "c", "weight": 2},
            "d": {"cluster": "d", "weight": 0},
        },
        "routes": [{"prefix": "/", "agents": ["a", "b", "c", "d"], "auth_required": false}],
    });
    config::read(&document).unwrap()
}

const A: AgentId = AgentId(0);
const D: AgentId = AgentId(3);

fn chosen(
    host: &SimulatedHost,
    wanted: &[&[u8]],
    value: Option<&[u8]>,
    turn: impl Fn(AgentId) -> Turn,
) -> Result<AgentId, NoAgent> {
    let Policy { agents, routes, .. } = policy();
    let turn = &mut |agent| turn(agent);
    let draw = &|left: &[Choice]| by_weight(left, None, host.random());
    choose_rested(&agents, &routes[0].agents, wanted, value, draw, turn)
}

fn all_but(resting: &'static [AgentId]) -> impl Fn(AgentId) -> Turn {
    move |agent| match resting.iter().position(|it| *it == agent) {
        Some(place) => Turn::No(7 + place as u64),
        None => Turn::Yes,
    }
}

#[test]
fn what_a_resting_agent_would_get_falls_to_the_others_by_their_weights() {
    let host = SimulatedHost::default();
    let mut shares = [0_u32; 4];
    for _ in 0..10_000 {
        shares[chosen(&host, &[], None, all_but(&[A])).unwrap().0] += 1;
    }
    assert_eq!((shares[0], shares[3]), (0, 0));
    // 3 of 5, within 5.5 standard deviations.
    assert!((5730..=6270).contains(&shares[1]), "{shares:?}");
}

#[test]
fn of_requests_that_are_kept_together_only_those_move_whose_agent_rests() {
    let host = SimulatedHost::default();
    let mut moved = 0;
    for value in 0..1_000 {
        let value = format!("{value}");
        let value = Some(value.as_bytes());
        let before = chosen(&host, &[], value, all_but(&[])).unwrap();
        let after = chosen(&host, &[], value, all_but(&[A])).unwrap();
        assert!(before == after || before == A, "{value:?}");
        assert_eq!(chosen(&host, &[], value, all_but(&[A])), Ok(after));
        moved += u32::from(before != after);
    }
    assert!((400..=600).contains(&moved), "{moved}");
}

#[test]
fn where_all_rest_the_first_to_return_says_for_how_long() {
    let host = SimulatedHost::default();
    for _ in 0..100 {
        let all = all_but(&[AgentId(2), AgentId(1), A]);
        assert_eq!(chosen(&host, &[], None, all), Err(NoAgent::Resting(7)));
    }
}

#[test]
fn an_agent_without_weight_answers_for_no_other_and_one_that_is_named_is_not_replaced() {
    let host = SimulatedHost::default();
    let none = all_but(&[A, AgentId(1), AgentId(2), D]);
    assert_eq!(
        chosen(&host, &[b"d"], None, &none),
        Err(NoAgent::Resting(10))
    );
    assert_eq!(chosen(&host, &[b"d"], None, all_but(&[A])), Ok(D));
    assert_eq!(chosen(&host, &[b"e"], None, none), Err(NoAgent::Unknown));
}

#[test]
fn each_agent_is_asked_once_and_only_the_one_that_is_chosen_last_has_said_yes() {
    let host = SimulatedHost::default();
    for _ in 0..1_000 {
        let asked = std::cell::RefCell::new(Vec::new());
        let turn = |agent| {
            asked.borrow_mut().push(agent);
            all_but(&[A])(agent)
        };
        let agent = chosen(&host, &[], None, turn).unwrap();
        let mut asked = asked.into_inner();
        assert_eq!(asked.pop(), Some(agent));
        assert!(asked.is_empty() || asked == [A]);
    }
}
