//! What an inference gateway in an agent's place is told: whose request it is and which objective its plan has, by the gateway
//! alone. Callers' own words on that reach it in no spelling, neither as headers nor as trailers.

use hyper::header::{HeaderMap, HeaderName};
use serde_json::json;
use waykeeper_demo::agent::Echo;
use waykeeper_demo::auth::Client;

use crate::harness::{Draft, World};

const NOTES: &str = "/api/v1/memory/notes";
const SEARCH: &str = "/api/v1/search";

/// Names that an inference gateway acts on, in every spelling.
const SPELLINGS: [&str; 14] = [
    "x-gateway-inference-fairness-id",
    "X-Gateway-Inference-Fairness-Id",
    "x_gateway_inference_fairness_id",
    "X_GATEWAY-INFERENCE_FAIRNESS-ID",
    "x-gateway-inference-objective",
    "x-gateway_inference-objective",
    "x-gateway-inference-made-up",
    "x-llm-d-inference-fairness-id",
    "X-LLM-D-INFERENCE-OBJECTIVE",
    "x_llm_d_inference_objective",
    "x-llm-d-made-up",
    "x-gateway-model-name-rewrite",
    "x-gateway-destination-endpoint",
    "x_gateway_destination_endpoint-subset",
];

#[tokio::test]
async fn an_inference_gateway_is_told_of_client_or_team_and_plan_by_nobody_but_the_gateway() {
    let world = World::with(|draft| {
        careless(draft);
        let agents = &mut draft.configuration()["agents"];
        agents["memory"]["inference"] =
            json!({"by": "team", "objectives": {"premium": "interactive", "standard": "batch"}});
        agents["rag"]["inference"] =
            json!({"by": "client", "objectives": {"premium": "interactive"}});
        for (key, plan, team) in [
            ("blue-premium", "premium", Some("blue")),
            ("blue-standard", "standard", Some("blue")),
            ("alone", "premium", None),
        ] {
            let client = Client {
                client_id: format!("client-{key}"),
                plan: Some(plan.to_owned()),
                team: team.map(str::to_owned),
                ..Client::default()
            };
            draft.services.auth().insert_key(key, client);
        }
        draft.configuration()["limits"] = json!([]);
        draft.route("/api/v1/memory")["auth_required"] = json!(false);
    })
    .await;

    let told = [
        (
            NOTES,
            Some("blue-premium"),
            Some("blue"),
            Some("interactive"),
        ),
        (NOTES, Some("blue-standard"), Some("blue"), Some("batch")),
        (
            NOTES,
            Some("alone"),
            Some("client-alone"),
            Some("interactive"),
        ),
        (NOTES, None, None, None),
        (
            SEARCH,
            Some("blue-premium"),
            Some("client-blue-premium"),
            Some("interactive"),
        ),
        (
            SEARCH,
            Some("blue-standard"),
            Some("client-blue-standard"),
            None,
        ),
    ];
    for (path, key, flow, objective) in told {
        let method = if path == NOTES { "GET" } else { "POST" };
        let expected = [
            ("x-gateway-inference-fairness-id", flow),
            ("x-gateway-inference-objective", objective),
            ("x-llm-d-inference-fairness-id", flow),
            ("x-llm-d-inference-objective", objective),
        ];
        let expected = expected
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let expected: Vec<_> = expected
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();

        // All spellings, each twice, as they are: no client library puts their letters into lower case.
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n");
        if let Some(key) = key {
            request += &format!("x-api-key: {key}\r\n");
        }
        let plain = world.raw(format!("{request}\r\n")).await.echo();
        for name in SPELLINGS.iter().chain(&SPELLINGS) {
            request += &format!("{name}: forged\r\n");
        }
        let forged = world.raw(format!("{request}\r\n")).await.echo();

        assert_eq!(inference(&plain), expected, "{path} {key:?}");
        assert_eq!(inference(&forged), expected, "{path} {key:?}");
        let headers = serde_json::to_string(&forged.headers).expect("headers");
        assert!(!headers.contains("forged"), "{headers}");
    }

    // As trailers, over both versions of HTTP.
    let mut trailers = HeaderMap::new();
    for name in SPELLINGS {
        let name: HeaderName = name.parse().expect("a name");
        trailers.append(name, "forged".parse().expect("a value"));
    }
    trailers.append("x-checksum", "kept".parse().expect("a value"));
    let announced: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
    let announced = announced.join(", ");
    for http2 in [false, true] {
        let request = world.request("POST", NOTES).key("blue-premium");
        let request = request.header("trailer", &announced);
        let request = if http2 { request.http2() } else { request };
        let mut upload = request.upload();
        assert!(upload.write("the body").await);
        upload.end_with(trailers.clone()).await;
        let echo = upload.answer().await.echo();
        let arrived: Vec<_> = echo.trailers.iter().map(|(name, _)| name).collect();
        assert_eq!(arrived, ["x-checksum"]);
    }
}

/// What such a gateway may read, by the names that it may take them for.
fn inference(echo: &Echo) -> Vec<(String, String)> {
    let headers = echo.headers.iter();
    let headers = headers.map(|(name, values)| (name.replace('_', "-"), values.join("|")));
    let mut headers: Vec<_> = headers
        .filter(|(name, _)| name.starts_with("x-gateway-") || name.starts_with("x-llm-d-"))
        .collect();
    headers.sort();
    headers
}

/// Envoy takes underscores and trailers, and none of its own care is left.
fn careless(draft: &mut Draft) {
    let manager = draft.connection_manager();
    manager["common_http_protocol_options"]["headers_with_underscores_action"] = json!("ALLOW");
    manager["http_protocol_options"] = json!({"enable_trailers": true});
    manager["early_header_mutation_extensions"] = json!([]);
    manager["route_config"]["virtual_hosts"][0]["request_headers_to_remove"] = json!([]);
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    draft.cluster("memory")["typed_extension_protocol_options"][options]["explicit_http_config"] =
        json!({"http2_protocol_options": {}});
}
