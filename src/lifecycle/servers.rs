//! Routes that stand for several servers of MCP: a call goes to the server that its name says, as any request goes to its agent; what
//! belongs to none of them is asked of all, and answered here.
//!
//! | file | what it says |
//! |---|---|
//! | `ask.rs` | what each server is asked |
//! | `joint.rs` | the one answer that is made of theirs |

mod ask;
mod joint;

use super::choose::replace;
use super::failure::Failure;
use super::hold::Waits;
use super::limits_endpoint::{OUTCOME, answer};
use super::request::Request;
use super::rounds::Came;
use super::sticky::Kept;
use super::stream::Facts;
use super::walk::Walk;
use crate::config::policy::{AgentId, Choice, Mcp, Prefer, Route, RouteId, Server};
use crate::host::{Host, LocalReply, Sensitive, StreamIo};
use crate::reply::{Refusal, RpcFault, RpcIds};
use crate::routing::servers::{List, OfServer, apart, in_header, read_session};
use crate::routing::{BadMessage, Messages, Named, Owner, SESSION_ID};
use crate::text::headers::is_same;

use joint::Joint;

const VERSION: &str = "mcp-protocol-version";

/// Where a request goes.
pub(super) enum To {
    /// To the server that it names.
    Agent(AgentId),
    /// To all.
    All(Errand),
}

/// What all are asked.
pub(super) struct Errand {
    what: What,
    session: Option<Session>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Initialize,
    Discover,
    List(List),
    /// What has no answer.
    Notify,
    /// What has one without a word in it.
    Tell,
    /// The gateway itself is asked whether it is there.
    Ping,
    /// A server is answered, and none has asked: servers are told of nothing that they could ask.
    Answer,
    /// The session is over.
    End,
}

/// A session as the caller knows it, and the servers' own.
struct Session {
    sealed: Sensitive<Vec<u8>>,
    all: Vec<OfServer>,
}

impl Session {
    fn of(&self, server: &Server) -> Option<&OfServer> {
        self.all.iter().find(|it| it.server == server.name)
    }
}

/// What a method asks of all. `None`: it is none that can be asked of several.
fn what(method: Option<&str>) -> Option<What> {
    Some(match method {
        None => What::Answer,
        Some("initialize") => What::Initialize,
        Some("server/discover") => What::Discover,
        Some("ping") => What::Ping,
        Some("logging/setLevel") => What::Tell,
        Some(method) if method.starts_with("notifications/") => What::Notify,
        Some(method) => What::List(List::of(method)?),
    })
}

impl<H: Host> Walk<H> {
    /// Finds out where a request goes. The name in it becomes what its server knows.
    pub(super) async fn to_servers(
        &self,
        request: &Request,
        route: &Route,
        mcp: &Mcp,
    ) -> Result<To, Refusal> {
        let session = self.session(request, route)?;
        if request.method() != b"POST" {
            return without_message(request, session);
        }
        let due = self.shared.ticks.get().after(route.body_timeout);
        let named = |facts: &Facts| facts.messages.as_deref()?.named();
        let named = self.until(request, Waits::ForRules, due, named).await;
        let to = self.to(request, mcp, named, session);
        let is_here = |facts: &Facts| is_here(facts, &to, route.max_scan);
        let came = self.until(request, Waits::ForRules, due, is_here).await;
        came.ok_or(Refusal::RequestTimeout)??;
        if !route.collect_body && matches!(to, Ok(To::Agent(_))) {
            self.common.facts.borrow_mut().body.collect(false);
        }
        to
    }

    /// Where a message goes, of which it is known what it names.
    #[inline(never)]
    fn to(
        &self,
        request: &Request,
        mcp: &Mcp,
        named: Option<Result<Option<Named>, BadMessage>>,
        session: Result<Option<Session>, Refusal>,
    ) -> Result<To, Refusal> {
        let named = named.ok_or(Refusal::RequestTimeout)?;
        match named.map_err(|bad| Refusal::from(&bad))? {
            Some(named) => {
                let to = self.to_one(request, mcp, &named, session?)?;
                self.common.facts.borrow_mut().may_change = false;
                Ok(to)
            }
            None => self.to_all(session),
        }
    }

