//! Which of a route's agents a request may go to: by the route's rules, which go in order, and by what the agents say of
//! themselves, their models and capabilities.

use super::content::{Asked, BadBody, Content, Known, Said, Wanted, Wanting};
use crate::config::policy::{
    Agent, Choice, Conditions, Expected, Otherwise, PlanId, Policy, Protocol, Route, Rule,
};
use crate::host::HeaderBlock;
use crate::text::escapes;
use crate::text::json::{AnywhereId, Value};
use crate::text::paths::{split_once, split_query};
use crate::text::pattern::Pattern;

/// Where bodies name what is asked for, in the interfaces of the field.
const TOOLS: [&str; 3] = ["/tools", "/functions", "/toolConfig"];
/// Kinds of parts of a prompt that are images, and members that hold one.
const IMAGE_TYPES: [&str; 3] = ["image_url", "input_image", "image"];
const IMAGES: [&str; 4] = ["image_url", "inlineData", "inline_data", "images"];

/// The longest name of a model.
const LONGEST_MODEL: usize = 256;

/// The rules of one route, made ready.
#[derive(Debug)]
pub struct Rules {
    wanted: Option<Wanted>,
    /// For each rule, its members of the body.
    members: Vec<Vec<Asked>>,
    model: Option<Asked>,
    tools: Vec<Asked>,
    images: Vec<AnywhereId>,
    stream: Option<Asked>,
    /// Names of models may stand for others.
    has_aliases: bool,
    /// Some agent may be asked for a model by another name than the caller's.
    renames: bool,
}

/// What is known of a request before its body.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Its method.
    pub method: &'a [u8],
    /// The host that it asks, as it stands there.
    pub authority: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a HeaderBlock,
    /// Its path, with the query.
    pub path: &'a [u8],
    /// Its client's plan.
    pub plan: Option<PlanId>,
    /// Its client's team.
    pub team: Option<&'a str>,
    /// Its client's roles.
    pub roles: &'a [String],
    /// The model that its path names.
    pub model: Option<&'a [u8]>,
}

/// What rules come to.
#[derive(Debug, PartialEq)]
pub enum Decision<'a> {
    /// This one takes the request.
    Rule(&'a Rule),
    /// None does.
    NoRule,
    /// More of the body has to be read.
    Wait,
}

