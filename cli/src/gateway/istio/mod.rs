//! The manifests for a gateway of Istio's, out of the same file. Listeners become servers of a Gateway, agents become
//! clusters that istiod makes of a Service or a ServiceEntry and a DestinationRule, and what only Envoy knows goes into
//! EnvoyFilters. What they look like stands in `cli/templates/istio/`.

mod clusters;
mod credentials;
mod destination;
mod destinations;
mod hosts;
mod named;
mod notes;
mod patches;
mod servers;
mod told;
mod uncarried;
mod ways;

use std::time::Duration;

use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde_json::{Value as Json, json};
use waykeeper::config::policy::DEFAULT_TIMEOUT;
use waykeeper::config::{Fault, Node};

use super::credentials::Credential;
use super::{Checked, EnvoyVersion, Upstream, document, filters, idle, render, routes, templates};
use clusters::{changed_cluster, entries, rules};
use destinations::Destinations;
pub(crate) use hosts::is_label;
use named::named;
use notes::notes;
use told::Told;
use uncarried::uncarried;

/// With what every file begins.
pub(crate) const MARK: &str = "# Written by `waykeeper istio` ";

/// Where the gateway's pods have the filter.
const MODULE: &str = "/var/lib/waykeeper/waykeeper.wasm";

/// How much of the filter's document stands left of it.
const DOCUMENT_INDENT: usize = 18;

/// For so long a pod goes on serving while its endpoint is removed, and so much longer than the longest answer it may
/// take to end.
const BEFORE_STOP: Duration = Duration::from_secs(10);
const BEYOND_ANSWERS: Duration = Duration::from_secs(20);

/// All files that are written in either form. One that a form does not have is removed, if it was written by this command.
pub(crate) const FILES: [&str; 16] = [
    "kustomization.yaml",
    "virtual-service.yaml",
    "http-route.yaml",
    "envoy-filter.yaml",
    "patches.yaml",
    "waykeeper.yaml",
    "gateway/kustomization.yaml",
    "gateway/namespace.yaml",
    "gateway/deployment.yaml",
    "gateway/parameters.yaml",
    "gateway/service.yaml",
    "gateway/gateway.yaml",
    "gateway/credentials.yaml",
    "gateway/destinations.yaml",
    "gateway/horizontal-pod-autoscaler.yaml",
    "gateway/pod-disruption-budget.yaml",
];
/// Those of a gateway whose pods are written here, and of one that Istio makes from Kubernetes' Gateway.
const OF_OWN_PODS: [&str; 3] = [
    "virtual-service.yaml",
    "gateway/deployment.yaml",
    "gateway/service.yaml",
];
const OF_GATEWAY_API: [&str; 2] = ["http-route.yaml", "gateway/parameters.yaml"];

/// What the gateway's file does not say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options<'a> {
    /// The gateway's file, by its name.
    pub(crate) source: &'a str,
    /// Where the gateway's objects are.
    pub(crate) namespace: &'a str,
    /// Where Services are that are named without one.
    pub(crate) agents_namespace: &'a str,
    pub(crate) cluster_domain: &'a str,
    /// The image that holds the filter.
    pub(crate) image: &'a str,
    /// Secrets with the listeners' certificates: one for each certificate, in the order of the file.
    pub(crate) tls_secrets: &'a [String],
    /// A Secret with the files that agents and the validator are spoken to with.
    pub(crate) files_secret: Option<&'a str>,
    /// A Secret with what agents are shown.
    pub(crate) credentials_secret: Option<&'a str>,
    /// Istio's own, in the pods.
    pub(crate) envoy: EnvoyVersion,
    /// Whether Istio makes the pods, from a Gateway of Kubernetes' Gateway API.
    pub(crate) gateway_api: bool,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifests {
    /// Texts by their files' paths.
    pub(crate) files: Vec<(&'static str, String)>,
    /// What somebody who reads nothing else should know, a line each.
    pub(crate) notes: Vec<String>,
    /// What is probably not meant, a line each.
    pub(crate) doubts: Vec<String>,
}

/// Why nothing is written.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// What Istio's form cannot carry, in the order of the file.
    Faults(Vec<Fault>),
    /// A template is broken, which the tests would have told.
    Broken(minijinja::Error),
}

