//! YAML (and so JSON) with the line of every value, since a fault is found sooner where its line is told. Plain
//! scalars are read by YAML 1.2's core schema; those that other readers take for something else carry a doubt. What Envoy
//! reads as its own messages, `message.rs` reads as it does.

mod indented;
mod message;
mod scalar;
mod unquoted;
mod value;

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScanError, Span};
use waykeeper::config::Node;

pub(crate) use scalar::plain;
use scalar::scalar;
pub(crate) use value::{Entry, Kind, Value};

/// Aliases and anchors make small files large; more values or more text than this is no configuration.
const MOST_VALUES: usize = 2_000_000;
const MOST_BYTES: usize = 64 << 20;
const DEEPEST: usize = 100;

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

#[cfg(test)]
mod tests;
