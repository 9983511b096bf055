//! Who calls: finding the key in a request, and what is known of it.
//!
//! A key is listed in the configuration, remembered in shared state, or unknown; then the validator is asked. What it is asked
//! and what its answer means is known here alone. Nothing here waits: [`Identity::ask`] sends the question, and whoever
//! waits for it comes back with the answer to [`Identity::hear`].
//!
//! | file | what it says |
//! |---|---|
//! | this one | in what order a key is looked up; whose answers are believed; what becomes of an unknown plan |
//! | `key.rs` | what a key is, and what is kept of it |
//! | `find.rs` | in which sources a key is looked for, and which one counts |
//! | `schemes.rs` | how a header with several credentials is taken apart |
//! | `removal.rs` | how keys are taken out of headers and the query |
//! | `subprotocols.rs` | keys in WebSocket subprotocols, and which subprotocol the caller is told |
//! | `validator.rs` | what the validator is asked, and which answers mean yes or no |
//! | `config/policy.rs` | how long each answer is remembered (`Remember`) |
//! | `answer.rs` | the document in which it says yes |
//! | `client.rs` | a client, and how it is remembered |
//! | `recent.rs` | how long a worker trusts what it has just looked up |

mod answer;
mod client;
mod find;
mod key;
mod recent;
mod removal;
mod schemes;
mod subprotocols;
mod validator;

use std::collections::HashMap;
use std::rc::Rc;

pub use answer::AnswerFault;
pub use client::Client;
pub use find::{Found, Presented, find_key};
pub use key::{Credential, KeyHash, KeyId, MAX_KEY, NoKey};
pub use removal::{Removal, without_key};
pub use subprotocols::offered_protocols;
pub use validator::{Failure, MAX_ANSWER_BYTES, Verdict};

use recent::Recent;
use validator::Question;

use crate::config::policy::{Clients, PlanId, Policy, UnknownPlan, Validator};
use crate::host::{CalloutAnswer, CalloutId, Host, HostError, Timestamp};
use crate::state::keys::{self, Known, Record};
use crate::state::{Decision, Grid, SeededHash, State, StateError};

/// What identifies clients under one configuration.
#[derive(Debug)]
pub struct Identity {
    listed: HashMap<KeyHash, Listed>,
    plans: HashMap<String, PlanId>,
    default_plan: Option<PlanId>,
    unknown_plan: UnknownPlan,
    validator: Option<Validator>,
    memory: Memory,
    recent: Recent,
}

#[derive(Debug)]
struct Listed {
    client: Rc<Client>,
    expires: Option<u64>,
}

impl Listed {
    fn knowledge(&self, now: Timestamp) -> (Knowledge, Timestamp) {
        let expires = self
            .expires
            .map_or(Timestamp(u64::MAX), Timestamp::from_seconds);
        if expires <= now {
            return (Knowledge::Expired, expires);
        }
        (Knowledge::Client(Rc::clone(&self.client)), expires)
    }
}

/// What is known of a key without asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knowledge {
    /// It proves this client.
    Client(Rc<Client>),
    /// It proves nobody.
    Invalid,
    /// It proved somebody once.
    Expired,
    /// It proves a client of a plan that the configuration does not know.
    UnknownPlan(String),
    /// Nobody remembers it.
    Unknown,
}

/// What was heard of a key that the validator was asked about.
#[derive(Debug)]
pub struct Heard {
    /// What is known of the key now.
    pub knowledge: Knowledge,
    /// Why the answer says nothing of it, if so.
    pub failure: Option<Failure>,
    /// Whether it could be remembered for the next request. If not, it is known all the same.
    pub remembered: Result<(), StateError>,
}

