//! What Envoy has to know of the agents: where they are, and how they are spoken to.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use waykeeper::config::policy::Sticky;
use waykeeper::config::{self, Fields, Spot, check_path};

pub(crate) use super::balance::Balance;
use super::balance::balance;
use super::base::Base;
use super::credentials::{self, Credential};
pub(crate) use super::endpoints::Endpoint;
use super::endpoints::{base_of, endpoints};
use super::picker::{Picker, picker};
use super::providers::{self, Provider};
use super::sees::{self, Sees};
use super::tls::{self, ClientTls};
use super::url::Url;

const HEALTH_INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3_600);
const HEALTH_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(60);

/// Those beside the filter's own.
const OF_ENVOY: [&str; 14] = [
    "url",
    "endpoints",
    "provider",
    "region",
    "credential",
    "cluster",
    "websocket_cluster",
    "builtin",
    "balance",
    "health",
    "tls",
    "http2",
    "picker",
    "sees",
];

/// The fields of an agent.
pub(super) fn fields() -> Vec<&'static str> {
    [&OF_ENVOY[..], &config::AGENT_FIELDS_OF_FILTER].concat()
}

/// What belongs to a cluster that is made here.
pub(super) const NOT_BESIDE_CLUSTER: [&str; 8] = [
    "provider",
    "region",
    "credential",
    "balance",
    "health",
    "tls",
    "http2",
    "picker",
];
pub(super) const HEALTH_FIELDS: &[&str] = &["path", "interval", "timeout"];

/// Names that begin so, or end in [`TLS`], are the gateway's own clusters.
pub(crate) const OWN: &str = "waykeeper/";
/// What follows an agent's name in the name of its cluster if it is spoken to over TLS: by that the routes tell whom they
/// send its own name as the host.
pub(crate) const TLS: &str = "/tls";
/// The same of one that is called by its own name and spoken to in clear.
pub(crate) const OWN_HOST: &str = "/host";
/// What stands between that and the name where the cluster is the agent's for WebSockets alone.
const WEBSOCKET: &str = "/websocket";
/// What stands between an agent's name and the number of its cluster, if it has one: see `names.rs`. No agent's name has it.
pub(super) const NUMBER: char = '~';

/// An agent's name, and how Envoy reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agent {
    pub(crate) name: String,
    /// The name of its cluster.
    pub(crate) cluster: String,
    /// That of the one for WebSockets, where the other may speak HTTP/2.
    pub(crate) websocket_cluster: Option<String>,
    /// Names of former clusters of it, which requests that were decided on before may still ask for.
    pub(crate) former: Vec<String>,
    /// What keeps requests at one of its endpoints.
    pub(crate) sticky: Option<Sticky>,
    /// What it is told of who calls. None: what all agents are.
    pub(crate) sees: Option<Sees>,
    /// None if the cluster is written elsewhere, or the agent is builtin.
    pub(crate) upstream: Option<Upstream>,
    pub(crate) builtin: Option<Builtin>,
    /// Whether each of its endpoints is asked for its metrics, in a cluster of its own.
    pub(crate) shows_each: bool,
    /// Who says which of its endpoints answers.
    pub(crate) picker: Option<Picker>,
}

impl Agent {
    /// The clusters of its endpoints that are made to ask them for their metrics, with these.
    pub(super) fn showers(&self) -> impl Iterator<Item = (String, &Endpoint)> {
        let upstream = self.upstream.as_ref().filter(|_| self.shows_each);
        let endpoints = upstream.into_iter().flat_map(|it| &it.endpoints);
        endpoints.enumerate().map(|(index, endpoint)| {
            (
                format!("{OWN}metrics/{}/{}", self.name, index + 1),
                endpoint,
            )
        })
    }

    /// Whether its cluster is made here.
    pub(crate) fn is_made(&self) -> bool {
        self.upstream.is_some() || self.builtin.is_some()
    }
}

/// An agent that the tool itself serves while it runs the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builtin {
    /// Says what it was asked, in OpenAI's and Anthropic's shapes.
    Echo,
}

/// A cluster of Envoy's that is made of what is written here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// At least one; all over TLS or none.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) balance: Balance,
    pub(crate) health: Option<Health>,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) http: Http,
    /// What its paths begin with in place of `/v1`.
    pub(crate) base: Option<Base>,
    pub(crate) provider: Option<&'static Provider>,
    pub(crate) credential: Option<Credential>,
}

impl Upstream {
    /// One that the gateway itself asks, at this url; with the `tls` of these fields.
    pub(super) fn at(url: &Url, fields: &Fields<'_>, http: Http) -> Self {
        let endpoints = vec![Endpoint {
            url: url.clone(),
            weight: 1,
        }];
        Self {
            tls: tls_of(fields, &endpoints),
            endpoints,
            balance: Balance::LeastRequest,
            health: None,
            http,
            base: None,
            provider: None,
            credential: None,
        }
    }