/// Whether a rule takes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It does.
    Met,
    /// It does not: this condition is not met.
    Unmet(&'static str),
    /// The body has not said yet whether this condition is met.
    Unknown(&'static str),
}

impl Rules {
    /// The rules of a route. `None`: there is nothing to decide but by name and weight.
    #[must_use]
    pub fn new(policy: &Policy, route: &Route) -> Option<Self> {
        let agents = || route.all_agents().filter_map(|id| policy.agents.get(id.0));
        let serve_models = agents().any(|agent| !agent.models.is_empty());
        let capable = agents().any(|agent| !agent.capabilities.is_empty());
        if route.rules.is_empty() && !serve_models && !capable {
            return None;
        }
        let conditions = || route.rules.iter().map(|rule| &rule.conditions);
        let asks_model = serve_models || conditions().any(|it| !it.models.is_empty());
        let has_aliases = asks_model && !policy.model_aliases.is_empty();
        let renamed = |agent: &Agent| agent.models.iter().any(|model| model.sent_as.is_some());
        let mut wanting = Wanting::default();
        // Pointers have been checked; one that is none finds nothing.
        let mut member = |pointer: &str| wanting.member(pointer);
        let model = asks_model.then(|| member("/model")).flatten();
        let members = conditions()
            .map(|it| {
                it.members
                    .iter()
                    .filter_map(|(pointer, _)| member(pointer))
                    .collect()
            })
            .collect();
        let asks_tools = conditions().any(|it| it.tools.is_some());
        let tools = TOOLS
            .iter()
            .filter(|_| asks_tools)
            .filter_map(|it| member(it))
            .collect();
        let asks_stream = conditions().any(|it| it.stream.is_some());
        let stream = asks_stream.then(|| member("/stream")).flatten();
        let asks_images = conditions().any(|it| it.images.is_some());
        let mut images = Vec::new();
        if asks_images {
            images.push(wanting.anywhere("type", &IMAGE_TYPES));
            images.extend(IMAGES.map(|name| wanting.anywhere(name, &[])));
        }
        // A WebSocket's request has none, and its end would be waited for in vain.
        let has_body = route.protocol != Protocol::Websocket;
        let asks_body = asks_model || conditions().any(Conditions::ask_body);
        Some(Self {
            wanted: (asks_body && has_body).then(|| wanting.of(route)),
            members,
            model,
            tools,
            images,
            stream,
            has_aliases,
            renames: has_aliases || agents().any(renamed),
        })
    }

    /// What is looked for in bodies. `None`: they decide nothing.
    #[must_use]
    pub fn wanted(&self) -> Option<&Wanted> {
        self.wanted.as_ref()
    }

    /// True if the body may have to be changed.
    #[must_use]
    pub fn rename(&self) -> bool {
        self.renames
    }

    /// The first of these rules, which are the route's own, that takes a request. `content` is its body, if it has one.
    ///
    /// # Errors
    /// When the body would decide, and cannot.
    pub fn decide<'r>(
        &self,
        rules: &'r [Rule],
        policy: &Policy,
        head: &Head<'_>,
        content: Option<&Content>,
    ) -> Result<Decision<'r>, BadBody> {
        for (index, rule) in rules.iter().enumerate() {
            let unknown = match self.judge(index, rule, policy, head, content)? {
                Judged::Met => return Ok(Decision::Rule(rule)),
                Judged::Unmet(_) => continue,
                Judged::Unknown(_) => content.filter(|it| it.is_spent()),
            };
            let Some(spent) = unknown else {
                return Ok(Decision::Wait);
            };
            match rule.otherwise {
                Otherwise::Refuse => return Err(spent.too_late()),
                Otherwise::Skip => {}
                Otherwise::Take => return Ok(Decision::Rule(rule)),
            }
        }
        Ok(Decision::NoRule)
    }

    /// Whether a rule, the one at this place of its route, takes a request.
    ///
    /// # Errors
    /// When the body would decide, and cannot.
    pub fn judge(
        &self,
        index: usize,
        rule: &Rule,
        policy: &Policy,
        head: &Head<'_>,
        content: Option<&Content>,
    ) -> Result<Judged, BadBody> {
        let conditions = &rule.conditions;
        if let Some(unmet) = head.unmet(conditions) {
            return Ok(Judged::Unmet(unmet));
        }
        let sized = conditions.size.map(|size| {
            let (least, most) = content.map_or((0, 0), Content::size);
            size.holds(least, most)
        });
        if sized == Some(Some(false)) {
            return Ok(Judged::Unmet("size"));
        }
        let mut unknown = (sized == Some(None)).then_some("size");
        if conditions.ask_members() || !conditions.models.is_empty() {
            content.map_or(Ok(()), Content::ask)?;
        }
        for (name, met) in self.of_body(index, conditions, policy, head, content)? {
            match met {
                Some(true) => {}
                Some(false) => return Ok(Judged::Unmet(name)),
                None => unknown = unknown.or(Some(name)),
            }
        }
        Ok(unknown.map_or(Judged::Met, Judged::Unknown))
    }

    /// The conditions that ask the body, and whether each is met, as far as that is known.
    fn of_body(
        &self,
        index: usize,
        conditions: &Conditions,
        policy: &Policy,
        head: &Head<'_>,
        content: Option<&Content>,
    ) -> Result<Vec<(&'static str, Option<bool>)>, BadBody> {
        let mut met = Vec::new();
        if !conditions.models.is_empty() {
            let of_these = |model: &[u8]| {
                let model = stands_for(policy, model);
                conditions
                    .models
                    .iter()
                    .any(|pattern| pattern.matches(model))
            };
            met.push((
                "model",
                match self.model(head, content)? {
                    Known::Unknown => None,
                    Known::Absent => Some(false),
                    Known::Found(model) => Some(of_these(model)),
                },
            ));
        }
        let ids = self.members.get(index).into_iter().flatten();
        for ((_, expected), id) in conditions.members.iter().zip(ids) {
            let is = content.map_or(Known::Absent, |content| content.member(*id));
            met.push((
                "body",
                is.map(|said| expected.iter().any(|it| is_expected(it, said))),
            ));
        }
        if let Some(wanted) = conditions.tools {
            let offered = self.tools.iter().map(|id| {
                let is = content.map_or(Known::Absent, |content| content.member(*id));
                is.map(|said| said != Said::Value(&Value::Null))
            });
            met.push(("tools", any(offered).map(|offered| offered == wanted)));
        }
        if let Some(wanted) = conditions.images {
            let seen = self.images.iter().map(|id| {
                let is = content.map_or(Known::Absent, |content| content.has(*id));
                is.map(|()| true)
            });
            met.push(("images", any(seen).map(|seen| seen == wanted)));
        }
        if let (Some(wanted), Some(id)) = (conditions.stream, self.stream) {
            let is = content.map_or(Known::Absent, |content| content.member(id));
            let streams = is.map(|said| is_expected(&Expected::Bool(true), said));
            met.push(("stream", streams.map(|streams| streams == wanted)));
        }
        Ok(met)
    }

    /// The model that a request asks for, by its own word.
    ///
    /// # Errors
    /// When the body names it by something that is no name.
    pub fn model<'a>(
        &self,
        head: &Head<'a>,
        content: Option<&'a Content>,
    ) -> Result<Known<&'a [u8]>, BadBody> {
        if let Some(model) = head.model {
            return Ok(Known::Found(model));
        }
        content.map_or(Ok(()), Content::ask)?;
        let (Some(id), Some(content)) = (self.model, content) else {
            return Ok(Known::Absent);
        };
        match content.member(id) {
            Known::Unknown => Ok(Known::Unknown),
            Known::Absent | Known::Found(Said::Value(Value::Null)) => Ok(Known::Absent),
            Known::Found(Said::Value(Value::Text(model))) if model.len() <= LONGEST_MODEL => {
                Ok(Known::Found(model.as_bytes()))
            }
            Known::Found(Said::Field(model)) if model.len() <= LONGEST_MODEL => {
                Ok(Known::Found(model.as_bytes()))
            }
            Known::Found(_) => Err(BadBody::NoModelName),
        }
    }

    /// True if the model must be known to choose among these: some serve models of their own only.
    #[must_use]
    pub fn need_model(&self, policy: &Policy, choices: &[Choice]) -> bool {
        let mut agents = choices
            .iter()
            .filter_map(|it| policy.agents.get(it.agent.0));
        agents.any(|agent| !agent.models.is_empty())
    }

    /// True if the model is wanted where the body is read in any case: the caller may call it by an alias.
    #[must_use]
    pub fn want_model(&self, content: Option<&Content>) -> bool {
        self.has_aliases && content.is_some_and(Content::is_asked)
    }

    /// The path names the model: the body names no other.
    pub fn settle(&self, content: &mut Content, model: &[u8]) {
        if let Some(id) = self.model {
            content.settle(id, model);
        }
    }

    /// True if something may depend on the model.
    #[must_use]
    pub fn ask_model(&self) -> bool {
        self.model.is_some()
    }

    /// Where the body names the model.
    #[must_use]
    pub fn place_of_model(&self, content: &Content) -> Option<std::ops::Range<u64>> {
        content.place(self.model?)
    }
}

