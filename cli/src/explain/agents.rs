//! Which agents may answer a request, with which share, and what each would get.

use std::collections::BTreeMap;

use serde::Serialize;
use waykeeper::config::policy::{Agent, Choice, Prefer, Route, Sticky};
use waykeeper::routing::{
    CLUSTER, FURTHER, KIND, MIRROR, PROOF, Said, cheapest, narrowed as narrowed_by, said,
    stands_for,
};
use waykeeper::text::headers::is_reserved;

use super::caller::{How, UNNAMED};
use super::edits::{of_answer, of_called, of_request};
use super::found::Meeting;
use super::kept::InCommon;
use super::listens;
use super::request::Request;
use super::walked::Walked;
use crate::gateway::{Checked, Upstream};

/// An agent that may answer.
#[derive(Debug, Serialize)]
pub(super) struct AgentFound {
    pub(super) name: String,
    /// Of a hundred requests like this one.
    pub(super) share_percent: f64,
    pub(super) cluster: String,
    /// Where it is, as far as the file says it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) at: Vec<String>,
    /// Who comes next if it does not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) then: Vec<String>,
    /// The path as the filter hands it on.
    pub(super) path: String,
    /// The model that it is asked for, where the filter knows of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// What keeps it at one of its hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sticky: Option<String>,
    /// What it is told.
    pub(super) is_told: BTreeMap<String, String>,
    /// What its route changes of the request, and what becomes of that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) is_changed: Vec<(String, String)>,
    /// The same of its answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) answer_is_changed: Vec<(String, String)>,
    /// What Envoy's router goes by, and keeps.
    pub(super) steers_envoy: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
}

/// An agent that may not answer, and why.
#[derive(Debug, Serialize)]
pub(super) struct LeftOut {
    pub(super) agent: String,
    pub(super) why: String,
}

/// Where agents are.
pub(super) struct Reached<'a>(pub(super) Option<&'a Checked>);

impl Reached<'_> {
    /// What is to be known of where a request is sent.
    pub(super) fn listens(&self, request: &Request) -> Option<String> {
        listens::note(request, &self.0?.gateway)
    }

    fn upstream(&self, agent: &str) -> Option<&Upstream> {
        let gateway = &self.0?.gateway;
        gateway
            .agents
            .iter()
            .find(|it| it.name == agent)?
            .upstream
            .as_ref()
    }

    /// The host of the picker that says which of an agent's endpoints answers.
    fn picker(&self, agent: &str) -> Option<String> {
        let agents = &self.0?.gateway.agents;
        let agent = agents.iter().find(|it| it.name == agent)?;
        let authority = agent.picker.as_ref()?.authority();
        Some(self.0?.environment.hidden(&authority))
    }

    fn places(&self, agent: &str) -> Vec<String> {
        let Some(checked) = self.0 else {
            return Vec::new();
        };
        let found = checked.gateway.agents.iter().find(|it| it.name == agent);
        if found.is_some_and(|agent| agent.builtin.is_some()) {
            return vec!["waykeeper run itself (builtin)".to_owned()];
        }
        let endpoints = self
            .upstream(agent)
            .map_or(&[][..], |upstream| &upstream.endpoints);
        let urls = endpoints
            .iter()
            .map(|endpoint| checked.environment.hidden(&endpoint.url.to_string()));
        urls.collect()
    }
}