impl Identity {
    /// What `policy` says of clients, over the tables of `state`.
    #[must_use]
    pub fn new(policy: &Policy, state: &State) -> Self {
        let Clients {
            keys,
            default_plan,
            unknown_plan,
            validator,
            ..
        } = &policy.clients;
        let plan_name = |id: &PlanId| policy.plans.get(id.0).map(|plan| plan.name.clone());
        Self {
            listed: keys
                .iter()
                .map(|key| {
                    let client = Rc::new(Client {
                        id: key.client.id.clone(),
                        plan_name: key.client.plan.as_ref().and_then(plan_name),
                        plan: key.client.plan,
                        team: key.client.team.clone(),
                        organisation: key.client.organisation.clone(),
                        roles: key.client.roles.clone(),
                        limits: key.client.limits.clone(),
                        key: KeyHash(key.sha256).id(),
                    });
                    let expires = key.expires;
                    (KeyHash(key.sha256), Listed { client, expires })
                })
                .collect(),
            plans: policy
                .plans
                .iter()
                .enumerate()
                .map(|(index, plan)| (plan.name.clone(), PlanId(index)))
                .collect(),
            default_plan: *default_plan,
            unknown_plan: *unknown_plan,
            validator: validator.clone(),
            recent: Recent::new(state.hash),
            memory: Memory {
                grid: state.keys,
                hash: state.hash,
                realm: validator
                    .as_ref()
                    .map_or(0, |validator| realm(&state.hash, validator)),
            },
        }
    }

    /// What is known of a key. Looked at are what this worker has just seen, then the configuration, then what all workers
    /// remember.
    pub fn look_up<H: Host>(&self, host: &H, credential: &Credential, now: Timestamp) -> Knowledge {
        let place = self.recent.place(credential.secret());
        if let Some(client) = self.recent.find(place, now) {
            return Knowledge::Client(client);
        }
        let key = KeyHash::of(credential.secret().as_bytes());
        let (knowledge, expires) = self.known(host, &key, now);
        if let Knowledge::Client(client) = &knowledge {
            self.recent.hold(place, client, expires, now);
        }
        knowledge
    }

    /// What is known of the key with this hash, without the key. Nobody is asked.
    pub fn of_key<H: Host>(&self, host: &H, key: &KeyHash, now: Timestamp) -> Knowledge {
        self.known(host, key, now).0
    }

    fn known<H: Host>(&self, host: &H, key: &KeyHash, now: Timestamp) -> (Knowledge, Timestamp) {
        match self.listed.get(key) {
            Some(listed) => listed.knowledge(now),
            None => self.remembered(host, key, now),
        }
    }

    /// What all workers remember of a key, and until when that holds.
    fn remembered<H: Host>(
        &self,
        host: &H,
        key: &KeyHash,
        now: Timestamp,
    ) -> (Knowledge, Timestamp) {
        let Some((known, expires)) = self.memory.find(host, key, now) else {
            return (Knowledge::Unknown, now);
        };
        let knowledge = match known {
            Known::Invalid => Knowledge::Invalid,
            Known::Valid(answer) => {
                let client = Client::decode(&answer, key);
                client.map_or(Knowledge::Unknown, |client| self.with_plan(client))
            }
        };
        (knowledge, expires)
    }

    /// Asks the validator about a key that nobody knows.
    ///
    /// # Errors
    /// When the question cannot be sent.
    pub fn ask<H: Host>(&self, host: &H, credential: &Credential) -> Result<CalloutId, HostError> {
        let validator = self.validator.as_ref().ok_or(HostError {
            call: "a callout without a validator",
            status: 0,
        })?;
        host.call(&Question::new(validator, credential.secret()).callout())
    }

    /// Takes the validator's answer about a key, and remembers it for the next request.
    pub fn hear<H: Host>(
        &self,
        host: &H,
        key: &KeyHash,
        answer: &CalloutAnswer,
        now: Timestamp,
    ) -> Heard {
        let verdict = match &self.validator {
            Some(validator) => Verdict::read(validator, answer),
            None => Err(Failure::NoAnswer),
        };
        match verdict {
            Ok(verdict) => {
                let (knowledge, remembered) = self.learn(host, key, verdict, now);
                Heard {
                    knowledge,
                    failure: None,
                    remembered,
                }
            }
            Err(failure) => Heard {
                knowledge: Knowledge::Unknown,
                failure: Some(failure),
                remembered: Ok(()),
            },
        }
    }

