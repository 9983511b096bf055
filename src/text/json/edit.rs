//! Changes members of a text, and leaves everything else of it as it is written.
//!
//! All of the text is there. It is read as strictly as any that decides, so what would be another member to some reader, one that
//! comes twice or in other letters, is no text that is changed.

use std::rc::Rc;

use super::broken::{Broken, Fault};
use super::found::Member;
use super::search::{MemberId, Search, steps};
use super::{BadPointer, Scan};

/// Which members of texts are changed.
#[derive(Debug)]
pub struct Edit {
    search: Rc<Search>,
    changes: Vec<Change>,
}

/// What is changed at a member of an object.
#[derive(Debug)]
struct Change {
    pointer: String,
    /// The member's name as it is written, with its quotes.
    name: String,
    member: MemberId,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The value: it is the one of this number.
    Value(usize),
    /// Members of the object that it is.
    Within(Vec<Change>),
}

impl Edit {
    /// Changes of the members that these pointers (RFC 6901) lead to. None may lie in another.
    ///
    /// # Errors
    /// When one is no pointer, or leads to what readers may confuse with what another leads to.
    pub fn new(pointers: &mut dyn Iterator<Item = &str>) -> Result<Self, BadPointer> {
        let mut search = Search::new();
        let mut changes = Vec::new();
        for (number, pointer) in pointers.enumerate() {
            let (mut at, mut whole) = (&mut changes, String::new());
            let names = steps(pointer)?;
            // The pointer's own escapes.
            let mut parts = pointer.split('/').skip(1).peekable();
            for name in names {
                whole.extend(["/", parts.next().unwrap_or_default()]);
                let known = at
                    .iter()
                    .position(|change: &Change| change.pointer == whole);
                let place = match known {
                    Some(place) => place,
                    None => {
                        at.push(Change {
                            member: search.member(&whole)?,
                            pointer: whole.clone(),
                            name: serde_json::Value::from(name).to_string(),
                            what: What::Within(Vec::new()),
                        });
                        at.len() - 1
                    }
                };
                let Some(change) = at.get_mut(place) else {
                    break;
                };
                if parts.peek().is_none() {
                    change.what = What::Value(number);
                    break;
                }
                match &mut change.what {
                    What::Within(inner) => at = inner,
                    What::Value(_) => break,
                }
            }
        }
        Ok(Self {
            search: Rc::new(search),
            changes,
        })
    }

    /// The text in which each member has its value: the one of its pointer's number, as JSON. `None`: it is taken out.
    ///
    /// # Errors
    /// When it is no JSON object, some reader would take another member for one of these, or something that is no object stands
    /// where a member is to be set.
    pub fn apply(&self, text: &[u8], values: &[Option<Vec<u8>>]) -> Result<Vec<u8>, Broken> {
        let mut scan = Scan::new(Rc::clone(&self.search));
        scan.feed(text)?;
        scan.end()?;
        let mut writer = Writer {
            scan: &scan,
            values,
            text,
            at: 0,
            written: Vec::with_capacity(text.len()),
        };
        writer.skip_blanks();
        writer.copy(0);
        writer.object(&self.changes)?;
        let end = writer.at;
        writer.at = text.len();
        writer.copy(end);
        Ok(writer.written)
    }
}

/// Whether a step of a pointer leads to an item, where an array stands.
#[must_use]
pub fn leads_to_item(pointer: &str) -> bool {
    let is_number = |step: &str| !step.is_empty() && step.bytes().all(|it| it.is_ascii_digit());
    pointer.split('/').skip(1).any(is_number)
}

/// Goes through a text that is known to be sound, and writes it anew.
struct Writer<'a> {
    scan: &'a Scan,
    values: &'a [Option<Vec<u8>>],
    text: &'a [u8],
    /// The next byte to read.
    at: usize,
    written: Vec<u8>,
}

