//! Routes that stand for several servers of MCP: a call goes to the server that its name says, as any request goes to its agent; what
//! belongs to none of them is asked of all, and answered here.

use super::choose::replace;
use super::failure::Failure;
use super::forward::names_for;
use super::hold::Waits;
use super::limits_endpoint::{OUTCOME, answer};
use super::request::Request;
use super::rounds::{Came, SESSION_ID, Waiting};
use super::sticky::{Kept, nonce};
use super::stream::Facts;
use super::walk::Walk;
use crate::config::policy::{AgentId, Choice, Mcp, Prefer, Route, RouteId, Server};
use crate::host::{
    Callout, CalloutRequest, HeaderBlock, Host, HostError, LocalReply, Sensitive, StreamIo,
};
use crate::reply::{Refusal, RpcFault, RpcIds};
use crate::routing::servers::{
    About, Cursors, Failed, List, OfServer, Page, apart, in_header, message_of, read_session,
    write_session,
};
use crate::routing::{BadMessage, Messages, Named, Owner, is_without_sessions};
use crate::text::headers::{is_reserved, is_same};
use crate::text::json::{Edit, Found, Member, Scan, Search, Value};

use std::rc::Rc;
use std::time::Duration;

/// How long a server may take to answer, unless the route says so.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer names of sessions no server has.
const LONGEST_SESSION: usize = 512;

const VERSION: &str = "mcp-protocol-version";

/// What questions do not bear of the caller's headers: what is said of this connection and of this body, and what the gateway
/// says itself.
const OWN: [&str; 12] = [
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "content-length",
    "accept-encoding",
    SESSION_ID,
];

/// What is asked again where a server has closed the connection.
const ASKED_AGAIN: [(&str, &str); 2] = [
    (
        "x-envoy-retry-on",
        "connect-failure,refused-stream,reset-before-request",
    ),
    ("x-envoy-max-retries", "1"),
];

