//! The schema of `gateway.yaml`: the filter's, with what this file says in other words and what it says beside them.

use serde_json::{Map, Value, json};
use waykeeper::config;
use waykeeper::config::schema::{described, object, of_filter};

use super::{agents, patches, providers, sees};

/// The JSON Schema (2020-12) of the file that people write.
pub(crate) fn schema() -> Value {
    let mut schema = config::schema();
    let mut set = |pointer: &str, value: Value| {
        let place = pointer
            .rsplit_once('/')
            .and_then(|(parent, name)| Some((schema.pointer_mut(parent)?.as_object_mut()?, name)));
        if let Some((parent, name)) = place {
            parent.insert(name.to_owned(), value);
        }
    };
    set("/title", json!("Waykeeper's gateway"));
    set("/required", json!(["listen", "agents", "routes"]));
    set(
        "/properties/listen",
        json!({
            "description": "Where the gateway listens.",
            "type": "array", "minItems": 1, "maxItems": 16,
            "items": {"$ref": "#/$defs/listener"},
        }),
    );
    set(
        "/properties/operations",
        described(
            "address_and_port",
            "Where metrics and /ready are served. Nowhere unless written.",
        ),
    );
    set(
        "/properties/envoy",
        described("envoy", "What is to be different in Envoy's configuration."),
    );
    set(
        "/properties/agents/description",
        json!("What answers, by the names that routes and callers use."),
    );
    for (name, definition) in definitions() {
        set(&format!("/$defs/{name}"), definition);
    }
    set(
        "/$defs/validator/properties/url",
        json!({
            "description": "Where keys are asked about, by POST. In place of cluster and path.",
            "type": "string", "pattern": or_reference("^[Hh][Tt]{2}[Pp][Ss]?://[^@/?#]+([/?][^#]*)?$"),
        }),
    );
    set(
        "/$defs/validator/properties/tls",
        described(
            "client_tls",
            "How the validator is known, if its url is one of https.",
        ),
    );
    set(
        "/$defs/limiter/properties/url",
        json!({
            "description": "Where it is, without a path. In place of cluster.",
            "type": "string", "pattern": or_reference("^[Hh][Tt]{2}[Pp][Ss]?://[^@/?#]+/?$"),
        }),
    );
    set(
        "/$defs/limiter/properties/tls",
        described(
            "client_tls",
            "How the limiter is known, if its url is one of https.",
        ),
    );
    set(
        "/$defs/limiter/properties/health_check",
        json!({
            "description": "Whether Envoy asks it if it is well, by grpc.health.v1. true unless written; false for one that does not answer that.",
            "type": "boolean",
        }),
    );
    set(
        "/$defs/limiter/properties/builtin",
        described(
            "builtin_limiter",
            "`waykeeper run` itself counts, for this gateway alone.",
        ),
    );
    set("/$defs/limiter/required", json!([]));
    set(
        "/$defs/limiter/oneOf",
        json!([
            {"required": ["url"], "not": {"anyOf": [{"required": ["cluster"]}, {"required": ["builtin"]}]}},
            {"required": ["cluster"], "not": {"anyOf": [{"required": ["url"]}, {"required": ["tls"]}, {"required": ["health_check"]}, {"required": ["builtin"]}]}},
            {"required": ["builtin"], "not": {"anyOf": [{"required": ["url"]}, {"required": ["tls"]}, {"required": ["health_check"]}, {"required": ["host"]}, {"required": ["cluster"]}]}},
        ]),
    );
    set("/$defs/validator/required", json!([]));
    set(
        "/$defs/sessions/properties/keys/items",
        json!({"oneOf": [{"$ref": "#/$defs/session_key"}, {"$ref": "#/$defs/key_place"}]}),
    );
    set(
        "/$defs/validator/oneOf",
        json!([
            {"required": ["url"], "not": {"anyOf": [{"required": ["path"]}, {"required": ["cluster"]}]}},
            {"required": ["cluster", "path"], "not": {"anyOf": [{"required": ["url"]}, {"required": ["tls"]}]}},
        ]),
    );
    schema
}

/// What is written by a reference to the environment is judged once that is known.
fn or_reference(pattern: &str) -> String {
    format!("\\$\\{{|{pattern}")
}

