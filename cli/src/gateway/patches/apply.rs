//! Puts patches into Envoy's configuration as it was rendered, in their order.

use waykeeper::config::{Node, did_you_mean};

use super::super::document;
use super::super::parts::MANAGER;
use super::{Change, In, Patch, Side};
use crate::yaml;

/// With all of them it has no comments, and so says why.
const BELOW_MARK: &str = "#
# With `envoy.patches` put in, and therefore without the comments that it has otherwise.

";

const CLUSTERS: &[&str] = &["static_resources", "clusters"];
const LISTENERS: &[&str] = &["static_resources", "listeners"];
const HOSTS: &[&str] = &["route_config", "virtual_hosts"];

/// A patch that is about nothing that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Misfit {
    /// Of the patch, in the list.
    pub(in super::super) index: usize,
    /// Of its fields, the one that is to blame.
    pub(in super::super) field: &'static str,
    pub(in super::super) message: String,
}

/// Envoy's file with all patches put in.
///
/// # Errors
/// Those that are about nothing that is there. None of a template that is broken, which tells otherwise.
pub(in super::super) fn patched(envoy: &str, patches: &[Patch]) -> Result<String, Vec<Misfit>> {
    let Some(mut tree) = tree(envoy) else {
        return Err(Vec::new());
    };
    let wrong: Vec<Misfit> = patches
        .iter()
        .filter_map(|patch| apply(patch, &mut tree).err())
        .collect();
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mark = envoy.lines().next().unwrap_or_default();
    Ok(format!("{mark}\n{BELOW_MARK}{}", document::block(&tree, 0)))
}

fn tree(text: &str) -> Option<Node> {
    match yaml::parse(text).ok()?.as_slice() {
        [document] => Some(document.node()),
        _ => None,
    }
}

fn apply(patch: &Patch, envoy: &mut Node) -> Result<(), Misfit> {
    match (patch.of, &patch.change) {
        (In::Bootstrap, Change::Merge(_, change)) => merge(envoy, change),
        (In::Clusters, Change::Add(cluster)) => {
            let clusters = patch.list(envoy, CLUSTERS)?;
            patch.must_be_new(cluster, clusters, "cluster")?;
            clusters.push(cluster.clone());
        }
        (In::Clusters, Change::Merge(Some(name), change)) => {
            let clusters = patch.list(envoy, CLUSTERS)?;
            merge(patch.named(clusters, name, "cluster", "name", "")?, change);
        }
        (In::Listeners, Change::Merge(Some(name), change)) => {
            let listeners = patch.list(envoy, LISTENERS)?;
            merge(
                patch.named(listeners, name, "listener", "name", "")?,
                change,
            );
        }
        _ => {
            for listener in patch.listeners(envoy)? {
                let of = name_of(listener).unwrap_or_default().to_owned();
                for manager in managers(listener) {
                    apply_to_manager(patch, manager, &format!(" in the listener {of}"))?;
                }
            }
        }
    }
    Ok(())
}

/// `around` says where that is.
fn apply_to_manager(patch: &Patch, manager: &mut Node, around: &str) -> Result<(), Misfit> {
    match (patch.of, &patch.change) {
        (In::Manager, Change::Merge(_, change)) => merge(manager, change),
        (In::AccessLog, Change::Add(log)) => {
            patch.list(manager, &["access_log"])?.push(log.clone())
        }
        (In::HttpFilters, Change::Insert(side, beside, filter)) => {
            let filters = patch.list(manager, &["http_filters"])?;
            patch.must_be_new(filter, filters, "filter")?;
            let field = match side {
                Side::Before => "before",
                Side::After => "after",
            };
            patch.named(filters, beside, "filter", field, around)?;
            let at = filters.iter().position(|it| name_of(it) == Some(beside));
            let at = at.unwrap_or_default() + usize::from(*side == Side::After);
            filters.insert(at, filter.clone());
        }
        (In::HttpFilters, Change::Merge(Some(name), change)) => {
            let filters = patch.list(manager, &["http_filters"])?;
            merge(
                patch.named(filters, name, "filter", "name", around)?,
                change,
            );
        }
        (In::VirtualHost, Change::Merge(_, change)) => {
            for host in patch.list(manager, HOSTS)? {
                merge(host, change);
            }
        }
        (In::Routes, Change::Merge(Some(name), change)) => {
            for host in patch.list(manager, HOSTS)? {
                let routes = patch.list(host, &["routes"])?;
                merge(patch.named(routes, name, "route", "name", around)?, change);
            }
        }
        // The reader makes no others.
        _ => {}
    }
    Ok(())
}

// === impl Patch ===

impl Patch {
    fn misfit(&self, field: &'static str, message: String) -> Misfit {
        Misfit {
            index: self.index,
            field,
            message,
        }
    }

