//! An event stream (`text/event-stream`, as HTML's standard has it) on its way: each event is looked at when it is whole, and no more
//! of the stream is held than the one that is under way.

use std::ops::Range;

/// A stream of which the last event is not whole yet.
#[derive(Debug)]
pub struct Events {
    /// The bytes of the event that is under way.
    held: Vec<u8>,
    /// Where its last line begins.
    line: usize,
    /// The last byte was a carriage return: a line feed behind it is of the same end of a line.
    returned: bool,
    /// An event has gone on.
    begun: bool,
    most: usize,
}

/// Why an event does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadEvent<E> {
    /// It has more bytes than may be held of one.
    TooLong,
    /// Whoever looked at it says so.
    Refused(E),
}

/// What is put in place of an event's data. `None`: it stays.
pub type Look<'l, E> = dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>, E> + 'l;

impl Events {
    /// A stream of which nothing has come, and of whose events each has so many bytes at most.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            held: Vec::new(),
            line: 0,
            returned: false,
            begun: false,
            most,
        }
    }

    /// How many bytes are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The next bytes of the stream, split off anywhere: what of it goes on now.
    ///
    /// # Errors
    /// When an event is too long, or `look` says so. The stream is to end then.
    pub fn feed<E>(
        &mut self,
        piece: &[u8],
        look: &mut Look<'_, E>,
    ) -> Result<Vec<u8>, BadEvent<E>> {
        let mut gone = Vec::new();
        let (mut start, mut at) = (0, self.held.len());
        self.held.extend_from_slice(piece);
        while let Some(byte) = self.held.get(at) {
            at += 1;
            if at - start > self.most {
                return Err(BadEvent::TooLong);
            }
            let behind_return = std::mem::replace(&mut self.returned, *byte == b'\r');
            match byte {
                // The rest of the line's end before.
                b'\n' if behind_return => {
                    let is_first = self.line == at - 1;
                    self.line = at;
                    if is_first && start == at - 1 {
                        gone.push(b'\n');
                        start = at;
                    }
                }
                b'\n' | b'\r' => {
                    let is_blank = self.line == at - 1;
                    self.line = at;
                    if is_blank {
                        let event = self.held.get(start..at).unwrap_or_default();
                        let event = without_mark(event, &mut self.begun);
                        pass(event, look, &mut gone).map_err(BadEvent::Refused)?;
                        start = at;
                    }
                }
                _ => {}
            }
        }
        self.held.drain(..start);
        self.line -= start;
        Ok(gone)
    }

    /// The stream has ended: what goes on of an event that was not. Readers pass over it, but somebody may look.
    ///
    /// # Errors
    /// When `look` says so.
    pub fn end<E>(&mut self, look: &mut Look<'_, E>) -> Result<Vec<u8>, E> {
        let mut gone = Vec::new();
        let held = std::mem::take(&mut self.held);
        pass(without_mark(&held, &mut self.begun), look, &mut gone)?;
        Ok(gone)
    }
}

/// An event without the byte order mark that readers pass over at the stream's beginning.
fn without_mark<'e>(event: &'e [u8], begun: &mut bool) -> &'e [u8] {
    let mark = "\u{feff}".as_bytes();
    let is_first = !std::mem::replace(begun, true);
    let marked = event.strip_prefix(mark).filter(|_| is_first);
    marked.unwrap_or(event)
}

/// Writes an event down, with other data if need be. What a reader would pass over for its unknown name is left out: it is not
/// looked at.
fn pass<E>(event: &[u8], look: &mut Look<'_, E>, gone: &mut Vec<u8>) -> Result<(), E> {
    let mut data: Option<Vec<u8>> = None;
    for line in lines(event) {
        if let Some(value) = value_of(event.get(line.text).unwrap_or_default(), b"data") {
            match &mut data {
                None => data = Some(value.to_vec()),
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            }
        }
    }
    let mut changed = match data {
        Some(data) => look(&data)?,
        None => None,
    };
    let is_changed = changed.is_some();
    for line in lines(event) {
        let text = event.get(line.text.clone()).unwrap_or_default();
        let whole = event.get(line.text.start..line.end).unwrap_or_default();
        if value_of(text, b"data").is_some() {
            if let Some(new) = changed.take() {
                for line in new.split(|byte| *byte == b'\n') {
                    gone.extend_from_slice(b"data: ");
                    gone.extend_from_slice(line);
                    gone.push(b'\n');
                }
            } else if !is_changed {
                gone.extend_from_slice(whole);
            }
        } else if text.is_empty()
            || text.starts_with(b":")
            || [&b"event"[..], b"id", b"retry"]
                .iter()
                .any(|name| value_of(text, name).is_some())
        {
            gone.extend_from_slice(whole);
        }
    }
    Ok(())
}

struct Line {
    text: Range<usize>,
    /// Where it ends, with what ends it.
    end: usize,
}

