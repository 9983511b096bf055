//! The two files that Envoy reads, out of a gateway that was checked. What they look like stand in `cli/templates/`; here
//! is what goes into them. There every text is written quoted, without any template's doing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde_json::{Value as Json, json};
use waykeeper::config::Policy;
use waykeeper::config::policy::Protocol;
use waykeeper::host::Sensitive;

use super::agents::{self, Balance, Endpoint, Health};
use super::credentials::Credential;
use super::listeners::{ADMIN, LOCALHOST};
use super::patches::{self, Misfit};
use super::url::Host;
use super::{
    Checked, EnvoyVersion, Http, Limiter, Listener, Upstream, derive, document, filters, routes,
    templates,
};

/// With what both files begin.
pub(crate) const MARK: &str = "# Written by `waykeeper envoy` ";

pub(crate) const ENVOY_FILE: &str = "envoy.yaml";
pub(crate) const FILTER_FILE: &str = "waykeeper.yaml";

/// The system's, where Debian, Ubuntu and Envoy's own images have them.
pub(crate) const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How much of the filter's document stands left of it.
const DOCUMENT_INDENT: usize = 12;

/// The sockets of what is builtin, by their names in a directory.
pub(crate) const ECHO_SOCKET: &str = "echo.sock";
pub(crate) const LIMITER_SOCKET: &str = "limiter.sock";

/// The filter bounds the questions of each worker; with more workers than this the cluster does too.
const WORKERS: usize = 64;

/// The idle times of requests that are decided on, unless a route allows for more.
const IDLE_OF_STREAMS: Duration = Duration::from_secs(3_600);
const IDLE_OF_HTTP: Duration = Duration::from_secs(600);
/// Of those that wait for the validator: so much longer than that may take, and not less than that much.
const IDLE_BEYOND_VALIDATOR: Duration = Duration::from_secs(2);
/// The same of those that wait for a place among the requests in flight.
const IDLE_BEYOND_WAIT: Duration = Duration::from_secs(4);
const IDLE_OF_UNDECIDED: Duration = Duration::from_secs(3);
/// A sender may pause for so long in a body that is collected.
pub(crate) const PAUSE: Duration = Duration::from_secs(15);
/// What is held of a body, unless a route collects larger ones.
const BUFFER: u64 = 1 << 20;

/// What the gateway's file does not say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<'a> {
    /// The gateway's file, by its name.
    pub(crate) source: &'a str,
    /// Where the filter's module lies when Envoy reads it.
    pub(crate) module: &'a str,
    /// The directory in which both files lie then.
    pub(crate) directory: &'a str,
    pub(crate) admin: Admin<'a>,
    /// The directory of the sockets on which what is builtin is served; no cluster is made of that where there is none.
    pub(crate) builtin: Option<&'a str>,
    /// Which Envoy reads them.
    pub(crate) envoy: EnvoyVersion,
}

/// Where Envoy's admin interface is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Admin<'a> {
    /// On an address and port of this machine.
    Loopback,
    /// On a Unix socket, for its owner alone.
    Socket(&'a str),
}

/// The texts of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) envoy: String,
    pub(crate) filter: Sensitive<String>,
    /// Those that tell where credentials are kept, by their names below the directory.
    pub(crate) credentials: Vec<(String, String)>,
}

/// Writes all files.
///
/// # Errors
/// Only if a template is broken, which the tests would have told.
pub(crate) fn render(checked: &Checked, around: Around<'_>) -> Result<Rendered, minijinja::Error> {
    let environment = templates::environment()?;
    let gateway = context(checked, around, &environment)?;
    let gateway = Value::from(Serde(gateway));
    let source = Value::from_safe_string(in_comment(around.source));
    let filter_document = document::block(&checked.document, DOCUMENT_INDENT);
    let filter_document = Value::from_safe_string(filter_document.trim_end().to_owned());
    let agents = checked.gateway.agents.iter();
    let credentials = agents.map(|agent| filters::kept(agent, &source, &environment));
    let credentials: Vec<Option<_>> = credentials.collect::<Result<_, _>>()?;
    let envoy = environment.get_template("envoy.yaml")?;
    let filter = environment.get_template("waykeeper.yaml")?;
    let envoy = envoy.render(context! { source => source.clone(), ..gateway })?;
    let envoy = match checked.gateway.patches.as_slice() {
        [] => envoy,
        patches => patches::patched(&envoy, patches).map_err(|_| {
            let kind = minijinja::ErrorKind::InvalidOperation;
            minijinja::Error::new(kind, "no patches can be put into what was rendered")
        })?,
    };
    Ok(Rendered {
        envoy,
        filter: Sensitive(filter.render(context! {
            source,
            module => around.module,
            document => filter_document,
        })?),
        credentials: credentials.into_iter().flatten().collect(),
    })
}

