//! What agents are shown, in the gateway's pods: a ConfigMap tells where it is kept, and a Secret holds what it is. No manifest
//! does.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::{Environment, Error, Value};
use serde_json::{Value as Json, json};
use waykeeper::config::Segment;
use waykeeper::identity::KeyHash;
use waykeeper::text::hex;

use super::{Options, Told};
use crate::gateway::credentials::{Credential, From};
use crate::gateway::sessions::Key;
use crate::gateway::{Agent, CREDENTIALS, filters};

/// Where the pods have both, in directories of their own.
pub(super) const DIRECTORY: &str = "/etc/waykeeper";
const SECRETS: &str = "/etc/waykeeper/secrets";

/// All that agents are shown.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// What tells where each is kept: texts by the names of their files.
    told: BTreeMap<String, String>,
    /// Entries of the Secret that stand for files, with these.
    entries: BTreeMap<String, String>,
    /// Those of them that the pods have as files.
    files: BTreeSet<String>,
    /// What they have in their environment: entries by the variables' names.
    variables: BTreeMap<String, String>,
    /// Those of them that the filter has to see, in its order: keys that sessions are sealed with.
    pub(super) keys: Vec<String>,
}

// === impl Credentials ===

impl Credentials {
    /// An agent as its pods know it: what it is shown lies where they have it.
    ///
    /// # Errors
    /// Only if a template is broken.
    pub(super) fn moved(
        &mut self,
        mut agent: Agent,
        place: &[Segment],
        options: Options<'_>,
        environment: &Environment<'_>,
        told: &mut Told,
    ) -> Result<Agent, Error> {
        let upstream = agent.upstream.as_mut();
        let Some(credential) = upstream.and_then(|it| it.credential.as_mut()) else {
            return Ok(agent);
        };
        let at = |name: &str| {
            let path = ["credential", name].map(|name| Segment::Field(name.to_owned()));
            [place, &path].concat()
        };
        match credential {
            Credential::InHeader {
                from: From::File(path),
                ..
            }
            | Credential::Aws {
                file: Some(path), ..
            } => {
                let place = at("file");
                match self.entry(path) {
                    Ok(entry) => {
                        must_have_secret(&place, "file", &entry, options, told);
                        self.files.insert(entry.clone());
                        *path = format!("{SECRETS}/{entry}");
                    }
                    Err(fault) => told.fault(&place, fault),
                }
            }
            Credential::InHeader {
                from: From::Env(variable),
                ..
            } => {
                must_have_secret(&at("env"), "variable", variable, options, told);
                self.variables.insert(variable.clone(), variable.clone());
            }
            Credential::InHeader {
                from: From::Caller(_),
                ..
            }
            | Credential::Aws { file: None, .. } => {}
        }
        agent.name = self.unused(&agent.name);
        if let Some((file, text)) = filters::kept(&agent, &Value::from(()), environment)? {
            let directory = format!("{CREDENTIALS}/");
            let name = file.strip_prefix(&directory).unwrap_or(&file);
            self.told.insert(name.to_owned(), text);
        }
        Ok(agent)
    }

    /// The keys of sessions, which the filter finds in its environment.
    pub(super) fn add_keys(&mut self, keys: &[Option<Key>], options: Options<'_>, told: &mut Told) {
        for (index, key) in keys.iter().enumerate() {
            let path = ["sessions", "keys"].map(|name| Segment::Field(name.to_owned()));
            let place = [&path[..], &[Segment::Item(index)]].concat();
            let entry = match key.as_ref().map(|key| &key.from) {
                Some(Some(From::File(path))) => self.entry(path),
                Some(Some(From::Env(variable))) => Ok(variable.clone()),
                // That is told.
                Some(_) => continue,
                None => Err(
                    "stands here, and no manifest may hold it; say where it is, as {file: PATH} or {env: NAME}".to_owned(),
                ),
            };
            match entry {
                Ok(entry) => {
                    must_have_secret(&place, "key", &entry, options, told);
                    let variable = format!("WAYKEEPER_SESSION_KEY_{}", index + 1);
                    self.variables.insert(variable.clone(), entry);
                    self.keys.push(variable);
                }
                Err(fault) => told.fault(&place, fault),
            }
        }
    }

    /// The entry of the Secret for a file: they are called alike.
    fn entry(&mut self, path: &str) -> Result<String, String> {
        let entry = path.rsplit('/').next().unwrap_or(path);
        if entry.is_empty() || !entry.chars().all(is_of_key) {
            return Err(format!(
                "{entry:?} can be no entry of a Secret: letters, digits and ._-"
            ));
        }
        match self.entries.insert(entry.to_owned(), path.to_owned()) {
            Some(other) if other != path => Err(format!(
                "is one entry of the Secret with {other}; give one of them another name"
            )),
            _ => Ok(entry.to_owned()),
        }
    }

    /// An agent's name as a ConfigMap can have it.
    fn unused(&self, agent: &str) -> String {
        let plain = |letter| if is_of_key(letter) { letter } else { '_' };
        let mut name: String = agent.chars().map(plain).collect();
        while self.told.contains_key(&format!("{name}.yaml")) {
            name.push('_');
        }
        name
    }

    /// What the templates are told.
    pub(super) fn context(&self, options: Options<'_>) -> Json {
        let told: Vec<Json> = { self.told.iter() }
            .map(|(name, text)| json!({"name": name, "lines": text.lines().collect::<Vec<_>>()}))
            .collect();
        let whole: Vec<&str> = { self.told.iter() }
            .flat_map(|(name, text)| [&**name, &**text])
            .collect();
        let variable = |(name, entry)| json!({"name": name, "entry": entry});
        json!({
            "directory": format!("{DIRECTORY}/{CREDENTIALS}"),
            "secrets": SECRETS,
            "secret": options.credentials_secret,
            "told": told,
            // Another one for other texts.
            "digest": hex::encoded(&KeyHash::of(whole.join("\n").as_bytes()).0),
            "files": self.files,
            "keys": self.keys,
            "variables": self.variables.iter().map(variable).collect::<Vec<_>>(),
        })
    }
}

fn must_have_secret(
    place: &[Segment],
    what: &str,
    entry: &str,
    options: Options<'_>,
    told: &mut Told,
) {
    if options.credentials_secret.is_none() {
        let message = format!(
            "the gateway's pods do not have this {what}; put it into a Secret as {entry}, and say --credentials-secret"
        );
        told.fault(place, message);
    }
}

fn is_of_key(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "._-".contains(letter)
}
