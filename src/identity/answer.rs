//! The document in which the validator says whose key it is: one JSON object, with members of their documented types.
//! Of anything else nothing is believed. Members that are not documented are skipped, unread.

use std::fmt;

use crate::config::policy::LimitSet;
use crate::config::{Log, MOST_ROLES, Node, OWN_LIMIT_FIELDS, Segment, Spot, own_limits};
use crate::text::names::is_name;

/// Whose key it is, and how long that may be believed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) client_id: String,
    pub(super) plan: Option<String>,
    pub(super) team: Option<String>,
    pub(super) organisation: Option<String>,
    pub(super) roles: Vec<String>,
    /// Its own limits, in place of its plan's.
    pub(super) limits: Option<LimitSet>,
    /// In seconds.
    pub(super) ttl: Option<u64>,
}

/// Why an answer is not believed. It names the member and never shows what stands there, which might be a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerFault(String);

/// The documented members as they are written.
#[derive(Default)]
struct Members {
    client_id: Member,
    plan: Member,
    team: Member,
    organisation: Member,
    roles: Member,
    limits: Member,
    ttl: Member,
}

#[derive(Default)]
enum Member {
    #[default]
    Absent,
    Once(Node),
    Twice,
}

// === impl Answer ===

impl Answer {
    /// Reads the body of an answer.
    pub(super) fn read(body: &[u8]) -> Result<Self, AnswerFault> {
        std::str::from_utf8(body).map_err(|_| AnswerFault::new("it is not UTF-8"))?;
        let members = Members::read(body)?;
        Ok(Self {
            client_id: match members.client_id.value("client_id")? {
                Some(node) => name(node, "client_id")?,
                None => return Err(AnswerFault::new("it has no client_id")),
            },
            plan: members.plan.name("plan")?,
            team: members.team.name("team")?,
            organisation: members.organisation.name("organisation")?,
            limits: match members.limits.value("limits")? {
                Some(node) => Some(limits(&node)?),
                None => None,
            },
            roles: match members.roles.value("roles")? {
                Some(node) => roles(node)?,
                None => Vec::new(),
            },
            ttl: match members.ttl.value("ttl")? {
                Some(node) => Some(seconds(&node)?),
                None => None,
            },
        })
    }
}

fn name(node: Node, place: &str) -> Result<String, AnswerFault> {
    match node {
        Node::Text(text) if is_name(&text) => Ok(text),
        Node::Text(_) => Err(AnswerFault(format!("{place}: a string that is no name"))),
        other => Err(AnswerFault(format!(
            "{place}: expected a name, found {}",
            kind(&other)
        ))),
    }
}

fn roles(node: Node) -> Result<Vec<String>, AnswerFault> {
    match node {
        Node::List(items) if items.len() > MOST_ROLES => Err(AnswerFault(format!(
            "roles: {} of them; at most {MOST_ROLES} are believed",
            items.len()
        ))),
        Node::List(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| name(item, &format!("roles[{index}]")))
            .collect(),
        other => Err(AnswerFault(format!(
            "roles: expected an array of names, found {}",
            kind(&other)
        ))),
    }
}

/// A plan's fields. Of what is wrong in them the field is told, and not what stands there.
fn limits(node: &Node) -> Result<LimitSet, AnswerFault> {
    let log = Log::default();
    let limits = own_limits(&Spot::root(node, &log));
    let faults = log.into_faults();
    if let (None, Some(limits)) = (&faults, limits) {
        return Ok(limits);
    }
    let first = faults.as_ref().and_then(|faults| faults.iter().next());
    let field = first.and_then(|fault| match fault.path.last() {
        Some(Segment::Field(name)) => OWN_LIMIT_FIELDS.iter().find(|field| *field == name),
        _ => None,
    });
    Err(AnswerFault(match field {
        Some(field) => format!("limits: {field} is not what a plan may have there"),
        None => "limits: expected an object with the fields of a plan".to_owned(),
    }))
}

fn seconds(node: &Node) -> Result<u64, AnswerFault> {
    node.whole().ok_or_else(|| {
        let found = match node {
            Node::Number(_) => "another number",
            other => kind(other),
        };
        AnswerFault(format!(
            "ttl: expected a whole number of seconds from 0, found {found}"
        ))
    })
}

/// What JSON calls such a value.
fn kind(node: &Node) -> &'static str {
    match node {
        Node::Null => "null",
        Node::Bool(_) => "a boolean",
        Node::Number(_) => "a number",
        Node::Text(_) => "a string",
        Node::List(_) => "an array",
        Node::Map(_) => "an object",
    }
}

// === impl AnswerFault ===

impl AnswerFault {
    fn new(what: &str) -> Self {
        Self(what.to_owned())
    }
}

impl fmt::Display for AnswerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AnswerFault {}

// === impl Members ===

impl Members {
    fn read(body: &[u8]) -> Result<Self, AnswerFault> {
        let node = Node::read(body, &|name| Self::default().documented(name).is_some());
        let node = node.map_err(|error| AnswerFault(format!("it is not JSON: {error}")))?;
        let Node::Map(fields) = node else {
            return Err(AnswerFault::new("it is no JSON object"));
        };
        let mut members = Self::default();
        for (name, node) in fields {
            if let Some(member) = members.documented(&name) {
                *member = match member {
                    Member::Absent => Member::Once(node),
                    _ => Member::Twice,
                };
            }
        }
        Ok(members)
    }

    fn documented(&mut self, name: &str) -> Option<&mut Member> {
        match name {
            "client_id" => Some(&mut self.client_id),
            "plan" => Some(&mut self.plan),
            "team" => Some(&mut self.team),
            "organisation" => Some(&mut self.organisation),
            "roles" => Some(&mut self.roles),
            "limits" => Some(&mut self.limits),
            "ttl" => Some(&mut self.ttl),
            _ => None,
        }
    }
}

// === impl Member ===

impl Member {
    /// What is written; `null` is as good as nothing.
    fn value(self, place: &str) -> Result<Option<Node>, AnswerFault> {
        match self {
            Self::Absent | Self::Once(Node::Null) => Ok(None),
            Self::Once(node) => Ok(Some(node)),
            Self::Twice => Err(AnswerFault(format!(
                "{place}: written twice; only one can count"
            ))),
        }
    }

    fn name(self, place: &str) -> Result<Option<String>, AnswerFault> {
        self.value(place)?.map(|node| name(node, place)).transpose()
    }
}
