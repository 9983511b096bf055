//! Paths that spell one thing and mean another. What the reference's Envoy settles before the filter is proven with the
//! reference; what the filter settles by itself, with Envoy's normalisation switched off.

use serde_json::json;

use crate::harness::{RawAnswer, World};

/// Envoy hands every path on as it came.
async fn unnormalised() -> World {
    World::with(|draft| {
        let manager = draft.connection_manager();
        manager["normalize_path"] = json!(false);
        manager["merge_slashes"] = json!(false);
    })
    .await
}

/// GET with a path that no client library would send. The key may use the memory, and not the tools.
async fn get(world: &World, path: &str) -> RawAnswer {
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nx-api-key: demo-premium\r\nconnection: close\r\n\r\n"
    );
    world.raw(head).await
}

#[tokio::test]
async fn the_filter_alone_refuses_every_path_that_can_be_read_in_two_ways() {
    let world = unnormalised().await;
    let tricks = [
        "/api/v1/memory//notes",
        "//api/v1/memory/notes",
        "/api/v1//memory/notes",
        "/api/v1/memory/./notes",
        "/api/v1/memory/.",
        "/api/v1/memory/..",
        "/api/v1/memory/../tools/list",
        "/api/v1/memory/notes/../../tools/list",
        "/api/v1/memory\\notes",
        "/api/v1/memory\\..\\tools\\list",
        "/api/v1/memory/%2e%2e/tools/list",
        "/api/v1/memory/%2E%2e/tools/list",
        "/api/v1/memory/.%2e/tools/list",
        "/api/v1/memory/%2e/notes",
        "/api/v1/memory/..%2ftools/list",
        "/api/v1/memory/..%2Ftools/list",
        "/api/v1/memory%2f..%2ftools/list",
        "/api/v1/memory/a%2fb",
        "/api/v1/memory/a%5cb",
        "/api/v1/memory/..%5Ctools%5clist",
        "/api/v1/memory/notes%00",
        "/api/v1/memory/%00/notes",
        "/api/v1/memory/notes%2e",
    ];
    for path in tricks {
        let refused = get(&world, path).await;
        assert_eq!(refused.status(), Some(400), "{path}: {}", refused.text());
        assert_eq!(refused.code().as_deref(), Some("bad_path"), "{path}");
    }
    for agent in ["memory", "tools"] {
        assert_eq!(world.agent(agent).stats().total, 0, "{agent}");
    }
}

#[tokio::test]
async fn what_can_be_read_in_one_way_only_passes_as_it_came() {
    for world in [World::start().await, unnormalised().await] {
        let paths = [
            "/api/v1/memory",
            "/api/v1/memory/",
            "/api/v1/memory/a.b",
            "/api/v1/memory/...",
            "/api/v1/memory/..a",
            "/api/v1/memory/.well-known",
            "/api/v1/memory/%252f",
            "/api/v1/memory/a%20b",
            "/api/v1/memory/a;b=c",
            "/api/v1/memory/notes?path=/../%2e%2e/%00//",
        ];
        for path in paths {
            let served = get(&world, path).await;
            assert_eq!(served.status(), Some(200), "{path}: {}", served.text());
            let (path, query) = path
                .split_once('?')
                .map_or((path, None), |(a, b)| (a, Some(b)));
            let echo = served.echo();
            assert_eq!(echo.path, path);
            assert_eq!(echo.query.as_deref(), query);
        }
    }
}

#[tokio::test]
async fn the_reference_settles_what_has_one_meaning_and_routes_by_it() {
    let world = World::start().await;
    let settled = [
        ("/api/v1/memory//notes", "/api/v1/memory/notes"),
        ("//api//v1/memory/notes", "/api/v1/memory/notes"),
        ("/api/v1/memory/./notes", "/api/v1/memory/notes"),
        ("/api/v1/memory/a/../notes", "/api/v1/memory/notes"),
        ("/api/v1/memory/a/%2e%2e/notes", "/api/v1/memory/notes"),
        ("/api/v1/tools/../memory/notes", "/api/v1/memory/notes"),
        ("/api/v1/%6demory/notes", "/api/v1/memory/notes"),
        ("/api/v1/memory\\notes", "/api/v1/memory/notes"),
    ];
    for (sent, arrived) in settled {
        let served = get(&world, sent).await;
        assert_eq!(served.status(), Some(200), "{sent}: {}", served.text());
        assert_eq!(served.echo().path, arrived, "{sent}");
    }
}

