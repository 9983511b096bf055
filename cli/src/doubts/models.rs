//! Names of models that nobody serves, or that no request has.

use waykeeper::config::Policy;
use waykeeper::config::did_you_mean;
use waykeeper::config::policy::{Agent, Choice, Rule};
use waykeeper::routing::stands_for;

use crate::yaml::Value;

/// Names that stand for models which no agent serves.
pub(super) fn of_aliases(policy: &Policy, written: &Value) -> Vec<(usize, String)> {
    let aliases = written.get("model_aliases").map_or(&[][..], Value::entries);
    let mut doubts = Vec::new();
    for alias in aliases {
        let model = stands_for(policy, alias.name.as_bytes());
        if let Some(told) = unserved(policy.agents.iter(), model) {
            let name = &alias.name;
            let told = format!("model_aliases.{name}: no agent serves the model {told}");
            doubts.push((alias.value.line, told));
        }
    }
    doubts
}

/// Names in agents' `models` that no request has, since they stand for others.
pub(super) fn of_agents(policy: &Policy, written: &Value) -> Vec<(usize, String)> {
    let mut doubts = Vec::new();
    for agent in &policy.agents {
        let (name, names) = (&agent.name, agent.models.iter());
        let line = written.line_of(&["agents", name, "models"]);
        let aliases = names.filter_map(|it| is_alias(policy, it.name.exact()?));
        doubts.extend(aliases.map(|told| (line, format!("agents.{name}.models: {told}"))));
    }
    doubts
}

/// The same of the models that a rule is for; and those that none of its agents serves.
pub(super) fn of_rule(policy: &Policy, rule: &Rule) -> Vec<String> {
    let agent = |choice: &Choice| policy.agents.get(choice.agent.0);
    let agents = rule.agents.iter().filter_map(agent);
    let mut doubts = Vec::new();
    for model in rule.conditions.models.iter().filter_map(|it| it.exact()) {
        if let Some(told) = is_alias(policy, model) {
            doubts.push(told);
        } else if let Some(told) = unserved(agents.clone(), model.as_bytes()) {
            doubts.push(format!("none of the rule's agents serves {told}"));
        }
    }
    doubts
}

/// A model that none of these agents serves, and what becomes of a request for it. `None`: one does.
fn unserved<'p>(agents: impl Iterator<Item = &'p Agent> + Clone, model: &[u8]) -> Option<String> {
    let models = || agents.clone().flat_map(|agent| &agent.models);
    let takes_any = agents.clone().any(|agent| agent.models.is_empty());
    if takes_any || models().any(|it| it.name.matches(model)) {
        return None;
    }
    let model = String::from_utf8_lossy(model);
    let near = did_you_mean(&model, models().filter_map(|it| it.name.exact()));
    Some(format!(
        "{model:?}{near}; who asks for it is answered 404 model_not_found"
    ))
}

/// What is said of a name in the place of a model's, if it stands for another.
fn is_alias(policy: &Policy, name: &str) -> Option<String> {
    let model = stands_for(policy, name.as_bytes());
    (model != name.as_bytes()).then(|| {
        let model = String::from_utf8_lossy(model);
        format!("{name:?} is one of model_aliases, so a request for it is one for {model:?}, and none is for {name:?}; write {model:?}")
    })
}
