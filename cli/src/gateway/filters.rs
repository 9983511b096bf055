//! What is done to a request for one agent alone, in each attempt: filters of Envoy's on the agent's side.

use std::collections::BTreeSet;
use std::path::Path;

use minijinja::{Environment, Error, context};
use serde_json::{Value as Json, json};

use super::credentials::{Credential, From};
use super::providers::Form;
use super::sees::Sees;
use super::{Agent, Upstream};

/// The directory beside Envoy's own files in which it is told where credentials are kept.
pub(crate) const DIRECTORY: &str = "credentials";

/// Headers that services take for a credential. What a caller has put there is none for an agent that is shown another.
const OF_CREDENTIALS: [&str; 5] = [
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
];
/// Which account of a provider's pays: the caller's to say only where the credential is the caller's.
const OF_ACCOUNTS: [&str; 4] = [
    "openai-organization",
    "openai-project",
    "anthropic-workspace-id",
    "x-goog-user-project",
];
/// What belongs to a signature of AWS's.
const OF_AWS: [&str; 3] = ["x-amz-content-sha256", "x-amz-date", "x-amz-security-token"];

/// The headers that bring callers' own credentials, each once.
pub(super) fn callers_headers(agents: &[Agent]) -> Vec<&str> {
    let upstreams = agents.iter().filter_map(|agent| agent.upstream.as_ref());
    let credentials = upstreams.filter_map(|upstream| upstream.credential.as_ref());
    let mut headers: Vec<&str> = credentials.filter_map(Credential::callers_header).collect();
    headers.sort_unstable();
    headers.dedup();
    headers
}

/// The name of the file that tells where an agent's credential is kept.
pub(super) fn file_of(agent: &str) -> String {
    format!("{DIRECTORY}/{agent}.yaml")
}

/// What Envoy calls an agent's secret. One that is kept elsewhere is another: Envoy goes on with one that it has while it cannot
/// read what takes its place.
fn secret_of(agent: &Agent, from: &From) -> String {
    let place = match from {
        From::File(place) | From::Env(place) | From::Caller(place) => place,
    };
    format!("{} from {place}", agent.name)
}

/// All of a request that the filters of any agent change, each once: what an attempt at one must not leave to the next, at
/// another.
pub(super) fn changed(agents: &[Agent]) -> BTreeSet<&str> {
    let mut changed = BTreeSet::new();
    for agent in agents {
        let Some(upstream) = &agent.upstream else {
            continue;
        };
        if let Some(sees) = &agent.sees {
            changed.extend(sees.hidden());
        }
        changed.extend(removed(upstream));
        match &upstream.credential {
            Some(Credential::InHeader { header, .. }) => {
                // Beside the header itself there is where a provider's own paths have it.
                changed.extend(OF_CREDENTIALS);
                changed.insert(header.as_str());
            }
            Some(Credential::Aws { .. }) => changed.extend([":authority"]),
            None => {}
        }
        if let Some(provider) = upstream.provider {
            changed.extend(provider.headers.iter().map(|(name, _)| *name));
        }
        if upstream.base.is_some() {
            changed.insert(":path");
        }
        if upstream.has_own_host() {
            changed.extend([":authority", "x-envoy-original-host"]);
        }
    }
    changed
}

/// What the template `upstream_filters.yaml` is given of an agent; null where nothing is done.
///
/// # Errors
/// Only if a template is broken.
pub(super) fn filters(
    agent: &Agent,
    upstream: &Upstream,
    callers: &[&str],
    directory: &str,
    host: ByHost,
    environment: &Environment<'_>,
) -> Result<Json, Error> {
    let add = upstream.provider.map_or(&[][..], |it| it.headers);
    let by_hash = upstream.balance.is_by_hash();
    let hidden: Vec<_> = agent.sees.iter().flat_map(Sees::hidden).collect();
    let has_own = upstream.base.is_some() || upstream.credential.is_some() || !add.is_empty();
    if !by_hash && !has_own && hidden.is_empty() {
        return Ok(Json::Null);
    }
    let hides_address = agent.sees.as_ref().is_some_and(Sees::hides_address);
    let names_host = hides_address && upstream.has_own_host() && host == ByHost::Router;
    let callers = upstream
        .credential
        .as_ref()
        .and_then(Credential::callers_header)
        .map(|header| Callers {
            header,
            place: callers.iter().position(|it| *it == header).unwrap_or(0),
        });
    let (mut inject, mut aws, mut set) = (Json::Null, Json::Null, Json::Null);
    match &upstream.credential {
        Some(Credential::Aws { region, file }) => {
            let host = upstream.endpoints.first().map(|it| it.url.authority());
            aws = json!({"region": region, "host": host, "file": file, "directory": parent(file)});
        }
        Some(Credential::InHeader {
            header,
            scheme,
            from,
        }) => {
            let prefix = scheme.as_ref().map(|scheme| format!("{scheme} "));
            let prefix = prefix.unwrap_or_default();
            match &callers {
                Some(callers) => {
                    let value = format!(
                        "{prefix}%DYNAMIC_METADATA(waykeeper.credentials:{})%",
                        callers.place
                    );
                    set = json!({"name": header, "value": value});
                }
                None => {
                    let file = Path::new(directory).join(file_of(&agent.name));
                    inject = json!({
                        "header": header, "prefix": prefix,
                        "secret": secret_of(agent, from), "file": file.to_string_lossy(),
                        "directory": Path::new(directory).join(DIRECTORY).to_string_lossy(),
                    });
                }
            }
        }
        None => {}
    }
    Ok(json!({
        "hash": by_hash,
        "hidden": hidden,
        "names_host": names_host,
        "hides_address": hides_address,
        "remove": removed(upstream),
        "set": set,
        "add": add.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>(),
        "inject": inject,
        "script": script(upstream, callers.as_ref(), names_host, environment)?,
        "aws": aws,
    }))
}

