//! The models that a caller may ask for: by the routes that it may use, their rules, and the models of the agents behind these.

use super::rules::stands_for;
use crate::config::policy::{Agent, AgentId, Choice, Conditions, PlanId, Policy, Route, RouteId};
use crate::text::pattern::Pattern;

/// All models that can be told by name, and which agents serve each.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// In the order of their names.
    models: Vec<Listed>,
    /// The routes whose requests may come to one of these agents.
    routes: Vec<RouteId>,
}

#[derive(Debug)]
struct Listed {
    name: String,
    /// In their order.
    agents: Vec<AgentId>,
}

/// What is known of a caller before it asks for anything.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Its plan.
    pub plan: Option<PlanId>,
    /// Its team.
    pub team: Option<&'a str>,
    /// Its roles.
    pub roles: &'a [String],
}

impl Catalogue {
    /// The models that agents name in full, aliases, and `more` names, of models that stand behind a pattern or that an agent
    /// without `models` knows.
    #[must_use]
    pub fn new(policy: &Policy, more: &[String]) -> Self {
        let of_agents = policy.agents.iter().flat_map(|agent| &agent.models);
        let exact = of_agents.filter_map(|model| model.name.exact());
        let aliases = policy.model_aliases.iter().map(|(alias, _)| alias.as_str());
        let mut names: Vec<&str> = exact
            .chain(aliases)
            .chain(more.iter().map(String::as_str))
            .collect();
        crate::sort::sort_by(&mut names, |one, other| one.cmp(other));
        names.dedup();
        let serving = |serves: &dyn Fn(&Agent) -> bool| -> Vec<AgentId> {
            let agents = policy.agents.iter().enumerate();
            let serving = agents.filter(|(_, agent)| serves(agent));
            serving.map(|(place, _)| AgentId(place)).collect()
        };
        let listed = names.into_iter().filter_map(|name| {
            let model = stands_for(policy, name.as_bytes());
            let mut agents = serving(&|agent| {
                let mut own = agent.models.iter();
                own.any(|own| own.name.matches(model))
            });
            // Nobody says so: whoever takes any model may know it.
            if agents.is_empty() {
                agents = serving(&|agent| agent.models.is_empty());
            }
            (!agents.is_empty()).then(|| Listed {
                name: name.to_owned(),
                agents,
            })
        });
        let models: Vec<Listed> = listed.collect();
        let serves = |id: AgentId| models.iter().any(|model| model.agents.contains(&id));
        let routes = policy.routes.iter().enumerate();
        let routes = routes.filter(|(_, route)| route.all_agents().any(serves));
        Self {
            routes: routes.map(|(place, _)| RouteId(place)).collect(),
            models,
        }
    }

    /// The names by which a caller may ask for a model, in their order. What it can see only with a request at hand, such as its
    /// path or a header, it might say.
    #[must_use]
    pub fn models_of(&self, policy: &Policy, asker: Asker<'_>) -> Vec<&str> {
        let routes: Vec<&Route> = (self.routes.iter())
            .filter_map(|id| policy.routes.get(id.0))
            .filter(|route| asker.has_one_of(&route.roles))
            .collect();
        let may_use = |model: &&Listed| {
            let asked = stands_for(policy, model.name.as_bytes());
            let mut routes = routes.iter();
            routes.any(|route| asker.reaches(route, asked, &model.agents))
        };
        let models = self.models.iter().filter(may_use);
        models.map(|model| model.name.as_str()).collect()
    }
}

