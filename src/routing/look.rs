//! What requests have in common that stands in their bodies: a member, what the prompt begins with, or the name of an earlier
//! answer. It is looked for while a body arrives, apart from what rules ask: nothing is refused for what is found here.

use std::borrow::Cow;
use std::rc::Rc;

use super::content::{Asked, Content, Known, Stated, Wanted, Wanting};
use crate::config::policy::{
    BEFORE_PROMPTS, CONTEXTS, FIRST_MESSAGES, NAMING_ANSWERS, PROMPTS, Policy, Protocol, Route,
    Sticky, TASKS,
};
use crate::host::HeaderBlock;
use crate::sort::sort_by_key;
use crate::text::json::Value;

/// What is looked for in the bodies of one route, so that its requests are kept together.
#[derive(Debug)]
pub struct Sought {
    wanted: Wanted,
    members: Vec<(Box<str>, Asked)>,
    naming: Vec<Asked>,
    tasks: Vec<Asked>,
    contexts: Vec<Asked>,
    before: Vec<Asked>,
    prompts: Vec<Prompt>,
    /// So much of a prompt counts at most.
    most: usize,
}

/// A place where a prompt may stand, with its first messages.
#[derive(Debug)]
struct Prompt {
    place: Asked,
    /// Each with its role.
    messages: Vec<(Asked, Asked)>,
}

/// What one body says of it, as far as it has come.
#[derive(Debug)]
pub struct Look {
    sought: Rc<Sought>,
    content: Content,
    /// What the prompt begins with.
    prompt: Vec<u8>,
    /// No more of it counts.
    is_whole: bool,
}

impl Sought {
    /// What a route and its agents are sticky by. `None`: bodies say nothing of that.
    #[must_use]
    pub fn new(policy: &Policy, route: &Route) -> Option<Rc<Self>> {
        let agents = route.all_agents();
        let agents = agents.filter_map(|id| policy.agents.get(id.0)?.sticky.as_ref());
        let all: Vec<&Sticky> = route.sticky.iter().chain(agents).collect();
        // A WebSocket's request has no body.
        if route.protocol == Protocol::Websocket || !all.iter().any(|sticky| sticky.asks_body()) {
            return None;
        }
        let mut wanting = Wanting::default();
        let mut sought = Self {
            members: Vec::new(),
            naming: Vec::new(),
            tasks: Vec::new(),
            contexts: Vec::new(),
            before: Vec::new(),
            prompts: Vec::new(),
            most: 0,
            wanted: Wanting::default().of(route),
        };
        for way in all.iter().flat_map(|sticky| sticky.ways()) {
            match way {
                Sticky::Body(pointer) => {
                    let member = wanting.member(pointer);
                    (sought.members).extend(member.map(|it| (pointer.as_str().into(), it)));
                }
                Sticky::Prompt(most) => {
                    sought.most = sought
                        .most
                        .max(usize::try_from(*most).unwrap_or(usize::MAX));
                }
                Sticky::Response if sought.naming.is_empty() => {
                    sought.naming = NAMING_ANSWERS
                        .iter()
                        .filter_map(|it| wanting.member(it))
                        .collect();
                }
                Sticky::Task if sought.tasks.is_empty() => {
                    sought.tasks = TASKS.iter().filter_map(|it| wanting.member(it)).collect();
                    sought.contexts = CONTEXTS
                        .iter()
                        .filter_map(|it| wanting.member(it))
                        .collect();
                }
                _ => {}
            }
        }
        if sought.most > 0 {
            sought.before = BEFORE_PROMPTS
                .iter()
                .filter_map(|it| wanting.member(it))
                .collect();
            let prompt = |place: &&str| prompt(&mut wanting, place);
            sought.prompts = PROMPTS.iter().filter_map(prompt).collect();
        }
        sought.wanted = wanting.of(route);
        Some(Rc::new(sought))
    }
}

fn prompt(wanting: &mut Wanting, place: &str) -> Option<Prompt> {
    let mut messages = Vec::new();
    for message in 0..FIRST_MESSAGES {
        let message = [place, "/", &message.to_string()].concat();
        let role = wanting.member(&[&message, "/role"].concat())?;
        messages.push((wanting.member(&message)?, role));
    }
    Some(Prompt {
        place: wanting.member(place)?,
        messages,
    })
}

impl Look {
    /// At the body of a request with these headers, of which nothing has come yet.
    #[must_use]
    pub fn new(sought: &Rc<Sought>, headers: &HeaderBlock) -> Self {
        Self {
            sought: Rc::clone(sought),
            content: Content::new(&sought.wanted, headers, None),
            prompt: Vec::new(),
            is_whole: false,
        }
    }