/// Patches that are about nothing that is there. Where Envoy will be makes no difference to that.
pub(super) fn misfits(checked: &Checked) -> Vec<Misfit> {
    let patches = &checked.gateway.patches;
    if patches.is_empty() {
        return Vec::new();
    }
    let mut bare = checked.clone();
    bare.gateway.patches.clear();
    let around = Around {
        source: "",
        module: "",
        directory: "",
        admin: Admin::Loopback,
        builtin: Some(""),
        envoy: EnvoyVersion::default(),
    };
    // What is broken is told when it is written.
    let rendered = render(&bare, around).ok();
    rendered
        .and_then(|rendered| patches::patched(&rendered.envoy, patches).err())
        .unwrap_or_default()
}

/// A file's name as a comment may hold it, whatever stands in it.
pub(super) fn in_comment(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.bytes().all(is_plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.escape_default())
    }
}

fn context(
    checked: &Checked,
    around: Around<'_>,
    environment: &Environment<'_>,
) -> Result<Json, minijinja::Error> {
    let Checked {
        gateway, policy, ..
    } = checked;
    // What a listener or a cluster holds for agents of one kind, or for more of them, is there before the first of them comes, or
    // it would have to be replaced then.
    let may_change = matches!(around.admin, Admin::Socket(_));
    let has_further =
        around.envoy.chooses_each_attempt() && (may_change || routes::has_further(gateway));
    let callers = filters::callers_headers(&gateway.agents);
    let agents: Vec<Json> = {
        let agents = gateway.agents.iter();
        let clusters = agents.map(|agent| {
            let clusters = clusters(agent, &callers, around.directory, environment)?;
            let mark = |mut cluster: Json| {
                // No attempt at a WebSocket goes on.
                cluster["further"] = (has_further && cluster["for_websockets"] == false).into();
                cluster
            };
            Ok(clusters.into_iter().map(mark).collect())
        });
        let clusters: Vec<Vec<Json>> = clusters.collect::<Result<_, minijinja::Error>>()?;
        clusters.concat()
    };
    let builtin = gateway
        .agents
        .iter()
        .filter(|agent| agent.builtin.is_some());
    let builtin: Vec<_> = around.builtin.map_or_else(Vec::new, |directory| {
        let socket = Path::new(directory).join(ECHO_SOCKET);
        let cluster = |agent: &super::Agent| json!({"name": agent.cluster, "stat_name": other_stat_name(&agent.cluster), "socket": socket, "filters": null, "further": has_further, "own_host": false});
        builtin.map(cluster).collect()
    });
    let validator = gateway
        .validator
        .as_ref()
        .map(|(_, upstream)| cluster(&derive::validators_cluster(), upstream));
    let limiter = gateway.limiter.as_ref();
    let limiter = limiter.and_then(|it| limiters(it, policy, around.builtin));
    let upstreams = || gateway.agents.iter().filter_map(|it| it.upstream.as_ref());
    let is_kept = |upstream: &Upstream| {
        upstream
            .credential
            .as_ref()
            .is_some_and(Credential::is_kept)
    };
    let further = has_further.then(|| routes::further(gateway, environment));
    let listeners: Vec<Json> = gateway.listeners.iter().enumerate().map(listener).collect();
    let file = Path::new(around.directory).join(FILTER_FILE);
    Ok(json!({
        "configuration": {"file": file.to_string_lossy(), "directory": around.directory},
        "envoy": around.envoy.context(),
        "admin": match around.admin {
            Admin::Loopback => place(ADMIN),
            Admin::Socket(path) => json!({"socket": path}),
        },
        "several": listeners.len() > 1,
        "listeners": listeners,
        "operations": gateway.operations.map(place),
        "ways": routes::ways(gateway),
        "further": further.transpose()?,
        "sessions": may_change || routes::has_sessions(gateway),
        "hashes": routes::has_hashes(gateway),
        "idle": idle(policy),
        "undecided": undecided(policy),
        "validator": validator,
        "limiter": limiter,
        "agents": agents,
        "builtin": builtin,
        "bases": may_change || upstreams().any(|upstream| upstream.base.is_some()),
        "credentials": may_change || upstreams().any(is_kept),
        "callers": callers,
        "pages": super::pages::headers(gateway, policy),
    }))
}

/// How long requests that are decided on may be silent.
pub(super) fn idle(policy: &Policy) -> Json {
    json!({"streams": seconds(idle_of_streams(policy)), "http": seconds(idle_of_http(policy))})
}

/// How long others may wait, and how much of them is held.
pub(super) fn undecided(policy: &Policy) -> Json {
    json!({"idle": seconds(idle_of_undecided(policy)), "buffer": buffer_of_undecided(policy)})
}

fn idle_of_streams(policy: &Policy) -> Duration {
    let routes = policy.routes.iter();
    let longest = routes.filter_map(|route| route.idle_timeout).max();
    // The filter keeps the route's own time, to the second.
    longest.map_or(IDLE_OF_STREAMS, |idle| {
        IDLE_OF_STREAMS.max(idle + Duration::from_secs(5))
    })
}

