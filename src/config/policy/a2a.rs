//! A2A (Agent2Agent): what callers may ask of agents, and where they are told that agents are.

use super::{Asker, Permission, mcp::may};

/// What a route that carries A2A lets its callers do, and how it shows its agents' cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct A2a {
    /// Who may use which methods, by either of their names; the first that names one counts, and one that none names nobody may use.
    /// Empty: all may use all.
    pub methods: Vec<Permission>,
    /// The versions that callers may speak, such as `1.0`. Empty: any.
    pub versions: Vec<String>,
    /// Whether cards tell callers the gateway's address in place of the agent's own.
    pub rewrite_card: bool,
    /// Where callers find the gateway: scheme, host and port. `None`: where the request has found it.
    pub public_url: Option<String>,
    /// Whether cards are for everybody, also without a key.
    pub public_card: bool,
    /// How many bytes a card may have.
    pub max_card: u64,
}

impl A2a {
    /// [`Self::max_card`] unless it is written.
    pub const MAX_CARD: u64 = 1 << 20;

    /// Whether a caller may use the method that has these names.
    #[must_use]
    pub fn may_use(&self, asker: Asker<'_>, names: &[&str]) -> bool {
        let is_named = |it: &Permission| {
            let mut patterns = it.names.iter();
            patterns.any(|pattern| names.iter().any(|name| pattern.matches(name.as_bytes())))
        };
        may(&self.methods, asker, is_named)
    }
}
