//! A request's body as far as its route's rules read it: what it says of the members that they ask for, while it arrives.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use crate::config::policy::Route;
use crate::host::HeaderBlock;
use crate::text::json::{Anywhere, AnywhereId, Broken, Member, MemberId, Scan, Search, Value};

/// What the rules of a route, and the models of its agents, look for in bodies.
#[derive(Debug)]
pub struct Wanted {
    search: Rc<Search>,
    most: u64,
}

/// A body under way.
#[derive(Debug)]
pub struct Content {
    scan: Scan,
    /// As it stood when as much had been read as may decide: how a body comes in pieces must not.
    decisive: Option<Box<Scan>>,
    bad: Option<BadBody>,
    /// How many bytes there will be, where the request says so.
    length: Option<u64>,
    read: u64,
    /// Something has depended on what it says.
    asked: Cell<bool>,
    ended: bool,
    most: u64,
}

/// Why a body cannot decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadBody {
    /// It is compressed.
    Compressed,
    /// It is of a type that is not read.
    OtherType,
    /// It is broken.
    Json(Broken),
    /// Its model is something else than a text, or longer than any name.
    NoModelName,
    /// It has not said enough in so many bytes.
    TooLate(u64),
}

/// What is known of something in a body.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Known<T> {
    /// Not yet.
    Unknown,
    /// It is not there.
    Absent,
    /// It is.
    Found(T),
}

impl Wanted {
    /// What this search finds in bodies of this route.
    #[must_use]
    pub fn new(search: Search, route: &Route) -> Self {
        Self {
            search: Rc::new(search),
            most: route.max_scan,
        }
    }
}

impl Content {
    /// The body of a request with these headers, of which nothing has come yet.
    #[must_use]
    pub fn new(wanted: &Wanted, headers: &HeaderBlock, length: Option<u64>) -> Self {
        Self {
            scan: Scan::new(Rc::clone(&wanted.search)),
            decisive: None,
            bad: unread(headers),
            length,
            read: 0,
            asked: Cell::new(false),
            ended: false,
            most: wanted.most,
        }
    }

    /// More of it has come.
    pub fn feed(&mut self, piece: &[u8]) {
        let left = usize::try_from(self.most.saturating_sub(self.read)).unwrap_or(usize::MAX);
        self.read = self.read.saturating_add(piece.len() as u64);
        match piece.split_at_checked(left) {
            Some((decisive, rest)) if self.decisive.is_none() && !rest.is_empty() => {
                self.scan(decisive);
                self.decisive = Some(Box::new(self.scan.clone()));
                self.scan(rest);
            }
            _ => self.scan(piece),
        }
    }

    fn scan(&mut self, piece: &[u8]) {
        if self.bad.is_none() {
            self.bad = self.scan.feed(piece).err().map(BadBody::Json);
        }
    }

    fn decisive(&self) -> &Scan {
        self.decisive.as_deref().unwrap_or(&self.scan)
    }

    /// All of it has come.
    pub fn end(&mut self) {
        if self.bad.is_none() {
            self.bad = self.scan.end().err().map(BadBody::Json);
        }
        self.ended = true;
    }

    /// Notes that something depends on what it says.
    ///
    /// # Errors
    /// When it can decide nothing.
    pub fn ask(&self) -> Result<(), BadBody> {
        self.asked.set(true);
        self.bad.clone().map_or(Ok(()), Err)
    }

