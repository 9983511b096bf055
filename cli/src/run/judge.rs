//! What Envoy says of a whole configuration before it is given any of it. `check` asks the same.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use serde_json::Value as Json;

use super::envoy::Program;
use super::files;
use crate::gateway::CREDENTIALS;

/// A configuration as it was rendered, without the filter.
pub(crate) struct Whole<'w> {
    pub(crate) envoy: &'w Json,
    /// What tells where credentials are kept: texts of files, by their names below the directory.
    pub(crate) credentials: &'w [(&'w str, &'w str)],
    /// The directory in which it says that these files are.
    pub(crate) directory: &'w Path,
}

/// Why a configuration is not to be given to Envoy.
#[derive(Debug)]
pub(crate) enum Against {
    /// What Envoy says against it.
    Envoy(String),
    /// Why Envoy cannot be asked.
    Unasked(String),
    /// It could not be shown to Envoy.
    Unwritten {
        /// Which file, and why.
        file: PathBuf,
        error: io::Error,
        /// As much was to be written in all.
        bytes: usize,
    },
}

impl fmt::Display for Against {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Envoy(said) | Self::Unasked(said) => formatter.write_str(said),
            Self::Unwritten { file, error, .. } => {
                write!(formatter, "{} cannot be written: {error}", file.display())
            }
        }
    }
}

/// What Envoy has said, if it was asked and said something.
pub(crate) fn complaint(judged: Result<(), Against>) -> Option<String> {
    match judged {
        Err(Against::Envoy(said)) => Some(said),
        _ => None,
    }
}

/// Shows Envoy everything at once, in a directory of its own, so that what it has is as it was whatever it says.
pub(crate) async fn judge(
    program: &Program,
    whole: &Whole<'_>,
    shown_in: &Path,
) -> Result<(), Against> {
    let [kept, shown] = [whole.directory, shown_in].map(|it| begin_in_json(&it.join(CREDENTIALS)));
    let text = whole.envoy.to_string().replace(&kept, &shown);
    let file = shown_in.join("whole.json");
    let credentials = whole.credentials.iter();
    let mut texts: Vec<_> = credentials
        .map(|(name, text)| (shown_in.join(name), *text))
        .collect();
    texts.push((file.clone(), &text));
    let mut written = texts.iter();
    let written = written.try_for_each(|(file, text)| {
        files::write_text(file, text).map_err(|error| Against::Unwritten {
            file: file.clone(),
            error,
            bytes: texts.iter().map(|(_, text)| text.len()).sum(),
        })
    });
    let judged = match written {
        Ok(()) => program.judge(&file).await,
        Err(unwritten) => Err(unwritten),
    };
    let _ = std::fs::remove_dir_all(shown_in);
    judged.map_err(|against| match against {
        Against::Envoy(said) => {
            let clipped: Vec<_> = said.lines().map(clipped).collect();
            Against::Envoy(clipped.join("\n"))
        }
        other => other,
    })
}

/// A complaint of Envoy's without what it was shown, which it repeats before or behind what it says of that.
fn clipped(said: &str) -> String {
    /// Begins what it says of a message that it has shown before.
    const FAILED: &str = "Proto constraint validation failed";
    /// Stands between what it says of a text and that text.
    const SHOWN: &str = "): {";
    let said = match said.split_once(FAILED) {
        Some((_, why)) => format!("{FAILED}{why}"),
        None => match said.split_once(SHOWN) {
            Some((why, _)) => format!("{why})"),
            None => said.to_owned(),
        },
    };
    // Blanks vary, so that nobody relies on its words.
    let begin = said.len() - said.trim_start().len();
    let words: Vec<&str> = said.split_whitespace().collect();
    let blanks = " ".repeat(begin);
    format!("{blanks}{}", without_place(&words.join(" ")))
}

/// The same without a place in what it was shown, which nobody else has.
fn without_place(said: &str) -> String {
    let place = said.split_once(", near ").and_then(|(why, rest)| {
        let (place, rest) = rest.split_once(')')?;
        let of_place = |it: char| it.is_ascii_digit() || "(:) ofset".contains(it);
        place.chars().all(of_place).then_some((why, rest))
    });
    match place {
        Some((why, rest)) => format!("{why}{rest}"),
        None => said.to_owned(),
    }
}

/// How a text of JSON begins that is a path at or below this one.
fn begin_in_json(path: &Path) -> String {
    let mut text = Json::from(path.to_string_lossy()).to_string();
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use super::clipped;

    #[test]
    fn what_envoy_was_shown_is_not_repeated() {
        for (said, told) in [
            (
                "Unable to parse JSON as proto (INVALID_ARGUMENT: x @ a.b:   no such  field): {\"a\": \"): {\"}",
                "Unable to parse JSON as proto (INVALID_ARGUMENT: x @ a.b: no such field)",
            ),
            (
                "goo.gle/debugstr \\nname: \"): {\"\\n: Proto constraint validation failed (X.Y: too small)",
                "Proto constraint validation failed (X.Y: too small)",
            ),
            (
                "message a.B,  near 1:19906 (offset 19905): no such field: 'x'",
                "message a.B: no such field: 'x'",
            ),
            (
                "  Failed to load certificate chain",
                "  Failed to load certificate chain",
            ),
        ] {
            assert_eq!(clipped(said), told);
        }
    }
}
