//! What istiod makes one cluster of, and how that is spoken to.

use serde_json::Value as Json;

use crate::gateway::Http;
use crate::gateway::agents::{Balance, Health};
use crate::gateway::tls::Identity;

/// What istiod makes a cluster of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    /// The objects' name.
    pub(super) name: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// What it is called in requests, if by its own name.
    pub(super) authority: String,
    /// None for a Service of the cluster's.
    pub(super) outside: Option<Outside>,
    pub(super) way: Way,
}

/// What Istio has to be told of first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outside {
    /// Whether names have to be looked up.
    pub(super) by_name: bool,
    /// None if the host itself is the place.
    pub(super) endpoints: Vec<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) weight: u32,
}

/// How it is spoken to: one cluster has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) balance: Balance,
    pub(super) health: Option<Health>,
    pub(super) http: Http,
    pub(super) tls: Option<Tls>,
    /// Whether it is called by its own name, and not by that which the caller has asked for.
    pub(super) own_host: bool,
    /// What is done to requests on its side; null if nothing is.
    pub(super) filters: Json,
    pub(super) for_validator: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) sni: Option<String>,
    pub(super) verified: String,
    pub(super) ca: Option<String>,
    pub(super) identity: Option<Identity>,
}

// === impl Destination ===

impl Destination {
    /// As Istio calls its cluster.
    pub(super) fn cluster(&self) -> String {
        format!("outbound|{}||{}", self.port, self.host)
    }

    pub(super) fn is_at(&self, host: &str, port: u16) -> bool {
        self.host == host && self.port == port
    }

    /// Whether both can be one cluster. The validator shares an agent's, whose bounds then hold for it.
    pub(super) fn can_be(&self, other: &Destination) -> bool {
        let way = Way {
            for_validator: self.way.for_validator,
            ..other.way.clone()
        };
        if other.way.for_validator && !self.way.for_validator {
            // What is done to an agent's requests is not for the validator.
            return (&self.way.tls, self.way.http, &self.way.filters)
                == (&way.tls, way.http, &way.filters);
        }
        self.way == way && self.outside == other.outside
    }
}