fn definitions() -> Map<String, Value> {
    let definitions = json!({
        "listener": object(&["address"], json!({
            "address": described("address_and_port", "Such as 0.0.0.0:8080; one of IPv6 in brackets and quotes."),
            "tls": described("server_tls", "Speak TLS there."),
            "trusted_hops": {
                "description": "How many proxies in front write x-forwarded-for. 0 unless written.",
                "type": "integer", "minimum": 0, "maximum": 32,
            },
            "cors": described("cors", "Which pages may call."),
            "proxy_protocol": {
                "description": "Whether every connection begins with the PROXY protocol. false unless written.",
                "type": "boolean",
            },
        })),
        "builtin_limiter": object(&[], json!({
            "keep": described("file", "The file in which counts outlive a restart. They end with it unless written."),
        })),
        "cors": object(&["origins"], json!({
            "origins": {
                "description": "Origins as browsers send them; localhost for pages from this machine, on any port.",
                "type": "array", "minItems": 1, "maxItems": 256, "uniqueItems": true,
                "items": {"type": "string", "pattern": "^(localhost|[a-z][a-z0-9+.-]*://[^/?#@A-Z]+)$"},
            },
        })),
        "server_tls": object(&["certificate", "key"], json!({
            "certificate": described("file", "PEM: the certificate, and those between it and its root."),
            "key": described("file", "PEM: its private key."),
            "client_ca": described("file", "PEM: callers must have a certificate of one of these."),
        })),
        "client_tls": client_tls(),
        "envoy": object(&[], json!({
            "patches": {
                "description": "Put in one after the other, by every command alike.",
                "type": "array", "maxItems": 256,
                "items": {"$ref": "#/$defs/patch"},
            },
        })),
        "patch": patch(),
        "agent": agent(),
        "credential": credential(),
        "endpoint": object(&["url"], json!({
            "url": described("agent_url", "Where it is."),
            "weight": {
                "description": "Its share of the agent's requests. 1 unless written.",
                "type": "integer", "minimum": 1, "maximum": 1_000_000,
            },
        })),
        "health": object(&["path"], json!({
            "path": {
                "description": "What is asked for by GET; 200 means well.",
                "type": "string", "maxLength": 1024, "pattern": "^/[!\"$-~]*$",
            },
            "interval": described("duration", "How often. 5s unless written."),
            "timeout": described("duration", "How long the answer may take. 2s unless written."),
        })),
        "picker": object(&["url"], json!({
            "url": {
                "description": "Where an endpoint picker of the Gateway API Inference Extension is, without a path.",
                "type": "string", "pattern": or_reference("^[Hh][Tt]{2}[Pp][Ss]?://[^@/?#]+/?$"),
            },
            "tls": described("client_tls", "How it is known, if its url is one of https."),
            "timeout": described("duration", "How long it may take, from the request's headers on and with the body, which it reads: 100ms to 10m. 10s unless written."),
            "on_failure": {
                "description": "What becomes of a request for which it picks none: deny, it is refused with 503; balance, it goes where balance says. deny unless written.",
                "enum": ["deny", "balance"],
            },
        })),
        "key_place": {
            "description": "Where the key stands.",
            "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
            "properties": {
                "file": described("file", "A file that holds it and nothing else."),
                "env": {"description": "A variable of the environment.", "type": "string", "minLength": 1},
            },
        },
        "agent_url": {
            "description": "http or https, a name or an address, a port if it is not the usual one; and what its paths begin \
                            with in place of the request's /v1.",
            "type": "string", "pattern": or_reference("^[Hh][Tt]{2}[Pp][Ss]?://[^@/?#]+(/[^?#]*)?$"),
        },
        "address_and_port": {"type": "string", "pattern": or_reference("^([0-9.]+|\\[[0-9A-Fa-f:.%]+\\]):[0-9]{1,5}$")},
        "file": {
            "description": "A whole path, as Envoy finds it.",
            "type": "string", "maxLength": 4095, "pattern": "^/",
        },
    });
    match definitions {
        Value::Object(definitions) => definitions,
        _ => Map::new(),
    }
}

