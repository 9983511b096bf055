//! Files and variables that a gateway names on the machine where it runs, credentials and certificates: whether they are there,
//! whether others may read what is secret, and whether they are what they are named as.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;

use waykeeper::config::Segment;
use waykeeper::config::policy::ListedKey;
use waykeeper::identity::{KeyHash, MAX_KEY};

use super::certificates::{self, Flaw};
use super::credentials::{Credential, From};
use super::render::SYSTEM_CA;
use super::tls::{ClientTls, Identity};
use super::{Agent, Gateway};
use crate::readable::unreadable;

/// What others than the owner's group may not have of a secret.
const ANYBODY_READS: u32 = 0o004;

const UNTIL: &str = "until it is, requests for this agent are answered 503 agent_unreachable";

/// Ends what is said of a file without which nothing is given to Envoy.
const NEEDED: &str = "Envoy does not start without it";

/// What is wrong with one of them.
pub(crate) struct Doubt {
    /// The field that names it.
    pub(crate) path: Vec<Segment>,
    pub(crate) message: String,
    pub(crate) weight: Weight,
}

/// How much is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// It may come, or is doubtful only.
    Doubtful,
    /// A pipe or the like, for which Envoy would wait in vain where it is to start now.
    Stops,
    /// Envoy takes nothing with this.
    Refused,
    /// It is what it must not be.
    Wrong,
}

/// All doubts, in the order in which they are found.
struct Doubts<'a> {
    found: Vec<Doubt>,
    /// The keys that callers are known by.
    keys: &'a [ListedKey],
    look_up: &'a dyn Fn(&str) -> Option<OsString>,
    /// What is wrong with certificates that were looked into: agents may share one.
    judged: HashMap<&'a Identity, Vec<Flaw>>,
}

/// All that is wrong with what is looked for on this machine, whose environment `look_up` knows.
pub(crate) fn doubts<'a>(
    gateway: &'a Gateway,
    keys: &'a [ListedKey],
    look_up: &'a dyn Fn(&str) -> Option<OsString>,
) -> Vec<Doubt> {
    let mut doubts = Doubts {
        found: Vec::new(),
        keys,
        look_up,
        judged: HashMap::new(),
    };
    for (index, listener) in gateway.listeners.iter().enumerate() {
        let Some(tls) = &listener.tls else {
            continue;
        };
        let place = [field("listen"), Segment::Item(index), field("tls")];
        doubts.identity(&place, &tls.identity);
        doubts.authorities(&place, "client_ca", tls.client_ca.as_deref());
    }
    let validator = gateway.validator.as_ref();
    if let Some(tls) = validator.and_then(|(_, upstream)| upstream.tls.as_ref()) {
        doubts.client(&["clients", "validator", "tls"].map(field), tls);
    }
    for agent in &gateway.agents {
        doubts.agent(agent);
    }
    doubts.found
}

/// Whether something is told of files of TLS with which Envoy takes nothing.
pub(crate) fn keep_all_from_envoy(gateway: &Gateway) -> bool {
    doubts(gateway, &[], &|_| None)
        .iter()
        .any(|doubt| doubt.weight == Weight::Refused || doubt.message.ends_with(NEEDED))
}

/// Whether Envoy would take nothing with this certificate and key, as far as that is known without it.
pub(super) fn is_unusable(identity: &Identity) -> bool {
    [&identity.certificate, &identity.key]
        .into_iter()
        .any(|file| unreadable(file).is_some())
        || certificates::of_identity(identity)
            .iter()
            .any(|flaw| flaw.refused)
}

/// The same of a file of authorities.
pub(super) fn is_unusable_ca(file: &str) -> bool {
    unreadable(file).is_some()
        || certificates::of_authorities("ca", file).is_some_and(|flaw| flaw.refused)
}

// === impl Doubts ===

impl<'a> Doubts<'a> {
    fn add(&mut self, place: &[Segment], name: &str, message: String, weight: Weight) {
        let path = [place, &[field(name)]].concat();
        self.found.push(Doubt {
            path,
            message,
            weight,
        });
    }

    fn flaw(&mut self, place: &[Segment], flaw: Flaw) {
        let weight = match flaw.refused {
            true => Weight::Refused,
            false => Weight::Doubtful,
        };
        self.add(place, flaw.field, flaw.message, weight);
    }

    /// Tells of a file that cannot be read, without which Envoy takes nothing.
    fn needed(&mut self, place: &[Segment], name: &str, file: &str) -> bool {
        let Some(wrong) = unreadable(file) else {
            return true;
        };
        let weight = match is_other(file) {
            true => Weight::Stops,
            false => Weight::Doubtful,
        };
        let message = format!("{file} {wrong}; {NEEDED}");
        self.add(place, name, message, weight);
        false
    }

