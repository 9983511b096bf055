//! Whether a file says something else than before, however that came about: written in place, renamed over, or a symbolic link
//! turned elsewhere, as a ConfigMap's are. The kernel tells of most changes at once; on a mount that tells of none a look now
//! and then finds them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::AccessKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::say;
use crate::gateway::generation;

/// How often files are looked at, even if nobody tells of a change.
const LOOKS: Duration = Duration::from_secs(2);
/// A file that was not written for so long is finished.
const QUIET: Duration = Duration::from_millis(50);
/// And one that somebody writes on and on is read as it is after so long: what comes later is another change.
const MOST: Duration = Duration::from_secs(2);
/// A file that is being replaced may be away for so long.
const AWAY: Duration = Duration::from_secs(1);
/// So many symbolic links lead to no file.
const MOST_LINKS: usize = 40;

pub(super) struct Watch {
    /// In groups, with what they were when they were read.
    files: Vec<(Vec<PathBuf>, u64)>,
    /// So many of these, the first ones, are always looked at.
    always: usize,
    /// Since when something is different that is not finished.
    unfinished: Option<Instant>,
    told: mpsc::Receiver<()>,
    /// None where the kernel has no more of them.
    watcher: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
}

impl Watch {
    /// Looks at a file from now on, if there is one, and at what it is told of later.
    pub(super) fn of(file: Option<&Path>) -> Self {
        let (tell, told) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // That somebody reads changes nothing.
            let read = |kind| {
                let opened = EventKind::Access(AccessKind::Open(notify::event::AccessMode::Any));
                kind == opened || kind == EventKind::Access(AccessKind::Read)
            };
            if !event.is_ok_and(|event| read(event.kind)) {
                // One that was not taken yet says the same.
                let _ = tell.try_send(());
            }
        });
        let mut watch = Self {
            files: file
                .map(|file| of_now(vec![file.to_owned()]))
                .into_iter()
                .collect(),
            always: file.iter().len(),
            unfinished: None,
            told,
            watcher: watcher.ok(),
            directories: BTreeSet::new(),
        };
        if watch.watcher.is_none() {
            say(
                "the kernel watches no more files for this user; looking at them every 2 s instead",
            );
        }
        watch.look_at_directories();
        watch
    }

    /// Looks at these too, in place of those before; with the [`generation`] of each group when it was read.
    pub(super) fn also(&mut self, files: impl IntoIterator<Item = (Vec<PathBuf>, u64)>) {
        self.files.truncate(self.always);
        self.files.extend(files);
        self.look_at_directories();
    }

    /// Ends once something is different from what it was, and finished; tells what. Nothing is lost if this is dropped.
    pub(super) async fn changed(&mut self) -> Vec<PathBuf> {
        while self
            .files
            .iter()
            .all(|(files, seen)| generation(files) == *seen)
        {
            // Told of or not, a look tells.
            let _ = timeout(LOOKS, self.told.recv()).await;
            self.look_at_directories();
        }
        let since = *self.unfinished.get_or_insert_with(Instant::now);
        let settled = self.settled(since).await;
        self.unfinished = None;
        let before = std::mem::replace(&mut self.files, settled);
        // A link that was turned may lead to directories that nobody watches yet.
        self.look_at_directories();
        let after = self.files.iter();
        let changed = before
            .into_iter()
            .zip(after)
            .filter(|(before, after)| before.1 != after.1);
        changed.flat_map(|((files, _), _)| files).collect()
    }

    /// Has the next look find something different.
    pub(super) fn again(&mut self) {
        for (_, seen) in &mut self.files {
            *seen = seen.wrapping_add(1);
        }
    }

    /// Waits until nobody writes any more, if that comes.
    async fn settled(&self, since: Instant) -> Vec<(Vec<PathBuf>, u64)> {
        let now = || {
            let groups = self.files.iter().map(|(files, _)| of_now(files.clone()));
            groups.collect::<Vec<_>>()
        };
        // One that was not there before is waited for by nobody.
        let is_away = |now: &[(Vec<PathBuf>, u64)]| {
            let changed = self.files.iter().zip(now).filter(|(it, now)| it.1 != now.1);
            let mut files = changed.flat_map(|((files, _), _)| files);
            files.any(|file| !file.exists())
        };
        let mut state = now();
        loop {
            sleep(QUIET).await;
            let later = now();
            let quiet = later == state && !(is_away(&later) && since.elapsed() < AWAY);
            if quiet || since.elapsed() >= MOST {
                return later;
            }
            state = later;
        }
    }

    fn look_at_directories(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let files = self.files.iter().flat_map(|(files, _)| files);
        let directories: BTreeSet<PathBuf> = files.flat_map(|file| directories(file)).collect();
        for gone in self.directories.difference(&directories) {
            // It may be away altogether.
            let _ = watcher.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        for directory in directories {
            if self.directories.contains(&directory)
                || watcher
                    .watch(&directory, RecursiveMode::NonRecursive)
                    .is_ok()
            {
                watched.insert(directory);
            }
        }
        self.directories = watched;
    }
}

