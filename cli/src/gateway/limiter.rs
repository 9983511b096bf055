//! Who counts limits for the whole fleet: where that is, or that the tool itself does while it runs the gateway.

use waykeeper::config::Spot;

use super::agents::{Http, Upstream, elsewhere};
use super::derive::limiters_cluster;
use super::endpoints::parsed;
use super::tls;
use super::url::Url;

/// The fields of `fleet.limiter` beside the filter's.
pub(super) const FIELDS: [&str; 4] = ["url", "tls", "health_check", "builtin"];
/// The fields of `fleet.limiter.builtin`.
pub(super) const BUILTIN_FIELDS: &[&str] = &["keep"];

/// One whose cluster is made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limiter {
    /// What its cluster is called.
    pub(crate) cluster: String,
    pub(crate) place: Place,
    /// Whether Envoy asks it if it is well, as gRPC has it.
    pub(super) health_check: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    At(Url, Box<Upstream>),
    /// The tool serves it on a socket of its own.
    Builtin(Builtin),
}

/// How the tool's own counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Builtin {
    /// The file in which counts outlive the tool; they end with it where there is none.
    pub(crate) keep: Option<String>,
}

/// The one of the file, unless its cluster is written elsewhere.
pub(super) fn limiter(spot: &Spot<'_>, known: &[&str]) -> Option<Limiter> {
    let fields = spot.fields(known)?;
    let places = ["cluster", "url", "builtin"];
    let written = places.map(|name| fields.get(name).is_some());
    if written.iter().filter(|written| **written).count() != 1 {
        fields.fault("must have exactly one of cluster, url and builtin");
    }
    let without = |names: &[&str], beside: &str| {
        for name in names {
            if let Some(spot) = fields.get(name) {
                spot.fault(format!("has no meaning beside {beside}"));
            }
        }
    };
    if let Some(cluster) = fields.get("cluster") {
        without(
            &["tls", "health_check"],
            "cluster, which says it where it is written",
        );
        cluster.checked(elsewhere);
        return None;
    }
    if let Some(spot) = fields.get("builtin") {
        without(&["tls", "health_check", "host"], "builtin");
        let fields = spot.fields(BUILTIN_FIELDS)?;
        let keep = fields.get("keep").and_then(|spot| tls::file(&spot));
        return Some(Limiter {
            cluster: limiters_cluster(),
            place: Place::Builtin(Builtin { keep }),
            health_check: true,
        });
    }
    let url = grpc_url(&fields.get("url")?)?;
    let upstream = Upstream::at(&url, &fields, Http::Two);
    let health_check = fields.get("health_check").and_then(|spot| spot.flag());
    Some(Limiter {
        cluster: limiters_cluster(),
        place: Place::At(url, Box::new(upstream)),
        health_check: health_check.unwrap_or(true),
    })
}

/// Where a service of gRPC is.
pub(super) fn grpc_url(spot: &Spot<'_>) -> Option<Url> {
    let url = parsed(spot)?;
    if !matches!(url.path.as_str(), "" | "/") {
        spot.fault("ends with its host and port: gRPC has paths of its own");
    }
    Some(url)
}

// === impl Limiter ===

impl Limiter {
    /// Unless the tool serves it.
    pub(crate) fn upstream(&self) -> Option<&Upstream> {
        match &self.place {
            Place::At(_, upstream) => Some(upstream),
            Place::Builtin(_) => None,
        }
    }

    pub(crate) fn builtin(&self) -> Option<&Builtin> {
        match &self.place {
            Place::At(..) => None,
            Place::Builtin(builtin) => Some(builtin),
        }
    }

    /// What it is called in questions.
    pub(super) fn host(&self) -> String {
        match &self.place {
            Place::At(url, _) => url.authority(),
            Place::Builtin(_) => limiters_cluster().replace('/', "-"),
        }
    }
}