    /// The session that a request says it is of. What agents could read as another is taken out. The inner refusal: it is none of
    /// this caller's, which matters unless it begins another.
    #[inline(never)]
    fn session(
        &self,
        request: &Request,
        route: &Route,
    ) -> Result<Result<Option<Session>, Refusal>, Refusal> {
        let id = SESSION_ID.as_bytes();
        for (name, _) in request.headers().iter() {
            if is_same(name, id) && name != id {
                self.with_stream(|stream| stream.remove_request_header(name))?;
            }
        }
        let mut values = request.headers().get_all(SESSION_ID);
        let (Some(sealed), further) = (values.next(), values.next()) else {
            return Ok(Ok(None));
        };
        let sessions = &self.shared.compiled.sessions;
        let opened = self.with_owner(route, |owner| sessions.open(owner, sealed));
        let all = opened.filter(|_| further.is_none());
        let all = all.and_then(|text| read_session(&text));
        Ok(match all {
            None => Err(Refusal::UnknownSession),
            Some(all) => Ok(Some(Session {
                sealed: Sensitive(sealed.to_vec()),
                all,
            })),
        })
    }

    /// Whose a session of this route is. No agent's name has a blank.
    fn with_owner<T>(&self, route: &Route, f: impl FnOnce(Owner<'_>) -> T) -> T {
        let facts = self.common.facts.borrow();
        f(Owner {
            agent: &["mcp ", &route.name].concat(),
            client: facts.client.as_ref().map(|client| client.id.as_str()),
        })
    }

    /// What a message without a name asks of all.
    #[inline(never)]
    fn to_all(&self, session: Result<Option<Session>, Refusal>) -> Result<To, Refusal> {
        let facts = self.common.facts.borrow();
        let messages = facts.called.as_deref().map(|called| &called.messages);
        let call = messages.and_then(|messages| messages.first());
        let method = call.and_then(|call| call.method.as_deref());
        let Some(what) = what(method) else {
            let why = [
                "Several servers stand behind this address, and the method ",
                method.unwrap_or_default(),
                " can be asked of one only.",
            ];
            return Err(Refusal::NotOffered(RpcFault::Method, why.concat()));
        };
        let session = match what {
            What::Initialize | What::Discover => None,
            _ => session?,
        };
        Ok(To::All(Errand { what, session }))
    }

    /// The server that a message names, which will find its own name there.
    #[inline(never)]
    fn to_one(
        &self,
        request: &Request,
        mcp: &Mcp,
        named: &Named,
        session: Option<Session>,
    ) -> Result<To, Refusal> {
        let none = |why: &[&str]| Err(Refusal::NotOffered(RpcFault::Params, why.concat()));
        let found = apart(named.kind, &named.name);
        let found = found.and_then(|(server, own)| Some((mcp.server(server)?, own)));
        let Some((server, own)) = found else {
            return none(&["No server of this route has ", &named.name, "."]);
        };
        let own_session = match &session {
            None => None,
            Some(session) => match session.of(server) {
                Some(own) => Some(own.clone()),
                None => {
                    return none(&[
                        "The server ",
                        &server.name,
                        " was not there when this session began. Begin a new one.",
                    ]);
                }
            },
        };
        let choice = Choice {
            agent: server.agent,
            weight: 1,
        };
        let agent = self.choose(request, &[choice], Prefer::default(), None)?;
        let written = serde_json::Value::from(own).to_string();
        let (by, headers) = self.with_stream(|stream| {
            let by = replace(stream, &named.place, written.as_bytes());
            let headers = stream.request_headers();
            if request.headers().get("mcp-name").is_some() {
                stream.set_request_header("mcp-name", in_header(own).as_bytes());
            }
            (by, headers)
        })?;
        let unread = |error| self.failed(Failure::Unread(error));
        let by = by.map_err(unread)?;
        let names_version = headers.map_err(unread)?.get(VERSION).is_some();
        let mut facts = self.common.facts.borrow_mut();
        facts.body.change(by);
        facts.kept = Some(Kept::OfServer {
            version: own_session
                .as_ref()
                .filter(|_| names_version)
                .map(|it| it.version.clone()),
            own: own_session
                .map(|it| Sensitive(it.session.into_bytes()))
                .filter(|it| !it.is_empty()),
            sealed: session.map(|it| it.sealed),
        });
        Ok(To::Agent(agent))
    }

    /// Asks all servers, and makes one answer of theirs.
    pub(super) async fn ask_servers(
        &self,
        request: &Request,
        id: RouteId,
        route: &Route,
        errand: Errand,
    ) -> Result<LocalReply, Refusal> {
        let mcp = route.of_servers().ok_or(Refusal::NoRoute)?;
        let (waiting, asked) = match errand.what {
            What::Ping => return Ok(self.result(b"{}")),
            What::Answer => return Ok(nothing(202)),
            _ => (self.ask_each(request, route, mcp, &errand)).inspect_err(|_| self.release())?,
        };
        let came = waiting.answers().await;
        let came = asked.into_iter().zip(came).collect();
        self.joint(request, (id, route, mcp), &errand, came)
    }

    /// What comes of their answers.
    #[inline(never)]
    fn joint(
        &self,
        request: &Request,
        (id, route, mcp): (RouteId, &Route, &Mcp),
        errand: &Errand,
        came: Vec<(&Server, Option<Came>)>,
    ) -> Result<LocalReply, Refusal> {
        if errand.what == What::End {
            return Ok(nothing(200));
        }
        for (server, came) in &came {
            let status = came.as_ref().map(|came| came.status);
            let own = errand.session.as_ref().and_then(|it| it.of(server));
            if status == Some(404) && own.is_some_and(|own| !own.session.is_empty()) {
                return Err(Refusal::UnknownSession);
            }
        }
        let mut joint = Joint::new(self, id);
        match errand.what {
            What::List(list) => return joint.list(request, mcp, list, came),
            What::Initialize => return joint.initialize(route, came),
            What::Discover => return joint.discover(came),
            _ => {}
        }
        for (server, came) in came {
            joint.took(server, came);
        }
        joint.check()?;
        Ok(match errand.what {
            What::Tell => self.result(b"{}"),
            _ => nothing(202),
        })
    }

    /// The answer to the message.
    #[inline(never)]
    fn result(&self, result: &[u8]) -> LocalReply {
        let id = match self.common.facts.borrow().ids() {
            Some(RpcIds::One(Some(id))) => id,
            _ => "null".to_owned(),
        };
        let before = [r#"{"jsonrpc":"2.0","id":"#, &id, r#","result":"#].concat();
        answer([before.as_bytes(), result, b"}"].concat())
    }
}

/// Where a request goes that has no message.
fn without_message(
    request: &Request,
    session: Result<Option<Session>, Refusal>,
) -> Result<To, Refusal> {
    if request.method() != b"DELETE" {
        let methods = ["POST", "DELETE"].map(str::to_owned);
        return Err(Refusal::MethodNotAllowed(methods.into()));
    }
    Ok(To::All(Errand {
        what: What::End,
        session: session?,
    }))
}

/// Whether as much of a body is there as where it goes needs: all of it, or the call's own beginning.
fn is_here(facts: &Facts, to: &Result<To, Refusal>, most: u64) -> Option<Result<(), Refusal>> {
    let body = &facts.body;
    let enough = match to {
        Ok(To::All(_)) if body.arrived() > most => return Some(Err(Refusal::BodyTooLarge(most))),
        Ok(To::All(_)) => body.has_ended(),
        Ok(To::Agent(_)) => body.may_go_on(),
        // Whoever waits for the answer knows it by its id.
        Err(Refusal::NotOffered(..)) => {
            let messages = facts.messages.as_deref();
            messages.is_none_or(Messages::ids_are_known)
        }
        Err(_) => true,
    };
    enough.then_some(Ok(()))
}

/// An answer without a body.
fn nothing(status: u16) -> LocalReply {
    LocalReply {
        status,
        grpc_status: None,
        headers: Vec::new(),
        body: Vec::new(),
        details: ["waykeeper_", OUTCOME].concat(),
    }
}
