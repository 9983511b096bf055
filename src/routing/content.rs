//! A request's body as far as its route's rules read it: what it says of the members that they ask for, while it arrives.
//!
//! It is JSON, or a form (`multipart/form-data`), in which fields stand for the members of an object.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use crate::config::policy::Route;
use crate::host::HeaderBlock;
use crate::text::headers::token;
use crate::text::json::{Anywhere, AnywhereId, MemberId, Scan, Search, Value, quoted};
use crate::text::multipart::{BadBoundary, Boundary, FieldId, Fields, Form};
use crate::text::paths::split_once;
use crate::text::{json, multipart};

/// What the rules of a route, and the models of its agents, look for in bodies.
#[derive(Debug)]
pub struct Wanted {
    search: Rc<Search>,
    fields: Rc<Fields>,
    most: u64,
}

/// The same while it is put together.
#[derive(Debug, Default)]
pub(super) struct Wanting {
    search: Search,
    fields: Fields,
}

/// A member of an object, or a field of a form.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    member: MemberId,
    /// `None`: no form has such a field.
    field: Option<FieldId>,
}

/// A body under way.
#[derive(Debug)]
pub struct Content {
    scan: Kind,
    /// As it stood when as much had been read as may decide: how a body comes in pieces must not.
    decisive: Option<Box<Kind>>,
    bad: Option<BadBody>,
    /// How many bytes there will be, where the request says so.
    length: Option<u64>,
    read: u64,
    /// Something has depended on what it says.
    asked: Cell<bool>,
    ended: bool,
    most: u64,
    /// What a member is, if it comes: something else has said so before.
    settled: Option<(Asked, Box<[u8]>)>,
}

#[derive(Debug, Clone)]
enum Kind {
    Json(Scan),
    Form(Form),
    /// It is neither, or cannot be read.
    Unread,
    /// There was none after all.
    Empty,
}

/// Why a body cannot decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadBody {
    /// It is compressed.
    Compressed,
    /// It is of a type that is not read.
    OtherType,
    /// It is a form whose parts cannot be told apart.
    Boundary(BadBoundary),
    /// It is broken JSON.
    Json(json::Broken),
    /// It is a broken form.
    Form(multipart::Broken),
    /// Its model is something else than a text, or longer than any name.
    NoModelName,
    /// It names another model than the path.
    OtherModel,
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

/// A value that a body has somewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stated<'a> {
    /// A value of JSON.
    Value(&'a Value),
    /// A field's text: whether that is a number only its reader knows.
    Field(&'a str),
    /// A field whose text is longer than what is kept.
    LongField,
}

/// Where a member stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) start: u64,
    /// `None`: it has not ended.
    pub(super) end: Option<u64>,
    pub(super) is_object: bool,
    pub(super) is_null: bool,
}

impl Wanting {
    /// A member by its pointer. `None`: nothing can be looked for so.
    pub(super) fn member(&mut self, pointer: &str) -> Option<Asked> {
        let member = self.search.member(pointer).ok()?;
        let name = pointer.strip_prefix('/').filter(|name| !name.contains('/'));
        let name = name.map(|name| name.replace("~1", "/").replace("~0", "~"));
        let field = name.and_then(|name| self.fields.field(&name).ok());
        Some(Asked { member, field })
    }

    /// A member of this name anywhere, with one of these values.
    pub(super) fn anywhere(&mut self, name: &str, values: &[&str]) -> AnywhereId {
        self.search.anywhere(name, values)
    }

    /// All that is looked for in bodies of this route.
    pub(super) fn of(self, route: &Route) -> Wanted {
        Wanted {
            search: Rc::new(self.search),
            fields: Rc::new(self.fields),
            most: route.max_scan,
        }
    }
}

impl Kind {
    fn of(wanted: &Wanted, headers: &HeaderBlock) -> Result<Self, BadBody> {
        if is_compressed(headers) {
            return Err(BadBody::Compressed);
        }
        let json = || Self::Json(Scan::new(Rc::clone(&wanted.search)));
        let mut types = headers.get_all("content-type");
        let Some(written) = types.next() else {
            return Ok(json());
        };
        if types.next().is_some() {
            return Err(BadBody::OtherType);
        }
        match Boundary::read(written) {
            Ok(boundary) => Ok(Self::Form(Form::new(Rc::clone(&wanted.fields), &boundary))),
            Err(BadBoundary::NotAForm) if is_json(written) => Ok(json()),
            Err(BadBoundary::NotAForm) => Err(BadBody::OtherType),
            Err(bad) => Err(BadBody::Boundary(bad)),
        }
    }

