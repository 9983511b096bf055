//! The two files that Envoy reads, out of a gateway that was checked. What they look like stand in `cli/templates/`; here
//! is what goes into them. There every text is written quoted, without any template's doing.

use std::net::SocketAddr;
use std::path::Path;

use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde_json::{Value as Json, json};
use waykeeper::host::Sensitive;

use super::clusters::{Making, attempts, cluster, limiters, other_stat_name, showers};
use super::composites::{composites, judged_by_callers};
use super::credentials::Credential;
use super::idle::{idle, undecided};
use super::listeners::{ADMIN, LOCALHOST};
use super::patches::{self, Misfit};
use super::sees::Sees;
use super::{
    Checked, EnvoyVersion, Listener, Upstream, clusters, document, fallback, filters, picker,
    routes, templates,
};

/// With what both files begin.
pub(crate) const MARK: &str = "# Written by `waykeeper envoy` ";

pub(crate) const ENVOY_FILE: &str = "envoy.yaml";
pub(crate) const FILTER_FILE: &str = "waykeeper.yaml";

/// How much of the filter's document stands left of it.
const DOCUMENT_INDENT: usize = 12;

/// The sockets of what is builtin, by their names in a directory.
pub(crate) const ECHO_SOCKET: &str = "echo.sock";
pub(crate) const LIMITER_SOCKET: &str = "limiter.sock";

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
    let by_callers = (around.envoy.has_composites()).then(|| judged_by_callers(checked));
    let checked = by_callers.as_ref().unwrap_or(checked);
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
    // Where Envoy is only to judge what is written, nobody says where the module will be.
    let attempts = |agent: &super::Agent| match around.module {
        "" => Json::Null,
        _ => attempts(agent, policy),
    };
    let callers = filters::callers_headers(&gateway.agents);
    let making = Making {
        callers: &callers,
        directory: around.directory,
        environment,
    };
    let tried = fallback::tried(policy);
    let told_name = |agent: &super::Agent| {
        let sees = agent.sees.as_ref().map(Sees::shows_agent);
        let told = sees.unwrap_or(policy.agents_see.agent);
        (has_further && told).then(|| agent.name.clone())
    };
    let agents: Vec<Json> = {
        let agents = gateway.agents.iter();
        let clusters = agents.map(|agent| {
            let clusters = clusters::clusters(agent, making)?;
            let mark = |mut cluster: Json| {
                // No attempt at a WebSocket goes on.
                cluster["further"] = (has_further && cluster["for_websockets"] == false).into();
                cluster["falls_back"] = tried.contains(agent.name.as_str()).into();
                cluster["told_name"] = told_name(agent).into();
                cluster["attempts"] = attempts(agent);
                cluster
            };
            Ok(clusters.into_iter().map(mark).collect())
        });
        let clusters: Vec<Vec<Json>> = clusters.collect::<Result<_, minijinja::Error>>()?;
        clusters.concat()
    };
    let showers: Vec<Vec<Json>> = {
        let agents = gateway.agents.iter();
        let showers = agents.map(|it| showers(it, making));
        showers.collect::<Result<_, _>>()?
    };
    let builtin = gateway
        .agents
        .iter()
        .filter(|agent| agent.builtin.is_some());
    let builtin: Vec<_> = around.builtin.map_or_else(Vec::new, |directory| {
        let socket = Path::new(directory).join(ECHO_SOCKET);
        let cluster = |agent: &super::Agent| {
            json!({
                "name": agent.cluster, "stat_name": other_stat_name(&agent.cluster), "socket": socket, "filters": null,
                "further": has_further, "attempts": attempts(agent), "own_host": false,
                "falls_back": tried.contains(agent.name.as_str()), "told_name": told_name(agent),
            })
        };
        builtin.map(cluster).collect()
    });
    let validator = gateway
        .validator
        .as_ref()
        .map(|it| cluster(&it.cluster, &it.upstream));
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
    let composites = match around.envoy.has_composites() {
        true => composites(policy, gateway),
        false => Vec::new(),
    };
    let listeners: Vec<Json> = gateway.listeners.iter().enumerate().map(listener).collect();
    let file = Path::new(around.directory).join(FILTER_FILE);
    Ok(json!({
        "configuration": {"file": file.to_string_lossy(), "directory": around.directory},
        "module": around.module,
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
        "composites": composites,
        "mirrors": routes::mirrors(gateway, policy),
        "proof": policy.proof.is_some(),
        "sessions": may_change || routes::has_sessions(gateway),
        "responses": routes::has_responses(gateway),
        "hashes": routes::has_hashes(gateway),
        "idle": idle(policy),
        "undecided": undecided(policy),
        "validator": validator,
        "limiter": limiter,
        "agents": agents,
        "showers": showers.concat(),
        "pickers": gateway.agents.iter().filter_map(clusters::picker).collect::<Vec<_>>(),
        "picks": picker::has_pickers(gateway),
        "may_pick": around.envoy.closes_pickers() && (may_change || picker::has_pickers(gateway)),
        "builtin": builtin,
        "bases": may_change || upstreams().any(|upstream| upstream.base.is_some()),
        "credentials": may_change || upstreams().any(is_kept),
        "callers": callers,
        "pages": super::pages::headers(gateway, policy),
    }))
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
