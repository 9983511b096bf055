//! The directory in which `run` keeps what Envoy reads, and the socket of its admin interface: for this user alone, and gone
//! afterwards.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

use crate::gateway;

/// With what the names of those begin that were chosen here.
const PREFIX: &str = "waykeeper-run-";
/// Held while the directory is in use; where it is free, whoever made the directory was killed.
const LOCK: &str = ".waykeeper-run.lock";
/// One that is not older than this may not be locked yet.
const JUST_MADE: Duration = Duration::from_secs(10);
/// Longer ones are no address of a socket.
const LONGEST_SOCKET: usize = 107;

#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Whether it was made here.
    made: bool,
    _lock: File,
}

impl Directory {
    /// The one that was written, or a new one.
    pub(super) fn make(written: Option<&Path>) -> Result<Self, String> {
        let directory = match written {
            Some(path) => Self::at(path),
            None => Self::somewhere(),
        }?;
        let socket = directory.socket();
        if socket.as_os_str().len() > LONGEST_SOCKET {
            return Err(format!(
                "{}: the path is too long for a socket; choose a shorter directory with --directory",
                socket.display()
            ));
        }
        Ok(directory)
    }

    fn at(path: &Path) -> Result<Self, String> {
        let told =
            |error: &dyn std::fmt::Display| format!("--directory {}: {error}", path.display());
        let path = std::path::absolute(path).map_err(|error| told(&error))?;
        let there = path.exists();
        let locked = path.join(LOCK);
        if !there {
            make_private(&path).map_err(|error| told(&error))?;
        }
        // Whose it is may have it back at any time, with what Envoy is given.
        let (user, owner) = (
            rustix::process::geteuid().as_raw(),
            fs::metadata(&path).map_err(|error| told(&error))?.uid(),
        );
        if owner != user {
            return Err(told(&format_args!(
                "belongs to another user ({owner}, this is {user}); take one of your own"
            )));
        }
        if there && fs::symlink_metadata(&locked).is_err() {
            let mut entries = fs::read_dir(&path).map_err(|error| told(&error))?;
            if entries.next().is_some() {
                return Err(told(&"is not empty; take one of its own"));
            }
        }
        fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(|error| told(&error))?;
        match lock(&locked) {
            Ok(Some(lock)) => {
                empty(&path).map_err(|error| told(&error))?;
                Ok(Self {
                    path,
                    made: !there,
                    _lock: lock,
                })
            }
            Ok(None) => Err(told(&"is in use by another `waykeeper run`")),
            Err(error) => Err(told(&error)),
        }
    }

    fn somewhere() -> Result<Self, String> {
        let base = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let base = base.filter(|base| base.is_dir());
        let base = base.unwrap_or_else(std::env::temp_dir);
        remove_leftovers(&base);
        let told = |error: io::Error| {
            format!(
                "{}: {error}; say with --directory where Envoy's files may be",
                base.display()
            )
        };
        let made = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&base)
            .map_err(told)?;
        let lock = lock(&made.path().join(LOCK)).map_err(told)?;
        let lock = lock.ok_or_else(|| told(io::Error::other("somebody else has taken it")))?;
        Ok(Self {
            path: made.keep(),
            made: true,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// That of the admin interface.
    pub(super) fn socket(&self) -> PathBuf {
        self.path.join("admin.sock")
    }

    /// That of the builtin agent.
    pub(super) fn echo_socket(&self) -> PathBuf {
        self.path.join(gateway::ECHO_SOCKET)
    }

    /// That of the builtin limiter.
    pub(super) fn limiter_socket(&self) -> PathBuf {
        self.path.join(gateway::LIMITER_SOCKET)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // There is nobody to tell, and the next start tries again.
        let _ = if self.made {
            fs::remove_dir_all(&self.path)
        } else {
            empty(&self.path)
        };
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// None if another holds it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    // Neither made elsewhere by a link, nor waited for as a pipe.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Leaves the lock.
fn empty(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() == LOCK {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes the directories of those that were killed.
fn remove_leftovers(base: &Path) {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let user = rustix::process::geteuid().as_raw();
    let is_old = |it: &fs::Metadata| {
        let age = it.modified().ok().and_then(|time| time.elapsed().ok());
        age.is_some_and(|age| age > JUST_MADE)
    };
    for entry in entries {
        let path = entry.path();
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && fs::symlink_metadata(&path)
                .is_ok_and(|it| it.is_dir() && it.uid() == user && is_old(&it));
        let locked = path.join(LOCK);
        if ours && locked.exists() && matches!(lock(&locked), Ok(Some(_))) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_a_killed_one_left_is_removed_and_what_is_in_use_is_not() {
        let base = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - JUST_MADE * 2;
        let make = |name: &str, age: SystemTime| {
            let path = base.path().join(name);
            make_private(&path).unwrap();
            let held = lock(&path.join(LOCK)).unwrap();
            File::open(&path).unwrap().set_modified(age).unwrap();
            (path, held)
        };
        let (left, held) = make("waykeeper-run-left", old);
        drop(held);
        let (used, _held) = make("waykeeper-run-used", old);
        let (new, held) = make("waykeeper-run-new", SystemTime::now());
        drop(held);
        let (other, held) = make("other", old);
        drop(held);

        remove_leftovers(base.path());

        assert!(!left.exists());
        assert!(used.exists() && new.exists() && other.exists());
    }

    #[test]
    fn one_that_was_chosen_is_private_and_empty_and_used_once() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");

        let first = Directory::make(Some(&path)).unwrap();
        assert_eq!(mode(&path), 0o700);
        let second = Directory::make(Some(&path)).unwrap_err();
        assert!(
            second.ends_with("is in use by another `waykeeper run`"),
            "{second}"
        );
        drop(first);
        assert!(!path.exists());

        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("mine"), "").unwrap();
        let full = Directory::make(Some(&path)).unwrap_err();
        assert!(
            full.ends_with("is not empty; take one of its own"),
            "{full}"
        );
        fs::remove_file(path.join("mine")).unwrap();
        let mine = Directory::make(Some(&path)).unwrap();
        fs::write(mine.path().join("clusters.json"), "").unwrap();
        drop(mine);
        assert!(path.exists() && !path.join("clusters.json").exists());

        // A lock that leads elsewhere is none.
        fs::create_dir_all(base.path().join("linked")).unwrap();
        let elsewhere = base.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, base.path().join("linked").join(LOCK)).unwrap();
        Directory::make(Some(&base.path().join("linked"))).unwrap_err();
        assert!(!elsewhere.exists());

        let long = base.path().join("x".repeat(100));
        let long = Directory::make(Some(&long)).unwrap_err();
        assert!(long.contains("too long for a socket"), "{long}");
    }

    #[test]
    fn one_of_another_user_is_not_taken() {
        let base = tempfile::tempdir().unwrap();
        // Only root can give one away; who cannot finds one that is root's.
        let other = match rustix::process::geteuid().is_root() {
            true => {
                std::os::unix::fs::chown(base.path(), Some(12345), None).unwrap();
                base.path()
            }
            false => Path::new("/"),
        };

        let refused = Directory::make(Some(other)).unwrap_err();

        assert!(refused.contains("belongs to another user"), "{refused}");
    }
}
