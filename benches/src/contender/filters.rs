//! The filters of the contenders that are not Waykeeper, as Envoy is configured with them.

use std::path::Path;

use serde_json::{Value, json};

use super::envoy::AUTHORITY;
use super::{LISTED_CLIENTS, Limit};
use crate::server::{client, key};

/// Where the filters here note what they find.
pub(super) const NOTES: &str = "bench";

const CLIENT_HEADER: &str = "x-waykeeper-client";

/// A Wasm module with a text as its configuration.
pub(super) fn wasm(module: &Path, configuration: &str) -> Value {
    json!({
        "name": "wasm",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "vm_config": {
                    "vm_id": "bench",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": module.to_string_lossy()}},
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": configuration,
                },
            },
        },
    })
}

/// The floor in either form, which is told nanoseconds for one request, how many may come at once, and in how many seconds as
/// many flow in again.
pub(super) fn floor(module: &Path, limit: Limit) -> Value {
    let (requests, seconds) = limit.quantity();
    let interval = u64::from(seconds) * 1_000_000_000 / u64::from(requests);
    wasm(module, &format!("{interval} {requests} {seconds}"))
}

/// Keys that Envoy is told beforehand.
pub(super) fn api_keys() -> Value {
    let credentials: Vec<Value> = (0..LISTED_CLIENTS)
        .map(|number| json!({"key": key(number), "client": client(number)}))
        .collect();
    json!({
        "name": "envoy.filters.http.api_key_auth",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
            "credentials": credentials,
            "key_sources": [{"header": "x-api-key"}],
            "forwarding": {"header": CLIENT_HEADER, "hide_credentials": true},
        },
    })
}

/// Envoy's own limit, with a descriptor for each client that it is told beforehand.
pub(super) fn local_limit(limit: Limit) -> Value {
    let (requests, seconds) = limit.quantity();
    let bucket = |requests: u32| {
        json!({
            "max_tokens": requests,
            "tokens_per_fill": requests,
            "fill_interval": format!("{seconds}s"),
        })
    };
    let descriptors: Vec<Value> = (0..LISTED_CLIENTS)
        .map(|number| {
            json!({
                "entries": [{"key": "client", "value": client(number)}],
                "token_bucket": bucket(requests),
            })
        })
        .collect();
    let always = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    json!({
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limit",
            // For whom no descriptor stands; nobody here.
            "token_bucket": bucket(100_000_000),
            "always_consume_default_token_bucket": false,
            "filter_enabled": always,
            "filter_enforced": always,
            "descriptors": descriptors,
            "rate_limits": [{"actions": [{"request_headers": {
                "header_name": CLIENT_HEADER,
                "descriptor_key": "client",
            }}]}],
        },
    })
}

/// A Lua filter.
pub(super) fn lua(source: &str, limit: Limit) -> Value {
    let (requests, _) = limit.quantity();
    let source = format!("local LIMIT, CLIENTS = {requests}, {LISTED_CLIENTS}\n{source}");
    json!({
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": source},
        },
    })
}

/// The model that a body asks for, as a note.
pub(super) fn json_to_metadata() -> Value {
    json!({
        "name": "envoy.filters.http.json_to_metadata",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata",
            "request_rules": {"rules": [{
                "selectors": [{"key": "model"}],
                "on_present": {"metadata_namespace": NOTES, "key": "model"},
            }]},
        },
    })
}

/// A question to a server about each request.
pub(super) fn authorizer() -> Value {
    json!({
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "failure_mode_allow": false,
            "allowed_headers": {"patterns": [{"exact": "x-api-key"}]},
            "http_service": {
                "server_uri": {"uri": "http://authority", "cluster": AUTHORITY, "timeout": "1s"},
                "path_prefix": "/authorize",
                "authorization_response": {
                    "allowed_upstream_headers": {"patterns": [{"prefix": "x-waykeeper-"}]},
                },
            },
        },
    })
}
