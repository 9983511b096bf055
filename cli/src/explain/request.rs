//! A request that is to be explained, and what Envoy makes of it before the filter sees it.

use waykeeper::host::HeaderBlock;
use waykeeper::text::escapes::decoded;
use waykeeper::text::paths::{split_once, split_query};

/// A request as its caller sends it.
#[derive(Clone, Default)]
pub(super) struct Request {
    pub(super) method: String,
    /// The host that is asked, with its port where one is written.
    pub(super) authority: String,
    /// With the query, and without a fragment.
    pub(super) path: String,
    pub(super) secure: bool,
    /// A url says where it is sent.
    pub(super) has_url: bool,
    /// In their order, names as they are written.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Vec<u8>>,
    /// The body comes in chunks, and nothing says its length.
    pub(super) chunked: bool,
    /// What is to be known of how it was read.
    pub(super) notes: Vec<String>,
}

/// The same as the filter gets it.
pub(super) struct Arrived {
    /// Names in lower case, those of HTTP/2 for method, host and path among them.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) block: HeaderBlock,
    pub(super) body: Option<Vec<u8>>,
    /// What Envoy has changed.
    pub(super) notes: Vec<String>,
    /// Envoy answers this itself, before any filter of ours: with which status, and why.
    pub(super) answered: Option<(u16, &'static str)>,
}

/// Of a connection, and not of the request that it carries.
const OF_CONNECTION: [&str; 7] = [
    "host",
    "connection",
    "proxy-connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "expect",
];

impl Request {
    /// Takes a url apart into whom it asks and for what.
    ///
    /// # Errors
    /// One line that says why nobody could be asked.
    pub(super) fn asks(&mut self, url: &str) -> Result<(), String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        self.secure = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => {
                return Err(
                    "the url is one of another scheme; those of http and https are explained"
                        .to_owned(),
                );
            }
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        // Who logs in by a url is known by the header that clients make of it.
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err("the url names no host".to_owned());
        }
        let target = target.split('#').next().unwrap_or_default();
        self.authority = host.to_owned();
        self.has_url = true;
        self.path = match target.as_bytes().first() {
            Some(b'/') => target.to_owned(),
            _ => format!("/{target}"),
        };
        Ok(())
    }

    /// The first value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// As the filter gets it from an Envoy with the configuration that is written out of a gateway.yaml.
    pub(super) fn arrive(&self) -> Arrived {
        let mut notes = Vec::new();
        let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
        let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.into()));
        let host = self.header("host").unwrap_or(&self.authority);
        let path = normalized(&self.path);
        if path != self.path {
            let shown = path.split('?').next().unwrap_or_default();
            notes.push(format!(
                "Envoy makes {shown} of the path before the filter sees it"
            ));
        }
        add(":authority", host);
        add(":path", &path);
        add(":method", &self.method);
        add(":scheme", if self.secure { "https" } else { "http" });
        let mut authorizations = Vec::new();
        for (name, value) in &self.headers {
            let name = name.to_ascii_lowercase();
            match name.as_str() {
                _ if name.starts_with(':') || OF_CONNECTION.contains(&name.as_str()) => {}
                "authorization" => authorizations.push(value.as_str()),
                "upgrade" if !value.trim().eq_ignore_ascii_case("websocket") => {
                    notes.push("Envoy takes upgrade away: it asks for no websocket".to_owned());
                }
                _ => add(&name, value),
            }
        }
        // Envoy joins these before filters see them.
        if !authorizations.is_empty() {
            add("authorization", &authorizations.join(","));
        }
        if let Some(body) = self.body.as_ref().filter(|_| !self.chunked) {
            add("content-length", &body.len().to_string());
        }
        let block = HeaderBlock::from_pairs(&headers);
        Arrived {
            answered: self.answered_by_envoy(&path),
            headers,
            block,
            body: self.body.clone(),
            notes,
        }
    }

    fn answered_by_envoy(&self, path: &str) -> Option<(u16, &'static str)> {
        let preflight = self.method == "OPTIONS"
            && self.header("origin").is_some()
            && self.header("access-control-request-method").is_some();
        if self.headers.iter().any(|(name, _)| name.contains('_')) {
            Some((
                400,
                "Envoy refuses it, 400 bad_request, for a header with _ in its name: many agents read that as -",
            ))
        } else if path.split('?').next() == Some("/healthz") {
            Some((
                200,
                "Envoy answers /healthz itself: 200, or 503 while it drains",
            ))
        } else if preflight {
            Some((
                200,
                "a browser's preflight: where the listener has cors for this origin, Envoy answers it before the filter",
            ))
        } else {
            None
        }
    }
}

impl Arrived {
    /// True if its caller goes on to speak once it is answered, as in a WebSocket: it has no body, and does not end.
    pub(super) fn stays_open(&self) -> bool {
        let mut upgrades = self.block.get_all("upgrade");
        upgrades.any(|it| it.trim_ascii().eq_ignore_ascii_case(b"websocket"))
    }

    /// Adds a header.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.into()));
        self.block = HeaderBlock::from_pairs(&self.headers);
    }
}

/// A path as Envoy normalises it: no empty segments, none of dots, no backslash; escapes of plain characters decoded.
fn normalized(path: &str) -> String {
    let (path, query) = split_query(path.as_bytes());
    let unescaped = decoded(path, |byte| {
        byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
    });
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut ends_in_slash = false;
    for segment in unescaped.split(|byte| matches!(byte, b'/' | b'\\')) {
        let name = split_once(segment, b';').0;
        ends_in_slash = true;
        match name {
            b"" if segment.is_empty() => {}
            b"." => {}
            b".." => {
                kept.pop();
            }
            _ => {
                ends_in_slash = false;
                kept.push(segment);
            }
        }
    }
    let mut whole = vec![b'/'];
    whole.extend(kept.join(&b'/'));
    if ends_in_slash && whole.len() > 1 {
        whole.push(b'/');
    }
    if let Some(query) = query {
        whole.push(b'?');
        whole.extend(query);
    }
    String::from_utf8_lossy(&whole).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (url, authority, path) in [
            (
                "http://127.0.0.1:8080/v1?a=b#c",
                "127.0.0.1:8080",
                "/v1?a=b",
            ),
            ("https://me:secret@example.com", "example.com", "/"),
            ("example.com?x", "example.com", "/?x"),
            ("ws://[::1]:8/ws", "[::1]:8", "/ws"),
        ] {
            let mut request = Request::default();
            request.asks(url).unwrap();
            assert_eq!(
                (&*request.authority, &*request.path),
                (authority, path),
                "{url}"
            );
        }
        for bad in ["ftp://a/b", "http:///x", "http://a b/"] {
            assert!(Request::default().asks(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_as_envoy_has_them() {
        for (path, envoys) in [
            ("/a/b?x=//y", "/a/b?x=//y"),
            ("//a///b/", "/a/b/"),
            ("/a/./b/../c", "/a/c"),
            ("/a/%2e%2e/c", "/c"),
            ("/a\\b", "/a/b"),
            ("/..;x/a", "/a"),
            ("/%74ools/x%2fy", "/tools/x%2fy"),
            ("/a/..", "/"),
            ("/a;v=1/b", "/a;v=1/b"),
        ] {
            assert_eq!(normalized(path), envoys, "{path}");
        }
    }
}
