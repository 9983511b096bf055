//! Amounts and receipts: what the targets ask of limits that no request of the gateway asks yet.

use waykeeper::config::Policy;
use waykeeper::config::policy::{PlanId, RouteId};
use waykeeper::limits::{Admission, Amounts, Caller, Limits, routes_together};
use waykeeper::state::State;

use crate::host::FuzzHost;

/// One worker's limits, over the same cells as its gateway's.
pub(crate) struct Counter(Limits);

/// What came of asking for an amount.
pub(crate) enum Asked {
    /// It was taken.
    Taken(Admission),
    /// A limit is full, or too small for it.
    Refused,
    /// The memory of the limits could not be reached.
    Failed,
}

impl Counter {
    pub(crate) fn new(host: &FuzzHost, policy: &Policy) -> Self {
        let together = routes_together(policy);
        let (state, _) = State::open(host, policy.tables, &together)
            .expect("the host shows the tables that are there");
        Self(Limits::new(policy, &state))
    }

    /// Asks for so many requests at once.
    pub(crate) fn take(
        &self,
        host: &FuzzHost,
        client: usize,
        route: usize,
        requests: u64,
    ) -> Asked {
        let client = format!("client-{client}");
        let asked = waykeeper::limits::Asked {
            plan: Some(PlanId(0)),
            route: Some(RouteId(route)),
            ..waykeeper::limits::Asked::by(Caller::Client(&client))
        };
        let amounts = Amounts { requests };
        match self.0.admit(host, asked, amounts) {
            Ok(admission) if admission.is_refused() => Asked::Refused,
            Ok(admission) => Asked::Taken(admission),
            Err(_) => Asked::Failed,
        }
    }

    /// So many were used in the end.
    pub(crate) fn settle(&self, host: &FuzzHost, admission: Admission, requests: u64) {
        let limits = &self.0;
        let settled = if requests == 0 {
            limits.release(host, admission)
        } else {
            limits.settle(host, admission, Amounts { requests })
        };
        // What comes back is no receipt any more.
        drop(limits.release(host, settled));
    }

    /// A second has passed.
    pub(crate) fn tick(&self, host: &FuzzHost) {
        self.0.chores(host);
    }
}
