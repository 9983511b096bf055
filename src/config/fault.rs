//! What is wrong with a document and where: faults are collected while it is read, and told all at once in the order
//! of the document.

use super::document::before_value;
use crate::sort::sort_by;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

/// More faults than this are only counted: nobody reads them, and a large broken document must not fill the memory.
const MOST_TOLD: usize = 500;

/// One thing that is wrong, and where it stands. Shown as `routes[2].agents[0]: no agent named "chat-gup"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From the root of the document; empty for the document itself.
    pub path: Vec<Segment>,
    /// The same steps as positions among what is written, which tell fields of one name apart. Past the end for
    /// a field that is missing.
    pub positions: Vec<usize>,
    /// What is wrong and what to do, without the place.
    pub message: String,
}

/// A step from a value to one inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// A field of a mapping.
    Field(String),
    /// An item of a list, counted from 0.
    Item(usize),
}

/// All that is wrong with a document, at least one fault, one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    told: Vec<Fault>,
    untold: usize,
}

/// Where the reader stands: a value's place, linked to that of the value around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    outer: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    /// A field's name and its place among the fields written.
    Field(&'a str, usize),
    /// The same of a name of which only the beginning is shown.
    Cut(&'a str, usize),
    Item(usize),
}

/// Collects faults.
#[derive(Debug, Default)]
pub struct Log {
    faults: RefCell<Vec<Fault>>,
    untold: Cell<usize>,
}

// === impl Fault ===

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, segment) in self.path.iter().enumerate() {
            match segment {
                Segment::Item(index) => write!(formatter, "[{index}]")?,
                Segment::Field(name) => {
                    if depth > 0 {
                        formatter.write_str(".")?;
                    }
                    let plain =
                        |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
                    if !name.is_empty() && name.bytes().all(plain) && name.len() <= 128 {
                        formatter.write_str(name)?;
                    } else {
                        formatter.write_str(&super::document::shown(name))?;
                    }
                }
            }
        }
        if !self.path.is_empty() {
            formatter.write_str(": ")?;
        }
        formatter.write_str(&self.message)
    }
}

// === impl Faults ===

impl Faults {
    /// A fault of the document as a whole.
    pub(super) fn whole(message: String) -> Self {
        Self {
            told: vec![Fault {
                path: Vec::new(),
                positions: Vec::new(),
                message,
            }],
            untold: 0,
        }
    }

    /// The faults in the order of the document.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.told.iter()
    }

    /// How many more there are, beyond those that are told.
    pub fn untold(&self) -> usize {
        self.untold
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.told.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{fault}")?;
        }
        if self.untold > 0 {
            write!(formatter, "\nand {} more", self.untold)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

// === impl Place ===

impl<'a> Place<'a> {
    pub(super) const ROOT: Place<'static> = Place {
        outer: None,
        step: Step::Root,
    };

    /// The place of a field; `position` is where it stands among those written.
    pub(super) fn field(&'a self, name: &'a str, position: usize) -> Place<'a> {
        Place {
            outer: Some(self),
            step: Step::Field(name, position),
        }
    }

    /// The same, where a value may have got into the name: only what stands before it is named.
    pub(super) fn field_to_value(&'a self, name: &'a str, position: usize) -> Place<'a> {
        Place {
            outer: Some(self),
            step: match before_value(name) {
                None => Step::Field(name, position),
                Some(before) => Step::Cut(before, position),
            },
        }
    }

    pub(super) fn item(&'a self, index: usize) -> Place<'a> {
        Place {
            outer: Some(self),
            step: Step::Item(index),
        }
    }

    /// As a fault names it.
    pub(super) fn path(&self) -> Vec<Segment> {
        let mut path = Vec::new();
        self.climb(|step| match step {
            Step::Root => {}
            Step::Field(name, _) => path.push(Segment::Field(name.to_owned())),
            Step::Cut(name, _) => path.push(Segment::Field(format!("{name}…"))),
            Step::Item(index) => path.push(Segment::Item(index)),
        });
        path.reverse();
        path
    }

    fn positions(&self) -> Vec<usize> {
        let mut positions = Vec::new();
        self.climb(|step| match step {
            Step::Root => {}
            Step::Field(_, position) | Step::Cut(_, position) | Step::Item(position) => {
                positions.push(position);
            }
        });
        positions.reverse();
        positions
    }

    fn climb(&self, mut visit: impl FnMut(Step<'_>)) {
        let mut at = Some(self);
        while let Some(place) = at {
            visit(place.step);
            at = place.outer;
        }
    }
}

/// As a fault within another fault's text names a place.
impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = Fault {
            path: self.path(),
            positions: Vec::new(),
            message: String::new(),
        }
        .to_string();
        formatter.write_str(shown.strip_suffix(": ").unwrap_or("the document"))
    }
}

// === impl Log ===

impl Log {
    pub(super) fn add(&self, place: &Place<'_>, message: Cow<'_, str>) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < MOST_TOLD {
            faults.push(Fault {
                path: place.path(),
                positions: place.positions(),
                message: message.into_owned(),
            });
        } else {
            self.untold.set(self.untold.get().saturating_add(1));
        }
    }

    /// Whether further faults are only counted.
    pub(super) fn is_full(&self) -> bool {
        self.faults.borrow().len() >= MOST_TOLD
    }

    /// All that was collected, in the order of the document; `None` if there was nothing.
    pub fn into_faults(self) -> Option<Faults> {
        let mut faults = self.faults.into_inner();
        if faults.is_empty() {
            return None;
        }
        sort_by(&mut faults, |left, right| {
            left.positions.cmp(&right.positions)
        });
        Some(Faults {
            told: faults,
            untold: self.untold.get(),
        })
    }
}
