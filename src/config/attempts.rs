//! The module's other configuration: it stands on an agent's side of Envoy, and judges each attempt there.

use super::policy::Rest;
use super::reader::Spot;
use super::{names, rest};

/// The one field of such a document.
pub(super) const FIELD: &str = "attempts";
const FIELDS: &[&str] = &["agent", "cluster", "rest"];

/// The attempts at one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempts {
    /// Its name, as in the gateway's configuration.
    pub agent: String,
    /// Its cluster, as there.
    pub cluster: String,
    /// When it rests, as there.
    pub rest: Rest,
}

pub(super) fn attempts(document: &Spot<'_>) -> Option<Attempts> {
    let fields = document.fields(&[FIELD])?;
    let spot = fields.need(FIELD)?;
    let fields = spot.fields(FIELDS)?;
    let agent = fields.need("agent")?.checked(names::agent);
    let cluster = fields.need("cluster")?.checked(names::cluster);
    let rest = rest::rest(&fields.need("rest")?);
    Some(Attempts {
        agent: agent?.to_owned(),
        cluster: cluster?.to_owned(),
        rest: rest?,
    })
}
