//! What the validator is asked, and what its answer means.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Client;
use crate::config::policy::Validator;
use crate::host::{Callout, CalloutAnswer};

/// Larger answers count as failure.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// A client with more roles than that is not believed.
const MAX_ROLES: usize = 16;

/// The longest name that is believed, in bytes.
const MAX_NAME: usize = 128;

/// No answer is remembered longer, whatever it says of itself.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What the validator said of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It proves this client, and that may be believed for so long.
    Valid {
        /// Whom.
        client: Client,
        /// How long.
        lasts: Duration,
    },
    /// It proves nobody, and that may be believed for so long.
    Invalid {
        /// How long.
        lasts: Duration,
    },
}

/// A question to the validator, ready to be sent.
#[derive(Debug)]
pub struct Question<'a> {
    validator: &'a Validator,
    headers: Vec<(&'a str, &'a str)>,
    body: Vec<u8>,
}

#[derive(Serialize)]
struct Ask<'a> {
    api_key: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    client_id: String,
    #[serde(default)]
    plan: Option<String>,
    #[serde(default)]
    team: Option<String>,
    #[serde(default)]
    roles: Option<Vec<String>>,
    #[serde(default)]
    ttl: Option<u64>,
}

impl<'a> Question<'a> {
    /// Asks about `key`, which is visible ASCII.
    #[must_use]
    pub fn new(validator: &'a Validator, key: &str) -> Self {
        let mut headers = vec![
            (":method", "POST"),
            (":path", validator.path.as_str()),
            (":authority", validator.cluster.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json"),
        ];
        headers.extend(
            validator
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        Self {
            validator,
            headers,
            body: serde_json::to_vec(&Ask { api_key: key }).unwrap_or_default(),
        }
    }

    /// The callout that carries the question.
    #[must_use]
    pub fn callout(&self) -> Callout<'_> {
        Callout {
            cluster: &self.validator.cluster,
            headers: &self.headers,
            body: &self.body,
            timeout: self.validator.timeout,
        }
    }
}

impl Verdict {
    /// What an answer means. `None`: the validator failed; nothing is known and nothing is to be remembered.
    #[must_use]
    pub fn read(validator: &Validator, answer: &CalloutAnswer) -> Option<Self> {
        let CalloutAnswer::Response { status, body } = answer else {
            return None;
        };
        match status {
            200 if body.len() <= MAX_ANSWER_BYTES => {
                Self::valid(validator, serde_json::from_slice(body).ok()?)
            }
            401 | 403 | 404 => Some(Self::Invalid {
                lasts: validator.remember_invalid,
            }),
            _ => None,
        }
    }

    fn valid(validator: &Validator, answer: Answer) -> Option<Self> {
        let roles = answer.roles.unwrap_or_default();
        let names = [
            Some(&answer.client_id),
            answer.plan.as_ref(),
            answer.team.as_ref(),
        ];
        let believable = roles.len() <= MAX_ROLES
            && names
                .into_iter()
                .flatten()
                .chain(&roles)
                .all(|name| is_name(name));
        believable.then(|| Self::Valid {
            client: Client {
                id: answer.client_id,
                plan_name: answer.plan,
                plan: None,
                team: answer.team,
                roles,
            },
            lasts: answer
                .ttl
                .map_or(validator.remember_valid, Duration::from_secs)
                .min(LONGEST),
        })
    }
}

/// Names go into headers, metrics and logs, so only plain ones are believed.
fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte))
}
