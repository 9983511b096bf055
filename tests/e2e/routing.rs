//! Where: the route by path and method, the agent by name or weight, and how Envoy's router is told. (What a path may
//! look like is shown in `paths`.)

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Answer, Request, World};

const NOTES: &str = "/api/v1/memory/notes";

#[tokio::test]
async fn routes_of_one_prefix_share_its_methods() {
    let world = with_routes(json!([
        {"prefix": "/items", "methods": ["GET"], "agents": ["memory"], "name": "read"},
        {"prefix": "/items", "methods": ["POST", "DELETE"], "agents": ["rag"], "name": "write"},
        {"prefix": "/items/all", "methods": ["DELETE"], "agents": ["tools"]},
    ]))
    .await;
    let ask = |method: &str, path: &str| world.request(method, path).key("demo-premium").send();

    for (method, agent, route) in [
        ("GET", "memory", "read"),
        ("POST", "rag", "write"),
        ("DELETE", "rag", "write"),
    ] {
        let echo = ask(method, "/items/1").await.echo();
        assert_eq!((echo.agent.as_str(), echo.method.as_str()), (agent, method));
        assert_eq!(echo.headers.get("x-waykeeper-route"), Some(route));
    }
    // GET implies HEAD.
    let head = ask("HEAD", "/items/1").await;
    assert_eq!((head.status, agent_of(&head)), (200, "memory"));

    for (method, path, allowed) in [
        ("PUT", "/items/1", "GET HEAD POST DELETE"),
        ("OPTIONS", "/items/1", "GET HEAD POST DELETE"),
        ("PURGE", "/items/1", "GET HEAD POST DELETE"),
        // The longest prefix decides even if a shorter one would take the method.
        ("GET", "/items/all", "DELETE"),
    ] {
        let refused = ask(method, path).await;
        assert_eq!(
            refused.refused(),
            (405, "method_not_allowed".to_owned()),
            "{method} {path}"
        );
        let told: BTreeSet<&str> = refused
            .header("allow")
            .expect("Allow")
            .split(", ")
            .collect();
        assert_eq!(told, allowed.split(' ').collect(), "{method} {path}");
    }
}

