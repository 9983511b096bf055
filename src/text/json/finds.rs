//! What was found of what is looked for.

mod sink;

use std::rc::Rc;

use super::broken::{Fault, Stop};
use super::found::{Anywhere, Found, Member};
use super::search::{AnywhereId, MemberId, Node, Search, Step, Wanted};
use super::strings::Kept;
use crate::text::case;

/// What was found in one text.
#[derive(Debug, Clone)]
pub(super) struct Finds {
    search: Rc<Search>,
    /// One for each node of the search.
    places: Places,
    /// The same of each object that has ended, where the text is a list of them.
    ended: Vec<Places>,
    /// It is one.
    is_list: bool,
    /// One for each member that is looked for anywhere.
    anywhere: Vec<Anywhere>,
    /// The arrays and objects that are open and that a pointer passes or leads to, from the outermost: each holds the next.
    way: Vec<Open>,
    /// How many are open in all.
    depth: usize,
    /// The node that the next value stands for.
    target: Option<usize>,
    /// The name of the next value, where some reader may take it for one that is looked for anywhere.
    named: Option<Box<[u8]>>,
    /// What is not known yet, of all that is looked for.
    unknown: usize,
}

/// What was found of one object.
#[derive(Debug, Clone)]
pub(super) struct Places(Vec<Place>);

#[derive(Debug, Clone)]
struct Place {
    presence: Presence,
    member: Member,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Unknown,
    Absent,
    Come,
}

/// An array or object.
#[derive(Debug, Clone)]
struct Open {
    node: usize,
    /// How many items have begun.
    items: u64,
}

impl Finds {
    pub(super) fn new(search: Rc<Search>) -> Self {
        let wanted = search.nodes.iter().filter(|node| node.is_wanted).count();
        Self {
            places: Places::none_of(&search),
            ended: Vec::new(),
            is_list: false,
            anywhere: vec![Anywhere::Unknown; search.anywhere.len()],
            way: Vec::new(),
            depth: 0,
            target: Some(0),
            named: None,
            unknown: wanted + search.anywhere.len(),
            search,
        }
    }

    pub(super) fn member(&self, id: MemberId) -> &Member {
        self.places.member(id)
    }

    /// Each object that has ended, where the text is a list.
    pub(super) fn listed(&self) -> Option<&[Places]> {
        self.is_list.then_some(&self.ended)
    }

    pub(super) fn anywhere(&self, id: AnywhereId) -> Anywhere {
        let known = self.anywhere.get(id.0);
        known.copied().unwrap_or(Anywhere::Unknown)
    }

    /// Whether the next value is this member.
    pub(super) fn awaits(&self, id: MemberId) -> bool {
        self.target == Some(id.0)
    }

    pub(super) fn has_settled(&self) -> bool {
        self.unknown == 0
    }

    /// What is wrong, with the pointers of what it is about.
    pub(super) fn fault(&self, stop: Stop) -> Fault {
        let pointer = |node: usize| {
            let node = self.search.nodes.get(node);
            node.map(|node| node.pointer.clone()).unwrap_or_default()
        };
        match stop {
            Stop::NotJson => Fault::NotJson,
            Stop::NotUtf8 => Fault::NotUtf8,
            Stop::LoneSurrogate => Fault::LoneSurrogate,
            Stop::TooDeep => Fault::TooDeep,
            Stop::TooMany => Fault::TooMany,
            Stop::NotAnObject(node) => Fault::NotAnObject(pointer(node)),
            Stop::Twice(node) => Fault::Twice(pointer(node)),
            Stop::Respelt(node) => Fault::Respelt(pointer(node)),
            Stop::RespeltAnywhere(wanted) => {
                let wanted = self.search.anywhere.get(wanted);
                Fault::Respelt(wanted.map(|it| it.name.clone()).unwrap_or_default())
            }
        }
    }

    /// The array or object that is open, if a pointer passes it or leads to it.
    #[inline]
    fn passed(&self) -> Option<&Open> {
        self.way.last().filter(|_| self.way.len() == self.depth)
    }

    /// The node of the object that is open, if a pointer goes on in it.
    #[inline]
    fn crossing(&self) -> Option<&Node> {
        let node = self.search.nodes.get(self.passed()?.node)?;
        Some(node).filter(|node| !node.steps.is_empty())
    }

