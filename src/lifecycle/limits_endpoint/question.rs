//! What the query of a question about limits says.

use super::bad;
use crate::reply::Refusal;
use crate::text::names::{NAME, is_name};
use crate::text::paths::{split_once, split_query};
use crate::text::{escapes, hex};

/// So many limits may be named in one question.
const MOST_NAMES: usize = 32;

/// What an operator says of the client that is asked about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) client: Option<String>,
    pub(super) plan: Option<String>,
    pub(super) team: Option<String>,
    pub(super) organisation: Option<String>,
    pub(super) key: Option<[u8; 32]>,
    pub(super) limits: Vec<String>,
}

impl Question {
    pub(super) fn read(path: &[u8]) -> Result<Self, Refusal> {
        let mut question = Self::default();
        let query = split_query(path).1.unwrap_or_default();
        let parameters = query.split(|byte| *byte == b'&');
        for parameter in parameters.filter(|it| !it.is_empty()) {
            let (name, value) = split_once(parameter, b'=');
            let value = escapes::decoded(value.unwrap_or_default(), |_| true);
            let value = String::from_utf8(value).unwrap_or_default();
            question.take(name, value)?;
        }
        let alone = question.client.is_none() && question != Self::default();
        if alone {
            return Err(bad(
                "The parameters of the query say more of a client: they need client.",
            ));
        }
        Ok(question)
    }

    fn take(&mut self, name: &[u8], value: String) -> Result<(), Refusal> {
        let slot = match name {
            b"client" => &mut self.client,
            b"plan" => &mut self.plan,
            b"team" => &mut self.team,
            b"organisation" => &mut self.organisation,
            b"key_sha256" => {
                let hash = hex::decoded(&value).filter(|_| self.key.is_none());
                self.key = hash;
                return match hash {
                    Some(_) => Ok(()),
                    None => Err(bad(
                        "The parameter key_sha256 is the SHA-256 of one key, as 64 hex digits.",
                    )),
                };
            }
            b"limit" if self.limits.len() < MOST_NAMES => {
                self.limits.push(value);
                return Ok(());
            }
            b"limit" => return Err(bad("The query names too many limits.")),
            _ => {
                return Err(bad(
                    "The query takes client, plan, team, organisation, key_sha256 and limit, and nothing else.",
                ));
            }
        };
        if slot.is_some() || !is_name(&value) {
            let name = String::from_utf8_lossy(name);
            return Err(bad(&format!(
                "The parameter {name} stands there once, and is {NAME}."
            )));
        }
        *slot = Some(value);
        Ok(())
    }
}
