//! MCP (Model Context Protocol): what the messages in a request's body call, read while they arrive, and whether the request's
//! headers say the same.
//!
//! A body is one message of JSON-RPC or, in one old revision of the protocol, a list of them. Agents read it after us, so
//! whatever some of them may read in another way is refused, also where it shows with the last byte only.

mod bad;
mod called;
mod headers;
mod members;
mod message;
mod named;

use std::rc::Rc;

use crate::host::HeaderBlock;
use crate::reply::RpcIds;
use crate::text::json::{Member, Scan};

pub use bad::{BadMessage, Disagreement};
pub use called::{Call, Called};
use headers::Told;
pub use headers::{SESSION_ID, is_without_sessions};
pub use members::MessageMembers;
use members::Protocol;
use message::Message;
pub use named::Named;

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
            length: headers.content_length(),
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
            Some((decisive, rest)) if self.is_undecided() && !rest.is_empty() => {
                self.scan(decisive);
                if self.is_undecided() && self.bad.is_none() {
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
        if std::mem::replace(&mut self.ended, true) || self.bad.is_some() {
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

    /// True if it is not known what they call, or which of several servers that is.
    fn is_undecided(&self) -> bool {
        let is_of_several = self.members.of_completion.is_some();
        self.called.is_none() || is_of_several && self.named().is_none()
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
pub(super) fn unreadable(headers: &HeaderBlock) -> Option<BadMessage> {
    if is_compressed(headers) {
        return Some(BadMessage::Compressed);
    }
    let mut types = headers.get_all("content-type");
    let is_read = types.next().is_none_or(is_json) && types.next().is_none();
    (!is_read).then_some(BadMessage::OtherType)
}

#[cfg(test)]
mod tests;
