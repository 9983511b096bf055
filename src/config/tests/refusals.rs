//! What is said of bad documents: where, and what to do.

use serde_json::{Value, json};

use super::super::load;
use super::super::policy::AgentId;
use super::{faults, reference, small, with};

/// The one fault of a small document with one value put in.
fn fault_of(pointer: &str, value: Value) -> String {
    let faults = faults(&with(small(), pointer, value.clone()));
    assert_eq!(faults.len(), 1, "{pointer} = {value}: {faults:#?}");
    faults.into_iter().next().unwrap()
}

fn check(cases: &[(&str, Value, &str)]) {
    for (pointer, value, expected) in cases {
        assert_eq!(
            fault_of(pointer, value.clone()),
            *expected,
            "{pointer} = {value}"
        );
    }
}

#[test]
fn what_cannot_keep_requests_at_one_agent_is_told() {
    check(&[
        (
            "/routes/0/sticky",
            json!({"header": "mcp-session-id"}),
            "routes[0].sticky: a session that an agent names is known to that agent alone, so it cannot say which agent; write a \
             header, cookie or parameter that callers choose, or client: true",
        ),
        (
            "/routes/0/sticky",
            json!({"header": "x-api-key"}),
            "routes[0].sticky: that is where keys stand, and they are taken out; client: true keeps each client's requests together",
        ),
        (
            "/routes/0/sticky",
            json!({"client": true, "query": "s"}),
            "routes[0].sticky: must have exactly one of header, cookie, query, client, body, prompt, response and task",
        ),
        (
            "/routes/0/sticky",
            json!([{"client": true}, {"body": "/user"}]),
            "routes[0].sticky[1]: can never count: client: true stands before it, and there always is one",
        ),
        (
            "/routes/0/sticky",
            json!([{"body": "/user"}, {"query": "s"}, {"body": "/user"}]),
            "routes[0].sticky[2]: this is already in the list",
        ),
        (
            "/routes/0/sticky",
            json!([{"body": "/user"}, {"header": "mcp-session-id"}]),
            "routes[0].sticky[1]: a session that the agent names stands alone, and not in a list",
        ),
        (
            "/routes/0/sticky",
            json!([{"query": "s"}, {"header": "x-api-key"}]),
            "routes[0].sticky: that is where keys stand, and they are taken out; client: true keeps each client's requests together",
        ),
        (
            "/routes/0/sticky",
            json!({"body": "user"}),
            "routes[0].sticky.body: \"user\" is no JSON pointer such as /conversation_id: a JSON pointer begins with /, such as /model",
        ),
        (
            "/routes/0/sticky",
            json!({"prompt": "8B"}),
            "routes[0].sticky.prompt: expected a size from 16B to 64KiB, found \"8B\"",
        ),
        (
            "/routes/0",
            json!({"prefix": "/chat", "agents": ["chat"], "protocol": "websocket", "sticky": [{"query": "s"}, {"response": true}]}),
            "routes[0].sticky: asks the body, which a WebSocket's request does not have",
        ),
        (
            "/routes/0/sticky",
            json!({"response": false}),
            "routes[0].sticky.response: can only be true; leave it out, and requests are not kept together by it",
        ),
    ]);
}

#[test]
fn members_that_some_reader_takes_for_one_are_not_looked_for_together() {
    let body = |pointer: &str| json!({"match": {"body": {pointer: "x"}}, "agents": ["chat"]});
    let differs = |place: &str, other: &str| {
        format!(
            "routes[0].{place}: the JSON pointer differs from {other} in the case of letters alone, which some agents ignore"
        )
    };
    let rules = |rules: Value| fault_of("/routes/0/rules", rules);
    assert_eq!(
        rules(json!([body("/metadata/Tier"), body("/metadata/tier")])),
        differs("rules[1].match.body.\"/metadata/tier\"", "/metadata/Tier")
    );
    for (conditions, other) in [
        (json!({"stream": true, "body": {"/Stream": "x"}}), "/stream"),
        (json!({"tools": true, "body": {"/Tools": "x"}}), "/tools"),
        (json!({"model": "m", "body": {"/MODEL": "x"}}), "/model"),
    ] {
        let pointer = conditions["body"].as_object().unwrap().keys().next();
        let place = format!("rules[0].match.body.\"{}\"", pointer.unwrap());
        let fault = rules(json!([{"match": conditions, "agents": ["chat"]}]));
        assert_eq!(fault, differs(&place, other));
    }
    for (sticky, pointer, other) in [
        (json!([{"body": "/A"}, {"body": "/a"}]), "/a", "/A"),
        (
            json!([{"body": "/Messages"}, {"prompt": "1KiB"}]),
            "/Messages",
            "/messages",
        ),
        (
            json!([{"response": true}, {"body": "/Conversation"}]),
            "/Conversation",
            "/conversation",
        ),
    ] {
        let fault = fault_of("/routes/0/sticky", sticky);
        let expected = format!(
            "routes[0].sticky: {pointer}, by which its requests are kept together, cannot be looked for: the JSON pointer differs \
             from {other} in the case of letters alone, which some agents ignore"
        );
        assert_eq!(fault, expected);
    }
}

#[test]
fn what_every_request_would_meet_is_told() {
    for (conditions, expected) in [
        (
            json!({"body": {}}),
            "body: is empty, so every request would meet it; write at least one entry",
        ),
        (
            json!({"header": {}}),
            "header: is empty, so every request would meet it; write at least one entry",
        ),
        (
            json!({"query": {}}),
            "query: is empty, so every request would meet it; write at least one entry",
        ),
        (
            json!({"header": {"X-Region": "eu", "x-region": "us"}}),
            "header.x-region: this header is already named, in other letters",
        ),
    ] {
        let fault = fault_of(
            "/routes/0/rules",
            json!([{"match": conditions, "agents": ["chat"]}]),
        );
        assert_eq!(fault, format!("routes[0].rules[0].match.{expected}"));
    }
}

#[test]
fn what_says_nothing_of_a_load_or_a_price_is_told() {
    check(&[
        (
            "/agents/tools/load",
            json!({"from": "in_flight"}),
            "agents.tools.load.from: how many of its places are taken is known with max_in_flight only",
        ),
        (
            "/agents/tools/load",
            json!({"from": "orca", "every": "2s"}),
            "agents.tools.load.every: has a meaning with from: metrics only",
        ),
        (
            "/agents/tools/load",
            json!({"from": "queue_depth", "metric": "x"}),
            "agents.tools.load.metric: has a meaning with from: orca only",
        ),
        (
            "/agents/tools/load",
            json!({"from": "orca", "clusters": ["a"]}),
            "agents.tools.load.clusters: has a meaning with from: metrics only",
        ),
        (
            "/agents/tools/load",
            json!({"from": "metrics", "clusters": []}),
            "agents.tools.load.clusters: the list is empty; write at least one entry",
        ),
        (
            "/agents/tools/load",
            json!({"from": "metrics", "clusters": ["a", {"cluster": "a", "host": "b"}]}),
            "agents.tools.load.clusters[1]: this cluster is already in the list",
        ),
        (
            "/agents/tools/load",
            json!({"from": "metrics", "clusters": [{"cluster": "a", "host": "b/c"}]}),
            "agents.tools.load.clusters[0].host: \"b/c\" is no host; write its name or address, with a port if it is not the usual one, such as \"auth.example.com\" or \"auth:8080\"",
        ),
        (
            "/agents/tools/load",
            json!({"full_at": 3}),
            "agents.tools.load.from: is missing",
        ),
        (
            "/agents/tools/load",
            json!({"from": "vllm"}),
            "agents.tools.load.from: expected orca or queue_depth or metrics or in_flight, found \"vllm\"",
        ),
        (
            "/agents/tools/price",
            json!({"input": -1, "output": 1}),
            "agents.tools.price.input: expected dollars for a million tokens, such as 0.15",
        ),
        (
            "/agents/tools/price",
            json!({"input": 1}),
            "agents.tools.price.output: is missing",
        ),
        (
            "/routes/0/prefer",
            json!("best"),
            "routes[0].prefer: expected weighted or cheapest or fastest, found \"best\"",
        ),
    ]);
    let unpriced = fault_of("/routes/0/prefer", json!("cheapest"));
    assert!(
        unpriced.starts_with("routes[0]: prefers the cheapest, and the agent "),
        "{unpriced}"
    );
    assert!(
        unpriced.ends_with(" has no price; write it, such as price: {input: 0.15, output: 0.60}"),
        "{unpriced}"
    );
}

#[test]
fn who_cannot_hear_requests_as_well_is_told() {
    check(&[
        (
            "/routes/0/mirror",
            json!({"agent": "tool"}),
            r#"routes[0].mirror.agent: no agent named "tool"; did you mean "tools"?"#,
        ),
        (
            "/routes/0/mirror",
            json!({"agent": "tools", "percent": 101}),
            "routes[0].mirror.percent: expected a whole number from 0 to 100, found the number 101",
        ),
        (
            "/routes/0",
            json!({"prefix": "/chat", "agents": ["chat"], "protocol": "websocket", "mirror": {"agent": "tools"}}),
            "routes[0].mirror: has no meaning for a WebSocket: nobody could answer for the other end",
        ),
    ]);
}