/// Writes all manifests.
///
/// # Errors
/// All that Istio's form cannot carry.
pub(crate) fn manifests(
    written: &Node,
    checked: &Checked,
    options: Options<'_>,
) -> Result<Manifests, Refusal> {
    let environment = templates::environment().map_err(Refusal::Broken)?;
    let mut told = Told::default();
    let servers = servers::servers(&checked.gateway.listeners, options.tls_secrets, &mut told);
    let mut destinations =
        destinations::destinations(&checked.gateway, options, &environment, &mut told)
            .map_err(Refusal::Broken)?;
    if checked.gateway.validator.is_none() {
        let elsewhere = checked.policy.clients.validator.as_ref();
        destinations.validator = elsewhere.map(|validator| validator.cluster.clone());
    }
    uncarried(written, checked, &mut told);
    let fleet = checked.policy.fleet.as_ref();
    destinations.limiter = fleet.map(|fleet| fleet.cluster.clone());
    let directory = files_directory(&destinations, options, &mut told);
    // Pods that Istio makes listen on the ports that are offered.
    let listened = if options.gateway_api {
        "port"
    } else {
        "target"
    };
    let ports: Vec<u64> = { servers.iter() }
        .filter_map(|server| server[listened].as_u64())
        .collect();
    let patches = patches::patches(&checked.gateway, &ports, &destinations, &mut told);
    if !told.is_empty() {
        return Err(Refusal::Faults(told.faults(written)));
    }
    let mut envoy = options.envoy.context();
    // istiod drops fields that it does not know without a word, and this is a young one.
    envoy["header_value_prefix"] = false.into();
    let context = json!({
        "namespace": options.namespace,
        "image": image(options.image),
        "gateway_api": options.gateway_api,
        "servers": servers,
        "listener": checked.gateway.listeners.first().map(|listener| render::listener((0, listener))),
        "grace": grace(checked).as_secs(),
        "idle": idle::idle(&checked.policy),
        "envoy": envoy,
        "credentials": agents_upstreams(checked).any(|it| it.credential.as_ref().is_some_and(Credential::is_kept)),
        "patches": patches,
        "kept": destinations.credentials.context(options),
        "callers": filters::callers_headers(&checked.gateway.agents),
        "sessions": routes::has_sessions(&checked.gateway),
        "responses": routes::has_responses(&checked.gateway),
        "hashes": routes::has_hashes(&checked.gateway),
        "ways": ways::ways(&checked.gateway, &destinations),
        "pages": super::pages::headers(&checked.gateway, &checked.policy),
        "undecided": idle::undecided(&checked.policy),
        "proof": checked.policy.proof.as_ref().map(|proof| proof.0.as_str()),
        "referenced": referenced(&destinations, options),
        "entries": entries(&destinations.all),
        "rules": rules(&destinations.all),
        "changed_clusters": destinations.all.iter().filter_map(changed_cluster).collect::<Vec<_>>(),
        "validator_stats": destinations.validator.as_deref().map(stats_of),
        "files": directory.map(|directory| json!({"secret": options.files_secret, "directory": directory})),
        "module": MODULE,
    });
    let files = write(
        &context,
        &named(checked, &destinations),
        options,
        &environment,
    );
    let files = files.map_err(Refusal::Broken)?;
    Ok(Manifests {
        files,
        notes: notes(checked, &destinations),
        doubts: destinations.doubts(options.agents_namespace),
    })
}

fn agents_upstreams(checked: &Checked) -> impl Iterator<Item = &Upstream> {
    let agents = checked.gateway.agents.iter();
    agents.filter_map(|agent| agent.upstream.as_ref())
}

