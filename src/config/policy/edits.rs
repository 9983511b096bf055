//! Edits: what is changed of a route's requests, and of the answers to them.

use std::fmt;

/// What is changed of requests on their way to the agent, and of its answers on their way back.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Edits {
    /// Of the request's headers.
    pub request: HeaderEdits,
    /// As which host the agent is asked. `None`: as the caller has asked.
    pub host: Option<String>,
    /// Of the request's body, by JSON pointers; none lies in another. Where there are any, so are
    /// [`Route::collect_body`](super::Route::collect_body) and `max_body`.
    pub body: Vec<(String, BodyEdit)>,
    /// Of the answer's headers.
    pub response: HeaderEdits,
}

/// What is changed of headers. Names are in lower case, and stand there once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeaderEdits {
    /// These have this value and no other. Where the value says something that is not known, they are removed.
    pub set: Vec<(String, Template)>,
    /// These have this value beside those that they have.
    pub add: Vec<(String, Template)>,
    /// These are not there.
    pub remove: Vec<String>,
}

/// What becomes of a member of a body.
#[derive(Debug, Clone, PartialEq)]
pub enum BodyEdit {
    /// It is this text. Where that says something that is not known, it is removed.
    Text(Template),
    /// It is this, as JSON writes it.
    Json(String),
    /// It is not there.
    Remove,
}

/// A text with variables in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(pub Vec<Part>);

/// A part of a text.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// It stands for itself.
    Text(String),
    /// It stands for what is known of the request.
    Variable(Variable),
}

/// What is known of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// Who calls.
    Client,
    /// The plan of the client.
    Plan,
    /// The client's team.
    Team,
    /// The client's organisation.
    Organisation,
    /// The route's name.
    Route,
    /// The agent that is to answer.
    Agent,
    /// The request's id.
    RequestId,
}

impl Edits {
    /// True if nothing is changed.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.request.are_none()
            && self.host.is_none()
            && self.body.is_empty()
            && self.response.are_none()
    }
}

impl HeaderEdits {
    /// True if nothing is changed.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// What stands in a text may be a secret between the gateway and an agent.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables = self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Variable(variable) => Some(variable),
        });
        f.debug_list().entries(variables).finish()
    }
}