    /// Which node the next member of the open object stands for.
    fn step(&self, name: Kept<'_>) -> Result<Option<usize>, Stop> {
        let Some(node) = self.crossing() else {
            return Ok(None);
        };
        let name = match name {
            Kept::All(name) | Kept::TooLong(name) if has_nul(name) => {
                let name = before_nul(name);
                let mut steps = node.steps.iter();
                let taken = steps.find(|step| case::is_same(name, &step.name, &step.folded));
                return taken.map_or(Ok(None), |step| Err(Stop::Respelt(step.node)));
            }
            Kept::All(name) => name,
            Kept::LoneSurrogate => return Err(Stop::LoneSurrogate),
            Kept::Nothing | Kept::TooLong(_) => return Ok(None),
        };
        let is_named = |step: &&Step| step.name.as_bytes() == name;
        if let Some(step) = node.steps.iter().find(is_named) {
            let place = self.places.0.get(step.node);
            return match place.map(|place| place.presence) {
                Some(Presence::Come) => Err(Stop::Twice(step.node)),
                _ => Ok(Some(step.node)),
            };
        }
        let mut steps = node.steps.iter();
        match steps.find(|step| case::is_same(name, &step.name, &step.folded)) {
            Some(step) => Err(Stop::Respelt(step.node)),
            None => Ok(None),
        }
    }

    /// The next value stands for this node.
    fn comes(&mut self, node: Option<usize>) {
        self.target = node;
        if let Some(place) = node.and_then(|node| self.places.0.get_mut(node)) {
            place.presence = Presence::Come;
        }
    }

    /// What stands for a node is known, if somebody wants it.
    fn found(&mut self, node: usize, found: Found) {
        if self.is_wanted(node)
            && let Some(place) = self.places.0.get_mut(node)
        {
            place.member = Member::Found(found);
            self.unknown = self.unknown.saturating_sub(1);
        }
    }

    fn is_wanted(&self, node: usize) -> bool {
        let node = self.search.nodes.get(node);
        node.is_some_and(|node| node.is_wanted)
    }

    /// Nothing more can come in what stands for a node: what has not is absent, and all in it.
    fn has_ended(&mut self, ended: usize) {
        // Each node stands behind its parent, which is known to be absent then.
        for (node, at) in self.search.nodes.iter().zip(0..) {
            let Some(parent) = node.parent else {
                continue;
            };
            let parent_place = self.places.0.get(parent).map(|place| place.presence);
            let is_lost = parent == ended || parent_place == Some(Presence::Absent);
            if let Some(place) = self.places.0.get_mut(at)
                && is_lost
                && place.presence == Presence::Unknown
            {
                place.presence = Presence::Absent;
                place.member = Member::Absent;
                self.unknown = self.unknown.saturating_sub(usize::from(node.is_wanted));
            }
        }
    }

    /// A member came whose name, or one that some readers take for it, is looked for anywhere. `value`: it is this; else it is still
    /// to come.
    fn seen(&mut self, name: &[u8], value: Option<Kept<'_>>) -> Result<(), Stop> {
        let (value, is_cut) = match value {
            None => (None, false),
            Some(Kept::All(text) | Kept::TooLong(text)) if has_nul(text) => {
                (Some(before_nul(text)), true)
            }
            Some(Kept::All(text)) => (Some(text), false),
            Some(_) => return Ok(()),
        };
        if !is_cut && self.is_named(name) {
            self.see(name, value);
            return Ok(());
        }
        let name = before_nul(name);
        let is_value = |wanted: &Wanted| match value {
            None => wanted.values.is_empty(),
            Some(text) => wanted.values.iter().any(|value| value.as_bytes() == text),
        };
        let mut wanted = self.search.anywhere.iter();
        let respelt =
            wanted.position(|it| case::is_same(name, &it.name, &it.folded) && is_value(it));
        respelt.map_or(Ok(()), |wanted| Err(Stop::RespeltAnywhere(wanted)))
    }

    fn is_named(&self, name: &[u8]) -> bool {
        let mut wanted = self.search.anywhere.iter();
        wanted.any(|wanted| wanted.name.as_bytes() == name)
    }

    /// The same of a name that is looked for to the letter.
    fn see(&mut self, name: &[u8], value: Option<&[u8]>) {
        for (wanted, known) in self.search.anywhere.iter().zip(&mut self.anywhere) {
            let is_value = match value {
                None => wanted.values.is_empty(),
                Some(text) => wanted.values.iter().any(|value| value.as_bytes() == text),
            };
            if is_value && *known == Anywhere::Unknown && wanted.name.as_bytes() == name {
                *known = Anywhere::Seen;
                self.unknown = self.unknown.saturating_sub(1);
            }
        }
    }
}

impl Places {
    /// Nothing has come yet.
    fn none_of(search: &Search) -> Self {
        let place = Place {
            presence: Presence::Unknown,
            member: Member::Unknown,
        };
        Self(vec![place; search.nodes.len()])
    }

    pub(super) fn member(&self, id: MemberId) -> &Member {
        let place = self.0.get(id.0);
        place.map_or(&Member::Unknown, |place| &place.member)
    }
}

/// Readers that keep texts as C does take a name for what stands before its first NUL.
fn has_nul(text: &[u8]) -> bool {
    text.contains(&0)
}

fn before_nul(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}