/// The model that a name stands for, where it is an alias; else the name.
#[must_use]
pub fn stands_for<'a>(policy: &'a Policy, name: &'a [u8]) -> &'a [u8] {
    let aliases = &policy.model_aliases;
    let found = aliases.binary_search_by(|(alias, _)| alias.as_bytes().cmp(name));
    let model = found.ok().and_then(|place| aliases.get(place));
    model.map_or(name, |(_, model)| model.as_bytes())
}

/// What an agent calls a model, where that is not what the caller has called it.
#[must_use]
pub fn sent_as<'a>(policy: &'a Policy, agent: &'a Agent, name: &'a [u8]) -> Option<&'a str> {
    let model = stands_for(policy, name);
    let mut own = agent.models.iter().filter(|it| it.name.matches(model));
    let renamed = own.find_map(|it| it.sent_as.as_deref());
    let sent = renamed.map_or(model, str::as_bytes);
    (sent != name)
        .then(|| std::str::from_utf8(sent).ok())
        .flatten()
}

impl Head<'_> {
    /// The first condition on it that is not met.
    fn unmet(&self, conditions: &Conditions) -> Option<&'static str> {
        let one_of = |names: &[String], name: Option<&str>| {
            names.is_empty() || name.is_some_and(|name| names.iter().any(|other| other == name))
        };
        let Conditions {
            methods,
            hosts,
            headers,
            query,
            plans,
            teams,
            roles,
            ..
        } = conditions;
        let method = methods.is_empty() || methods.iter().any(|it| it.as_bytes() == self.method);
        let host = || {
            hosts.is_empty()
                || self
                    .authority
                    .is_some_and(|it| is_one_of(hosts, &host_of(it)))
        };
        let header = |(name, values): &(String, Vec<Pattern>)| {
            let lines = self.headers.get_all(name).map(<[u8]>::trim_ascii);
            all_are(lines.map(std::borrow::Cow::Borrowed), values)
        };
        let parameter = |(name, values): &(String, Vec<Pattern>)| {
            all_are(
                parameters(self.path, name).map(std::borrow::Cow::Owned),
                values,
            )
        };
        let plan = plans.is_empty() || self.plan.is_some_and(|plan| plans.contains(&plan));
        let role = || roles.is_empty() || roles.iter().any(|role| self.roles.contains(role));
        if !method {
            Some("method")
        } else if !host() {
            Some("host")
        } else if !headers.iter().all(header) {
            Some("header")
        } else if !query.iter().all(parameter) {
            Some("query")
        } else if !plan {
            Some("plan")
        } else if !one_of(teams, self.team) {
            Some("team")
        } else if !role() {
            Some("role")
        } else {
            None
        }
    }
}