    /// True if something has depended on what it says.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.get()
    }

    /// Why it can decide nothing. What comes later may still be a reason.
    #[must_use]
    pub fn bad(&self) -> Option<&BadBody> {
        self.bad.as_ref()
    }

    /// True if no more of it is waited for: as much has been read as may, or all has come.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.ended || self.decisive.is_some()
    }

    /// Why it has not decided, where it should have.
    #[must_use]
    pub fn too_late(&self) -> BadBody {
        BadBody::TooLate(self.most)
    }

    /// What a member is.
    #[must_use]
    pub fn member(&self, id: MemberId) -> Known<&Value> {
        match self.decisive().member(id) {
            Member::Unknown => Known::Unknown,
            Member::Absent => Known::Absent,
            Member::Found(found) => Known::Found(&found.value),
        }
    }

    /// Where a member's value stands in it.
    #[must_use]
    pub fn place(&self, id: MemberId) -> Option<Range<u64>> {
        match self.scan.member(id) {
            Member::Found(found) => Some(found.start..found.end?),
            _ => None,
        }
    }

    /// Whether something stands anywhere in it.
    #[must_use]
    pub fn has(&self, id: AnywhereId) -> Known<()> {
        match self.decisive().anywhere(id) {
            Anywhere::Unknown => Known::Unknown,
            Anywhere::Absent => Known::Absent,
            Anywhere::Seen => Known::Found(()),
        }
    }

    /// Its size, as far as it is known: at least the first, at most the second.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        match (self.length, &self.decisive) {
            (Some(length), _) => (length, length),
            (None, Some(_)) => (self.most, u64::MAX),
            (None, None) if self.ended => (self.read, self.read),
            (None, None) => (self.read, u64::MAX),
        }
    }
}

/// Why a body with these headers is not read.
fn unread(headers: &HeaderBlock) -> Option<BadBody> {
    let mut encodings = headers.get_all("content-encoding");
    if encodings.any(|it| !it.trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return Some(BadBody::Compressed);
    }
    let mut types = headers.get_all("content-type");
    let first = types.next();
    let is_json = first.is_none_or(is_json) && types.next().is_none();
    (!is_json).then_some(BadBody::OtherType)
}

/// `application/json`, or a type whose name ends in `+json` (RFC 6839), in UTF-8.
fn is_json(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|byte| *byte == b';');
    let essence = parts.next().unwrap_or_default().trim_ascii();
    let essence = essence.to_ascii_lowercase();
    let is_utf8 = |part: &[u8]| {
        let part: Vec<u8> = part.iter().filter(|byte| **byte != b'"').copied().collect();
        let part = part.trim_ascii().to_ascii_lowercase();
        part.strip_prefix(b"charset=")
            .is_none_or(|charset| charset == b"utf-8")
    };
    (essence == b"application/json" || essence.ends_with(b"+json")) && parts.all(is_utf8)
}

impl fmt::Display for BadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compressed => f.write_str(
                "This route reads the body to choose the agent, and cannot read a compressed one; send it without content-encoding.",
            ),
            Self::OtherType => f.write_str(
                "This route reads the body to choose the agent; send JSON, with the content-type application/json.",
            ),
            Self::Json(broken) => write!(
                f,
                "This route reads the body to choose the agent, and {broken}."
            ),
            Self::NoModelName => f.write_str("The body's model is not a text of at most 256 bytes."),
            Self::TooLate(most) => write!(
                f,
                "This route chooses the agent by what the first {most} bytes of the body say, and they do not say it. Put short members, such as model, before long ones."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_by_its_type_and_by_nothing_else() {
        for (headers, unread_as) in [
            (&[][..], None),
            (&[("content-type", "application/json")], None),
            (
                &[("content-type", "Application/JSON ; Charset=\"UTF-8\"")],
                None,
            ),
            (&[("content-type", "application/vnd.api+json")], None),
            (&[("content-encoding", "identity")], None),
            (
                &[("content-type", "application/json; charset=utf-16")],
                Some(BadBody::OtherType),
            ),
            (&[("content-type", "text/plain")], Some(BadBody::OtherType)),
            (&[("content-type", "")], Some(BadBody::OtherType)),
            (
                &[("content-type", "application/json,text/plain")],
                Some(BadBody::OtherType),
            ),
            (
                &[
                    ("content-type", "application/json"),
                    ("content-type", "application/json"),
                ],
                Some(BadBody::OtherType),
            ),
            (&[("content-encoding", "gzip")], Some(BadBody::Compressed)),
            (
                &[("content-encoding", "identity, br")],
                Some(BadBody::Compressed),
            ),
            (
                &[("content-encoding", "identity"), ("content-encoding", "br")],
                Some(BadBody::Compressed),
            ),
        ] {
            let headers = HeaderBlock::from_pairs(headers);
            assert_eq!(unread(&headers), unread_as, "{headers:?}");
        }
    }
}
