//! A value of YAML, and where in its file it stands.

use waykeeper::config::{Node, Segment};

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
