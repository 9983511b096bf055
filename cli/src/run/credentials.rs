//! The files that hold agents' credentials, however they are written. Envoy reads one again when something is renamed into the
//! directory that it watches for it, and watches only one that is there. So it is given a directory of ours for each, with a link to
//! the file, which is renamed into its place whenever the file has changed: written in place, renamed over, or behind a symbolic
//! link that was turned elsewhere. What is in the file stays there.
//!
//! Before that it is looked what the file is: for a pipe Envoy would wait for good, and a caller's key must not get to an agent. Of
//! one that is not fit there is no link, so that whatever makes Envoy look again finds nothing, and goes on with what it has read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use waykeeper::config::policy::ListedKey;

use super::files::relink;
use super::say;
use super::watch::Watch;
use crate::gateway::secrets::{Holds, holds, unfit};
use crate::gateway::{Checked, LINK, generation};

/// More is no credentials file, by far.
const MOST_HARMLESS: u64 = 1 << 20;

/// A file to which there is a link, or will be.
#[derive(Debug)]
struct Kept {
    file: PathBuf,
    holds: Holds,
    /// The [`generation`] of the file when its link was made, renewed or taken away.
    seen: u64,
    /// Whether Envoy may have read one that was fit.
    used: bool,
}

#[derive(Debug, Default)]
struct All {
    /// By the directories in which the links are.
    kept: BTreeMap<PathBuf, Kept>,
    /// Directories of others that no configuration names any more, with the clusters that still may.
    retired: BTreeMap<PathBuf, BTreeSet<String>>,
    /// The keys that callers are known by.
    keys: Vec<ListedKey>,
}

/// Follows them, as long as it is not dropped; whatever else is done meanwhile.
#[derive(Debug)]
pub(super) struct Credentials {
    all: watch::Sender<All>,
    follows: JoinHandle<()>,
}

impl Credentials {
    pub(super) fn follow() -> Self {
        let all = watch::Sender::new(All::default());
        let follows = tokio::spawn(follow(all.clone()));
        Self { all, follows }
    }

    /// Makes links to these files of a gateway, as far as they are fit, and follows them too.
    pub(super) fn keep(
        &self,
        kept: &BTreeMap<PathBuf, PathBuf>,
        checked: &Checked,
    ) -> io::Result<()> {
        let mut done = Ok(());
        self.all.send_modify(|all| {
            // What is live goes on if this is not taken, and its callers with it.
            for key in &checked.policy.clients.keys {
                if !all.keys.contains(key) {
                    all.keys.push(key.clone());
                }
            }
            done = kept.iter().try_for_each(|(directory, file)| {
                let holds = holds(&checked.gateway, file);
                all.keep(directory, file, holds)
            });
        });
        done
    }

    /// Follows no others any more than those of the gateway that is live now. Their links stay for clusters that are on their way
    /// out.
    pub(super) fn only(
        &self,
        kept: &BTreeMap<PathBuf, PathBuf>,
        checked: &Checked,
        leaving: &BTreeSet<String>,
    ) {
        self.all.send_modify(|all| {
            all.keys.clone_from(&checked.policy.clients.keys);
            let of_others = |directory: &PathBuf, _: &mut Kept| !kept.contains_key(directory);
            let others = all.kept.extract_if(.., of_others);
            let others = others.map(|(directory, _)| (directory, leaving.clone()));
            all.retired.extend(others);
        });
        self.let_go(leaving);
    }

    /// Removes the links that were for clusters of which none is left.
    pub(super) fn let_go(&self, leaving: &BTreeSet<String>) {
        self.all.send_if_modified(|all| {
            all.retired.retain(|directory, clusters| {
                clusters.retain(|cluster| leaving.contains(cluster));
                // Away already, it need not be removed; otherwise the end of all removes it.
                let gone = clusters.is_empty();
                if gone {
                    let _ = std::fs::remove_dir_all(directory);
                }
                !gone
            });
            false
        });
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.follows.abort();
    }
}

// === impl All ===

impl All {
    fn keep(&mut self, directory: &Path, file: &Path, holds: Holds) -> io::Result<()> {
        let link = directory.join(LINK);
        // Before Envoy reads it: what changes after that is a change.
        let seen = generation(&[file.to_owned()]);
        let wrong = unfit(file, holds, &self.keys);
        self.retired.remove(directory);
        let known = self.kept.get_mut(directory);
        let used = known.as_ref().is_some_and(|it| it.used);
        // If it has changed, that is still to be seen, and said.
        let seen = known.as_ref().map_or(seen, |it| it.seen);
        if let Some(known) = known {
            known.holds = holds;
            if wrong.is_none() && link.is_symlink() {
                return Ok(());
            }
        }
        std::fs::create_dir_all(directory)?;
        show(&link, file, holds, wrong.is_none())?;
        let used = used || wrong.is_none();
        let file = file.to_owned();
        let kept = Kept {
            file,
            holds,
            seen,
            used,
        };
        self.kept.insert(directory.to_owned(), kept);
        Ok(())
    }
}

/// Whether Envoy may look at a file that is not fit: at one of AWS's it looks no more if it is not there when a cluster is made.
fn is_harmless(file: &Path, holds: Holds) -> bool {
    holds == Holds::Aws
        && std::fs::metadata(file).is_ok_and(|it| it.is_file() && it.len() <= MOST_HARMLESS)
}

/// Has Envoy read a file again if it is fit. Of one that is not it finds a link at most where that does no harm.
fn show(link: &Path, file: &Path, holds: Holds, fit: bool) -> io::Result<()> {
    match fit {
        false if !is_harmless(file, holds) => unlink(link),
        false if link.is_symlink() => Ok(()),
        _ => relink(link, file),
    }
}

fn unlink(link: &Path) -> io::Result<()> {
    match std::fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn follow(all: watch::Sender<All>) {
    let mut told = all.subscribe();
    let mut files = Watch::of(None);
    loop {
        let groups: Vec<_> = {
            let all = told.borrow_and_update();
            let groups = all.kept.values().map(|it| (vec![it.file.clone()], it.seen));
            groups.collect()
        };
        files.also(groups);
        tokio::select! {
            // There are others then.
            _ = told.changed() => {}
            changed = files.changed() => for file in changed {
                let mut said = None;
                all.send_modify(|all| said = renew(all, &file));
                if let Some(said) = said {
                    say(&said);
                }
            },
        }
    }
}

/// Has Envoy read a file again if that is fit, and says what comes of it.
fn renew(all: &mut All, file: &Path) -> Option<String> {
    let (directory, kept) = all.kept.iter_mut().find(|(_, it)| it.file == file)?;
    let link = directory.join(LINK);
    kept.seen = generation(&[file.to_owned()]);
    let wrong = unfit(file, kept.holds, &all.keys);
    let renewed = show(&link, file, kept.holds, wrong.is_none());
    let shown = file.display();
    Some(match (renewed, wrong) {
        (Err(error), _) => {
            format!("the credential in {shown} has changed, and Envoy cannot be told: {error}")
        }
        (Ok(()), None) => {
            kept.used = true;
            format!("the credential in {shown} has changed, and is shown to its agents from now on")
        }
        (Ok(()), Some(wrong)) if kept.used => format!(
            "the credential {shown} {wrong}; the previous credential stays in use until then; to stop using it, restart"
        ),
        (Ok(()), Some(wrong)) => format!(
            "the credential {shown} {wrong}; until it is fit, requests for its agents are answered 503 agent_unreachable"
        ),
    })
}
