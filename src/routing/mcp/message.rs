//! One message of a body, as far as it has come: what it calls, and under which id.

use super::called::Borrowed;
use super::members::Protocol;
use super::{BadMessage, CALL, METHODS, MessageMembers};
use crate::routing::a2a;
use crate::text::json::{Listed, Member, MemberId, Scan, Value};

/// One message as far as it has come.
#[derive(Clone, Copy)]
pub(super) enum Message<'a> {
    /// It is the whole body.
    Only(&'a Scan),
    /// It is one of a list, and whole.
    Listed(Listed<'a>),
}

impl<'a> Message<'a> {
    pub(super) fn member(self, id: MemberId) -> &'a Member {
        match self {
            Self::Only(scan) => scan.member(id),
            Self::Listed(message) => message.member(id),
        }
    }

    /// A member that is a text. `None`: it is none, or has not come.
    pub(super) fn text(self, id: MemberId) -> Option<&'a str> {
        match self.member(id) {
            Member::Found(found) => match &found.value {
                Value::Text(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn has(self, id: MemberId) -> bool {
        matches!(self.member(id), Member::Found(_))
    }

    /// Its method and the tool that it calls, once they are known.
    pub(super) fn call(self, members: &MessageMembers) -> Result<Option<Borrowed<'a>>, BadMessage> {
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
    pub(super) fn id(self, members: &MessageMembers) -> Option<String> {
        match self.member(members.id) {
            Member::Found(found) => match &found.value {
                Value::Text(text) => Some(serde_json::Value::from(&**text).to_string()),
                Value::Number(number) => Some((**number).to_owned()),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn check_id(self, members: &MessageMembers) -> Result<(), BadMessage> {
        let bad = |value: &Value| !matches!(value, Value::Text(_) | Value::Number(_));
        match self.member(members.id) {
            Member::Found(found) if bad(&found.value) => Err(BadMessage::BadId),
            _ => Ok(()),
        }
    }
}
