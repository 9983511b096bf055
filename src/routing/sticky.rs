//! What keeps requests at one host of their agent: the hash that Envoy's load balancer goes by.

use std::borrow::Cow;

use crate::config::policy::Sticky;
use crate::host::HeaderBlock;
use crate::state::SeededHash;
use crate::text::escapes;
use crate::text::hex;
use crate::text::paths::{split_once, split_query};

/// What requests are spread over an agent's hosts by: the routes' only hash policy. The agent's cluster takes it away, since
/// what Envoy's routes remove is gone before they look.
pub const HASH: &str = "x-waykeeper-hash";

/// In which header the agent names its sessions: by that the routes are told which look for one. They take it away.
pub const SESSION: &str = "x-waykeeper-session";

/// What tells Envoy at which host a request is to be kept, where the gateway knows that: Envoy takes it for a session that the
/// host has named. The routes take it away.
pub const HOST: &str = "x-waykeeper-host";

/// The same in every gateway, so that all choose the same host. It need be no secret: who knows it can choose which of the
/// hosts answers, and that is what the value is sent for.
const KEY: &[u8; 16] = b"waykeeper sticky";

/// What keeps a request together with others, out of its headers and its path. `None`: it has none, or it does not stand
/// there. Of what stands there more than once the first counts.
#[must_use]
pub fn sticky_value<'a>(
    sticky: &Sticky,
    headers: &'a HeaderBlock,
    path: &'a [u8],
) -> Option<Cow<'a, [u8]>> {
    match sticky {
        Sticky::Header(name) => headers.get(name).map(Cow::Borrowed),
        Sticky::Cookie(name) => {
            let mut lines = headers.get_all("cookie");
            lines
                .find_map(|line| named(line, b';', name))
                .map(Cow::Borrowed)
        }
        Sticky::Query(name) => {
            let value = named(split_query(path).1?, b'&', name)?;
            Some(escapes::decoded(value, |_| true).into())
        }
        Sticky::Client
        | Sticky::Session(_)
        | Sticky::Body(_)
        | Sticky::Prompt(_)
        | Sticky::Response
        | Sticky::Task
        | Sticky::FirstOf(_) => None,
    }
}

/// The hash of a value. What is empty says no more than what is not there.
#[must_use]
#[inline(never)]
pub fn hash_of_value(value: &[u8]) -> Option<String> {
    let hash = SeededHash::new(*KEY).of(&[value]).tag;
    (!value.is_empty()).then(|| hex::encoded(&hash.to_be_bytes()))
}

/// The value of the first pair of this name in a list of `name=value`.
#[inline(never)]
fn named<'a>(list: &'a [u8], separator: u8, name: &str) -> Option<&'a [u8]> {
    let mut pairs = list.split(|byte| *byte == separator);
    pairs.find_map(|pair| match split_once(pair.trim_ascii(), b'=') {
        (other, value) if other == name.as_bytes() => value,
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(sticky: &Sticky, headers: &[(&str, &str)], path: &str) -> Option<String> {
        let headers = HeaderBlock::from_pairs(headers);
        hash_of_value(&sticky_value(sticky, &headers, path.as_bytes())?)
    }

    #[test]
    fn what_stands_in_the_named_place_is_hashed_and_nothing_else() {
        let expected = hash_of_value(b"blue");
        assert_eq!(expected.as_ref().map(String::len), Some(16));
        assert_ne!(expected, hash_of_value(b"green"));
        let header = Sticky::Header("x-session".to_owned());
        let cookie = Sticky::Cookie("Session".to_owned());
        let query = Sticky::Query("s".to_owned());
        for (sticky, headers, path) in [
            (&header, &[("x-session", "blue")][..], "/?s=x"),
            (&cookie, &[("cookie", "a=1; Session=blue;session=red")], "/"),
            (
                &cookie,
                &[("cookie", "a=1"), ("cookie", "Session=blue")],
                "/",
            ),
            (&cookie, &[("cookie", "Session=blue; Session=red")], "/"),
            (&query, &[], "/a?x=1&s=blue&s=red"),
            (&query, &[], "/a?s=%62lue"),
            (&header, &[("x-session", "blue"), ("x-session", "red")], "/"),
        ] {
            assert_eq!(hash(sticky, headers, path), expected, "{headers:?} {path}");
        }
        for (sticky, headers, path) in [
            (&header, &[("x-other", "blue")][..], "/"),
            (&header, &[("x-session", "")], "/"),
            (
                &cookie,
                &[("cookie", "session=blue; xSession=blue; Session")],
                "/",
            ),
            (&cookie, &[("cookie", "Session=")], "/"),
            (&query, &[], "/s=blue"),
            (&query, &[], "/?s&t=blue&s="),
            (&Sticky::Client, &[("x-session", "blue")], "/?s=blue"),
        ] {
            assert_eq!(hash(sticky, headers, path), None, "{headers:?} {path}");
        }
    }
}
