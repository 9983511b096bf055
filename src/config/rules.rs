//! Rules of a route: which of its requests go to which of its agents.

use std::collections::HashMap;

use super::document::{Node, shown};
use super::fallback::fallback;
use super::hosts;
use super::limits::one_or_more;
use super::load;
use super::names;
use super::policy::{
    Agent, AgentId, Conditions, Expected, KeySource, Otherwise, PlanId, Prefer, Rule, Size,
};
use super::reader::{Fields, Spot};
use super::routes::{METHODS, choices};
use super::served::model_pattern;
use crate::text::json::Search;
use crate::text::pattern::Pattern;

const MOST_RULES: usize = 256;
const MOST_VALUES: usize = 64;
const LARGEST_SIZE: u64 = 1 << 40;

pub(super) const RULE_FIELDS: &[&str] = &[
    "name",
    "match",
    "agents",
    "prefer",
    "fallback",
    "roles",
    "otherwise",
];
pub(super) const CONDITION_FIELDS: &[&str] = &[
    "method", "host", "header", "query", "plan", "team", "role", "tool", "model", "body", "tools",
    "images", "stream", "size",
];
pub(super) const SIZE_FIELDS: &[&str] = &["from", "below"];

/// What stands elsewhere in the document, and rules speak of.
pub(super) struct Around<'a> {
    pub(super) key_sources: &'a [KeySource],
    pub(super) plans: &'a HashMap<&'a str, PlanId>,
    pub(super) agents: &'a [Agent],
    pub(super) agents_by_name: &'a HashMap<&'a str, AgentId>,
    /// Whether `sessions` are written, faulty or not.
    pub(super) seals: bool,
}

/// A route's rules in their order. `with_body`: its requests may have bodies that can be read. `with_mcp`: these are MCP's.
pub(super) fn rules(
    spot: &Spot<'_>,
    around: &Around<'_>,
    of_route: Prefer,
    with_body: bool,
    with_mcp: bool,
) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut always: Option<String> = None;
    for (index, item) in spot
        .nonempty_list(MOST_RULES)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let Some(fields) = item.fields(RULE_FIELDS) else {
            continue;
        };
        if let Some(earlier) = &always {
            item.fault(format!("can never be met: {earlier} takes every request"));
        }
        let Some(rule) = rule(&fields, index, around, of_route, with_body) else {
            continue;
        };
        if fields.get("name").is_some() && rules.iter().any(|other| other.name == rule.name) {
            item.fault(format!(
                "another rule of this route is named {}",
                shown(&rule.name)
            ));
        }
        if !rule.conditions.called.is_empty() && !with_mcp {
            item.fault("asks which tool is called, which is known where the route has mcp");
        }
        if rule.conditions == Conditions::default() && always.is_none() {
            always = Some(rule.name.clone());
        }
        rules.push(rule);
    }
    rules
}

fn rule(
    fields: &Fields<'_>,
    index: usize,
    around: &Around<'_>,
    of_route: Prefer,
    with_body: bool,
) -> Option<Rule> {
    let name = match fields.get("name") {
        Some(spot) => spot.checked(names::name).map(str::to_owned),
        None => Some(format!("rules[{index}]")),
    };
    let conditions = match fields.get("match") {
        Some(spot) => conditions(&spot, around),
        None => Some(Conditions::default()),
    };
    let asks = conditions.as_ref().is_some_and(Conditions::ask_body);
    if asks && !with_body {
        fields.fault("asks the body, which a WebSocket's request does not have");
    }
    let agents = fields
        .need("agents")
        .map(|spot| choices(&spot, around.agents, around.agents_by_name));
    let prefer = load::prefer(fields);
    if let Some(agents) = &agents {
        load::check(fields, prefer.unwrap_or(of_route), agents, around.agents);
    }
    let fallback = fields
        .get("fallback")
        .map(|spot| fallback(&spot, around, agents.as_deref().unwrap_or_default()));
    let roles = fields.get("roles").map(|spot| super::clients::roles(&spot));
    let otherwise = fields.get("otherwise").and_then(|spot| {
        if conditions.is_some() && !asks {
            spot.fault("has no meaning here: no condition of this rule asks the body");
        }
        spot.choice(&[
            ("refuse", Otherwise::Refuse),
            ("skip", Otherwise::Skip),
            ("take", Otherwise::Take),
        ])
    });
    Some(Rule {
        name: name?,
        conditions: conditions?,
        agents: agents?,
        prefer,
        fallback,
        roles: roles.unwrap_or_default(),
        otherwise: otherwise.unwrap_or(Otherwise::Refuse),
    })
}

#[inline(never)]
fn conditions(spot: &Spot<'_>, around: &Around<'_>) -> Option<Conditions> {
    let fields = spot.fields(CONDITION_FIELDS)?;
    let mut met = Conditions::default();
    let methods = METHODS.map(|method| (method, method));
    for (name, condition) in fields.iter() {
        match name {
            "header" => met.headers = headers(&condition, around),
            "query" => met.query = query(&condition, around),
            "body" => met.members = members(&condition),
            "tools" => met.tools = condition.flag(),
            "images" => met.images = condition.flag(),
            "stream" => met.stream = condition.flag(),
            "size" => met.size = size(&condition),
            _ => {
                for spot in one_or_more(&condition) {
                    match name {
                        "method" => met.methods.extend(spot.choice(&methods).map(str::to_owned)),
                        "host" => met.hosts.extend(host(&spot)),
                        "plan" => met.plans.extend(spot.reference("plan", around.plans)),
                        "team" => met
                            .teams
                            .extend(spot.checked(names::name).map(str::to_owned)),
                        "role" => met
                            .roles
                            .extend(spot.checked(names::name).map(str::to_owned)),
                        "tool" => met.called.extend(pattern(&spot)),
                        "model" => met.models.extend(model_pattern(&spot)),
                        _ => {}
                    }
                }
            }
        }
    }
    if met.methods.iter().any(|method| method == "GET") {
        met.methods.push("HEAD".to_owned());
    }
    Some(met)
}

