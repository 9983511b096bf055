//! A clock that only counts the host's ticks: enough for bounds on silence, and free to read for every chunk.

/// Ticks, one a second, since the gateway was configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Ticks(u64);

impl Ticks {
    #[cfg(test)]
    pub(super) const START: Self = Self(0);

    pub(super) fn advance(&mut self) {
        self.0 = self.0.saturating_add(1);
    }

    /// The first tick at which so many whole seconds have certainly passed.
    pub(super) fn after(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds).saturating_add(1))
    }

    /// Ticks since `earlier`. Between two moments that are `n` ticks apart lie at least `n - 1` seconds.
    pub(super) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