impl Asker<'_> {
    fn has_one_of(&self, roles: &[String]) -> bool {
        roles.is_empty() || roles.iter().any(|role| self.roles.contains(role))
    }

    /// Whether a request of its for this model may come to one of these agents.
    fn reaches(&self, route: &Route, model: &[u8], agents: &[AgentId]) -> bool {
        let leads_there = |choices: &[Choice]| {
            let mut choices = choices.iter();
            choices.any(|choice| agents.binary_search(&choice.agent).is_ok())
        };
        for rule in &route.rules {
            let Some(is_sure) = self.meets(&rule.conditions, model) else {
                continue;
            };
            if self.has_one_of(&rule.roles) && leads_there(&rule.agents) {
                return true;
            }
            if is_sure {
                return false;
            }
        }
        leads_there(&route.agents)
    }

    /// Whether each of its requests for this model meets the conditions. `None`: none does.
    fn meets(&self, conditions: &Conditions, model: &[u8]) -> Option<bool> {
        let Conditions {
            methods,
            hosts,
            headers,
            query,
            plans,
            teams,
            roles,
            models,
            called,
            members,
            tools,
            images,
            stream,
            size,
        } = conditions;
        let plan = plans.is_empty() || self.plan.is_some_and(|plan| plans.contains(&plan));
        let team = teams.is_empty()
            || self
                .team
                .is_some_and(|team| teams.iter().any(|other| other == team));
        let is_model = |pattern: &Pattern| pattern.matches(model);
        let model = models.is_empty() || models.iter().any(is_model);
        if !(plan && team && model && self.has_one_of(roles)) {
            return None;
        }
        let of_requests = methods.is_empty()
            && called.is_empty()
            && hosts.is_empty()
            && headers.is_empty()
            && query.is_empty()
            && members.is_empty();
        let of_bodies = tools.is_none() && images.is_none() && stream.is_none() && size.is_none();
        Some(of_requests && of_bodies)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config;

    fn policy() -> Policy {
        let document = json!({
            "clients": {"validator": {"cluster": "auth", "path": "/"}},
            "plans": {"free": {}, "paid": {}},
            "agents": {
                "small": {"cluster": "a", "models": ["tiny", {"model": "chat", "as": "x"}]},
                "large": {"cluster": "b", "models": ["huge", "gpt-4*"]},
                "hidden": {"cluster": "c", "models": ["secret", "tiny"]},
                "unused": {"cluster": "d", "models": ["nobody's"]},
                "any": {"cluster": "e"},
            },
            "model_aliases": {"fast": "tiny", "smart": "gpt-4o", "dead": "gone"},
            "routes": [
                {"prefix": "/v1", "agents": ["small"], "rules": [
                    {"match": {"plan": "paid", "model": "gpt-*"}, "agents": ["large"]},
                    {"match": {"team": "blue", "header": {"x-huge": "1"}}, "agents": ["large"]},
                    {"match": {"role": "ops"}, "agents": ["hidden"], "roles": ["boss"]},
                ]},
                {"prefix": "/admin", "agents": ["hidden", {"agent": "any", "weight": 0}], "roles": ["admin"]},
            ],
        });
        config::read(&document).unwrap_or_else(|faults| panic!("{faults}"))
    }

    #[test]
    fn a_caller_is_told_what_its_routes_and_rules_may_bring_it() {
        let policy = policy();
        let more = ["gpt-4o", "gpt-4o-mini", "tiny", "unlisted"].map(str::to_owned);
        let catalogue = Catalogue::new(&policy, &more);
        let told = |plan: Option<usize>, team, roles: &[&str]| {
            let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
            let plan = plan.map(PlanId);
            let asker = Asker {
                plan,
                team,
                roles: &roles,
            };
            let told = catalogue.models_of(&policy, asker);
            told.join(" ")
        };
        let own = "chat fast tiny";
        assert_eq!(told(None, None, &[]), own);
        // Under a pattern stand those of `more`, and an alias for one of them.
        assert_eq!(
            told(Some(1), None, &[]),
            "chat fast gpt-4o gpt-4o-mini smart tiny"
        );
        assert_eq!(told(Some(0), None, &[]), own);
        // A header may be sent.
        let blue = "chat fast gpt-4o gpt-4o-mini huge smart tiny";
        assert_eq!(told(None, Some("blue"), &[]), blue);
        assert_eq!(told(None, Some("red"), &[]), own);
        // Who meets a rule meets none behind it, and no agent of the route's own.
        assert_eq!(told(None, None, &["ops"]), "");
        assert_eq!(told(None, None, &["ops", "boss"]), "fast secret tiny");
        // What nobody names is known to who serves any.
        assert_eq!(
            told(None, None, &["admin"]),
            "chat dead fast secret tiny unlisted"
        );
    }
}
