//! YAML (and so JSON) with the line of every value, since a fault is found sooner where its line is told. Plain
//! scalars are read by YAML 1.2's core schema; those that other readers take for something else carry a doubt. What Envoy
//! reads as its own messages, `message.rs` reads as it does.

mod indented;
mod message;
mod scalar;
mod unquoted;

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScanError, Span};
use waykeeper::config::{Node, Segment};

pub(crate) use scalar::plain;
use scalar::scalar;

/// Aliases and anchors make small files large; more values or more text than this is no configuration.
const MOST_VALUES: usize = 2_000_000;
const MOST_BYTES: usize = 64 << 20;
const DEEPEST: usize = 100;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    /// Counted from 1; 0 where it is not known.
    pub(crate) line: usize,
    /// What other readers of YAML may take it for.
    pub(crate) doubt: Option<String>,
    /// Whether it is a scalar that stands there without quotes, so that its text says what it is.
    pub(crate) plain: bool,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    /// In the order of the file; a name may stand here more than once.
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Of the name.
    pub(crate) line: usize,
    /// What other readers may take the name for.
    pub(crate) doubt: Option<String>,
    pub(crate) value: Value,
}

/// What other readers of YAML may take something in a value for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doubt<'v> {
    pub(crate) line: usize,
    /// The fields of that value in which it stands, from outside.
    pub(crate) path: Vec<&'v str>,
    pub(crate) text: &'v str,
}

/// Why a file is no YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// Reads all documents of a file; empty ones are left out. What is JSON but no YAML (characters that are escaped in
/// two halves) is read too, without its lines.
pub(crate) fn parse(text: &str) -> Result<Vec<Value>, Broken> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        text,
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        size: Size::default(),
    };
    builder.documents().or_else(|broken| {
        // What is too large is so in any other words.
        let other = (!builder.size.is_too_large()).then(|| serde_json::from_str::<Node>(text));
        match other {
            Some(Ok(node)) => Ok(vec![node.into()]),
            _ => Err(broken),
        }
    })
}

/// How much is held in memory.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    values: usize,
    bytes: usize,
}

struct Builder<'t> {
    text: &'t str,
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: HashMap<usize, Value>,
    /// Of all that was read, what aliases stand for and what is kept for them included.
    size: Size,
}

// === impl Size ===

impl Size {
    fn of(value: &Value) -> Self {
        let own = Self::of_text(value.text().unwrap_or_default());
        let names = value.entries().iter().map(|entry| entry.name.len());
        let own = Self {
            bytes: names.fold(own.bytes, usize::saturating_add),
            ..own
        };
        value.parts().map(Size::of).fold(own, Size::and)
    }

