//! The route table: the longest prefix of whole segments wins, then the method decides.
//!
//! The prefixes stand in a tree of segments, so finding a route costs one look-up a segment and ends with the first
//! that no prefix has, however long the path and however many the routes. Only the configuration fills it, so its hash need
//! not be one that callers cannot predict.

use rustc_hash::FxHashMap;

use crate::config::policy::{Route, RouteId};

/// All routes, by prefix.
#[derive(Debug, Default)]
pub struct RouteTable {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    children: FxHashMap<Box<[u8]>, Node>,
    /// The routes whose prefix ends here; each with its methods, `None` for all of them.
    routes: Vec<(Option<Vec<String>>, RouteId)>,
}

/// No route takes the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoMatch {
    /// No prefix matches.
    Path,
    /// The longest prefix that matches is for other methods: these.
    Method(Vec<String>),
}

impl RouteTable {
    /// The table of `routes`, whose places are their [`RouteId`]s.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        let mut table = Self::default();
        for (index, route) in routes.iter().enumerate() {
            let node = segments(route.prefix.as_bytes()).fold(&mut table.root, |node, segment| {
                node.children.entry(segment.into()).or_default()
            });
            node.routes.push((route.methods.clone(), RouteId(index)));
        }
        table
    }

    /// The route of a path (without its query) and a method.
    ///
    /// # Errors
    /// [`NoMatch`] says what does not match.
    pub fn find(&self, path: &[u8], method: &[u8]) -> Result<RouteId, NoMatch> {
        let mut node = &self.root;
        let mut longest = Some(node).filter(|node| !node.routes.is_empty());
        for segment in segments(path) {
            match node.children.get(segment) {
                Some(child) => node = child,
                None => break,
            }
            if !node.routes.is_empty() {
                longest = Some(node);
            }
        }
        let candidates = &longest.ok_or(NoMatch::Path)?.routes;
        let takes = |methods: &Option<Vec<String>>| {
            methods
                .as_ref()
                .is_none_or(|methods| methods.iter().any(|other| other.as_bytes() == method))
        };
        candidates
            .iter()
            .find(|(methods, _)| takes(methods))
            .map(|(_, route)| *route)
            .ok_or_else(|| {
                let methods = candidates
                    .iter()
                    .filter_map(|(methods, _)| methods.as_ref());
                NoMatch::Method(methods.flatten().cloned().collect())
            })
    }
}

/// The segments of a path or prefix: `/a/b` has `a` and `b`, `/` has none, `/a/` has `a` and an empty one.
fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let empty = path.is_empty();
    path.split(|byte| *byte == b'/').filter(move |_| !empty)
}

#[cfg(test)]
mod tests;
