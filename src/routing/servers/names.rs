//! How tools, prompts and resources of several servers are named to callers: behind the name of their server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How something is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Tools and prompts: `server__name`.
    Name,
    /// Resources: `server+uri`, which is a URI too.
    Uri,
}

impl Kind {
    /// What stands behind the server's name. No server's name has it.
    fn mark(self) -> &'static str {
        match self {
            Self::Name => "__",
            Self::Uri => "+",
        }
    }
}

/// The server that a name leads to, and what it is called there.
#[must_use]
pub fn apart(kind: Kind, name: &str) -> Option<(&str, &str)> {
    name.split_once(kind.mark())
}

/// What callers call something of a server's.
#[must_use]
pub fn joined(kind: Kind, server: &str, own: &str) -> String {
    [server, kind.mark(), own].concat()
}

/// A name as it stands in a header: in base64 where it could be read as another.
#[must_use]
pub fn in_header(name: &str) -> String {
    let is_plain = name.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && name.trim_ascii().len() == name.len()
        && !name.starts_with("=?base64?");
    match is_plain {
        true => name.to_owned(),
        false => ["=?base64?", &STANDARD.encode(name), "?="].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_its_server_and_back() {
        for (kind, server, own, name) in [
            (Kind::Name, "files", "read", "files__read"),
            (Kind::Name, "a-1", "__x__y", "a-1____x__y"),
            (Kind::Name, "a", "", "a__"),
            (Kind::Uri, "files", "file:///a+b", "files+file:///a+b"),
            (Kind::Uri, "web", "+", "web++"),
        ] {
            assert_eq!(joined(kind, server, own), name);
            assert_eq!(apart(kind, name), Some((server, own)));
        }
        for (kind, name) in [
            (Kind::Name, "read"),
            (Kind::Name, "a_b"),
            (Kind::Name, ""),
            (Kind::Uri, "file:///a"),
        ] {
            assert_eq!(apart(kind, name), None, "{name}");
        }
    }

    #[test]
    fn what_a_header_cannot_hold_stands_there_in_base64() {
        for (name, header) in [
            ("read", "read"),
            ("a b", "a b"),
            ("", ""),
            (" a", "=?base64?IGE=?="),
            ("a\n", "=?base64?YQo=?="),
            ("\u{e9}", "=?base64?w6k=?="),
            ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
        ] {
            assert_eq!(in_header(name), header);
        }
    }
}
