use proptest::prelude::*;

use super::*;
use crate::config::policy::{AgentId, Choice, EncodedSlashes, Protocol};

fn route(prefix: &str, methods: Option<&[&str]>) -> Route {
    Route {
        name: prefix.to_owned(),
        distinct_name: prefix.to_owned(),
        prefix: prefix.to_owned(),
        methods: methods.map(|methods| methods.iter().map(|&method| method.to_owned()).collect()),
        agents: vec![Choice {
            agent: AgentId(0),
            weight: 1,
        }],
        roles: Vec::new(),
        auth_required: true,
        protocol: Protocol::Http,
        timeout: None,
        first_byte_timeout: None,
        idle_timeout: None,
        retry: None,
        prefix_rewrite: None,
        max_body: None,
        encoded_slashes: EncodedSlashes::Refuse,
        limits: Vec::new(),
    }
}

fn find(routes: &[Route], method: &str, path: &str) -> Result<usize, NoMatch> {
    RouteTable::new(routes)
        .find(path.as_bytes(), method.as_bytes())
        .map(|id| id.0)
}

#[test]
fn the_longest_prefix_wins_whatever_the_order() {
    let routes = [
        route("/api", None),
        route("/api/v1/chat", None),
        route("/api/v1", None),
    ];
    assert_eq!(find(&routes, "GET", "/api/v1/chat/x"), Ok(1));
    assert_eq!(find(&routes, "GET", "/api/v1/chats"), Ok(2));
    assert_eq!(find(&routes, "GET", "/api/v2"), Ok(0));
}

#[test]
fn a_prefix_matches_whole_segments_only() {
    let routes = [route("/api", None)];
    assert_eq!(find(&routes, "GET", "/api"), Ok(0));
    assert_eq!(find(&routes, "GET", "/api/"), Ok(0));
    assert_eq!(find(&routes, "GET", "/apis"), Err(NoMatch::Path));
    assert_eq!(find(&routes, "GET", "/"), Err(NoMatch::Path));
    assert_eq!(find(&routes, "GET", "/API"), Err(NoMatch::Path));
}

#[test]
fn the_root_takes_what_nothing_else_takes() {
    let routes = [route("/", None), route("/a", None)];
    assert_eq!(find(&routes, "GET", "/"), Ok(0));
    assert_eq!(find(&routes, "GET", "/b/c"), Ok(0));
    assert_eq!(find(&routes, "GET", "/a/c"), Ok(1));
}

#[test]
fn routes_of_one_prefix_part_by_method() {
    let routes = [
        route("/a", Some(&["GET", "HEAD"])),
        route("/a", Some(&["POST"])),
        route("/", None),
    ];
    assert_eq!(find(&routes, "HEAD", "/a"), Ok(0));
    assert_eq!(find(&routes, "POST", "/a"), Ok(1));
    let allowed = ["GET", "HEAD", "POST"].map(str::to_owned).to_vec();
    assert_eq!(find(&routes, "PUT", "/a/b"), Err(NoMatch::Method(allowed)));
}

/// What the table must find, written as simply as can be.
fn plainly(routes: &[Route], path: &str) -> Option<usize> {
    let matches = |prefix: &str| {
        prefix == "/"
            || path
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    (0..routes.len())
        .filter(|index| matches(&routes[*index].prefix))
        .max_by_key(|index| routes[*index].prefix.len())
}

proptest! {
    #[test]
    fn the_tree_finds_what_a_plain_search_finds(
        prefixes in prop::collection::btree_set("(/[ab]{1,2}){0,4}", 1..30),
        path in "(/[ab]{0,2}){1,6}",
    ) {
        let routes: Vec<_> = prefixes
            .iter()
            .map(|prefix| route(if prefix.is_empty() { "/" } else { prefix }, None))
            .collect();
        prop_assert_eq!(find(&routes, "GET", &path).ok(), plainly(&routes, &path));
    }

    #[test]
    fn any_path_is_survived(path in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = RouteTable::new(&[route("/a/b", None)]).find(&path, b"GET");
        if let Ok(path) = crate::routing::Path::read(&path) {
            let _ = path.rewritten(3, Some("/x"));
        }
    }
}