    /// Whether it is called by its own name, and not by that which the caller has asked for.
    pub(super) fn has_own_host(&self) -> bool {
        self.tls.is_some() || self.provider.is_some()
    }
}

/// What stands elsewhere in the file and bears on agents.
pub(super) struct Known<'d> {
    /// The agents that a route for WebSockets names.
    pub(super) by_websocket: HashSet<&'d str>,
    /// Where the gateway looks for its own key.
    pub(super) key_headers: Vec<&'d str>,
}

/// What an endpoint is asked whether it is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) path: String,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
    /// HTTP/2 where the service offers it while TLS is set up, else HTTP/1.1.
    Offered,
}

/// All agents in the order of the file.
pub(super) fn agents(spot: &Spot<'_>, known: &Known<'_>) -> Vec<Agent> {
    // What is no mapping of names, and too many, the filter's reader tells.
    let named = spot.named(usize::MAX);
    let named = named.iter().flat_map(Fields::iter);
    named
        .filter_map(|(name, spot)| agent(name, &spot, known))
        .collect()
}

fn agent(name: &str, spot: &Spot<'_>, known: &Known<'_>) -> Option<Agent> {
    if spot.is_text() {
        spot.fault(
            "expected a mapping that says where it is, such as {url: \"http://10.0.0.5:8000\"}",
        );
        return None;
    }
    let fields = spot.fields(&fields())?;
    let places = ["url", "endpoints", "cluster", "builtin"];
    let written = places.map(|field| fields.get(field).is_some());
    let written = written.iter().filter(|written| **written).count();
    if written > 1 || written == 0 && fields.get("provider").is_none() {
        fields.fault("must have exactly one of url, endpoints, cluster and builtin, or a provider");
    }
    let sees = fields.get("sees").and_then(|spot| {
        let elsewhere = ["cluster", "builtin"];
        sees::sees(
            &spot,
            elsewhere.iter().all(|field| fields.get(field).is_none()),
        )
    });
    if let Some(spot) = fields.get("builtin") {
        for name in NOT_BESIDE_CLUSTER
            .iter()
            .chain(&["websocket_cluster", "sticky"])
        {
            if let Some(spot) = fields.get(name) {
                spot.fault("has no meaning beside builtin");
            }
        }
        let builtin = spot.choice(&[("echo", Builtin::Echo)])?;
        return Some(Agent {
            name: name.to_owned(),
            cluster: name.to_owned(),
            websocket_cluster: None,
            former: Vec::new(),
            sticky: None,
            sees,
            upstream: None,
            builtin: Some(builtin),
            shows_each: false,
            picker: None,
        });
    }
    // What is wrong with it the filter's reader tells as well.
    let sticky = fields.get("sticky").map(|spot| config::sticky(&spot));
    if let Some(cluster) = fields.get("cluster") {
        for name in NOT_BESIDE_CLUSTER {
            if let Some(spot) = fields.get(name) {
                spot.fault("has no meaning beside cluster, which says it where it is written");
            }
        }
        let rest = fields.get("rest");
        if let Some(rest) = rest.filter(|rest| rest.has("each_attempt")) {
            rest.fault("each_attempt has no meaning beside cluster: the module cannot be put into one that is written elsewhere");
        }
        let of_websockets = fields
            .get("websocket_cluster")
            .and_then(|spot| spot.checked(elsewhere));
        let cluster = cluster.checked(elsewhere)?;
        return Some(Agent {
            name: name.to_owned(),
            cluster: cluster.to_owned(),
            websocket_cluster: of_websockets.map(str::to_owned),
            former: Vec::new(),
            sticky: sticky.flatten(),
            sees,
            upstream: None,
            builtin: None,
            shows_each: false,
            picker: None,
        });
    }
    if let Some(spot) = fields.get("websocket_cluster") {
        spot.fault(
            "stands beside cluster only; what is written here has one of its own where it needs one",
        );
    }
    let provider = fields
        .get("provider")
        .and_then(|spot| providers::provider(&spot));
    let region = providers::region(&fields, provider);
    let endpoints = match (fields.get("url").or(fields.get("endpoints")), provider) {
        (None, Some(provider)) => providers::place(&fields, provider, region.as_deref()),
        _ => endpoints(&fields),
    };
    let load = fields.get("load").filter(asks_for_metrics);
    if let Some(load) = &load {
        if let Some(clusters) = load.named(usize::MAX).and_then(|it| it.get("clusters")) {
            clusters.fault("stands beside cluster only; what is written here has one made for each of its endpoints");
        }
        if endpoints.len() > config::MOST_CLUSTERS {
            load.fault(format!(
                "asks each of its endpoints for its metrics, and has {} of them; at most {} are asked. Make several agents of it, \
                 or have them report in their answers (from: orca or queue_depth)",
                endpoints.len(),
                config::MOST_CLUSTERS
            ));
        }
    }
    let picker = fields.get("picker").and_then(|spot| {
        if fields.get("sticky").is_some() {
            spot.fault("says which endpoint answers, and so does sticky; write one of the two");
        }
        picker(name, &spot)
    });
    let base = (endpoints.first().and_then(base_of))
        .or_else(|| Base::parse(provider?.base).ok().flatten());
    // In the agent's own cluster requests get its path.
    let is_apart = endpoints.len() > 1 || base.is_some();
    let shows_each = load.is_some() && is_apart && endpoints.len() <= config::MOST_CLUSTERS;
    let secure = endpoints.iter().any(|endpoint| endpoint.url.secure);
    let credential = fields
        .get("credential")
        .and_then(|spot| credentials::credential(&spot, provider, &known.key_headers));
    let is_callers = { credential.as_ref() }.is_some_and(|it| it.callers_header().is_some());
    if let Some(load) = load.filter(|_| is_callers) {
        load.fault(
            "asks for metrics, and the gateway's own questions bear no credential of a caller's; have the agent report in its answers \
             (from: orca or queue_depth)",
        );
    }
    let upstream = Upstream {
        balance: balance(fields.get("balance").as_ref(), sticky.as_ref()),
        health: fields.get("health").and_then(|spot| health(&spot)),
        tls: tls_of(&fields, &endpoints),
        http: http(&fields, secure),
        base,
        credential: match region {
            Some(region) => Some(Credential::Aws {
                region,
                file: credential.and_then(Credential::into_file),
            }),
            None => credential,
        },
        provider,
        endpoints,
    };
    let mark = match provider {
        _ if secure => TLS,
        Some(_) => OWN_HOST,
        None => "",
    };
    // A WebSocket begins in HTTP/1.1: few agents can begin one in HTTP/2.
    let apart = known.by_websocket.contains(name) && upstream.http != Http::One;
    Some(Agent {
        name: name.to_owned(),
        cluster: format!("{name}{mark}"),
        websocket_cluster: apart.then(|| format!("{name}{WEBSOCKET}{mark}")),
        former: Vec::new(),
        sticky: sticky.flatten(),
        sees: sees.or(provider.is_some().then_some(sees::NOTHING)),
        upstream: Some(upstream),
        builtin: None,
        shows_each,
        picker,
    })
}

