//! A request's body as far as its route's rules read it: what it says of the members that they ask for, while it arrives.
//!
//! It is JSON, or a form (`multipart/form-data`), in which fields stand for the members of an object.

mod bad;
mod kind;
mod media;
mod wanted;

use std::cell::Cell;
use std::ops::Range;

use super::model::ModelInPath;
use crate::host::HeaderBlock;
use crate::text::json::{self, Anywhere, AnywhereId, Value};

pub use bad::BadBody;
use kind::Kind;
pub use kind::Known;
pub(super) use kind::Stated;
pub use media::is_plain_json;
pub(super) use media::{is_compressed, is_json};
pub use wanted::Wanted;
pub(super) use wanted::{Asked, Wanting};

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
    pub(super) most: u64,
    /// What a member is, if it comes: something else has said so before.
    settled: Option<(Asked, Named)>,
}

/// A model that a path names.
#[derive(Debug)]
struct Named {
    name: Box<[u8]>,
    /// The path up to the name's end, where it is a resource's as Google has them.
    resource: Option<Box<[u8]>>,
}

impl Named {
    /// Whether a body's word for the model is the same: the name, or the resource's, `models/NAME` or more of the path.
    fn is(&self, model: &str) -> bool {
        let is_resource = || {
            let resource = self.resource.as_deref();
            let before = resource.and_then(|it| it.strip_suffix(model.as_bytes()));
            before.is_some_and(|before| before.ends_with(b"/")) && model.contains('/')
        };
        *model.as_bytes() == *self.name || is_resource()
    }
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
    pub(super) fn settle(&mut self, id: Asked, model: &ModelInPath) {
        let named = Named {
            name: model.name.as_slice().into(),
            resource: model.resource.as_deref().map(Into::into),
        };
        self.settled = Some((id, named));
        self.look_for_another();
    }

    fn look_for_another(&mut self) {
        let Some((id, settled)) = &self.settled else {
            return;
        };
        let agrees = match self.scan.member(*id) {
            Known::Unknown | Known::Absent => true,
            Known::Found((Stated::Value(Value::Text(model)), _)) => settled.is(model),
            Known::Found((Stated::Field(model), _)) => settled.is(model),
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
            Kind::Json(_) | Kind::Unread | Kind::Empty => {
                serde_json::Value::from(text).to_string().into()
            }
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

#[cfg(test)]
mod tests;
