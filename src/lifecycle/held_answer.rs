//! An answer that is changed before its caller sees it, since not all of it may be seen by everybody.
//!
//! A JSON text is held, headers and all, until it is whole: within a bound, beyond which the caller gets 502 in its place. Of an event
//! stream each event is. What arrives is taken out of the host at once, so its own buffers bound nothing. What cannot be read is never
//! passed on: it is 502, or breaks the answer off where that has begun. A stream that asks for nothing of this pays nothing.
//!
//! What the host answers itself to messages of JSON-RPC is held in the same way, and becomes the answer that their caller waits for.

use std::fmt;
use std::ops::ControlFlow;

use super::Flow;
use super::failure::{Failure, refusal};
use super::hold::{Held, Waits};
use super::shared::Shared;
use super::stream::{Answered, Facts, Stream};
use crate::host::{Host, HostError, StreamIo};
use crate::reply::{Refusal, problem_as_answer};
use crate::routing::Unreadable;
use crate::text::events::{BadEvent, Events};
use crate::text::json::nesting::Nesting;
use crate::text::paths::split_once;

/// What a caller may see of a text: of an answer, or of an event's data. `None`: all of it.
pub(super) type Look = Box<dyn Fn(&[u8]) -> Result<Option<Vec<u8>>, Unreadable>>;

/// What becomes of an answer.
pub(super) struct HeldAnswer {
    look: Look,
    /// How many bytes an answer may have, or an event.
    most: usize,
    /// Whether it is just that which was asked for, and not one of many that pass by: whatever it calls itself, it is to be read.
    is_asked_for: bool,
    state: State,
    /// What the gateway holds of it.
    held: Option<Held>,
}

enum State {
    /// Its headers have not come.
    Awaited,
    /// A text of which so much has come.
    Text(Vec<u8>, Nesting),
    /// The text has gone. Nothing but blanks may come.
    Gone,
    Events(Events),
    /// It was refused. Nothing that comes of it goes on.
    Refused,
}

/// Why an answer does not go on, until it is known what that is called.
enum Stop {
    Host(HostError),
    Refused(Refusal),
}

impl HeldAnswer {
    pub(super) fn new(look: Look, most: usize, is_asked_for: bool) -> Self {
        Self {
            look,
            most,
            is_asked_for,
            state: State::Awaited,
            held: None,
        }
    }

    /// The headers have come. Breaks: nothing of this answer needs to be looked at.
    fn begin(&mut self, io: &impl StreamIo) -> Result<ControlFlow<(), Flow>, Stop> {
        let headers = io.response_headers()?;
        let mut kinds = headers.get_all("content-type");
        let kind = kinds.next().unwrap_or_default();
        // Of two, one reads the one and another the other.
        if kinds.next().is_some() {
            return Err(unreadable());
        }
        let kind = split_once(kind, b';').0.trim_ascii().to_ascii_lowercase();
        let succeeded = headers
            .get(":status")
            .is_some_and(|status| status.starts_with(b"2"));
        let is_stream = kind == b"text/event-stream";
        let is_json = kind.windows(4).any(|it| it == b"json");
        if !(is_stream || is_json || self.is_asked_for && succeeded) {
            return Ok(ControlFlow::Break(()));
        }
        let encodings = headers.get_all("content-encoding");
        if encodings
            .map(<[u8]>::trim_ascii)
            .any(|it| !it.is_empty() && !it.eq_ignore_ascii_case(b"identity"))
        {
            return Err(unreadable());
        }
        // Of what is changed.
        for name in DIGESTS {
            if headers.get(name).is_some() {
                io.remove_response_header(name);
            }
        }
        if is_stream {
            io.remove_response_header("content-length");
            self.state = State::Events(Events::new(self.most));
            // Until the first event that is asked for there is a better answer to give than to break off.
            return Ok(ControlFlow::Continue(match self.is_asked_for {
                true => Flow::Hold,
                false => Flow::Continue,
            }));
        }
        let length = headers.get("content-length").unwrap_or_default();
        let length = str::from_utf8(length).ok().and_then(|it| it.parse().ok());
        if length.is_some_and(|length: usize| length > self.most) {
            return Err(self.too_large());
        }
        self.state = State::Text(Vec::new(), Nesting::default());
        Ok(ControlFlow::Continue(Flow::Hold))
    }

    /// A piece has come: what goes on in its place. `None`: nothing yet.
    fn piece(&mut self, piece: Vec<u8>, end: bool) -> Result<Option<Vec<u8>>, Stop> {
        match &mut self.state {
            State::Text(text, nesting) => {
                nesting.feed(&piece);
                let is_whole = end || nesting.is_whole();
                if text.is_empty() {
                    *text = piece;
                } else {
                    text.extend_from_slice(&piece);
                }
                if text.len() > self.most {
                    return Err(self.too_large());
                }
                if !is_whole {
                    return Ok(None);
                }
                let text = std::mem::take(text);
                self.state = State::Gone;
                // As an agent acknowledges what needs no answer.
                if text.trim_ascii().is_empty() {
                    return Ok(Some(text));
                }
                let seen = (self.look)(&text).map_err(|_| unreadable())?;
                Ok(Some(seen.unwrap_or(text)))
            }
            State::Gone if piece.trim_ascii().is_empty() => Ok(end.then(Vec::new)),
            State::Events(events) => {
                let most = self.most;
                let mut gone = events.feed(&piece, &mut |data| (self.look)(data)).map_err(
                    |bad| match bad {
                        BadEvent::TooLong => too_large(most),
                        BadEvent::Refused(_) => unreadable(),
                    },
                )?;
                if end {
                    let rest = events.end(&mut |data| (self.look)(data));
                    gone.extend(rest.map_err(|_| unreadable())?);
                }
                Ok((end || !gone.is_empty()).then_some(gone))
            }
            State::Awaited | State::Gone | State::Refused => Err(unreadable()),
        }
    }

