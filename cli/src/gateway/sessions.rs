//! The keys of agents' sessions. Secrets need not stand in `gateway.yaml`: a file or the environment may hold them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::process::getegid;
use waykeeper::config::{Fields, Spot};
use waykeeper::host::Sensitive;

use super::credentials::{self, From};
use super::tls;
use crate::readable::unreadable;

pub(super) const KEY_FIELDS: &[&str] = &["file", "env"];

const DIGITS: usize = 64;

/// A key that does not stand in `gateway.yaml` itself.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(super) value: Sensitive<String>,
    /// Where it does: a file or a variable; nowhere if it cannot be read.
    pub(super) from: Option<From>,
}

impl Key {
    fn file(&self) -> Option<&String> {
        match &self.from {
            Some(From::File(file)) => Some(file),
            _ => None,
        }
    }
}

/// What others than the owner may do with a file into which a key is put from elsewhere.
const AT_MOST: u32 = 0o640;
const FOR_OWNER: u32 = 0o600;

/// The mode at most of a file into which these are put: nobody reads a key there who may not where it comes from.
pub(super) fn mode(keys: &[Option<Key>]) -> Option<u32> {
    let modes = keys.iter().flatten().map(|key| {
        let file = key.file().and_then(|file| fs::metadata(file).ok());
        match file {
            // Another group's members are others.
            Some(file) if file.gid() == getegid().as_raw() => file.mode() & AT_MOST | FOR_OWNER,
            _ => FOR_OWNER,
        }
    });
    modes.reduce(|one, other| one & other)
}

/// For each entry of the list that is not a key itself the one that it stands for. Where that cannot be read there is one
/// that makes no other fault.
pub(super) fn keys(spot: &Spot<'_>) -> Vec<Option<Key>> {
    // What is no mapping, and no list, the filter's reader tells.
    let fields = spot.is_map().then(|| spot.named(usize::MAX)).flatten();
    let list = fields.as_ref().and_then(|fields| fields.get("keys"));
    let items = list.as_ref().and_then(|list| list.list(usize::MAX));
    let items = items.into_iter().flatten().enumerate();
    items
        .map(|(index, item)| {
            let fields = item.is_map().then(|| item.fields(KEY_FIELDS)).flatten();
            item.is_map().then(|| match fields.map(|it| read(&it)) {
                Some(Ok(key)) => key,
                Some(Err(message)) => {
                    item.fault(message);
                    placeholder(index)
                }
                None => placeholder(index),
            })
        })
        .collect()
}

fn placeholder(index: usize) -> Key {
    Key {
        value: Sensitive(format!("{index:0DIGITS$x}")),
        from: None,
    }
}

fn read(fields: &Fields<'_>) -> Result<Key, String> {
    let (text, from) = match (fields.get("file"), fields.get("env")) {
        (Some(file), None) => {
            let path = file
                .checked(tls::path)
                .ok_or("names no file that can be read")?;
            if let Some(wrong) = unreadable(path) {
                return Err(format!("{path} {wrong}"));
            }
            let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
            (text, From::File(path.to_owned()))
        }
        (None, Some(name)) => {
            // What stands here may be the key itself, so it is not shown.
            let name = name
                .checked(credentials::variable)
                .ok_or("names no variable of the environment")?;
            let text = std::env::var(name).map_err(
                |_| "names a variable that is not set in the environment, or holds no text",
            )?;
            (text, From::Env(name.to_owned()))
        }
        _ => return Err("must have exactly one of file and env".to_owned()),
    };
    let key = text.trim();
    if key.len() == DIGITS && key.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(Key {
            value: Sensitive(key.to_owned()),
            from: Some(from),
        });
    }
    Err(format!(
        "holds no key; one is {DIGITS} hex digits, as `openssl rand -hex 32` makes them"
    ))
}

#[cfg(test)]
mod tests {
    use waykeeper::config::{Log, Node};

    use super::*;

    fn read_of(fields: &[(&str, &str)]) -> (Option<String>, String) {
        let fields = fields.iter();
        let fields =
            fields.map(|(name, value)| ((*name).to_owned(), Node::Text((*value).to_owned())));
        let list = Node::List(vec![Node::Map(fields.collect())]);
        let sessions = Node::Map(vec![("keys".to_owned(), list)]);
        let log = Log::default();
        let keys = keys(&Spot::root(&sessions, &log));
        let faults = log.into_faults().map(|faults| faults.to_string());
        let key = keys.into_iter().next().flatten();
        (key.map(|key| key.value.0), faults.unwrap_or_default())
    }

    #[test]
    fn a_key_is_read_from_its_file_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        let path = file.to_str().unwrap();
        let key = "0123456789abcdefABCDEF9876543210".repeat(2);
        std::fs::write(&file, format!("{key}\n")).unwrap();
        assert_eq!(
            read_of(&[("file", path)]),
            (Some(key.clone()), String::new())
        );
        std::fs::write(&file, &key[1..]).unwrap();
        let (_, told) = read_of(&[("file", path)]);
        assert!(
            told.contains("holds no key") && !told.contains("123456"),
            "{told}"
        );
        std::fs::remove_file(&file).unwrap();
        let (_, told) = read_of(&[("file", path)]);
        assert!(
            told.contains(path) && told.contains("is not there"),
            "{told}"
        );
    }

    #[test]
    fn an_entry_names_one_place() {
        for fields in [&[][..], &[("file", "/a"), ("env", "A")]] {
            let (_, told) = read_of(fields);
            assert!(told.contains("exactly one of file and env"), "{told}");
        }
        let (_, told) = read_of(&[("env", "WAYKEEPER_TEST_WITHOUT_KEY")]);
        assert!(told.contains("is not set"), "{told}");
        // Pasted where the name of a variable belongs.
        for key in [
            "abcdef0123456789abcdefABCDEF9876".repeat(2),
            "0123456789abcdefABCDEF9876543210".repeat(2),
        ] {
            let (_, told) = read_of(&[("env", &key)]);
            assert!(!told.is_empty() && !told.contains(&key[..8]), "{told}");
        }
        let (_, told) = read_of(&[("file", "key")]);
        assert!(told.contains("whole path"), "{told}");
    }
}
