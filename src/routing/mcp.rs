//! MCP (Model Context Protocol): what the messages in a request's body call, read while they arrive, and whether the request's
//! headers say the same.
//!
//! A body is one message of JSON-RPC or, in one old revision of the protocol, a list of them. Agents read it after us, so
//! whatever some of them may read in another way is refused, also where it shows with the last byte only.

mod bad;
mod headers;

use std::rc::Rc;

use crate::config::policy::{Asker, Mcp};
use crate::host::HeaderBlock;
use crate::reply::RpcIds;
use crate::text::json::{Listed, Member, MemberId, Scan, Search, Value};

pub use bad::{BadMessage, Disagreement};
use headers::Told;

use super::a2a;
use super::content::{is_compressed, is_json};

/// A list of more messages is refused.
const MOST_MESSAGES: usize = 64;

/// The method that calls a tool, and the one that asks for a list of them.
const CALL: &str = "tools/call";
const LIST: &str = "tools/list";

/// What clients may ask for or tell of. In other letters it is none of these here, and may be for somebody else.
const METHODS: [&str; 21] = [
    CALL,
    LIST,
    "initialize",
    "ping",
    "server/discover",
    "subscriptions/listen",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
    "elicitation/create",
    "sampling/createMessage",
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
];

/// The version of the protocol that a message itself is of.
const VERSION: &str = "/params/_meta/io.modelcontextprotocol~1protocolVersion";

/// What is looked for in messages, made once.
#[derive(Debug)]
pub struct MessageMembers {
    search: Rc<Search>,
    protocol: Protocol,
    id: MemberId,
    method: MemberId,
    result: MemberId,
    error: MemberId,
    name: MemberId,
    uri: MemberId,
    /// The task, of which an extension's methods are.
    task: MemberId,
    version: MemberId,
}

/// Whose messages they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Mcp,
    A2a,
}

/// The messages of a request under way.
#[derive(Debug)]
pub struct Messages {
    members: Rc<MessageMembers>,
    told: Told,
    scan: Scan,
    called: Option<Rc<Called>>,
    bad: Option<BadMessage>,
    read: u64,
    /// How many bytes it has, where the request says so.
    length: Option<u64>,
    /// What is called must be known by then.
    most: u64,
    ended: bool,
    /// There must be one.
    needed: bool,
}

/// What a request was found to call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Called {
    /// Each of its messages, in their order. None: there is no body, and the answer, if any, is a stream that was begun before.
    pub messages: Vec<Call>,
    /// The answer may hold lists of tools.
    pub lists_tools: bool,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Call {
    /// `None`: it is an answer to a question of the agent's.
    pub method: Option<Box<str>>,
    /// The tool that it calls.
    pub tool: Option<Box<str>>,
}

/// The parts of a [`Call`].
type Borrowed<'a> = (Option<&'a str>, Option<&'a str>);

