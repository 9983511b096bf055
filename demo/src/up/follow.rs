//! Following the configuration file while the stack runs: whatever it becomes is given to Envoy, and what Envoy says of it is
//! told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Options, POLL};
use crate::gateway::{FilterFile, Gateway};

/// How long Envoy may take to say whether it takes a configuration.
const RELOAD_DEADLINE: Duration = Duration::from_secs(10);

/// The configuration file, as it was when last looked at.
pub(super) struct Followed {
    path: PathBuf,
    module: PathBuf,
    text: std::io::Result<String>,
}

// === impl Followed ===

impl Followed {
    pub(super) fn new(options: &Options) -> Self {
        let path = options.configuration.join("waykeeper.yaml");
        let text = std::fs::read_to_string(&path);
        let module = options.module.clone();
        Self { path, module, text }
    }

    /// Gives Envoy the file if it has changed, and says what came of it.
    pub(super) async fn look(&mut self, gateway: &Gateway) {
        let text = std::fs::read_to_string(&self.path);
        // A file that is being replaced may be missing for a moment.
        if text.is_err() || text.as_ref().ok() == self.text.as_ref().ok() {
            return;
        }
        self.text = text;
        match reload(&self.path, &self.module, gateway).await {
            Ok(outcome) => println!("{}: {outcome}", self.path.display()),
            Err(error) => println!("{error}; the configuration before it goes on serving"),
        }
    }
}

/// Gives Envoy the file at `path` and waits for its judgement.
async fn reload(
    path: &Path,
    module: &Path,
    gateway: &Gateway,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let mut filter = FilterFile::read(path)?;
    filter.set_module(module)?;
    let before = gateway.admin().reloads().await?;
    let logged = gateway.envoy_log().len();
    gateway.reconfigure(&filter)?;
    let deadline = Instant::now() + RELOAD_DEADLINE;
    while Instant::now() < deadline {
        let now = gateway.admin().reloads().await?;
        if now.refused > before.refused {
            let log = gateway.envoy_log();
            let said = log.get(logged..).unwrap_or_default().trim_end();
            return Ok(format!(
                "refused, the configuration before it goes on serving; Envoy's log:\n{said}"
            ));
        }
        if now.taken > before.taken {
            return Ok("taken".to_owned());
        }
        sleep(POLL).await;
    }
    Ok("envoy does not look at it".to_owned())
}