#[tokio::test]
async fn the_longest_prefix_wins_wherever_it_stands() {
    let routes = json!([
        {"prefix": "/", "agents": ["memory"], "name": "root"},
        {"prefix": "/a/b/c", "agents": ["memory"], "name": "abc"},
        {"prefix": "/a", "agents": ["memory"], "name": "a"},
        {"prefix": "/a/b", "agents": ["memory"], "name": "ab"},
        {"prefix": "/a-b", "agents": ["memory"], "name": "a-b"},
    ]);
    let reversed: Vec<Value> = routes
        .as_array()
        .expect("a list")
        .iter()
        .rev()
        .cloned()
        .collect();

    for routes in [routes, json!(reversed)] {
        let world = with_routes(routes).await;
        for (path, route) in [
            ("/", "root"),
            ("/x", "root"),
            ("/ab", "root"),
            ("/a", "a"),
            ("/a/", "a"),
            ("/a?b", "a"),
            ("/a/bc", "a"),
            ("/a/b", "ab"),
            ("/a/b/", "ab"),
            ("/a/b/cd", "ab"),
            ("/a/b/c", "abc"),
            ("/a/b/c/d/e", "abc"),
            ("/a-b/c", "a-b"),
        ] {
            let served = world.get(path).key("demo-premium").send().await;
            assert_eq!(
                served.echo().headers.get("x-waykeeper-route"),
                Some(route),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn options_is_a_method_like_any_other_unless_it_is_a_preflight() {
    let world = with_routes(json!([
        {"prefix": "/any", "agents": ["memory"]},
        {"prefix": "/none", "agents": ["memory"], "methods": ["GET"]},
        {"prefix": "/listed", "agents": ["memory"], "methods": ["GET", "OPTIONS"]},
    ]))
    .await;
    let options = |path: &str| world.request("OPTIONS", path).key("demo-premium");

    for path in ["/any", "/listed"] {
        assert_eq!(options(path).send().await.echo().method, "OPTIONS");
        // An origin alone makes no preflight.
        let from_a_page = options(path).header("origin", "http://localhost:3000");
        assert_eq!(from_a_page.send().await.echo().method, "OPTIONS");
        let no_key = world.request("OPTIONS", path).send().await;
        assert_eq!(no_key.refused(), (401, "missing_key".to_owned()));
    }
    let refused = options("/none").send().await;
    assert_eq!(refused.refused(), (405, "method_not_allowed".to_owned()));
    let preflight = world
        .request("OPTIONS", "/none")
        .header("origin", "http://localhost:3000")
        .header("access-control-request-method", "GET")
        .send()
        .await;
    assert_eq!(preflight.status, 200);
    assert_eq!(world.agent("memory").stats().total, 4);
}

#[tokio::test]
async fn a_client_may_name_its_agent_among_the_routes_own() {
    let world = with_routes(json!([{
        "prefix": "/ask",
        "agents": ["chat-cpu", {"agent": "memory", "weight": 0}, {"agent": "rag", "weight": 5}],
    }]))
    .await;
    let ask = |names: &[&str]| {
        let request = world.get("/ask/something").key("demo-premium");
        names
            .iter()
            .fold(request, |request, name| request.header("x-agent", name))
            .send()
    };

    for name in ["chat-cpu", "memory", "rag"] {
        let echo = ask(&[name]).await.echo();
        assert_eq!(echo.agent, name);
        assert_eq!(echo.headers.get("x-waykeeper-agent"), Some(name));
        assert_eq!(ask(&[name, name]).await.echo().agent, name);
    }
    for names in [
        // Not of this route, of none at all, in another spelling, nobody, two at once.
        &["tools"][..],
        &["nobody"],
        &["MEMORY"],
        &[""],
        &["memory", "rag"],
        &["memory,rag"],
        &["memory", ""],
    ] {
        let refused = ask(names).await;
        assert_eq!(
            refused.refused(),
            (400, "unknown_agent".to_owned()),
            "{names:?}"
        );
        assert_eq!(refused.json()["error"]["param"], "x-agent");
    }
    for _ in 0..20 {
        assert_ne!(ask(&[]).await.echo().agent, "memory", "weight 0");
    }
}

#[tokio::test]
async fn a_route_whose_agents_all_have_weight_0_is_reached_by_name_only() {
    let world = with_routes(json!([
        {"prefix": "/named", "agents": [{"agent": "memory", "weight": 0}]},
    ]))
    .await;
    let unnamed = world.get("/named").key("demo-premium").send().await;
    assert_eq!(unnamed.refused(), (503, "no_agent".to_owned()));
    assert_eq!(unnamed.header("retry-after"), Some("1"));
    let named = world
        .get("/named")
        .key("demo-premium")
        .header("x-agent", "memory");
    assert_eq!(named.send().await.echo().agent, "memory");
}

#[tokio::test]
async fn agents_share_a_routes_requests_by_weight() {
    let world = World::with(|draft| {
        draft.workers(2);
        draft.configuration()["limits"] = json!([]);
        draft.configuration()["plans"] = json!({"standard": {}, "premium": {}});
        *draft.routes() = vec![
            json!({"prefix": "/agents", "agents": ["chat-gpu", "chat-cpu", "idle"]}),
            json!({"prefix": "/own", "agents": [{"agent": "chat-gpu", "weight": 1}, {"agent": "chat-cpu", "weight": 3}]}),
        ];
        draft.configuration()["agents"]["idle"] = json!({"cluster": "rag", "weight": 0});
    })
    .await;

    // The reference says 70 and 30; five standard deviations on either side.
    let shares = shares(world.get("/agents").key("demo-premium"), 1000).await;
    assert!((628..=772).contains(&shares["chat-gpu"]), "{shares:?}");
    assert_eq!(shares["chat-gpu"] + shares["chat-cpu"], 1000);

    // The route's own words count more.
    let shares = self::shares(world.get("/own").key("demo-premium"), 400).await;
    assert!((57..=143).contains(&shares["chat-gpu"]), "{shares:?}");
    assert_eq!(shares["chat-gpu"] + shares["chat-cpu"], 400);
}

#[tokio::test]
async fn each_kind_of_stream_takes_its_own_route_of_envoys() {
    let world = World::with(|draft| {
        *draft.routes() = vec![
            json!({"prefix": "/plain", "agents": ["memory"]}),
            json!({"prefix": "/events", "agents": ["memory"], "protocol": "sse"}),
            json!({"prefix": "/socket", "agents": ["memory"], "protocol": "websocket"}),
        ];
        for kind in ["http", "sse", "websocket"] {
            let route = draft.setup.bootstrap.route_mut(kind).expect("the route");
            route["request_headers_to_add"] =
                json!([{"header": {"key": "x-route-of-envoys", "value": kind}}]);
        }
    })
    .await;

    let get = |path| world.get(path).key("demo-premium");
    let upgrade = get("/socket").header("connection", "upgrade");
    for (request, kind) in [
        (get("/plain"), "http"),
        (get("/events"), "sse"),
        (upgrade.header("upgrade", "websocket"), "websocket"),
    ] {
        request.send().await;
        let stats = world.agent("memory").stats();
        let seen = stats.last.back().expect("a request");
        assert_eq!(seen.headers.all("x-route-of-envoys"), [kind]);
        // These two are between the filter and Envoy.
        assert_eq!(seen.headers.get("x-waykeeper-kind"), None);
        assert_eq!(seen.headers.get("x-waykeeper-cluster"), None);
    }
}

#[tokio::test]
async fn an_agent_whose_cluster_envoy_does_not_know_is_503() {
    let world = World::with(|draft| {
        draft.configuration()["agents"]["memory"]["cluster"] = json!("nowhere");
    })
    .await;

    let refused = world.get(NOTES).key("demo-premium").send().await;

    assert_eq!(refused.refused(), (503, "agent_unreachable".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let line = world.access_log(&refused).await;
    assert_eq!(line["flags"], "NC");
    assert_eq!(line["details"], "cluster_not_found");
    assert_eq!(line["agent"], "memory");
}

#[tokio::test]
async fn two_hundred_routes_are_as_good_as_one() {
    let agents = ["memory", "rag", "tools"];
    let routes: Vec<Value> = (0..200)
        .map(|number| {
            json!({
                "prefix": format!("/tenants/{number}/api"),
                "agents": [agents[number % 3]],
                "timeout": format!("{}ms", 10_000 + number),
                "rate_limit": {"requests": "5/hour"},
            })
        })
        .collect();
    let world = with_routes(json!(routes)).await;

    for number in 0..200 {
        let path = format!("/tenants/{number}/api/deep/down");
        let served = world.get(&path).key("demo-premium").send().await;
        let echo = served.echo();
        assert_eq!(echo.agent, agents[number % 3], "{path}");
        let route = format!("/tenants/{number}/api");
        assert_eq!(echo.headers.get("x-waykeeper-route"), Some(route.as_str()));
        let remaining = served.header("x-ratelimit-remaining-requests");
        assert_eq!(remaining, Some("4"), "{path}");
    }
    let refused = world.get("/tenants/200/api").key("demo-premium").send();
    assert_eq!(refused.await.refused(), (404, "no_route".to_owned()));
}

/// The reference with other routes, and plans that do not get in the way.
async fn with_routes(routes: Value) -> World {
    World::with(|draft| {
        draft.configuration()["plans"] = json!({"standard": {}, "premium": {}});
        draft.configuration()["routes"] = routes;
    })
    .await
}

/// The agent that gave an answer.
fn agent_of(answer: &Answer) -> &str {
    answer.header("x-demo-agent").expect("an agent's answer")
}

/// Sends a request again and again, some at a time, and counts the agents that answer.
async fn shares(request: Request, count: usize) -> HashMap<String, usize> {
    let mut callers = JoinSet::new();
    for _ in 0..10 {
        let request = request.clone();
        callers.spawn(async move {
            let mut agents = Vec::new();
            for _ in 0..count / 10 {
                let answer = request.clone().send().await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                agents.push(agent_of(&answer).to_owned());
            }
            agents
        });
    }
    let mut shares = HashMap::new();
    for agent in callers.join_all().await.into_iter().flatten() {
        *shares.entry(agent).or_default() += 1;
    }
    shares
}
