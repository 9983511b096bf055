//! Where keys are asked about: `clients.validator`.

use waykeeper::config::Spot;

use super::agents::{Http, Upstream, elsewhere};
use super::derive::validators_cluster;
use super::endpoints::parsed;
use super::url::Url;

/// The fields of `clients.validator` beside the filter's.
pub(super) const FIELDS: [&str; 2] = ["url", "tls"];

/// The validator's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Validator {
    /// What its cluster is called.
    pub(crate) cluster: String,
    /// Keys are asked about at its path.
    pub(crate) url: Url,
    pub(crate) upstream: Upstream,
}

/// The one of the file, unless its cluster is written elsewhere.
pub(super) fn validator(spot: &Spot<'_>, known: &[&str]) -> Option<Validator> {
    let fields = spot.fields(known)?;
    if let Some(cluster) = fields.get("cluster") {
        if fields.get("url").is_some() {
            cluster.fault("must not stand beside url");
        }
        if let Some(spot) = fields.get("tls") {
            spot.fault("has no meaning beside cluster, which says it where it is written");
        }
        cluster.checked(elsewhere);
        return None;
    }
    if let Some(path) = fields.get("path") {
        path.fault("stands in the url; it has a field of its own beside cluster only");
    }
    let url = fields.need("url")?;
    let url = parsed(&url)?;
    let http = if url.secure { Http::Offered } else { Http::One };
    let upstream = Upstream::at(&url, &fields, http);
    Some(Validator {
        cluster: validators_cluster(),
        url,
        upstream,
    })
}
