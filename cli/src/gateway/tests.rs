//! Whatever stands in a `gateway.yaml`: it is read to its end, its faults are about what stands there, and what has none
//! makes files that say the same.

use std::sync::LazyLock;

use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use waykeeper::config::policy::LoadSource;
use waykeeper::config::{self, Node, Segment};

use super::{Admin, Around, EnvoyVersion, render};
use crate::clusters::Clusters;
use crate::yaml::{self, Value};

static SCHEMA: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::validator_for(&super::schema()).unwrap());

/// What a gateway's file does not say, in tests.
pub(super) fn around(admin: Admin<'_>) -> Around<'_> {
    Around {
        source: "gateway.yaml",
        module: "/m",
        directory: "/d",
        admin,
        builtin: None,
        envoy: EnvoyVersion::default(),
    }
}

/// A gateway in which every field of this file is written.
fn full() -> Json {
    let tls = json!({"sni": "a.example", "ca": "/ca", "certificate": "/c", "key": "/k"});
    json!({
        "listen": [
            {
                "address": "0.0.0.0:8443",
                "tls": {"certificate": "/c", "key": "/k", "client_ca": "/ca"},
                "trusted_hops": 1,
                "cors": {"origins": ["https://app.example.com", "localhost"]},
                "proxy_protocol": true,
            },
            {"address": "[::]:8080", "trusted_hops": 1},
        ],
        "operations": "127.0.0.1:9902",
        "clients": {"validator": {"url": "https://auth/validate?x", "tls": tls, "host": "auth", "timeout": "1s"}},
        "plans": {"standard": {"requests": "50/minute"}},
        "fleet": {"gateways": 1, "limiter": {"url": "https://limiter:8081", "tls": tls, "health_check": false, "timeout": "1s"}},
        "sessions": {"keys": ["0".repeat(64), {"file": concat!(env!("CARGO_MANIFEST_DIR"), "/src/gateway/tests/session_key")}]},
        "agents": {
            "by-url": {"url": "http://10.0.0.5:8000/openai/v1", "weight": 2, "http2": false, "sticky": {"header": "mcp-session-id"}},
            "gpt-4.1": {
                "endpoints": [{"url": "https://a", "weight": 2}, "https://[::1]:8443"],
                "balance": "random",
                "health": {"path": "/h", "interval": "1s", "timeout": "250ms"},
                "tls": {"ca": "/ca"},
                "http2": true,
                "load": {"from": "metrics", "every": "2s"},
            },
            "elsewhere": {"cluster": "a|b", "websocket_cluster": "c", "sticky": {"header": "x-thread", "named_by": "agent"}},
            "own": {"builtin": "echo", "weight": 0},
            "socket": {"url": "https://socket", "balance": "maglev", "sticky": {"cookie": "user"}},
            "grpc": {"url": "http://grpc", "http2": true, "load": {"from": "metrics"}, "price": {"input": 0.1, "output": 0.4}},
            "openai": {"provider": "openai", "credential": {"file": "/run/k"}},
            "local": {"provider": "ollama", "credential": {"caller": "x-provider-key", "header": "x-k", "scheme": "Token"}, "sees": ["client", "address"]},
            "signed": {"provider": "bedrock", "region": "eu-west-1", "credential": {"file": "/aws"}},
            "picked": {
                "endpoints": ["http://10.0.0.5:8000", "http://x"], "balance": "round_robin",
                "picker": {"url": "https://picker:9002", "tls": tls, "timeout": "2s", "on_failure": "balance"},
            },
            "azure": {"provider": "azure-openai", "url": "https://r.openai.azure.com", "credential": {"env": "AZURE_KEY"}, "sticky": {"client": true}},
        },
        "routes": [
            {"prefix": "/a", "agents": ["by-url", {"agent": "gpt-4.1", "weight": 9}, "elsewhere", "own", "openai", "local", "signed", "azure"]},
            {"prefix": "/s", "agents": ["socket", "grpc"], "protocol": "websocket", "idle_timeout": "2h"},
        ],
        "address": {"from": "x-forwarded-for"},
    })
}

/// The same with patches, for which all is rendered twice.
fn patched() -> Json {
    let mut document = full();
    document["envoy"] = json!({"patches": [
        {"in": "http_filters", "before": "waykeeper", "add": {"name": "mine"}},
        {"in": "http_filters", "listener": "gateway-2", "after": "mine", "add": {"name": "other"}},
        {"in": "clusters", "name": "by-url", "merge": {"connect_timeout": "2s"}},
    ]});
    document
}

fn parsed(document: &Json) -> Value {
    yaml::parse(&document.to_string()).unwrap().remove(0)
}

/// Whether this is written; of a field that is missing, whether what should hold it is.
fn is_written(document: &Json, path: &[Segment], missing: bool) -> bool {
    let depth = path.len() - usize::from(missing);
    let found = path
        .iter()
        .take(depth)
        .try_fold(document, |at, segment| match segment {
            Segment::Field(name) => at.get(name),
            Segment::Item(index) => at.get(index),
        });
    found.is_some()
}

/// What both files hold is what was read.
fn holds_together(document: &Json) -> Result<(), TestCaseError> {
    let value = parsed(document);
    let checked = match super::read(&value) {
        Ok(checked) => checked,
        Err(wrong) => {
            prop_assert!(!wrong.told.is_empty());
            for (index, fault) in wrong.told.iter().enumerate() {
                let missing = fault.message == "is missing";
                prop_assert!(is_written(document, &fault.path, missing), "{}", fault);
                prop_assert!(
                    !wrong.told[..index].contains(fault),
                    "told twice: {}",
                    fault
                );
            }
            return Ok(());
        }
    };
    let errors: Vec<_> = SCHEMA
        .iter_errors(document)
        .map(|it| it.to_string())
        .collect();
    prop_assert!(errors.is_empty(), "{:?}", errors);
    let around = Around {
        builtin: Some("/s"),
        ..around(Admin::Loopback)
    };
    let rendered = render(&checked, around).unwrap();
    let (envoy, filter) = (yaml::parse(&rendered.envoy), yaml::parse(&rendered.filter));
    let (envoy, filter) = (envoy.unwrap(), filter.unwrap());
    let found = crate::find::configurations(&filter);
    prop_assert_eq!((found.configurations.len(), found.faults.len()), (1, 0));
    let crate::find::Configuration::Fields(own) = found.configurations[0] else {
        return Err(TestCaseError::fail("the filter's document is text"));
    };
    prop_assert_eq!(own.node(), checked.document.0.clone());
    prop_assert_eq!(
        config::read_node(&own.node()).ok(),
        Some(checked.policy.clone())
    );
    // Every cluster that the filter names is there, but for those that are written elsewhere.
    let clusters = Clusters::of(&envoy);
    for agent in &checked.gateway.agents {
        // What is written elsewhere may be called as an agent is.
        let there = |cluster: &str| clusters.get(cluster).is_some() || agent.upstream.is_none();
        prop_assert!(there(&agent.cluster), "{}", agent.cluster);
        if let Some(twin) = &agent.websocket_cluster {
            prop_assert!(there(twin), "{}", twin);
        }
        let of_policy = checked
            .policy
            .agents
            .iter()
            .find(|it| it.name == agent.name);
        let load = of_policy.and_then(|it| it.load.as_ref());
        if let Some(LoadSource::Metrics { shown_by, .. }) = load.map(|it| &it.from) {
            for shower in shown_by {
                prop_assert!(there(&shower.cluster), "{}", shower.cluster);
            }
        }
    }
    prop_assert_eq!(crate::routes::doubts(&envoy), vec![]);
    Ok(())
}

#[test]
fn the_full_gateway_has_no_faults() {
    let document = patched();
    let checked = super::read(&parsed(&document));
    assert!(checked.is_ok(), "{:?}", checked.err());
    holds_together(&document).unwrap();
}

fn places(document: &Json) -> Vec<String> {
    let mut places = Vec::new();
    let mut open = vec![(String::new(), document)];
    while let Some((place, value)) = open.pop() {
        match value {
            Json::Object(fields) => open.extend(
                fields
                    .iter()
                    .map(|(name, value)| (format!("{place}/{name}"), value)),
            ),
            Json::Array(items) => open.extend(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, value)| (format!("{place}/{index}"), value)),
            ),
            _ => {}
        }
        if !place.is_empty() {
            places.push(place);
        }
    }
    places
}

