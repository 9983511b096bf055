//! A body as it is read: as JSON or as a form, and what either says of what is looked for.

use std::ops::Range;
use std::rc::Rc;

use super::bad::BadBody;
use super::media::{is_compressed, is_json};
use super::wanted::{Asked, Wanted};
use crate::host::HeaderBlock;
use crate::text::json::{self, Scan, Value};
use crate::text::multipart::{self, BadBoundary, Boundary, Form};

/// What a body is read as.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Json(Scan),
    Form(Form),
    /// It is neither, or cannot be read.
    Unread,
    /// There was none after all.
    Empty,
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

impl Kind {
    pub(super) fn of(wanted: &Wanted, headers: &HeaderBlock) -> Result<Self, BadBody> {
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
            Ok(_) if wanted.has_vague => Err(BadBody::VagueField),
            Ok(boundary) => Ok(Self::Form(Form::new(Rc::clone(&wanted.fields), &boundary))),
            Err(BadBoundary::NotAForm) if is_json(written) => Ok(json()),
            Err(BadBoundary::NotAForm) => Err(BadBody::OtherType),
            Err(bad) => Err(BadBody::Boundary(bad)),
        }
    }

    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<(), BadBody> {
        match self {
            Self::Json(scan) => scan.feed(piece).map_err(BadBody::Json),
            Self::Form(form) => form.feed(piece).map_err(BadBody::Form),
            Self::Unread | Self::Empty => Ok(()),
        }
    }

    pub(super) fn end(&mut self) -> Result<(), BadBody> {
        match self {
            Self::Json(scan) => scan.end().map_err(BadBody::Json),
            Self::Form(form) => form.end().map_err(BadBody::Form),
            Self::Unread | Self::Empty => Ok(()),
        }
    }

    /// What is known of a member or a field, and where it stands.
    pub(super) fn member(&self, id: Asked) -> Known<(Stated<'_>, Option<Range<u64>>)> {
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
