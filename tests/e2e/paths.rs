//! Paths that spell one thing and mean another. What the reference's Envoy settles before the filter is proven with the
//! reference; what the filter settles by itself, with Envoy's normalisation switched off.

use serde_json::json;

use crate::harness::{Draft, Puppet, RawAnswer, World};

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
    get_with(world, "x-api-key: demo-premium\r\n", path).await
}

/// The same with other headers.
async fn get_with(world: &World, headers: &str, path: &str) -> RawAnswer {
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}connection: close\r\n\r\n");
    world.raw(head).await
}

/// An open route of the agent `memory`, and below it such of `tools` that need a role or a key.
fn add_guarded_routes(draft: &mut Draft) {
    draft.routes().extend([
        json!({"prefix": "/x", "agents": ["memory"], "auth_required": false}),
        json!({"prefix": "/x/files:admin", "agents": ["tools"], "roles": ["admin"]}),
        json!({"prefix": "/x/a%40b", "agents": ["tools"]}),
        json!({"prefix": "/x/%c3%a9", "agents": ["tools"]}),
        json!({"prefix": "/x/tools", "agents": ["tools"], "roles": ["admin"]}),
        json!({"prefix": "/x/tools/open", "agents": ["memory"], "auth_required": false}),
        json!({"prefix": "/m", "agents": ["memory"], "auth_required": false, "encoded_slashes": "keep_anywhere"}),
        json!({"prefix": "/m/secret", "agents": ["tools"], "roles": ["admin"]}),
        json!({"prefix": "/n", "agents": ["memory"], "auth_required": false, "encoded_slashes": "keep"}),
        json!({"prefix": "/n/secret", "agents": ["tools"], "roles": ["admin"]}),
        json!({"prefix": "/only", "agents": ["memory"], "methods": ["POST"], "encoded_slashes": "keep"}),
        json!({"prefix": "/re/write", "agents": ["memory"], "auth_required": false, "prefix_rewrite": "/handle"}),
    ]);
}

