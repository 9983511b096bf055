//! The agent that is tried with a part of a route's requests.

use super::names;
use super::policy::{AgentId, Canary, Choice, KeySource, Rule};
use super::reader::Spot;
use super::rules::Around;

pub(super) const CANARY_FIELDS: &[&str] = &["agent", "percent", "header", "abort_at"];

/// Which agent is tried with a part of a route's requests. It is one of the route's agents from then on, by its name or as the
/// canary only.
#[inline(never)]
pub(super) fn canary(
    spot: &Spot<'_>,
    around: &Around<'_>,
    rules: &[Rule],
    choices: Option<&mut Vec<Choice>>,
) -> Option<Canary> {
    let fields = spot.fields(CANARY_FIELDS)?;
    let percent = fields.need("percent").map(|spot| spot.whole_u32(0..=100));
    let header = fields.get("header").map(|spot| header(&spot, around));
    let abort_at = fields.get("abort_at").map(|spot| {
        let percent = spot.percent()?;
        if percent == 100 {
            spot.fault("no more than all requests can fail, so this is never reached; leave it out to never abort");
        }
        Some(percent)
    });
    let named = fields.need("agent")?;
    let agent = named.reference("agent", around.agents_by_name)?;
    let of_rules = || rules.iter().flat_map(|rule| &rule.agents);
    let its = |choice: &&Choice| choice.agent == agent;
    if let Some(choices) = choices {
        let mut all = of_rules().chain(&*choices).filter(its).peekable();
        let (is_there, weighs) = (all.peek().is_some(), all.any(|choice| choice.weight > 0));
        if weighs {
            named.fault("has a share of this route by weight as well; write it with weight: 0, or leave it out of agents");
        } else if !choices.is_empty() {
            join(choices, agent);
        } else if !is_there {
            named.fault("gets nothing: the route has rules alone, and none of them names it; name it there with weight: 0");
        }
    }
    Some(Canary {
        agent,
        percent: percent??,
        header: match header {
            Some(header) => Some(header?),
            None => None,
        },
        abort_at: match abort_at {
            Some(percent) => Some(percent?),
            None => None,
        },
    })
}

/// The header by which callers say whether it is the canary that answers.
fn header(spot: &Spot<'_>, around: &Around<'_>) -> Option<String> {
    let name = spot.checked(names::sticky_header)?.to_ascii_lowercase();
    let holds_keys = |source: &KeySource| matches!(source, KeySource::Header { name: other, .. } if *other == name);
    if around.key_sources.iter().any(holds_keys) {
        spot.fault("that is where keys stand, and they are taken out");
        return None;
    }
    Some(name)
}

fn join(choices: &mut Vec<Choice>, agent: AgentId) {
    if choices.iter().all(|choice| choice.agent != agent) {
        choices.push(Choice { agent, weight: 0 });
    }
}
