//! The fields of a mapping, each with its place.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Spot;
use crate::config::document::Node;
use crate::config::fault::{Log, Place};

/// The fields of a mapping.
pub struct Fields<'a> {
    pub(super) written: &'a [(String, Node)],
    pub(super) place: &'a Place<'a>,
    /// Whether the operator chooses their names, in which there may be colons.
    pub(super) chosen: bool,
    pub(super) log: &'a Log,
}

impl<'a> Fields<'a> {
    pub(super) fn tell_doubles(&self) {
        let mut seen = HashMap::with_capacity(self.written.len());
        for (position, (name, value)) in self.written.iter().enumerate() {
            if seen.insert(name.as_str(), position).is_some() {
                self.log.add(
                    &self.place_of(name, *value == Node::Null, position),
                    "written twice; only one can count".into(),
                );
            }
        }
    }

    /// A field, if it is written. Not inlined: in all its callers that took 30 KB of the filter.
    #[inline(never)]
    pub fn get(&self, name: &str) -> Option<Spot<'a>> {
        let position = self
            .written
            .iter()
            .position(|(written, _)| written == name)?;
        self.at(position).map(|(_, spot)| spot)
    }

    /// A field that must be there.
    #[inline(never)]
    pub fn need(&self, name: &str) -> Option<Spot<'a>> {
        let field = self.get(name);
        if field.is_none() {
            self.log.add(
                &self.place.field(name, self.written.len()),
                "is missing".into(),
            );
        }
        field
    }

    /// All fields in the order of the document.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Spot<'a>)> {
        (0..self.written.len()).filter_map(|position| self.at(position))
    }

    /// Records what is wrong with the mapping as a whole.
    pub fn fault<'m>(&self, message: impl Into<Cow<'m, str>>) {
        self.log.add(self.place, message.into());
    }

    /// Where nothing is written behind a name, the value may have got into it.
    pub(super) fn place_of(&self, name: &'a str, empty: bool, position: usize) -> Place<'a> {
        if self.chosen && !empty {
            self.place.field(name, position)
        } else {
            self.place.field_to_value(name, position)
        }
    }

    #[inline(never)]
    fn at(&self, position: usize) -> Option<(&'a str, Spot<'a>)> {
        let (name, node) = self.written.get(position)?;
        Some((
            name,
            Spot {
                node,
                place: self.place_of(name, *node == Node::Null, position),
                log: self.log,
            },
        ))
    }
}
