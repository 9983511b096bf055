//! Who calls: by the listed key in the request, or as it is said beside it.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use waykeeper::config::policy::{KeySource, ListedClient, ListedKey};
use waykeeper::config::{Policy, did_you_mean};
use waykeeper::identity::{Found, KeyHash, Presented, find_key};
use waykeeper::text::names::is_name;

use super::request::Arrived;

/// Who calls, where no listed key says it.
#[derive(Debug, Default, Args)]
pub(super) struct Named {
    /// Who calls, where the key is none of clients.keys or is not in the request: a name, as clients.keys has it (with its plan,
    /// team, organisation and roles) or a validator would give it
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// The client's plan [default: as clients.keys has it, else clients.default_plan]
    #[arg(long, value_name = "NAME", requires = "client")]
    plan: Option<String>,
    /// Its team
    #[arg(long, value_name = "NAME", requires = "client")]
    team: Option<String>,
    /// Its organisation
    #[arg(long, value_name = "NAME", requires = "client")]
    organisation: Option<String>,
    /// One of its roles; may stand there several times
    #[arg(long, value_name = "NAME", requires = "client")]
    role: Vec<String>,
}

/// How it is known who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    /// By a key of the list.
    Listed,
    /// It was said beside the request.
    Told,
    /// Nobody knows offline: the validator is asked, and is taken to know the key.
    Validator,
    /// There is no key.
    NoKey,
    /// There is one that nobody knows.
    UnknownKey,
    /// What is there is no key.
    NotAKey,
}

/// Who calls.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) how: How,
    /// Where the key was found.
    pub(super) source: Option<String>,
    pub(super) client: Option<ListedClient>,
}

/// What a client is called of whom only the validator knows the name.
pub(super) const UNNAMED: &str = "waykeeper.explain:unnamed";

/// Where a key is put that came with no request. From callers such headers are taken away.
const BESIDE: &str = "x-waykeeper-explain";

/// Finds out who calls, and has the policy know that key and no other.
///
/// # Errors
/// One line, where what is said cannot be.
pub(super) fn settle(
    policy: &mut Policy,
    arrived: &mut Arrived,
    named: &Named,
) -> Result<Caller, String> {
    let told = named.client(policy)?;
    let found = find(&policy.clients.key_sources, arrived);
    let (key, source) = match found {
        (Found::Malformed, source) => return Ok(Caller::unknown(How::NotAKey, source)),
        (Found::Key(key), source) => (Some(KeyHash::of(key.secret().as_bytes())), source),
        (Found::Missing, _) => (None, None),
    };
    if let Some(KeyHash(hash)) = key {
        policy.clients.keys.retain(|listed| listed.sha256 == hash);
        match (policy.clients.keys.first(), told) {
            (Some(listed), None) => {
                let client = Some(listed.client.clone());
                return Ok(Caller {
                    how: How::Listed,
                    source,
                    client,
                });
            }
            (Some(listed), Some(_)) => {
                return Err(format!(
                    "the key in the request is listed, as that of {}; leave --client out, or the key",
                    listed.client.id
                ));
            }
            (None, Some(told)) => return Ok(with_key(policy, hash, source, How::Told, told)),
            (None, None) if policy.clients.validator.is_some() => {
                let unnamed = client(UNNAMED, policy);
                return Ok(with_key(policy, hash, source, How::Validator, unnamed));
            }
            (None, None) => return Ok(Caller::unknown(How::UnknownKey, source)),
        }
    }
    policy.clients.keys.clear();
    let Some(told) = told else {
        return Ok(Caller::unknown(How::NoKey, None));
    };
    // A key as good as any, in a place of its own, so that the request is one without a key in all else.
    let key = "explained";
    policy.clients.key_sources.push(KeySource::Header {
        name: BESIDE.to_owned(),
        scheme: None,
    });
    arrived.add(BESIDE, key);
    let KeyHash(hash) = KeyHash::of(key.as_bytes());
    Ok(with_key(policy, hash, None, How::Told, told))
}

