//! The keys that the auth service knows, and what it says about each. They come from a JSON file; a key may also be
//! given an answer word for word, so that a test can make the service say anything at all about one key only.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The keys of the demo, which docs/demo.md names.
const DEMO: &str = include_str!("../../keys.json");

/// All keys of an auth service.
#[derive(Clone, Default)]
pub struct Keys(HashMap<String, Answer>);

/// What the auth service answers about a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// 200, and whose key it is.
    Client(Client),
    /// This status and body, whatever they are.
    Raw {
        /// From 200 to 599.
        status: u16,
        /// Sent as it stands, as `application/json`.
        body: String,
    },
}

/// Whose key a key is, as the validator's answer says it. Nothing is checked here: a gateway that is told nonsense has
/// to notice by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Client {
    /// The client's name.
    pub client_id: String,
    /// The client's plan; the gateway's default plan if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The team that the client belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// What the client may do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The organisation that the client belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// The client's own limits, as a plan's fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Value>,
    /// For how many seconds the answer may be remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
}

/// Why keys could not be read, with the place.
#[derive(Debug)]
pub struct KeysError(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    api_key: String,
    client_id: Option<String>,
    plan: Option<String>,
    team: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    organisation: Option<String>,
    limits: Option<Value>,
    ttl: Option<u64>,
    raw: Option<Raw>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    body: Value,
}

// === impl Keys ===

impl Keys {
    /// No key at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// The keys of the demo: `demo-standard`, `demo-premium` and `demo-admin`.
    pub fn demo() -> Self {
        Self::from_json(DEMO).unwrap_or_else(|error| unreachable!("the demo's own keys: {error}"))
    }

    /// Reads a key file.
    pub fn from_file(path: &Path) -> Result<Self, KeysError> {
        let place = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| KeysError(format!("{place}: {error}")))?;
        Self::from_json(&text).map_err(|KeysError(error)| KeysError(format!("{place}: {error}")))
    }

    /// Reads keys from JSON: `{"keys": [{"api_key", "client_id", "plan"?, "team"?, "roles"?, "organisation"?, "limits"?, "ttl"?}, …]}`, where
    /// `"raw": {"status"?, "body"?}` may stand in place of `client_id` and the rest.
    pub fn from_json(text: &str) -> Result<Self, KeysError> {
        let file: File =
            serde_json::from_str(text).map_err(|error| KeysError(error.to_string()))?;
        let mut keys = Self::default();
        for (index, entry) in file.keys.into_iter().enumerate() {
            let (key, answer) = entry
                .read()
                .map_err(|error| KeysError(format!("keys[{index}]: {error}")))?;
            if keys.0.insert(key, answer).is_some() {
                return Err(KeysError(format!(
                    "keys[{index}]: this api_key stands further up too; keep one"
                )));
            }
        }
        Ok(keys)
    }

    /// The same keys and one more, which takes the place of an equal one.
    #[must_use]
    pub fn with(mut self, key: &str, answer: impl Into<Answer>) -> Self {
        self.insert(key, answer);
        self
    }

    /// Adds a key or replaces what is said about it.
    pub fn insert(&mut self, key: &str, answer: impl Into<Answer>) {
        self.0.insert(key.to_owned(), answer.into());
    }

    /// What is said about a key.
    pub fn get(&self, key: &str) -> Option<&Answer> {
        self.0.get(key)
    }
}

/// Shows how many keys there are, never the keys.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

// === impl Answer ===

impl From<Client> for Answer {
    fn from(client: Client) -> Self {
        Self::Client(client)
    }
}

// === impl Client ===

impl Client {
    /// A client without plan, team or roles.
    pub fn named(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            ..Self::default()
        }
    }

    /// The same client with a plan.
    #[must_use]
    pub fn plan(self, plan: &str) -> Self {
        Self {
            plan: Some(plan.to_owned()),
            ..self
        }
    }

    /// The same client with a team.
    #[must_use]
    pub fn team(self, team: &str) -> Self {
        Self {
            team: Some(team.to_owned()),
            ..self
        }
    }

    /// The same client with these roles.
    #[must_use]
    pub fn roles(self, roles: &[&str]) -> Self {
        Self {
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            ..self
        }
    }

    /// The same client, to be remembered for so many seconds.
    #[must_use]
    pub fn ttl(self, seconds: u64) -> Self {
        Self {
            ttl: Some(seconds),
            ..self
        }
    }
}

// === impl KeysError ===

impl std::fmt::Display for KeysError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeysError {}

// === impl Entry ===

impl Entry {
    fn read(self) -> Result<(String, Answer), &'static str> {
        if self.api_key.is_empty() {
            return Err("api_key is empty");
        }
        let Self {
            api_key,
            client_id,
            plan,
            team,
            roles,
            organisation,
            limits,
            ttl,
            raw,
        } = self;
        let has_more = organisation.is_some() || limits.is_some() || ttl.is_some();
        let answer = match (client_id, raw) {
            (Some(client_id), None) => Client {
                client_id,
                plan,
                team,
                roles,
                organisation,
                limits,
                ttl,
            }
            .into(),
            (None, Some(raw)) => {
                if plan.is_some() || team.is_some() || !roles.is_empty() || has_more {
                    return Err(
                        "raw stands alone: put all that is said of the client into its body",
                    );
                }
                raw.read()?
            }
            _ => return Err("one of client_id and raw is needed"),
        };
        Ok((api_key, answer))
    }
}

// === impl Raw ===

impl Raw {
    fn read(self) -> Result<Answer, &'static str> {
        if !(200..=599).contains(&self.status) {
            return Err("raw.status must be from 200 to 599");
        }
        let body = match self.body {
            Value::Null => String::new(),
            Value::String(text) => text,
            json => json.to_string(),
        };
        Ok(Answer::Raw {
            status: self.status,
            body,
        })
    }
}

fn ok() -> u16 {
    200
}
