//! The route table: the longest prefix of whole segments wins, then the method decides.
//!
//! The prefixes stand in a tree of segments, so finding a route costs one look-up a segment and ends with the first
//! that no prefix has, however long the path and however many the routes. Only the configuration fills it, so its hash need
//! not be one that callers cannot predict.
//!
//! Prefixes and paths are compared in one canonical spelling. Where a path can be read in several ways, one walk is
//! enough for all of them, since prefixes hold neither parameters nor encoded slashes: a reader who leaves a segment's
//! parameters or its `%2f` in its name finds no prefix that goes on with it. So he stops where he has come to, while the
//! reader who strips and splits goes on, and they differ exactly if that one comes by another route later.

use rustc_hash::FxHashMap;

use super::path::{Doubt, Part, Path};
use crate::config::policy::{Route, RouteId};
use crate::text::escapes::canonical;
use crate::text::paths::segments;

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
    /// The path's readings match different prefixes.
    Ambiguous,
    /// The longest prefix that matches is that of these routes, which are for other methods.
    Method(Vec<RouteId>),
}

impl RouteTable {
    /// The table of `routes`, whose places are their [`RouteId`]s.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        let mut table = Self::default();
        for (index, route) in routes.iter().enumerate() {
            let prefix = canonical(route.prefix.as_bytes());
            let node = segments(&prefix).fold(&mut table.root, |node, segment| {
                node.children.entry(segment.into()).or_default()
            });
            node.routes.push((route.methods.clone(), RouteId(index)));
        }
        table
    }

    /// The route of a path and a method.
    ///
    /// # Errors
    /// [`NoMatch`] says what does not match.
    #[inline]
    pub fn find(&self, path: &Path<'_>, method: &[u8]) -> Result<RouteId, NoMatch> {
        let longest = match path.plain_segments() {
            Some(segments) => self.longest(segments.map(Part::plain)),
            None => self.longest(path.parts()),
        };
        let candidates = &longest?.ok_or(NoMatch::Path)?.routes;
        let takes = |methods: &Option<Vec<String>>| {
            methods
                .as_ref()
                .is_none_or(|methods| methods.iter().any(|other| other.as_bytes() == method))
        };
        candidates
            .iter()
            .find(|(methods, _)| takes(methods))
            .map(|(_, route)| *route)
            .ok_or_else(|| NoMatch::Method(candidates.iter().map(|(_, route)| *route).collect()))
    }

    /// The node of the longest prefix. All readers come to it, or to none.
    ///
    /// Readers part at each doubtful part, and some may stop just behind it as well (those who cut a path off at its
    /// first `;`). What any of them has found by then, all must find in the end. A reader who has found nothing is no
    /// harm where parameters are in doubt: the request meets the route whose prefix it spells with them, and its
    /// rules. Behind an encoded slash it is refused, so that a route is never found by segments that only some see.
    #[inline]
    fn longest<'a>(&self, parts: impl Iterator<Item = Part<'a>>) -> Result<Option<&Node>, NoMatch> {
        let mut node = &self.root;
        let mut longest = Some(node).filter(|node| !node.routes.is_empty());
        let mut doubt = Doubt::None;
        for part in parts {
            doubt = doubt.max(part.doubt);
            match node.children.get(part.name) {
                Some(child) => node = child,
                None => break,
            }
            if !node.routes.is_empty() {
                match doubt {
                    Doubt::Parameters if longest.is_some() => return Err(NoMatch::Ambiguous),
                    Doubt::EncodedSlash => return Err(NoMatch::Ambiguous),
                    _ => longest = Some(node),
                }
            }
        }
        Ok(longest)
    }
}

#[cfg(test)]
mod tests;