#[test]
fn what_cannot_be_changed_of_requests_and_answers_is_told() {
    let set = |name: &str, value: Value| json!({"headers": {"set": {name: value}}});
    let body = |edits: Value| json!({"prefix": "/chat", "agents": ["chat"], "max_body": "1MiB", "request": {"body": edits}});
    check(&[
        (
            "/routes/0/request",
            set("X-Waykeeper-Client", json!("me")),
            r#"routes[0].request.headers.set.X-Waykeeper-Client: the header "X-Waykeeper-Client" belongs to the gateway"#,
        ),
        (
            "/routes/0/request",
            set("Content_Length", json!("1")),
            r#"routes[0].request.headers.set.Content_Length: the header "Content_Length" has a meaning of its own and cannot be used here"#,
        ),
        (
            "/routes/0/request",
            set("host", json!("a")),
            "routes[0].request.headers.set.host: as which host the agent is asked is said by request.host",
        ),
        (
            "/routes/0/response",
            set("sec-websocket-accept", json!("a")),
            r#"routes[0].response.headers.set.sec-websocket-accept: the header "sec-websocket-accept" belongs to the WebSocket handshake"#,
        ),
        (
            "/routes/0/response",
            set("x-a", json!("a\r\nx-b: c")),
            "routes[0].response.headers.set.x-a: this is no header's value; use visible ASCII, with blanks only inside",
        ),
        (
            "/routes/0/request",
            set("x-a", json!("{clint}")),
            "routes[0].request.headers.set.x-a: no variable {clint}; did you mean \"client\"?; there are client, plan, team, \
             organisation, route, agent, request_id (a brace that is meant is written twice)",
        ),
        (
            "/routes/0/request",
            set("x-a", json!("${client}")),
            "routes[0].request.headers.set.x-a: write {client} without the $: that is for variables of the environment",
        ),
        (
            "/routes/0/request",
            set("x-a", json!("{client")),
            "routes[0].request.headers.set.x-a: has a brace alone; a variable is such as {client}, a brace that is meant is written \
             twice",
        ),
        (
            "/routes/0/request",
            json!({"headers": {"set": {"x-a": "b"}, "remove": ["X-A"]}}),
            "routes[0].request.headers.remove[0]: something is done with this header already",
        ),
        (
            "/routes/0/request",
            json!({"host": "http://a"}),
            r#"routes[0].request.host: "http://a" is no host; write its name or address, with a port if it is not the usual one, such as "auth.example.com" or "auth:8080""#,
        ),
        (
            "/routes/0/request",
            json!({"body": {"remove": ["/a"]}}),
            "routes[0].request.body: needs max_body: all of the body is held until it is changed",
        ),
        (
            "/routes/0",
            body(json!({"set": {"user": "a"}})),
            "routes[0].request.body.set.user: a JSON pointer begins with /, such as /model",
        ),
        (
            "/routes/0",
            body(json!({"set": {"/a/0/b": "a"}})),
            "routes[0].request.body.set.\"/a/0/b\": a number leads to an item of an array; only members of objects can be changed",
        ),
        (
            "/routes/0",
            body(json!({"set": {"/a": null}})),
            "routes[0].request.body.set.\"/a\": expected a text, a number, true or false",
        ),
        (
            "/routes/0",
            body(json!({"set": {"/a/b": 1}, "remove": ["/a"]})),
            "routes[0].request.body.remove[0]: one of these members lies in the other",
        ),
        (
            "/routes/0",
            body(json!({"set": {"/a/x": 1, "/A/y": 2}})),
            "routes[0].request.body.set.\"/a/x\": the JSON pointer differs from /A in the case of letters alone, which some agents ignore",
        ),
        (
            "/routes/0",
            body(json!({"set": {"/a": 1}, "remove": ["/A"]})),
            "routes[0].request.body.remove[0]: the JSON pointer differs from /a in the case of letters alone, which some agents ignore",
        ),
        (
            "/routes/0",
            body(json!({"remove": [""]})),
            "routes[0].request.body.remove[0]: is the whole body; a JSON pointer to a member is such as /user",
        ),
        (
            "/routes/0",
            json!({"prefix": "/chat", "agents": ["chat"], "max_body": "17MiB", "request": {"body": {"remove": ["/a"]}}}),
            "routes[0].request.body: is for bodies of at most 16MiB: write a smaller max_body",
        ),
        (
            "/routes/0",
            json!({"prefix": "/chat", "agents": ["chat"], "protocol": "websocket", "request": {"body": {"remove": ["/a"]}}}),
            "routes[0].request.body: a WebSocket's request has no body",
        ),
    ]);
}

#[test]
fn a_place_for_models_that_cannot_be_is_told() {
    check(&[
        (
            "/models_endpoint",
            json!({"path": "/"}),
            "models_endpoint.path: is where all paths begin; name one of its own",
        ),
        (
            "/models_endpoint",
            json!({"path": "/chat"}),
            "models_endpoint: a route has this very prefix: its agents would never be asked for it; write another path, or leave one \
             out",
        ),
        (
            "/models_endpoint",
            json!({"more": ["a", "a"]}),
            "models_endpoint.more[1]: this model is already in the list",
        ),
        (
            "/models_endpoint",
            json!({"more": ["gpt-*"]}),
            r#"models_endpoint.more[0]: "gpt-*" is no model's name; it is 1 to 256 bytes without control characters"#,
        ),
    ]);
}

#[test]
fn agents_that_can_never_come_next_are_told() {
    let route = |more: Value| {
        let mut route = json!({"prefix": "/chat", "agents": ["chat"], "fallback": ["tools"]});
        let fields = route.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        route
    };
    check(&[
        (
            "/routes/0/fallback",
            json!(["tool"]),
            r#"routes[0].fallback[0]: no agent named "tool"; did you mean "tools"?"#,
        ),
        (
            "/routes/0/fallback",
            json!(["tools", "tools"]),
            "routes[0].fallback[1]: this agent is already in the list",
        ),
        (
            "/routes/0/fallback",
            json!(["chat"]),
            "routes[0].fallback[0]: is the only agent that is asked at first, so it never comes next",
        ),
        (
            "/routes/0/fallback",
            json!([]),
            "routes[0].fallback: names no agent, and none of these says by capabilities what it can do",
        ),
        (
            "/routes/0/rules",
            json!([{"agents": ["tools"], "fallback": ["tools"]}]),
            "routes[0].rules[0].fallback[0]: is the only agent that is asked at first, so it never comes next",
        ),
        (
            "/routes/0",
            route(json!({"mirror": {"agent": "tools"}})),
            "routes[0].fallback: cannot stand beside mirror: Envoy has no routes for both",
        ),
        (
            "/routes/0",
            route(json!({"protocol": "websocket"})),
            "routes[0].fallback: has no meaning for a WebSocket, which is tried at one agent",
        ),
        (
            "/routes/0",
            route(json!({"retry": {"max_attempts": 1}})),
            "routes[0].fallback: is never reached: retry.max_attempts is 1",
        ),
        (
            "/routes/0",
            route(json!({"retry": {"max_attempts": 4}})),
            "routes[0].fallback: makes three attempts at most; write no more into retry.max_attempts",
        ),
        (
            "/routes/0/retry",
            json!({"retry_on": ["slow_first_token"]}),
            "routes[0].retry.retry_on[0]: needs first_byte_timeout: without it no first token comes too late",
        ),
        (
            "/routes/0/retry",
            json!({"retry_on": ["5xx", 503, "5xx"]}),
            "routes[0].retry.retry_on[2]: 5xx is already in the list",
        ),
        (
            "/routes/0/retry",
            json!({"retry_on": ["4xx"]}),
            r#"routes[0].retry.retry_on[0]: expected 5xx or slow_first_token, found "4xx"; did you mean "5xx"?"#,
        ),
    ]);
    let mut sessions = with(small(), "/routes/0/fallback", json!(["tools"]));
    sessions["agents"]["tools"]["sticky"] = json!({"header": "mcp-session-id"});
    sessions["sessions"] = json!({"keys": ["0".repeat(64)]});
    assert_eq!(
        faults(&sessions),
        [
            "routes[0].fallback[0]: names sessions, and would name one to a request that was not to have any"
        ]
    );
}

