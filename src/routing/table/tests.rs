use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::config::policy::{AgentId, Choice, EncodedSlashes, Prefer, Protocol};
use crate::routing::path::tests::tricky;

fn route(prefix: &str, methods: Option<&[&str]>) -> Route {
    Route {
        rules: Vec::new(),
        sticky: None,
        prefer: Prefer::Weighted,
        mcp: None,
        a2a: None,
        mirror: None,
        canary: None,
        max_scan: Route::MAX_SCAN,
        name: prefix.to_owned(),
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
        streams: false,
        first_byte_timeout: None,
        idle_timeout: None,
        retry: None,
        fallback: None,
        prefix_rewrite: None,
        edits: None,
        max_body: None,
        collect_body: false,
        body_timeout: std::time::Duration::from_secs(60),
        encoded_slashes: EncodedSlashes::Refuse,
        limits: Vec::new(),
    }
}

fn find(routes: &[Route], method: &str, path: &str) -> Result<usize, NoMatch> {
    let path = Path::read(path.as_bytes()).expect("a path");
    RouteTable::new(routes)
        .find(&path, method.as_bytes())
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
    let others = vec![RouteId(0), RouteId(1)];
    assert_eq!(find(&routes, "PUT", "/a/b"), Err(NoMatch::Method(others)));
}

#[test]
fn a_longer_route_is_not_passed_by_spelling_its_prefix_another_way() {
    let routes = [
        route("/", None),
        route("/api", None),
        route("/api/files:admin", None),
        route("/api/%7Ball%7D/%c3%A9", None),
    ];
    for path in ["/api/files%3aadmin", "/api/f%69les%3Aadmin/x"] {
        assert_eq!(find(&routes, "GET", path), Ok(2), "{path}");
    }
    for path in ["/api/{all}/%C3%A9", "/api/%7ball}/%c3%a9/x"] {
        assert_eq!(find(&routes, "GET", path), Ok(3), "{path}");
    }
}

#[test]
fn parameters_may_stand_anywhere_but_where_they_would_hide_a_longer_route() {
    let routes = [
        route("/api", None),
        route("/api/tools", None),
        route("/api/tools/all", None),
        route("/deep/er", None),
    ];
    for (path, found) in [
        ("/api/x;v=1", Ok(0)),
        ("/api/tools/x;v=1/y", Ok(1)),
        ("/api/tools/;v", Ok(1)),
        // Nobody reads these as another route.
        ("/api;v=1", Ok(0)),
        ("/api;v=1/x%3by", Ok(0)),
        ("/deep;v=1/er;w", Ok(3)),
        ("/api/tools;v=1", Err(NoMatch::Ambiguous)),
        ("/api/tools%3bv/x", Err(NoMatch::Ambiguous)),
        ("/api/tools/all;v", Err(NoMatch::Ambiguous)),
        ("/api;v/tools", Err(NoMatch::Ambiguous)),
        ("/api;v/tools/all", Err(NoMatch::Ambiguous)),
        ("/deep;v", Err(NoMatch::Path)),
        ("/other;v", Err(NoMatch::Path)),
    ] {
        assert_eq!(find(&routes, "GET", path), found, "{path}");
    }
}

