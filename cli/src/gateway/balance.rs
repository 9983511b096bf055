//! Which of an agent's endpoints gets a request.

use waykeeper::config::Spot;
use waykeeper::config::policy::Sticky;

/// Which of the endpoints gets a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Balance {
    LeastRequest,
    RoundRobin,
    Random,
    /// The one that the request's hash leads to.
    RingHash,
    Maglev,
}

// === impl Balance ===

impl Balance {
    pub(super) fn is_by_hash(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
}

/// How endpoints are chosen: by a hash where requests are kept together by one, and only there. `sticky` holds nothing if what is
/// written there is faulty.
pub(super) fn balance(spot: Option<&Spot<'_>>, sticky: Option<&Option<Sticky>>) -> Balance {
    let by_hash = match sticky {
        Some(Some(sticky)) => Some(is_by_hash(sticky)),
        Some(None) => None,
        None => Some(false),
    };
    let written = spot.and_then(|spot| {
        let choices = [
            ("least_request", Balance::LeastRequest),
            ("round_robin", Balance::RoundRobin),
            ("random", Balance::Random),
            ("ring_hash", Balance::RingHash),
            ("maglev", Balance::Maglev),
        ];
        let balance = spot.choice(&choices)?;
        match (by_hash, balance.is_by_hash()) {
            (Some(false), true) if sticky.is_some() => spot.fault(
                "has no meaning with a session or an answer that the agent names: that leads to its endpoint by itself",
            ),
            (Some(false), true) => spot.fault(
                "goes by what requests have in common, and nothing says by what; write sticky, such as sticky: {client: true}",
            ),
            (Some(true), false) => {
                spot.fault("cannot keep requests together, as sticky wants it: ring_hash and maglev do");
            }
            _ => {}
        }
        Some(balance)
    });
    let unwritten = match by_hash {
        Some(true) => Balance::Maglev,
        _ => Balance::LeastRequest,
    };
    written.unwrap_or(unwritten)
}

/// Whether requests are kept together by a hash, and not by where the agent's answer came from.
pub(super) fn is_by_hash(sticky: &Sticky) -> bool {
    let mut ways = sticky.ways().iter();
    ways.any(|way| !matches!(way, Sticky::Session(_) | Sticky::Response | Sticky::Task))
}
