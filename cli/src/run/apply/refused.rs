//! Why a part is not in force, in words.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::gateway::{Patch, PatchedPart};

/// The parts that patches are in, as people call them.
pub(super) const AGENTS: &str = "the agents";
pub(super) const LISTENERS: &str = "the listeners";
pub(super) const ROUTES: &str = "the routes of ";

/// Why a part is not in force.
#[derive(Debug)]
pub(in crate::run) enum Refused {
    /// Envoy does not take it.
    ByEnvoy { part: String, said: String },
    /// It cannot be written.
    Unwritten { file: PathBuf, error: String },
    /// Envoy does not say whether it takes it.
    Silent { part: String, error: String },
}

// === impl Refused ===

impl Refused {
    pub(super) fn file(file: &Path, error: &io::Error) -> Self {
        Self::Unwritten {
            file: file.to_owned(),
            error: error.to_string(),
        }
    }

    /// Whether it may pass without a change of the gateway's file.
    pub(in crate::run) fn may_pass(&self) -> bool {
        !matches!(self, Self::ByEnvoy { .. })
    }

    /// Whether it is about what a patch is in.
    pub(in crate::run) fn is_about(&self, patch: &Patch) -> bool {
        let Self::ByEnvoy { part, .. } = self else {
            return false;
        };
        match patch.part() {
            PatchedPart::Bootstrap => false,
            PatchedPart::Clusters => part == AGENTS,
            PatchedPart::Listeners => part == LISTENERS,
            PatchedPart::Routes => part.starts_with(ROUTES),
        }
    }

    /// What is not in force, and in brackets why.
    pub(in crate::run) fn in_a_list(&self) -> String {
        match self {
            Self::ByEnvoy { part, said } => format!("{part} ({said})"),
            Self::Unwritten { file, error } => format!("{} ({error})", file.display()),
            Self::Silent { part, error } => {
                format!("{part} (no answer at Envoy's admin interface: {error})")
            }
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByEnvoy { part, said } => write!(formatter, "Envoy refuses {part}: {said}"),
            Self::Unwritten { file, error } => {
                write!(formatter, "{} cannot be written: {error}", file.display())
            }
            Self::Silent { part, error } => write!(
                formatter,
                "Envoy does not say at its admin interface whether it takes {part}: {error}"
            ),
        }
    }
}
