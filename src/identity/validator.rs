//! What the validator is asked, and what its answer means. How long that is remembered says the configuration's
//! [`Remember`](crate::config::policy::Remember).

use std::fmt;
use std::time::Duration;

use super::Client;
use super::answer::{Answer, AnswerFault};
use super::key::KeyId;
use crate::config::policy::Validator;
use crate::host::{Callout, CalloutAnswer, CalloutRequest};
use crate::text::json::quoted;

/// Larger answers count as failure.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// To Envoy: a question that meets a connection which its other end is closing, or none at all, is asked again, within its
/// time. It changes nothing, so that is safe. What was answered, and what is late, is not asked again.
const ASKED_AGAIN: [(&str, &str); 2] = [
    ("x-envoy-retry-on", "reset,connect-failure,refused-stream"),
    ("x-envoy-max-retries", "2"),
];

/// What the validator said of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It proves this client.
    Valid {
        /// The client.
        client: Client,
        /// How long that may be remembered.
        lasts: Duration,
    },
    /// It proves nobody.
    Invalid {
        /// How long that may be remembered.
        lasts: Duration,
    },
}

/// Why the validator's answer says nothing of a key: it failed, so nothing is known and nothing is to be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It did not answer in time, or with more than [`MAX_ANSWER_BYTES`].
    NoAnswer,
    /// It answered with a status that means neither yes nor no.
    Status(u16),
    /// It said yes in a document that is not believed.
    Answer(AnswerFault),
}

/// A question to the validator, ready to be sent.
pub(super) struct Question<'a> {
    validator: &'a Validator,
    headers: Vec<(&'a str, &'a str)>,
    body: Vec<u8>,
}

impl<'a> Question<'a> {
    /// Asks about `key`, which is visible ASCII.
    pub(super) fn new(validator: &'a Validator, key: &str) -> Self {
        let mut headers = vec![
            (":method", "POST"),
            (":path", validator.path.as_str()),
            (":authority", validator.host.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json"),
        ];
        headers.extend(ASKED_AGAIN);
        headers.extend(
            validator
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        Self {
            validator,
            headers,
            body: format!("{{\"api_key\":{}}}", quoted(key)).into_bytes(),
        }
    }

    /// The callout that carries the question.
    pub(super) fn callout(&self) -> Callout<'_> {
        Callout {
            cluster: &self.validator.cluster,
            request: CalloutRequest::Http {
                headers: &self.headers,
                body: &self.body,
            },
            timeout: self.validator.timeout,
        }
    }
}

impl Verdict {
    /// What an answer means.
    ///
    /// # Errors
    /// When the validator failed.
    pub fn read(validator: &Validator, answer: &CalloutAnswer) -> Result<Self, Failure> {
        let CalloutAnswer::Response { status, body } = answer else {
            return Err(Failure::NoAnswer);
        };
        match status {
            200 if body.len() > MAX_ANSWER_BYTES => Err(Failure::NoAnswer),
            200 => Answer::read(body)
                .map(|answer| Self::valid(validator, answer))
                .map_err(Failure::Answer),
            401 | 403 | 404 => Ok(Self::Invalid {
                lasts: validator.remember.invalid,
            }),
            status => Err(Failure::Status(*status)),
        }
    }

    fn valid(validator: &Validator, answer: Answer) -> Self {
        Self::Valid {
            client: Client {
                id: answer.client_id,
                plan_name: answer.plan,
                plan: None,
                team: answer.team,
                organisation: answer.organisation,
                roles: answer.roles,
                limits: answer.limits,
                key: KeyId::default(),
            },
            lasts: validator.remember.valid_for(answer.ttl),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("no answer in time, or one that is too large"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Answer(fault) => write!(f, "its answer is not believed: {fault}"),
        }
    }
}

impl std::error::Error for Failure {}