    fn must_be_new(&self, added: &Node, among: &[Node], what: &str) -> Result<(), Misfit> {
        match name_of(added) {
            Some(name) if among.iter().any(|it| name_of(it) == Some(name)) => Err(self.misfit(
                "add",
                format!("there is a {what} named {name:?} already; change that with merge, or take another name"),
            )),
            _ => Ok(()),
        }
    }

    /// The one of this name, which stands in `field` of the patch.
    fn named<'n>(
        &self,
        among: &'n mut [Node],
        name: &str,
        what: &str,
        field: &'static str,
        around: &str,
    ) -> Result<&'n mut Node, Misfit> {
        let at = among.iter().position(|it| name_of(it) == Some(name));
        let names: Vec<&str> = among.iter().filter_map(name_of).collect();
        let nothing = match at {
            Some(_) => String::new(),
            None => format!("no {what} named {name:?}{around}{}", near(name, &names)),
        };
        let found = at.and_then(|at| among.get_mut(at));
        found.ok_or_else(|| self.misfit(field, nothing))
    }

    fn list<'n>(&self, node: &'n mut Node, path: &[&str]) -> Result<&'n mut Vec<Node>, Misfit> {
        list(node, path).ok_or_else(|| {
            let message = format!("{} is no list any more", path.join("."));
            self.misfit("in", message)
        })
    }

    /// The listeners that it is about.
    fn listeners<'n>(&self, envoy: &'n mut Node) -> Result<Vec<&'n mut Node>, Misfit> {
        let listeners = self.list(envoy, LISTENERS)?;
        match &self.listener {
            Some(name) => Ok(vec![
                self.named(listeners, name, "listener", "listener", "")?,
            ]),
            None => {
                let of_callers = |listener: &&mut Node| name_of(listener) != Some("operations");
                Ok(listeners.iter_mut().filter(of_callers).collect())
            }
        }
    }
}

/// RFC 7386.
fn merge(target: &mut Node, patch: &Node) {
    let Node::Map(changes) = patch else {
        target.clone_from(patch);
        return;
    };
    if !matches!(target, Node::Map(_)) {
        *target = Node::Map(Vec::new());
    }
    let Node::Map(fields) = target else {
        return;
    };
    for (name, change) in changes {
        if *change == Node::Null {
            fields.retain(|(other, _)| other != name);
            continue;
        }
        match fields.iter_mut().find(|(other, _)| other == name) {
            Some((_, value)) => merge(value, change),
            None => {
                let mut value = Node::Null;
                merge(&mut value, change);
                fields.push((name.clone(), value));
            }
        }
    }
}

/// Names that may have been meant.
fn near(name: &str, names: &[&str]) -> String {
    let begins = |it: &&&str| {
        it.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['/', '-']))
    };
    let longer: Vec<String> = { names.iter() }
        .filter(begins)
        .map(|name| format!("{name:?}"))
        .collect();
    if longer.is_empty() {
        did_you_mean(name, names.iter().copied())
    } else {
        format!("; there is {}", longer.join(" and "))
    }
}

/// The configurations of a listener's HTTP connection managers.
fn managers(listener: &mut Node) -> Vec<&mut Node> {
    let chains = list(listener, &["filter_chains"]).into_iter().flatten();
    let filters = chains.filter_map(|chain| list(chain, &["filters"]));
    filters
        .flatten()
        .filter(|filter| name_of(filter) == Some(MANAGER))
        .filter_map(|filter| match filter {
            Node::Map(fields) => fields.iter_mut().find(|(name, _)| name == "typed_config"),
            _ => None,
        })
        .map(|(_, manager)| manager)
        .collect()
}

/// The list that a path of fields leads to; a new one where there is nothing.
fn list<'n>(node: &'n mut Node, path: &[&str]) -> Option<&'n mut Vec<Node>> {
    let Some((name, rest)) = path.split_first() else {
        return match node {
            Node::List(items) => Some(items),
            _ => None,
        };
    };
    let Node::Map(fields) = node else {
        return None;
    };
    let at = fields.iter().position(|(other, _)| other == name);
    let at = at.unwrap_or_else(|| {
        let new = match rest {
            [] => Node::List(Vec::new()),
            _ => Node::Map(Vec::new()),
        };
        fields.push(((*name).to_owned(), new));
        fields.len() - 1
    });
    list(&mut fields.get_mut(at)?.1, rest)
}

fn name_of(node: &Node) -> Option<&str> {
    let Node::Map(fields) = node else {
        return None;
    };
    match fields.iter().find(|(name, _)| name == "name") {
        Some((_, Node::Text(name))) => Some(name),
        _ => None,
    }
}
