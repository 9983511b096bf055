//! The files that hold agents' credentials, however they are written. Envoy reads one again when something is renamed into the
//! directory that it watches for it, and watches only one that is there. So it is given a directory of ours for each, with a link to
//! the file, which is renamed into its place whenever the file has changed: written in place, renamed over, or behind a symbolic
//! link that was turned elsewhere. What is in the file stays there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::files::relink;
use super::say;
use super::watch::Watch;
use crate::gateway::{LINK, generation};
use crate::readable::unreadable;

/// The files by the directories in which the links to them are, with their [`generation`] when it was made or renewed.
type Kept = BTreeMap<PathBuf, (PathBuf, u64)>;

/// Follows them, as long as it is not dropped; whatever else is done meanwhile.
#[derive(Debug)]
pub(super) struct Credentials {
    kept: watch::Sender<Kept>,
    follows: JoinHandle<()>,
}

impl Credentials {
    pub(super) fn follow() -> Self {
        let kept = watch::Sender::new(Kept::new());
        let follows = tokio::spawn(follow(kept.clone()));
        Self { kept, follows }
    }

    /// Makes links to these files, and follows them too.
    pub(super) fn keep(&self, kept: &BTreeMap<PathBuf, PathBuf>) -> io::Result<()> {
        let mut more = Kept::new();
        for (directory, file) in kept {
            if self.kept.borrow().contains_key(directory) {
                continue;
            }
            std::fs::create_dir_all(directory)?;
            // Before Envoy reads it: what changes after that is a change.
            let generation = generation(std::slice::from_ref(file));
            relink(&directory.join(LINK), file)?;
            more.insert(directory.clone(), (file.clone(), generation));
        }
        self.kept.send_modify(|all| all.extend(more));
        Ok(())
    }

    /// Follows no others any more. Their links stay for clusters that are on their way out.
    pub(super) fn only(&self, kept: &BTreeMap<PathBuf, PathBuf>) {
        self.kept
            .send_modify(|all| all.retain(|directory, _| kept.contains_key(directory)));
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.follows.abort();
    }
}

async fn follow(kept: watch::Sender<Kept>) {
    let mut told = kept.subscribe();
    let mut files = Watch::of(None);
    loop {
        let groups: Vec<_> = {
            let kept = told.borrow_and_update();
            let groups = kept
                .values()
                .map(|(file, seen)| (vec![file.clone()], *seen));
            groups.collect()
        };
        files.also(groups);
        tokio::select! {
            // There are others then.
            _ = told.changed() => {}
            changed = files.changed() => for file in changed {
                say(&renew(&kept, &file));
            },
        }
    }
}

/// Has Envoy read a file again, and says what comes of that.
fn renew(kept: &watch::Sender<Kept>, file: &Path) -> String {
    let now = generation(std::slice::from_ref(&file.to_owned()));
    let mut renewed = Ok(());
    kept.send_modify(|all| {
        let links = all.iter_mut().filter(|(_, (of, _))| of == file);
        for (directory, (_, seen)) in links {
            *seen = now;
            renewed = relink(&directory.join(LINK), file);
        }
    });
    let shown = file.display();
    match (renewed, unreadable(file)) {
        (Err(error), _) => {
            format!("the credential in {shown} has changed, and Envoy cannot be told: {error}")
        }
        (Ok(()), None) => {
            format!("the credential in {shown} has changed, and is shown to its agents from now on")
        }
        (Ok(()), Some(wrong)) => format!(
            "the credential {shown} {wrong}; one that Envoy has read before stays in use until this is started again"
        ),
    }
}