    fn feed(&mut self, piece: &[u8]) -> Result<(), BadBody> {
        match self {
            Self::Json(scan) => scan.feed(piece).map_err(BadBody::Json),
            Self::Form(form) => form.feed(piece).map_err(BadBody::Form),
            Self::Unread | Self::Empty => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), BadBody> {
        match self {
            Self::Json(scan) => scan.end().map_err(BadBody::Json),
            Self::Form(form) => form.end().map_err(BadBody::Form),
            Self::Unread | Self::Empty => Ok(()),
        }
    }

    /// What is known of a member or a field, and where it stands.
    fn member(&self, id: Asked) -> Known<(Stated<'_>, Option<Range<u64>>)> {
        match (self, id.field) {
            (Self::Json(scan), _) => match scan.member(id.member) {
                json::Member::Unknown => Known::Unknown,
                json::Member::Absent => Known::Absent,
                json::Member::Found(found) => {
                    let place = found.end.map(|end| found.start..end);
                    Known::Found((Stated::Value(&found.value), place))
                }
            },
            (Self::Form(form), Some(field)) => match form.field(field) {
                multipart::Field::Unknown => Known::Unknown,
                multipart::Field::Absent => Known::Absent,
                multipart::Field::Found(found) => {
                    let said = found
                        .value
                        .as_deref()
                        .map_or(Stated::LongField, Stated::Field);
                    Known::Found((said, Some(found.start..found.end)))
                }
            },
            (Self::Form(_), None) | (Self::Empty, _) => Known::Absent,
            (Self::Unread, _) => Known::Unknown,
        }
    }
}

impl Content {
    /// The body of a request with these headers, of which nothing has come yet.
    #[must_use]
    pub fn new(wanted: &Wanted, headers: &HeaderBlock, length: Option<u64>) -> Self {
        let kind = Kind::of(wanted, headers);
        Self {
            bad: kind.as_ref().err().cloned(),
            scan: kind.unwrap_or(Kind::Unread),
            decisive: None,
            length,
            read: 0,
            asked: Cell::new(false),
            ended: false,
            most: wanted.most,
            settled: None,
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

    /// More of it has come of which only the size counts: it cannot be read.
    pub fn pass(&mut self, bytes: usize) {
        self.read = self.read.saturating_add(bytes as u64);
    }

    fn scan(&mut self, piece: &[u8]) {
        if self.bad.is_none() {
            self.bad = self.scan.feed(piece).err();
            self.look_for_another();
        }
    }

    /// A member is this, or does not come at all, whenever that shows.
    pub(super) fn settle(&mut self, id: Asked, model: &[u8]) {
        self.settled = Some((id, model.into()));
        self.look_for_another();
    }

    fn look_for_another(&mut self) {
        let Some((id, settled)) = &self.settled else {
            return;
        };
        let agrees = match self.scan.member(*id) {
            Known::Unknown | Known::Absent => true,
            Known::Found((Stated::Value(Value::Text(model)), _)) => model.as_bytes() == &**settled,
            Known::Found((Stated::Field(model), _)) => model.as_bytes() == &**settled,
            Known::Found((said, _)) => said == Stated::Value(&Value::Null),
        };
        if !agrees && self.bad.is_none() {
            self.bad = Some(BadBody::OtherModel);
        }
    }

    /// All of it has come. One without a byte is none, as if the request had ended with its headers.
    pub fn end(&mut self) {
        if self.read == 0 {
            (self.scan, self.bad) = (Kind::Empty, None);
        }
        if self.bad.is_none() {
            self.bad = self.scan.end().err();
        }
        self.ended = true;
    }

    fn decisive(&self) -> &Kind {
        self.decisive.as_deref().unwrap_or(&self.scan)
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
        self.ended || self.read > self.most
    }

    /// Why it has not decided, where it should have.
    #[must_use]
    pub fn too_late(&self) -> BadBody {
        BadBody::TooLate(self.most)
    }

    /// What a member is.
    #[must_use]
    pub fn member(&self, id: Asked) -> Known<Stated<'_>> {
        match self.decisive().member(id) {
            Known::Unknown => Known::Unknown,
            Known::Absent => Known::Absent,
            Known::Found((said, _)) => Known::Found(said),
        }
    }

    /// Where a member's value stands in it.
    #[must_use]
    pub fn place(&self, id: Asked) -> Option<Range<u64>> {
        match self.decisive().member(id) {
            Known::Found((_, place)) => place,
            _ => None,
        }
    }

    /// A text as it is written where values stand.
    #[must_use]
    pub fn written(&self, text: &str) -> Vec<u8> {
        match self.scan {
            Kind::Form(_) => text.as_bytes().to_vec(),
            Kind::Json(_) | Kind::Unread | Kind::Empty => quoted(text).into(),
        }
    }

    /// Where a member of JSON stands in it, from the moment when it begins. `None`: not yet, or nowhere.
    pub(super) fn stretch(&self, id: Asked) -> Option<Stretch> {
        let Kind::Json(scan) = self.decisive() else {
            return None;
        };
        if let json::Member::Found(found) = scan.member(id.member) {
            return Some(Stretch {
                start: found.start,
                end: found.end,
                is_object: found.value == Value::Object,
                is_null: found.value == Value::Null,
            });
        }
        scan.text_under_way(id.member).map(|start| Stretch {
            start,
            end: None,
            is_object: false,
            is_null: false,
        })
    }

    /// How many bytes of JSON have been read that may decide. After a fault: how many stand before it.
    pub(super) fn offset(&self) -> u64 {
        match self.decisive() {
            Kind::Json(scan) => scan.offset(),
            _ => 0,
        }
    }

    /// Whether something stands anywhere in it. In a form nothing does.
    #[must_use]
    pub fn has(&self, id: AnywhereId) -> Known<()> {
        let Kind::Json(scan) = self.decisive() else {
            return Known::Absent;
        };
        match scan.anywhere(id) {
            Anywhere::Unknown => Known::Unknown,
            Anywhere::Absent => Known::Absent,
            Anywhere::Seen => Known::Found(()),
        }
    }

    /// Its size, as far as it is known: at least the first, at most the second.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        match self.length {
            Some(length) => (length, length),
            None if self.read > self.most => (self.most, u64::MAX),
            None if self.ended => (self.read, self.read),
            None => (self.read, u64::MAX),
        }
    }
}

