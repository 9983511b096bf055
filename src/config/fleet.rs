//! Who counts for all gateways, and what holds while it cannot be asked.

use std::time::Duration;

use super::policy::{Fleet, Manner, OnFailure};
use super::reader::Spot;
use super::{hosts, names};

const MOST_GATEWAYS: u32 = 10_000;
const TIMEOUT: Duration = Duration::from_millis(100);
const MOST_PENDING: std::ops::RangeInclusive<u64> = 1..=65_536;
const DOMAIN: &str = "waykeeper";

/// The fields of `fleet`.
pub const FIELDS: &[&str] = &["limiter", "gateways", "manner", "on_failure"];
/// The fields of `fleet.limiter`.
pub const LIMITER_FIELDS: &[&str] = &["cluster", "host", "domain", "timeout", "max_pending"];

pub(super) fn fleet(spot: &Spot<'_>) -> Option<Fleet> {
    let fields = spot.fields(FIELDS)?;
    let gateways = fields.need("gateways");
    let gateways = gateways.and_then(|spot| spot.whole_u32(1..=MOST_GATEWAYS));
    let manner = fields.get("manner").map_or(Some(Manner::Strict), |spot| {
        spot.choice(&[("strict", Manner::Strict), ("leased", Manner::Leased)])
    });
    let on_failure = fields
        .get("on_failure")
        .map_or(Some(OnFailure::ProcessShare), |spot| {
            spot.choice(&[
                ("process_share", OnFailure::ProcessShare),
                ("allow", OnFailure::Allow),
                ("deny", OnFailure::Deny),
            ])
        });
    let limiter = fields.need("limiter");
    let limiter = limiter
        .as_ref()
        .and_then(|spot| spot.fields(LIMITER_FIELDS));
    let limiter = limiter.as_ref()?;
    let cluster = limiter.need("cluster");
    let cluster = cluster.and_then(|spot| spot.checked(names::cluster));
    let host = limiter.get("host");
    let host = host.and_then(|spot| spot.checked(hosts::host));
    let domain = limiter.get("domain");
    let domain = domain.map_or(Some(DOMAIN), |spot| spot.checked(names::name));
    let timeout = limiter.get("timeout").map_or(Some(TIMEOUT), |spot| {
        spot.duration(Duration::from_millis(1)..=Duration::from_secs(10))
    });
    let most = limiter.get("max_pending");
    let most = most.map_or(Some(1024), |spot| spot.whole(MOST_PENDING));
    let cluster = cluster?;
    Some(Fleet {
        host: host.map_or_else(|| hosts::of_cluster(cluster), str::to_owned),
        cluster: cluster.to_owned(),
        domain: domain?.to_owned(),
        timeout: timeout?,
        max_pending: usize::try_from(most?).ok()?,
        gateways: gateways?,
        manner: manner?,
        on_failure: on_failure?,
    })
}
