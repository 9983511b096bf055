//! Paths: whatever is spelled, what goes on is what was decided on, and no other spelling of it meets another route.
//!
//! The first line of an input is the path of a request. The bytes of the second say how its twin is spelled, and
//! each further line is a route: its prefix, then `keep` if it keeps encoded slashes, then what its prefix is
//! rewritten to.

use std::cell::RefCell;
use std::collections::HashMap;

use serde_json::{Value, json};
use waykeeper::config;
use waykeeper::host::StreamId;

use crate::input::Input;
use crate::spelling::{decoded_if, escape, percent_decoded};
use crate::worker::{Outcome, Worker, World, header, headers};

const MOST_ROUTES: usize = 8;
const MOST_WORKERS: usize = 256;

thread_local! {
    /// A worker under each of the last sets of routes: nothing that a path can change outlives its request.
    static WORKERS: RefCell<HashMap<Vec<u8>, Option<Worker>>> = RefCell::default();
}

/// A route of the input.
#[derive(Debug)]
struct Route<'a> {
    prefix: &'a str,
    slashes: Option<&'a str>,
    rewrite: Option<&'a str>,
}

/// A request that went on: the route that took it, and its path then.
#[derive(Debug, PartialEq, Eq)]
struct Forwarded {
    route: usize,
    path: Vec<u8>,
}

/// Runs one input.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let [path, spelling, routes] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let Ok(text) = std::str::from_utf8(routes) else {
        return;
    };
    let parsed: Vec<_> = text
        .lines()
        .take(MOST_ROUTES)
        .filter_map(Route::read)
        .collect();
    WORKERS.with_borrow_mut(|workers| {
        if workers.len() >= MOST_WORKERS {
            workers.clear();
        }
        let worker = workers
            .entry(routes.to_vec())
            .or_insert_with(|| Some(World::new().worker(&config::read(&document(&parsed)).ok()?)));
        if let Some(worker) = worker {
            one_path(worker, &parsed, path, spelling);
        }
    });
}

fn one_path(worker: &mut Worker, routes: &[Route<'_>], path: &[u8], spelling: &[u8]) {
    let Some(forwarded) = send(worker, path) else {
        return;
    };
    let shown = String::from_utf8_lossy(path);
    let route = &routes[forwarded.route];
    let (came, query) = split_query(path);
    let (goes_on, query_on) = split_query(&forwarded.path);

    assert_eq!(query, query_on, "{shown}: the query is the agent's");
    assert!(
        escapes_are_whole(goes_on),
        "{shown}: a % that is no escape goes on"
    );
    assert_eq!(
        goes_on,
        expected(came, route),
        "{shown}: what goes on by {route:?}"
    );
    let read_by_agent = percent_decoded(goes_on);
    assert!(
        !read_by_agent.iter().any(|byte| matches!(byte, b'\\' | 0)),
        "{shown}: agents see a backslash or a zero"
    );
    assert!(!has_detour(&read_by_agent), "{shown}: agents see a detour");

    for (index, read) in readings(came).iter().enumerate() {
        let prefixes = routes
            .iter()
            .map(|route| readings(route.prefix.as_bytes())[index].clone());
        let meets = longest(&prefixes.collect::<Vec<_>>(), read);
        // Where it meets no route, it passes none by.
        assert!(
            meets.is_empty() || meets.contains(&forwarded.route),
            "{shown}: went by {route:?}, and can be read as {} of {meets:?}",
            String::from_utf8_lossy(read)
        );
    }

    if route.rewrite.is_none() {
        let again = send(worker, &forwarded.path);
        assert_eq!(
            again.as_ref(),
            Some(&forwarded),
            "{shown}: read again, it reads otherwise"
        );
    }

    let mut twin = respelled(came, spelling);
    if let Some(query) = query {
        twin.push(b'?');
        twin.extend(query);
    }
    if let Some(met) = send(worker, &twin) {
        assert_eq!(
            met.route,
            forwarded.route,
            "{shown} and {} are two routes' paths",
            String::from_utf8_lossy(&twin)
        );
    }
}

// === the filter ===

impl<'a> Route<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut words = line.split(' ');
        let prefix = words.next().filter(|prefix| !prefix.is_empty())?;
        let mut route = Self {
            prefix,
            slashes: None,
            rewrite: None,
        };
        for word in words {
            if word.starts_with('/') {
                route.rewrite = Some(word);
            } else {
                route.slashes = Some(word);
            }
        }
        Some(route)
    }
}