    /// More of it has come.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.is_over() {
            return;
        }
        let from = self.content.offset();
        self.content.feed(piece);
        if self.sought.most > 0 && !self.is_whole {
            self.take_prompt(piece, from);
        }
    }

    /// All of it has come.
    pub fn end(&mut self) {
        self.content.end();
    }

    /// True if nothing that comes can say more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.content.is_spent() || self.content.bad().is_some()
    }

    /// Takes of the piece that begins at this place what belongs to the beginning of the prompt: as it is written, up to the end of
    /// the first message that is not the operator's. It stands there in each turn of a chat, whatever follows.
    fn take_prompt(&mut self, piece: &[u8], from: u64) {
        let content = &self.content;
        let read = content.offset();
        let place = |id: Asked| content.stretch(id).filter(|it| !it.is_null);
        let before = self.sought.before.iter();
        let before = before.filter_map(|id| Some((place(*id)?, false)));
        let prompts = self.sought.prompts.iter().filter_map(|prompt| {
            let mut stretch = place(prompt.place)?;
            stretch.end = prompt.end_of_first(content).or(stretch.end);
            Some((stretch, true))
        });
        let mut stretches: Vec<_> = before.chain(prompts).collect();
        sort_by_key(&mut stretches, |(it, _)| it.start);
        for (stretch, is_last) in stretches {
            let of_piece = |at: u64| usize::try_from(at.saturating_sub(from)).unwrap_or(usize::MAX);
            let start = of_piece(stretch.start);
            let end = of_piece(stretch.end.unwrap_or(read).min(read));
            let left = self.sought.most.saturating_sub(self.prompt.len());
            let new = piece.get(start..end).unwrap_or_default();
            self.prompt.extend(new.iter().take(left));
            if is_last && stretch.end.is_some() {
                self.is_whole = true;
                break;
            }
        }
        self.is_whole |= self.prompt.len() >= self.sought.most;
    }

    /// What a member is that is looked for. What is no text or number, or an empty or a long one, says nothing.
    #[must_use]
    pub fn member(&self, pointer: &str) -> Known<Cow<'_, [u8]>> {
        let mut members = self.sought.members.iter();
        let member = members.find(|(other, _)| **other == *pointer);
        let known = member.map_or(Known::Absent, |(_, id)| self.content.member(*id));
        match known {
            Known::Unknown => self.unknown(),
            Known::Found(Stated::Value(Value::Text(text) | Value::Number(text)))
                if !text.is_empty() =>
            {
                Known::Found(text.as_bytes().into())
            }
            Known::Found(Stated::Field(text)) if !text.is_empty() => {
                Known::Found(text.as_bytes().into())
            }
            Known::Absent | Known::Found(_) => Known::Absent,
        }
    }

    /// So many bytes at most that the prompt begins with.
    #[must_use]
    pub fn prompt(&self, most: u64) -> Known<Cow<'_, [u8]>> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        match self.prompt.get(..most) {
            Some(beginning) => Known::Found(beginning.into()),
            None if !self.is_whole && !self.is_over() => Known::Unknown,
            None if self.prompt.is_empty() => Known::Absent,
            None => Known::Found(self.prompt.as_slice().into()),
        }
    }

    /// The name of an earlier answer, or of a conversation.
    #[must_use]
    pub fn named(&self) -> Known<Cow<'_, [u8]>> {
        self.first_of(&self.sought.naming)
    }

    /// An earlier task.
    #[must_use]
    pub fn task(&self) -> Known<Cow<'_, [u8]>> {
        self.first_of(&self.sought.tasks)
    }

    /// A context.
    #[must_use]
    pub fn context(&self) -> Known<Cow<'_, [u8]>> {
        self.first_of(&self.sought.contexts)
    }

    fn first_of(&self, places: &[Asked]) -> Known<Cow<'_, [u8]>> {
        let mut known = Known::Absent;
        for id in places {
            match self.content.member(*id) {
                Known::Found(Stated::Value(Value::Text(name))) if !name.is_empty() => {
                    return Known::Found(name.as_bytes().into());
                }
                Known::Unknown => known = self.unknown(),
                Known::Absent | Known::Found(_) => {}
            }
        }
        known
    }

    fn unknown<T>(&self) -> Known<T> {
        if self.is_over() {
            Known::Absent
        } else {
            Known::Unknown
        }
    }
}

impl Prompt {
    /// Where its first message ends that is not the operator's. `None`: it has not yet, or has no such.
    fn end_of_first(&self, content: &Content) -> Option<u64> {
        for (message, role) in &self.messages {
            let end = content.stretch(*message).filter(|it| it.is_object)?.end?;
            let role = content.member(*role);
            let operators = matches!(role, Known::Found(Stated::Value(Value::Text(role)))
                if matches!(&**role, "system" | "developer"));
            if !operators {
                return Some(end);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