fn lines(event: &[u8]) -> impl Iterator<Item = Line> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = event.get(start..).filter(|rest| !rest.is_empty())?;
        let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let length = length.unwrap_or(rest.len());
        let end = match rest.get(length..) {
            Some([b'\r', b'\n', ..]) => length + 2,
            Some([_, ..]) => length + 1,
            _ => length,
        };
        let text = start..start + length;
        start += end;
        Some(Line { text, end: start })
    })
}

/// The value of a line with this name.
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What passes of these pieces, where `secret` in data becomes `***`.
    fn passed<'p>(
        pieces: impl IntoIterator<Item = &'p [u8]>,
        most: usize,
    ) -> Result<String, BadEvent<()>> {
        let mut look = |data: &[u8]| {
            let data = String::from_utf8(data.to_vec()).unwrap();
            match data.as_str() {
                "bad" => Err(()),
                _ => Ok(data
                    .contains("secret")
                    .then(|| data.replace("secret", "***").into_bytes())),
            }
        };
        let (mut events, mut gone) = (Events::new(most), Vec::new());
        for piece in pieces {
            gone.extend(events.feed(piece, &mut look)?);
        }
        gone.extend(events.end(&mut look).map_err(BadEvent::Refused)?);
        Ok(String::from_utf8(gone).unwrap())
    }

    #[test]
    fn events_pass_as_they_came_or_with_other_data_however_they_are_split() {
        let cases = [
            ("data: a\n\ndata: secret\n\n", "data: a\n\ndata: ***\n\n"),
            (
                "event: message\r\nid: 7\r\ndata: secret\r\nretry: 5\r\n\r\n: ping\r\n\r\n",
                "event: message\r\nid: 7\r\ndata: ***\nretry: 5\r\n\r\n: ping\r\n\r\n",
            ),
            (
                "data: a\r\rdata: secret\r\rdata:b\r\r",
                "data: a\r\rdata: ***\n\rdata:b\r\r",
            ),
            // One text on several lines.
            (
                "data: sec\nid: 1\ndata: x\ndata\ndata:secret\n\n",
                "data: sec\ndata: x\ndata: \ndata: ***\nid: 1\n\n",
            ),
            // Nobody reads a field of an unknown name, so nobody needs it.
            (
                "{\"a\":\"secret\"}\ndatas: secret\nDATA: secret\n data: secret\ndata: a\n\n",
                "data: a\n\n",
            ),
            ("\n\n\r\n\ndata\n\n", "\n\n\r\n\ndata\n\n"),
            // A byte order mark is no part of a name, where the stream begins.
            ("\u{feff}data: secret\n\n", "data: ***\n\n"),
            ("\u{feff}id: 7\n\n\u{feff}data: a\n\n", "id: 7\n\n\n"),
            ("\u{feff}data: secret", "data: ***\n"),
            // The end comes too early.
            ("data: a\n\ndata: secret", "data: a\n\ndata: ***\n"),
            ("data: a\n\ndata: secret\n", "data: a\n\ndata: ***\n"),
            ("", ""),
        ];
        for (came, gone) in cases {
            assert_eq!(
                passed([came.as_bytes()], 99),
                Ok(gone.to_owned()),
                "{came:?}"
            );
            assert_eq!(
                passed(came.as_bytes().chunks(1), 99),
                Ok(gone.to_owned()),
                "{came:?}"
            );
            for at in 0..came.len() {
                let (one, two) = came.as_bytes().split_at(at);
                assert_eq!(
                    passed([one, two], 99),
                    Ok(gone.to_owned()),
                    "{came:?} at {at}"
                );
            }
        }
    }

    #[test]
    fn an_event_goes_on_with_its_last_byte() {
        let mut events = Events::new(99);
        let mut look = |_: &[u8]| Ok::<_, ()>(None);
        assert_eq!(events.feed(b"data: a\n", &mut look), Ok(Vec::new()));
        assert_eq!(
            events.feed(b"\ndata: b", &mut look),
            Ok(b"data: a\n\n".to_vec())
        );
        assert_eq!(events.held(), 7);
        assert_eq!(
            events.feed(b"\r\n\r", &mut look),
            Ok(b"data: b\r\n\r".to_vec())
        );
        assert_eq!(events.feed(b"\n:", &mut look), Ok(b"\n".to_vec()));
    }

    #[test]
    fn one_event_is_bounded_and_the_stream_is_not() {
        let many = "data: a\n\n".repeat(1000);
        assert_eq!(passed([many.as_bytes()], 9), Ok(many.clone()));
        assert_eq!(passed(many.as_bytes().chunks(7), 9), Ok(many));
        assert_eq!(passed([&b"data: ab\n\n"[..]], 9), Err(BadEvent::TooLong));
        assert_eq!(passed(b"data: ab\n\n".chunks(1), 9), Err(BadEvent::TooLong));
        assert_eq!(
            passed([&b"data: bad\n\n"[..]], 99),
            Err(BadEvent::Refused(()))
        );
        assert_eq!(passed([&b"data: bad"[..]], 99), Err(BadEvent::Refused(())));
    }
}
