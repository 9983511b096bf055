//! Whether a file can be read, without waiting: a pipe that nobody writes would never end.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

/// Why it cannot be, in words that go behind its name.
pub(crate) fn unreadable(file: impl AsRef<Path>) -> Option<String> {
    let file = file.as_ref();
    let wrong = match fs::metadata(file) {
        Ok(it) if it.is_file() => File::open(file).err()?,
        Ok(it) if it.is_dir() => return Some("is a directory, not a file".to_owned()),
        Ok(_) => return Some("is no file, but a pipe, a socket or a device".to_owned()),
        Err(error) => error,
    };
    Some(match wrong.kind() {
        ErrorKind::NotFound => "is not there".to_owned(),
        _ => format!("is not readable: {wrong}"),
    })
}
