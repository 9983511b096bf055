//! Lists of calls that wait for places under one bound: none waits for another that waits for it.

use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{Request, World, eventually};

const PLACES: usize = 4;

fn list(world: &World, tools: &[&str]) -> Request {
    let call = |(id, tool): (usize, &&str)| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}"}}}}"#
        )
    };
    let calls: Vec<String> = tools.iter().enumerate().map(call).collect();
    let request = world.request("POST", "/lists").key("demo-standard");
    let request = request.header("content-type", "application/json");
    request.body(format!("[{}]", calls.join(",")))
}

#[tokio::test]
async fn lists_that_call_the_same_tools_all_have_their_turn() {
    let world = World::with(|draft| {
        draft.workers(2);
        let configuration = draft.configuration();
        configuration["plans"]["standard"] = json!({});
        configuration["limits"] = json!([
            {"name": "per-tool", "each": "tool", "match": {"route": "/lists"}, "in_flight": PLACES, "wait": "30s"},
        ]);
        draft
            .routes()
            .push(json!({"prefix": "/lists", "agents": ["tools"], "mcp": {}}));
        let undecided = draft.setup.bootstrap.route_mut("not-decided");
        undecided.expect("the route")["route"]["idle_timeout"] = json!("60s");
    })
    .await;
    let (one, other) = (["one"; PLACES], ["other"; PLACES]);
    // These have all places for a while, and the others have to wait: for what the next one has, if each had a part.
    let mut all = JoinSet::new();
    let before = world.agent("tools").stats().total;
    for tools in [one, other] {
        all.spawn(list(&world, &tools).header("x-demo-delay", "4s").send());
    }
    eventually("as they are there", || async {
        (world.agent("tools").stats().total == before + 2).then_some(())
    })
    .await;
    let [ahead, behind] = [[one, other].concat(), [other, one].concat()];
    let few = &one[1..];
    for tools in [&*ahead, &behind, few, few, few] {
        all.spawn(list(&world, tools).send());
    }
    eventually("as the others wait", || async {
        let metrics = world.metrics().await;
        let waits = metrics.sum("waykeeper_limit_waits_total", &[("limit", "per-tool")]);
        (waits >= 5.0).then_some(())
    })
    .await;
    for answer in all.join_all().await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