#[tokio::test]
async fn no_detour_leads_to_a_route_that_the_caller_may_not_use() {
    for world in [World::start().await, unnormalised().await] {
        let detours = [
            "/api/v1/memory/../tools/list",
            "/api/v1/memory/%2e%2e/tools/list",
            "/api/v1/memory/..%2ftools/list",
            "/api/v1/memory/..%5ctools/list",
            "/api/v1/memory/..\\tools/list",
            "/api/v1/memory/..;/tools/list",
            "/api/v1/./tools/list",
            "/api/v1//tools/list",
            "/api/v1/%74ools/list",
            "/api/v1/memory/../../../api/v1/tools/list",
            "/api/v1/memory/%252e%252e/tools/list",
        ];
        for path in detours {
            get(&world, path).await;
            assert_eq!(world.agent("tools").stats().total, 0, "{path}");
        }
    }
}

#[tokio::test]
async fn envoy_refuses_what_it_cannot_normalise() {
    let world = World::start().await;

    for path in [
        "/api/v1/memory/%00",
        "/api/v1/memory/a#b",
        "/api/v1/memory/../../../..",
    ] {
        let refused = get(&world, path).await;
        assert!(
            matches!(refused.status(), Some(400 | 404)),
            "{path}: {}",
            refused.text()
        );
        assert!(refused.code().is_some(), "{path}: {}", refused.text());
    }
}

#[tokio::test]
async fn a_prefix_matches_whole_segments_only() {
    let world = World::start().await;

    for path in [
        "/api/v1/memoryx",
        "/api/v1/memory.bak/notes",
        "/api/v1",
        "/",
        "/api/v1/Memory/notes",
    ] {
        let refused = get(&world, path).await;
        assert_eq!(refused.code().as_deref(), Some("no_route"), "{path}");
    }
}

#[tokio::test]
async fn the_longest_prefix_decides() {
    let world = World::start().await;

    let stream = world
        .post("/api/v1/chat/stream")
        .key("demo-premium")
        .send()
        .await;
    let chat = world.post("/api/v1/chat").key("demo-premium").send().await;

    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(chat.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn an_escaped_slash_may_stand_in_the_last_part_where_the_route_allows_it() {
    for world in [
        World::with(|draft| draft.route("/api/v1/memory")["encoded_slashes"] = json!("keep")).await,
        World::with(|draft| {
            draft.route("/api/v1/memory")["encoded_slashes"] = json!("keep");
            draft.connection_manager()["normalize_path"] = json!(false);
        })
        .await,
    ] {
        let kept = get(&world, "/api/v1/memory/org%2Fmodel").await;
        assert_eq!(kept.echo().path, "/api/v1/memory/org%2Fmodel");
        for path in [
            "/api/v1/memory/..%2ftools",
            "/api/v1/memory/a%2f..%2fb",
            "/api/v1/memory/a%2f%2e%2e",
            "/api/v1/memory/a%2fb/c",
            "/api/v1/memory/a%5cb",
        ] {
            let refused = get(&world, path).await;
            assert_eq!(refused.status(), Some(400), "{path}: {}", refused.text());
        }
    }
}

#[tokio::test]
async fn a_rewritten_prefix_leaves_the_rest_and_the_query() {
    let world = World::with(|draft| {
        draft.route("/api/v1/memory")["prefix_rewrite"] = json!("/handle");
    })
    .await;

    let echo = get(&world, "/api/v1/memory/notes/7?x=%2F&y").await.echo();
    let bare = get(&world, "/api/v1/memory").await.echo();

    assert_eq!(echo.path, "/handle/notes/7");
    assert_eq!(echo.query.as_deref(), Some("x=%2F&y"));
    assert_eq!(bare.path, "/handle");
}

#[tokio::test]
async fn requests_that_are_no_path_are_refused() {
    let world = World::start().await;
    let heads = [
        "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n",
        "GET http://elsewhere/api/v1/tools/list HTTP/1.1\r\nhost: a\r\n",
        "TRACE /api/v1/memory HTTP/1.1\r\nhost: a\r\n",
        "GET api/v1/memory HTTP/1.1\r\nhost: a\r\n",
    ];
    for head in heads {
        let refused = world
            .raw(format!(
                "{head}x-api-key: demo-premium\r\nconnection: close\r\n\r\n"
            ))
            .await;
        let status = refused.status();
        assert!(
            status.is_some_and(|status| (400..500).contains(&status)),
            "{head}: {}",
            refused.text()
        );
    }
}
