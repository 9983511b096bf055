//! Rules choose the agent: by what a request is, by who calls, and by what its body says, which is read while it arrives.

mod attacked;
mod interrupted;
mod pointers;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use waykeeper_demo::stack::AUTH_CLUSTER;

use crate::harness::{Answer, Draft, Puppet, Request, Shape, World, eventually};

/// Goes by the model.
const CHAT: &str = "/ruled/chat";
/// Goes by much more than that.
const MANY: &str = "/ruled/many";
/// Its agents call models by names of their own.
const NAMED: &str = "/ruled/named";

const JSON: (&str, &str) = ("content-type", "application/json");

/// One world is enough for all that leaves nothing behind.
#[tokio::test]
async fn rules_choose() {
    let mut world = World::with(routes).await;
    the_first_rule_that_a_request_meets_chooses_the_agent(&world).await;
    the_body_chooses_the_agent_however_it_comes(&world).await;
    beyond_max_scan_the_rule_says_what_becomes_of_a_request(&world).await;
    each_agent_is_asked_for_the_model_by_the_name_that_it_knows(&world).await;
    a_longer_name_makes_no_body_too_large(&world).await;
    an_agent_with_models_takes_websockets(&world).await;
    a_form_can_name_the_model(&world).await;
    a_path_can_name_the_model(&world).await;
    capabilities_narrow_the_choice(&world).await;
    who_meets_no_rule_or_lacks_its_role_is_refused(&world).await;
    pointers::each_rule_takes_what_it_names(&world).await;
    pointers::no_route_tells_them_apart(&mut world).await;
}

async fn the_first_rule_that_a_request_meets_chooses_the_agent(world: &World) {
    let plain = || keyed(world, MANY, "demo-standard");
    let with = |name: &str, value: &str| plain().header(name, value);
    let at = |query: &str| keyed(world, &format!("{MANY}?{query}"), "demo-standard");
    for (what, request, agent) in [
        ("nothing", plain(), "memory"),
        (
            "a method",
            world.request("PUT", MANY).key("demo-standard"),
            "tools",
        ),
        ("a host", with("host", "api.example.com:8080"), "rag"),
        (
            "a host in capitals",
            with("host", "API.Example.COM."),
            "rag",
        ),
        ("a host below", with("host", "a.b.example.org"), "rag"),
        ("the host above", with("host", "example.org"), "memory"),
        ("a header", with("x-tier", "gold-7"), "chat-gpu"),
        ("another value", with("x-tier", "bronze"), "memory"),
        (
            "two values",
            with("x-tier", "gold-7").header("x-tier", "bronze"),
            "memory",
        ),
        ("a parameter", at("beta=1"), "chat-cpu"),
        ("a parameter in escapes", at("a=b&b%65ta=%31"), "chat-cpu"),
        ("two parameters", at("beta=1&beta=2"), "memory"),
        ("a role", keyed(world, MANY, "demo-admin"), "rag"),
        ("a plan", keyed(world, MANY, "demo-premium"), "chat-gpu"),
    ] {
        let answer = request.send().await;
        assert_eq!(answer.echo().agent, agent, "{what}");
        assert_eq!(
            answer.echo().headers.get("x-waykeeper-agent"),
            Some(agent),
            "{what}"
        );
    }
}