fn of_now(files: Vec<PathBuf>) -> (Vec<PathBuf>, u64) {
    let generation = generation(&files);
    (files, generation)
}

/// Whether the file itself is a mount: then it goes on showing the old one when another is renamed into its place outside.
pub(super) fn is_mount(file: &Path) -> bool {
    let (Ok(file), Ok(mounts)) = (
        file.canonicalize(),
        std::fs::read_to_string("/proc/self/mountinfo"),
    ) else {
        return false;
    };
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    { places }.any(|place| Path::new(&place.replace("\\040", " ")) == file)
}

/// Where something has to happen for a path to lead to another file.
fn directories(file: &Path) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    let mut path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    for _ in 0..MOST_LINKS {
        directories.extend(path.parent().map(Path::to_owned));
        let mut links = path.ancestors();
        let link = links.find_map(|place| Some((place.to_owned(), place.read_link().ok()?)));
        let Some((link, target)) = link else {
            break;
        };
        let Some(directory) = link.parent() else {
            break;
        };
        directories.insert(directory.to_owned());
        let rest = path.strip_prefix(&link).unwrap_or(Path::new("")).to_owned();
        let target = directory.join(target);
        // Joined with nothing it would end in a slash.
        path = if rest.as_os_str().is_empty() {
            target
        } else {
            target.join(rest)
        };
    }
    // By the names that they have without links: what is watched under another may be elsewhere by now.
    let directories = directories.into_iter();
    directories
        .map(|directory| directory.canonicalize().unwrap_or(directory))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_file_that_is_written_on_and_on_is_read_all_the_same() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut watch = Watch::of(Some(file.path()));
        let read = Arc::new(AtomicBool::new(false));
        let (path, ends) = (file.path().to_owned(), Arc::clone(&read));
        let writer = std::thread::spawn(move || {
            let mut text = String::new();
            while !ends.load(Ordering::Relaxed) {
                text.push('x');
                std::fs::write(&path, &text).unwrap();
                std::thread::sleep(QUIET / 10);
            }
        });

        let changed = timeout(10 * MOST, watch.changed()).await;

        read.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        changed.expect("a look at it");
        // What is written after that is a change of its own.
        std::fs::write(file.path(), "").unwrap();
        let more = timeout(10 * MOST, watch.changed()).await;
        more.expect("another look at it");
    }

    #[test]
    fn every_directory_in_which_a_link_is_turned_is_watched() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().canonicalize().unwrap();
        // As Kubernetes lays out a ConfigMap.
        let conf = base.join("conf");
        std::fs::create_dir_all(conf.join("..1")).unwrap();
        std::fs::write(conf.join("..1/gateway.yaml"), "").unwrap();
        symlink("..1", conf.join("..data")).unwrap();
        symlink("..data/gateway.yaml", conf.join("gateway.yaml")).unwrap();
        symlink(&conf, base.join("link")).unwrap();
        symlink("round", base.join("round")).unwrap();

        let found = directories(&base.join("link/gateway.yaml"));

        let expected = [&base, &conf, &conf.join("..1")];
        assert!(expected.iter().all(|it| found.contains(*it)), "{found:?}");
        // Neither what leads round in circles nor what is not there keeps it.
        assert!(directories(&base.join("round")).contains(&base));
        assert!(directories(&base.join("no/file")).contains(&base.join("no")));
    }

    #[test]
    fn a_file_is_told_from_a_mount() {
        let file = tempfile::NamedTempFile::new().unwrap();

        assert!(!is_mount(file.path()));
        assert!(!is_mount(Path::new("/no/file")));
        assert!(is_mount(Path::new("/proc")));
    }
}
