//! The names of answers in OpenAI's Responses API: where paths name one, and how an answer is found to have one while it passes.
//! A conversation, which many answers are of, is named in the same ways; and so are the tasks and contexts of A2A, which answers have.

use std::rc::Rc;

use super::task::{Task, Tasks};
use crate::text::json::{Member, MemberId, Scan, Search, Value};
use crate::text::paths::{split_once, split_query};

/// What paths of this interface have as a segment, and answers as their `object`.
const KINDS: [(&[u8], &str); 2] = [
    (b"responses", "response"),
    (b"conversations", "conversation"),
];

/// So much of an answer is looked at.
const MOST: usize = 1 << 20;

/// Whether a path is one of this interface, and the name that it holds then, if it does.
#[must_use]
pub fn in_path(path: &[u8]) -> Option<Option<&[u8]>> {
    let mut segments = split_query(path).0.split(|byte| *byte == b'/');
    segments.find(|segment| KINDS.iter().any(|(kind, _)| kind == segment))?;
    Some(segments.next().filter(|name| !name.is_empty()))
}

/// Where answers say their names.
#[derive(Debug)]
pub struct Names {
    search: Rc<Search>,
    /// Of an answer that is one JSON text.
    name: MemberId,
    object: MemberId,
    /// Of one that an event tells of.
    in_event: MemberId,
    /// In the place of all these, those of tasks.
    tasks: Option<Tasks>,
}

/// An answer that passes.
#[derive(Debug)]
pub struct Answer {
    names: Rc<Names>,
    scan: Scan,
    events: Option<Line>,
    read: usize,
}

/// The line of an event stream that is under way.
#[derive(Debug, Clone, Copy)]
enum Line {
    /// So much of it is as lines of data begin.
    Begun(usize),
    Data,
    Other,
}

const DATA: &[u8] = b"data:";

/// What has been seen of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// Nothing yet.
    Nothing,
    /// Its name.
    Name(&'a str),
    /// The task that it tells of.
    Task(Task<'a>),
    /// It has none.
    NoName,
}

impl Names {
    /// As answers say them. `None` never.
    #[must_use]
    pub fn new() -> Option<Rc<Self>> {
        let mut search = Search::new();
        let mut member = |pointer| search.member(pointer).ok();
        let [name, object, in_event] =
            [member("/id")?, member("/object")?, member("/response/id")?];
        Some(Rc::new(Self {
            search: Rc::new(search),
            name,
            object,
            in_event,
            tasks: None,
        }))
    }

    /// The tasks that answers of A2A tell of. `None` never.
    #[must_use]
    pub fn of_tasks() -> Option<Rc<Self>> {
        let mut search = Search::new();
        let tasks = Tasks::new(&mut search)?;
        let none = MemberId::default();
        Some(Rc::new(Self {
            search: Rc::new(search),
            name: none,
            object: none,
            in_event: none,
            tasks: Some(tasks),
        }))
    }
}

impl Answer {
    /// An answer of this `content-type`, of which nothing has come yet. `None`: such an answer has no name.
    #[must_use]
    pub fn new(names: &Rc<Names>, content_type: &[u8]) -> Option<Self> {
        let kind = split_once(content_type, b';').0.trim_ascii();
        let is = |wanted: &[u8]| kind.eq_ignore_ascii_case(wanted);
        let is_task = names.tasks.is_some() && is(b"application/a2a+json");
        let events = is(b"text/event-stream");
        (events || is_task || is(b"application/json")).then(|| Self {
            names: Rc::clone(names),
            scan: Scan::new(Rc::clone(&names.search)),
            events: events.then_some(Line::Begun(0)),
            read: 0,
        })
    }

    /// More of it has passed, in pieces that end anywhere.
    pub fn feed(&mut self, piece: &[u8]) -> Seen<'_> {
        self.read = self.read.saturating_add(piece.len());
        let goes_on = match self.events {
            None => self.scan.feed(piece).is_ok(),
            Some(line) => {
                self.events = Some(self.feed_lines(line, piece));
                true
            }
        };
        match self.seen() {
            Seen::Nothing if !goes_on || self.read > MOST => Seen::NoName,
            seen => seen,
        }
    }

    /// Each line of data is one JSON text.
    fn feed_lines(&mut self, mut line: Line, piece: &[u8]) -> Line {
        let mut rest = piece;
        while let [byte, behind @ ..] = rest {
            let ends = matches!(byte, b'\n' | b'\r');
            match line {
                _ if ends => line = Line::Begun(0),
                Line::Begun(matched) if DATA.get(matched) == Some(byte) => {
                    line = Line::Begun(matched + 1);
                    if matched + 1 == DATA.len() {
                        line = Line::Data;
                        self.scan = Scan::new(Rc::clone(&self.names.search));
                    }
                }
                Line::Begun(_) => line = Line::Other,
                Line::Data => {
                    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
                    let length = rest.iter().position(is_end).unwrap_or(rest.len());
                    let (data, behind) = rest.split_at_checked(length).unwrap_or_default();
                    // What is no JSON, as the last line is, names nothing.
                    let _ = self.scan.feed(data);
                    if self.seen() != Seen::Nothing {
                        return line;
                    }
                    rest = behind;
                    continue;
                }
                Line::Other => {}
            }
            rest = behind;
        }
        line
    }

    fn seen(&self) -> Seen<'_> {
        match &self.names.tasks {
            Some(tasks) => tasks.find(&self.scan).map_or(Seen::Nothing, Seen::Task),
            None => self.name().map_or(Seen::Nothing, Seen::Name),
        }
    }

    fn name(&self) -> Option<&str> {
        let text = |id: MemberId| match self.scan.member(id) {
            Member::Found(found) => match &found.value {
                Value::Text(text) if !text.is_empty() => Some(&**text),
                _ => None,
            },
            Member::Unknown | Member::Absent => None,
        };
        let names = &self.names;
        text(names.in_event).or_else(|| {
            let object = text(names.object)?;
            let is_named = KINDS.iter().any(|(_, kind)| *kind == object);
            text(names.name).filter(|_| is_named)
        })
    }
}

#[cfg(test)]
mod tests;