#[test]
fn an_encoded_slash_leads_to_no_route_that_a_plain_one_would_not_leave() {
    let routes = [
        route("/m", None),
        route("/m/secret", None),
        route("/m/a/b/c", None),
        route("/deep/er", None),
    ];
    for (path, found) in [
        ("/m/x%2fy", Ok(0)),
        ("/m/x%2fy/secret", Ok(0)),
        ("/m/secret/x%2fy", Ok(1)),
        ("/m/a%2fb", Ok(0)),
        ("/m/secret%2fx", Err(NoMatch::Ambiguous)),
        ("/m%2fsecret", Err(NoMatch::Ambiguous)),
        ("/m%2fx", Err(NoMatch::Ambiguous)),
        ("/m/a%2fb/c", Err(NoMatch::Ambiguous)),
        ("/m/a%2fb%2fc;v", Err(NoMatch::Ambiguous)),
        ("/deep%2fer", Err(NoMatch::Ambiguous)),
        ("/deep%2fest", Err(NoMatch::Path)),
    ] {
        assert_eq!(find(&routes, "GET", path), found, "{path}");
    }
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

/// All that agents may read in a path, as plain paths: each parameter kept, stripped, or taken with all that follows;
/// each `%2f` a border or a letter, which here is `~`.
fn readings(path: &str) -> BTreeSet<String> {
    let path = text(&canonical(path.as_bytes()));
    let mut readings = BTreeSet::from([String::new()]);
    let mut rest = path.as_str();
    while !rest.is_empty() {
        let (piece, others): (&str, Vec<String>) = if rest.starts_with("%2F") {
            ("%2F", vec!["/".to_owned(), "~".to_owned()])
        } else if rest.starts_with(';') {
            let parameters = &rest[..rest.find('/').unwrap_or(rest.len())];
            let cut = format!("{parameters}\0");
            (parameters, vec![String::new(), parameters.to_owned(), cut])
        } else {
            (&rest[..1], vec![rest[..1].to_owned()])
        };
        readings = readings
            .iter()
            .flat_map(|reading| others.iter().map(move |other| format!("{reading}{other}")))
            .collect();
        rest = &rest[piece.len()..];
    }
    readings
        .iter()
        .map(|reading| match reading.find('\0') {
            Some(end) => {
                let before = &reading[..end];
                before[..before.rfind(';').unwrap_or(end)].to_owned()
            }
            None => reading.clone(),
        })
        .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A plain path, and one of the ways to spell it: what is equivalent is put in the place of its characters.
fn spelled() -> impl Strategy<Value = (String, String)> {
    let segment = prop::sample::select(vec![
        ("a", "a"),
        ("a", "a"),
        ("a", "%61"),
        ("b", "b"),
        ("b", "%62"),
        ("a:", "a:"),
        ("a:", "a%3a"),
        ("a:", "%61%3A"),
    ]);
    let border = prop::sample::select(vec![
        "/", "/", "/", "/", "%2f", "%2F", ";x/", "%3by;z/", ";%2fb/", ";x%2f",
    ]);
    let end = prop::sample::select(vec!["", "", "/", ";x", "%3B", "?x"]);
    let segments = prop::collection::vec((border, segment), 1..6);
    (segments, end).prop_map(|(segments, end)| {
        let mut path = (String::new(), String::new());
        for (at, (border, (plain, spelled))) in segments.into_iter().enumerate() {
            path.0 += &format!("/{plain}");
            path.1 += if at == 0 { "/" } else { border };
            path.1 += spelled;
        }
        path.1 += end;
        path
    })
}

fn table() -> impl Strategy<Value = Vec<Route>> {
    prop::collection::btree_set("(/(a|b|a:)){0,3}", 1..8).prop_map(|prefixes| {
        prefixes
            .iter()
            .map(|prefix| route(if prefix.is_empty() { "/" } else { prefix }, None))
            .collect()
    })
}

proptest! {
    #[test]
    fn the_tree_finds_what_a_plain_search_finds(
        routes in table(),
        path in "(/(a|b|a:|ab)){0,6}/?",
    ) {
        let path = if path.is_empty() { "/" } else { &path };
        prop_assert_eq!(find(&routes, "GET", path).ok(), plainly(&routes, path));
    }

    #[test]
    fn however_a_path_is_spelled_it_meets_one_route_or_is_refused(
        routes in table(),
        (path, spelled) in spelled(),
    ) {
        let Ok(read) = Path::read(spelled.as_bytes()) else { return Ok(()) };
        match RouteTable::new(&routes).find(&read, b"GET") {
            Err(NoMatch::Ambiguous) => {}
            found => prop_assert_eq!(
                found.ok().map(|id| id.0),
                plainly(&routes, &path),
                "{} for {}", spelled, path
            ),
        }
    }

    #[test]
    fn no_reader_of_a_path_comes_to_another_route(
        routes in table(),
        path in prop_oneof![tricky(), spelled().prop_map(|(_, spelled)| spelled)],
    ) {
        let Ok(read) = Path::read(path.as_bytes()) else { return Ok(()) };
        let plain = path.split('?').next().unwrap_or_default();
        let met: BTreeSet<usize> = readings(plain)
            .iter()
            .filter_map(|reading| plainly(&routes, reading))
            .collect();
        match RouteTable::new(&routes).find(&read, b"GET") {
            Err(NoMatch::Ambiguous) => {
                // Refused with reason: two routes are met, or one by those alone who take %2f for a border.
                let letters = plainly(&routes, &text(&canonical(plain.as_bytes())).replace("%2F", "~"));
                prop_assert!(met.len() > 1 || letters.is_none(), "{} {:?}", path, met);
            }
            Ok(found) => prop_assert_eq!(met, BTreeSet::from([found.0]), "{}", path),
            Err(_) => prop_assert_eq!(met, BTreeSet::new(), "{}", path),
        }
    }

    #[test]
    fn a_rewrite_leaves_what_stands_behind_the_prefix_as_it_was_read(
        routes in table(),
        path in prop_oneof![tricky(), spelled().prop_map(|(_, spelled)| spelled)],
    ) {
        let Ok(read) = Path::read(path.as_bytes()) else { return Ok(()) };
        let Ok(found) = RouteTable::new(&routes).find(&read, b"GET") else { return Ok(()) };
        let prefix = &routes[found.0].prefix;
        let rewritten = read.rewritten(prefix, Some("/handle")).expect("a rewrite");
        let again = Path::read(&rewritten).expect("a path");
        let rest = read.parts().skip(segments(prefix.as_bytes()).count());
        let handle = std::iter::once(Part::plain(b"handle"));
        prop_assert!(again.parts().eq(handle.chain(rest)), "{path} became {}", text(&rewritten));
    }

    #[test]
    fn any_path_is_survived(path in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(path) = Path::read(&path) {
            let _ = RouteTable::new(&[route("/a/b", None)]).find(&path, b"GET");
            let _ = path.rewritten("/a/b", Some("/x"));
        }
    }
}
