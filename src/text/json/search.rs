//! What is looked for.

use std::error::Error;
use std::fmt;

use super::DEEPEST;
use crate::text::case;

/// What is looked for in a text: members by their pointers, and members anywhere. Made once, and used for many texts.
#[derive(Debug, Clone)]
pub struct Search {
    /// All places that the pointers pass, each behind the one it lies in; the first is the text itself.
    pub(super) nodes: Vec<Node>,
    pub(super) anywhere: Vec<Wanted>,
    /// How many bytes of a name must be kept, so that none is missed, in an object where a pointer goes on. Also of an empty
    /// name something is kept.
    pub(super) longest_step: usize,
    /// The same, for what is looked for anywhere.
    pub(super) longest_name: usize,
    pub(super) longest_value: usize,
    /// Of how many objects the text may be a list; none: it is an object.
    pub(super) most_listed: usize,
}

/// A member that is looked for by its pointer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct MemberId(pub(super) usize);

/// A member that is looked for anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnywhereId(pub(super) usize);

/// A place that a pointer passes or leads to.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) pointer: Box<str>,
    pub(super) parent: Option<usize>,
    pub(super) is_wanted: bool,
    pub(super) steps: Vec<Step>,
}

/// One step of a pointer.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) name: Box<str>,
    /// The name as [`case::folded`] has it.
    pub(super) folded: Box<str>,
    /// Which item of an array it leads to. `None`: it leads to none.
    pub(super) index: Option<u64>,
    pub(super) node: usize,
}

/// A name that is looked for anywhere, and the texts of which one must be its value; none: any value.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) name: Box<str>,
    /// The name as [`case::folded`] has it.
    pub(super) folded: Box<str>,
    pub(super) values: Vec<Box<str>>,
}

/// Why a pointer cannot be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadPointer {
    /// It is not empty, and does not begin with `/`.
    NoSlash,
    /// A `~` that neither `0` nor `1` follows.
    Tilde,
    /// The step `-` leads behind an array's last item, where nothing is.
    Hyphen,
    /// It has more than [`DEEPEST`] steps.
    TooDeep,
    /// Some readers take the last name of this pointer, which is looked for too, for the one that stands in its place.
    Respelt(Box<str>),
}

impl Error for BadPointer {}

impl fmt::Display for BadPointer {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlash => write!(text, "a JSON pointer begins with /, such as /model"),
            Self::Tilde => write!(
                text,
                "in a JSON pointer ~ is followed by 0 (for ~) or by 1 (for /)"
            ),
            Self::Hyphen => write!(text, "the step - of a JSON pointer leads to nothing"),
            Self::TooDeep => write!(text, "the JSON pointer has more than {DEEPEST} steps"),
            Self::Respelt(other) => write!(
                text,
                "the JSON pointer differs from {other} in the case of letters alone, which some agents ignore"
            ),
        }
    }
}

impl Default for Search {
    fn default() -> Self {
        Self::new()
    }
}

impl Search {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let text = Node {
            pointer: Box::default(),
            parent: None,
            is_wanted: false,
            steps: Vec::new(),
        };
        Self {
            nodes: vec![text],
            anywhere: Vec::new(),
            longest_step: 1,
            longest_name: 1,
            longest_value: 1,
            most_listed: 0,
        }
    }

    /// Looks for what a pointer (RFC 6901) leads to. The same pointer again is the same member.
    ///
    /// # Errors
    /// When it is no pointer, can lead to nothing, or to what other pointers confuse.
    pub fn member(&mut self, pointer: &str) -> Result<MemberId, BadPointer> {
        let steps = steps(pointer)?;
        self.are_told_apart(&steps)?;
        let mut at = 0;
        for name in steps {
            at = match self.step(at, &name) {
                Some(known) => known,
                None => self.add(at, name),
            };
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.is_wanted = true;
        }
        Ok(MemberId(at))
    }

    /// Looks for a member of this name in any object of the text, with one of these texts as its value; without `values`, with any
    /// value. Names and values must be equal but for escapes; one that some readers take for it breaks the text.
    pub fn anywhere(&mut self, name: &str, values: &[&str]) -> AnywhereId {
        self.longest_name = self.longest_name.max(name.len() * case::LONGER + 1);
        for value in values {
            self.longest_value = self.longest_value.max(value.len() + 1);
        }
        self.anywhere.push(Wanted {
            name: name.into(),
            folded: case::folded(name).collect::<String>().into(),
            values: values.iter().map(|value| Box::from(*value)).collect(),
        });
        AnywhereId(self.anywhere.len() - 1)
    }

    /// The text may also be a list of so many objects, and each of them is looked through.
    pub fn may_list(&mut self, most: usize) {
        self.most_listed = most;
    }

    /// Where a step leads to from a place.
    fn step(&self, from: usize, name: &str) -> Option<usize> {
        let mut steps = self.nodes.get(from)?.steps.iter();
        Some(steps.find(|step| *step.name == *name)?.node)
    }

    /// Of two names that some reader takes for the same, only one may be looked for.
    fn are_told_apart(&self, names: &[String]) -> Result<(), BadPointer> {
        let mut at = Some(0);
        for name in names {
            let Some(node) = at.and_then(|at| self.nodes.get(at)) else {
                break;
            };
            let next = node.steps.iter().find(|step| *step.name == **name);
            at = next.map(|step| step.node);
            let folded: String = case::folded(name).collect();
            let mut steps = node.steps.iter();
            let other = steps.find(|step| *step.folded == *folded && *step.name != **name);
            if let Some(other) = other.and_then(|step| self.nodes.get(step.node)) {
                return Err(BadPointer::Respelt(other.pointer.clone()));
            }
        }
        Ok(())
    }

    fn add(&mut self, parent: usize, name: String) -> usize {
        let node = self.nodes.len();
        // And one for a NUL behind it.
        self.longest_step = (name.len() * case::LONGER + 1).max(self.longest_step);
        let mut pointer = String::new();
        if let Some(parent) = self.nodes.get_mut(parent) {
            pointer = format!("{}/{}", parent.pointer, escaped(&name));
            parent.steps.push(Step {
                folded: case::folded(&name).collect::<String>().into(),
                index: index(&name),
                name: name.into(),
                node,
            });
        }
        self.nodes.push(Node {
            pointer: pointer.into(),
            parent: Some(parent),
            is_wanted: false,
            steps: Vec::new(),
        });
        node
    }
}

/// The names in a pointer, without its escapes.
pub(super) fn steps(pointer: &str) -> Result<Vec<String>, BadPointer> {
    let mut parts = pointer.split('/');
    if parts.next().is_some_and(|before| !before.is_empty()) {
        return Err(BadPointer::NoSlash);
    }
    let steps = parts.map(unescaped).collect::<Result<Vec<_>, _>>()?;
    if steps.len() > DEEPEST {
        return Err(BadPointer::TooDeep);
    }
    Ok(steps)
}

fn unescaped(step: &str) -> Result<String, BadPointer> {
    if step == "-" {
        return Err(BadPointer::Hyphen);
    }
    let mut parts = step.split('~');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (mark, rest) = match (part.strip_prefix('0'), part.strip_prefix('1')) {
            (Some(rest), _) => ('~', rest),
            (_, Some(rest)) => ('/', rest),
            _ => return Err(BadPointer::Tilde),
        };
        name.push(mark);
        name.push_str(rest);
    }
    Ok(name)
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The item that a step leads to in an array: digits without a leading zero.
fn index(name: &str) -> Option<u64> {
    let is_plain =
        name == "0" || (!name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit()));
    is_plain.then(|| name.parse().ok()).flatten()
}
