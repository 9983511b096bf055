//! What stands in the environment is shown by its names only.

use std::cmp::Reverse;

use waykeeper::config::Fault;

use super::{Environment, Used};

// === impl Environment ===

impl Environment {
    /// A fault that shows nothing of the environment.
    pub(in crate::gateway) fn without_values(&self, mut fault: Fault) -> Fault {
        let here = self.used.iter().filter(|used| {
            used.positions.starts_with(&fault.positions)
                || fault.positions.starts_with(&used.positions)
        });
        let here: Vec<&Used> = here.collect();
        if let Some(used) = here.first() {
            let stands_for = format!("what {} stands for", used.name);
            // Perhaps a part of it, or the same in other words.
            if let Some((before, _)) = fault.message.split_once(", found ") {
                fault.message = format!("{before}, found {stands_for}");
            } else if let Some(number) = fault.message.strip_prefix("the number ") {
                let rest = number.split_once(' ').map_or("", |(_, rest)| rest);
                fault.message = format!("{stands_for} {rest}");
            }
        }
        fault.message = self.without_quoted(&fault.message, &fault.positions);
        fault.message = self.hidden(&fault.message);
        fault
    }

    /// A text with the names of references in place of their values, also as these stand in quotes.
    pub(crate) fn hidden(&self, text: &str) -> String {
        // What is shorter stands in words.
        let values = self.used.iter().filter(|used| is_telling(&used.value));
        let forms = values.flat_map(|used| {
            let quoted = format!("{:?}", used.value.as_str());
            let quoted = quoted.trim_matches('"').to_owned();
            [used.value.to_string(), quoted].map(|form| (form, used.name.as_str()))
        });
        let mut forms: Vec<_> = forms.collect();
        // A value may begin as another one does.
        forms.sort_by_key(|(form, _)| Reverse(form.len()));
        let mut shown = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let mut found = forms.iter();
            let found = found.find_map(|(form, name)| Some((rest.strip_prefix(form)?, name)));
            rest = if let Some((behind, name)) = found {
                shown.push_str(name);
                behind
            } else {
                shown.push(first);
                rest.get(first.len_utf8()..).unwrap_or_default()
            };
        }
        shown
    }

    /// A message about what stands there, with such names in place of whatever in quotes shows a value or a part of one.
    fn without_quoted(&self, message: &str, there: &[usize]) -> String {
        let mut shown = String::new();
        let mut rest = message;
        while let Some((before, quote)) = rest.split_once('"') {
            let (inner, behind) = split_quote(quote);
            let bare = unescaped(inner).to_lowercase();
            let is_cut = behind.is_some_and(|behind| behind.starts_with('…'));
            let mut used = self.used.iter();
            let used = used.find(|used| used.is_shown_by(&bare, is_cut, there));
            let inner = used.map_or(inner, |used| used.name.as_str());
            shown.extend([before, "\"", inner]);
            let Some(behind) = behind else {
                return shown;
            };
            shown.push('"');
            rest = behind;
        }
        shown + rest
    }
}

// === impl Used ===

impl Used {
    /// Whether what a message about what stands `there` has in quotes shows the value, or a part of it; in lower case.
    fn is_shown_by(&self, quoted: &str, is_cut: bool, there: &[usize]) -> bool {
        let value = self.value.to_lowercase();
        if quoted.is_empty() || value.is_empty() {
            return false;
        }
        let shows_all = is_telling(&value) && quoted.contains(&value);
        let is_all = quoted == value;
        let is_part = self.text.contains(quoted)
            && !self.literal.iter().any(|literal| literal.contains(quoted));
        let is_here = there.starts_with(&self.positions);
        let is_around = self.positions.starts_with(there) && is_telling(quoted);
        let is_of_it = is_here || self.positions.starts_with(there);
        shows_all || is_all && is_of_it || is_part && (is_here || is_around || is_cut)
    }
}

/// Whether a text is long enough to be no part of any word.
fn is_telling(text: &str) -> bool {
    text.len() > 3
}

/// What stands in front of the quote that ends this, and behind it, if there is one.
fn split_quote(text: &str) -> (&str, Option<&str>) {
    let mut is_escaped = false;
    for (at, it) in text.char_indices() {
        match it {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => {
                let (inner, quote) = text.split_at_checked(at).unwrap_or((text, ""));
                return (inner, quote.strip_prefix('"'));
            }
            _ => {}
        }
    }
    (text, None)
}