/// Whether an agent is to be asked for its metrics.
fn asks_for_metrics(load: &Spot<'_>) -> bool {
    let fields = load.is_map().then(|| load.named(usize::MAX)).flatten();
    let from = fields.and_then(|fields| fields.get("from"));
    let from = from.filter(Spot::is_text);
    from.and_then(|from| from.text()) == Some("metrics")
}

/// A cluster that is written elsewhere.
pub(super) fn elsewhere(name: &str) -> Result<(), String> {
    let ends = [TLS, OWN_HOST, WEBSOCKET];
    if name.starts_with(OWN) || ends.iter().any(|end| name.ends_with(end)) {
        return Err(format!(
            "{name:?} would be one of the gateway's own: these begin with {OWN} or end in {TLS}, {OWN_HOST} or {WEBSOCKET}"
        ));
    }
    if without_number(name) != name {
        return Err(format!(
            "{name:?} would be one of the gateway's own: these may have {NUMBER} and a number behind an agent's name"
        ));
    }
    Ok(())
}

/// A cluster's name without the number that it may have.
pub(super) fn without_number(name: &str) -> String {
    if let Some((agent, rest)) = name.split_once(NUMBER) {
        let end = rest.trim_start_matches(|it: char| it.is_ascii_digit());
        if end.len() < rest.len() && (end.is_empty() || end.starts_with('/')) {
            return format!("{agent}{end}");
        }
    }
    name.to_owned()
}

fn tls_of(fields: &Fields<'_>, endpoints: &[Endpoint]) -> Option<ClientTls> {
    let written = fields.get("tls").map(|spot| {
        if endpoints.iter().any(|endpoint| !endpoint.url.secure) {
            spot.fault("has no meaning with a url of http; write https");
        }
        tls::client(&spot).unwrap_or_default()
    });
    let secure = endpoints.iter().any(|endpoint| endpoint.url.secure);
    secure.then(|| written.unwrap_or_default())
}

fn health(spot: &Spot<'_>) -> Option<Health> {
    let fields = spot.fields(HEALTH_FIELDS)?;
    let path = fields
        .need("path")
        .and_then(|path| path.checked(check_path));
    let duration = |name: &str, bounds, default| {
        let written = fields.get(name).and_then(|spot| spot.duration(bounds));
        written.unwrap_or(default)
    };
    let interval = duration("interval", HEALTH_INTERVAL, Duration::from_secs(5));
    let timeout = duration("timeout", HEALTH_TIMEOUT, Duration::from_secs(2));
    Some(Health {
        path: path?.to_owned(),
        interval,
        timeout,
    })
}

fn http(fields: &Fields<'_>, secure: bool) -> Http {
    match fields.get("http2").and_then(|spot| spot.flag()) {
        Some(true) => Http::Two,
        None if secure => Http::Offered,
        _ => Http::One,
    }
}
