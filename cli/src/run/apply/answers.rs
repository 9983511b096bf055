//! What is written for Envoy, and what it says of it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::files::write;
use super::super::within;
use super::{Applied, Refused};

/// How long Envoy may take to say whether it takes a part.
pub(super) const ANSWERS: Duration = Duration::from_secs(30);
/// How long to answer at all, before it is given anything.
const ASKED: Duration = Duration::from_secs(10);
/// And how long to say why not.
const SAYS: Duration = Duration::from_millis(500);

/// What a file was before it was written, by which Envoy's answer is known.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) file: PathBuf,
    pub(super) version: String,
    /// How many were refused.
    pub(super) refused: u64,
    /// How many lines Envoy had logged.
    pub(super) logged: usize,
}

// === impl Applied ===

impl Applied {
    /// Writes a file and waits for Envoy's answer to it; `pattern` is what the names of its statistics begin with.
    pub(super) async fn put(
        &mut self,
        file: &Path,
        pattern: &str,
        what: &str,
        resources: Vec<Json>,
    ) -> Result<(), Refused> {
        let refusals = format!("^{pattern}\\.update_(rejected|failure)$");
        // Even if it is not written at last, this is not what was asked for.
        self.unsure.insert(file.to_owned());
        let refused = self.refusals(&refusals, what).await?;
        let logged = self.log.count();
        let version = self
            .write(file, resources)
            .map_err(|error| Refused::file(file, &error))?;
        let asked = Asked {
            file: file.to_owned(),
            version,
            refused,
            logged,
        };
        self.answer(&asked, pattern, what).await
    }

    /// Makes sure that Envoy answers, before it is given anything.
    pub(super) async fn is_there(&self, what: &str) -> Result<(), Refused> {
        let asked = self.number("^server\\.live$", what, ASKED).await;
        asked.map(drop)
    }

    /// How many were refused so far. Not known is not none: all of before would count as answers to what is written next.
    async fn refusals(&self, pattern: &str, what: &str) -> Result<u64, Refused> {
        self.number(pattern, what, ANSWERS).await
    }

    async fn number(&self, pattern: &str, what: &str, time: Duration) -> Result<u64, Refused> {
        let mut last = String::new();
        let number = within(time, async || match self.admin.sum(pattern).await {
            Ok(number) => Some(number),
            Err(error) => {
                last = error.to_string();
                None
            }
        });
        let number = number.await;
        number.ok_or_else(|| Refused::Silent {
            part: what.to_owned(),
            error: last,
        })
    }

    pub(super) async fn answer(
        &mut self,
        asked: &Asked,
        pattern: &str,
        what: &str,
    ) -> Result<(), Refused> {
        let part = || what.to_owned();
        let answers = format!("^{pattern}\\.(update_rejected|update_failure|version_text)$");
        let mut silent = None;
        let taken = within(ANSWERS, async || {
            let stats = match self.admin.stats(&answers).await {
                Ok(stats) => stats,
                Err(error) => {
                    silent = Some(error.to_string());
                    return None;
                }
            };
            silent = None;
            let versions = stats
                .iter()
                .filter(|(name, _)| name.ends_with("version_text"));
            let versions: Vec<&String> = versions.map(|(_, version)| version).collect();
            if !versions.is_empty() && versions.iter().all(|it| **it == asked.version) {
                return Some(true);
            }
            let numbers = stats.values().filter_map(|value| value.parse::<u64>().ok());
            (numbers.fold(0, u64::saturating_add) > asked.refused).then_some(false)
        });
        match taken.await {
            Some(true) => {
                self.unsure.remove(&asked.file);
                Ok(())
            }
            Some(false) => Err(Refused::ByEnvoy {
                part: part(),
                said: self.said_since(asked.logged).await,
            }),
            None => Err(match silent {
                Some(error) => Refused::Silent {
                    part: part(),
                    error,
                },
                None => Refused::ByEnvoy {
                    part: part(),
                    said: "Envoy does not look at it".to_owned(),
                },
            }),
        }
    }

    /// Why Envoy refused something. Its log comes by another way, a moment later.
    async fn said_since(&self, logged: usize) -> String {
        let said = within(SAYS, async || self.log.refusal_since(logged)).await;
        said.unwrap_or_else(|| "it does not say why".to_owned())
    }

    /// Writes what nobody answers.
    pub(super) fn leave(&mut self, file: &Path, resources: Vec<Json>) -> io::Result<()> {
        self.write(file, resources)?;
        self.unsure.remove(file);
        Ok(())
    }

    /// Whether Envoy goes by what was written there last.
    pub(super) fn sure(&self, file: &Path) -> bool {
        !self.unsure.contains(file)
    }

    /// Writes an answer of a discovery service, and tells its version.
    pub(super) fn write(&mut self, file: &Path, resources: Vec<Json>) -> io::Result<String> {
        self.version += 1;
        self.unsure.insert(file.to_owned());
        // No number alone: that would be added up with those of refusals.
        let version = format!("v{}", self.version);
        write(
            file,
            &json!({"version_info": version, "resources": resources}),
        )?;
        Ok(version)
    }
}
