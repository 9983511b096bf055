//! The files that Envoy reads its parts from, and what it calls them.

use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

/// Keys of sessions stand in some of them.
const PRIVATE: u32 = 0o600;

pub(super) fn filter(config: &Json) -> Json {
    json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": "waykeeper",
        "typed_config": config,
    })
}

pub(super) fn typed(kind: &str, resource: &Json) -> Json {
    typed_at(&format!("envoy.extensions.{kind}"), resource)
}

pub(super) fn typed_at(kind: &str, resource: &Json) -> Json {
    let mut resource = resource.clone();
    if let Some(fields) = resource.as_object_mut() {
        let kind = json!(format!("type.googleapis.com/{kind}"));
        fields.insert("@type".to_owned(), kind);
    }
    resource
}

/// Renames a file into place: Envoy sees nothing else.
pub(super) fn write(file: &Path, content: &Json) -> io::Result<()> {
    put(file, |new| {
        let mut new = io::BufWriter::new(new);
        serde_json::to_writer(&mut new, content)?;
        // Dropped, it would keep to itself that the disk is full.
        new.flush()
    })
}

/// The same, of a text, in a directory that may not be there yet.
pub(super) fn write_text(file: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    put(file, |mut new| new.write_all(text.as_bytes()))
}

fn put(file: &Path, fill: impl FnOnce(std::fs::File) -> io::Result<()>) -> io::Result<()> {
    let beside = file.with_extension("new");
    // One that was left behind, or that somebody has put there to have this written elsewhere.
    let _ = std::fs::remove_file(&beside);
    let put = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(&beside)
        .and_then(fill)
        .and_then(|()| std::fs::rename(&beside, file));
    if put.is_err() {
        // Half of it would take the room of what is to be put back.
        let _ = std::fs::remove_file(&beside);
    }
    put
}

/// Renames a link to a file into place, whatever was there.
pub(super) fn relink(link: &Path, file: &Path) -> io::Result<()> {
    let beside = link.with_extension("new");
    // One that was left behind.
    let _ = std::fs::remove_file(&beside);
    symlink(file, &beside)?;
    std::fs::rename(&beside, link)
}

/// Links to files, one by one.
pub(super) fn link(directory: &Path, files: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory)?;
    let mut links = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let link = directory.join(index.to_string());
        match symlink(file, &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => links.push(link),
        }
    }
    Ok(links)
}

pub(super) fn shown(files: &[PathBuf]) -> String {
    let files = files.iter().map(|file| file.display().to_string());
    files.collect::<Vec<_>>().join(", ")
}

/// A name as a regular expression in a query.
pub(super) fn in_pattern(name: &str) -> String {
    let mut pattern = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/') {
            pattern.push(char::from(byte));
        } else {
            pattern.push_str(&format!("\\x{byte:02x}"));
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_is_for_this_user_alone_and_nowhere_else() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        std::fs::write(at("others"), "theirs").unwrap();
        symlink(at("others"), at("filter.new")).unwrap();

        write(&at("filter.json"), &json!({"key": "secret"})).unwrap();

        let mode = std::fs::symlink_metadata(at("filter.json")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, PRIVATE);
        assert_eq!(std::fs::read_to_string(at("others")).unwrap(), "theirs");
        assert!(!at("filter.new").exists());
    }
}
