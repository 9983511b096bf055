//! Which of a route's agents a request may go to: by the route's rules, which go in order, and by what the agents say of
//! themselves, their models and capabilities.

mod meets;

use super::content::{Asked, BadBody, Content, Known, Stated, Wanted, Wanting};
use super::head::Head;
use super::model::ModelInPath;
use crate::config::policy::{
    Agent, AgentId, Choice, Conditions, MODEL, Otherwise, Policy, Protocol, Route, Rule, STREAM,
    TOOLS,
};
use crate::text::json::{AnywhereId, Value};

use meets::{Meets, any, one_of};

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
    /// Some of these cannot be looked for beside the others. Then no body decides.
    is_confused: bool,
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
        // Pointers have been checked, all of a route together. Were one of them lost all the same, its condition would be too.
        let mut is_confused = false;
        let mut member = |pointer: &str| {
            let asked = wanting.member(pointer);
            is_confused |= asked.is_none();
            asked
        };
        let model = asks_model.then(|| member(MODEL)).flatten();
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
        let stream = asks_stream.then(|| member(STREAM)).flatten();
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
            is_confused,
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
            self.ask(content)?;
        }
        let mut doubtful = None;
        for (name, met) in self.of_body(index, conditions, policy, head, content)? {
            match met {
                Meets::Yes => {}
                Meets::No => return Ok(Judged::Unmet(name)),
                Meets::Unknown => unknown = unknown.or(Some(name)),
                Meets::Doubtful(bad) => doubtful = doubtful.or(Some(bad)),
            }
        }
        match (unknown, doubtful) {
            (Some(unknown), _) => Ok(Judged::Unknown(unknown)),
            (None, Some(bad)) => Err(bad),
            (None, None) => Ok(Judged::Met),
        }
    }

    /// Notes that something depends on the body.
    fn ask(&self, content: Option<&Content>) -> Result<(), BadBody> {
        if self.is_confused {
            return Err(BadBody::Confused);
        }
        content.map_or(Ok(()), Content::ask)
    }

    /// The conditions that ask the body, and whether each is met, as far as that is known.
    fn of_body(
        &self,
        index: usize,
        conditions: &Conditions,
        policy: &Policy,
        head: &Head<'_>,
        content: Option<&Content>,
    ) -> Result<Vec<(&'static str, Meets)>, BadBody> {
        let mut met: Vec<(&'static str, Meets)> = Vec::new();
        if !conditions.models.is_empty() {
            let of_these = |model: &[u8]| {
                let model = stands_for(policy, model);
                conditions
                    .models
                    .iter()
                    .any(|pattern| pattern.matches(model))
            };
            met.push(("model", self.model(head, content)?.map(of_these).into()));
        }
        let ids = self.members.get(index).into_iter().flatten();
        for ((_, expected), id) in conditions.members.iter().zip(ids) {
            let is = content.map_or(Known::Absent, |content| content.member(*id));
            let meets = match is {
                Known::Unknown => Meets::Unknown,
                Known::Absent => Meets::No,
                Known::Found(said) => one_of(expected, said),
            };
            met.push(("body", meets));
        }
        if let Some(wanted) = conditions.tools {
            let offered = self.tools.iter().map(|id| {
                let is = content.map_or(Known::Absent, |content| content.member(*id));
                is.map(|said| said != Stated::Value(&Value::Null))
            });
            met.push((
                "tools",
                any(offered).map(|offered| offered == wanted).into(),
            ));
        }
        if let Some(wanted) = conditions.images {
            let seen = self.images.iter().map(|id| {
                let is = content.map_or(Known::Absent, |content| content.has(*id));
                is.map(|()| true)
            });
            met.push(("images", any(seen).map(|seen| seen == wanted).into()));
        }
        if let (Some(wanted), Some(id)) = (conditions.stream, self.stream) {
            let is = content.map_or(Known::Absent, |content| content.member(id));
            let streams = is.map(|said| {
                matches!(
                    said,
                    Stated::Value(Value::Bool(true)) | Stated::Field("true")
                )
            });
            met.push(("stream", streams.map(|streams| streams == wanted).into()));
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
        self.ask(content)?;
        let (Some(id), Some(content)) = (self.model, content) else {
            return Ok(Known::Absent);
        };
        match content.member(id) {
            Known::Unknown => Ok(Known::Unknown),
            Known::Absent | Known::Found(Stated::Value(Value::Null)) => Ok(Known::Absent),
            Known::Found(Stated::Value(Value::Text(model))) if is_name(model) => {
                Ok(Known::Found(model.as_bytes()))
            }
            Known::Found(Stated::Field(model)) if is_name(model) => {
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
    pub fn settle(&self, content: &mut Content, model: &ModelInPath) {
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

/// Readers differ in what they make of control characters: for some a name ends there, some leave them out.
fn is_name(model: &str) -> bool {
    model.len() <= LONGEST_MODEL && !model.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
