//! Which boundary a `content-type` names.

use std::error::Error;
use std::fmt;

use super::parameters;

/// What stands between the parts of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary(Box<[u8]>);

/// Why a `content-type` names no boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadBoundary {
    /// It is not `multipart/form-data`.
    NotAForm,
    /// It is, but its parameters are not written as RFC 2045 has them, or readers may take them in different ways.
    Malformed,
    /// It has no boundary, or more than one.
    NotOne,
    /// The boundary is not 1 to 70 of the characters that RFC 2046 has for it, or such that readers may take another one: some end it
    /// at a comma.
    NotABoundary,
    /// It names another charset than UTF-8, by which some agents would read names and values.
    Charset,
}

impl Error for BadBoundary {}

impl fmt::Display for BadBoundary {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str(match self {
            Self::NotAForm => "the content-type is not multipart/form-data",
            Self::Malformed => "the parameters of the content-type are malformed",
            Self::NotOne => "the content-type must name one boundary",
            Self::NotABoundary => {
                "the boundary in the content-type is not 1 to 70 of the characters that RFC 2046 allows, or not the same to all readers"
            }
            Self::Charset => "the content-type names another charset than UTF-8",
        })
    }
}

impl Boundary {
    /// The longest boundary, in bytes (RFC 2046, section 5.1.1).
    pub const LONGEST: usize = 70;

    /// Reads the value of a `content-type`.
    ///
    /// # Errors
    /// When it names no boundary of a form, or not to all readers the same one.
    pub fn read(content_type: &[u8]) -> Result<Self, BadBoundary> {
        let kind = content_type.split(|byte| *byte == b';').next();
        let kind = kind.unwrap_or_default().trim_ascii();
        if !kind.eq_ignore_ascii_case(b"multipart/form-data") {
            return Err(BadBoundary::NotAForm);
        }
        let (_, parameters) = parameters::read(content_type).ok_or(BadBoundary::Malformed)?;
        if parameters.iter().any(parameters::is_other_charset) {
            return Err(BadBoundary::Charset);
        }
        // Some readers look for no more than `boundary=`, wherever it stands.
        let is_known = |(name, _): &parameters::Parameter<'_>| {
            parameters::begins_with(name, b"boundary") || parameters::begins_with(name, b"charset")
        };
        if !parameters.iter().all(is_known) {
            return Err(BadBoundary::Malformed);
        }
        // Also `boundary*` and `boundary*0`, of which some readers put together another one (RFC 2231).
        let mut boundaries = parameters
            .iter()
            .filter(|(name, _)| parameters::begins_with(name, b"boundary"));
        let (Some((name, boundary)), None) = (boundaries.next(), boundaries.next()) else {
            return Err(BadBoundary::NotOne);
        };
        if name.len() != b"boundary".len() {
            return Err(BadBoundary::NotOne);
        }
        let is_one = (1..=Self::LONGEST).contains(&boundary.len())
            && boundary.iter().all(is_boundary_byte)
            && boundary.trim_ascii() == *boundary
            && !parameters::holds(boundary, b"boundary=");
        if !is_one {
            return Err(BadBoundary::NotABoundary);
        }
        Ok(Self((*boundary).into()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn is_boundary_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"'()+_-./:=? ".contains(byte)
}