    fn identity(&mut self, place: &[Segment], identity: &'a Identity) {
        let Identity { certificate, key } = identity;
        let there = self.needed(place, "certificate", certificate);
        if self.needed(place, "key", key) && there {
            let judged = self.judged.entry(identity);
            let flaws = judged.or_insert_with(|| certificates::of_identity(identity));
            for flaw in flaws.clone() {
                self.flaw(place, flaw);
            }
        }
        if let Some(wrong) = others_read(key) {
            self.add(place, "key", format!("{key}: {wrong}"), Weight::Doubtful);
        }
    }

    fn authorities(&mut self, place: &[Segment], name: &'static str, file: Option<&str>) {
        if let Some(file) = file
            && self.needed(place, name, file)
            && let Some(flaw) = certificates::of_authorities(name, file)
        {
            self.flaw(place, flaw);
        }
    }

    fn client(&mut self, place: &[Segment], tls: &'a ClientTls) {
        match tls.ca.as_deref() {
            Some(ca) => self.authorities(place, "ca", Some(ca)),
            // The system's own holds many, of which some may have gone.
            None => {
                self.needed(place, "ca", SYSTEM_CA);
            }
        }
        if let Some(identity) = &tls.identity {
            self.identity(place, identity);
        }
    }

    fn agent(&mut self, agent: &'a Agent) {
        let Some(upstream) = &agent.upstream else {
            return;
        };
        let place = [field("agents"), field(&agent.name)];
        match &upstream.credential {
            Some(Credential::InHeader {
                from: From::Env(name),
                ..
            }) => match (self.look_up)(name).filter(|value| !value.is_empty()) {
                Some(value) => self.callers_key(&place, &value.into_vec()),
                None => {
                    let message = format!("the variable {name} is not set; {UNTIL}");
                    self.add(&place, "credential", message, Weight::Doubtful);
                }
            },
            Some(
                Credential::InHeader {
                    from: From::File(file),
                    ..
                }
                | Credential::Aws {
                    file: Some(file), ..
                },
            ) => self.credential(&place, file),
            _ => {}
        }
        if let Some(tls) = &upstream.tls {
            self.client(&[&place[..], &[field("tls")]].concat(), tls);
        }
    }

    /// One that is not there may come later. What it holds is never shown.
    fn credential(&mut self, place: &[Segment], file: &str) {
        let held = match unreadable(file) {
            Some(wrong) => Err(wrong),
            None => begin_of(file),
        };
        match held {
            Ok(held) => {
                if let Some(wrong) = others_read(file) {
                    let message = format!("{file}: {wrong}");
                    self.add(place, "credential", message, Weight::Doubtful);
                }
                self.callers_key(place, &held);
            }
            // Of a pipe Envoy would wait for what nobody writes.
            Err(wrong) if is_other(file) => {
                self.add(
                    place,
                    "credential",
                    format!("{file} {wrong}"),
                    Weight::Stops,
                );
            }
            Err(wrong) => {
                let message = format!("{file} {wrong}; {UNTIL}");
                self.add(place, "credential", message, Weight::Doubtful);
            }
        }
    }

    /// Looks whether a credential is a key that callers are known by: the provider would be shown that, and whoever has the
    /// provider's could call.
    fn callers_key(&mut self, place: &[Segment], credential: &[u8]) {
        let credential = credential.trim_ascii();
        // Somebody may have written the scheme before it.
        let last = credential.rsplit(|byte| *byte == b' ').next();
        let hashes = [Some(credential), last].map(|it| it.map(|it| KeyHash::of(it).0));
        let is_this = |key: &&ListedKey| hashes.contains(&Some(key.sha256));
        if let Some(key) = self.keys.iter().find(is_this) {
            let message = format!(
                "is a key of the client {}, by which that calls the gateway, and not one that the agent knows the gateway by",
                key.client.id
            );
            self.add(place, "credential", message, Weight::Wrong);
        }
    }
}

/// As much of a file as a key may be long, and some more; or what is wrong with it, in words that go behind its name.
fn begin_of(file: &str) -> Result<Vec<u8>, String> {
    const ENOUGH: u64 = MAX_KEY as u64 + 64;
    let mut held = Vec::new();
    let read = File::open(file).and_then(|it| it.take(ENOUGH).read_to_end(&mut held));
    match read {
        Ok(0) => Err("is not filled: it is empty".to_owned()),
        Ok(_) => Ok(held),
        Err(error) => Err(format!("is not readable: {error}")),
    }
}

/// Whether it is there, and no file.
fn is_other(file: &str) -> bool {
    fs::metadata(file).is_ok_and(|it| !it.is_file())
}

fn field(name: &str) -> Segment {
    Segment::Field(name.to_owned())
}

/// Whether anybody on this machine may read a secret; one that is not there nobody can.
fn others_read(file: &str) -> Option<&'static str> {
    let mode = fs::metadata(file)
        .ok()
        .filter(fs::Metadata::is_file)?
        .permissions()
        .mode();
    (mode & ANYBODY_READS != 0)
        .then_some("everybody on this machine may read it; chmod o-r takes that away")
}