/// The same routes behind the reference's listener, and behind one that hands every path on as it came.
async fn guarded_worlds() -> [World; 2] {
    [
        World::with(add_guarded_routes).await,
        World::with(|draft| {
            add_guarded_routes(draft);
            let manager = draft.connection_manager();
            manager["normalize_path"] = json!(false);
            manager["merge_slashes"] = json!(false);
        })
        .await,
    ]
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
        "/api/v1/memory/%%32e%%32e/tools/list",
        "/api/v1/memory/%2%65%2%65/tools/list",
        "/api/v1/memory/a%%35cb",
        "/api/v1/memory/a%%32fb",
        "/api/v1/memory/a%",
        "/api/v1/memory/a%4",
        "/api/v1/memory/a%u002fb",
        "/api/v1/memory/..%3b/tools/list",
        "/api/v1/memory/;/notes",
        "/;/api/v1/memory/notes",
        "/api/v1/memory/a;%2f..",
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
        ("/api/v1/tools/..;x/memory/notes", "/api/v1/memory/notes"),
        ("/api/v1/memory/notes%2e", "/api/v1/memory/notes."),
        (
            "/api/v1/memory/\"<>^`{|}",
            "/api/v1/memory/%22%3C%3E%5E%60%7B%7C%7D",
        ),
    ];
    for (sent, arrived) in settled {
        let served = get(&world, sent).await;
        assert_eq!(served.status(), Some(200), "{sent}: {}", served.text());
        assert_eq!(served.echo().path, arrived, "{sent}");
    }
    for malformed in ["%00", "#top", "é"] {
        let refused = get(&world, &format!("/api/v1/memory/notes{malformed}")).await;
        assert_eq!(refused.status(), Some(400), "{malformed}");
        assert_eq!(
            refused.code().as_deref(),
            Some("bad_request"),
            "{malformed}"
        );
    }
    for ambiguous in ["a%5cb", "a%2fb", "a%", ";x/notes"] {
        let refused = get(&world, &format!("/api/v1/memory/{ambiguous}")).await;
        assert_eq!(refused.status(), Some(400), "{ambiguous}");
        assert_eq!(refused.code().as_deref(), Some("bad_path"), "{ambiguous}");
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
async fn no_spelling_passes_the_rules_of_a_longer_route() {
    let spellings = [
        "/x/files:admin",
        "/x/files%3Aadmin",
        "/x/files%3aadmin/y",
        "/x/f%69les%3A%61dmin",
        "/x/files%3aadmin;v=1",
        "/x/a@b",
        "/x/a%40b",
        "/x/%61%40%62/y",
        "/x/%c3%a9",
        "/x/%C3%A9",
        "/x/%c3%A9/y",
        "/x/tools;v=1/y",
        "/x/tools;y",
        "/x/tools%3bv=1/y",
        "/x/tools%3Bv%3d1;w/y",
        "/x;v=1/tools/y",
        "/x/tools;v/open",
        "/x/tools%2fy",
        "/x%2ftools",
        "/m/secret%2fy",
        "/m/secret%2Fy/z",
        "/m/secr%65t%2fy",
        "/m%2fsecret",
        "/m/secret;v%2fy",
        "/m/a%2f..%2fsecret",
        "/n/secret%2fy",
        "/n/secret;v=1",
    ];
    for world in guarded_worlds().await {
        for path in spellings {
            let refused = get_with(&world, "", path).await;
            let status = refused.status();
            assert!(
                matches!(status, Some(400 | 401)),
                "{path}: {}",
                refused.text()
            );
        }
        for agent in ["memory", "tools"] {
            assert_eq!(world.agent(agent).stats().total, 0, "{agent}");
        }
    }
}

#[tokio::test]
async fn whoever_may_use_a_route_finds_it_in_every_spelling_and_the_agent_gets_the_callers() {
    // What was sent, and what arrives: where, and with which path.
    let spellings = [
        ("/x/files%3aadmin/%79", "tools", "/x/files%3aadmin/y"),
        ("/x/files:admin", "tools", "/x/files:admin"),
        ("/x/a@b", "tools", "/x/a@b"),
        ("/x/%C3%A9/y;v=1", "tools", "/x/%C3%A9/y;v=1"),
        ("/x/y;v=1", "memory", "/x/y;v=1"),
        ("/x;v=1/y%3bz", "memory", "/x;v=1/y%3bz"),
        ("/x/tools/y;open", "tools", "/x/tools/y;open"),
        ("/m/org%2fmodel", "memory", "/m/org%2fmodel"),
        (
            "/m/arn:aws:bedrock:x:1:profile%2Fa.b-c/invoke",
            "memory",
            "/m/arn:aws:bedrock:x:1:profile%2Fa.b-c/invoke",
        ),
        ("/n/org%2fmodel;v=1", "memory", "/n/org%2fmodel;v=1"),
        ("/re/write/%3a;v?x=%2f", "memory", "/handle/%3a;v"),
        ("/re;v=1/wr%69te;w=%2C/y;z", "memory", "/handle/y;z"),
        ("/re/write;v", "memory", "/handle"),
    ];
    for world in guarded_worlds().await {
        for (sent, agent, arrived) in spellings {
            let served = get_with(&world, "x-api-key: demo-admin\r\n", sent).await;
            assert_eq!(served.status(), Some(200), "{sent}: {}", served.text());
            let echo = served.echo();
            assert_eq!((echo.agent.as_str(), echo.path.as_str()), (agent, arrived));
        }
        let elsewhere = get(&world, "/n/org%2fmodel/invoke").await;
        assert_eq!(elsewhere.code().as_deref(), Some("bad_path"));
        // Where the path is none, the method does not matter; where a route allows it, it does.
        for (path, code) in [
            ("/only/org%2fmodel", "method_not_allowed"),
            ("/only/a%2fb/c", "bad_path"),
            ("/nowhere/org%2fmodel", "bad_path"),
        ] {
            let refused = get(&world, path).await;
            assert_eq!(refused.code().as_deref(), Some(code), "{path}");
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
async fn an_agent_behind_a_rewritten_prefix_redirects_to_paths_that_callers_know() {
    let agent = Puppet::listen().await;
    let world = World::with(|draft| {
        draft.connect("memory", &[agent.address()]);
        let mut rewritten = draft.route("/api/v1/memory").clone();
        rewritten["prefix_rewrite"] = json!("/handle");
        rewritten["prefix"] = json!("/re/write");
        draft.routes().push(rewritten);
    })
    .await;
    let here = world.address();

    for (path, location, expected) in [
        ("/re/write/a?b", "/handle/a/?c", "/re/write/a/?c"),
        ("/re/write", "http://HERE/handle/", "http://HERE/re/write/"),
        (
            "/re/write",
            "https://elsewhere.example/handle/",
            "https://elsewhere.example/handle/",
        ),
        ("/re/write", "next", "next"),
        // Where nothing is rewritten, nothing comes back.
        ("/api/v1/memory", "/handle/a", "/handle/a"),
    ] {
        let [location, expected] =
            [location, expected].map(|it| it.replace("HERE", &here.to_string()));
        for http2 in [false, true] {
            let request = world.get(path).key("demo-premium");
            let request = if http2 { request.http2() } else { request };
            let asked = tokio::spawn(request.send());
            let mut exchange = agent.accept().await;
            exchange.read_until("\r\n\r\n").await;
            let head = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {location}\r\n");
            exchange
                .write(&format!(
                    "{head}connection: close\r\ncontent-length: 0\r\n\r\n"
                ))
                .await;
            let answer = asked.await.expect("an answer");
            assert_eq!(answer.header("location"), Some(&*expected), "{path}");
        }
    }
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
