//! What is written for Envoy, and what it says of it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use super::super::files::write;
use super::{Applied, Refused};

/// How often a condition that is waited for is looked at.
const POLL: Duration = Duration::from_millis(10);
/// How long Envoy may take to say whether it takes a part.
pub(super) const ANSWERS: Duration = Duration::from_secs(30);
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

    /// How many were refused so far. Not known is not none: all of before would count as answers to what is written next.
    pub(super) async fn refusals(&self, pattern: &str, what: &str) -> Result<u64, Refused> {
        let deadline = Instant::now() + ANSWERS;
        loop {
            match self.admin.sum(pattern).await {
                Ok(refused) => return Ok(refused),
                Err(error) if Instant::now() >= deadline => {
                    return Err(Refused::Silent {
                        part: what.to_owned(),
                        error: error.to_string(),
                    });
                }
                Err(_) => sleep(POLL).await,
            }
        }
    }

    pub(super) async fn answer(
        &mut self,
        asked: &Asked,
        pattern: &str,
        what: &str,
    ) -> Result<(), Refused> {
        let part = || what.to_owned();
        let answers = format!("^{pattern}\\.(update_rejected|update_failure|version_text)$");
        let deadline = Instant::now() + ANSWERS;
        let mut silent = None;
        while Instant::now() < deadline {
            let stats = match self.admin.stats(&answers).await {
                Ok(stats) => stats,
                Err(error) => {
                    silent = Some(error.to_string());
                    sleep(POLL).await;
                    continue;
                }
            };
            silent = None;
            let versions = stats
                .iter()
                .filter(|(name, _)| name.ends_with("version_text"));
            let versions: Vec<&String> = versions.map(|(_, version)| version).collect();
            if !versions.is_empty() && versions.iter().all(|it| **it == asked.version) {
                self.unsure.remove(&asked.file);
                return Ok(());
            }
            let numbers = stats.values().filter_map(|value| value.parse::<u64>().ok());
            if numbers.fold(0, u64::saturating_add) > asked.refused {
                let said = self.said_since(asked.logged).await;
                return Err(Refused::ByEnvoy { part: part(), said });
            }
            sleep(POLL).await;
        }
        Err(match silent {
            Some(error) => Refused::Silent {
                part: part(),
                error,
            },
            None => Refused::ByEnvoy {
                part: part(),
                said: "Envoy does not look at it".to_owned(),
            },
        })
    }

    /// Why Envoy refused something. Its log comes by another way, a moment later.
    pub(super) async fn said_since(&self, logged: usize) -> String {
        let deadline = Instant::now() + SAYS;
        loop {
            if let Some(said) = self.log.refusal_since(logged) {
                return said;
            }
            if Instant::now() > deadline {
                return "it does not say why".to_owned();
            }
            sleep(POLL).await;
        }
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

    pub(super) async fn within(
        &self,
        time: Duration,
        mut condition: impl AsyncFnMut() -> bool,
    ) -> bool {
        let deadline = Instant::now() + time;
        while !condition().await {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(POLL).await;
        }
        true
    }
}
