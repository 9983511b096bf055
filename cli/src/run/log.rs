//! What Envoy says while it runs: handed on in a form that people read, and kept for a moment, since it says why a part was
//! refused.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::tell;

/// So many lines are looked at for what was said last.
const KEPT: usize = 200;
/// How Envoy begins what it says of a file that it does not take.
const REFUSALS: [&str; 2] = [
    "Filesystem config update rejected: ",
    "Filesystem config update failure: ",
];

/// What it says of a listener before it says so.
const OF_LISTENERS: [&str; 2] = [
    "' failed to bind or apply socket options: ",
    "' config rejected: ",
];

/// What it says if it has no V8.
const NO_WASM: &str = "compiled without support for it";
/// What it says of our own doing.
const EXPECTED: &str = "caught ENVOY_SIGTERM";

#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    lines: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// How many came in all.
    count: usize,
    /// The last ones: level and text.
    last: VecDeque<(String, String)>,
}

impl Log {
    /// Takes a line, and hands it on unless this tool says the same in its own words.
    pub(super) fn take(&self, line: &str) {
        let mut fields = line.splitn(3, '\t');
        let (level, logger, text) = match (fields.next(), fields.next(), fields.next()) {
            (Some(level), Some(logger), Some(text)) => (level, logger, text),
            // What comes before the log is set up.
            _ => ("error", "", line),
        };
        if text.trim().is_empty() {
            return;
        }
        let named = text.strip_prefix("lds: ").unwrap_or(text);
        let of_listener = |what: &&str| named.starts_with("listener '") && named.contains(*what);
        let told_elsewhere = REFUSALS.iter().any(|refusal| text.starts_with(refusal))
            || OF_LISTENERS.iter().any(of_listener);
        // Each worker's module says it, whenever it is loaded; another version than ours is told of by itself.
        let its_version = text.ends_with(concat!(": Waykeeper ", env!("CARGO_PKG_VERSION")));
        if !told_elsewhere && !its_version && text != EXPECTED {
            let logger = if logger.is_empty() {
                String::new()
            } else {
                format!(" {logger}:")
            };
            tell(&format!("envoy: {level}:{logger} {text}"));
        }
        let mut kept = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        kept.count += 1;
        kept.last.push_back((level.to_owned(), text.to_owned()));
        if kept.last.len() > KEPT {
            kept.last.pop_front();
        }
    }

    /// How many lines came so far.
    pub(super) fn count(&self) -> usize {
        let kept = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        kept.count
    }

    /// Why a part was refused, as far as that was said since so many lines had come.
    pub(super) fn refusal_since(&self, count: usize) -> Option<String> {
        let kept = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let new = kept.count.saturating_sub(count);
        let said = kept.last.iter().rev().take(new).rev();
        let refusals = said.filter_map(|(_, text)| {
            let mut refusals = REFUSALS.iter();
            refusals.find_map(|refusal| text.strip_prefix(refusal))
        });
        let refusals: Vec<&str> = refusals.map(|text| text.trim()).collect();
        let last = refusals.last()?;
        // It names the lack in a line of its own, and nothing of it in its answer.
        let mut said = kept.last.iter().rev().take(new);
        if said.any(|(_, text)| text.contains(NO_WASM)) {
            return Some(
                "this Envoy cannot run Wasm: it was built without V8. Take another one, with --envoy"
                    .to_owned(),
            );
        }
        Some(last.replace("\\n", " ").trim_end().to_owned())
    }

    /// The last that it complained of.
    pub(super) fn last_complaint(&self) -> Option<String> {
        let kept = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut complaints = kept.last.iter().rev();
        let serious = |(level, _): &&(String, String)| matches!(&**level, "critical" | "error");
        complaints.find(serious).map(|(_, text)| text.clone())
    }
}