/// Those of some agents that can and serve what is asked for, and why the others are out.
pub(super) fn narrowed(
    meeting: &Meeting<'_>,
    route: &Route,
    choices: &[Choice],
    model: Option<&[u8]>,
) -> (Vec<Choice>, Vec<LeftOut>) {
    let Meeting {
        policy, arrived, ..
    } = *meeting;
    let capabilities = || arrived.block.get_all("x-agent-capability");
    let model = model.map(|model| stands_for(policy, model));
    let able = narrowed_by(&policy.agents, choices, capabilities(), None).unwrap_or_default();
    let left = narrowed_by(&policy.agents, choices, capabilities(), model).unwrap_or_default();
    let is_canary = |choice: &Choice| {
        route
            .canary
            .as_ref()
            .is_some_and(|it| it.agent == choice.agent)
    };
    let wanted: Vec<&[u8]> = arrived.block.get_all("x-agent").collect();
    let name = |choice: &Choice| {
        policy
            .agents
            .get(choice.agent.0)
            .map(|agent| agent.name.clone())
            .unwrap_or_default()
    };
    let named: Vec<Choice> = match wanted.first() {
        None => left.clone(),
        Some(wanted) => left
            .iter()
            .filter(|choice| name(choice).as_bytes() == *wanted)
            .copied()
            .collect(),
    };
    let out = choices.iter().filter_map(|choice| {
        let why = if !able.contains(choice) {
            format!(
                "cannot {}",
                capabilities()
                    .map(|it| String::from_utf8_lossy(it).into_owned())
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        } else if !left.contains(choice) {
            format!(
                "does not serve {}",
                String::from_utf8_lossy(model.unwrap_or_default())
            )
        } else if !named.contains(choice) {
            "x-agent names another".to_owned()
        } else if choice.weight == 0 && wanted.is_empty() && !is_canary(choice) {
            "its weight is 0: it is reached by its name in x-agent only".to_owned()
        } else {
            return None;
        };
        Some(LeftOut {
            agent: name(choice),
            why,
        })
    });
    let out = out.collect();
    (named, out)
}

/// Of those that are left the ones that the route prefers, as far as the file says which: the others have no weight any more.
/// And what is to be known beside.
pub(super) fn preferred(
    meeting: &Meeting<'_>,
    route: &Route,
    choices: &[Choice],
    left: Vec<Choice>,
    out: &mut Vec<LeftOut>,
    in_common: &InCommon<'_>,
) -> (Vec<Choice>, Option<String>) {
    let Meeting {
        policy, arrived, ..
    } = *meeting;
    let rule = (route.rules.iter()).find(|rule| std::ptr::eq(rule.agents.as_slice(), choices));
    let prefer = rule.and_then(|rule| rule.prefer).unwrap_or(route.prefer);
    let drawn = left.iter().filter(|choice| choice.weight > 0);
    let named = arrived.block.get("x-agent").is_some();
    if drawn.count() < 2 || named || is_kept(in_common, route) {
        return (left, None);
    }
    let agent = |choice: &Choice| policy.agents.get(choice.agent.0);
    match prefer {
        Prefer::Weighted => {
            let learned = |choice: &Choice| agent(choice).is_some_and(|it| it.load.is_some());
            let note = left.iter().any(learned).then_some(
                "of two agents drawn by weight the less busy one is taken; how busy they are only the running gateway knows",
            );
            (left, note.map(str::to_owned))
        }
        Prefer::Cheapest => {
            let best = cheapest(&policy.agents, &left, &|_| false);
            let mut left = left;
            for choice in left.iter_mut().filter(|choice| !best.contains(choice)) {
                if choice.weight > 0 {
                    out.extend(agent(choice).map(|agent| LeftOut {
                        agent: agent.name.clone(),
                        why:
                            "costs more: it gets what the cheaper ones are too full for".to_owned(),
                    }));
                }
                choice.weight = 0;
            }
            (left, None)
        }
        Prefer::Fastest => {
            let note = "the agent whose first token comes soonest is preferred; which one that is only the running gateway knows";
            (left, Some(note.to_owned()))
        }
    }
}

/// Those that a request may go to, with their shares in per cent. `drawn` is the one that the filter has drawn for it.
pub(super) fn with_shares(
    meeting: &Meeting<'_>,
    route: &Route,
    left: &[Choice],
    drawn: Option<&str>,
    in_common: &InCommon<'_>,
) -> Vec<(Choice, f64)> {
    let Meeting {
        policy, arrived, ..
    } = *meeting;
    if arrived.block.get("x-agent").is_some() {
        return left.iter().map(|choice| (*choice, 100.0)).collect();
    }
    // What is kept together goes to the same agent each time, and so is not drawn anew.
    if is_kept(in_common, route) && drawn.is_some() {
        let is_drawn = |choice: &&Choice| {
            let agent = policy.agents.get(choice.agent.0);
            agent.map(|agent| agent.name.as_str()) == drawn
        };
        return left
            .iter()
            .filter(is_drawn)
            .map(|choice| (*choice, 100.0))
            .collect();
    }
    let canary = route.canary.as_ref();
    let canary = canary.and_then(|canary| {
        let choice = left.iter().find(|choice| choice.agent == canary.agent)?;
        let percent = match said(canary, &arrived.block) {
            Said::Always => 100.0,
            Said::Never => 0.0,
            Said::Nothing => f64::from(canary.percent),
        };
        (percent > 0.0).then_some((*choice, percent))
    });
    let rest = 100.0 - canary.map_or(0.0, |(_, percent)| percent);
    let all: u64 = left.iter().map(|choice| u64::from(choice.weight)).sum();
    let weighted = left.iter().filter(|choice| choice.weight > 0 && rest > 0.0);
    let weighted =
        weighted.map(|choice| (*choice, f64::from(choice.weight) * rest / all.max(1) as f64));
    canary.into_iter().chain(weighted).collect()
}

/// Whether the route keeps this request together with others at one agent, by what is known of it here.
fn is_kept(in_common: &InCommon<'_>, route: &Route) -> bool {
    let sticky = route.sticky.as_ref();
    sticky.is_some_and(|sticky| in_common.kept(sticky).is_at_one())
}

impl AgentFound {
    pub(super) fn of(
        meeting: &Meeting<'_>,
        agent: &Agent,
        share: f64,
        walked: &Walked,
        route: &Route,
        in_path: Option<()>,
        in_common: &InCommon<'_>,
    ) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (mut is_told, mut steers) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in &walked.headers {
            if !is_reserved(name.as_bytes()) {
                continue;
            }
            let shown = if name == PROOF {
                "(secret)".to_owned()
            } else if meeting.caller.how == How::Validator {
                text(value).replace(UNNAMED, "(as the validator names it)")
            } else {
                text(value)
            };
            let of_router = [
                CLUSTER,
                FURTHER,
                KIND,
                MIRROR,
                PROOF,
                "x-waykeeper-hash",
                "x-waykeeper-session",
            ]
            .contains(&name.as_str())
                || name.starts_with("x-envoy-");
            if of_router { &mut steers } else { &mut is_told }.insert(name.clone(), shown);
        }
        let body: Option<serde_json::Value> = serde_json::from_slice(&walked.body).ok();
        let model = body
            .as_ref()
            .and_then(|body| body.get("model")?.as_str())
            .map(str::to_owned);
        let edits = route.edits.as_deref();
        let is_changed = match (edits, route.of_servers()) {
            (Some(edits), _) => of_request(edits, walked, meeting.caller.how),
            (None, Some(_)) => {
                of_called(meeting.arrived.body.as_deref().unwrap_or_default(), walked)
            }
            (None, None) => Vec::new(),
        };
        Self {
            name: agent.name.clone(),
            share_percent: share,
            cluster: walked
                .header(CLUSTER)
                .or(walked.header(FURTHER))
                .map(text)
                .unwrap_or_else(|| agent.cluster.clone()),
            then: Vec::new(),
            at: meeting.reached.places(&agent.name),
            path: walked.header(":path").map(text).unwrap_or_default(),
            model: model.filter(|_| in_path.is_none()),
            sticky: (agent.sticky.as_ref()).and_then(|sticky| in_common.kept(sticky).told("host")),
            is_told,
            is_changed,
            answer_is_changed: edits.map(of_answer).unwrap_or_default(),
            steers_envoy: steers,
            notes: notes(meeting, agent, walked),
        }
    }
}

