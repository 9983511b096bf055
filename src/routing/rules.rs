//! Which of a route's agents a request may go to: by the route's rules, which go in order, and by what the agents say of
//! themselves, their models and capabilities.

use super::content::{Asked, BadBody, Content, Known, Stated, Wanted, Wanting};
use super::head::Head;
use crate::config::policy::{
    Agent, AgentId, Choice, Conditions, Expected, Otherwise, Policy, Protocol, Route, Rule,
};
use crate::text::decimal;
use crate::text::json::{AnywhereId, Value};
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
                is.map(|said| said != Stated::Value(&Value::Null))
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
            Known::Absent | Known::Found(Stated::Value(Value::Null)) => Ok(Known::Absent),
            Known::Found(Stated::Value(Value::Text(model))) if model.len() <= LONGEST_MODEL => {
                Ok(Known::Found(model.as_bytes()))
            }
            Known::Found(Stated::Field(model)) if model.len() <= LONGEST_MODEL => {
                Ok(Known::Found(model.as_bytes()))
            }
            Known::Found(_) => Err(BadBody::NoModelName),
        }
    }

    /// True if the model must be known to choose among these, and who comes next: some serve models of their own only.
    #[must_use]
    pub fn need_model(
        &self,
        policy: &Policy,
        choices: &[Choice],
        next: Option<&[AgentId]>,
    ) -> bool {
        let next = next.unwrap_or_default().iter();
        let all = choices.iter().map(|choice| &choice.agent).chain(next);
        let mut agents = all.filter_map(|id| policy.agents.get(id.0));
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

fn is_expected(expected: &Expected, said: Stated<'_>) -> bool {
    let number = |text: &str, number: f64| decimal::read(text).is_some_and(|found| found == number);
    match (expected, said) {
        // Of a longer one than is kept only that it is there is known.
        (Expected::Text(Pattern::Any), Stated::Value(Value::TooLong) | Stated::LongField) => true,
        (Expected::Text(pattern), Stated::Value(Value::Text(text))) => {
            pattern.matches(text.as_bytes())
        }
        (Expected::Text(pattern), Stated::Field(text)) => pattern.matches(text.as_bytes()),
        (Expected::Number(expected), Stated::Value(Value::Number(text))) => number(text, *expected),
        (Expected::Number(expected), Stated::Field(text)) => number(text, *expected),
        (Expected::Bool(flag), Stated::Value(Value::Bool(found))) => *flag == *found,
        (Expected::Bool(flag), Stated::Field(text)) => text == flag.to_string(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
