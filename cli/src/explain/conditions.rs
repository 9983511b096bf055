//! What the conditions of rules ask for, and what a request is instead, in words.

use serde_json::Value;
use waykeeper::config::policy::{Expected, PlanId, Rule};
use waykeeper::config::show_size;
use waykeeper::routing::{Content, Head, Known, Rules, stands_for};
use waykeeper::text::pattern::Pattern;

use super::found::Meeting;

/// A request, and what a route's rules see of it.
pub(super) struct Words<'a, 'm> {
    pub(super) meeting: &'m Meeting<'a>,
    pub(super) head: Head<'m>,
    pub(super) rules: &'m Rules,
    /// The body as other readers have it.
    pub(super) json: Option<Value>,
}

impl Words<'_, '_> {
    /// What a condition asks for.
    pub(super) fn wanted(&self, rule: &Rule, condition: &str) -> String {
        let met = &rule.conditions;
        let flag = |flag: Option<bool>, yes: &str, no: &str| {
            if flag == Some(true) {
                yes.to_owned()
            } else {
                no.to_owned()
            }
        };
        let plan = |id: &PlanId| {
            self.meeting
                .policy
                .plans
                .get(id.0)
                .map_or("", |plan| plan.name.as_str())
        };
        match condition {
            "method" => format!("for the method {}", one_of(met.methods.iter())),
            "host" => format!("for the host {}", one_of(met.hosts.iter())),
            "header" => format!("for the header {}", named(&met.headers)),
            "query" => format!("for the parameter {}", named(&met.query)),
            "plan" => format!("for the plan {}", one_of(met.plans.iter().map(plan))),
            "team" => format!("for the team {}", one_of(met.teams.iter())),
            "role" => format!("for the role {}", one_of(met.roles.iter())),
            "tool" => format!("for the tool {}", one_of(met.called.iter())),
            "model" => format!("for the model {}", one_of(met.models.iter())),
            "body" => format!(
                "for bodies with {}",
                met.members
                    .iter()
                    .map(|(pointer, values)| format!(
                        "{pointer}: {}",
                        one_of(values.iter().map(Shown))
                    ))
                    .collect::<Vec<_>>()
                    .join(" and ")
            ),
            "tools" => flag(
                met.tools,
                "for bodies that offer tools",
                "for bodies that offer no tools",
            ),
            "images" => flag(
                met.images,
                "for bodies with images",
                "for bodies without images",
            ),
            "stream" => flag(
                met.stream,
                "for bodies that ask for a stream",
                "for bodies that ask for no stream",
            ),
            "size" => match met.size {
                Some(size) if size.below == u64::MAX => {
                    format!("for bodies from {}", show_size(size.from))
                }
                Some(size) if size.from == 0 => {
                    format!("for bodies below {}", show_size(size.below))
                }
                Some(size) => format!(
                    "for bodies from {} and below {}",
                    show_size(size.from),
                    show_size(size.below)
                ),
                None => String::new(),
            },
            other => other.to_owned(),
        }
    }

    /// What the request is instead.
    pub(super) fn is(&self, rule: &Rule, condition: &str, content: Option<&Content>) -> String {
        let head = &self.head;
        let text = |bytes: Option<&[u8]>| {
            bytes.map_or("none".to_owned(), |bytes| {
                String::from_utf8_lossy(bytes).into_owned()
            })
        };
        let plan = head.plan.and_then(|id| self.meeting.policy.plans.get(id.0));
        match condition {
            "method" => format!("it is {}", text(Some(head.method))),
            "host" => format!("it asks {}", text(head.authority)),
            "header" => {
                let values = rule.conditions.headers.iter().map(|(name, _)| {
                    let lines: Vec<String> = head
                        .headers
                        .get_all(name)
                        .map(|value| text(Some(value)))
                        .collect();
                    match lines.as_slice() {
                        [] => format!("no {name}"),
                        lines => format!("{name}: {}", lines.join(" and ")),
                    }
                });
                format!("it has {}", values.collect::<Vec<_>>().join(", "))
            }
            "query" => match waykeeper::text::paths::split_query(head.path).1 {
                Some(_) => "its query has another value, or none".to_owned(),
                None => "it has no query".to_owned(),
            },
            "plan" => plan.map_or("the client has none".to_owned(), |plan| {
                format!("the client's is {}", plan.name)
            }),
            "team" => head.team.map_or("the client has none".to_owned(), |team| {
                format!("the client's is {team}")
            }),
            "tool" => head.tool.map_or("it calls none".to_owned(), |tool| {
                format!("it calls {tool}")
            }),
            "role" if head.roles.is_empty() => "the client has none".to_owned(),
            "role" => format!("the client has {}", head.roles.join(", ")),
            "model" => match self.rules.model(head, content) {
                Ok(Known::Found(model)) => {
                    let other = stands_for(self.meeting.policy, model);
                    let alias = if other == model {
                        String::new()
                    } else {
                        format!(", which stands for {}", text(Some(other)))
                    };
                    format!("it asks for {}{alias}", text(Some(model)))
                }
                _ => "it names none".to_owned(),
            },
            "size" => format!(
                "its body has {}",
                super::told::bytes(self.meeting.arrived.body.as_ref().map_or(0, Vec::len))
            ),
            _ if content.is_none() => "it has no body".to_owned(),
            "body" if self.json.is_none() => "it has other fields, or none".to_owned(),
            "body" => {
                let values = rule.conditions.members.iter().map(|(pointer, _)| {
                    let value = self.json.as_ref().and_then(|json| json.pointer(pointer));
                    match value {
                        None => format!("no {pointer}"),
                        Some(Value::Array(_)) => format!("{pointer}: a list"),
                        Some(Value::Object(_)) => format!("{pointer}: an object"),
                        Some(value) => format!("{pointer}: {value}"),
                    }
                });
                format!("it has {}", values.collect::<Vec<_>>().join(" and "))
            }
            "tools" => not(rule.conditions.tools, "it offers none", "it offers some"),
            "images" => not(rule.conditions.images, "it has none", "it has some"),
            "stream" => not(
                rule.conditions.stream,
                "it asks for none",
                "it asks for one",
            ),
            _ => "it is not".to_owned(),
        }
    }
}

fn not(wanted: Option<bool>, yes: &str, no: &str) -> String {
    if wanted == Some(true) { yes } else { no }.to_owned()
}

fn one_of<T: std::fmt::Display>(words: impl Iterator<Item = T>) -> String {
    let words: Vec<String> = words.map(|word| word.to_string()).collect();
    words.join(" or ")
}

fn named(values: &[(String, Vec<Pattern>)]) -> String {
    let each = values
        .iter()
        .map(|(name, values)| format!("{name}: {}", one_of(values.iter())));
    each.collect::<Vec<_>>().join(" and ")
}

/// An expected value, as it is written.
struct Shown<'a>(&'a Expected);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Expected::Text(pattern) => write!(f, "{pattern}"),
            Expected::Number(number) => write!(f, "{number}"),
            Expected::Bool(flag) => write!(f, "{flag}"),
        }
    }
}