/// What Envoy does to the request behind the filter, and what the filter does to no header of its own.
fn notes(meeting: &Meeting<'_>, agent: &Agent, walked: &Walked) -> Vec<String> {
    let mut notes = Vec::new();
    let picker = meeting.reached.picker(&agent.name);
    if let Some(url) = picker.filter(|_| !meeting.arrived.stays_open()) {
        notes.push(format!(
            "which of its endpoints answers the picker at {url} says"
        ));
    }
    let upstream = meeting.reached.upstream(&agent.name);
    let base = upstream.and_then(|upstream| upstream.base.as_ref());
    if let Some(base) = base.filter(|base| base.prefix() != "/v1") {
        notes.push(format!(
            "Envoy puts {} in place of /v1, or before a path without it",
            base.prefix()
        ));
    }
    if upstream.is_some_and(|upstream| upstream.credential.is_some()) {
        notes.push("Envoy adds the agent's own credential".to_owned());
    }
    if let Some(rest) = &agent.rest {
        notes.push(format!(
            "it may rest, and others answer then: after {} failures in a row, or when more than {} % have failed",
            rest.failures, rest.error_rate
        ));
    }
    if let Some(Sticky::Session(header)) = &agent.sticky
        && walked.header(header).is_some()
    {
        notes.push(format!(
            "{header} is opened: the agent gets the name that it has given"
        ));
    }
    notes
}