/// Behind the members of results that callers may keep for a while.
const NOT_KEPT: &str = r#","resultType":"complete","ttlMs":0,"cacheScope":"private""#;

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
        let now = || self.shared.ticks.get();
        let due = now().after(route.body_timeout);
        let named = |facts: &Facts| facts.messages.as_deref()?.named();
        let named = self.common.until(named, now, due).await;
        let to = self.to(request, mcp, named, session);
        let is_here = |facts: &Facts| is_here(facts, &to, route.max_scan);
        let came = self.common.until(is_here, now, due).await;
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
        let agent = self.choose(request, &[choice], Prefer::default())?;
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
            _ => self.ask_each(request, route, mcp, &errand)?,
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
        let mut joint = Joint {
            walk: self,
            route: id,
            missing: Vec::new(),
            unknown: 0,
            answered: 0,
        };
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

    /// All of the body, which is at hand.
    fn whole_body(&self) -> Result<Vec<u8>, Refusal> {
        let size = self.common.facts.borrow().body.arrived();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size == 0 {
            return Ok(Vec::new());
        }
        let body = self.with_stream(|stream| stream.request_body(0, size))?;
        body.map_err(|error| self.failed(Failure::Unread(error)))
    }

    /// Asks each that takes part, all at once.
    #[inline(never)]
    fn ask_each<'r>(
        &self,
        request: &Request,
        route: &Route,
        mcp: &'r Mcp,
        errand: &Errand,
    ) -> Result<(Waiting, Vec<&'r Server>), Refusal> {
        let Errand { what, session } = errand;
        let shared = &self.shared;
        if !shared.rounds.have_room(mcp.servers.len()) {
            shared.telemetry.servers_crowded(&*shared.host);
            return Err(Refusal::ServersUnavailable);
        }
        let body = self.whole_body()?;
        let cursors = match what {
            What::List(_) => cursors(&body).map_err(|()| {
                let why = "The cursor is none of this list's.".to_owned();
                Refusal::NotOffered(RpcFault::Params, why)
            })?,
            _ => None,
        };
        // Servers are to ask nothing of callers, since nobody could say whose question is answered.
        let pointer = match (what, &cursors) {
            (What::Initialize, _) => Some("/params/capabilities"),
            (_, Some(_)) => Some("/params/cursor"),
            _ => None,
        };
        let edit = pointer.and_then(|pointer| Edit::new(&mut [pointer].into_iter()).ok());
        let headers = self.with_stream(StreamIo::request_headers)?;
        let headers = headers.map_err(|error| self.failed(Failure::Unread(error)))?;
        let timeout = route.timeout.map_or(PATIENCE, |it| it.min(PATIENCE));
        let timeout = route.first_byte_timeout.unwrap_or(timeout);
        let (mut asked, mut sent) = (Vec::new(), Vec::new());
        for server in &mcp.servers {
            let own = session.as_ref().and_then(|it| it.of(server));
            let takes_part = match what {
                What::End => own.is_some_and(|own| !own.session.is_empty()),
                _ => own.is_some() || session.is_none(),
            };
            let cursor = cursors.as_ref().map(|it| it.of(&server.name));
            if !takes_part || cursor == Some(None) {
                continue;
            }
            let cursor = cursor
                .flatten()
                .map(|it| serde_json::Value::from(it).to_string());
            let value = cursor.unwrap_or_else(|| "{}".to_owned());
            let edited = match &edit {
                Some(edit) => {
                    let edited = edit.apply(&body, &[Some(value.into_bytes())]);
                    Some(edited.map_err(|broken| Refusal::from(&BadMessage::from(broken)))?)
                }
                None => None,
            };
            let body = edited.as_deref().unwrap_or(&body);
            let callout = self.ask_one(request, &headers, server, own, body, timeout);
            if let Err(error) = &callout {
                shared.telemetry.host_failed(&*shared.host, *error);
            }
            asked.push(server);
            sent.push(callout.ok());
        }
        let most = usize::try_from(mcp.max_list).unwrap_or(usize::MAX);
        self.common.facts.borrow_mut().waits = Waits::Admitted;
        let times = (shared.ticks.get(), timeout);
        let waiting = shared.rounds.begin(self.id, sent, most, times);
        Ok((waiting, asked))
    }

    #[inline(never)]
    fn ask_one(
        &self,
        request: &Request,
        headers: &HeaderBlock,
        server: &Server,
        own: Option<&OfServer>,
        body: &[u8],
        timeout: Duration,
    ) -> Result<crate::host::CalloutId, HostError> {
        let compiled = &self.shared.compiled;
        let agent = compiled
            .policy
            .agents
            .get(server.agent.0)
            .ok_or(HostError {
                call: "an agent",
                status: 0,
            })?;
        let facts = self.common.facts.borrow();
        let path = match &facts.rewritten_path {
            Some(path) => &***path,
            None => request.path().unwrap_or_default(),
        };
        let text = |bytes| str::from_utf8(bytes).unwrap_or_default();
        let host = agent.host.as_deref();
        let host = host.unwrap_or_else(|| text(request.authority().unwrap_or_default()));
        let names = names_for(compiled, &facts, server.agent);
        let mut all = vec![
            (":method", text(request.method())),
            (":path", text(path)),
            (":authority", host),
            ("accept-encoding", "identity"),
        ];
        for (name, value) in headers.iter() {
            let is_own = OWN.iter().any(|own| is_same(name, own.as_bytes()));
            let version = own.filter(|_| name == VERSION.as_bytes());
            if let (Ok(name), Ok(value)) = (str::from_utf8(name), str::from_utf8(value))
                && !name.starts_with(':')
                && !is_own
                && !is_reserved(name.as_bytes())
            {
                all.push((name, version.map_or(value, |own| own.version.as_str())));
            }
        }
        if let Some(own) = own.filter(|own| !own.session.is_empty()) {
            all.push((SESSION_ID, &own.session));
        }
        all.extend(names.iter().map(|(name, value)| (*name, value.as_str())));
        all.extend(ASKED_AGAIN);
        self.shared.host.call(&Callout {
            cluster: &agent.cluster,
            request: CalloutRequest::Http {
                headers: &all,
                body,
            },
            timeout,
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

/// Where a list goes on, as the caller says. `Err`: it was told nothing of the kind.
fn cursors(body: &[u8]) -> Result<Option<Cursors>, ()> {
    let mut search = Search::new();
    let cursor = search.member("/params/cursor").unwrap_or_default();
    let mut scan = Scan::new(Rc::new(search));
    scan.feed(body).map_err(|_| ())?;
    match scan.member(cursor) {
        Member::Found(Found {
            value: Value::Text(told),
            ..
        }) => Cursors::read(told).map(Some).ok_or(()),
        Member::Found(Found {
            value: Value::Null, ..
        })
        | Member::Absent
        | Member::Unknown => Ok(None),
        Member::Found(_) => Err(()),
    }
}

/// Makes something of the message that a server has answered.
type Take<'t> = dyn FnMut(&[u8], &Came) -> Result<(), Failed> + 't;

/// One answer made of several.
struct Joint<'w, H: Host> {
    walk: &'w Walk<H>,
    route: RouteId,
    /// The servers of which something is missing.
    missing: Vec<String>,
    /// So many do not know the method.
    unknown: usize,
    answered: usize,
}

impl<H: Host> Joint<'_, H> {
    fn misses(&mut self, server: &Server, why: &'static str) {
        let shared = &self.walk.shared;
        (shared.telemetry).server_missing(&*shared.host, &shared.compiled, self.route, server, why);
        self.missing.push(server.name.clone());
    }

    /// The message that a server has answered, for one who can make something of it.
    fn take(&mut self, server: &Server, came: Option<Came>, take: &mut Take<'_>) {
        let Some(mut came) = came else {
            return self.misses(server, "no answer");
        };
        let body = std::mem::take(&mut came.body);
        match message_of(body).and_then(|message| take(&message, &came)) {
            Ok(()) => self.answered += 1,
            Err(Failed::NoMethod) => self.unknown += 1,
            Err(Failed::Refused) => self.misses(server, "an error"),
            Err(Failed::Unreadable) => self.misses(server, "an answer that cannot be read"),
        }
    }

    /// A server has taken what needs no words, or not.
    fn took(&mut self, server: &Server, came: Option<Came>) {
        match came {
            Some(came) if came.status < 300 => self.answered += 1,
            Some(_) => self.misses(server, "an error"),
            None => self.misses(server, "no answer"),
        }
    }

    /// Somebody must have answered, if anybody was asked.
    fn check(&self) -> Result<(), Refusal> {
        if self.answered > 0 || self.unknown + self.missing.len() == 0 {
            Ok(())
        } else if self.missing.is_empty() {
            let why = "None of the servers behind this address knows this method.".to_owned();
            Err(Refusal::NotOffered(RpcFault::Method, why))
        } else {
            Err(Refusal::ServersUnavailable)
        }
    }

    /// What stands behind the members of a result.
    fn more(&self, not_kept: bool) -> String {
        let mut more = String::new();
        if not_kept {
            more.push_str(NOT_KEPT);
        }
        if !self.missing.is_empty() {
            // Of these names none needs an escape.
            let names = self.missing.join("\",\"");
            more.extend([r#","_meta":{"waykeeper/missing":[""#, &names, r#""]}"#]);
        }
        more
    }

    #[inline(never)]
    fn list(
        &mut self,
        request: &Request,
        mcp: &Mcp,
        list: List,
        all: Vec<(&Server, Option<Came>)>,
    ) -> Result<LocalReply, Refusal> {
        let client = self.walk.common.facts.borrow().client.clone();
        let asker = super::mcp::asker(client.as_deref());
        let may_see = |name: &str| list != List::Tools || mcp.may_call(asker, name.as_bytes());
        let mut page = Page::new(list);
        for (server, came) in all {
            self.take(server, came, &mut |message, _| {
                page.take(&server.name, message, &may_see)
            });
        }
        self.check()?;
        for server in page.without_room() {
            if let Some(server) = mcp.server(&server) {
                self.misses(server, "where its list goes on cannot be told");
            }
        }
        let more = self.more(is_without_sessions(request.headers()));
        Ok(self.walk.result(&page.result(&more)))
    }

    #[inline(never)]
    fn initialize(
        &mut self,
        route: &Route,
        all: Vec<(&Server, Option<Came>)>,
    ) -> Result<LocalReply, Refusal> {
        let (mut about, mut sessions) = (About::default(), Vec::new());
        for (server, came) in all {
            self.take(server, came, &mut |message, came| {
                let session = str::from_utf8(&came.session).map_err(|_| Failed::Unreadable)?;
                let is_visible = session.bytes().all(|byte| byte.is_ascii_graphic());
                if session.len() > LONGEST_SESSION || !is_visible {
                    return Err(Failed::Unreadable);
                }
                let version = about.take(&server.name, message)?;
                sessions.push(OfServer {
                    server: server.name.clone(),
                    version: version.ok_or(Failed::Unreadable)?,
                    session: session.to_owned(),
                });
                Ok(())
            });
        }
        self.check()?;
        let mut reply = (self.walk).result(about.result(&self.more(false)).as_bytes());
        if sessions.iter().any(|it| !it.session.is_empty()) {
            let shared = &self.walk.shared;
            let nonce = nonce(&*shared.host);
            let nonce = nonce.map_err(|error| self.walk.failed(Failure::Unread(error)))?;
            let text = write_session(&sessions);
            let sealed = self.walk.with_owner(route, |owner| {
                shared.compiled.sessions.seal(owner, nonce, text.as_bytes())
            });
            let Some(sealed) = sealed else {
                (shared.telemetry).session_too_long(
                    &*shared.host,
                    SESSION_ID,
                    "of several servers",
                );
                return Err(Refusal::AnswerTooLarge(4096));
            };
            reply.headers.push((SESSION_ID, sealed));
        }
        Ok(reply)
    }

    #[inline(never)]
    fn discover(&mut self, all: Vec<(&Server, Option<Came>)>) -> Result<LocalReply, Refusal> {
        let mut about = About::default();
        let mut is_refused = false;
        for (server, came) in all {
            self.take(server, came, &mut |message, _| {
                let taken = about.take(&server.name, message);
                is_refused |= matches!(taken, Err(Failed::Refused | Failed::NoMethod));
                taken.map(drop)
            });
        }
        if is_refused || self.answered > 0 && !about.has_common_version() {
            let why = "Not all servers behind this address speak a revision without sessions; begin one by initialize.";
            return Err(Refusal::NotOffered(RpcFault::Method, why.to_owned()));
        }
        self.check()?;
        Ok((self.walk).result(about.result(&self.more(true)).as_bytes()))
    }
}
