//! Where an agent's redirect leads, as the caller writes it: an agent behind a rewritten prefix knows other paths than its callers.

/// An agent's `location` with the prefix that the caller knows, if it leads to a path that was rewritten: to one of this
/// `authority` (the host that the caller has asked) which begins with `rewrite`. `None`: it goes on as it stands.
#[must_use]
pub fn location_for_caller(
    location: &[u8],
    authority: &[u8],
    prefix: &str,
    rewrite: &str,
) -> Option<Vec<u8>> {
    // Browsers take blanks and tabs out of it, and may read what is left another way.
    if location
        .iter()
        .any(|byte| !byte.is_ascii_graphic() && byte.is_ascii())
    {
        return None;
    }
    let path = path_here(location, authority)?;
    let origin = location.strip_suffix(path)?;
    let rest = path.strip_prefix(rewrite.trim_end_matches('/').as_bytes())?;
    if !matches!(rest, [] | [b'/' | b'?' | b'#', ..]) {
        return None;
    }
    let prefix = prefix.trim_end_matches('/');
    // With nothing before it, this would name another host.
    let alone = origin.is_empty() && prefix.is_empty();
    if alone && matches!(rest, [b'/', b'/' | b'\\', ..]) {
        return None;
    }
    let slash = if prefix.is_empty() && !rest.starts_with(b"/") {
        "/"
    } else {
        ""
    };
    Some([origin, prefix.as_bytes(), slash.as_bytes(), rest].concat())
}

/// An agent's `location` without its host, if that is the `host` as which the agent was asked, and not the caller's. `None`: it
/// goes on as it stands.
#[must_use]
pub fn location_without_host(location: &[u8], host: &str) -> Option<Vec<u8>> {
    let path = path_here(location, host.as_bytes()).filter(|path| path.len() < location.len())?;
    // With nothing before it, this would name another host; and browsers take blanks out.
    let is_plain = path.iter().all(u8::is_ascii_graphic);
    (is_plain && !matches!(path, [_, b'/' | b'\\', ..])).then(|| path.to_vec())
}

/// The path, query and fragment of a reference to this authority. `None` of one to another place, and of a relative one, which is
/// the same to both.
fn path_here<'a>(location: &'a [u8], authority: &[u8]) -> Option<&'a [u8]> {
    let (scheme, rest) = match location.iter().position(|byte| *byte == b'/') {
        Some(0) => (&b""[..], location),
        Some(at) => location.split_at(at),
        None => return None,
    };
    let known = scheme.is_empty()
        || scheme.eq_ignore_ascii_case(b"http:")
        || scheme.eq_ignore_ascii_case(b"https:");
    if !known {
        return None;
    }
    let Some(rest) = rest.strip_prefix(b"//") else {
        return scheme.is_empty().then_some(rest);
    };
    let (host, path) = rest.split_at_checked(authority.len())?;
    (!host.is_empty() && host.eq_ignore_ascii_case(authority) && path.starts_with(b"/"))
        .then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(location: &str, prefix: &str, rewrite: &str) -> String {
        let located =
            location_for_caller(location.as_bytes(), b"api.example:8080", prefix, rewrite);
        located.map_or_else(
            || "as it stands".to_owned(),
            |location| String::from_utf8(location).unwrap(),
        )
    }

    #[test]
    fn a_redirect_within_the_rewritten_paths_leads_to_those_of_the_caller() {
        for (location, expected) in [
            ("/handle/a?b#c", "/tools/a?b#c"),
            ("/handle", "/tools"),
            ("/handle/", "/tools/"),
            ("/handle?x", "/tools?x"),
            (
                "http://api.example:8080/handle/a",
                "http://api.example:8080/tools/a",
            ),
            (
                "HTTPS://API.example:8080/handle",
                "HTTPS://API.example:8080/tools",
            ),
            ("//api.example:8080/handle/a", "//api.example:8080/tools/a"),
        ] {
            assert_eq!(
                located(location, "/tools", "/handle"),
                expected,
                "{location}"
            );
        }
        assert_eq!(located("/handle//a", "/tools", "/handle"), "/tools//a");
        assert_eq!(located("/a", "/tools", "/"), "/tools/a");
        assert_eq!(located("/", "/tools", "/"), "/tools/");
        assert_eq!(located("/handle/a", "/", "/handle"), "/a");
        assert_eq!(located("/handle", "/", "/handle"), "/");
        assert_eq!(located("/handle?x", "/", "/handle"), "/?x");
    }

    #[test]
    fn a_redirect_at_the_host_that_the_agent_was_asked_as_names_none() {
        for (location, expected) in [
            ("http://in.example/a?b", Some("/a?b")),
            ("https://IN.example/", Some("/")),
            ("//in.example/a", Some("/a")),
            ("/a", None),
            ("http://in.example", None),
            ("http://in.example//elsewhere.example", None),
            ("http://in.example/\\elsewhere.example", None),
            ("http://in.example/\t/elsewhere.example", None),
            ("http://in.example.org/a", None),
            ("http://in.example:80/a", None),
        ] {
            let located = location_without_host(location.as_bytes(), "in.example");
            assert_eq!(
                located.as_deref(),
                expected.map(str::as_bytes),
                "{location}"
            );
        }
    }

    #[test]
    fn any_other_redirect_stays_as_it_is() {
        for location in [
            "",
            "a",
            "../a",
            "?x",
            "/handler/a",
            "/login",
            "//elsewhere.example/handle/a",
            "http://elsewhere.example/handle/a",
            "http://api.example:80800/handle/a",
            "http://api.example/handle/a",
            "http://api.example:8080",
            "http:/handle/a",
            "ftp://api.example:8080/handle/a",
            "mailto:a/handle",
        ] {
            assert_eq!(
                located(location, "/tools", "/handle"),
                "as it stands",
                "{location}"
            );
        }
        for location in [
            "/handle//elsewhere.example",
            "/handle/\\elsewhere.example",
            "/handle/\t/elsewhere.example",
            " /handle/a",
        ] {
            assert_eq!(
                located(location, "/", "/handle"),
                "as it stands",
                "{location}"
            );
        }
        let nobody = location_for_caller(b"///handle/a", b"", "/tools", "/handle");
        assert_eq!(nobody, None);
    }
}
