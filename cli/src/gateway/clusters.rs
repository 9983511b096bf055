//! What the templates are told of the clusters that are made here: of agents, of the validator and of the limiter.

use std::collections::BTreeSet;
use std::path::Path;

use minijinja::Environment;
use serde_json::{Value as Json, json};
use waykeeper::config::{Policy, show_duration};

use super::agents::{self, Balance, Endpoint, Health};
use super::idle::seconds;
use super::render::LIMITER_SOCKET;
use super::url::Host;
use super::{Agent, Http, Limiter, Upstream, filters};

/// The system's, where Debian, Ubuntu and Envoy's own images have them.
pub(crate) const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The filter bounds the questions of each worker; with more workers than this the cluster does too.
const WORKERS: usize = 64;

/// What the filters of every agent's clusters are made with.
#[derive(Clone, Copy)]
pub(super) struct Making<'m> {
    /// The headers that bring callers' own credentials.
    pub(super) callers: &'m [&'m str],
    /// Where Envoy finds what it is told of credentials.
    pub(super) directory: &'m str,
    pub(super) environment: &'m Environment<'m>,
}

impl Making<'_> {
    fn filters(self, agent: &Agent, upstream: &Upstream) -> Result<Json, minijinja::Error> {
        filters::filters(
            agent,
            upstream,
            self.callers,
            self.directory,
            filters::ByHost::Router,
            self.environment,
        )
    }
}

/// Those that are made for an agent.
pub(super) fn clusters(agent: &Agent, making: Making<'_>) -> Result<Vec<Json>, minijinja::Error> {
    let Some(upstream) = &agent.upstream else {
        return Ok(Vec::new());
    };
    let filters = making.filters(agent, upstream)?;
    let mut of_agent = cluster(&agent.cluster, upstream);
    of_agent["picked"] = agent.picker.is_some().into();
    of_agent["filters"] = filters.clone();
    let mut clusters = vec![of_agent];
    if let Some(name) = &agent.websocket_cluster {
        let mut twin = cluster(name, upstream);
        twin["filters"] = filters;
        twin["http"] = "one".into();
        twin["for_websockets"] = true.into();
        clusters.push(twin);
    }
    Ok(clusters)
}

/// Those in which an agent's endpoints are asked for their metrics, one by one. No request of a caller's comes there.
pub(super) fn showers(agent: &Agent, making: Making<'_>) -> Result<Vec<Json>, minijinja::Error> {
    let Some(upstream) = &agent.upstream else {
        return Ok(Vec::new());
    };
    let shower = |(name, endpoint): (String, &Endpoint)| {
        let alone = Upstream {
            endpoints: vec![endpoint.clone()],
            balance: Balance::RoundRobin,
            health: None,
            // Metrics are the server's, wherever below it the agent is.
            base: None,
            ..upstream.clone()
        };
        let mut made = cluster(&name, &alone);
        made["filters"] = making.filters(agent, &alone)?;
        Ok(made)
    };
    agent.showers().map(shower).collect()
}

pub(super) fn cluster(name: &str, upstream: &Upstream) -> Json {
    let endpoints: Vec<Json> = upstream.endpoints.iter().map(endpoint).collect();
    let by_name = |endpoint: &Endpoint| matches!(endpoint.url.host, Host::Name(_));
    json!({
        "name": name,
        "for_websockets": false,
        "filters": null,
        "further": false,
        "falls_back": false,
        "picked": false,
        "told_name": null,
        "attempts": null,
        "stat_name": other_stat_name(name),
        "by_name": upstream.endpoints.iter().any(by_name),
        "balance": match upstream.balance {
            Balance::LeastRequest => "least_request",
            Balance::RoundRobin => "round_robin",
            Balance::Random => "random",
            Balance::RingHash => "ring_hash",
            Balance::Maglev => "maglev",
        },
        "endpoints": endpoints,
        "health": upstream.health.as_ref().map(health),
        "tls": tls(upstream),
        "own_host": upstream.has_own_host(),
        "http": http(upstream.http),
    })
}

/// That of an agent's picker.
pub(super) fn picker(agent: &Agent) -> Option<Json> {
    let picker = agent.picker.as_ref()?;
    let mut made = cluster(&picker.cluster, &picker.upstream);
    made["timeout"] = seconds(picker.timeout).into();
    Some(made)
}