pub(super) fn pattern(spot: &Spot<'_>) -> Option<Pattern> {
    let text = spot.text()?;
    if text.chars().any(char::is_control) {
        spot.fault(format!("{} holds control characters", shown(text)));
        return None;
    }
    match Pattern::read(text) {
        Ok(pattern) => Some(pattern),
        Err(fault) => {
            spot.fault(fault);
            None
        }
    }
}

/// A host's name, whole or from its second label on: `*.example.com`.
fn host(spot: &Spot<'_>) -> Option<Pattern> {
    let text = spot.text()?;
    let name = text.strip_prefix("*.").unwrap_or(text);
    if name.contains('*') {
        spot.fault("a * can only stand for a host's first labels, as in *.example.com");
        return None;
    }
    if let Err(fault) = hosts::name(name) {
        spot.fault(fault);
        return None;
    }
    let pattern = Pattern::read(&text.to_ascii_lowercase());
    pattern.ok()
}

fn headers(spot: &Spot<'_>, around: &Around<'_>) -> Vec<(String, Vec<Pattern>)> {
    let named = spot.headers(MOST_VALUES);
    some(spot);
    let mut headers: Vec<(String, Vec<Pattern>)> = Vec::new();
    for (name, values) in named.iter().flat_map(Fields::iter) {
        let read = one_or_more(&values).into_iter().filter_map(|spot| {
            spot.checked(names::header_value)?;
            pattern(&spot)
        });
        let read = read.collect();
        if let Some(name) = super::limits::header(name, &values, around.key_sources) {
            if headers.iter().any(|(other, _)| *other == name) {
                values.fault("this header is already named, in other letters");
            }
            headers.push((name, read));
        }
    }
    headers
}

fn query(spot: &Spot<'_>, around: &Around<'_>) -> Vec<(String, Vec<Pattern>)> {
    let named = spot.named(MOST_VALUES);
    some(spot);
    let mut query = Vec::new();
    for (name, values) in named.iter().flat_map(Fields::iter) {
        let read = one_or_more(&values);
        let read = read.into_iter().filter_map(|spot| pattern(&spot)).collect();
        let holds_keys = |source: &KeySource| matches!(source, KeySource::Query { name: other, .. } if other == name);
        if let Err(fault) = names::parameter(name) {
            values.fault(fault);
        } else if around.key_sources.iter().any(holds_keys) {
            values.fault("that is where keys stand, and they are taken out");
        } else {
            query.push((name.to_owned(), read));
        }
    }
    query
}

/// Members of the body, by their pointers.
fn members(spot: &Spot<'_>) -> Vec<(String, Vec<Expected>)> {
    let named = spot.named(MOST_VALUES);
    some(spot);
    let mut members = Vec::new();
    for (pointer, values) in named.iter().flat_map(Fields::iter) {
        if let Err(bad) = Search::new().member(pointer) {
            values.fault(format!(
                "{} is no JSON pointer such as /metadata/tier: {bad}",
                shown(pointer)
            ));
            continue;
        }
        members.push((pointer.to_owned(), expected(&values)));
    }
    members
}

/// A mapping of conditions without one would be met by every request.
fn some(spot: &Spot<'_>) {
    if matches!(spot.node(), Node::Map(fields) if fields.is_empty()) {
        spot.fault("is empty, so every request would meet it; write at least one entry");
    }
}

fn expected(spot: &Spot<'_>) -> Vec<Expected> {
    let one = |spot: &Spot<'_>| match spot.node() {
        Node::Bool(flag) => Some(Expected::Bool(*flag)),
        Node::Number(number) if number.is_finite() => Some(Expected::Number(*number)),
        Node::Text(_) => pattern(spot).map(Expected::Text),
        _ => {
            spot.fault("expected a text, a number, true or false, or a list of them");
            None
        }
    };
    if matches!(spot.node(), Node::List(_)) {
        let items = spot.nonempty_list(MOST_VALUES).into_iter().flatten();
        return items.filter_map(|item| one(&item)).collect();
    }
    one(spot).into_iter().collect()
}

fn size(spot: &Spot<'_>) -> Option<Size> {
    let fields = spot.fields(SIZE_FIELDS)?;
    let read = |name| {
        fields
            .get(name)
            .and_then(|spot| spot.size(1..=LARGEST_SIZE))
    };
    let (from, below) = (read("from"), read("below"));
    if fields.get("from").is_none() && fields.get("below").is_none() {
        fields.fault("must have from or below");
    }
    if let (Some(from), Some(below)) = (from, below)
        && from >= below
    {
        fields.fault("no size is so: from is not below below");
    }
    Some(Size {
        from: from.unwrap_or(0),
        below: below.unwrap_or(u64::MAX),
    })
}