fn write(
    context: &Json,
    filter_document: &Node,
    options: Options<'_>,
    environment: &Environment<'_>,
) -> Result<Vec<(&'static str, String)>, minijinja::Error> {
    let values = Value::from(Serde(context));
    let source = Value::from_safe_string(render::in_comment(options.source));
    let text = document::block(filter_document, DOCUMENT_INDENT);
    let text = Value::from_safe_string(text.trim_end().to_owned());
    let others: &[&str] = if options.gateway_api {
        &OF_OWN_PODS
    } else {
        &OF_GATEWAY_API
    };
    let is_empty = |list: &Json| list.as_array().is_none_or(Vec::is_empty);
    // Those that are there only where something stands in them.
    let has = |file: &str| match file {
        "gateway/credentials.yaml" => !is_empty(&context["kept"]["told"]),
        "patches.yaml" => !is_empty(&context["patches"]),
        _ => true,
    };
    let of_this_form = FILES
        .into_iter()
        .filter(|file| !others.contains(file) && has(file));
    of_this_form
        .map(|file| {
            let template = environment.get_template(&format!("istio/{file}"))?;
            let text = template.render(context! {
                source => source.clone(),
                document => text.clone(),
                ..values.clone()
            })?;
            Ok((file, text))
        })
        .collect()
}

/// The image's name, and its tag or digest, as kustomize has them.
fn image(image: &str) -> Json {
    if let Some((name, digest)) = image.split_once('@') {
        return json!({"name": name, "digest": digest, "whole": image});
    }
    let (name, tag) = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    };
    json!({"name": name, "tag": tag, "digest": null, "whole": format!("{name}:{tag}")})
}

/// How long a pod may take to end.
fn grace(checked: &Checked) -> Duration {
    let timeouts = checked
        .policy
        .routes
        .iter()
        .filter_map(|route| route.timeout);
    let longest = timeouts.max().unwrap_or_default().max(DEFAULT_TIMEOUT);
    BEFORE_STOP + longest + BEYOND_ANSWERS
}

/// The directory in which all files lie that agents and the validator are spoken to with: there the Secret is mounted.
fn files_directory(
    destinations: &Destinations,
    options: Options<'_>,
    told: &mut Told,
) -> Option<String> {
    let mut directory: Option<&str> = None;
    for (place, path) in &destinations.files {
        let Some((parent, _)) = path
            .rsplit_once('/')
            .filter(|(parent, _)| !parent.is_empty())
        else {
            told.fault(
                place,
                "a Secret cannot be mounted at /; put the file into a directory of its own",
            );
            continue;
        };
        if options.files_secret.is_none() {
            told.fault(
                place,
                "the gateway's pods do not have this file; put it into a Secret under its own name, and say --files-secret",
            );
        }
        match directory {
            Some(first) if first != parent => told.fault(
                place,
                format!("one Secret is mounted in one directory, and another file lies in {first}; put them together"),
            ),
            _ => directory = Some(parent),
        }
    }
    directory.map(str::to_owned)
}

/// Services by their namespaces, as istiod wants to be told of those that no VirtualService names.
fn referenced(destinations: &Destinations, options: Options<'_>) -> String {
    let suffix = format!(".svc.{}", options.cluster_domain);
    let of_clusters = destinations
        .of_agents
        .values()
        .chain(&destinations.validator)
        .chain(&destinations.limiter);
    let mut services: Vec<String> = Vec::new();
    for cluster in of_clusters {
        let Some(host) = cluster
            .strip_prefix("outbound|")
            .and_then(|rest| rest.rsplit('|').next())
        else {
            continue;
        };
        let inside = host
            .strip_suffix(&suffix)
            .and_then(|name| name.split_once('.'));
        let namespace = inside.map_or(options.namespace, |(_, namespace)| namespace);
        let service = format!("{namespace}/{host}");
        if !services.contains(&service) {
            services.push(service);
        }
    }
    services.join(",")
}

/// A regular expression for the statistics of a cluster's requests.
fn stats_of(cluster: &str) -> String {
    let mut pattern = String::from(r"cluster\.");
    for character in cluster.chars() {
        if !character.is_ascii_alphanumeric() && !"-_/".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push_str(".*upstream_rq_.*");
    pattern
}