/// Whether a body with these headers is JSON as it stands. One without a type is taken for it.
#[must_use]
pub fn is_plain_json(headers: &HeaderBlock) -> bool {
    let mut types = headers.get_all("content-type");
    let is_json = types.next().is_none_or(is_json);
    is_json && types.next().is_none() && !is_compressed(headers)
}

pub(super) fn is_compressed(headers: &HeaderBlock) -> bool {
    let mut encodings = headers.get_all("content-encoding");
    encodings.any(|it| !it.trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// `application/json`, or a type whose name ends in `+json` (RFC 6839), in UTF-8. What is not written as one type is none: some
/// readers go by what stands before a blank or a comma.
pub(super) fn is_json(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|byte| *byte == b';');
    let essence = parts.next().unwrap_or_default().trim_ascii();
    let essence = essence.to_ascii_lowercase();
    let (kind, name) = split_once(&essence, b'/');
    let name = name.unwrap_or_default();
    let is_token = |word: &[u8]| !word.is_empty() && token(word).len() == word.len();
    let is_one = is_token(kind) && is_token(name);
    // Also `charset*`, and whatever some readers take for blanks.
    let is_utf8 = |part: &[u8]| {
        let is_meant = |byte: &&u8| **byte != b'"' && !byte.is_ascii_whitespace();
        let part: Vec<u8> = part.iter().filter(is_meant).copied().collect();
        let part = part.to_ascii_lowercase();
        !part.starts_with(b"charset") || part == b"charset=utf-8"
    };
    is_one && (essence == b"application/json" || name.ends_with(b"+json")) && parts.all(is_utf8)
}

impl fmt::Display for BadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compressed => f.write_str(
                "This route reads the body to choose the agent, and cannot read a compressed one; send it without content-encoding.",
            ),
            Self::OtherType => f.write_str(
                "This route reads the body to choose the agent; send JSON, with the content-type application/json, or a form, with multipart/form-data.",
            ),
            Self::Boundary(bad) => write!(
                f,
                "This route reads the body to choose the agent, and {bad}."
            ),
            Self::Form(broken) => write!(
                f,
                "This route reads the body to choose the agent, and {broken}."
            ),
            Self::Json(broken) => write!(
                f,
                "This route reads the body to choose the agent, and {broken}."
            ),
            Self::NoModelName => f.write_str("The body's model is not a text of at most 256 bytes."),
            Self::OtherModel => {
                f.write_str("The body names another model than the path; name it once, or the same in both.")
            }
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
    use crate::config;

    fn route() -> Route {
        let document = serde_json::json!({
            "agents": {"a": {"cluster": "a"}},
            "routes": [{"prefix": "/", "agents": ["a"], "auth_required": false}],
        });
        config::read(&document).expect("a policy").routes.remove(0)
    }

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
            (&[("content-type", "multipart/form-data; boundary=x")], None),
            (
                &[("content-type", "multipart/form-data")],
                Some(BadBody::Boundary(BadBoundary::NotOne)),
            ),
            (
                &[("content-type", "application/json; charset=utf-16")],
                Some(BadBody::OtherType),
            ),
            (
                &[("content-type", "application/json; charset = utf-7")],
                Some(BadBody::OtherType),
            ),
            (
                &[("content-type", "application/json; charset\t=utf-7")],
                Some(BadBody::OtherType),
            ),
            (
                &[("content-type", "application/json; charset*=utf-8''utf-7")],
                Some(BadBody::OtherType),
            ),
            (
                &[("content-type", "application/x-www-form-urlencoded a/b+json")],
                Some(BadBody::OtherType),
            ),
            (
                &[("content-type", "application/x-www-form-urlencoded,a+json")],
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
            let wanted = Wanting::default();
            let wanted = wanted.of(&route());
            assert_eq!(Kind::of(&wanted, &headers).err(), unread_as, "{headers:?}");
        }
    }
}