fn agent() -> Value {
    let properties = json!({
        "url": described("agent_url", "Where it is."),
        "endpoints": {
            "description": "Where it is, if that is in several places.",
            "type": "array", "minItems": 1, "maxItems": 256,
            "items": {"oneOf": [{"$ref": "#/$defs/agent_url"}, {"$ref": "#/$defs/endpoint"}]},
        },
        "provider": {
            "description": "Who it is, if that is publicly known: where, how it is asked, and how it is told who pays.",
            "enum": providers::NAMES,
        },
        "region": {
            "description": "Of AWS, for bedrock.",
            "type": "string", "pattern": "^[a-z0-9-]{1,32}$",
        },
        "credential": described("credential", "By what it knows who calls."),
        "cluster": described("cluster", "A cluster of Envoy's that is written elsewhere."),
        "websocket_cluster": described("cluster", "The one for WebSockets, beside cluster. The same unless written."),
        "builtin": {
            "description": "An agent that `waykeeper run` itself serves: echo says what it was asked, as OpenAI and Anthropic answer.",
            "enum": ["echo"],
        },
        "weight": {
            "description": "Its share of the requests that name no agent. 1 unless written; 0 is only reached by name.",
            "type": "integer", "minimum": 0, "maximum": 1_000_000,
        },
        "sticky": described("sticky", "What keeps requests at one of its endpoints. Nothing unless written."),
        "balance": {
            "description": "Which endpoint gets a request. maglev for an agent that is sticky by a hash, else least_request, unless written.",
            "enum": ["least_request", "round_robin", "random", "ring_hash", "maglev"],
        },
        "health": described("health", "Ask each endpoint whether it is well."),
        "tls": described("client_tls", "How it is known, if its url is one of https."),
        "http2": {
            "description": "true: HTTP/2 and nothing else. false: HTTP/1.1. Unless written what is offered over TLS, else HTTP/1.1.",
            "type": "boolean",
        },
        "picker": described("picker", "Who says which of its endpoints answers. What balance says unless written."),
        "sees": {
            "description": "What it is told of who calls: address is where from, the others are x-waykeeper-* headers. Of a provider \
                            nothing, of others the address and agents_see, unless written.",
            "type": "array", "uniqueItems": true, "maxItems": sees::WORDS.len(),
            "items": {"enum": sees::WORDS},
        },
    });
    let mut agent = of_filter(object(&[], properties));
    let places = [
        "url",
        "endpoints",
        "cluster",
        "websocket_cluster",
        "builtin",
    ];
    let none_of = |names: &[&str]| {
        let names: Vec<_> = names
            .iter()
            .map(|name| json!({"required": [name]}))
            .collect();
        json!({"anyOf": names})
    };
    agent["oneOf"] = json!([
        {"required": ["url"], "not": none_of(&["endpoints", "cluster", "websocket_cluster", "builtin"])},
        {"required": ["endpoints"], "not": none_of(&["url", "cluster", "websocket_cluster", "builtin"])},
        {"required": ["provider"], "not": none_of(&places)},
        {"required": ["cluster"], "not": none_of(&[&["url", "endpoints", "builtin"], agents::NOT_BESIDE_CLUSTER.as_slice()].concat())},
        {"required": ["builtin"], "not": none_of(&[&["url", "endpoints", "cluster", "websocket_cluster", "sticky"], agents::NOT_BESIDE_CLUSTER.as_slice()].concat())},
    ]);
    agent["allOf"] = json!([
        {
            "if": {"required": ["provider"], "properties": {"provider": {"const": "bedrock"}}},
            "then": {
                "required": ["region"],
                "not": {"required": ["endpoints"]},
                "properties": {"credential": {"required": ["file"], "maxProperties": 1}},
            },
            "else": {"not": {"required": ["region"]}},
        },
        {
            "if": {"required": ["provider"], "properties": {"provider": {"const": "azure-openai"}}},
            "then": {"anyOf": [{"required": ["url"]}, {"required": ["endpoints"]}]},
        },
    ]);
    agent
}

