//! MCP (Model Context Protocol): which tools callers may call, and which methods they may use.

use super::{AgentId, PlanId};
use crate::text::pattern::Pattern;

/// What a route that carries MCP lets its callers do. Every message of theirs is read, and must agree with its headers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mcp {
    /// Who may call which tools; the first that names a tool counts, and one that none names nobody may call. Empty: all may call
    /// all.
    pub tools: Vec<Permission>,
    /// The same of the methods of messages. Empty: all may use all.
    pub methods: Vec<Permission>,
    /// How many bytes an answer may have in which there may be a list of tools that not everybody may see.
    pub max_list: u64,
    /// The servers that are one to its callers; none: its agents answer as any route's do.
    pub servers: Vec<Server>,
}

/// A server of MCP that is one of several behind one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// What callers put before the names of its tools. Letters, digits and hyphens.
    pub name: String,
    /// Who that is. No two of a route are the same.
    pub agent: AgentId,
}

/// Who may call, or use, what is named so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// At least one.
    pub names: Vec<Pattern>,
    /// One of them is enough; empty: none is needed.
    pub roles: Vec<String>,
    /// One of these plans is needed; empty: none is.
    pub plans: Vec<PlanId>,
}

/// Who asks for something that may not be for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asker<'a> {
    /// Its roles.
    pub roles: &'a [String],
    /// Its plan.
    pub plan: Option<PlanId>,
}

impl Mcp {
    /// [`Self::max_list`] unless it is written.
    pub const MAX_LIST: u64 = 1 << 20;

    /// Whether a caller may call this tool, which then stands in the lists that it gets too.
    #[must_use]
    pub fn may_call(&self, asker: Asker<'_>, tool: &[u8]) -> bool {
        may(&self.tools, asker, |it| it.is_for_name(tool))
    }

    /// Whether a caller may send messages of this method.
    #[must_use]
    pub fn may_use(&self, asker: Asker<'_>, method: &[u8]) -> bool {
        may(&self.methods, asker, |it| it.is_for_name(method))
    }

    /// The server that callers call so.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// True if there may be tools that a caller may not call.
    #[must_use]
    pub fn restricts_tools(&self) -> bool {
        !self.tools.is_empty()
    }
}

/// Whether one may who asks for what some permissions name: the first of them counts.
pub(super) fn may(
    permissions: &[Permission],
    asker: Asker<'_>,
    is_named: impl Fn(&Permission) -> bool,
) -> bool {
    match permissions.iter().find(|it| is_named(it)) {
        Some(permission) => permission.is_for(asker),
        None => permissions.is_empty(),
    }
}

impl Permission {
    fn is_for_name(&self, name: &[u8]) -> bool {
        self.names.iter().any(|pattern| pattern.matches(name))
    }

    fn is_for(&self, asker: Asker<'_>) -> bool {
        let has = |role| asker.roles.contains(role);
        (self.roles.is_empty() || self.roles.iter().any(has))
            && (self.plans.is_empty() || asker.plan.is_some_and(|plan| self.plans.contains(&plan)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(names: &[&str], roles: &[&str], plans: &[usize]) -> Permission {
        Permission {
            names: names.iter().map(|it| Pattern::read(it).unwrap()).collect(),
            roles: roles.iter().map(|it| (*it).to_owned()).collect(),
            plans: plans.iter().map(|it| PlanId(*it)).collect(),
        }
    }

    #[test]
    fn the_first_that_names_a_tool_counts_and_what_none_names_nobody_may_call() {
        let mcp = Mcp {
            tools: vec![
                permission(&["files.read"], &[], &[]),
                permission(&["files.*", "shell"], &["admin", "operator"], &[]),
                permission(&["search"], &[], &[1]),
                permission(&["reports.*"], &["analyst"], &[1, 2]),
            ],
            methods: Vec::new(),
            max_list: 1,
            servers: Vec::new(),
        };
        let roles = |roles: &[&str]| roles.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        for (has, plan, tool, may) in [
            (&[][..], None, "files.read", true),
            (&[], None, "files.write", false),
            (&["user"], None, "files.write", false),
            (&["user", "operator"], None, "files.write", true),
            (&["admin"], None, "shell", true),
            (&["admin"], None, "Files.write", false),
            (&[], None, "search", false),
            (&[], Some(0), "search", false),
            (&[], Some(1), "search", true),
            (&["analyst"], None, "reports.all", false),
            (&[], Some(2), "reports.all", false),
            (&["analyst"], Some(2), "reports.all", true),
            (&["admin"], Some(1), "unknown", false),
            (&["admin"], Some(1), "", false),
        ] {
            let roles = roles(has);
            let asker = Asker {
                roles: &roles,
                plan: plan.map(PlanId),
            };
            assert_eq!(
                mcp.may_call(asker, tool.as_bytes()),
                may,
                "{has:?} {plan:?} {tool}"
            );
            assert!(mcp.may_use(asker, tool.as_bytes()));
        }
        assert!(mcp.restricts_tools());
        let free = Mcp::default();
        assert!(free.may_call(Asker::default(), b"anything") && !free.restricts_tools());
    }
}