impl<T> Known<T> {
    /// What holds of it, as far as it is known. Of what is absent, nothing does.
    fn map(self, holds: impl FnOnce(T) -> bool) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Absent => Some(false),
            Self::Found(it) => Some(holds(it)),
        }
    }
}

/// Whether any of these is so, as far as it is known.
fn any(all: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut known = Some(false);
    for one in all {
        match one {
            Some(true) => return Some(true),
            Some(false) => {}
            None => known = None,
        }
    }
    known
}

fn is_one_of(patterns: &[Pattern], word: &[u8]) -> bool {
    patterns.iter().any(|pattern| pattern.matches(word))
}

/// Whether there are such values, and each is one of those that are meant: agents differ in which of several they take.
fn all_are<'a>(
    values: impl Iterator<Item = std::borrow::Cow<'a, [u8]>>,
    patterns: &[Pattern],
) -> bool {
    let mut some = false;
    for value in values {
        if !is_one_of(patterns, &value) {
            return false;
        }
        some = true;
    }
    some
}

/// The values of a parameter of the query, without escapes.
fn parameters<'a>(path: &'a [u8], name: &'a str) -> impl Iterator<Item = Vec<u8>> + 'a {
    let plain = |text: &[u8]| {
        let mut plain = escapes::decoded(text, |_| true);
        if text.contains(&b'+') {
            plain = text
                .split(|byte| *byte == b'+')
                .map(|part| escapes::decoded(part, |_| true))
                .collect::<Vec<_>>()
                .join(&b' ');
        }
        plain
    };
    let query = split_query(path).1.unwrap_or_default();
    let pairs = query
        .split(|byte| *byte == b'&')
        .map(|pair| split_once(pair, b'='));
    let named = pairs.filter(move |(other, _)| plain(other) == name.as_bytes());
    named.map(move |(_, value)| plain(value.unwrap_or_default()))
}

/// The host's name as it is compared: without its port and a last dot, in lower case.
fn host_of(authority: &[u8]) -> Vec<u8> {
    let is_address = authority.first() == Some(&b'[');
    let colon = authority
        .iter()
        .rposition(|byte| *byte == b':')
        .filter(|_| !is_address);
    let name = colon
        .and_then(|colon| authority.get(..colon))
        .unwrap_or(authority);
    let name = name.strip_suffix(b".").unwrap_or(name);
    name.to_ascii_lowercase()
}

fn is_expected(expected: &Expected, said: Said<'_>) -> bool {
    let number = |text: &str, number: f64| text.parse().is_ok_and(|found: f64| found == number);
    match (expected, said) {
        // Of a longer one than is kept only that it is there is known.
        (Expected::Text(Pattern::Any), Said::Value(Value::TooLong) | Said::LongField) => true,
        (Expected::Text(pattern), Said::Value(Value::Text(text))) => {
            pattern.matches(text.as_bytes())
        }
        (Expected::Text(pattern), Said::Field(text)) => pattern.matches(text.as_bytes()),
        (Expected::Number(expected), Said::Value(Value::Number(text))) => number(text, *expected),
        (Expected::Number(expected), Said::Field(text)) => number(text, *expected),
        (Expected::Bool(flag), Said::Value(Value::Bool(found))) => *flag == *found,
        (Expected::Bool(flag), Said::Field(text)) => text == flag.to_string(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
