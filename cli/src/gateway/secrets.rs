//! Secrets that a gateway is shown on the machine where it runs: whether they are there, and whether others may read them.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;

use super::credentials::{Credential, From};
use super::{Agent, Gateway};

/// What others than the owner's group may not have of a secret.
const ANYBODY_READS: u32 = 0o004;

/// What is wrong with a secret here, and the path of the field that names it.
pub(crate) type Doubt = (Vec<String>, String);

/// All that is wrong with secrets that are looked for on this machine.
pub(crate) fn doubts(gateway: &Gateway, variable: impl Fn(&str) -> bool) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    for agent in &gateway.agents {
        doubts.extend(of_agent(agent, &variable));
    }
    let listeners = gateway.listeners.iter();
    for tls in listeners.filter_map(|listener| listener.tls.as_ref()) {
        let path = vec!["listen".to_owned()];
        let wrong = others_read(&tls.identity.key);
        doubts.extend(wrong.map(|wrong| {
            (
                path,
                format!("listen: the key {}: {wrong}", tls.identity.key),
            )
        }));
    }
    doubts
}

fn of_agent(agent: &Agent, variable: &impl Fn(&str) -> bool) -> Vec<Doubt> {
    let Some(upstream) = &agent.upstream else {
        return Vec::new();
    };
    let name = &agent.name;
    let mut doubts = Vec::new();
    let mut doubt = |field: &str, wrong: String| {
        let path = vec!["agents".to_owned(), name.clone(), field.to_owned()];
        doubts.push((path, format!("agents.{name}.{field}: {wrong}")));
    };
    const UNTIL: &str = "until it is, requests for this agent are answered 503 agent_unreachable";
    match &upstream.credential {
        Some(Credential::InHeader {
            from: From::Env(name),
            ..
        }) if !variable(name) => {
            doubt(
                "credential",
                format!("the variable {name} is not set; {UNTIL}"),
            );
        }
        Some(
            Credential::InHeader {
                from: From::File(file),
                ..
            }
            | Credential::Aws {
                file: Some(file), ..
            },
        ) => {
            if let Some(wrong) = missing(file) {
                doubt("credential", format!("{file} {wrong}; {UNTIL}"));
            } else if let Some(wrong) = others_read(file) {
                doubt("credential", format!("{file}: {wrong}"));
            }
        }
        _ => {}
    }
    let tls = upstream.tls.as_ref();
    if let Some(identity) = tls.and_then(|tls| tls.identity.as_ref())
        && let Some(wrong) = others_read(&identity.key)
    {
        doubt("tls", format!("the key {}: {wrong}", identity.key));
    }
    doubts
}

/// Why a file holds no credential. What it holds is not looked at further, and never shown.
fn missing(file: &str) -> Option<String> {
    let mut first = [0; 1];
    let read = fs::File::open(file).and_then(|mut file| file.read(&mut first));
    match read {
        Ok(0) => Some("is not filled: it is empty".to_owned()),
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::NotFound => Some("is not there".to_owned()),
        Err(error) => Some(format!("is not readable: {error}")),
    }
}

/// Whether anybody on this machine may read a secret; one that is not there nobody can.
fn others_read(file: &str) -> Option<&'static str> {
    let mode = fs::metadata(file).ok()?.permissions().mode();
    (mode & ANYBODY_READS != 0)
        .then_some("everybody on this machine may read it; chmod o-r takes that away")
}
