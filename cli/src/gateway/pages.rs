//! What pages in browsers may send and read: what the usual clients of agents do, and what the file itself asks of callers.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use waykeeper::config::Policy;
use waykeeper::config::policy::{Each, KeySource, Scope, Sticky, Subject};

use super::{Gateway, filters};

/// What the browser clients of OpenAI, Anthropic, MCP, A2A and gRPC-Web send, in lines.
const SENT: [&str; 12] = [
    "accept, api-key, authorization, content-type, idempotency-key, last-event-id, traceparent, tracestate, user-agent",
    "x-agent, x-api-key, x-goog-api-key",
    "openai-beta, openai-organization, openai-project",
    "x-stainless-arch, x-stainless-async, x-stainless-custom-event-handler, x-stainless-custom-poll-interval",
    "x-stainless-helper, x-stainless-helper-method, x-stainless-lang, x-stainless-os, x-stainless-package-version",
    "x-stainless-poll-helper, x-stainless-raw-response, x-stainless-read-timeout, x-stainless-retry-count",
    "x-stainless-runtime, x-stainless-runtime-version, x-stainless-stream-helper, x-stainless-timeout",
    "anthropic-beta, anthropic-dangerous-direct-browser-access, anthropic-user-profile-id, anthropic-version",
    "anthropic-workspace-id",
    "mcp-method, mcp-name, mcp-protocol-version, mcp-session-id",
    "a2a-extensions, a2a-version, x-a2a-extensions",
    "grpc-timeout, x-grpc-web, x-user-agent",
];

/// And what they read.
const READ: [&str; 8] = [
    "x-request-id, request-id, retry-after, retry-after-ms, x-should-retry, www-authenticate",
    "ratelimit, ratelimit-policy, x-waykeeper-limit-warning",
    "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens",
    "openai-model, openai-organization, openai-poll-after-ms, openai-processing-ms, openai-version",
    "anthropic-organization-id, anthropic-workspace-id",
    "mcp-protocol-version, mcp-session-id, a2a-extensions, a2a-version, x-a2a-extensions",
    "grpc-message, grpc-status",
];

/// What the template `cors.yaml` is given, in lines.
pub(super) fn headers(gateway: &Gateway, policy: &Policy) -> Json {
    json!({
        "sent": lines(&SENT, sent(gateway, policy)),
        "read": lines(&READ, sessions(gateway)),
    })
}

fn lines(usual: &[&str], own: BTreeSet<&str>) -> Vec<String> {
    let known: BTreeSet<&str> = usual.iter().flat_map(|line| line.split(", ")).collect();
    let own = own.difference(&known).map(|header| (*header).to_owned());
    usual
        .iter()
        .map(|line| (*line).to_owned())
        .chain(own)
        .collect()
}

/// The headers by which callers are known, counted and kept together, and those that bring their own credentials.
fn sent<'c>(gateway: &'c Gateway, policy: &'c Policy) -> BTreeSet<&'c str> {
    let mut sent = sessions(gateway);
    sent.extend(filters::callers_headers(&gateway.agents));
    for source in &policy.clients.key_sources {
        if let KeySource::Header { name, .. } = source {
            sent.insert(name);
        }
    }
    for agent in &gateway.agents {
        for way in agent.sticky.iter().flat_map(Sticky::ways) {
            if let Sticky::Header(name) = way {
                sent.insert(name);
            }
        }
    }
    let of_plans = policy.plans.iter().flat_map(|plan| &plan.limits);
    let of_routes = policy.routes.iter().flat_map(|route| &route.limits);
    for limit in policy.limits.iter().chain(of_plans).chain(of_routes) {
        sent.extend(headers_of(&limit.each, &limit.scope));
    }
    let of_plans = policy.plans.iter().flat_map(|plan| &plan.in_flight);
    for bound in policy.in_flight.iter().chain(of_plans) {
        sent.extend(headers_of(&bound.each, &bound.scope));
    }
    sent
}

/// Those in which agents name sessions, and callers send these back.
fn sessions(gateway: &Gateway) -> BTreeSet<&str> {
    let sticky = gateway.agents.iter().filter_map(|it| it.sticky.as_ref());
    let sessions = sticky.filter_map(|it| match it {
        Sticky::Session(header) => Some(header.as_str()),
        _ => None,
    });
    sessions.collect()
}

/// Those that decide how a limit counts a request.
fn headers_of<'l>(each: &'l Each, scope: &'l Scope) -> impl Iterator<Item = &'l str> {
    let counted = each.subjects().iter().filter_map(|it| match it {
        Subject::Header(name) => Some(name.as_str()),
        _ => None,
    });
    let scope = scope.headers.iter();
    counted.chain(scope.map(|(name, _)| name.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::headers;
    use crate::gateway::read;
    use crate::yaml;

    #[test]
    fn pages_may_send_and_read_all_that_the_file_speaks_of_and_each_once() {
        let key = "0".repeat(64);
        let text = format!(
            "listen: [{{address: '0.0.0.0:8080'}}]\nsessions: {{keys: ['{key}']}}\n\
             clients: {{key_sources: [{{header: X-My-Own-Key}}, {{header: x-api-key}}, {{query: k}}], \
             validator: {{url: 'http://auth/v'}}}}\n\
             limits: [{{name: l, each: [{{header: x-tenant}}], match: {{header: {{x-tier: [a]}}}}, requests: 1/day}}]\n\
             agents: {{a: {{url: 'http://a', sticky: {{header: x-thread}}}}, \
             b: {{url: 'http://b', sticky: {{header: x-session, named_by: agent}}}}}}\n\
             routes: [{{prefix: /, agents: [a, b]}}]"
        );
        let checked = read(&yaml::parse(&text).unwrap()[0]).unwrap();
        let told = headers(&checked.gateway, &checked.policy);
        let count = |list: &str, name: &str| {
            let lines = told[list]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Json::as_str);
            lines
                .flat_map(|line| line.split(", "))
                .filter(|it| *it == name)
                .count()
        };
        for name in [
            "x-my-own-key",
            "x-api-key",
            "x-tenant",
            "x-tier",
            "x-thread",
            "x-session",
        ] {
            assert_eq!(count("sent", name), 1, "{name}: {told}");
        }
        assert_eq!(
            (count("read", "x-session"), count("read", "x-thread")),
            (1, 0)
        );
    }
}