/// The header that was added to the request, if one was.
pub(super) fn is_beside(name: &str) -> bool {
    name == BESIDE
}

fn with_key(
    policy: &mut Policy,
    sha256: [u8; 32],
    source: Option<String>,
    how: How,
    client: ListedClient,
) -> Caller {
    policy.clients.keys = vec![ListedKey {
        sha256,
        client: client.clone(),
        expires: None,
    }];
    Caller {
        how,
        source,
        client: Some(client),
    }
}

fn client(id: &str, policy: &Policy) -> ListedClient {
    ListedClient {
        id: id.to_owned(),
        plan: policy.clients.default_plan,
        team: None,
        organisation: None,
        roles: Vec::new(),
        limits: None,
    }
}

/// What the first source holds in which there is something, and which that is.
fn find(sources: &[KeySource], arrived: &Arrived) -> (Found, Option<String>) {
    let presented = Presented {
        headers: &arrived.block,
        path: arrived.block.get(":path").unwrap_or_default(),
        handshake: arrived.stays_open(),
    };
    for source in sources {
        let found = find_key(std::slice::from_ref(source), presented);
        if found != Found::Missing {
            return (found, Some(place(source)));
        }
    }
    (Found::Missing, None)
}

/// Where a source is, in words.
fn place(source: &KeySource) -> String {
    match source {
        KeySource::Header { name, .. } => name.clone(),
        KeySource::Query { name, .. } => format!("the query's {name}"),
        KeySource::WebsocketProtocol { prefix } => format!("the subprotocol {prefix}…"),
    }
}

/// Where keys are looked for, in words.
pub(super) fn looked_for(sources: &[KeySource]) -> String {
    let words = sources.iter().map(|source| match source {
        KeySource::Header {
            name,
            scheme: Some(scheme),
        } => format!("{name} (as {scheme} KEY)"),
        KeySource::Query {
            any_request: false, ..
        }
        | KeySource::WebsocketProtocol { .. } => {
            format!("{} (of a WebSocket's handshake)", place(source))
        }
        source => place(source),
    });
    words.collect::<Vec<_>>().join(", ")
}

// === impl Caller ===

impl Caller {
    fn unknown(how: How, source: Option<String>) -> Self {
        Self {
            how,
            source,
            client: None,
        }
    }
}

// === impl Named ===

impl Named {
    /// The client that was named, if one was.
    fn client(&self, policy: &Policy) -> Result<Option<ListedClient>, String> {
        let Some(id) = &self.client else {
            return Ok(None);
        };
        let names = [Some(id), self.team.as_ref(), self.organisation.as_ref()];
        for name in names.into_iter().flatten().chain(&self.role) {
            if !is_name(name) {
                return Err(format!(
                    "{name:?} is no name; it is 1 to 128 of the characters A-Z a-z 0-9 . _ : @ -"
                ));
            }
        }
        let mut listed = policy.clients.keys.iter().map(|listed| &listed.client);
        let listed = listed.find(|client| client.id == *id).cloned();
        let mut named = listed.unwrap_or_else(|| client(id, policy));
        if let Some(plan) = &self.plan {
            let plans = policy.plans.iter().map(|plan| plan.name.as_str());
            let place = plans.clone().position(|name| name == plan);
            let place = place
                .ok_or_else(|| format!("no plan named {plan:?}{}", did_you_mean(plan, plans)))?;
            named.plan = Some(waykeeper::config::policy::PlanId(place));
            named.limits = None;
        }
        for (said, own) in [
            (&self.team, &mut named.team),
            (&self.organisation, &mut named.organisation),
        ] {
            if said.is_some() {
                own.clone_from(said);
            }
        }
        if !self.role.is_empty() {
            named.roles.clone_from(&self.role);
        }
        Ok(Some(named))
    }
}

/// How long after 1970 it is.
pub(super) fn now() -> Duration {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default()
}
