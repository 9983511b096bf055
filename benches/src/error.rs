//! What keeps the benchmark from measuring, in one sentence for whoever runs it.

use std::path::Path;

/// The benchmark cannot go on.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    /// An error that says what is wrong.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// An error about a file.
    pub fn at(path: impl AsRef<Path>, source: impl std::fmt::Display) -> Self {
        Self(format!("{}: {source}", path.as_ref().display()))
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
