//! What a message names, where its route stands for several servers: the name says which of them is called.

use std::ops::Range;

use super::{BadMessage, Message, Messages};
use crate::routing::servers::Kind;
use crate::text::json::{Found, Member, Value};

/// What a message names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// How it is named.
    pub kind: Kind,
    /// By this name.
    pub name: Box<str>,
    /// Where that stands in the body, with its quotes.
    pub place: Range<u64>,
}

impl Messages {
    /// What the message names by which a server is chosen, once it is known what it calls. `None`: that is not known yet.
    ///
    /// # Errors
    /// When it names nothing, though its method does, or is one of several.
    pub fn named(&self) -> Option<Result<Option<Named>, BadMessage>> {
        let called = self.called.as_ref()?;
        let method = match called.messages.as_slice() {
            [] => return Some(Ok(None)),
            [call] if self.scan.listed().is_none() => call.method.as_deref(),
            _ => return Some(Err(BadMessage::OneByOne)),
        };
        let members = &*self.members;
        let places = match method {
            Some("tools/call" | "prompts/get") => vec![(Kind::Name, members.name)],
            Some("resources/read") => vec![(Kind::Uri, members.uri)],
            Some("completion/complete") => [Kind::Name, Kind::Uri]
                .into_iter()
                .zip(members.of_completion.into_iter().flatten())
                .collect(),
            _ => return Some(Ok(None)),
        };
        let message = Message::Only(&self.scan);
        let mut found = None;
        for (kind, place) in places {
            match message.member(place) {
                Member::Unknown => return None,
                Member::Absent => {}
                Member::Found(Found {
                    value: Value::Text(name),
                    start,
                    end: Some(end),
                }) if found.is_none() => {
                    found = Some(Named {
                        kind,
                        name: name.clone(),
                        place: *start..*end,
                    });
                }
                Member::Found(_) => return Some(Err(BadMessage::Unnamed)),
            }
        }
        Some(found.ok_or(BadMessage::Unnamed).map(Some))
    }
}
