//! Why a body cannot decide, and how its caller is told.

use std::fmt;

use crate::text::multipart::BadBoundary;
use crate::text::{json, multipart};

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
    /// Its model is something else than a text, longer than any name, or has control characters.
    NoModelName,
    /// It is a form, and what is looked for has a name that readers of forms would not agree on.
    VagueField,
    /// What is looked for cannot be: some readers would take one such member for another.
    Confused,
    /// A value is so long that it is not known whether it meets a condition.
    LongValue,
    /// A value meets a condition for some readers only, by where it has control characters.
    Control,
    /// It names another model than the path.
    OtherModel,
    /// It has not said enough in so many bytes.
    TooLate(u64),
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
            Self::NoModelName => f.write_str("The body's model is not a text of at most 256 bytes without control characters."),
            Self::VagueField => f.write_str(
                "This route reads members of the body that no form can name; send JSON, with the content-type application/json.",
            ),
            Self::Confused => f.write_str(
                "This route reads members of the body that some readers take for one another.",
            ),
            Self::LongValue => write!(
                f,
                "A member of the body by which this route chooses the agent is longer than {} bytes.",
                json::LONGEST_VALUE
            ),
            Self::Control => f.write_str(
                "A member of the body by which this route chooses the agent has control characters, which some readers leave out.",
            ),
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