fn value() -> impl Strategy<Value = Json> {
    let text = prop_oneof![
        prop::sample::select(vec![
            "http://a",
            "https://b:8443",
            "http://10.0.0.1:80/",
            "https://[::1]",
            "http://a/v1",
            "0.0.0.0:8080",
            "[::1]:9901",
            "/f",
            "a|b",
            "waykeeper/x",
            "x/tls",
            "localhost",
            "https://x.example",
            "random",
            "1s",
            "10m",
            "socket",
            "by-url",
            "websocket",
            "bedrock",
            "azure-openai",
            "x-api-key",
            "x-forwarded-for",
            "envoy",
            "clusters",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,8}",
        "https?://[a-z0-9.:\\[\\]@/?#-]{1,8}",
        "/[ -~\u{e4}]{0,8}",
    ];
    let leaf = prop_oneof![
        4 => text.prop_map(Json::from),
        1 => any::<bool>().prop_map(Json::from),
        1 => (0_u32..70_000).prop_map(Json::from),
        1 => Just(Json::Null),
    ];
    let name = prop::sample::select(vec![
        "url",
        "endpoints",
        "cluster",
        "weight",
        "path",
        "tls",
        "address",
        "ca",
        "key",
        "validator",
        "n",
        "host",
        "provider",
        "file",
        "env",
        "caller",
        "header",
        "in",
        "merge",
    ]);
    prop_oneof![
        4 => leaf.clone(),
        1 => prop::collection::vec(leaf.clone(), 0..3).prop_map(Json::from),
        1 => prop::collection::btree_map(name.prop_map(str::to_owned), leaf, 0..3)
            .prop_map(|fields| Json::Object(fields.into_iter().collect())),
    ]
}

type Changes = Vec<(prop::sample::Index, Option<Json>)>;

/// Changes what stands below that place.
fn change(document: &mut Json, changes: Changes, below: &str) {
    for (at, value) in changes {
        let mut places = places(document);
        places.retain(|place| place.starts_with(below));
        if places.is_empty() {
            return;
        }
        let (parent, name) = places[at.index(places.len())].rsplit_once('/').unwrap();
        match (document.pointer_mut(parent).unwrap(), value) {
            (Json::Array(items), Some(value)) => items[name.parse::<usize>().unwrap()] = value,
            (Json::Array(items), None) => {
                items.remove(name.parse().unwrap());
            }
            (parent, Some(value)) => parent[name] = value,
            (parent, None) => {
                parent.as_object_mut().unwrap().remove(name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_is_changed_in_patches_is_told_or_holds_together(
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(value())), 1..3),
    ) {
        let mut document = patched();
        change(&mut document, changes, "/envoy");
        holds_together(&document)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_is_changed_is_told_or_holds_together(
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(value())), 1..3),
    ) {
        let mut document = full();
        change(&mut document, changes, "");
        holds_together(&document)?;
    }
}

/// Fields of one name are lost in JSON, and told where they stand in YAML.
#[test]
fn a_field_that_is_written_twice_is_told_once() {
    let text = "listen: [{address: 127.0.0.1:80}]\nagents:\n  a: {url: http://a, weight: 1, weight: 2}\n  a: {url: http://b}\nroutes: \
                [{prefix: /, agents: [a], auth_required: false}]\nlisten: []\nclients: {}\nclients: {}\n";
    let value = yaml::parse(text).unwrap().remove(0);
    assert!(matches!(value.node(), Node::Map(_)));
    let wrong = super::read(&value).unwrap_err();
    let told: Vec<String> = wrong.told.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "agents.a.weight: written twice; only one can count",
            "agents.a: written twice; only one can count",
            "listen: written twice; only one can count",
            "clients: written twice; only one can count",
        ]
    );
}
