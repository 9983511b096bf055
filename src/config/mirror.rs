//! The agent that hears a part of a route's requests as well.

use super::policy::{Mirror, Protocol};
use super::reader::Spot;
use super::rules::Around;

pub(super) const MIRROR_FIELDS: &[&str] = &["agent", "percent"];

/// Which agent hears requests of a route as well, and how many of them.
#[inline(never)]
pub(super) fn mirror(spot: &Spot<'_>, around: &Around<'_>, protocol: Protocol) -> Option<Mirror> {
    if protocol == Protocol::Websocket {
        spot.fault("has no meaning for a WebSocket: nobody could answer for the other end");
    }
    let fields = spot.fields(MIRROR_FIELDS)?;
    let percent = match fields.get("percent") {
        Some(spot) => spot.whole_u32(0..=100),
        None => Some(100),
    };
    let agent = fields
        .need("agent")
        .and_then(|spot| spot.reference("agent", around.agents_by_name));
    Some(Mirror {
        agent: agent?,
        percent: percent?,
    })
}
