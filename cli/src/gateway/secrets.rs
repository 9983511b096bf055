//! Files and variables that a gateway names on the machine where it runs, credentials and certificates: whether they are there,
//! and whether others may read what is secret.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use waykeeper::config::Segment;

use super::credentials::{Credential, From};
use super::tls::{ClientTls, Identity};
use super::{Agent, Gateway};
use crate::readable::unreadable;

/// What others than the owner's group may not have of a secret.
const ANYBODY_READS: u32 = 0o004;

const UNTIL: &str = "until it is, requests for this agent are answered 503 agent_unreachable";

/// What is wrong with one of them.
pub(crate) struct Doubt {
    /// The field that names it.
    pub(crate) path: Vec<Segment>,
    pub(crate) message: String,
    /// Whether it is a pipe or the like, which Envoy would wait for in vain. What is not there may come.
    pub(crate) stops: bool,
}

/// All doubts, in the order in which they are found.
struct Doubts(Vec<Doubt>);

/// All that is wrong with what is looked for on this machine.
pub(crate) fn doubts(gateway: &Gateway, variable: impl Fn(&str) -> bool) -> Vec<Doubt> {
    let mut doubts = Doubts(Vec::new());
    for (index, listener) in gateway.listeners.iter().enumerate() {
        let Some(tls) = &listener.tls else {
            continue;
        };
        let place = [field("listen"), Segment::Item(index), field("tls")];
        doubts.identity(&place, &tls.identity);
        doubts.needed(&place, "client_ca", tls.client_ca.as_deref());
    }
    let validator = gateway.validator.as_ref();
    if let Some(tls) = validator.and_then(|(_, upstream)| upstream.tls.as_ref()) {
        doubts.client(&["clients", "validator", "tls"].map(field), tls);
    }
    for agent in &gateway.agents {
        doubts.agent(agent, &variable);
    }
    doubts.0
}

// === impl Doubts ===

impl Doubts {
    fn add(&mut self, place: &[Segment], name: &str, message: String, stops: bool) {
        let path = [place, &[field(name)]].concat();
        self.0.push(Doubt {
            path,
            message,
            stops,
        });
    }

    /// A file without which Envoy takes nothing.
    fn needed(&mut self, place: &[Segment], name: &str, file: Option<&str>) {
        let wrong = file.and_then(|file| Some((file, unreadable(file)?)));
        if let Some((file, wrong)) = wrong {
            let other = fs::metadata(file).is_ok_and(|it| !it.is_file());
            self.add(place, name, format!("{file} {wrong}"), other);
        }
    }

    fn identity(&mut self, place: &[Segment], identity: &Identity) {
        let Identity { certificate, key } = identity;
        self.needed(place, "certificate", Some(certificate));
        self.needed(place, "key", Some(key));
        if let Some(wrong) = others_read(key) {
            self.add(place, "key", format!("{key}: {wrong}"), false);
        }
    }

    fn client(&mut self, place: &[Segment], tls: &ClientTls) {
        self.needed(place, "ca", tls.ca.as_deref());
        if let Some(identity) = &tls.identity {
            self.identity(place, identity);
        }
    }

    fn agent(&mut self, agent: &Agent, variable: &impl Fn(&str) -> bool) {
        let Some(upstream) = &agent.upstream else {
            return;
        };
        let place = [field("agents"), field(&agent.name)];
        match &upstream.credential {
            Some(Credential::InHeader {
                from: From::Env(name),
                ..
            }) if !variable(name) => {
                let message = format!("the variable {name} is not set; {UNTIL}");
                self.add(&place, "credential", message, false);
            }
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

    /// One that is not there may come later. What it holds is not looked at further, and never shown.
    fn credential(&mut self, place: &[Segment], file: &str) {
        let other = fs::metadata(file).is_ok_and(|it| !it.is_file());
        let empty = || {
            let mut file = fs::File::open(file).ok()?;
            let read = file.read(&mut [0; 1]).ok()?;
            (read == 0).then(|| "is not filled: it is empty".to_owned())
        };
        let (message, stops) = if let Some(wrong) = unreadable(file).or_else(empty) {
            // Of a pipe Envoy would wait for what nobody writes.
            let until = if other { "" } else { UNTIL };
            let message = [format!("{file} {wrong}").as_str(), until].join("; ");
            (message.trim_end_matches("; ").to_owned(), other)
        } else if let Some(wrong) = others_read(file) {
            (format!("{file}: {wrong}"), false)
        } else {
            return;
        };
        self.add(place, "credential", message, stops);
    }
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
