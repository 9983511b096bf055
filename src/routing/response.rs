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
    /// The event that is under way has had data.
    has_data: bool,
    /// So much of the mark with which a text may begin has come. `None`: no more of it comes.
    mark: Option<usize>,
    /// The context of a task that has not been told of yet.
    context: Option<String>,
    /// It has been handed on.
    is_told: bool,
    read: usize,
}

/// The line of an event stream that is under way.
#[derive(Debug, Clone, Copy)]
enum Line {
    /// So much of it is as lines of data begin.
    Begun(usize),
    /// Nothing of it, and the one before ended with a carriage return: a line feed is of the same end.
    Returned,
    Data,
    Other,
}

/// What some put before a text to say that it is UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

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
        let is_task = names.tasks.is_some() && kind.to_ascii_lowercase().ends_with(b"+json");
        let events = is(b"text/event-stream");
        (events || is_task || is(b"application/json")).then(|| Self {
            names: Rc::clone(names),
            scan: Scan::new(Rc::clone(&names.search)),
            events: events.then_some(Line::Begun(0)),
            has_data: false,
            mark: Some(0),
            context: None,
            is_told: false,
            read: 0,
        })
    }

    /// More of it has passed, in pieces that end anywhere. Of a stream that has told of a context alone, more is to come.
    pub fn feed(&mut self, piece: &[u8]) -> Seen<'_> {
        self.read = self.read.saturating_add(piece.len());
        let piece = self.behind_mark(piece);
        let goes_on = match self.events {
            None => self.scan.feed(piece).is_ok() && !self.is_told,
            Some(line) => {
                self.events = Some(self.feed_lines(line, piece));
                true
            }
        };
        self.is_seen();
        let is_new = self.context.is_some() && !std::mem::replace(&mut self.is_told, true);
        self.is_told = self.context.is_some();
        match self.seen() {
            Seen::Nothing if is_new => Seen::Task(Task {
                task: None,
                context: self.context.as_deref(),
            }),
            Seen::Nothing if !goes_on || self.read > MOST => Seen::NoName,
            seen => seen,
        }
    }

    fn behind_mark<'p>(&mut self, mut piece: &'p [u8]) -> &'p [u8] {
        while let (Some(at), [byte, behind @ ..]) = (self.mark, piece) {
            if MARK.get(at) == Some(byte) {
                self.mark = Some(at + 1);
                piece = behind;
            } else {
                self.mark = None;
            }
        }
        piece
    }

    /// The lines of data of each event are one JSON text.
    fn feed_lines(&mut self, mut line: Line, piece: &[u8]) -> Line {
        let mut rest = piece;
        while let [byte, behind @ ..] = rest {
            match (line, byte) {
                (Line::Returned, b'\n') => line = Line::Begun(0),
                (_, b'\n' | b'\r') => {
                    // A blank line ends the event.
                    self.has_data &= !matches!(line, Line::Begun(0) | Line::Returned);
                    line = match byte {
                        b'\r' => Line::Returned,
                        _ => Line::Begun(0),
                    };
                }
                (Line::Begun(_) | Line::Returned, _) => line = self.begin_line(line, *byte),
                (Line::Data, _) => {
                    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
                    let length = rest.iter().position(is_end).unwrap_or(rest.len());
                    let (data, behind) = rest.split_at_checked(length).unwrap_or_default();
                    // What is no JSON, as the last line is, names nothing.
                    let _ = self.scan.feed(data);
                    if self.is_seen() {
                        return line;
                    }
                    rest = behind;
                    continue;
                }
                (Line::Other, _) => {}
            }
            rest = behind;
        }
        line
    }

    /// One more byte of a line that may be one of data.
    fn begin_line(&mut self, line: Line, byte: u8) -> Line {
        let matched = match line {
            Line::Begun(matched) => matched,
            _ => 0,
        };
        if DATA.get(matched) != Some(&byte) {
            return Line::Other;
        }
        if matched + 1 < DATA.len() {
            return Line::Begun(matched + 1);
        }
        if std::mem::replace(&mut self.has_data, true) {
            let _ = self.scan.feed(b"\n");
        } else {
            self.scan = Scan::new(Rc::clone(&self.names.search));
        }
        Line::Data
    }

    /// Whether no more need be read. A context is kept meanwhile, of which the task may be told yet.
    fn is_seen(&mut self) -> bool {
        let Some(tasks) = &self.names.tasks else {
            return self.name().is_some();
        };
        let found = tasks.find(&self.scan);
        if let (Some(Task { context, .. }), None) = (found, &self.context) {
            self.context = context.map(str::to_owned);
        }
        found.is_some_and(|it| it.task.is_some())
    }

    fn seen(&self) -> Seen<'_> {
        let Some(tasks) = &self.names.tasks else {
            return self.name().map_or(Seen::Nothing, Seen::Name);
        };
        match tasks.find(&self.scan) {
            Some(Task { task, context }) if task.is_some() => Seen::Task(Task {
                task,
                context: context.or(self.context.as_deref()),
            }),
            _ => Seen::Nothing,
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
