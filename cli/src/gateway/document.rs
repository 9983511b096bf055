//! A document as YAML that people can read. Every text is quoted, so none is taken for anything else.

use waykeeper::config::Node;

/// What fits a line is written in one.
const LONGEST_LINE: usize = 128;

/// Writes a mapping as a block, each line behind so many blanks.
pub(super) fn block(document: &Node, indent: usize) -> String {
    let mut text = String::new();
    write_block(document, indent, &mut text);
    text
}

fn write_block(node: &Node, indent: usize, text: &mut String) {
    let blanks = " ".repeat(indent);
    match node {
        Node::Map(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                text.push_str(&format!("{blanks}{}:", key(name)));
                write_value(value, indent + 2, indent + name.len(), text);
            }
        }
        Node::List(items) if !items.is_empty() => {
            for item in items {
                let line = flow(item);
                if is_simple(item) && indent + line.len() <= LONGEST_LINE {
                    text.push_str(&format!("{blanks}- {line}\n"));
                    continue;
                }
                let mut inner = String::new();
                write_block(item, indent + 2, &mut inner);
                let inner = inner.get(indent + 2..).unwrap_or_default();
                text.push_str(&format!("{blanks}- {inner}"));
            }
        }
        other => text.push_str(&format!("{blanks}{}\n", flow(other))),
    }
}

/// What stands behind a field's name: in its line if it is short and has no structure of its own.
fn write_value(value: &Node, indent: usize, used: usize, text: &mut String) {
    let line = flow(value);
    let structured = matches!(value, Node::Map(_) | Node::List(_));
    if !structured || is_simple(value) && used + line.len() <= LONGEST_LINE {
        text.push_str(&format!(" {line}\n"));
    } else {
        text.push('\n');
        write_block(value, indent, text);
    }
}

/// Whether it holds nothing that holds more than plain values.
fn is_simple(node: &Node) -> bool {
    let plain = |node: &Node| !matches!(node, Node::Map(_) | Node::List(_));
    let row = |node: &Node| match node {
        Node::List(items) => items.iter().all(plain),
        other => plain(other),
    };
    match node {
        Node::Map(fields) => fields.iter().all(|(_, value)| row(value)),
        other => row(other),
    }
}

fn flow(node: &Node) -> String {
    match node {
        Node::Null => "null".to_owned(),
        Node::Bool(flag) => flag.to_string(),
        // What is whole is written so; nothing here is too large for it to be exact.
        Node::Number(number) => number.to_string(),
        Node::Text(text) => quoted(text),
        Node::List(items) => {
            let items: Vec<_> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Node::Map(fields) => {
            let field = |(name, value): &(String, Node)| format!("{}: {}", key(name), flow(value));
            let fields: Vec<_> = fields.iter().map(field).collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

/// A field's name. Words that no reader of YAML takes for anything else stand as they are.
fn key(name: &str) -> String {
    const TAKEN: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    if name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(is_word)
        && !TAKEN.contains(&name)
    {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// A text as JSON writes it, which YAML reads as well.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use waykeeper::config::Node;

    use super::block;
    use crate::yaml;

    /// What the filter's documents may hold once they are checked.
    fn node() -> impl Strategy<Value = Node> {
        let text = || {
            prop_oneof![
                "[ -~]{0,12}",
                prop::sample::select(vec![
                    "n",
                    "yes",
                    "0755",
                    "1e3",
                    "~",
                    "null",
                    "a: b",
                    "#x",
                    "{{ a }}",
                    "{% a %}",
                    "- a",
                    "",
                    "&a",
                    "*a",
                    "!a",
                    "'",
                    "\"",
                    "\\",
                    "a\nb",
                    "on",
                    ".nan",
                    "0x1",
                    "1_000",
                    "2030-01-31",
                    "<<",
                    "=",
                ])
                .prop_map(str::to_owned),
            ]
        };
        let leaf = prop_oneof![
            Just(Node::Null),
            any::<bool>().prop_map(Node::Bool),
            (0_u64..1 << 53).prop_map(|whole| Node::Number(whole as f64)),
            text().prop_map(Node::Text),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Node::List),
                prop::collection::vec((text(), inner), 0..5).prop_map(Node::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_what_it_was(node in node(), indent in 0_usize..4) {
            let document = Node::Map(vec![("value".to_owned(), node)]);
            let text = block(&document, indent * 2);
            let read = yaml::parse(&text).unwrap();
            prop_assert_eq!(read.len(), 1, "{}", text);
            prop_assert_eq!(read[0].node(), document, "{}", text);
            prop_assert_eq!(read[0].doubts(), vec![], "{}", text);
        }
    }
}
