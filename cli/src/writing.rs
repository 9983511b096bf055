//! Files that a command writes: into place by renaming, all or none, and over no file of another hand.

use std::borrow::Cow;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::Outcome;

/// Modes: what a file may be that is no program; what its owner needs.
const WRITABLE: u32 = 0o666;
const OWNERS: u32 = 0o600;

/// What is written, and out of what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writing<'a> {
    pub(crate) directory: &'a Path,
    /// The file that it comes from.
    pub(crate) source: &'a Path,
    /// With what every file begins that the command writes.
    pub(crate) mark: &'a str,
    /// Whether files of another hand are overwritten.
    pub(crate) force: bool,
    /// A file into which secrets are put that do not stand in the source, and its mode at most.
    pub(crate) guarded: Option<(&'a str, u32)>,
}

impl Writing<'_> {
    /// Writes files, by their names below the directory, in this order, and removes those of `leftovers` that it has written
    /// before; or tells why it does nothing.
    pub(crate) fn write(
        &self,
        files: &[(impl AsRef<str>, String)],
        leftovers: &[&str],
    ) -> io::Result<Outcome> {
        let place = |name: &str| self.directory.join(name);
        for (name, _) in files {
            let path = place(name.as_ref());
            if is_same(&path, self.source) {
                return unusable(&path, "is what is read; write into another directory");
            }
            if !self.force && !self.is_ours(&path)? {
                let mut errors = io::stderr().lock();
                writeln!(
                    errors,
                    "{}: was not written by this command; --force overwrites it",
                    path.display()
                )?;
                return Ok(Outcome::Faulty);
            }
        }
        let mut staged: Vec<(PathBuf, Option<NamedTempFile>)> = Vec::new();
        for (name, text) in files {
            let path = place(name.as_ref());
            let directory = path.parent().unwrap_or(self.directory);
            fs::create_dir_all(directory).map_err(|error| at(directory, &error))?;
            let beside = stage(&path, text, self.source, self.most(name.as_ref()))
                .map_err(|error| at(&path, &error))?;
            staged.push((path, beside));
        }
        let mut output = io::stdout().lock();
        for (path, beside) in staged {
            let what = match beside {
                Some(beside) => {
                    let renamed = beside.persist(&path);
                    renamed.map_err(|error| at(&path, &error.error))?;
                    "written"
                }
                None => "unchanged",
            };
            writeln!(output, "{}: {what}", path.display())?;
        }
        for name in leftovers {
            let path = place(name);
            if path.exists() && self.is_ours(&path)? {
                fs::remove_file(&path).map_err(|error| at(&path, &error))?;
                writeln!(output, "{}: removed", path.display())?;
            }
        }
        Ok(Outcome::Good)
    }

    /// The other files of YAML in a directory below, by their names.
    pub(crate) fn others_in(
        &self,
        below: &str,
        files: &[(impl AsRef<str>, String)],
    ) -> io::Result<Vec<String>> {
        let directory = self.directory.join(below);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(at(&directory, &error)),
        };
        let mut others = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| at(&directory, &error))?;
            let name = format!("{below}/{}", entry.file_name().to_string_lossy());
            if name.ends_with(".yaml") && !files.iter().any(|(file, _)| file.as_ref() == name) {
                others.push(name);
            }
        }
        others.sort();
        Ok(others)
    }

    /// What mode a file has at most.
    fn most(&self, name: &str) -> u32 {
        match self.guarded {
            Some((guarded, mode)) if guarded == name => mode,
            _ => WRITABLE,
        }
    }

    /// Whether a file is not there, or was written by this command.
    fn is_ours(&self, path: &Path) -> io::Result<bool> {
        match fs::read(path) {
            Ok(bytes) => Ok(bytes.starts_with(self.mark.as_bytes())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(at(path, &error)),
        }
    }
}

/// How the file that is read is called in those that are written.
pub(crate) fn source_name(file: &Path) -> Cow<'_, str> {
    let name = file.file_name().map(|name| name.to_string_lossy());
    name.filter(|name| *name != "-")
        .unwrap_or(Cow::Borrowed("standard input"))
}

pub(crate) fn unusable(path: &Path, what: &str) -> io::Result<Outcome> {
    writeln!(io::stderr().lock(), "{}: {what}", path.display())?;
    Ok(Outcome::Unusable)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Whether two paths lead to one file that is there.
fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Writes the text beside the file whose place it takes, unless that says the same already. Both files may hold secrets: who
/// may not read the source may not read them either, until somebody says so; and no mode goes beyond `most`. What comes from
/// standard input nobody else could read.
fn stage(path: &Path, text: &str, source: &Path, most: u32) -> io::Result<Option<NamedTempFile>> {
    let there = fs::read(path).ok();
    let model = if there.is_some() { path } else { source };
    let model = fs::metadata(model).ok().filter(fs::Metadata::is_file);
    let model = model.map_or(OWNERS, |model| model.permissions().mode());
    let permissions = Permissions::from_mode((model & WRITABLE | OWNERS) & most);
    if there.as_deref() == Some(text.as_bytes()) {
        if model & WRITABLE & !most != 0 {
            fs::set_permissions(path, permissions)?;
        }
        return Ok(None);
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".waykeeper-")
        .tempfile_in(directory)?;
    fs::set_permissions(file.path(), permissions)?;
    file.write_all(text.as_bytes())?;
    Ok(Some(file))
}
