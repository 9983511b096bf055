//! What is changed of a request as its route says, when its agent is known and all of its body is here where that is changed; and
//! of the agent's answer. What the gateway itself says to agents and callers nobody can change so.

use super::compiled::Compiled;
use super::failure::Failure;
use super::request::Request;
use super::stream::Facts;
use super::walk::Walk;
use crate::config::policy::{BodyEdit, Edits, HeaderEdits, Part, RouteId, Template, Variable};
use crate::host::{HeaderBlock, Host, HostError, StreamIo};
use crate::reply::Refusal;
use crate::routing::is_plain_json;
use crate::text::headers::are_same;
use crate::text::json::quoted;

impl<H: Host> Walk<H> {
    /// Changes the body, of which all is at hand. One without a byte is none.
    pub(super) fn edit_body(&self, request: &Request, id: RouteId) -> Result<(), Refusal> {
        match self.shared.compiled.body_edit(id) {
            Some(edit) if self.common.facts.borrow().body.arrived() > 0 => {
                self.edit_by(request, id, edit)
            }
            _ => Ok(()),
        }
    }

    #[inline(never)]
    fn edit_by(
        &self,
        request: &Request,
        id: RouteId,
        edit: &crate::text::json::Edit,
    ) -> Result<(), Refusal> {
        if !is_plain_json(request.headers()) {
            return Err(Refusal::BadBody(
                "This route changes the body; send JSON, with the content-type application/json and without content-encoding."
                    .to_owned(),
            ));
        }
        let compiled = &self.shared.compiled;
        let mut facts = self.common.facts.borrow_mut();
        let size = usize::try_from(facts.body.arrived()).unwrap_or(usize::MAX);
        let body = self.with_stream(|stream| stream.request_body(0, size))?;
        let body = body.and_then(|body| match body.len() == size {
            true => Ok(body),
            false => Err(HostError {
                call: "the whole body",
                status: 0,
            }),
        });
        let body = body.map_err(|error| self.failed(Failure::Unread(error)))?;
        let edits = compiled.edits(Some(id));
        let values: Vec<_> = edits
            .iter()
            .flat_map(|edits| &edits.body)
            .map(|(_, edit)| json_of(compiled, &facts, edit))
            .collect();
        let edited = edit.apply(&body, &values).map_err(|broken| {
            let mut why = "This route changes the body, and ".to_owned();
            why.extend([broken.to_string().as_str(), "."]);
            Refusal::BadBody(why)
        })?;
        let done = self.with_stream(|stream| stream.replace_request_body(size, &edited))?;
        done.map_err(|error| self.failed(Failure::Unread(error)))?;
        let length = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        facts.body.change(length(edited.len()) - length(size));
        Ok(())
    }
}

/// A member's value as JSON. `None`: it is to be taken out.
fn json_of(compiled: &Compiled, facts: &Facts, edit: &BodyEdit) -> Option<Vec<u8>> {
    match edit {
        BodyEdit::Text(template) => {
            let text = text_of(compiled, facts, template)?;
            let text = String::from_utf8_lossy(&text);
            Some(quoted(&text).into())
        }
        BodyEdit::Json(json) => Some(json.clone().into()),
        BodyEdit::Remove => None,
    }
}

/// Changes the request's headers, and the host that is asked. What it came with is at hand.
#[inline(never)]
pub(super) fn edit_request<S: StreamIo>(
    stream: &S,
    compiled: &Compiled,
    facts: &Facts,
    edits: &Edits,
    request: &HeaderBlock,
) {
    remove_twins(&edits.request, request, |name| {
        stream.remove_request_header(name)
    });
    for name in &edits.request.remove {
        stream.remove_request_header(name.as_bytes());
    }
    for (name, value) in &edits.request.set {
        match text_of(compiled, facts, value) {
            Some(value) => stream.set_request_header(name, &value),
            None => stream.remove_request_header(name.as_bytes()),
        }
    }
    for (name, value) in &edits.request.add {
        if let Some(value) = text_of(compiled, facts, value) {
            stream.add_request_header(name, &value);
        }
    }
    if let Some(host) = &edits.host {
        stream.set_request_header(":authority", host.as_bytes());
    }
}

/// Takes out of a request's trailers what it has no more among its headers, or by another's word: some agents merge both.
#[inline(never)]
pub(super) fn edit_trailers<S: StreamIo>(stream: &S, edits: &Edits) {
    if let Ok(trailers) = stream.request_trailers() {
        remove_twins(&edits.request, &trailers, |name| {
            stream.remove_request_trailer(name)
        });
        for name in names(&edits.request) {
            stream.remove_request_trailer(name.as_bytes());
        }
    }
}

/// Changes the headers of the agent's answer.
#[inline(never)]
pub(super) fn edit_answer<S: StreamIo>(
    stream: &S,
    compiled: &Compiled,
    facts: &Facts,
    edits: &Edits,
) {
    let edits = &edits.response;
    for name in &edits.remove {
        stream.remove_response_header(name);
    }
    for (name, value) in &edits.set {
        match text_of(compiled, facts, value) {
            Some(value) => stream.set_response_header(name, &value),
            None => stream.remove_response_header(name),
        }
    }
    for (name, value) in &edits.add {
        if let Some(value) = text_of(compiled, facts, value) {
            stream.add_response_header(name, &value);
        }
    }
}

/// The headers of which nothing is left that came with the message.
fn names(edits: &HeaderEdits) -> impl Iterator<Item = &String> {
    let set = edits.set.iter().map(|(name, _)| name);
    edits.remove.iter().chain(set)
}

/// Removes what an agent may read as one of these headers, though it is spelled in another way.
fn remove_twins(edits: &HeaderEdits, headers: &HeaderBlock, remove: impl Fn(&[u8])) {
    for (name, _) in headers.iter() {
        let is_twin = |other: &String| name != other.as_bytes() && are_same(name, other.as_bytes());
        if names(edits).any(is_twin) {
            remove(name);
        }
    }
}

/// A text, with what is known in place of its variables. `None`: something is not known.
fn text_of(compiled: &Compiled, facts: &Facts, template: &Template) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    for part in &template.0 {
        text.extend_from_slice(match part {
            Part::Text(part) => part.as_bytes(),
            Part::Variable(variable) => known(compiled, facts, *variable)?,
        });
    }
    Some(text)
}

fn known<'a>(compiled: &'a Compiled, facts: &'a Facts, variable: Variable) -> Option<&'a [u8]> {
    let client = facts.client.as_deref();
    let (route, agent) = compiled.names(facts.route, facts.agent);
    let name = match variable {
        Variable::Client => client.map(|client| client.id.as_str()),
        Variable::Plan => {
            let plan = client.and_then(|client| client.plan);
            let plan = plan.and_then(|plan| compiled.policy.plans.get(plan.0));
            plan.map(|plan| plan.name.as_str())
        }
        Variable::Team => client.and_then(|client| client.team.as_deref()),
        Variable::Organisation => client.and_then(|client| client.organisation.as_deref()),
        Variable::Route => route,
        Variable::Agent => agent,
        Variable::RequestId => return facts.request_id.as_ref().map(|id| id.as_slice()),
    };
    name.map(str::as_bytes)
}