/// What the module is told that judges the attempts at this agent on its side, where it is to.
pub(super) fn attempts(agent: &Agent, policy: &Policy) -> Json {
    let rest = policy.agents.iter().find(|it| it.name == agent.name);
    let rest = rest.and_then(|it| it.rest);
    let Some(rest) = rest.filter(|rest| rest.each_attempt) else {
        return Json::Null;
    };
    let field = |name: &str, value: Json| json!({"name": name, "value": value});
    let time = |time| Json::from(show_duration(time));
    let mut fields = vec![
        field("failures", rest.failures.into()),
        field("error_rate", format!("{}%", rest.error_rate).into()),
        field("first", time(rest.first)),
        field("longest", time(rest.longest)),
    ];
    fields.extend(
        rest.slow_first_token
            .map(|it| field("slow_first_token", time(it))),
    );
    if !rest.heeds_429 {
        fields.push(field("on_429", "ignore".into()));
    }
    json!({"agent": agent.name, "cluster": agent.cluster, "rest": fields})
}

/// None of one that is builtin where nobody serves that.
pub(super) fn limiters(limiter: &Limiter, policy: &Policy, builtin: Option<&str>) -> Option<Json> {
    let name = &limiter.cluster;
    let mut made = match limiter.upstream() {
        Some(upstream) => {
            let mut made = cluster(name, upstream);
            made["socket"] = Json::Null;
            made
        }
        None => {
            let socket = Path::new(builtin?).join(LIMITER_SOCKET);
            json!({"name": name, "stat_name": other_stat_name(name), "socket": socket, "tls": []})
        }
    };
    let fleet = policy.fleet.as_ref()?;
    made["health_check"] = limiter.health_check.into();
    made["requests"] = fleet.max_pending.saturating_mul(WORKERS).into();
    made["authority"] = fleet.host.as_str().into();
    Some(made)
}

pub(super) fn health(health: &Health) -> Json {
    json!({
        "path": health.path,
        "interval": seconds(health.interval),
        "timeout": seconds(health.timeout),
        "jitter": seconds(health.interval / 10),
    })
}

pub(super) fn http(http: Http) -> &'static str {
    match http {
        Http::One => "one",
        Http::Two => "two",
        Http::Offered => "offered",
    }
}

/// What a cluster is called in statistics: a point would part it, and Envoy itself writes no colon there.
pub(crate) fn stat_name(name: &str) -> String {
    // The metrics of an agent go on when it is changed.
    agents::without_number(name).replace(['.', ':'], "_")
}

/// The same, where that is another name.
pub(super) fn other_stat_name(name: &str) -> Option<String> {
    Some(stat_name(name)).filter(|it| it != name)
}

fn endpoint(endpoint: &Endpoint) -> Json {
    json!({
        "address": endpoint.url.host.bare(),
        "port": endpoint.url.port,
        "authority": endpoint.url.authority(),
        "host": endpoint.url.host.bare(),
        "weight": endpoint.weight,
    })
}

/// How TLS is set up: once for all endpoints, or for each host by its name; not at all for plain HTTP.
fn tls(upstream: &Upstream) -> Vec<Json> {
    let Some(tls) = &upstream.tls else {
        return Vec::new();
    };
    let identity = tls.identity.as_ref();
    let context = |host: &str, sni: Option<&str>| {
        json!({
            "host": host,
            "sni": sni,
            "is_name": sni.is_some(),
            "verified": sni.unwrap_or(host),
            "ca": tls.ca.as_deref().unwrap_or(SYSTEM_CA),
            "certificate": identity.map(|identity| &identity.certificate),
            "key": identity.map(|identity| &identity.key),
        })
    };
    if let Some(sni) = &tls.sni {
        return vec![context(sni, Some(sni))];
    }
    let hosts = upstream.endpoints.iter().map(|endpoint| &endpoint.url.host);
    // An address is no name to ask for; it stands in the certificate as what it is.
    let hosts: BTreeSet<(String, bool)> = hosts
        .map(|host| (host.bare(), matches!(host, Host::Name(_))))
        .collect();
    let context =
        |(host, is_name): &(String, bool)| context(host, is_name.then_some(host.as_str()));
    hosts.iter().map(context).collect()
}