    /// Of a value with this text, or of one without.
    fn of_text(text: &str) -> Self {
        Self {
            values: 1,
            bytes: text.len(),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            values: self.values.saturating_add(other.values),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn is_too_large(self) -> bool {
        self.values > MOST_VALUES || self.bytes > MOST_BYTES
    }
}

// === impl Builder ===

impl<'t> Builder<'t> {
    fn documents(&mut self) -> Result<Vec<Value>, Broken> {
        let mut documents = Vec::new();
        while let Some((event, span)) = self.next()? {
            match event {
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_) => {}
                Event::DocumentEnd => self.anchors.clear(),
                event => {
                    let document = self.value(event, span, 0)?;
                    if document.kind != Kind::Null {
                        documents.push(document);
                    }
                }
            }
        }
        Ok(documents)
    }

    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Broken> {
        self.events.next().transpose().map_err(|error: ScanError| {
            let at = error.marker();
            let reference = unquoted::reference(self.text, at.index(), at.col());
            let said = error.info();
            let hint = || indented::hint(self.text, said, at.line(), at.col() + 1);
            let message = reference.or_else(hint);
            Broken {
                line: at.line(),
                message: message.unwrap_or_else(|| said.to_owned()),
            }
        })
    }

    /// The next event inside a value.
    fn inside(&mut self, line: usize) -> Result<(Event<'t>, Span), Broken> {
        self.next()?
            .ok_or_else(|| broken(line, "the file ends inside of this"))
    }

    fn value(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Value, Broken> {
        let line = span.start.line();
        let text = match &event {
            Event::Scalar(text, ..) => text,
            _ => "",
        };
        self.count(Size::of_text(text), line)?;
        if depth > DEEPEST {
            return Err(broken(line, format!("more than {DEEPEST} levels deep")));
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, scalar(&text, style, tag.as_deref(), line)?)
            }
            Event::SequenceStart(anchor, _) => (anchor, self.list(line, depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.map(line, depth)?),
            Event::Alias(anchor) => {
                let size = self.anchors.get(&anchor).map(Size::of);
                self.count(size.unwrap_or_default(), line)?;
                // Only now, that it is known to be small enough, there is one more of it.
                let value = self.anchors.get(&anchor).cloned();
                return value
                    .ok_or_else(|| broken(line, "an alias of something that it stands in"));
            }
            _ => return Err(broken(line, "expected a value")),
        };
        if anchor != 0 {
            self.count(Size::of(&value), line)?;
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn list(&mut self, line: usize, depth: usize) -> Result<Value, Broken> {
        let mut items = Vec::new();
        loop {
            match self.inside(line)? {
                (Event::SequenceEnd, _) => {
                    return Ok(Value {
                        line,
                        doubt: None,
                        plain: false,
                        kind: Kind::List(items),
                    });
                }
                (event, span) => items.push(self.value(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, line: usize, depth: usize) -> Result<Value, Broken> {
        let mut entries = Vec::new();
        loop {
            let (event, span) = self.inside(line)?;
            let line_of_name = span.start.line();
            let (name, doubt) = match event {
                Event::MappingEnd => {
                    return Ok(Value {
                        line,
                        doubt: None,
                        plain: false,
                        kind: Kind::Map(entries),
                    });
                }
                Event::Scalar(text, style, _, tag) => {
                    let doubt = scalar(&text, style, tag.as_deref(), line_of_name)?.doubt;
                    (text.into_owned(), doubt)
                }
                _ => return Err(broken(line_of_name, "a field's name must be a word")),
            };
            let of_name = Size {
                values: 0,
                bytes: name.len(),
            };
            self.count(of_name, line_of_name)?;
            let (event, span) = self.inside(line_of_name)?;
            let value = self.value(event, span, depth + 1)?;
            entries.push(Entry {
                name,
                line: line_of_name,
                doubt,
                value,
            });
        }
    }

    fn count(&mut self, more: Size, line: usize) -> Result<(), Broken> {
        self.size = self.size.and(more);
        if self.size.is_too_large() {
            let mebibytes = MOST_BYTES >> 20;
            return Err(broken(
                line,
                format!(
                    "more than {MOST_VALUES} values or {mebibytes} MiB of text (anchors and aliases counted in full)"
                ),
            ));
        }
        Ok(())
    }
}

fn broken(line: usize, message: impl Into<String>) -> Broken {
    Broken {
        line,
        message: message.into(),
    }
}

// === impl Doubt ===

impl<'v> Doubt<'v> {
    fn of(line: usize, text: Option<&'v str>) -> Option<Self> {
        text.map(|text| Self {
            line,
            path: Vec::new(),
            text,
        })
    }
}

// === impl Value ===

impl From<Node> for Value {
    fn from(node: Node) -> Self {
        let kind = match node {
            Node::Null => Kind::Null,
            Node::Bool(flag) => Kind::Bool(flag),
            Node::Number(number) => Kind::Number(number),
            Node::Text(text) => Kind::Text(text),
            Node::List(items) => Kind::List(items.into_iter().map(Value::from).collect()),
            Node::Map(fields) => {
                let entry = |(name, node): (String, Node)| Entry {
                    name,
                    line: 0,
                    doubt: None,
                    value: node.into(),
                };
                Kind::Map(fields.into_iter().map(entry).collect())
            }
        };
        Value {
            line: 0,
            doubt: None,
            plain: false,
            kind,
        }
    }
}

impl Value {
    /// A field of a mapping; the first, if it is written more than once.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.entries()
            .iter()
            .find(|entry| entry.name == name)
            .map(|entry| &entry.value)
    }

    /// The fields of a mapping; none of anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none of anything else.
    pub(crate) fn items(&self) -> &[Value] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// What a list or a mapping holds; nothing of anything else.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Value> {
        let fields = self.entries().iter().map(|entry| &entry.value);
        self.items().iter().chain(fields)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As the reader of configurations takes it.
    pub(crate) fn node(&self) -> Node {
        match &self.kind {
            Kind::Null => Node::Null,
            Kind::Bool(flag) => Node::Bool(*flag),
            Kind::Number(number) => Node::Number(*number),
            Kind::Text(text) => Node::Text(text.clone()),
            Kind::List(items) => Node::List(items.iter().map(Value::node).collect()),
            Kind::Map(entries) => Node::Map(
                entries
                    .iter()
                    .map(|entry| (entry.name.clone(), entry.value.node()))
                    .collect(),
            ),
        }
    }

    /// The line of what a path leads to, or of what is nearest to it.
    pub(crate) fn line_of(&self, path: &[&str]) -> usize {
        self.line_at(&self.positions_of(path))
    }

    /// The positions among fields of what a path leads to, as far as that is there.
    pub(crate) fn positions_of(&self, path: &[&str]) -> Vec<usize> {
        path.iter()
            .scan(Some(self), |at, name| {
                let position = at
                    .as_ref()?
                    .entries()
                    .iter()
                    .position(|entry| entry.name == *name)?;
                *at = at.and_then(|value| value.get(name));
                Some(position)
            })
            .collect()
    }

    /// The same of a path that leads through lists too.
    pub(crate) fn positions_at(&self, path: &[Segment]) -> Vec<usize> {
        let mut at = Some(self);
        let positions = path.iter().map_while(|segment| {
            let position = match segment {
                Segment::Field(name) => {
                    let mut entries = at?.entries().iter();
                    entries.position(|entry| entry.name == *name)?
                }
                Segment::Item(index) => *index,
            };
            let value = at?;
            at = match segment {
                Segment::Field(name) => value.get(name),
                Segment::Item(index) => value.items().get(*index),
            };
            Some(position)
        });
        positions.collect()
    }

    /// The line that positions among fields and items lead to.
    pub(crate) fn line_at(&self, positions: &[usize]) -> usize {
        let mut line = self.line;
        let mut at = self;
        for position in positions {
            if let Some(entry) = at.entries().get(*position) {
                (line, at) = (entry.line, &entry.value);
            } else if let Some(item) = at.items().get(*position) {
                (line, at) = (item.line, item);
            } else {
                break;
            }
        }
        line
    }

    /// Every doubt in it.
    pub(crate) fn doubts(&self) -> Vec<Doubt<'_>> {
        let mut doubts: Vec<_> = Doubt::of(self.line, self.doubt.as_deref())
            .into_iter()
            .collect();
        doubts.extend(self.items().iter().flat_map(Value::doubts));
        for entry in self.entries() {
            doubts.extend(Doubt::of(entry.line, entry.doubt.as_deref()));
            doubts.extend(entry.value.doubts().into_iter().map(|mut doubt| {
                doubt.path.insert(0, &entry.name);
                doubt
            }));
        }
        doubts
    }
}

#[cfg(test)]
mod tests;
