//! One limit, made ready: what of it stays the same for all requests is worked out when the configuration comes.

use super::algorithm::Algorithm;
use super::headers;
use super::place::{Place, Places};
use crate::config::policy::{Limit, Rate, Scope};

/// One limit, ready to decide by.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    /// What it is counted per, in words.
    pub(super) per: String,
    pub(super) algorithm: Algorithm,
    pub(super) rate: Rate,
    /// No less than can ever remain.
    pub(super) limit: u64,
    /// The same as the caller reads it in `x-ratelimit-limit-requests`.
    pub(super) told_limit: String,
    /// As the caller reads it in `RateLimit-Policy`.
    pub(super) policy: String,
    /// Which requests it counts. `None`: all.
    pub(super) scope: Option<Box<Scope>>,
    /// From how many per cent on callers are warned.
    pub(super) warn_at: Option<u8>,
    /// For how many per cent of its subjects it is in force.
    pub(super) enforce: u8,
    pub(super) place: Place,
    /// Tells the limit's records from those of other limits of the same subject.
    pub(super) salt: u64,
}

impl Rule {
    /// `of` is whose limit it is: a plan's, a client's, or first of all that of `route`. `apart`: counters of a client on the
    /// route have a cell of their own.
    pub(super) fn new(
        places: &Places,
        limit: &Limit,
        route: Option<&str>,
        of: &[&str],
        apart: bool,
    ) -> Self {
        let Limit {
            name,
            each,
            scope,
            rate,
            algorithm: _,
            span: _,
            warn_at,
            enforce,
        } = limit;
        Self {
            name: name.clone(),
            per: each.to_string(),
            algorithm: Algorithm::new(limit),
            rate: *rate,
            limit: headers::limit(rate),
            told_limit: headers::limit(rate).to_string(),
            policy: headers::policy(name, rate),
            scope: (*scope != Scope::default()).then(|| Box::new(scope.clone())),
            warn_at: *warn_at,
            enforce: *enforce,
            place: Place::new(places, limit, route, apart),
            salt: places.salt(limit, of),
        }
    }

    /// True if callers are to be warned when so much remains.
    pub(super) fn warns_at(&self, remaining: u64) -> bool {
        let share = |at: u8| u128::from(self.limit) * u128::from(100_u8.saturating_sub(at));
        (self.warn_at).is_some_and(|at| u128::from(remaining) * 100 <= share(at))
    }
}