/// One message as far as it has come.
#[derive(Clone, Copy)]
enum Message<'a> {
    /// It is the whole body.
    Only(&'a Scan),
    /// It is one of a list, and whole.
    Listed(Listed<'a>),
}

impl Default for MessageMembers {
    fn default() -> Self {
        let mut search = Search::new();
        search.may_list(MOST_MESSAGES);
        // These are pointers; were one of them none, it would stand for the whole text, and every message would be bad.
        let mut member = |pointer| search.member(pointer).unwrap_or_default();
        Self {
            id: member("/id"),
            method: member("/method"),
            result: member("/result"),
            error: member("/error"),
            name: member("/params/name"),
            uri: member("/params/uri"),
            task: member("/params/taskId"),
            version: member(VERSION),
            protocol: Protocol::Mcp,
            search: Rc::new(search),
        }
    }
}

impl MessageMembers {
    /// What is looked for in messages of A2A: nothing in their parameters.
    #[must_use]
    pub fn of_a2a() -> Self {
        let mut search = Search::new();
        let mut member = |pointer| search.member(pointer).unwrap_or_default();
        let [id, method, result, error] = ["/id", "/method", "/result", "/error"].map(&mut member);
        Self {
            id,
            method,
            result,
            error,
            name: method,
            uri: method,
            task: method,
            version: method,
            protocol: Protocol::A2a,
            search: Rc::new(search),
        }
    }
}

impl<'a> Message<'a> {
    fn member(self, id: MemberId) -> &'a Member {
        match self {
            Self::Only(scan) => scan.member(id),
            Self::Listed(message) => message.member(id),
        }
    }

    /// A member that is a text. `None`: it is none, or has not come.
    fn text(self, id: MemberId) -> Option<&'a str> {
        match self.member(id) {
            Member::Found(found) => match &found.value {
                Value::Text(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    fn has(self, id: MemberId) -> bool {
        matches!(self.member(id), Member::Found(_))
    }

    /// Its method and the tool that it calls, once they are known.
    fn call(self, members: &MessageMembers) -> Result<Option<Borrowed<'a>>, BadMessage> {
        let answers = self.has(members.result) || self.has(members.error);
        let method = match self.member(members.method) {
            Member::Unknown | Member::Absent if answers && members.protocol == Protocol::Mcp => {
                return Ok(Some((None, None)));
            }
            Member::Unknown => return Ok(None),
            Member::Absent => return Err(BadMessage::NoMethod),
            Member::Found(_) if answers => return Err(BadMessage::MethodAndAnswer),
            Member::Found(_) => self.text(members.method).ok_or(BadMessage::NoMethod)?,
        };
        // No method has others, and somebody may cut them off.
        if !method.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadMessage::Respelt);
        }
        if members.protocol == Protocol::A2a {
            return match a2a::is_respelt(method) {
                true => Err(BadMessage::Respelt),
                false => Ok(Some((Some(method), None))),
            };
        }
        if method != CALL {
            let is_it = |own: &&str| method.eq_ignore_ascii_case(own) && method != *own;
            return match METHODS.iter().any(is_it) {
                true => Err(BadMessage::Respelt),
                false => Ok(Some((Some(method), None))),
            };
        }
        match self.member(members.name) {
            Member::Unknown => Ok(None),
            Member::Absent => Err(BadMessage::NoTool),
            Member::Found(_) => match self.text(members.name) {
                // Some readers end a text there.
                Some(tool) if !tool.contains('\0') => Ok(Some((Some(method), Some(tool)))),
                _ => Err(BadMessage::NoTool),
            },
        }
    }

    /// Its id, as it is written in JSON. `None`: it has none, or none yet.
    fn id(self, members: &MessageMembers) -> Option<String> {
        match self.member(members.id) {
            Member::Found(found) => match &found.value {
                Value::Text(text) => Some(serde_json::Value::from(&**text).to_string()),
                Value::Number(number) => Some((**number).to_owned()),
                _ => None,
            },
            _ => None,
        }
    }

    fn check_id(self, members: &MessageMembers) -> Result<(), BadMessage> {
        let bad = |value: &Value| !matches!(value, Value::Text(_) | Value::Number(_));
        match self.member(members.id) {
            Member::Found(found) if bad(&found.value) => Err(BadMessage::BadId),
            _ => Ok(()),
        }
    }
}

impl Messages {
    /// The body of a request with these headers, of which nothing has come yet. `most`: so many of its bytes may say what it calls.
    /// `needed`: there must be one.
    #[must_use]
    pub fn new(
        members: &Rc<MessageMembers>,
        headers: &HeaderBlock,
        most: u64,
        needed: bool,
    ) -> Self {
        let told = Told::read(headers);
        Self {
            scan: Scan::new(Rc::clone(&members.search)),
            members: Rc::clone(members),
            bad: unreadable(headers),
            told,
            called: None,
            read: 0,
            most,
            length: (headers.get("content-length"))
                .and_then(|length| str::from_utf8(length).ok()?.parse().ok()),
            ended: false,
            needed,
        }
    }

    /// More of it has come.
    pub fn feed(&mut self, piece: &[u8]) {
        let left = usize::try_from(self.most.saturating_sub(self.read)).unwrap_or(usize::MAX);
        self.read = self.read.saturating_add(piece.len() as u64);
        match piece.split_at_checked(left) {
            // Where pieces end must not decide.
            Some((decisive, rest)) if self.called.is_none() && !rest.is_empty() => {
                self.scan(decisive);
                if self.called.is_none() && self.bad.is_none() {
                    self.bad = Some(BadMessage::TooLate(self.most));
                }
                self.scan(rest);
            }
            _ => self.scan(piece),
        }
        // An agent that has so many bytes waits for nothing else.
        if self.length == Some(self.read) {
            self.end();
        }
    }

