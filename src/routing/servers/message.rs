//! The one message that answers a request of MCP: the whole body, or an event of a stream among others that tell of progress.

use std::rc::Rc;

use crate::routing::Unreadable;
use crate::text::events::Events;
use crate::text::json::parts::{end_of_value, start};
use crate::text::json::{Found, Member, MemberId, Scan, Search, Value};

const METHOD_NOT_FOUND: &str = "-32601";

/// Why there is nothing to be had of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// It is none that can be read.
    Unreadable,
    /// It is an error.
    Refused,
    /// It is that error which says that the server does not know the method.
    NoMethod,
}

impl From<Unreadable> for Failed {
    fn from(_: Unreadable) -> Self {
        Self::Unreadable
    }
}

/// The message that has a result or an error, in the body of an answer.
///
/// # Errors
/// When there is none.
pub fn message_of(body: Vec<u8>) -> Result<Vec<u8>, Failed> {
    if body.get(start(&body)) == Some(&b'{') {
        return Ok(body);
    }
    let mut search = Search::new();
    let members = ["/result", "/error"].map(|it| search.member(it).unwrap_or_default());
    let search = Rc::new(search);
    let mut found = None;
    let mut look = |data: &[u8]| -> Result<Option<Vec<u8>>, Unreadable> {
        let mut scan = Scan::new(Rc::clone(&search));
        let is_sound = scan.feed(data).is_ok();
        let has = |id: &MemberId| matches!(scan.member(*id), Member::Found(_));
        if is_sound && members.iter().any(has) {
            found = Some(data.to_vec());
        }
        Ok(None)
    };
    let mut events = Events::new(body.len());
    events
        .feed(&body, &mut look)
        .map_err(|_| Failed::Unreadable)?;
    events.end(&mut look)?;
    found.ok_or(Failed::Unreadable)
}

/// A message that was read for some members of its result, which are found by the places that these pointers have.
pub(super) struct Read<'t> {
    pub(super) text: &'t str,
    scan: Scan,
    members: Vec<MemberId>,
}

impl<'t> Read<'t> {
    /// Reads a message strictly.
    ///
    /// # Errors
    /// When it is no message with a result, or could be read as another.
    pub(super) fn new(message: &'t [u8], pointers: &[&str]) -> Result<Self, Failed> {
        let text = str::from_utf8(message).map_err(|_| Failed::Unreadable)?;
        let mut search = Search::new();
        let mut member = |pointer: &str| search.member(pointer).map_err(|_| Failed::Unreadable);
        let (result, error) = (member("/result")?, member("/error")?);
        let code = member("/error/code")?;
        let mut members = Vec::with_capacity(pointers.len());
        for pointer in pointers {
            members.push(member(pointer)?);
        }
        let mut scan = Scan::new(Rc::new(search));
        let read = scan.feed(message).and_then(|()| scan.end());
        read.map_err(|_| Failed::Unreadable)?;
        match (scan.member(result), scan.member(error)) {
            (_, Member::Found(_)) => Err(match scan.member(code) {
                Member::Found(Found {
                    value: Value::Number(code),
                    ..
                }) if **code == *METHOD_NOT_FOUND => Failed::NoMethod,
                _ => Failed::Refused,
            }),
            (Member::Found(_), _) => Ok(Self {
                text,
                scan,
                members,
            }),
            _ => Err(Failed::Unreadable),
        }
    }

    pub(super) fn member(&self, place: usize) -> &Member {
        const NONE: &Member = &Member::Absent;
        let id = self.members.get(place);
        id.map_or(NONE, |id| self.scan.member(*id))
    }

    /// A member as it is written, with the place where it begins. `None`: there is none.
    pub(super) fn written(&self, place: usize) -> Option<(usize, &'t str)> {
        let Member::Found(found) = self.member(place) else {
            return None;
        };
        let start = usize::try_from(found.start).ok()?;
        let end = end_of_value(self.text.as_bytes(), start)?;
        Some((start, self.text.get(start..end)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str) -> Result<String, Failed> {
        message_of(body.into()).map(|it| String::from_utf8(it).unwrap())
    }

    #[test]
    fn the_answer_is_found_however_it_comes() {
        let answer = r#"{"id":1,"result":{}}"#;
        let progress = "event: message\ndata: {\"method\":\"notifications/progress\",\"params\":{\"result\":1}}\n\n";
        for body in [
            answer.to_owned(),
            format!("data: {answer}\n\n"),
            format!(
                ": ping\r\n\r\n{progress}event: message\r\nid: 7\r\ndata: {answer}\r\n\r\n{progress}"
            ),
            format!("{progress}data:{answer}"),
        ] {
            assert_eq!(found(&body).as_deref(), Ok(answer), "{body}");
        }
        for none in ["", "hello", "[]", progress, "data: {\n\n", "data: [1]\n\n"] {
            assert_eq!(found(none), Err(Failed::Unreadable), "{none}");
        }
    }

    #[test]
    fn an_error_is_told_from_a_result_and_what_has_two_meanings_is_neither() {
        let read = |text: &str| Read::new(text.as_bytes(), &["/result/a"]).err();
        assert_eq!(read(r#"{"result":{"a":1}}"#), None);
        for (text, failed) in [
            (r#"{"error":{"code":1}}"#, Failed::Refused),
            (r#"{"error":null,"result":{}}"#, Failed::Refused),
            (
                r#"{"error":{"code":-32601,"message":"no"}}"#,
                Failed::NoMethod,
            ),
            (r#"{"id":1}"#, Failed::Unreadable),
            (r#"{"result":{},"result":{}}"#, Failed::Unreadable),
            (r#"{"result":{"a":1,"A":1}}"#, Failed::Unreadable),
            (r#"{"result":{}"#, Failed::Unreadable),
        ] {
            assert_eq!(read(text), Some(failed), "{text}");
        }
    }
}