#[test]
fn what_cannot_be_one_of_several_servers_is_told() {
    let mut sealed = small();
    sealed["sessions"] = json!({"keys": ["7".repeat(64)]});
    sealed["agents"]["kept"] = json!({"cluster": "kept", "sticky": {"client": true}});
    let route = |servers: Value| json!({"prefix": "/chat", "mcp": {"servers": servers}});
    let beside = |field: &str, value: Value| {
        let mut route = route(json!({"a": "chat"}));
        route[field] = value;
        route
    };
    assert!(
        faults(&with(
            sealed.clone(),
            "/routes/0",
            route(json!({"a": "chat", "b-2": "tools"}))
        ))
        .is_empty()
    );
    let no_meaning = "has no meaning beside mcp.servers: the names that are called say which of them answers, and lists come from all";
    for (written, told) in [
        (route(json!({})), "routes[0].mcp.servers: there must be at least one server".to_owned()),
        (route(json!({"a": "nobody"})), r#"routes[0].mcp.servers.a: no agent named "nobody""#.to_owned()),
        (route(json!({"a": "chat", "b": "chat"})), "routes[0].mcp.servers.b: is another server of this route already".to_owned()),
        (
            route(json!({"a_b": "chat"})),
            "routes[0].mcp.servers.a_b: a server is called by a small letter and at most 31 of a-z, 0-9 and -: its name stands before __ and + in those of its tools and resources".to_owned(),
        ),
        (
            route(json!({"a": "kept"})),
            "routes[0].mcp.servers.a: is sticky, and the gateway's own questions are not kept at one of its hosts; make an agent of each".to_owned(),
        ),
        (beside("agents", json!(["chat"])), format!("routes[0].agents: {no_meaning}")),
        (beside("rules", json!([{"match": {"tool": "a"}, "agents": ["chat"]}])), format!("routes[0].rules: {no_meaning}")),
        (beside("canary", json!({"agent": "chat", "percent": 1})), format!("routes[0].canary: {no_meaning}")),
        (beside("mirror", json!({"agent": "chat"})), format!("routes[0].mirror: {no_meaning}")),
        (beside("request", json!({"headers": {"remove": ["x"]}})), format!("routes[0].request: {no_meaning}")),
    ] {
        let found = faults(&with(sealed.clone(), "/routes/0", written.clone()));
        assert!(found.contains(&told), "{written}: {found:#?}");
    }
}

#[test]
fn what_mcp_cannot_mean_is_told() {
    let tools =
        |tools: Value| json!({"prefix": "/chat", "agents": ["chat"], "mcp": {"tools": tools}});
    check(&[
        (
            "/routes/0/mcp",
            json!({"tools": []}),
            "routes[0].mcp.tools: the list is empty; write at least one entry",
        ),
        (
            "/routes/0",
            tools(json!([{"roles": ["admin"]}])),
            "routes[0].mcp.tools[0].match: is missing",
        ),
        (
            "/routes/0",
            tools(json!([{"match": "a*b"}])),
            "routes[0].mcp.tools[0].match: a * stands for any characters at one end of the word; it can stand there once, and nowhere else",
        ),
        (
            "/routes/0",
            tools(json!([{"match": "a", "plans": "gold"}])),
            r#"routes[0].mcp.tools[0].plans: no plan named "gold""#,
        ),
        (
            "/routes/0",
            tools(json!([{"match": "*"}, {"match": "a"}])),
            "routes[0].mcp.tools[1]: is never asked: an earlier one is for every name",
        ),
        (
            "/routes/0",
            tools(json!([{"match": ["a", "b*"]}, {"match": "b*"}])),
            r#"routes[0].mcp.tools[1]: "b*" stands in an earlier one already"#,
        ),
        (
            "/routes/0",
            json!({"prefix": "/chat", "agents": ["chat"], "a2a": {"methods": [{"match": ["GetTask", "SendMessage"]}, {"match": "message/send", "roles": ["b"]}]}}),
            r#"routes[0].a2a.methods[1]: "message/send" stands in an earlier one already, as "SendMessage""#,
        ),
        (
            "/routes/0",
            json!({"prefix": "/chat", "agents": ["chat"], "auth_required": false, "mcp": {"methods": [{"match": "a", "roles": ["b"]}]}}),
            "routes[0].mcp.methods[0].roles: nobody without a key has one: auth_required is false",
        ),
        (
            "/routes/0",
            json!({"prefix": "/chat", "agents": ["chat"], "protocol": "sse", "mcp": {}}),
            "routes[0].mcp: is for routes of http: its answers may be streams or not",
        ),
        (
            "/routes/0/mcp",
            json!({"max_list": "1MiB"}),
            "routes[0].mcp.max_list: has no meaning without tools: lists pass as they come",
        ),
        (
            "/routes/0/mcp",
            json!({"tools": [{"match": "*"}], "max_list": "17MiB"}),
            r#"routes[0].mcp.max_list: expected a size from 1KiB to 16MiB, found "17MiB""#,
        ),
        (
            "/routes/0",
            json!({"prefix": "/chat", "mcp": {"servers": {"a": "chat"}}}),
            "routes[0].mcp.servers: needs sessions: what callers are told of the servers' sessions is sealed with its keys",
        ),
        (
            "/routes/0",
            json!({"prefix": "/chat", "rules": [{"match": {"tool": "a"}, "agents": ["chat"]}]}),
            "routes[0].rules[0]: asks which tool is called, which is known where the route has mcp",
        ),
        (
            "/limits",
            json!([{"name": "a", "each": "tool", "requests": "1/minute"}]),
            "limits[0].each: counts nothing: which tool is called is known where a route has mcp, and none has",
        ),
        (
            "/limits",
            json!([{"name": "a", "each": "client", "match": {"tool": "x"}, "requests": "1/minute"}]),
            "limits[0].match.tool: counts nothing: which tool is called is known where a route has mcp, and none has",
        ),
    ]);
}

#[test]
fn a_canary_that_cannot_be_tried_is_told() {
    let route = |more: Value| {
        let mut route = json!({"prefix": "/chat"});
        route
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        route
    };
    check(&[
        (
            "/routes/0/canary",
            json!({"agent": "tools"}),
            "routes[0].canary.percent: is missing",
        ),
        (
            "/routes/0/canary",
            json!({"agent": "chat", "percent": 5}),
            "routes[0].canary.agent: has a share of this route by weight as well; write it with weight: 0, or leave it out of \
             agents",
        ),
        (
            "/routes/0/canary",
            json!({"agent": "tools", "percent": 5, "header": "x-api-key"}),
            "routes[0].canary.header: that is where keys stand, and they are taken out",
        ),
        (
            "/routes/0/canary",
            json!({"agent": "tools", "percent": 5, "abort_at": "100%"}),
            "routes[0].canary.abort_at: no more than all requests can fail, so this is never reached; leave it out to never abort",
        ),
        (
            "/routes/0",
            route(
                json!({"rules": [{"agents": ["chat"]}], "canary": {"agent": "tools", "percent": 5}}),
            ),
            "routes[0].canary.agent: gets nothing: the route has rules alone, and none of them names it; name it there with \
             weight: 0",
        ),
    ]);
}

#[test]
fn a_canary_is_one_of_its_routes_agents_by_name() {
    let canary = json!({"agent": "tools", "percent": 5, "header": "X-Canary", "abort_at": "5%"});
    let policy = super::accepted(&with(small(), "/routes/0/canary", canary));
    let route = &policy.routes[0];
    let canary = route.canary.as_ref().unwrap();
    assert_eq!((canary.percent, canary.abort_at), (5, Some(5)));
    assert_eq!(canary.header.as_deref(), Some("x-canary"));
    let weights: Vec<_> = route
        .agents
        .iter()
        .map(|it| (it.agent, it.weight))
        .collect();
    assert_eq!(weights, [(AgentId(0), 1), (AgentId(1), 0)]);
    assert_eq!(canary.agent, AgentId(1));
}

#[test]
fn an_unknown_agent_is_told_with_the_nearest() {
    let document = with(reference(), "/routes/2/agents/0", json!("chat-gup"));

    assert_eq!(
        faults(&document),
        [r#"routes[2].agents[0]: no agent named "chat-gup"; did you mean "chat-gpu"?"#]
    );
}

#[test]
fn all_faults_are_told_at_once_and_in_the_order_of_the_document() {
    let text = r#"{
        "routes": [{"prefix": "chat", "agents": ["caht"], "timeout": 30}],
        "plan": {},
        "agents": {"chat": {"cluster": ""}},
        "clients": {"default_plan": "gold"}
    }"#;

    let faults: Vec<String> = load(text.as_bytes())
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();

    assert_eq!(
        faults,
        [
            r#"routes[0].prefix: "chat" must begin with /"#,
            r#"routes[0].agents[0]: no agent named "caht"; did you mean "chat"?"#,
            r#"routes[0].timeout: the number 30 has no unit; write a duration such as "250ms", "30s", "5m" or "1h""#,
            r#"plan: unknown field; did you mean "plans"?"#,
            r#"agents.chat.cluster: "" is no cluster's name; it is 1 to 512 visible ASCII characters"#,
            r#"clients.default_plan: no plan named "gold""#,
        ]
    );
}

#[test]
fn faults_are_shown_one_per_line() {
    let document = with(with(small(), "/routs", json!([])), "/tables", json!(1));

    let shown = load(document.to_string().as_bytes())
        .unwrap_err()
        .to_string();

    assert_eq!(
        shown,
        "routs: unknown field; did you mean \"routes\"?\ntables: expected a mapping, found the number 1"
    );
}

#[test]
fn unknown_fields_are_told_wherever_they_stand() {
    check(&[
        (
            "/route",
            json!([]),
            r#"route: unknown field; did you mean "routes"?"#,
        ),
        (
            "/clients/key",
            json!([]),
            r#"clients.key: unknown field; did you mean "keys"?"#,
        ),
        (
            "/clients/validator/tiemout",
            json!("1s"),
            r#"clients.validator.tiemout: unknown field; did you mean "timeout"?"#,
        ),
        (
            "/plans/standard/request",
            json!("1/day"),
            r#"plans.standard.request: unknown field; did you mean "requests"?"#,
        ),
        (
            "/agents/chat/wheight",
            json!(1),
            r#"agents.chat.wheight: unknown field; did you mean "weight"?"#,
        ),
        (
            "/routes/0/rate_limits",
            json!({}),
            r#"routes[0].rate_limits: unknown field; did you mean "rate_limit"?"#,
        ),
        ("/routes/0/zzz", json!(1), "routes[0].zzz: unknown field"),
        (
            "/tables",
            json!({"key": 2048}),
            r#"tables.key: unknown field; did you mean "keys"?"#,
        ),
    ]);
}

#[test]
fn what_must_be_written_is_missed() {
    for (pointer, expected) in [
        ("/routes", "routes: is missing"),
        ("/agents", "agents: is missing"),
        ("/agents/tools/cluster", "agents.tools.cluster: is missing"),
        (
            "/clients/validator/path",
            "clients.validator.path: is missing",
        ),
        (
            "/clients/validator/cluster",
            "clients.validator.cluster: is missing",
        ),
        ("/routes/0/prefix", "routes[0].prefix: is missing"),
        ("/routes/0/agents", "routes[0].agents: is missing"),
    ] {
        let mut document = small();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        document
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(name);
        let faults = faults(&document);
        assert!(
            faults.contains(&expected.to_owned()),
            "{pointer}: {faults:?}"
        );
    }
}

#[test]
fn fields_written_twice_are_told() {
    let text = small().to_string();
    let twice = text.replacen(r#""chat":{"#, r#""chat":{"cluster":"other"},"chat":{"#, 1);

    let shown = load(twice.as_bytes()).unwrap_err().to_string();

    assert_eq!(shown, "agents.chat: written twice; only one can count");
}

#[test]
fn what_is_wrong_with_all_plans_is_told_once() {
    let twice = small()
        .to_string()
        .replacen(r#""standard":{"#, r#""standard":{},"standard":{"#, 1);
    let shown = load(twice.as_bytes()).unwrap_err().to_string();
    assert_eq!(shown, "plans.standard: written twice; only one can count");
    assert_eq!(
        faults(&with(small(), "/plans", json!([]))),
        ["plans: expected a mapping of names, found a list"]
    );
}

#[test]
fn units_are_needed_and_known() {
    let duration = r#"a duration such as "250ms", "30s", "5m" or "1h""#;
    let size = r#"a size such as "64KiB" or "10MiB""#;
    let rate = r#"a rate such as "50/minute" (second, minute, hour, day or month)"#;
    for value in [
        "30",
        "s",
        "1.5s",
        "-1s",
        "30 s",
        "30sec",
        "1d",
        "",
        "٣s",
        "99999999999999999999s",
        "18446744073709551615h",
    ] {
        let fault = fault_of("/routes/0/timeout", json!(value));
        assert_eq!(
            fault,
            format!("routes[0].timeout: expected {duration}, found {value:?}")
        );
    }
    for value in ["10", "10MB", "10mib", "1.5MiB", "18446744073709551615GiB"] {
        let fault = fault_of("/routes/0/max_body", json!(value));
        assert_eq!(
            fault,
            format!("routes[0].max_body: expected {size}, found {value:?}")
        );
    }
    for value in [
        "50",
        "50/",
        "/minute",
        "50/minutes",
        "50/m",
        "5.5/minute",
        "-5/minute",
        "50 / minute",
    ] {
        let fault = fault_of("/plans/standard/requests", json!(value));
        assert_eq!(
            fault,
            format!("plans.standard.requests: expected {rate}, found {value:?}")
        );
    }
    check(&[
        (
            "/routes/0/max_body",
            json!(10),
            &format!("routes[0].max_body: the number 10 has no unit; write {size}"),
        ),
        (
            "/plans/standard/requests",
            json!(50),
            &format!("plans.standard.requests: the number 50 has no unit; write {rate}"),
        ),
    ]);
}

#[test]
fn times_have_bounds_that_make_sense() {
    check(&[
        (
            "/routes/0/timeout",
            json!("0s"),
            r#"routes[0].timeout: expected a duration from 1ms to 24h, found "0s""#,
        ),
        (
            "/routes/0/timeout",
            json!("25h"),
            r#"routes[0].timeout: expected a duration from 1ms to 24h, found "25h""#,
        ),
        (
            "/routes/0/first_byte_timeout",
            json!("6m"),
            "routes[0].first_byte_timeout: can never be reached: timeout is shorter",
        ),
        (
            "/routes/0/idle_timeout",
            json!("1500ms"),
            "routes[0].idle_timeout: is kept to the second; write whole seconds",
        ),
        (
            "/routes/0/idle_timeout",
            json!("500ms"),
            r#"routes[0].idle_timeout: expected a duration from 1s to 24h, found "500ms""#,
        ),
        (
            "/clients/validator/timeout",
            json!("2m"),
            r#"clients.validator.timeout: expected a duration from 1ms to 1m, found "2m""#,
        ),
        (
            "/clients/validator/remember",
            json!({"valid": "25h"}),
            r#"clients.validator.remember.valid: expected a duration from 0s to 24h, found "25h""#,
        ),
    ]);
}

#[test]
fn a_generation_is_a_whole_number_from_1() {
    let place = "/clients/validator/remember";
    let told = |found: &str| {
        format!(
            "clients.validator.remember.generation: expected a whole number from 1 to 9007199254740991, found {found}"
        )
    };
    for (generation, found) in [
        (json!(0), "the number 0"),
        (json!(-1), "the number -1"),
        (json!(1.5), "the number 1.5"),
        (
            json!(9_007_199_254_740_992_u64),
            "the number 9007199254740992",
        ),
        (json!("2"), "\"2\""),
        (json!(true), "true"),
        (json!([2]), "a list"),
    ] {
        let document = with(small(), place, json!({"generation": generation}));
        assert_eq!(faults(&document), [told(found)]);
    }
}

#[test]
fn questions_under_way_are_bounded_by_a_whole_number_from_1() {
    for (most, found) in [
        (json!(0), "the number 0"),
        (json!(65_537), "the number 65537"),
        (json!("many"), "\"many\""),
    ] {
        let document = with(small(), "/clients/validator/max_pending", most);
        let expected = "expected a whole number from 1 to 65536";
        assert_eq!(
            faults(&document),
            [format!(
                "clients.validator.max_pending: {expected}, found {found}"
            )]
        );
    }
}

#[test]
fn what_is_held_for_strangers_is_bounded_within_reason() {
    let sizes =
        |expected: &str, found: &str| format!("expected a size from {expected}, found {found}");
    for (hold, message) in [
        (
            json!({"request": "1KiB"}),
            format!(".request: {}", sizes("64KiB to 1GiB", "\"1KiB\"")),
        ),
        (
            json!({"worker": "1KiB"}),
            format!(".worker: {}", sizes("1MiB to 64GiB", "\"1KiB\"")),
        ),
        (
            json!({"request": "2MiB", "worker": "1MiB"}),
            ": request (2MiB) can never be reached: worker (1MiB) is smaller".to_owned(),
        ),
    ] {
        let document = with(small(), "/clients/hold", hold);
        assert_eq!(faults(&document), [format!("clients.hold{message}")]);
    }
}

#[test]
fn a_body_that_is_collected_has_a_bound_and_an_end() {
    let route = |more: serde_json::Value| {
        let mut document = small();
        let route = document["routes"][0].as_object_mut().unwrap();
        route.extend(more.as_object().unwrap().clone());
        faults(&document)
    };
    assert_eq!(
        route(json!({"collect_body": true})),
        ["routes[0].collect_body: needs max_body: all of the body is held"]
    );
    assert_eq!(
        route(json!({"collect_body": true, "protocol": "websocket"})),
        ["routes[0].collect_body: has no meaning for a WebSocket, whose messages never end"]
    );
    assert!(route(json!({"collect_body": true, "max_body": "1MiB"})).is_empty());
    assert!(route(json!({"collect_body": false})).is_empty());
    assert_eq!(
        route(json!({"body_timeout": "1m"})),
        [
            "routes[0].body_timeout: has no meaning where no body is waited for: by collect_body: true, rules, mcp, a2a, an agent's models, request.body, or what is sticky by the body"
        ]
    );
    assert_eq!(
        route(json!({"collect_body": true, "max_body": "1MiB", "body_timeout": "1500ms"})),
        ["routes[0].body_timeout: is kept to the second; write whole seconds"]
    );
}

#[test]
fn only_of_http_may_answers_be_streams_or_not() {
    for (protocol, fault) in [("http", false), ("sse", true), ("websocket", true)] {
        for streams in [false, true] {
            let route = with(small(), "/routes/0/protocol", json!(protocol));
            let told = faults(&with(route, "/routes/0/streams", json!(streams)));
            let expected: &[&str] = match fault && streams {
                true => &[
                    "routes[0].streams: is for routes of http: on this one all answers are streams",
                ],
                false => &[],
            };
            assert_eq!(told, expected, "{protocol}");
        }
    }
}

#[test]
fn rates_that_cannot_be_kept_are_refused() {
    check(&[
        (
            "/plans/standard/requests",
            json!("0/minute"),
            "plans.standard.requests: a rate of 0 lets nothing pass; write at least 1",
        ),
        (
            "/plans/standard/requests",
            json!("1000001/second"),
            "plans.standard.requests: more than 1000000 a second; write a smaller rate",
        ),
        (
            "/plans/standard",
            json!({"burst": 5}),
            "plans.standard.burst: has no meaning without requests",
        ),
        (
            "/plans/standard",
            json!({"requests": "1/day", "burst": 31}),
            "plans.standard.burst: would take more than 30 days to refill at this rate; at most 30 is allowed",
        ),
        (
            "/plans/standard",
            json!({"requests": "1/day", "burst": 1.5}),
            "plans.standard.burst: expected a whole number from 1 to 9007199254740991, found the number 1.5",
        ),
        (
            "/plans/standard/requests",
            json!("5/month"),
            "plans.standard.requests: months are counted by algorithm: fixed_window only",
        ),
        (
            "/plans/standard",
            json!({"requests": "5/month", "algorithm": "sliding_window"}),
            "plans.standard.requests: months are counted by algorithm: fixed_window only",
        ),
        (
            "/plans/standard",
            json!({"requests": "5/day", "algorithm": "fixed_window", "burst": 9}),
            "plans.standard.burst: has no meaning in windows: all of it may come at once",
        ),
        (
            "/plans/standard",
            json!({"requests": "5/day", "algorithm": "leaky_bucket"}),
            r#"plans.standard.algorithm: expected token_bucket or sliding_window or fixed_window, found "leaky_bucket""#,
        ),
        (
            "/plans/standard",
            json!({"requests": "5/day", "utc_offset": "+02:00"}),
            "plans.standard.utc_offset: has no meaning without algorithm: fixed_window",
        ),
        (
            "/plans/standard",
            json!({"algorithm": "fixed_window"}),
            "plans.standard.algorithm: has no meaning without requests",
        ),
        (
            "/plans/standard",
            json!({"requests": "5/day", "algorithm": "fixed_window", "utc_offset": "Europe/Berlin"}),
            r#"plans.standard.utc_offset: expected an offset such as "Z" or "+02:00", found "Europe/Berlin"; names of zones are not taken, since their time changes with the season"#,
        ),
        (
            "/plans/standard",
            json!({"requests": "5/day", "algorithm": "fixed_window", "utc_offset": "+14:30"}),
            r#"plans.standard.utc_offset: expected an offset such as "Z" or "+02:00", found "+14:30"; names of zones are not taken, since their time changes with the season"#,
        ),
        (
            "/routes/0/rate_limit",
            json!({}),
            "routes[0].rate_limit.requests: is missing",
        ),
    ]);
    assert!(
        faults(&with(
            small(),
            "/plans/standard",
            json!({"requests": "1/day", "burst": 30})
        ))
        .is_empty()
    );
    assert!(
        faults(&with(
            small(),
            "/plans/standard",
            json!({"requests": "1000000/second"})
        ))
        .is_empty()
    );
}

#[test]
fn limits_have_names_of_their_own_and_something_to_count_per() {
    let limit =
        |name: &str, each: Value| json!([{"name": name, "each": each, "requests": "1/minute"}]);
    check(&[
        (
            "/limits",
            limit("plan", json!([])),
            r#"limits[0].name: "plan" is the name of a plan's own limit; choose another"#,
        ),
        (
            "/limits",
            limit("a;b", json!([])),
            r#"limits[0].name: "a;b" is no name; a name is 1 to 128 of the characters A-Z a-z 0-9 . _ : @ -"#,
        ),
        (
            "/limits",
            limit("a", json!("clients")),
            r#"limits[0].each: expected key or client or team or organisation or address or route or agent or plan or tool, found "clients"; did you mean "client"?"#,
        ),
        (
            "/limits",
            limit("a", json!(["team", "route", "team"])),
            "limits[0].each: one of these is written twice",
        ),
        (
            "/limits",
            limit("a", json!({"header": "x-api-key"})),
            "limits[0].each.header: that is where keys stand, and they are taken out; each: key counts per key",
        ),
        (
            "/limits",
            limit("a", json!([{"header": "x-waykeeper-client"}])),
            r#"limits[0].each[0].header: the header "x-waykeeper-client" belongs to the gateway"#,
        ),
        (
            "/limits",
            json!([{"name": "a", "each": [], "requests": "1/minute", "match": {"agent": "nobody"}}]),
            r#"limits[0].match.agent: no agent named "nobody""#,
        ),
        (
            "/limits",
            json!([{"name": "a", "each": [], "requests": "1/minute", "match": {"route": ["/elsewhere"]}}]),
            r#"limits[0].match.route[0]: no route named "/elsewhere""#,
        ),
        (
            "/limits",
            json!([{"name": "a", "each": [], "requests": "1/minute", "match": {"header": {"x-api-key": "k"}}}]),
            "limits[0].match.header.x-api-key: that is where keys stand, and they are taken out; each: key counts per key",
        ),
        (
            "/limits",
            json!([{"name": "a", "each": [], "requests": "1/minute", "warn_at": "101%"}]),
            r#"limits[0].warn_at: expected a share in whole per cent such as "80%", found "101%""#,
        ),
        (
            "/limits",
            json!([{"name": "a", "each": [], "requests": "1/minute", "enforce": 0.1}]),
            r#"limits[0].enforce: expected true, false or a share such as "10%", found the number 0.1"#,
        ),
        (
            "/plans/standard",
            json!({"limits": [{"name": "plan", "each": "team", "requests": "1/minute"}]}),
            r#"plans.standard.limits[0].name: "plan" is the name of a plan's own limit; choose another"#,
        ),
        (
            "/limits",
            json!([{"name": "a", "each": [], "requests": "1/minute"}, {"name": "a", "each": [], "requests": "1/hour"}]),
            r#"limits[1].name: another limit is already named "a""#,
        ),
    ]);
}

#[test]
fn what_bounds_requests_in_flight_has_sense() {
    let agent = |more: Value| {
        let mut agent = json!({"cluster": "chat"});
        (agent.as_object_mut().unwrap()).extend(more.as_object().unwrap().clone());
        agent
    };
    check(&[
        (
            "/plans/standard",
            json!({"in_flight": 0}),
            "plans.standard.in_flight: expected a whole number from 1 to 1000000, found the number 0",
        ),
        (
            "/plans/standard",
            json!({"requests": "1/minute", "wait": "2s"}),
            "plans.standard.wait: has no meaning without in_flight",
        ),
        (
            "/plans/standard",
            json!({"in_flight": 1, "max_waiting": 2}),
            "plans.standard.max_waiting: has no meaning without wait",
        ),
        (
            "/plans/standard",
            json!({"in_flight": 1, "wait": "250ms"}),
            r#"plans.standard.wait: expected a duration from 1s to 5m, found "250ms""#,
        ),
        (
            "/plans/standard",
            json!({"enforce": false}),
            "plans.standard.enforce: has no meaning without requests or in_flight",
        ),
        (
            "/plans/standard",
            json!({"in_flight": 1, "burst": 2}),
            "plans.standard.burst: has no meaning without requests",
        ),
        (
            "/limits",
            json!([{"name": "a", "each": [], "in_flight": 1, "requests": "1/minute"}]),
            "limits[0].requests: has no meaning beside in_flight; a limit counts in a time, or at once",
        ),
        (
            "/limits",
            json!([{"name": "in-flight", "each": [], "in_flight": 1}]),
            r#"limits[0].name: "in-flight" is the name of a plan's own in_flight; choose another"#,
        ),
        (
            "/agents/chat",
            agent(json!({"wait": "2s"})),
            "agents.chat.wait: has no meaning without max_in_flight",
        ),
        (
            "/agents/chat",
            agent(json!({"max_in_flight": 2001, "share": {"by": "team"}})),
            "agents.chat.max_in_flight: expected a whole number from 1 to 2000, found the number 2001",
        ),
        (
            "/agents/chat",
            agent(json!({"max_in_flight": 1, "share": {}})),
            "agents.chat.share.by: is missing",
        ),
        (
            "/agents/chat",
            agent(json!({"max_in_flight": 1, "share": {"by": "client", "weights": {"premum": 4}}})),
            r#"agents.chat.share.weights.premum: no plan named "premum""#,
        ),
        (
            "/agents/chat",
            agent(
                json!({"max_in_flight": 1, "share": {"by": "client", "weights": {"standard": 0}}}),
            ),
            "agents.chat.share.weights.standard: expected a whole number from 1 to 1000, found the number 0",
        ),
    ]);
}

#[test]
fn key_sources_that_make_no_sense_are_refused() {
    for (source, expected) in [
        (
            json!({}),
            "must have exactly one of header, query and websocket_protocol",
        ),
        (
            json!({"header": "a", "query": "b"}),
            "must have exactly one of header, query and websocket_protocol",
        ),
    ] {
        assert_eq!(
            fault_of("/clients/key_sources", json!([source])),
            format!("clients.key_sources[0]: {expected}")
        );
    }
    for (header, expected) in [
        (
            "X-Waykeeper-Client",
            r#"the header "X-Waykeeper-Client" belongs to the gateway"#,
        ),
        (
            "x_waykeeper_client",
            r#"the header "x_waykeeper_client" belongs to the gateway"#,
        ),
        (
            "x-envoy-key",
            r#"the header "x-envoy-key" belongs to the gateway"#,
        ),
        (
            "Host",
            r#"the header "Host" has a meaning of its own and cannot be used here"#,
        ),
        (
            "content-length",
            r#"the header "content-length" has a meaning of its own and cannot be used here"#,
        ),
        (
            ":path",
            r#"":path" is a pseudo-header, which cannot be used here"#,
        ),
        ("x api", r#""x api" is no header's name"#),
        ("", r#""" is no header's name"#),
        (
            "sec-websocket-protocol",
            r#"the header "sec-websocket-protocol" belongs to the WebSocket handshake; see websocket_protocol"#,
        ),
    ] {
        let fault = fault_of("/clients/key_sources", json!([{"header": header}]));
        assert_eq!(fault, format!("clients.key_sources[0].header: {expected}"));
    }
    check(&[
        (
            "/clients/key_sources",
            json!([{"query": "k", "scheme": "Bearer"}]),
            "clients.key_sources[0].scheme: has no meaning without header",
        ),
        (
            "/clients/key_sources",
            json!([{"header": "k", "any_request": true}]),
            "clients.key_sources[0].any_request: has no meaning without query",
        ),
        (
            "/clients/key_sources",
            json!([{"websocket_protocol": "key"}]),
            r#"clients.key_sources[0].websocket_protocol: "key" must be a token that ends in a dot, such as "waykeeper.key.""#,
        ),
        (
            "/clients/key_sources",
            json!([]),
            "clients.key_sources: the list is empty; write at least one entry",
        ),
    ]);
}

#[test]
fn a_key_source_that_an_earlier_one_hides_is_refused() {
    for (earlier, later) in [
        (json!({"header": "x-key"}), json!({"header": "X-Key"})),
        (
            json!({"header": "x-key"}),
            json!({"header": "x-key", "scheme": "Bearer"}),
        ),
        (
            json!({"header": "x-key", "scheme": "bearer"}),
            json!({"header": "x-key", "scheme": "Bearer"}),
        ),
        (
            json!({"query": "k", "any_request": true}),
            json!({"query": "k"}),
        ),
        (
            json!({"websocket_protocol": "a."}),
            json!({"websocket_protocol": "a.b."}),
        ),
        (
            json!({"websocket_protocol": "a."}),
            json!({"websocket_protocol": "a64."}),
        ),
    ] {
        let fault = fault_of("/clients/key_sources", json!([earlier, later]));
        assert_eq!(
            fault,
            "clients.key_sources[1]: is never looked at: entry 0 of this list already takes what stands there"
        );
    }
    for (earlier, later) in [
        (
            json!({"header": "x-key", "scheme": "Bearer"}),
            json!({"header": "x-key"}),
        ),
        (
            json!({"header": "x-key", "scheme": "Bearer"}),
            json!({"header": "x-key", "scheme": "Token"}),
        ),
        (
            json!({"query": "k"}),
            json!({"query": "k", "any_request": true}),
        ),
    ] {
        assert!(
            faults(&with(
                small(),
                "/clients/key_sources",
                json!([earlier, later])
            ))
            .is_empty()
        );
    }
}

#[test]
fn listed_keys_are_checked() {
    let hash = "ab".repeat(32);
    let other = "cd".repeat(32);
    let key = |more: Value| {
        let mut key = json!({"sha256": hash, "client_id": "acme"});
        key.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!([key])
    };
    let hash_expected =
        "expected a SHA-256 as 64 hex digits; `waykeeper hash-key` makes it from a key";
    check(&[
        (
            "/clients/keys",
            key(json!({"sha256": "sk-secret"})),
            &format!("clients.keys[0].sha256: {hash_expected}"),
        ),
        (
            "/clients/keys",
            key(json!({"sha256": "zz".repeat(32)})),
            &format!("clients.keys[0].sha256: {hash_expected}"),
        ),
        (
            "/clients/keys",
            key(json!({"plan": "standart"})),
            r#"clients.keys[0].plan: no plan named "standart"; did you mean "standard"?"#,
        ),
        (
            "/clients/keys",
            key(json!({"client_id": "a b"})),
            r#"clients.keys[0].client_id: "a b" is no name; a name is 1 to 128 of the characters A-Z a-z 0-9 . _ : @ -"#,
        ),
        (
            "/clients/keys",
            key(json!({"expires": "2027-02-30T00:00:00Z"})),
            r#"clients.keys[0].expires: expected a time as RFC 3339 writes it, not before 1970, such as "2027-01-31T00:00:00Z""#,
        ),
        (
            "/clients/keys",
            key(json!({"expires": "1960-01-01T00:00:00Z"})),
            r#"clients.keys[0].expires: expected a time as RFC 3339 writes it, not before 1970, such as "2027-01-31T00:00:00Z""#,
        ),
        (
            "/clients/keys",
            key(json!({"roles": ["a", "a"]})),
            r#"clients.keys[0].roles[1]: the role "a" is already in the list"#,
        ),
        (
            "/clients/keys",
            key(json!({"roles": []})),
            "clients.keys[0].roles: the list is empty; write at least one entry",
        ),
        (
            "/clients/keys",
            key(json!({"roles": (0..17).map(|role| format!("r{role}")).collect::<Vec<_>>()})),
            "clients.keys[0].roles: 17 entries; at most 16 are allowed",
        ),
        (
            "/clients/keys",
            json!([
                {"sha256": hash, "client_id": "a"},
                {"sha256": other, "client_id": "b"},
                {"sha256": hash.to_uppercase(), "client_id": "c"},
            ]),
            "clients.keys[2].sha256: this key is already listed",
        ),
    ]);
}

#[test]
fn a_route_that_needs_a_key_needs_someone_who_knows_keys() {
    let expected = "routes[0]: needs a key, but no key can be valid: there are neither clients.keys nor a \
                    clients.validator (auth_required: false lets callers pass without one)";
    assert_eq!(fault_of("/clients", json!({})), expected);
    assert_eq!(fault_of("/clients", json!({"keys": []})), expected);
    let open = with(
        with(small(), "/clients", json!({})),
        "/routes/0/auth_required",
        json!(false),
    );
    assert!(faults(&open).is_empty());
}

#[test]
fn an_unknown_plan_cannot_become_a_default_that_is_not_there() {
    check(&[(
        "/clients/unknown_plan",
        json!("default"),
        r#"clients.unknown_plan: "default" needs a default_plan"#,
    )]);
}

#[test]
fn the_validator_is_checked() {
    check(&[
        (
            "/clients/validator/host",
            json!("http://auth/"),
            "clients.validator.host: \"http://auth/\" is no host; write its name or address, with a port if it is not the usual \
             one, such as \"auth.example.com\" or \"auth:8080\"",
        ),
        (
            "/clients/validator/path",
            json!("validate"),
            r#"clients.validator.path: "validate" must begin with /"#,
        ),
        (
            "/clients/validator/headers",
            json!({"Host": "a"}),
            r#"clients.validator.headers.Host: the header "Host" has a meaning of its own and cannot be used here"#,
        ),
        (
            "/clients/validator/headers",
            json!({"x-a": "1", "X-A": "2"}),
            "clients.validator.headers.x-a: this header is already written, in other letters",
        ),
        (
            "/clients/validator/headers",
            json!({"x-secret": "s3cret\n"}),
            "clients.validator.headers.x-secret: this is no header's value; use visible ASCII, with blanks only inside",
        ),
        (
            "/clients/validator/headers",
            json!({"x-a": 1}),
            "clients.validator.headers.x-a: expected a string (numbers, true and false need quotes to be text)",
        ),
    ]);
}

/// Without the blank behind a colon, and without the colon, YAML takes what follows for a part of the name.
#[test]
fn a_secret_that_got_into_a_name_is_not_shown() {
    const SECRET: &str = "S3CR-abcdefghijklmnop";
    let apart = "write a colon and a blank behind the name";
    let twice = "written twice; only one can count";
    for border in [":", " ", "=", ":=", "\u{a0}"] {
        let name = |stem: &str| format!("{stem}{border}{SECRET}");
        let unknown = format!("\"proof…\": unknown field; {apart}");
        let header = r#"clients.validator.headers."x-secret…""#;
        let is_none = format!("{header}: \"x-secret\"… is no header's name; {apart}");
        let long = format!("{}{}", name("x-secret"), "s".repeat(200));
        for (document, expected) in [
            (json!({ name("proof"): null }), vec![unknown.clone()]),
            (json!({ name("proof"): 1 }), vec![unknown.clone()]),
            (
                json!({ "clients": { "validator": { "cluster": "a", "path": "/" }, name("proof"): null } }),
                vec![format!("clients.{unknown}")],
            ),
            (
                json!({ "clients": { "validator": { "cluster": "a", "path": "/", "headers": { name("x-secret"): "a" } } } }),
                vec![is_none.clone()],
            ),
            (
                json!({ "clients": { "validator": { "cluster": "a", "path": "/", "headers": { long: "a" } } } }),
                vec![is_none.clone()],
            ),
            (
                json!({ "clients": { "validator": { "cluster": "a", "path": "/", "headers": { name("x-secret"): null } } } }),
                vec![
                    is_none,
                    format!(
                        "{header}: expected a string (numbers, true and false need quotes to be text)"
                    ),
                ],
            ),
            (
                json!({ "clients": { "validator": { "cluster": "a", "path": "/", "headers": name("x-secret") } } }),
                vec![format!(
                    "clients.validator.headers: expected a mapping of names, found \"x-secret\"…; {apart}"
                )],
            ),
        ] {
            let mut whole = small();
            for (name, value) in document.as_object().unwrap() {
                whole[name] = value.clone();
            }
            let told = faults(&whole);
            assert_eq!(told, expected);
            assert!(!format!("{told:?}").contains("S3CR"), "{told:?}");
        }
        // A document that is a text, and a field written twice.
        let text = json!(name("proof")).to_string();
        let doubled = format!("{{{text}: 1, {text}: 1}}");
        for (text, expected) in [
            (
                text,
                format!("expected a mapping, found \"proof\"…; {apart}"),
            ),
            (doubled, format!("\"proof…\": {twice}")),
        ] {
            let told = load(text.as_bytes()).unwrap_err().to_string();
            assert!(told.contains(&expected) && !told.contains("S3CR"), "{told}");
        }
    }
    // Where names may have colons they are shown, if anything is written behind them.
    check(&[
        (
            "/plans",
            json!({"proof:S3CR": null}),
            "plans.\"proof…\": is empty; write a mapping, or leave the field out",
        ),
        (
            "/plans",
            json!({"a:b": {"request": "1/second"}}),
            "plans.\"a:b\".request: unknown field; did you mean \"requests\"?",
        ),
        (
            "/agents/a:b",
            json!({"cluster": ""}),
            "agents.\"a:b\".cluster: \"\" is no cluster's name; it is 1 to 512 visible ASCII characters",
        ),
    ]);
}

#[test]
fn prefixes_that_no_request_can_have_are_refused() {
    for (prefix, expected) in [
        ("chat", r#""chat" must begin with /"#),
        (
            "/chat/",
            r#""/chat/" ends with /; leave it away, since a prefix matches whole path segments"#,
        ),
        (
            "/a//b",
            r#""/a//b" holds //, and such requests are refused"#,
        ),
        (
            "/a/../b",
            r#""/a/../b" holds a segment of dots, and such requests are refused"#,
        ),
        (
            "/a/.",
            r#""/a/." holds a segment of dots, and such requests are refused"#,
        ),
        (
            "/a/..;x/b",
            r#""/a/..;x/b" holds a segment of dots, and such requests are refused"#,
        ),
        (
            "/a/..%3bx/b",
            r#""/a/..%3bx/b" holds a segment of dots, and such requests are refused"#,
        ),
        (
            "/a/;x/b",
            r#""/a/;x/b" holds a segment of parameters alone, and such requests are refused"#,
        ),
        (
            "/%3Bx",
            r#""/%3Bx" holds a segment of parameters alone, and such requests are refused"#,
        ),
        (
            "/a%2Fb",
            r#""/a%2Fb" holds %2F, and such requests are refused"#,
        ),
        (
            "/a%2e",
            r#""/a%2e" holds %2e, and such requests are refused"#,
        ),
        (
            "/a%00",
            r#""/a%00" holds %00, and such requests are refused"#,
        ),
        (
            "/a%5Cb",
            r#""/a%5Cb" holds %5C, and such requests are refused"#,
        ),
        ("/%61", r#""/%61" holds %61; write a, which is the same"#),
        (
            "/a%2",
            r#""/a%2" holds "%2" where an escape has two hex digits"#,
        ),
        (
            "/a%+1",
            r#""/a%+1" holds "%+1" where an escape has two hex digits"#,
        ),
        (
            "/a\\b",
            r#""/a\\b" holds \, which no path holds unescaped; a prefix is matched literally"#,
        ),
        (
            "/{id}",
            r#""/{id}" holds {, which no path holds unescaped; a prefix is matched literally"#,
        ),
        (
            "/a?b",
            r#""/a?b" holds ?, which no path holds unescaped; a prefix is matched literally"#,
        ),
        ("/é", r#""/é" holds characters that are not visible ASCII"#),
    ] {
        assert_eq!(
            fault_of("/routes/0/prefix", json!(prefix)),
            format!("routes[0].prefix: {expected}")
        );
        assert_eq!(
            fault_of("/routes/0/prefix_rewrite", json!(prefix)),
            format!("routes[0].prefix_rewrite: {expected}")
        );
    }
    for prefix in ["/a;b/c", "/a%3Bb", "/a%3bb"] {
        assert_eq!(
            fault_of(
                "/routes/0",
                json!({"prefix": prefix, "name": "a", "agents": ["chat"]})
            ),
            format!(
                r#"routes[0].prefix: "{prefix}" holds ;, and parameters are no part of what is matched; leave them away"#
            )
        );
    }
    for prefix in [
        "/",
        "/a",
        "/a.b/c..d",
        "/%C3%A9",
        "/a:b@c",
        "/a%20b",
        "/a%3Ab",
    ] {
        let document = with(small(), "/routes/0/prefix", json!(prefix));
        assert!(
            faults(&document).is_empty(),
            "{prefix}: {:?}",
            faults(&document)
        );
    }
}

#[test]
fn routes_that_hide_each_other_are_refused() {
    let route = |prefix: &str, methods: Value| match methods {
        Value::Null => json!({"prefix": prefix, "agents": ["chat"]}),
        methods => json!({"prefix": prefix, "agents": ["chat"], "methods": methods}),
    };
    for (one, other, overlap) in [
        (json!(["GET", "POST"]), json!(["POST", "PUT"]), "POST"),
        (json!(["GET"]), json!(["HEAD"]), "HEAD"),
        (Value::Null, json!(["PUT"]), "PUT"),
        (json!(["PUT"]), Value::Null, "PUT"),
        (Value::Null, Value::Null, "every method of"),
    ] {
        let fault = fault_of(
            "/routes",
            json!([
                route("/other", Value::Null),
                route("/a", one),
                route("/a", other)
            ]),
        );
        assert_eq!(
            fault,
            format!(r#"routes[2]: {overlap} "/a" already belongs to routes[1] (GET implies HEAD)"#)
        );
    }
    for (one, other) in [
        ("/a:b", "/a%3Ab"),
        ("/%c3%a9", "/%C3%A9"),
        ("/a%7B", "/a%7b"),
    ] {
        let fault = fault_of(
            "/routes",
            json!([
                route("/other", Value::Null),
                route(one, json!(["GET"])),
                route(other, json!(["POST"]))
            ]),
        );
        assert_eq!(
            fault,
            format!(
                r#"routes[2].prefix: "{other}" and "{one}" of routes[1] are one to requests; write them the same"#
            )
        );
    }
    let disjoint = json!([
        route("/a", json!(["GET"])),
        route("/a", json!(["POST"])),
        route("/a/b", Value::Null)
    ]);
    assert!(faults(&with(small(), "/routes", disjoint)).is_empty());
}

#[test]
fn names_of_routes_are_told_apart() {
    let route =
        |name: &str, prefix: &str| json!({"name": name, "prefix": prefix, "agents": ["chat"]});
    check(&[
        (
            "/routes",
            json!([route("a", "/a"), route("a", "/b")]),
            r#"routes[1].name: routes[0] is already named "a""#,
        ),
        (
            "/routes",
            json!([route("/b", "/a"), {"prefix": "/b", "agents": ["chat"]}]),
            r#"routes[1]: routes[0] is already named "/b""#,
        ),
        (
            "/routes",
            json!([{"prefix": "/a=b", "agents": ["chat"]}]),
            r#"routes[0].prefix: cannot serve as the route's name (too long, or one of ; = " , in it); write a name"#,
        ),
        (
            "/routes/0/name",
            json!("a=b"),
            r#"routes[0].name: "a=b" cannot name a route; a route's name is 1 to 128 visible ASCII characters without ; = " \ and comma"#,
        ),
    ]);
}

#[test]
fn the_rest_of_a_route_is_checked() {
    check(&[
        (
            "/routes",
            json!([]),
            "routes: the list is empty; write at least one entry",
        ),
        (
            "/routes/0/agents",
            json!([]),
            "routes[0].agents: the list is empty; write at least one entry",
        ),
        (
            "/routes/0/agents",
            json!(["chat", "chat"]),
            "routes[0].agents[1]: this agent is already in the list",
        ),
        (
            "/routes/0/agents",
            json!([7]),
            "routes[0].agents[0]: expected the name of an agent, or a mapping with its weight, found the number 7",
        ),
        ("/routes/0/methods", json!(["get"]), {
            "routes[0].methods[0]: expected GET or HEAD or POST or PUT or PATCH or DELETE or OPTIONS or TRACE, found \"get\"; did you mean \"GET\"?"
        }),
        (
            "/routes/0/methods",
            json!(["PUT", "PUT"]),
            "routes[0].methods[1]: PUT is already in the list",
        ),
        ("/routes/0/protocol", json!("websockets"), {
            "routes[0].protocol: expected http or sse or websocket, found \"websockets\"; did you mean \"websocket\"?"
        }),
        (
            "/routes/0",
            json!({"prefix": "/ws", "agents": ["chat"], "protocol": "websocket", "max_body": "1MiB"}),
            "routes[0].max_body: has no meaning for a WebSocket, whose messages never end",
        ),
        (
            "/routes/0",
            json!({"prefix": "/ws", "agents": ["chat"], "protocol": "websocket", "methods": ["POST"]}),
            "routes[0].methods: a WebSocket begins with GET, which is not in the list",
        ),
        (
            "/routes/0",
            json!({"prefix": "/a", "agents": ["chat"], "auth_required": false, "roles": ["admin"]}),
            "routes[0].roles: nobody without a key has a role: auth_required is false",
        ),
        (
            "/routes/0/auth_required",
            json!("no"),
            r#"routes[0].auth_required: expected true or false, found "no""#,
        ),
        (
            "/routes/0/retry",
            json!({"max_attempts": 11}),
            "routes[0].retry.max_attempts: expected a whole number from 1 to 10, found the number 11",
        ),
        (
            "/routes/0/retry",
            json!({"retry_on": [399]}),
            "routes[0].retry.retry_on[0]: expected a whole number from 400 to 599, found the number 399",
        ),
        (
            "/routes/0/retry",
            json!({"retry_on": [502, 502]}),
            "routes[0].retry.retry_on[1]: 502 is already in the list",
        ),
        (
            "/routes/0/max_body",
            json!("2048GiB"),
            r#"routes[0].max_body: expected a size from 1B to 1024GiB, found "2048GiB""#,
        ),
        (
            "/routes/0/max_body",
            Value::Null,
            r#"routes[0].max_body: is empty; write a size such as "64KiB" or "10MiB", or leave the field out"#,
        ),
    ]);
}

#[test]
fn tables_and_agents_have_bounds() {
    let bounds = "a whole number from 1024 to 16777216";
    check(&[
        (
            "/tables",
            json!({"keys": 1023}),
            &format!("tables.keys: expected {bounds}, found the number 1023"),
        ),
        (
            "/tables",
            json!({"counters": 1e300}),
            &format!("tables.counters: expected {bounds}, found a number beyond 9007199254740992"),
        ),
        (
            "/agents/chat/weight",
            json!(-1),
            "agents.chat.weight: expected a whole number from 0 to 1000000, found the number -1",
        ),
        (
            "/agents/chat/weight",
            json!("7"),
            r#"agents.chat.weight: expected a whole number from 0 to 1000000, found "7""#,
        ),
        (
            "/agents/a b",
            json!({"cluster": "a"}),
            r#"agents."a b": "a b" is no name; a name is 1 to 128 of the characters A-Z a-z 0-9 . _ : @ -"#,
        ),
        // Metrics could not tell it from an agent that no request got to.
        (
            "/agents/none",
            json!({"cluster": "a"}),
            r#"agents.none: "none" is what metrics say of requests that have none; choose another name"#,
        ),
        (
            "/routes/0/name",
            json!("none"),
            r#"routes[0].name: "none" is what metrics say of requests that have none; choose another name"#,
        ),
    ]);
    let empty = faults(&with(small(), "/agents", json!({})));
    assert!(
        empty.contains(&"agents: there must be at least one agent".to_owned()),
        "{empty:?}"
    );
}

#[test]
fn more_faults_than_anyone_reads_are_counted() {
    let items: Vec<Value> = (0..2_000)
        .map(|index| json!({"prefix": index, "agents": ["chat"]}))
        .collect();

    let faults = load(
        with(small(), "/routes", json!(items))
            .to_string()
            .as_bytes(),
    )
    .unwrap_err();

    assert_eq!((faults.iter().count(), faults.untold()), (500, 1_500));
    assert!(faults.to_string().ends_with("\nand 1500 more"));
}

#[test]
fn a_fault_never_shows_control_characters_or_endless_text() {
    let long = format!("\u{1b}[31m\n{}", "x".repeat(100_000));

    let fault = fault_of("/routes/0/protocol", json!(long));

    assert!(
        fault.len() < 200 && !fault.contains(['\u{1b}', '\n']),
        "{fault:?}"
    );
}

#[test]
fn switches_are_lists_of_known_words_each_once() {
    check(&[
        (
            "/tell",
            json!(["ratelimit", "open-ai"]),
            r#"tell[1]: expected ratelimit or openai, found "open-ai"; did you mean "openai"?"#,
        ),
        (
            "/tell",
            json!(["openai", "openai"]),
            "tell[1]: stands here twice; once is enough",
        ),
        (
            "/tell",
            json!("openai"),
            r#"tell: expected a list, found "openai""#,
        ),
        (
            "/tell",
            json!(null),
            "tell: is empty; write a list, or leave the field out",
        ),
        (
            "/agents_see",
            json!(["role"]),
            "agents_see[0]: expected client or plan or team or roles or agent or route, found \"role\"; did you mean \"roles\"?",
        ),
        (
            "/agents_see",
            json!({"client": true}),
            "agents_see: expected a list, found a mapping",
        ),
        (
            "/agents/chat/sees",
            json!(["plan", "plan"]),
            "agents.chat.sees[1]: stands here twice; once is enough",
        ),
        (
            "/agents/chat/sees",
            json!(["address"]),
            "agents.chat.sees[0]: expected client or plan or team or roles or agent or route, found \"address\"",
        ),
        (
            "/agent_sees",
            json!([]),
            r#"agent_sees: unknown field; did you mean "agents_see"?"#,
        ),
    ]);
}

/// What stands there may be a secret all the same.
#[test]
fn a_proof_is_a_long_secret_and_no_fault_shows_it() {
    for bad in [
        json!("REPLACE-ME"),
        json!("fifteen-letters"),
        json!("s".repeat(257)),
        json!(" blanks-at-the-ends "),
        json!("a\ttab-in-the-middle"),
        json!("sch\u{f6}nes-geheimnis"),
        json!(12_345_678_901_234_567_u64),
        json!(["sixteen-letters-x"]),
        json!({"sixteen-letters-x": "sixteen-letters-x"}),
        json!(true),
        json!(null),
        json!(""),
    ] {
        check(&[(
            "/proof",
            bad,
            "proof: expected a secret of 16 to 256 visible ASCII characters, in quotes; `openssl rand -hex 32` makes one",
        )]);
    }
}

#[test]
fn an_address_comes_from_one_place() {
    let whole = "expected a whole number from 0 to 32";
    check(&[
        (
            "/address",
            json!({"from": "x-forwarded-fro"}),
            r#"address.from: expected envoy or x-forwarded-for, found "x-forwarded-fro"; did you mean "x-forwarded-for"?"#,
        ),
        ("/address", json!({}), "address.from: is missing"),
        (
            "/address",
            json!({"trusted_hops": 1}),
            "address.from: is missing",
        ),
        (
            "/address",
            json!({"from": "envoy", "trusted_hops": 1}),
            "address.trusted_hops: has no meaning with from: envoy; set Envoy's xff_num_trusted_hops instead",
        ),
        (
            "/address",
            json!({"from": "x-forwarded-for", "trusted_hops": -1}),
            &format!("address.trusted_hops: {whole}, found the number -1"),
        ),
        (
            "/address",
            json!({"from": "x-forwarded-for", "trusted_hops": 33}),
            &format!("address.trusted_hops: {whole}, found the number 33"),
        ),
        (
            "/address",
            json!({"from": "x-forwarded-for", "hops": 1}),
            "address.hops: unknown field",
        ),
    ]);
}
