//! The keys of agents' sessions. Secrets need not stand in `gateway.yaml`: a file or the environment may hold them.

use waykeeper::config::{Fields, Spot};
use waykeeper::host::Sensitive;

use super::tls;

pub(super) const KEY_FIELDS: &[&str] = &["file", "env"];

const DIGITS: usize = 64;

/// For each entry of the list that is not a key itself the one that it stands for. Where that cannot be read there is one
/// that makes no other fault.
pub(super) fn keys(spot: &Spot<'_>) -> Vec<Option<Sensitive<String>>> {
    // What is no mapping, and no list, the filter's reader tells.
    let fields = spot.is_map().then(|| spot.named(usize::MAX)).flatten();
    let list = fields.as_ref().and_then(|fields| fields.get("keys"));
    let items = list.as_ref().and_then(|list| list.list(usize::MAX));
    let items = items.into_iter().flatten().enumerate();
    items
        .map(|(index, item)| {
            let fields = item.is_map().then(|| item.fields(KEY_FIELDS)).flatten();
            let key = item.is_map().then(|| match fields.map(|it| read(&it)) {
                Some(Ok(key)) => key,
                Some(Err(message)) => {
                    item.fault(message);
                    placeholder(index)
                }
                None => placeholder(index),
            });
            key.map(Sensitive)
        })
        .collect()
}

fn placeholder(index: usize) -> String {
    format!("{index:0DIGITS$x}")
}

fn read(fields: &Fields<'_>) -> Result<String, String> {
    let text = match (fields.get("file"), fields.get("env")) {
        (Some(file), None) => {
            let path = file
                .checked(tls::path)
                .ok_or("names no file that can be read")?;
            std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?
        }
        (None, Some(name)) => {
            let name = name.text().ok_or("names no variable of the environment")?;
            std::env::var(name)
                .map_err(|_| format!("{name:?} is not set in the environment, or is no text"))?
        }
        _ => return Err("must have exactly one of file and env".to_owned()),
    };
    let key = text.trim();
    if key.len() == DIGITS && key.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(key.to_owned());
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
        (key.map(|key| key.0), faults.unwrap_or_default())
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
            told.contains(path) && told.contains("No such file"),
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
        let (_, told) = read_of(&[("file", "key")]);
        assert!(told.contains("whole path"), "{told}");
    }
}