    /// How many bytes are held of it.
    fn size(&self) -> usize {
        match &self.state {
            State::Text(text, _) => text.len(),
            State::Events(events) => events.held(),
            _ => 0,
        }
    }

    fn too_large(&self) -> Stop {
        too_large(self.most)
    }
}

/// The host's own answers are short.
const MOST_OF_HOST: usize = 64 << 10;

impl Facts {
    /// The host has answered in the agent's place, with a problem: who speaks JSON-RPC waits for an answer to its messages.
    #[inline(never)]
    pub(super) fn expect_problem(&mut self) {
        self.held_answer = self.ids().map(|ids| {
            let look = move |problem: &[u8]| Ok(problem_as_answer(problem, &ids));
            Box::new(HeldAnswer::new(Box::new(look), MOST_OF_HOST, false))
        });
    }
}

/// What says of a body what it no longer is when it was changed.
const DIGESTS: [&str; 5] = [
    "etag",
    "content-md5",
    "digest",
    "content-digest",
    "repr-digest",
];

fn too_large(most: usize) -> Stop {
    Stop::Refused(Refusal::AnswerTooLarge(most as u64))
}

fn unreadable() -> Stop {
    Stop::Refused(Refusal::UnreadableAnswer)
}

impl From<HostError> for Stop {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl<H: Host> Shared<H> {
    /// The headers of an answer have come that is changed, unless it turns out that it need not be.
    #[inline(never)]
    pub(super) fn hold_answer(
        &self,
        stream: &mut Stream<H::Stream>,
        io: &H::Stream,
        end: bool,
    ) -> Flow {
        let by_host = matches!(stream.answered, Answered::ByHost(_));
        let began = {
            let mut facts = stream.common.facts.borrow_mut();
            match &mut facts.held_answer {
                Some(answer) if stream.answered != Answered::Not && !end => answer.begin(io),
                _ => Ok(ControlFlow::Break(())),
            }
        };
        match began {
            Ok(ControlFlow::Continue(flow)) => {
                if by_host {
                    io.set_response_header("content-type", b"application/json");
                }
                flow
            }
            Ok(ControlFlow::Break(())) => {
                stream.common.facts.borrow_mut().held_answer = None;
                Flow::Continue
            }
            Err(stop) => self.refuse_answer(stream, io, stop),
        }
    }

    /// A piece of it has come, of so many bytes.
    #[inline(never)]
    pub(super) fn change_answer(
        &self,
        stream: &mut Stream<H::Stream>,
        io: &H::Stream,
        size: usize,
        end: bool,
    ) -> Flow {
        let changed = self.changed(&mut stream.common.facts.borrow_mut(), io, size, end);
        match changed {
            Ok(true) => Flow::Continue,
            Ok(false) => Flow::Hold,
            Err(stop) => self.refuse_answer(stream, io, stop),
        }
    }

    /// Whether something of it goes on now.
    fn changed(
        &self,
        facts: &mut Facts,
        io: &H::Stream,
        size: usize,
        end: bool,
    ) -> Result<bool, Stop> {
        let piece = io.take_response_body(size)?;
        let Some(answer) = &mut facts.held_answer else {
            return Ok(false);
        };
        if matches!(answer.state, State::Refused) {
            return Ok(false);
        }
        let is_text = matches!(answer.state, State::Text(..));
        let goes_on = answer.piece(piece, end)?;
        let size = answer.size() as u64;
        let held = (self.holds).hold(&mut answer.held, size, Waits::Answer, facts.caller.get());
        held.map_err(|too_much| self.failed(too_much.into()))?;
        let Some(goes_on) = goes_on else {
            return Ok(false);
        };
        if is_text {
            io.set_response_header("content-length", goes_on.len().to_string().as_bytes());
        }
        io.put_response_body(&goes_on)?;
        Ok(true)
    }

    /// It ends with trailers, so no more comes of it. A text was not whole; of an event stream what is held is no event.
    #[inline(never)]
    pub(super) fn end_answer(&self, stream: &mut Stream<H::Stream>, io: &H::Stream) -> Flow {
        let is_whole = {
            let facts = stream.common.facts.borrow();
            let answer = facts.held_answer.as_ref();
            answer.is_none_or(|it| matches!(it.state, State::Gone | State::Events(_)))
        };
        if is_whole {
            return Flow::Continue;
        }
        self.refuse_answer(stream, io, unreadable())
    }

    #[cold]
    fn refuse_answer(&self, stream: &mut Stream<H::Stream>, io: &H::Stream, stop: Stop) -> Flow {
        if let Some(answer) = &mut stream.common.facts.borrow_mut().held_answer {
            (answer.state, answer.held) = (State::Refused, None);
        }
        let refusal = match stop {
            Stop::Refused(refusal) => refusal,
            Stop::Host(error) => {
                super::failure::refusal(&*self.host, &self.telemetry, Failure::Unread(error))
            }
        };
        // Where a part of it has gone on, this breaks it off.
        self.reply(stream, io, &refusal);
        Flow::Hold
    }

    fn failed(&self, failure: Failure) -> Stop {
        Stop::Refused(refusal(&*self.host, &self.telemetry, failure))
    }
}

/// Of what it holds not even the size is of use.
impl fmt::Debug for HeldAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldAnswer")
            .field("most", &self.most)
            .field("is_asked_for", &self.is_asked_for)
            .finish_non_exhaustive()
    }
}
