//! Finds members in a JSON text while it arrives, in pieces that end anywhere, and holds no more of it than what is looked for.
//!
//! It decides by what an agent will read after us. So it reads as all readers do, or breaks: it is strict (RFC 8259), and it breaks
//! at what readers are known to take in different ways, if that touches what is looked for. It has seen that only of what has come:
//! a name that comes twice may do so with the last byte but one.
//!
//! | file | what it says |
//! |---|---|
//! | `search.rs` | what is looked for: members by their pointers (RFC 6901), and members anywhere |
//! | `found.rs` | what is known of what is looked for: a member, and its value |
//! | `finds.rs`, `finds/sink.rs` | what was found, and what breaks where something is looked for |
//! | `reader.rs` | the grammar |
//! | `strings.rs` | the inside of a string: escapes, surrogates, UTF-8; and how plain text is skipped |
//! | `numbers.rs` | how a number goes on |
//! | `edit.rs` | how members of a whole text are changed |
//! | `nesting.rs` | where a text ends that is an object or an array
//! | `parts.rs` | where members and items stand, in a text that is whole
//! | `broken.rs` | why a text is not read on, in words |

mod broken;
mod edit;
mod finds;
mod found;
pub mod nesting;
mod numbers;
pub mod parts;
mod reader;
mod search;
mod strings;

pub use broken::{Broken, Fault};
pub use edit::{Edit, leads_to_item};
pub use found::{Anywhere, Found, Member, Value};
pub use search::{AnywhereId, BadPointer, MemberId, Search};

use std::rc::Rc;

use finds::{Finds, Places};
use reader::Reader;

/// How many arrays and objects may lie in one another. As many as `serde_json` reads.
pub const DEEPEST: usize = 127;

/// How many bytes are kept of a value's text without its escapes, or of a number.
pub const LONGEST_VALUE: usize = 1024;

/// One text under way.
#[derive(Debug, Clone)]
pub struct Scan {
    reader: Reader,
    finds: Finds,
    broken: Option<Broken>,
}

/// An object of a list, which has ended.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a>(&'a Places);

impl<'a> Listed<'a> {
    /// What is known of a member.
    #[must_use]
    pub fn member(self, id: MemberId) -> &'a Member {
        self.0.member(id)
    }
}

impl Scan {
    /// A text of which nothing has come yet.
    #[must_use]
    pub fn new(search: Rc<Search>) -> Self {
        Self {
            reader: Reader::default(),
            finds: Finds::new(search),
            broken: None,
        }
    }

    /// The next bytes, split off anywhere.
    ///
    /// # Errors
    /// When the text is no JSON, or what is looked for stands in it so that readers may differ. It stays broken then.
    #[inline(never)]
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), Broken> {
        self.is_sound()?;
        let read = self.reader.feed(piece, &mut self.finds);
        read.map_err(|stop| self.breaks(self.finds.fault(stop)))
    }

    /// No more comes.
    ///
    /// # Errors
    /// When the text is not whole, or was broken before.
    pub fn end(&mut self) -> Result<(), Broken> {
        self.is_sound()?;
        if self.reader.is_whole() {
            return Ok(());
        }
        Err(self.breaks(Fault::Truncated))
    }

    fn is_sound(&self) -> Result<(), Broken> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn breaks(&mut self, fault: Fault) -> Broken {
        let offset = self.reader.offset();
        self.broken.insert(Broken { offset, fault }).clone()
    }

    /// What is known of a member. [`Member::Unknown`] also for an id of another search.
    #[must_use]
    pub fn member(&self, id: MemberId) -> &Member {
        self.finds.member(id)
    }

    /// Where a member's text begins, while it is under way. What it is is known only when it has ended.
    #[must_use]
    pub fn text_under_way(&self, id: MemberId) -> Option<u64> {
        let start = self.reader.text_under_way()?;
        self.finds.awaits(id).then_some(start)
    }

    /// Where the text is a list: of each object that has ended, what is known of a member. `None`: it is no list.
    #[must_use]
    pub fn listed(&self) -> Option<impl Iterator<Item = Listed<'_>>> {
        Some(self.finds.listed()?.iter().map(Listed))
    }

    /// True if all of the text has come, but for blanks behind it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.reader.is_whole()
    }

    /// What is known of a member that may stand anywhere. [`Anywhere::Unknown`] also for an id of another search.
    #[must_use]
    pub fn anywhere(&self, id: AnywhereId) -> Anywhere {
        self.finds.anywhere(id)
    }

    /// Whether all that is looked for is known. Of an array or object only the kind is, until it has ended.
    ///
    /// What comes then may still break the text, by the same name a second time.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.finds.has_settled()
    }

    /// How many bytes have been read. After a fault: how many stand before it.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }
}

#[cfg(test)]
mod tests;