fn credential() -> Value {
    let mut credential = object(
        &[],
        json!({
            "file": described("file", "It stands in this file. For bedrock a credentials file of AWS's."),
            "env": {
                "description": "It stands in this variable of Envoy's environment.",
                "type": "string", "maxLength": 256, "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
            },
            "caller": described("header", "The caller brings its own in this header, which no agent gets."),
            "header": described("header", "Where the agent looks for it. The provider's, or authorization, unless written."),
            "scheme": {
                "description": "What stands before it. Bearer in authorization, nothing elsewhere, unless written.",
                "type": "string", "pattern": "^[A-Za-z0-9._~+-]{1,64}$",
            },
        }),
    );
    credential["oneOf"] = json!([
        {"required": ["file"]},
        {"required": ["env"]},
        {"required": ["caller"]},
    ]);
    credential
}

fn patch() -> Value {
    let mut patch = object(
        &["in"],
        json!({
            "in": {"description": "What of Envoy's it is about.", "enum": patches::words()},
            "name": {"description": "Which one is changed, where there are several.", "type": "string"},
            "listener": {
                "description": "In which listener: gateway, gateway-2 …, operations. In all of listen unless written.",
                "type": "string",
            },
            "before": {"description": "The filter before which this one is added.", "type": "string"},
            "after": {
                "description": "The filter after which this one is added.",
                "type": "string", "not": {"const": "envoy.filters.http.router"},
            },
            "add": {
                "description": "What is added, as Envoy's files write it.",
                "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}},
            },
            "merge": {
                "description": "What is different, as a JSON merge patch (RFC 7386): null takes out, a list takes the place of one.",
                "type": "object", "minProperties": 1,
            },
        }),
    );
    patch["oneOf"] = json!([{"required": ["add"]}, {"required": ["merge"]}]);
    patch
}

fn client_tls() -> Value {
    let properties = json!({
        "sni": {
            "description": "The name that is asked for, and must stand in the certificate. The url's host unless written.",
            "type": "string", "maxLength": 253, "pattern": "^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?$",
        },
        "ca": described("file", "PEM: who may have signed it. The system's unless written."),
        "certificate": described("file", "PEM: what the gateway shows of itself."),
        "key": described("file", "PEM: its private key."),
    });
    let mut tls = object(&[], properties);
    tls["dependentRequired"] = json!({"certificate": ["key"], "key": ["certificate"]});
    tls
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use waykeeper::config;

    use super::super::reader::OF_ENVOY;
    use super::super::validator;
    use super::super::{
        agents, credentials, endpoints, limiter, listeners, patches, picker, sessions, tls,
    };
    use super::schema;

    #[test]
    fn every_field_known_to_the_reader_is_known_to_the_schema_and_no_other() {
        let schema = schema();
        let root = [config::FIELDS, &OF_ENVOY].concat();
        let validator = [config::VALIDATOR_FIELDS, &validator::FIELDS].concat();
        let of_limiter = [config::LIMITER_FIELDS, &limiter::FIELDS].concat();
        for (object, fields) in [
            ("", root.as_slice()),
            ("/$defs/validator", &validator),
            ("/$defs/limiter", &of_limiter),
            ("/$defs/builtin_limiter", limiter::BUILTIN_FIELDS),
            ("/$defs/listener", listeners::FIELDS),
            ("/$defs/cors", listeners::CORS_FIELDS),
            ("/$defs/server_tls", tls::SERVER_FIELDS),
            ("/$defs/client_tls", tls::CLIENT_FIELDS),
            ("/$defs/agent", &agents::fields()),
            ("/$defs/endpoint", endpoints::FIELDS),
            ("/$defs/credential", credentials::FIELDS),
            ("/$defs/health", agents::HEALTH_FIELDS),
            ("/$defs/picker", picker::FIELDS),
            ("/$defs/key_place", sessions::KEY_FIELDS),
            ("/$defs/envoy", patches::ENVOY_FIELDS),
            ("/$defs/patch", patches::FIELDS),
        ] {
            let properties = schema.pointer(&format!("{object}/properties"));
            let properties = properties.and_then(|it| it.as_object()).unwrap();
            let known: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            assert_eq!(known, fields.iter().copied().collect(), "{object}");
            let others = schema.pointer(&format!("{object}/additionalProperties"));
            assert_eq!(others, Some(&false.into()), "{object}");
        }
    }
}
