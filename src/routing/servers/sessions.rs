//! The servers' own sessions, in the one that the caller knows. It is sealed where it leaves the gateway (`routing/session.rs`).

/// A server that takes part in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfServer {
    /// What callers call it.
    pub server: String,
    /// The revision of the protocol that it speaks there.
    pub version: String,
    /// What it calls its session. Empty: it has none.
    pub session: String,
}

/// All of them as one text. What stands in it has neither blanks nor ends of lines.
#[must_use]
pub fn write_session(all: &[OfServer]) -> String {
    let mut text = String::new();
    for it in all {
        text.extend([&it.server, "\t", &it.version, "\t", &it.session, "\n"]);
    }
    text
}

/// The same text read. `None`: it is none.
#[must_use]
pub fn read_session(text: &[u8]) -> Option<Vec<OfServer>> {
    let text = str::from_utf8(text).ok()?;
    let mut all = Vec::new();
    for line in text.lines() {
        let mut parts = line.split('\t').map(str::to_owned);
        all.push(OfServer {
            server: parts.next()?,
            version: parts.next()?,
            session: parts.next()?,
        });
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_holds_those_of_all_servers() {
        let of = |server: &str, session: &str| OfServer {
            server: server.to_owned(),
            version: "2025-11-25".to_owned(),
            session: session.to_owned(),
        };
        for all in [
            vec![],
            vec![of("files", "abc")],
            vec![of("files", ""), of("web", "x~!")],
        ] {
            assert_eq!(read_session(write_session(&all).as_bytes()), Some(all));
        }
        assert_eq!(read_session(b"a\tb\n"), None);
        assert_eq!(read_session(b"\xff"), None);
    }
}