impl Writer<'_> {
    /// The object that comes next.
    fn object(&mut self, changes: &[Change]) -> Result<(), Broken> {
        self.at += 1;
        self.written.push(b'{');
        let mut is_first = true;
        loop {
            let begin = self.at;
            self.skip_blanks();
            // Of an empty one.
            if self.next() != b'"' {
                self.copy(begin);
                break;
            }
            self.skip_text();
            self.skip_blanks();
            self.at += 1;
            self.skip_blanks();
            let start = self.at;
            let mut changes = changes.iter();
            let stays = match changes.find(|change| self.place(change) == Some(start)) {
                None => {
                    self.skip_value();
                    self.comma(&mut is_first);
                    self.copy(begin);
                    true
                }
                Some(change) => self.member(change, begin, &mut is_first)?,
            };
            let end = self.at;
            self.skip_blanks();
            if stays {
                self.copy(end);
            }
            if self.next() != b',' {
                break;
            }
            self.at += 1;
        }
        self.at += 1;
        for change in changes {
            if self.place(change).is_none()
                && let Some(value) = self.value(change)
            {
                self.comma(&mut is_first);
                self.name(change, &value);
            }
        }
        self.written.push(b'}');
        Ok(())
    }

    /// A member that is changed. Its name begins there, its value comes next. False: it is taken out.
    fn member(
        &mut self,
        change: &Change,
        begin: usize,
        is_first: &mut bool,
    ) -> Result<bool, Broken> {
        let start = self.at;
        if let (What::Within(inner), b'{') = (&change.what, self.next()) {
            self.comma(is_first);
            self.copy(begin);
            return self.object(inner).map(|()| true);
        }
        let is_none = self.next() == b'n';
        let value = self.value(change);
        self.skip_value();
        match (&change.what, value) {
            (What::Within(_), Some(_)) if !is_none => {
                return Err(Broken {
                    offset: start as u64,
                    fault: Fault::NoObject(change.pointer.as_str().into()),
                });
            }
            // Nothing is to be set in it, and nothing that could be taken out is there.
            (What::Within(_), None) => {
                self.comma(is_first);
                self.copy(begin);
            }
            (_, Some(value)) => {
                self.comma(is_first);
                self.written
                    .extend(self.text.get(begin..start).unwrap_or_default());
                self.written.extend(value);
            }
            (What::Value(_), None) => return Ok(false),
        }
        Ok(true)
    }

    /// What a member is to be that is not there: an object, where only something in it is to be set.
    fn value(&self, change: &Change) -> Option<Vec<u8>> {
        match &change.what {
            What::Value(number) => self.values.get(*number)?.clone(),
            What::Within(inner) => {
                let mut object = Writer {
                    written: vec![b'{'],
                    ..*self
                };
                let mut is_first = true;
                for change in inner {
                    if let Some(value) = self.value(change) {
                        object.comma(&mut is_first);
                        object.name(change, &value);
                    }
                }
                object.written.push(b'}');
                (!is_first).then_some(object.written)
            }
        }
    }

    /// Where a member's value begins, if it is there.
    fn place(&self, change: &Change) -> Option<usize> {
        match self.scan.member(change.member) {
            Member::Found(found) => usize::try_from(found.start).ok(),
            Member::Unknown | Member::Absent => None,
        }
    }

    fn name(&mut self, change: &Change, value: &[u8]) {
        self.written.extend(change.name.as_bytes());
        self.written.push(b':');
        self.written.extend(value);
    }

    fn comma(&mut self, is_first: &mut bool) {
        if !std::mem::take(is_first) {
            self.written.push(b',');
        }
    }

    /// Writes what has been read from there on.
    fn copy(&mut self, from: usize) {
        self.written
            .extend(self.text.get(from..self.at).unwrap_or_default());
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The byte that comes next; behind the text, one that stands in none.
    fn next(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn skip_blanks(&mut self) {
        while matches!(self.next(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// A text, of which the first quote comes next.
    fn skip_text(&mut self) {
        self.at += 1;
        while let Some(run) = (self.rest().iter()).position(|byte| matches!(byte, b'"' | b'\\')) {
            self.at += run;
            if self.next() == b'"' {
                self.at += 1;
                return;
            }
            self.at += 2;
        }
        self.at = self.text.len();
    }

    fn skip_value(&mut self) {
        let mut depth = 0_usize;
        loop {
            match self.next() {
                b'"' => {
                    self.skip_text();
                    if depth == 0 {
                        return;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 1 => {
                    self.at += 1;
                    return;
                }
                b'}' | b']' if depth > 1 => depth -= 1,
                b'}' | b']' | b',' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 => return,
                0 => return,
                _ => {}
            }
            self.at += 1;
        }
    }
}
