//! What each of several servers of MCP is asked: the caller's own message, as far as it is for that server.

use super::{Errand, VERSION, What};
use crate::config::policy::{Mcp, Route, Server};
use crate::host::{Callout, CalloutId, CalloutRequest, HeaderBlock, Host, HostError, StreamIo};
use crate::lifecycle::failure::Failure;
use crate::lifecycle::forward::names_for;
use crate::lifecycle::hold::Waits;
use crate::lifecycle::request::Request;
use crate::lifecycle::rounds::Waiting;
use crate::lifecycle::walk::Walk;
use crate::reply::{Refusal, RpcFault};
use crate::routing::servers::{Cursors, OfServer};
use crate::routing::{BadMessage, Comes, SESSION_ID};
use crate::text::headers::{is_reserved, is_same};
use crate::text::json::{Edit, Found, Member, Scan, Search, Value};

use std::rc::Rc;
use std::time::Duration;

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

impl<H: Host> Walk<H> {
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
    pub(super) fn ask_each<'r>(
        &self,
        request: &Request,
        route: &Route,
        mcp: &'r Mcp,
        errand: &Errand,
    ) -> Result<(Waiting, Vec<&'r Server>), Refusal> {
        let Errand { what, session } = errand;
        let shared = &self.shared;
        let caller = self.caller(request);
        if !shared.rounds.have_room(caller, mcp.servers.len()) {
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
        let timeout = route.patience();
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
            asked.push(server);
            // All would wait for one that is down. Of a session's end it hears all the same.
            if *what != What::End && shared.comes(server.agent) == Comes::Not {
                sent.push(None);
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
            sent.push(callout.ok());
        }
        let most = usize::try_from(mcp.max_list).unwrap_or(usize::MAX);
        self.waits(request, Waits::Admitted);
        let times = (shared.ticks.get(), timeout);
        let waiting = shared.rounds.begin((self.id, caller), sent, most, times);
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
    ) -> Result<CalloutId, HostError> {
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