/// An agent may be silent for as long as its whole answer may take.
fn idle_of_http(policy: &Policy) -> Duration {
    let routes = policy.routes.iter();
    let http = routes.filter(|route| route.protocol == Protocol::Http);
    let longest = http.filter_map(|route| route.timeout).max();
    longest.unwrap_or_default().max(IDLE_OF_HTTP)
}

/// How long a request may wait for a decision, if nothing moves meanwhile.
pub(crate) fn idle_of_undecided(policy: &Policy) -> Duration {
    let asked = policy.clients.validator.as_ref();
    let asked = asked.map_or(Duration::ZERO, |validator| {
        validator.timeout + IDLE_BEYOND_VALIDATOR
    });
    // A share, and then one question about all that is not shared out.
    let counted = policy.fleet.as_ref();
    let counted = counted.map_or(Duration::ZERO, |fleet| fleet.timeout.saturating_mul(2));
    let asked = match counted {
        Duration::ZERO => asked,
        counted => asked.max(IDLE_BEYOND_VALIDATOR) + counted,
    };
    // The filter keeps that by its ticks of a second.
    let queued = match policy.longest_wait() {
        Duration::ZERO => Duration::ZERO,
        wait => wait + IDLE_BEYOND_WAIT,
    };
    let collects = policy.routes.iter().any(|route| route.collect_body);
    let pause = if collects { PAUSE } else { Duration::ZERO };
    IDLE_OF_UNDECIDED.max(asked).max(queued).max(pause)
}

/// What a route collects has to fit; `hold` bounds what all of them hold.
pub(super) fn buffer_of_undecided(policy: &Policy) -> u64 {
    let collecting = policy.routes.iter().filter(|route| route.collect_body);
    let largest = collecting.filter_map(|route| route.max_body).max();
    let largest = largest
        .unwrap_or_default()
        .min(policy.clients.hold.collected);
    largest.clamp(BUFFER, u64::from(u32::MAX))
}

/// What the first listener is called.
pub(super) const FIRST: &str = "gateway";

pub(super) fn listener((index, listener): (usize, &Listener)) -> Json {
    let name = match index {
        0 => FIRST.to_owned(),
        index => format!("{FIRST}-{}", index + 1),
    };
    let exact: Vec<&String> = listener
        .origins
        .iter()
        .filter(|origin| *origin != LOCALHOST)
        .collect();
    let place = place(listener.address);
    json!({
        "name": name,
        "address": place["address"],
        "port": place["port"],
        "tls": listener.tls.as_ref().map(|tls| json!({
            "certificate": tls.identity.certificate,
            "key": tls.identity.key,
            "client_ca": tls.client_ca,
        })),
        "trusted_hops": listener.trusted_hops,
        "origins": exact,
        "localhost": exact.len() < listener.origins.len(),
        "proxy_protocol": listener.proxy_protocol,
    })
}

fn place(address: SocketAddr) -> Json {
    json!({"address": address.ip().to_string(), "port": address.port()})
}

/// Those that are made for an agent.
fn clusters(
    agent: &super::Agent,
    callers: &[&str],
    directory: &str,
    environment: &Environment<'_>,
) -> Result<Vec<Json>, minijinja::Error> {
    let Some(upstream) = &agent.upstream else {
        return Ok(Vec::new());
    };
    let filters = filters::filters(
        agent,
        upstream,
        callers,
        directory,
        filters::ByHost::Router,
        environment,
    )?;
    let mut of_agent = cluster(&agent.cluster, upstream);
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

fn cluster(name: &str, upstream: &Upstream) -> Json {
    let endpoints: Vec<Json> = upstream.endpoints.iter().map(endpoint).collect();
    let by_name = |endpoint: &Endpoint| matches!(endpoint.url.host, Host::Name(_));
    json!({
        "name": name,
        "for_websockets": false,
        "filters": null,
        "further": false,
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

/// None of one that is builtin where nobody serves that.
fn limiters(limiter: &Limiter, policy: &Policy, builtin: Option<&str>) -> Option<Json> {
    let name = derive::limiters_cluster();
    let mut made = match limiter.upstream() {
        Some(upstream) => {
            let mut made = cluster(&name, upstream);
            made["socket"] = Json::Null;
            made
        }
        None => {
            let socket = Path::new(builtin?).join(LIMITER_SOCKET);
            json!({"name": name, "socket": socket, "tls": []})
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
fn other_stat_name(name: &str) -> Option<String> {
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

/// As Envoy's files write durations.
fn seconds(duration: Duration) -> String {
    let millis = duration.subsec_millis();
    if millis == 0 {
        return format!("{}s", duration.as_secs());
    }
    let fraction = format!("{millis:03}");
    format!("{}.{}s", duration.as_secs(), fraction.trim_end_matches('0'))
}
