//! Why a form is not read on.

use std::error::Error;
use std::fmt;

use super::{LONGEST_HEADERS, LONGEST_VALUE};

/// A form that is not read on, and where. Its words hold nothing of the form: they name what was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// How many bytes stand before the one at which it showed.
    pub offset: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a form. Names are those of the fields that are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Something stands before the first delimiter.
    Preamble,
    /// Something stands behind the last delimiter.
    Epilogue,
    /// The boundary stands where it is no delimiter, or something else than a line end behind one.
    Delimiter,
    /// A line of a part's headers does not end as it must.
    LineEnd,
    /// The headers of a part are longer than [`LONGEST_HEADERS`].
    LongHeaders,
    /// The headers of a part are malformed, or such that readers may take them in different ways.
    Headers,
    /// A part does not have one `content-disposition` with one name.
    Name,
    /// A field is written as a file, in another charset or in another encoding.
    Encoded(Box<str>),
    /// The same field a second time: some readers take the first, some the last.
    Twice(Box<str>),
    /// A name that only some readers take for the one that is looked for.
    Respelt(Box<str>),
    /// A field's value is not UTF-8.
    NotUtf8,
    /// It ends too early.
    Truncated,
}

impl Error for Broken {}

impl fmt::Display for Broken {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.offset;
        match &self.fault {
            Fault::Preamble => write!(
                text,
                "the form does not begin with its boundary (byte {at})"
            ),
            Fault::Epilogue => write!(
                text,
                "the form goes on behind its last boundary (byte {at})"
            ),
            Fault::Delimiter => write!(
                text,
                "the form has its boundary where no part can end, or not on a line of its own (byte {at})"
            ),
            Fault::LineEnd => write!(
                text,
                "the form has a line in the headers of a part that does not end by CR LF (byte {at})"
            ),
            Fault::LongHeaders => write!(
                text,
                "the form has a part with more than {LONGEST_HEADERS} bytes of headers (byte {at})"
            ),
            Fault::Headers => write!(
                text,
                "the form has a part with malformed or ambiguous headers (before byte {at})"
            ),
            Fault::Name => write!(
                text,
                "the form has a part without exactly one content-disposition and name (before byte {at})"
            ),
            Fault::Encoded(name) => write!(
                text,
                "the form has {name} as a file or in another encoding than plain UTF-8 (before byte {at})"
            ),
            Fault::Twice(name) => write!(text, "the form has {name} twice, again before byte {at}"),
            Fault::Respelt(name) => write!(
                text,
                "the form has a name before byte {at} that is {name} in another spelling"
            ),
            Fault::NotUtf8 => write!(
                text,
                "the form has a field of up to {LONGEST_VALUE} bytes before byte {at} that is not UTF-8"
            ),
            Fault::Truncated => write!(text, "the form ends too early, after {at} bytes"),
        }
    }
}