    /// What a verdict says of the key, and whether it could be remembered.
    fn learn<H: Host>(
        &self,
        host: &H,
        key: &KeyHash,
        verdict: Verdict,
        now: Timestamp,
    ) -> (Knowledge, Result<(), StateError>) {
        let (knowledge, answer, lasts) = match verdict {
            Verdict::Valid { client, lasts } => {
                let answer = client.encode();
                let key = key.id();
                (
                    self.with_plan(Client { key, ..client }),
                    Some(answer),
                    lasts,
                )
            }
            Verdict::Invalid { lasts } => (Knowledge::Invalid, None, lasts),
        };
        let record = Record {
            hash: key.0,
            realm: self.memory.realm,
            learned: now,
            expires: now.after(lasts),
            answer,
        };
        let remembered = if lasts.is_zero() {
            Ok(())
        } else {
            self.memory.insert(host, &record, now)
        };
        (knowledge, remembered)
    }

    /// Puts the plan in force into a client. Plans are remembered by name: a new configuration may order them otherwise.
    fn with_plan(&self, mut client: Client) -> Knowledge {
        client.plan = match &client.plan_name {
            None => self.default_plan,
            Some(name) => match (self.plans.get(name), self.unknown_plan) {
                (Some(plan), _) => Some(*plan),
                (None, UnknownPlan::UseDefault) => self.default_plan,
                (None, UnknownPlan::Refuse) => return Knowledge::UnknownPlan(name.clone()),
            },
        };
        Knowledge::Client(Rc::new(client))
    }
}

/// The keys that all workers remember.
#[derive(Debug)]
struct Memory {
    grid: Grid,
    hash: SeededHash,
    realm: u64,
}

impl Memory {
    fn find<H: Host>(&self, host: &H, key: &KeyHash, now: Timestamp) -> Option<(Known, Timestamp)> {
        let cell = self.grid.locate(self.hash.of(&[&key.0]).cell);
        let (value, _) = host.read_cell(cell).ok()??;
        keys::find(&value, &key.0, self.realm, now)
    }

    fn insert<H: Host>(&self, host: &H, record: &Record, now: Timestamp) -> Result<(), StateError> {
        let cell = self.grid.locate(self.hash.of(&[&record.hash]).cell);
        Grid::update(host, cell, |value| {
            match keys::insert(&value, record, now) {
                Some(value) => Decision::Replace(value, ()),
                None => Decision::Keep(()),
            }
        })
    }
}

/// The validator's cluster where the tool makes it: nobody else may call one so.
const OWN_CLUSTER: &str = "waykeeper/validator";

/// In which form clients are remembered, see [`Client::encode`]. A module that has another form does not believe these.
const REMEMBERED_AS: &[u8] = b"3";

/// Tells the records of one validator from those of another, under which they are not believed: in a second gateway of the
/// same process, after a new configuration that asks elsewhere, and after one of another generation. Another host asks elsewhere
/// too: behind one cluster several may answer. The number by which `waykeeper run` tells its clusters apart, `waykeeper/validator~2`,
/// does not: the host is the same, and the way to it another.
fn realm(hash: &SeededHash, validator: &Validator) -> u64 {
    let generation = validator.remember.generation.to_le_bytes();
    let cluster = match validator.cluster.split_once('~') {
        Some((OWN_CLUSTER, _)) => OWN_CLUSTER,
        _ => &validator.cluster,
    };
    let mut parts = vec![
        REMEMBERED_AS,
        cluster.as_bytes(),
        validator.host.as_bytes(),
        validator.path.as_bytes(),
        &generation,
    ];
    for (name, value) in &validator.headers {
        parts.extend([name.as_bytes(), value.as_bytes()]);
    }
    hash.of(&parts).tag
}

#[cfg(test)]
mod tests;
