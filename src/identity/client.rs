//! A client, and the few bytes in which it is remembered.

use crate::config::policy::PlanId;
use crate::text::names::LONGEST_NAME;

const _: () = assert!(LONGEST_NAME <= u8::MAX as usize);

/// Who calls, as the configuration or the validator names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// The plan as the validator named it; `None`: it named none.
    pub plan_name: Option<String>,
    /// The plan in force.
    pub plan: Option<PlanId>,
    /// Its team.
    pub team: Option<String>,
    /// Its roles.
    pub roles: Vec<String>,
}

impl Client {
    /// True if the client has one of `roles`, or none is asked for.
    #[must_use]
    pub fn has_one_of(&self, roles: &[String]) -> bool {
        roles.is_empty() || roles.iter().any(|role| self.roles.contains(role))
    }

    /// The client as it is remembered: its id, plan, team and roles, each with its length before it, in one byte
    /// ([`LONGEST_NAME`]); an absent one has length 0. The plan's place is left out: it depends on the configuration.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let optional = |name: &Option<String>| name.clone().unwrap_or_default();
        let mut bytes = Vec::new();
        for name in [&self.id, &optional(&self.plan_name), &optional(&self.team)]
            .into_iter()
            .chain(&self.roles)
        {
            bytes.push(u8::try_from(name.len()).unwrap_or(0));
            bytes.extend(name.as_bytes());
        }
        bytes
    }

    /// The client that was remembered so. Its plan's place is still open.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut name = || -> Option<String> {
            let (length, behind) = rest.split_first()?;
            let (name, behind) = behind.split_at_checked(usize::from(*length))?;
            rest = behind;
            String::from_utf8(name.to_vec()).ok()
        };
        let some = |name: String| (!name.is_empty()).then_some(name);
        let id = name()?;
        let plan_name = some(name()?);
        let team = some(name()?);
        let roles = std::iter::from_fn(name).collect();
        Some(Self {
            id,
            plan_name,
            plan: None,
            team,
            roles,
        })
    }
}
