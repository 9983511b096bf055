//! Reading the tree: a [`Spot`] is a value with its place. Each way of reading it answers with what was meant, or
//! records a fault and answers `None`; callers go on with a default then, so that all faults are found in one pass.

mod fields;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::{Node, before_value, shown, shown_to_value};
use super::fault::{Log, Place};
use super::near::did_you_mean;
use super::units;

pub use fields::Fields;

/// A value with its place in the document.
#[derive(Clone, Copy)]
pub struct Spot<'a> {
    node: &'a Node,
    place: Place<'a>,
    log: &'a Log,
}

/// Said of a name that a value has got into.
pub(super) const APART: &str = "write a colon and a blank behind the name";

impl<'a> Spot<'a> {
    /// A document as a whole; what is wrong in it goes into `log`.
    pub fn root(node: &'a Node, log: &'a Log) -> Self {
        Self {
            node,
            place: Place::ROOT,
            log,
        }
    }

    pub(super) fn place(&self) -> &Place<'a> {
        &self.place
    }

    /// What stands here.
    pub(super) fn node(&self) -> &'a Node {
        self.node
    }

    /// Records what is wrong here.
    pub fn fault<'m>(&self, message: impl Into<Cow<'m, str>>) {
        self.log.add(&self.place, message.into());
    }

    /// Records that something else was expected here.
    fn unexpected<T>(&self, expected: &str) -> Option<T> {
        self.fault(match self.node {
            Node::Null => format!("is empty; write {expected}, or leave the field out"),
            found => format!("expected {expected}, found {}", found.described()),
        });
        None
    }

    /// A mapping with fields out of `known`; any other field is a fault, and so is one written twice.
    pub fn fields<'s>(&'s self, known: &[&str]) -> Option<Fields<'s>> {
        let fields = self.open("a mapping", false)?;
        for (position, (name, _)) in fields.written.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let near = match before_value(name) {
                    None => self.near(name, known.iter().copied()),
                    Some(_) => format!("; {APART}"),
                };
                let place = fields.place_of(name, false, position);
                self.log.add(&place, format!("unknown field{near}").into());
            }
        }
        Some(fields)
    }

    /// A mapping whose names the operator chooses, at most `most` of them.
    pub fn named<'s>(&'s self, most: usize) -> Option<Fields<'s>> {
        self.open_named(most, true)
    }

    /// The same of headers, whose names have no colons.
    pub fn headers<'s>(&'s self, most: usize) -> Option<Fields<'s>> {
        self.open_named(most, false)
    }

    fn open_named<'s>(&'s self, most: usize, chosen: bool) -> Option<Fields<'s>> {
        let fields = self.open("a mapping of names", chosen)?;
        self.bounded(fields.written.len(), most);
        Some(fields)
    }

    /// A mapping with fields out of `known`, where a mere name could stand too; `what` is the word for it.
    pub(super) fn fields_or_name<'s>(&'s self, known: &[&str], what: &str) -> Option<Fields<'s>> {
        if matches!(self.node, Node::Map(_)) {
            return self.fields(known);
        }
        self.unexpected(&format!(
            "the name of an {what}, or a mapping with its weight"
        ))
    }

    fn open<'s>(&'s self, expected: &str, chosen: bool) -> Option<Fields<'s>> {
        let written = match self.node {
            Node::Map(written) => written,
            Node::Text(text) if before_value(text).is_some() => {
                let found = shown_to_value(text);
                self.fault(format!("expected {expected}, found {found}; {APART}"));
                return None;
            }
            _ => return self.unexpected(expected),
        };
        let fields = Fields {
            written,
            place: &self.place,
            chosen,
            log: self.log,
        };
        fields.tell_doubles();
        Some(fields)
    }

    /// What stands in it, of a list without names. Nothing is told of it.
    pub(super) fn inside<'s>(&'s self) -> Vec<(&'s str, Spot<'s>)> {
        match self.node {
            Node::Map(written) => {
                let fields = Fields {
                    written,
                    place: &self.place,
                    chosen: true,
                    log: self.log,
                };
                fields.iter().collect()
            }
            Node::List(items) => self
                .list(items.len())
                .into_iter()
                .flatten()
                .map(|item| ("", item))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// A list of at most `most` items.
    pub fn list<'s>(&'s self, most: usize) -> Option<impl Iterator<Item = Spot<'s>> + use<'s, 'a>> {
        let Node::List(items) = self.node else {
            return self.unexpected("a list");
        };
        self.bounded(items.len(), most);
        Some(
            items
                .iter()
                .take(most)
                .enumerate()
                .map(|(index, node)| Spot {
                    node,
                    place: self.place.item(index),
                    log: self.log,
                }),
        )
    }

    /// A list of at least one and at most `most` items.
    pub fn nonempty_list<'s>(
        &'s self,
        most: usize,
    ) -> Option<impl Iterator<Item = Spot<'s>> + use<'s, 'a>> {
        if matches!(self.node, Node::List(items) if items.is_empty()) {
            self.fault("the list is empty; write at least one entry");
            return None;
        }
        self.list(most)
    }

    fn bounded(&self, count: usize, most: usize) {
        if count > most {
            self.fault(format!("{count} entries; at most {most} are allowed"));
        }
    }

    /// A string.
    pub fn text(&self) -> Option<&'a str> {
        self.text_such_as("a string")
    }

    /// A string; `expected` says which.
    pub fn text_such_as(&self, expected: &str) -> Option<&'a str> {
        match self.node {
            Node::Text(text) => Some(text),
            Node::Number(_) | Node::Bool(_) => self.unexpected(&format!(
                "{expected} (numbers, true and false need quotes to be text)"
            )),
            _ => self.unexpected(expected),
        }
    }

    /// A string that `check` accepts; its error is the fault.
    pub fn checked(&self, check: impl FnOnce(&str) -> Result<(), String>) -> Option<&'a str> {
        let text = self.text()?;
        match check(text) {
            Ok(()) => Some(text),
            Err(message) => {
                self.fault(message);
                None
            }
        }
    }

    /// The same of what may be a secret: no fault shows what is found here.
    pub(super) fn secret(&self, check: impl FnOnce(&str) -> Result<(), String>) -> Option<&'a str> {
        if self.is_text() {
            return self.checked(check);
        }
        self.fault("expected a string (numbers, true and false need quotes to be text)");
        None
    }

    /// `true` or `false`.
    pub fn flag(&self) -> Option<bool> {
        self.flag_or("true or false")
    }

    /// The same where something else could stand too; `expected` says all of it.
    pub(super) fn flag_or(&self, expected: &str) -> Option<bool> {
        match self.node {
            Node::Bool(flag) => Some(*flag),
            _ => self.unexpected(expected),
        }
    }

    /// A whole number within bounds, which are below 2^53.
    pub fn whole(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        match self.node.whole() {
            Some(whole) if bounds.contains(&whole) => Some(whole),
            _ => self.unexpected(&format!(
                "a whole number from {} to {}",
                bounds.start(),
                bounds.end()
            )),
        }
    }

    /// A whole number within bounds that fit its type.
    pub fn whole_u32(&self, bounds: RangeInclusive<u32>) -> Option<u32> {
        let whole = self.whole(u64::from(*bounds.start())..=u64::from(*bounds.end()))?;
        u32::try_from(whole).ok()
    }

    /// A duration within bounds.
    pub fn duration(&self, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let duration = self.quantity(units::DURATION, units::duration)?;
        if bounds.contains(&duration) {
            return Some(duration);
        }
        let (least, most) = (
            units::show_duration(*bounds.start()),
            units::show_duration(*bounds.end()),
        );
        self.unexpected(&format!("a duration from {least} to {most}"))
    }

    /// A size in bytes within bounds.
    pub(super) fn size(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let size = self.quantity(units::SIZE, units::size)?;
        if bounds.contains(&size) {
            return Some(size);
        }
        let (least, most) = (
            units::show_size(*bounds.start()),
            units::show_size(*bounds.end()),
        );
        self.unexpected(&format!("a size from {least} to {most}"))
    }

    /// A share in whole per cent, at most all.
    pub(super) fn percent(&self) -> Option<u8> {
        self.quantity(units::PERCENT, units::percent)
    }

    /// A quantity and its period.
    pub(super) fn rate(&self) -> Option<(u64, Duration)> {
        self.quantity(units::RATE, units::rate)
    }

    fn quantity<T>(&self, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        match self.node {
            Node::Number(_) => {
                let found = self.node.described();
                self.fault(format!("{found} has no unit; write {expected}"));
                None
            }
            Node::Text(text) => read(text).or_else(|| self.unexpected(expected)),
            _ => self.unexpected(expected),
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let text = self.text_such_as(&one_of(&words))?;
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Some(*meaning),
            None => {
                let near = self.near(text, words.iter().copied());
                self.fault(format!(
                    "expected {}, found {}{near}",
                    one_of(&words),
                    shown(text)
                ));
                None
            }
        }
    }

    /// The name of something that stands elsewhere in the document; `what` is the word for it.
    pub(super) fn reference<T: Copy>(&self, what: &str, known: &HashMap<&str, T>) -> Option<T> {
        self.known(what, self.text()?, known)
    }

    /// The same of a name that stands before this value.
    pub(super) fn known<T: Copy>(
        &self,
        what: &str,
        name: &str,
        known: &HashMap<&str, T>,
    ) -> Option<T> {
        if let Some(meaning) = known.get(name) {
            return Some(*meaning);
        }
        let near = self.near(name, known.keys().copied());
        self.fault(format!("no {what} named {}{near}", shown(name)));
        None
    }

    /// The nearest name, looked for only while faults are still told.
    fn near<'k>(&self, name: &str, known: impl Iterator<Item = &'k str>) -> String {
        if self.log.is_full() {
            String::new()
        } else {
            did_you_mean(name, known)
        }
    }

    /// Whether this is a mapping that holds something under this name: more than an empty list.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let Node::Map(written) = self.node else {
            return false;
        };
        let empty = |node: &Node| matches!(node, Node::List(items) if items.is_empty());
        written
            .iter()
            .any(|(written, node)| written == name && !empty(node))
    }

    /// Whether this is a mapping.
    pub fn is_map(&self) -> bool {
        matches!(self.node, Node::Map(_))
    }

    /// Whether this is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.node, Node::List(_))
    }

    /// Whether this is a string; for fields that take a string or a mapping.
    pub fn is_text(&self) -> bool {
        matches!(self.node, Node::Text(_))
    }
}

fn one_of(words: &[&str]) -> String {
    words.join(" or ")
}