/// When an agent's own host takes the place of the one that the caller has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByHost {
    /// Before its filters, by the route.
    Route,
    /// Behind them, once the router has a connection.
    Router,
}

/// A credential that the caller brings.
struct Callers<'a> {
    header: &'a str,
    /// Under which number it is noted once it is taken out.
    place: usize,
}

/// What a caller has sent and the agent would take for something that it is not.
fn removed(upstream: &Upstream) -> Vec<&'static str> {
    let Some(credential) = &upstream.credential else {
        return Vec::new();
    };
    let shown = match credential {
        Credential::InHeader { header, .. } => Some(header.as_str()),
        Credential::Aws { .. } => None,
    };
    let others = OF_CREDENTIALS.iter().filter(|name| shown != Some(**name));
    let mut removed: Vec<&'static str> = others.copied().collect();
    if matches!(credential, Credential::Aws { .. }) {
        removed.extend(OF_AWS);
    }
    if credential.callers_header().is_none() {
        removed.extend(OF_ACCOUNTS);
    }
    removed
}

/// The script that puts paths below the base, names the host, and refuses those who bring no credential of their own; none where there is nothing
/// to do for it.
fn script(
    upstream: &Upstream,
    callers: Option<&Callers<'_>>,
    names_host: bool,
    environment: &Environment<'_>,
) -> Result<Option<Vec<String>>, Error> {
    if upstream.base.is_none() && callers.is_none() && !names_host {
        return Ok(None);
    }
    let native = upstream
        .provider
        .and_then(|provider| provider.native.as_ref());
    // On the provider's own paths a credential stands elsewhere, unless the operator has said where.
    let moved = match (
        upstream.provider.map(|it| it.credential),
        &upstream.credential,
    ) {
        (
            Some(Form::Header(usual, Some(usual_scheme))),
            Some(Credential::InHeader {
                header,
                scheme: Some(scheme),
                ..
            }),
        ) if usual == header && usual_scheme == scheme => {
            let to = native.and_then(|native| native.credential);
            to.map(|to| context! { from => usual, to => to, prefix => format!("{scheme} ") })
        }
        _ => None,
    };
    let script = environment.get_template("agent.lua")?.render(context! {
        base => upstream.base.as_ref().map(|base| context! { prefix => base.prefix(), whole => &base.whole }),
        native => native.map(|native| native.prefix),
        moved => moved,
        names_host => names_host,
        callers => callers.map(|it| context! { header => it.header, place => it.place }),
    })?;
    Ok(Some(script.lines().map(str::to_owned).collect()))
}

/// The directory of a file.
fn parent(file: &Option<String>) -> Option<String> {
    let parent = Path::new(file.as_deref()?).parent()?;
    Some(parent.to_string_lossy().into_owned())
}

/// What tells Envoy where an agent's credential is kept, if it is: the name of the file, and what stands in it.
///
/// # Errors
/// Only if a template is broken.
pub(super) fn kept(
    agent: &Agent,
    source: &minijinja::Value,
    environment: &Environment<'_>,
) -> Result<Option<(String, String)>, Error> {
    let upstream = agent.upstream.as_ref();
    let Some(Credential::InHeader { from, .. }) = upstream.and_then(|it| it.credential.as_ref())
    else {
        return Ok(None);
    };
    let (file, variable) = match from {
        From::File(file) => (Some(file.clone()), None),
        From::Env(variable) => (None, Some(variable)),
        From::Caller(_) => return Ok(None),
    };
    let template = environment.get_template("credential.yaml")?;
    let text = template.render(context! {
        source => source, name => secret_of(agent, from), directory => parent(&file), file => file, variable => variable,
    })?;
    Ok(Some((file_of(&agent.name), text)))
}