fn document(routes: &[Route<'_>]) -> Value {
    let routes: Vec<_> = routes
        .iter()
        .enumerate()
        .map(|(index, route)| {
            let mut document = json!({
                "name": index.to_string(), "prefix": route.prefix, "agents": ["a"], "auth_required": false,
            });
            if let Some(slashes) = route.slashes {
                document["encoded_slashes"] = slashes.into();
            }
            if let Some(rewrite) = route.rewrite {
                document["prefix_rewrite"] = rewrite.into();
            }
            document
        })
        .collect();
    json!({
        "clients": { "key_sources": [{ "header": "x-key" }] },
        "agents": { "a": { "cluster": "a" } },
        "routes": routes,
        "tables": { "keys": 1024, "counters": 1024 },
    })
}

fn send(worker: &mut Worker, path: &[u8]) -> Option<Forwarded> {
    let mut request = headers(&[(":method", "GET")]);
    request.push((b":path".to_vec(), path.to_vec()));
    let (outcome, seen) = worker.exchange(StreamId(1), request);
    match outcome {
        Outcome::Forwarded => {
            let text = |name| {
                header(&seen.request, name)
                    .expect("what every agent is told")
                    .to_vec()
            };
            let route = String::from_utf8(text("x-waykeeper-route")).ok();
            Some(Forwarded {
                route: route
                    .and_then(|route| route.parse().ok())
                    .expect("a route of ours"),
                path: text(":path"),
            })
        }
        Outcome::Refused(code) => {
            assert!(["bad_path", "no_route"].contains(&code.as_str()), "{code}");
            None
        }
        Outcome::Waits => panic!("an open route waits for nothing"),
    }
}

// === what is expected of it ===

fn split_query(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = path.splitn(2, |byte| *byte == b'?');
    (parts.next().unwrap_or_default(), parts.next())
}

fn escapes_are_whole(path: &[u8]) -> bool {
    (0..path.len()).all(|at| path[at] != b'%' || escape(&path[at..]).is_some())
}

/// The caller's spelling with escapes of unreserved characters decoded, and the rewrite in place of the prefix's segments.
fn expected(path: &[u8], route: &Route<'_>) -> Vec<u8> {
    let spelled = decoded_if(path, |byte| {
        byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
    });
    let Some(rewrite) = route.rewrite else {
        return spelled;
    };
    let matched = match route.prefix {
        "/" => 0,
        prefix => prefix.matches('/').count(),
    };
    let rest: Vec<_> = spelled
        .split(|byte| *byte == b'/')
        .skip(1 + matched)
        .collect();
    let rewrite = rewrite.as_bytes();
    // Of `/` rewritten nothing is left, of `/a/` a slash.
    if rest.is_empty() || rest == [b""] && matched == 0 {
        return rewrite.to_vec();
    }
    let rewrite = rewrite.strip_suffix(b"/").unwrap_or(rewrite);
    [rewrite, &rest.join(&b'/')].join(&b'/')
}

/// Whether an agent sees empty segments or dots, which lead it elsewhere.
fn has_detour(path: &[u8]) -> bool {
    let segments: Vec<_> = path.split(|byte| *byte == b'/').skip(1).collect();
    let last = segments.len().saturating_sub(1);
    segments.iter().enumerate().any(|(index, segment)| {
        let name = segment
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        name == b"." || name == b".." || (name.is_empty() && index != last)
    })
}

/// How agents may read a path: with and without parameters, with `%2f` as a letter and as a border. Escapes of all that may
/// stand in a path by itself are decoded.
fn readings(path: &[u8]) -> [Vec<u8>; 4] {
    let plain = decoded_if(path, |byte| {
        byte.is_ascii_graphic() && !b"%/\\?#".contains(&byte)
    });
    let mut letters = plain.clone();
    for at in 0..letters.len() {
        if escape(&letters[at..]).is_some() {
            letters[at + 1..at + 3].make_ascii_uppercase();
        }
    }
    let borders = decoded_if(&letters, |byte| byte == b'/');
    [
        without_parameters(&letters),
        letters,
        without_parameters(&borders),
        borders,
    ]
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let name = |segment: &[u8]| {
        segment
            .split(|byte| *byte == b';')
            .next()
            .map(<[u8]>::to_vec)
    };
    let segments: Vec<_> = path.split(|byte| *byte == b'/').filter_map(name).collect();
    segments.join(&b'/')
}

/// The longest prefixes of whole segments; more than one if they read the same.
fn longest(prefixes: &[Vec<u8>], path: &[u8]) -> Vec<usize> {
    let matches = |prefix: &[u8]| {
        prefix == b"/"
            || path
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    let matching = (0..prefixes.len()).filter(|index| matches(&prefixes[*index]));
    let most = matching.clone().map(|index| prefixes[index].len()).max();
    matching
        .filter(|index| Some(prefixes[*index].len()) == most)
        .collect()
}

/// The same path spelled another way: each byte of `spelling` says how one of its characters is written.
fn respelled(path: &[u8], spelling: &[u8]) -> Vec<u8> {
    let mut choices = Input::new(spelling);
    let mut twin = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let (byte, length) = match escape(&path[at..]) {
            Some(byte) => (byte, 3),
            None => (path[at], 1),
        };
        let came = &path[at..at + length];
        let choice = choices.byte();
        let parameters =
            [&b""[..], b";", b";x", b";v=1", b"%3b", b"%3Bx%2f"][usize::from(choice >> 4) % 6];
        let may_be_plain = byte.is_ascii_graphic() && !b"%/\\?#".contains(&byte);
        if at > 0 && came == b"/" {
            twin.extend(parameters);
        }
        match choice & 3 {
            1 if may_be_plain || (byte == b'/' && at > 0) => {
                twin.extend(format!("%{byte:02x}").into_bytes())
            }
            2 if may_be_plain || (byte == b'/' && at > 0) => {
                twin.extend(format!("%{byte:02X}").into_bytes())
            }
            3 if may_be_plain || byte == b'/' => twin.push(byte),
            1 if length == 3 => twin.extend(came.to_ascii_lowercase()),
            2 if length == 3 => twin.extend(came.to_ascii_uppercase()),
            _ => twin.extend(came),
        }
        at += length;
        if at == path.len() {
            twin.extend(parameters);
        }
    }
    twin
}