/// What a message shows in quotes, as it was before it was put there.
fn unescaped(text: &str) -> String {
    let mut bare = String::new();
    let mut rest = text;
    while let Some((before, escaped)) = rest.split_once('\\') {
        bare.push_str(before);
        let mut characters = escaped.chars();
        let first = characters.next();
        rest = characters.as_str();
        match first {
            Some('n') => bare.push('\n'),
            Some('r') => bare.push('\r'),
            Some('t') => bare.push('\t'),
            Some('0') => bare.push('\0'),
            Some('u') => {
                let inner = rest.strip_prefix('{').and_then(|it| it.split_once('}'));
                let number = inner.and_then(|(digits, _)| u32::from_str_radix(digits, 16).ok());
                bare.extend(number.and_then(char::from_u32));
                rest = inner.map_or(rest, |(_, behind)| behind);
            }
            other => bare.extend(other),
        }
    }
    bare + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use waykeeper::config::Fault;

    use super::super::resolve;
    use super::{split_quote, unescaped};
    use crate::yaml;

    /// What is shown of a fault at `a`, which is written so while X and Y are these.
    fn shown(written: &str, x: &str, y: &str, message: &str) -> String {
        let document = yaml::parse(&format!("{{a: '{written}', b: 1}}"))
            .unwrap()
            .remove(0);
        let held = |name: &str| match name {
            "X" => Some(x.into()),
            "Y" => Some(y.into()),
            _ => None,
        };
        let (_, environment) = resolve(&document, &held);
        let fault = Fault {
            path: Vec::new(),
            positions: vec![0],
            message: message.to_owned(),
        };
        environment.without_values(fault).message
    }

    #[test]
    fn a_value_with_quotes_is_hidden_as_any_other() {
        let url = "https://api.example.com/SECRET\"TOKEN";
        let of = |text: &str| format!("{text:?} is no such thing");
        let hidden = "\"${X}\" is no such thing";
        for part in [url, "SECRET\"TOKEN", "api.example.com", "T\"T", "TOKEN"] {
            let told = shown("${X}", url, "", &of(part));
            assert!(!told.contains("TOKEN") && !told.contains("api"), "{told}");
        }
        assert_eq!(shown("${X}", url, "", &of("SECRET\"TOKEN")), hidden);
        // What is cut, what has controls, and what is about another value.
        let cut = format!("{:?}… is no such thing", &url[..30]);
        assert_eq!(shown("${X}", url, "", &cut), "\"${X}\"… is no such thing");
        assert_eq!(shown("${X}", "a\u{1}\\b", "", &of("a\u{1}\\b")), hidden);
        let elsewhere = shown("x${Y}", url, "se\"cret", &of("se\"cret"));
        assert_eq!(elsewhere, "\"${Y}\" is no such thing");
        assert_eq!(
            shown(
                "${X}${Y}",
                "secret",
                "secret-and-more",
                "cannot read secret-and-more"
            ),
            "cannot read ${Y}"
        );
    }

    #[test]
    fn what_a_value_does_not_stand_in_is_shown_as_it_is() {
        let message = "is longer than \"10m\", such as \"1s\"; did you mean \"first\"?";
        assert_eq!(shown("${X}", "1", "", message), message);
        assert_eq!(
            shown("a:1${X}", "1", "", "\"1\" is none"),
            "\"${X}\" is none"
        );
        let message = "\"part\" stands twice in \"a part\"";
        assert_eq!(shown("a part ${X}", "s", "", message), message);
        assert_eq!(
            shown("x${X}y", "1", "", "\"x1y\" is none"),
            "\"${X}\" is none"
        );
    }

    proptest! {
        #[test]
        fn quotes_end_where_they_do(inner in any::<String>(), behind in any::<String>()) {
            let text = format!("{inner:?}{behind}");
            let (quoted, rest) = split_quote(&text[1..]);
            prop_assert_eq!(unescaped(quoted), inner);
            prop_assert_eq!(rest, Some(behind.as_str()));
        }
    }
}
