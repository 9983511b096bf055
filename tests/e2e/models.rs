//! Callers ask which models they may use: the gateway answers itself, in the shapes of OpenAI and Anthropic, as their own clients
//! read them.

use serde_json::{Value, json};

use crate::harness::{Draft, World, python};

const STANDARD: [&str; 3] = ["fast", "org/embed", "qwen3-4b"];
const PREMIUM: [&str; 5] = ["fast", "gpt-4o", "org/embed", "qwen3-235b", "qwen3-4b"];
const ADMIN: [&str; 6] = [
    "fast",
    "gpt-4o",
    "org/embed",
    "qwen3-235b",
    "qwen3-4b",
    "secret",
];

#[tokio::test]
async fn each_caller_is_told_the_models_that_it_may_use() {
    let world = World::with(models).await;
    openai_client_reads_them(&world).await;
    anthropic_client_reads_them_page_by_page(&world).await;
    only_questions_about_models_are_answered(&world).await;
}

async fn openai_client_reads_them(world: &World) {
    let seen = python(
        "openai",
        &format!("http://{}/v1", world.address()),
        "allowed_models",
    )
    .await;
    assert_eq!(seen["demo-standard"], json!(STANDARD));
    assert_eq!(seen["demo-premium"], json!(PREMIUM));
    assert_eq!(seen["demo-admin"], json!(ADMIN));
    assert_eq!(seen["one"], json!(["org/embed", "model"]));
    assert_eq!(seen["another's"]["class"], "NotFoundError", "{seen}");
    assert_eq!(seen["another's"]["code"], "model_not_found", "{seen}");
    assert_eq!(seen["nobody's"]["class"], "AuthenticationError", "{seen}");
}

async fn anthropic_client_reads_them_page_by_page(world: &World) {
    let seen = python(
        "anthropic",
        &format!("http://{}", world.address()),
        "allowed_models",
    )
    .await;
    assert_eq!(seen["all"], json!(PREMIUM));
    assert_eq!(seen["by two"], json!(PREMIUM));
    assert_eq!(
        seen["first"],
        json!([["fast", "gpt-4o"], true, "fast", "gpt-4o"])
    );
    assert_eq!(
        seen["last"],
        json!([["qwen3-235b"], true, "qwen3-235b", "qwen3-235b"])
    );
    assert_eq!(seen["none"], json!([[], false, null, null]));
    assert_eq!(seen["one"], json!(["gpt-4o", "model", "gpt-4o"]));
    assert_eq!(seen["another's"]["class"], "NotFoundError", "{seen}");
    assert_eq!(seen["no page"]["class"], "BadRequestError", "{seen}");
}

async fn only_questions_about_models_are_answered(world: &World) {
    let before = world.agent("memory").stats().total;
    let list = world.get("/v1/models").key("demo-standard").send().await;
    assert_eq!(list.header("content-type"), Some("application/json"));
    let told: Value = list.json();
    assert_eq!(told["object"], "list");
    assert_eq!(
        told["data"][1],
        json!({"id": "org/embed", "object": "model", "created": 0, "owned_by": "waykeeper"})
    );
    // It takes nothing from the plan.
    assert_eq!(list.header("ratelimit"), None);
    for path in [
        "/v1/models?limit=1",
        "/v1/models/",
        "/v1/models/org%2Fembed",
        "/v1/models/org/embed",
    ] {
        let answer = world.get(path).key("demo-standard").send().await;
        assert_eq!(answer.status, 200, "{path} {}", answer.text());
    }
    let head = world
        .request("HEAD", "/v1/models")
        .key("demo-standard")
        .send()
        .await;
    assert_eq!((head.status, head.text().as_str()), (200, ""));
    assert_eq!(
        world.agent("memory").stats().total,
        before,
        "no agent was asked"
    );
    // Other methods, and other paths, are the routes'.
    for (method, path) in [
        ("DELETE", "/v1/models/qwen3-4b"),
        ("GET", "/v1/modelsx"),
        ("GET", "/v1/model"),
    ] {
        let answer = world
            .request(method, path)
            .key("demo-standard")
            .send()
            .await;
        assert_eq!(
            answer.header("x-demo-agent"),
            Some("memory"),
            "{method} {path}"
        );
    }
    let line = world.access_log(&list).await;
    assert_eq!(line["client"], "acme", "{line}");
}

fn models(draft: &mut Draft) {
    let configuration = draft.configuration();
    configuration["limits"] = json!([]);
    configuration["plans"] = json!({"standard": {"requests": "5/hour"}, "premium": {}});
    configuration["model_aliases"] = json!({"fast": "qwen3-4b", "unserved": "nothing"});
    configuration["models_endpoint"] = json!({"more": ["gpt-4o", "unknown"]});
    for (name, like, models) in [
        ("small", "memory", json!(["qwen3-4b", "org/embed"])),
        (
            "large",
            "memory",
            json!(["gpt-4*", {"model": "qwen3-235b", "as": "Qwen/Qwen3-235B"}]),
        ),
        ("special", "memory", json!(["secret"])),
    ] {
        let mut agent = json!({"models": models});
        agent["cluster"] = configuration["agents"][like]["cluster"].clone();
        configuration["agents"][name] = agent;
    }
    *draft.routes() = vec![
        json!({
            "prefix": "/v1", "agents": ["small"],
            "rules": [
                {"match": {"plan": "premium", "model": ["gpt-*", "qwen3-2*"]}, "agents": ["large"]},
                {"match": {"plan": "premium"}, "agents": ["small"]},
            ],
        }),
        json!({"prefix": "/v1/special", "agents": ["special"], "roles": ["admin"]}),
    ];
}