async fn the_body_chooses_the_agent_however_it_comes(world: &World) {
    for (body, agent) in [
        (json!({"model": "gpt-4o", "messages": []}), "chat-gpu"),
        (
            json!({"messages": [{"model": "gpt-4o"}], "model": "small"}),
            "chat-cpu",
        ),
        (json!({"messages": []}), "memory"),
        (json!({"model": null}), "memory"),
        (
            json!({"metadata": {"tier": "gold"}, "model": "other"}),
            "tools",
        ),
        (
            json!({"metadata": {"tier": "lead"}, "model": "other"}),
            "memory",
        ),
        (json!({"n": 2.0}), "tools"),
        (json!({"tools": [{"type": "function"}], "n": 1}), "rag"),
        (
            json!({"messages": [{"content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
            "tools",
        ),
        (json!({"stream": true}), "chat-cpu"),
        (json!({"input": "x".repeat(40_000)}), "chat-gpu"),
    ] {
        let body = Bytes::from(body.to_string());
        for shape in Shape::ALL {
            let request = post(world, CHAT);
            let echo = shape.send(request, body.clone()).await.echo();
            if shape == Shape::HeadersOnly {
                assert_eq!(echo.agent, "memory", "no body");
                continue;
            }
            assert_eq!(
                echo.agent,
                agent,
                "{shape:?} {}",
                &String::from_utf8_lossy(&body)[..40.min(body.len())]
            );
            assert_eq!(echo.body_sha256, sha256(&body), "{shape:?}");
        }
    }
    // A name in escapes is the same name.
    let spelled = r#"{"\u006dodel": "gpt\u002d4o"}"#;
    assert_eq!(
        post(world, CHAT).body(spelled).send().await.echo().agent,
        "chat-gpu"
    );
}

#[tokio::test]
async fn the_agent_hears_of_a_request_once_the_body_has_said_enough() {
    let world = World::with(routes).await;
    let agent = world.agent("chat-gpu");
    // Once, so that the key is known: else what goes on goes on with the next piece.
    assert_eq!(post(&world, MANY).send().await.status, 200);
    let before = agent.stats().total;
    let mut upload = post(&world, CHAT).upload();
    assert!(upload.write(r#"{"messages": ["a"], "mod"#).await);
    assert!(upload.write(r#"el": "gpt-4o", "user": ""#).await);
    eventually("the request at its agent", || async {
        (agent.stats().total == before + 1).then_some(())
    })
    .await;
    let rest = "x".repeat(300_000);
    assert!(upload.write(format!("{rest}\"}}")).await);
    upload.end();
    let echo = upload.answer().await.echo();
    let whole = format!(r#"{{"messages": ["a"], "model": "gpt-4o", "user": "{rest}"}}"#);
    assert_eq!(echo.body_sha256, sha256(whole.as_bytes()));
}

#[tokio::test]
async fn a_member_that_decides_comes_once() {
    let world = World::with(routes).await;
    let agent = world.agent("chat-gpu");
    // Once, so that the key is known.
    assert_eq!(post(&world, MANY).send().await.status, 200);
    for (again, said) in [
        (r#""model": "small"}"#, "/model twice"),
        (r#""\u006dodel": "small"}"#, "/model twice"),
        (r#""Model": "small"}"#, "some readers take for /model"),
        (r#""messages": []"#, "ends too early"),
        (r#""messages": []} {"model": "small"}"#, "malformed"),
    ] {
        for http2 in [false, true] {
            let before = agent.stats();
            let request = post(&world, CHAT);
            let request = if http2 { request.http2() } else { request };
            let mut upload = request.upload();
            assert!(upload.write(r#"{"model": "gpt-4o", "#).await);
            eventually("the request at its agent", || async {
                (agent.stats().total == before.total + 1).then_some(())
            })
            .await;
            upload.write(again).await;
            upload.end();
            let refused = upload.answer().await;
            assert_eq!(refused.refused(), (400, "bad_body".to_owned()), "{again}");
            assert!(refused.text().contains(said), "{again}: {}", refused.text());
            // The agent never had the end of it.
            eventually("its end at the agent", || async {
                (agent.stats().aborted == before.aborted + 1).then_some(())
            })
            .await;
            assert_eq!(agent.stats().complete, before.complete, "{again}");
        }
    }
    // In one piece nothing of it goes on.
    let before = agent.stats().total;
    let twice = r#"{"model": "gpt-4o", "model": "small"}"#;
    for shape in Shape::ALL
        .into_iter()
        .filter(|it| *it != Shape::HeadersOnly)
    {
        let refused = shape.send(post(&world, CHAT), twice.into()).await;
        let one_piece = matches!(shape, Shape::WithLength);
        assert_eq!(refused.refused(), (400, "bad_body".to_owned()), "{shape:?}");
        assert!(!one_piece || agent.stats().total == before);
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_where_it_is_asked_and_nowhere_else() {
    let world = World::with(routes).await;
    let gold = |request: Request| request.header("x-tier", "gold");
    for (what, headers, body) in [
        ("no JSON", vec![JSON], "model=gpt-4o"),
        ("a list", vec![JSON], "[\"gpt-4o\"]"),
        ("UTF-16", vec![JSON], "{\0\"\0"),
        (
            "a form",
            vec![("content-type", "application/x-www-form-urlencoded")],
            "model=gpt-4o",
        ),
        (
            "compressed",
            vec![JSON, ("content-encoding", "gzip")],
            "{\"model\": \"gpt-4o\"}",
        ),
        ("a model that is no text", vec![JSON], "{\"model\": 4}"),
    ] {
        let request = || {
            let request = keyed(&world, CHAT, "demo-premium").body(body);
            headers.iter().fold(request, |request, (name, value)| {
                request.header(name, value)
            })
        };
        let refused = request().send().await;
        assert_eq!(refused.refused(), (400, "bad_body".to_owned()), "{what}");
        // The rule before asks no body.
        assert_eq!(gold(request()).send().await.echo().agent, "rag", "{what}");
    }
    assert_eq!(world.agent("chat-gpu").stats().total, 0);
}

async fn beyond_max_scan_the_rule_says_what_becomes_of_a_request(world: &World) {
    let padded = |model: &str| {
        let padding = "x".repeat(70_000);
        format!(r#"{{"padding": "{padding}", "model": "{model}"}}"#)
    };
    for (path, expected) in [
        ("/ruled/refuse", None),
        ("/ruled/skip", Some("memory")),
        ("/ruled/take", Some("chat-gpu")),
    ] {
        for shape in [Shape::WithLength, Shape::Chunked, Shape::Http2] {
            let body = Bytes::from(padded("small"));
            let answer = shape.send(post(world, path), body.clone()).await;
            match expected {
                None => assert_eq!(answer.refused(), (400, "bad_body".to_owned()), "{path}"),
                Some(agent) => {
                    let echo = answer.echo();
                    assert_eq!(echo.agent, agent, "{path}");
                    assert_eq!(echo.body_sha256, sha256(&body), "{path}");
                }
            }
        }
    }
}

async fn each_agent_is_asked_for_the_model_by_the_name_that_it_knows(world: &World) {
    for (asked, agent, sent) in [
        ("gpt-4o", "chat-gpu", "our-deployment/\"4o\""),
        ("smart", "chat-gpu", "our-deployment/\"4o\""),
        ("llama-3-70b", "chat-cpu", "llama-3-70b"),
        ("fast", "chat-cpu", "llama-3-8b"),
    ] {
        for shape in Shape::ALL
            .into_iter()
            .filter(|it| *it != Shape::HeadersOnly)
        {
            for padding in [0, 5_000, 50_000] {
                let body = |model: &str| {
                    let before = "x".repeat(padding);
                    let model = json!(model);
                    format!(r#"{{"before": "{before}", "model": {model}, "messages": [1, 2, 3]}}"#)
                };
                let request = post(world, NAMED);
                let answer = shape.send(request, body(asked).into()).await;
                let echo = answer.echo();
                assert_eq!(echo.agent, agent, "{asked} {shape:?} {padding}");
                let expected = body(sent);
                assert_eq!(
                    echo.body_bytes,
                    expected.len() as u64,
                    "{asked} {shape:?} {padding}"
                );
                assert_eq!(
                    echo.body_sha256,
                    sha256(expected.as_bytes()),
                    "{asked} {shape:?} {padding}"
                );
                if shape == Shape::WithLength {
                    let length = expected.len().to_string();
                    assert_eq!(
                        echo.headers.get("content-length"),
                        Some(&*length),
                        "{asked}"
                    );
                }
            }
        }
    }
    let other = json!({"model": "claude"}).to_string();
    let refused = post(world, NAMED).body(other).send().await;
    assert_eq!(refused.refused(), (404, "model_not_found".to_owned()));
    // Who names an agent gets no other, nor another model.
    let named = post(world, NAMED).header("x-agent", "chat-cpu");
    let refused = named
        .body(json!({"model": "gpt-4o"}).to_string())
        .send()
        .await;
    assert_eq!(refused.refused(), (400, "unknown_agent".to_owned()));
    // No model at all is the agents' business.
    let none = post(world, NAMED).body("{}").send().await;
    assert_eq!(none.status, 200, "{}", none.text());
}

/// A route's `max_body` is of what callers send.
async fn a_longer_name_makes_no_body_too_large(world: &World) {
    let body = |size: usize| {
        let body = r#"{"model": "smart", "user": ""}"#;
        let user = "x".repeat(size - body.len());
        body.replace("\"\"", &format!("\"{user}\""))
    };
    for shape in Shape::ALL
        .into_iter()
        .filter(|it| *it != Shape::HeadersOnly)
    {
        let fits = shape
            .send(post(world, "/ruled/tight"), body(60).into())
            .await;
        let sent = body(60).replace("smart", r#"our-deployment/\"4o\""#);
        assert_eq!(
            fits.echo().body_sha256,
            sha256(sent.as_bytes()),
            "{shape:?}"
        );
        let large = shape
            .send(post(world, "/ruled/tight"), body(61).into())
            .await;
        assert_eq!(
            large.refused(),
            (413, "body_too_large".to_owned()),
            "{shape:?}"
        );
    }
}

/// There is no body to name one in, and none is waited for.
async fn an_agent_with_models_takes_websockets(world: &World) {
    let handshake = world.get("/ruled/ws").key("demo-premium");
    let handshake = handshake
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(handshake.begin().await.status, 101);
}

/// As speech is sent to be written down.
async fn a_form_can_name_the_model(world: &World) {
    let sound = "\r\n--x\0".repeat(3_000);
    let form = |model: &str| {
        let field = |name: &str, more: &str, value: &str| {
            format!(
                "--frontier\r\ncontent-disposition: form-data; name=\"{name}\"{more}\r\n\r\n{value}\r\n"
            )
        };
        let file = "; filename=\"a.mp3\"\r\ncontent-type: audio/mpeg";
        let parts = [
            field("file", file, &sound),
            field("model", "", model),
            field("language", "", "en"),
        ];
        format!("{}--frontier--\r\n", parts.concat())
    };
    let send = |shape: Shape, model: &str| {
        let request = keyed(world, NAMED, "demo-premium");
        let request = request.header("content-type", "multipart/form-data; boundary=frontier");
        shape.send(request, form(model).into())
    };
    for shape in Shape::ALL
        .into_iter()
        .filter(|it| *it != Shape::HeadersOnly)
    {
        for (asked, agent, sent) in [
            ("smart", "chat-gpu", "our-deployment/\"4o\""),
            ("llama-3-70b", "chat-cpu", "llama-3-70b"),
        ] {
            let echo = send(shape, asked).await.echo();
            assert_eq!(echo.agent, agent, "{asked} {shape:?}");
            assert_eq!(
                echo.body_sha256,
                sha256(form(sent).as_bytes()),
                "{asked} {shape:?}"
            );
        }
    }
    let refused = send(Shape::WithLength, "claude").await;
    assert_eq!(refused.refused(), (404, "model_not_found".to_owned()));
}

async fn a_path_can_name_the_model(world: &World) {
    for (path, agent, sent) in [
        (
            "/openai/deployments/gpt-4o/embedded",
            "chat-gpu",
            "/openai/deployments/our-deployment%2F%224o%22/embedded",
        ),
        (
            "/v1beta/models/fast:generateContent",
            "chat-cpu",
            "/v1beta/models/llama-3-8b:generateContent",
        ),
        (
            "/model/llama-3-70b/converse",
            "chat-cpu",
            "/model/llama-3-70b/converse",
        ),
    ] {
        let path = format!("{NAMED}{path}");
        // The body need not name it.
        let request = keyed(world, &path, "demo-premium").body("{\"a\": 1}");
        let echo = request.send().await.echo();
        assert_eq!(
            (echo.agent.as_str(), echo.path),
            (agent, format!("{NAMED}{sent}"))
        );
        assert_eq!(echo.body_bytes, 8);
    }
}

async fn capabilities_narrow_the_choice(world: &World) {
    let asks = |wanted: &[&str]| {
        let request = world.get("/ruled/able").key("demo-premium");
        wanted.iter().fold(request, |request, it| {
            request.header("x-agent-capability", it)
        })
    };
    for (wanted, agent) in [
        (&["vision"][..], "chat-gpu"),
        (&["tools"], "chat-cpu"),
        (&["vision, speech"], "chat-gpu"),
        (&["vision", "speech"], "chat-gpu"),
    ] {
        for _ in 0..5 {
            assert_eq!(asks(wanted).send().await.echo().agent, agent, "{wanted:?}");
        }
    }
    for wanted in [&["vision, tools"][..], &["x"], &["vision", "tools"]] {
        let refused = asks(wanted).send().await;
        assert_eq!(refused.refused(), (400, "unknown_capability".to_owned()));
    }
}

async fn who_meets_no_rule_or_lacks_its_role_is_refused(world: &World) {
    let asks = |key: &str, model: &str| {
        let request = keyed(world, "/ruled/strict", key).header(JSON.0, JSON.1);
        request.body(json!({"model": model}).to_string())
    };
    assert_eq!(
        asks("demo-admin", "gpt-4o").send().await.echo().agent,
        "chat-gpu"
    );
    let refused = asks("demo-premium", "gpt-4o").send().await;
    assert_eq!(refused.refused(), (403, "forbidden".to_owned()));
    let refused = asks("demo-admin", "other").send().await;
    assert_eq!(refused.refused(), (404, "model_not_found".to_owned()));
    let refused = keyed(world, "/ruled/strict", "demo-admin").send().await;
    assert_eq!(refused.refused(), (404, "no_rule".to_owned()));
    // It was counted: an attempt is one.
    let line = world.access_log(&refused).await;
    assert_eq!(line["details"], "waykeeper_no_rule", "{line}");
}

/// Whatever comes in which order, nobody gets by without a key, and nobody by his limits.
#[tokio::test]
async fn no_timing_of_the_body_gets_by_a_key_or_a_limit() {
    let validator = Puppet::listen().await;
    let world = World::with(|draft| {
        routes(draft);
        draft.connect(AUTH_CLUSTER, &[validator.address()]);
        let undecided = draft.setup.bootstrap.route_mut("not-decided");
        undecided.expect("the route")["route"]["idle_timeout"] = json!("30s");
        let configuration = draft.configuration();
        configuration["clients"]["validator"]["timeout"] = json!("20s");
        configuration["plans"]["one"] = json!({"requests": "1/day"});
    })
    .await;
    let body = Bytes::from(json!({"model": "smart", "user": "x".repeat(9_000)}).to_string());
    let sent = Bytes::from(
        json!({"model": "our-deployment/\"4o\"", "user": "x".repeat(9_000)}).to_string(),
    );
    let agent = world.agent("chat-gpu");
    for shape in Shape::ALL
        .into_iter()
        .filter(|it| *it != Shape::HeadersOnly)
    {
        for valid in [false, true] {
            let what = format!("{shape:?}-{valid}");
            let before = (agent.stats().total, received(&world).await);
            let request = || keyed(&world, NAMED, &what).header(JSON.0, JSON.1);
            let sending = tokio::spawn(send(shape, request(), body.clone()));
            let mut question = validator.accept().await;
            question.read_until("}").await;
            eventually("the body", || async {
                (received(&world).await >= before.1 + body.len() as u64).then_some(())
            })
            .await;
            assert_eq!(agent.stats().total, before.0, "{what}");
            question.write(&verdict(valid, &what)).await;
            let answer = sending.await.expect("the sender");
            if !valid {
                assert_eq!(answer.refused(), (401, "invalid_key".to_owned()), "{what}");
                assert_eq!(agent.stats().total, before.0, "{what}");
                continue;
            }
            let echo = answer.echo();
            assert_eq!(
                (echo.agent.as_str(), echo.body_sha256),
                ("chat-gpu", sha256(&sent)),
                "{what}"
            );
            // One a day.
            let refused = shape.send(request(), body.clone()).await;
            assert_eq!(
                refused.refused(),
                (429, "rate_limited".to_owned()),
                "{what}"
            );
            assert_eq!(agent.stats().total, before.0 + 1, "{what}");
        }
    }
}

async fn send(shape: Shape, request: Request, body: Bytes) -> Answer {
    shape.send(request, body).await
}

fn verdict(valid: bool, client: &str) -> String {
    if !valid {
        return "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            .to_owned();
    }
    let answer = json!({"client_id": client, "plan": "one"}).to_string();
    let length = answer.len();
    format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}"
    )
}

fn routes(draft: &mut Draft) {
    let configuration = draft.configuration();
    // No limit but those that a test writes.
    configuration["limits"] = json!([]);
    for plan in ["standard", "premium"] {
        configuration["plans"][plan] = json!({});
    }
    configuration["model_aliases"] = json!({"smart": "gpt-4o", "fast": "llama-3-8b"});
    // The same services under other names, by which they say what they serve.
    for (name, like, says) in [
        (
            "named-gpu",
            "chat-gpu",
            json!({"models": [{"model": "gpt-4o", "as": "our-deployment/\"4o\""}]}),
        ),
        ("named-cpu", "chat-cpu", json!({"models": ["llama-*"]})),
        (
            "able-gpu",
            "chat-gpu",
            json!({"capabilities": ["vision", "speech"]}),
        ),
        ("able-cpu", "chat-cpu", json!({"capabilities": ["tools"]})),
    ] {
        let mut agent = says;
        agent["cluster"] = configuration["agents"][like]["cluster"].clone();
        configuration["agents"][name] = agent;
    }
    let rule = |conditions: Value, agent: &str| json!({"match": conditions, "agents": [agent]});
    let gpt = |otherwise: &str| {
        let rule =
            json!({"match": {"model": "gpt-4*"}, "agents": ["chat-gpu"], "otherwise": otherwise});
        json!([rule])
    };
    draft.routes().extend([
        json!({"prefix": MANY, "agents": ["memory"], "rules": [
            rule(json!({"method": "PUT"}), "tools"),
            rule(json!({"host": ["api.example.com", "*.example.org"]}), "rag"),
            rule(json!({"header": {"X-Tier": "gold*"}}), "chat-gpu"),
            rule(json!({"query": {"beta": "1"}}), "chat-cpu"),
            rule(json!({"role": ["admin", "other"]}), "rag"),
            rule(json!({"plan": "premium", "team": "search"}), "chat-gpu"),
        ]}),
        json!({"prefix": CHAT, "agents": ["memory"], "rules": [
            rule(json!({"header": {"x-tier": "gold"}}), "rag"),
            rule(json!({"model": "gpt-4*"}), "chat-gpu"),
            rule(json!({"model": ["small", "*-mini"]}), "chat-cpu"),
            rule(json!({"body": {"/metadata/tier": "gold"}}), "tools"),
            rule(json!({"body": {"/n": [2, 3]}}), "tools"),
            rule(json!({"tools": true}), "rag"),
            rule(json!({"images": true}), "tools"),
            rule(json!({"stream": true}), "chat-cpu"),
            rule(json!({"size": {"from": "32KiB"}}), "chat-gpu"),
        ]}),
        json!({"prefix": NAMED, "agents": ["named-gpu", "named-cpu"]}),
        json!({"prefix": "/ruled/tight", "agents": ["named-gpu"], "max_body": "60B"}),
        json!({"prefix": "/ruled/ws", "agents": ["named-gpu"], "protocol": "websocket", "prefix_rewrite": "/api/v1/chat/ws"}),
        json!({"prefix": "/ruled/able", "agents": ["able-gpu", "able-cpu"]}),
        json!({"prefix": "/ruled/refuse", "agents": ["memory"], "rules": gpt("refuse")}),
        json!({"prefix": "/ruled/skip", "agents": ["memory"], "rules": gpt("skip")}),
        json!({"prefix": "/ruled/take", "agents": ["memory"], "rules": gpt("take")}),
        json!({"prefix": "/ruled/strict", "rules": [
            {"match": {"model": "gpt-4*"}, "agents": ["chat-gpu"], "roles": ["admin"]},
        ]}),
    ]);
    draft.routes().extend(pointers::routes());
}

fn post(world: &World, path: &str) -> Request {
    keyed(world, path, "demo-premium").header(JSON.0, JSON.1)
}

fn keyed(world: &World, path: &str, key: &str) -> Request {
    world.request("POST", path).key(key)
}

fn sha256(body: &[u8]) -> String {
    let hash = Sha256::digest(body);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn received(world: &World) -> u64 {
    let name = "http.gateway.downstream_cx_rx_bytes_total";
    let value = world.gateway().admin().stat(name).await;
    value.expect("the admin interface")
}
