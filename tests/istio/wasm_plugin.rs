//! The other way, live: the filter as Istio's `WasmPlugin`, and a `VirtualService` with a route for each agent.

use serde_json::json;

use crate::generated;
use crate::harness::World;
use crate::manifests::Manifests;
use crate::render;

const NOTES: &str = "/api/v1/memory/notes";

async fn start() -> World {
    render::start(&generated::gateway(&Manifests::of("wasm-plugin")), None).await
}

#[tokio::test]
async fn each_agent_is_reached_by_its_own_route() {
    let world = start().await;
    for (method, path, agent) in [
        ("GET", NOTES, "memory"),
        ("GET", "/api/v1/tools/list", "tools"),
        ("POST", "/api/v1/search/documents", "rag"),
    ] {
        let answer = world.request(method, path).key("demo-admin").send().await;
        assert_eq!(answer.echo().agent, agent, "{path}");
        for header in ["x-waykeeper-cluster", "x-waykeeper-kind", "x-api-key"] {
            assert_eq!(answer.echo().headers.get(header), None, "{path}: {header}");
        }
    }
    for agent in ["chat-gpu", "chat-cpu"] {
        let chat = world
            .post("/api/v1/chat")
            .header("x-agent", agent)
            .key("demo-admin")
            .send()
            .await;
        assert_eq!(chat.json()["system_fingerprint"], json!(agent));
    }
}

#[tokio::test]
async fn refusals_are_the_filter_s() {
    let world = start().await;
    let missing = world.get(NOTES).send().await;
    assert_eq!(missing.status, 401);
    assert_eq!(missing.json()["error"]["code"], "missing_key");
    let spoofed = world
        .get(NOTES)
        .header(
            "x-waykeeper-cluster",
            "outbound|8080||memory-store.agents.svc.cluster.local",
        )
        .send()
        .await;
    assert_eq!(spoofed.status, 401);
    let forbidden = world
        .get("/api/v1/tools/list")
        .key("demo-standard")
        .send()
        .await;
    assert_eq!(forbidden.status, 403);
}