    /// All of it has come.
    pub fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if self.bad.is_some() {
            return;
        }
        if self.read > 0 {
            self.bad = self.scan.end().err().map(BadMessage::from);
        } else if self.needed {
            self.bad = Some(BadMessage::Empty);
        } else {
            let silent = match self.members.protocol {
                Protocol::Mcp => self.told.are_silent(),
                Protocol::A2a => Ok(()),
            };
            match silent {
                Ok(()) => self.called = Some(Rc::new(Called::nothing())),
                Err(bad) => self.bad = Some(bad),
            }
        }
    }

    fn scan(&mut self, piece: &[u8]) {
        if self.bad.is_none() {
            let read = self.scan.feed(piece).map_err(BadMessage::from);
            self.bad = read.and_then(|()| self.look()).err();
        }
    }

    /// Looks at what is known now.
    fn look(&mut self) -> Result<(), BadMessage> {
        let members = &*self.members;
        let mut messages = Vec::new();
        if let Some(listed) = self.scan.listed() {
            if !self.scan.is_whole() || self.called.is_some() {
                return Ok(());
            }
            self.told.takes_lists()?;
            for message in listed.map(Message::Listed) {
                let call = message.call(members)?.ok_or(BadMessage::NoMethod)?;
                self.told.agrees(message, members, true)?;
                message.check_id(members)?;
                messages.push(Call::from(call));
            }
            if messages.is_empty() {
                return Err(BadMessage::Empty);
            }
        } else {
            let message = Message::Only(&self.scan);
            let call = message.call(members)?;
            message.check_id(members)?;
            if members.protocol == Protocol::Mcp {
                self.told.agrees(message, members, self.scan.is_whole())?;
            }
            let Some(call) = call.filter(|_| self.called.is_none()) else {
                return Ok(());
            };
            messages.push(Call::from(call));
        }
        self.called = Some(Rc::new(Called::by(messages)));
        Ok(())
    }

    /// What they call. `None`: that is not known yet.
    #[must_use]
    pub fn called(&self) -> Option<&Rc<Called>> {
        self.called.as_ref()
    }

    /// Why they are not passed on. What comes later may still be a reason.
    #[must_use]
    pub fn bad(&self) -> Option<&BadMessage> {
        self.bad.as_ref()
    }

    /// True if all ids are known that will be waited for.
    #[must_use]
    pub fn ids_are_known(&self) -> bool {
        let id = self.scan.member(self.members.id);
        self.ended
            || self.read > self.most
            || self.scan.is_whole()
            || self.scan.listed().is_none() && *id != Member::Unknown
    }

    /// Which answers are waited for, as far as they have come. `None`: there is no message.
    #[must_use]
    pub fn ids(&self) -> Option<RpcIds> {
        let members = &*self.members;
        if !self.needed && self.read == 0 {
            return None;
        }
        Some(match self.scan.listed() {
            Some(listed) => {
                let ids = listed.filter_map(|it| Message::Listed(it).id(members));
                RpcIds::Each(ids.collect())
            }
            None => {
                let id = Message::Only(&self.scan).id(members);
                match members.protocol {
                    Protocol::Mcp => RpcIds::One(id),
                    Protocol::A2a => RpcIds::A2a(id),
                }
            }
        })
    }
}

/// Why bodies of requests with these headers cannot be read.
fn unreadable(headers: &HeaderBlock) -> Option<BadMessage> {
    if is_compressed(headers) {
        return Some(BadMessage::Compressed);
    }
    let mut types = headers.get_all("content-type");
    let is_read = types.next().is_none_or(is_json) && types.next().is_none();
    (!is_read).then_some(BadMessage::OtherType)
}

impl From<Borrowed<'_>> for Call {
    fn from((method, tool): Borrowed<'_>) -> Self {
        Self {
            method: method.map(Box::from),
            tool: tool.map(Box::from),
        }
    }
}

impl Called {
    fn by(messages: Vec<Call>) -> Self {
        let lists = |call: &Call| call.method.as_deref() == Some(LIST);
        Self {
            lists_tools: messages.iter().any(lists),
            messages,
        }
    }

    /// Of a request without a body. Who takes up a stream again may be sent what was asked for on it.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            messages: Vec::new(),
            lists_tools: true,
        }
    }

    /// Of each message, the tool that it calls.
    pub fn tool_of_each(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let tools = self.messages.iter().map(|call| call.tool.as_deref());
        tools.map(|tool| tool.map(str::as_bytes))
    }

    /// Why one who asks may not have that. `None`: it may.
    #[must_use]
    pub fn forbidden(&self, mcp: &Mcp, asker: Asker<'_>) -> Option<String> {
        let mut all = self.messages.iter();
        all.find_map(|Call { method, tool }| {
            let may_call = |tool: &&str| !mcp.may_call(asker, tool.as_bytes());
            let may_use = |method: &&str| !mcp.may_use(asker, method.as_bytes());
            if let Some(tool) = tool.as_deref().filter(may_call) {
                return Some(["This client may not call the tool ", tool, "."].concat());
            }
            let method = method.as_deref().filter(may_use)?;
            Some(["This client may not use the method ", method, "."].concat())
        })
    }
}

#[cfg(test)]
mod tests;
