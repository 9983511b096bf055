//! One answer made of those of several servers of MCP, and what is told of a server that is missing.

use crate::config::policy::{Mcp, Route, RouteId, Server};
use crate::host::{Host, LocalReply};
use crate::lifecycle::failure::Failure;
use crate::lifecycle::mcp::asker;
use crate::lifecycle::request::Request;
use crate::lifecycle::rounds::Came;
use crate::lifecycle::sticky::nonce;
use crate::lifecycle::walk::Walk;
use crate::reply::{Refusal, RpcFault};
use crate::routing::servers::{About, Failed, List, OfServer, Page, message_of, write_session};
use crate::routing::{Comes, SESSION_ID, is_without_sessions};

/// Longer names of sessions no server has.
const LONGEST_SESSION: usize = 512;

/// Behind the members of results that callers may keep for a while.
const NOT_KEPT: &str = r#","resultType":"complete","ttlMs":0,"cacheScope":"private""#;
/// Makes something of the message that a server has answered.
type Take<'t> = dyn FnMut(&[u8], &Came) -> Result<(), Failed> + 't;

/// One answer made of several.
pub(super) struct Joint<'w, H: Host> {
    walk: &'w Walk<H>,
    route: RouteId,
    /// The servers of which something is missing.
    missing: Vec<String>,
    /// So many do not know the method.
    unknown: usize,
    answered: usize,
}

impl<'w, H: Host> Joint<'w, H> {
    pub(super) fn new(walk: &'w Walk<H>, route: RouteId) -> Self {
        Self {
            walk,
            route,
            missing: Vec::new(),
            unknown: 0,
            answered: 0,
        }
    }

    fn misses(&mut self, server: &Server, why: &'static str) {
        let shared = &self.walk.shared;
        (shared.telemetry).server_missing(&*shared.host, &shared.compiled, self.route, server, why);
        self.missing.push(server.name.clone());
    }

    fn gives_none(&mut self, server: &Server) {
        let rests = self.walk.shared.comes(server.agent) == Comes::Not;
        self.misses(
            server,
            if rests {
                "it rests"
            } else {
                "no answer, or one that is too large"
            },
        );
    }

    /// The message that a server has answered, for one who can make something of it.
    fn take(&mut self, server: &Server, came: Option<Came>, take: &mut Take<'_>) {
        let Some(mut came) = came else {
            return self.gives_none(server);
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
    pub(super) fn took(&mut self, server: &Server, came: Option<Came>) {
        match came {
            Some(came) if came.status < 300 => self.answered += 1,
            Some(_) => self.misses(server, "an error"),
            None => self.gives_none(server),
        }
    }

    /// Somebody must have answered, if anybody was asked.
    pub(super) fn check(&self) -> Result<(), Refusal> {
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
    pub(super) fn list(
        &mut self,
        request: &Request,
        mcp: &Mcp,
        list: List,
        all: Vec<(&Server, Option<Came>)>,
    ) -> Result<LocalReply, Refusal> {
        let client = self.walk.common.facts.borrow().client.clone();
        let asker = asker(client.as_deref());
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
    pub(super) fn initialize(
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
    pub(super) fn discover(
        &mut self,
        all: Vec<(&Server, Option<Came>)>,
    ) -> Result<LocalReply, Refusal> {
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
