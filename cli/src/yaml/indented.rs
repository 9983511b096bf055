//! Words for the commonest mistakes in YAML, whose reader says what it expected and not what to look at.

/// What readers say where a line stands further left or right than it was meant to.
const OF_INDENTATION: [&str; 3] = [
    "did not find expected key",
    "mapping values are not allowed in this context",
    "did not find expected '-' indicator",
];

/// What is said in place of that, if it is one of these; line and column are counted from 1.
pub(super) fn hint(text: &str, said: &str, line: usize, column: usize) -> Option<String> {
    if !OF_INDENTATION.iter().any(|it| said.contains(it)) {
        return None;
    }
    let mut above: Vec<&str> = text.lines().take(line.saturating_sub(1)).collect();
    let above = loop {
        let Some(last) = above.pop() else {
            break String::new();
        };
        let last = last.trim_start_matches([' ', '-']);
        if let Some((name, _)) = last.split_once(':').filter(|_| !last.starts_with('#')) {
            let plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.');
            if !name.is_empty() && name.len() <= 64 && name.chars().all(plain) {
                break format!(", below {name}");
            }
        }
    };
    Some(format!(
        "column {column}: look at the indentation: this line has a blank too many or too few{above}, or a text with a colon \
         needs quotes ({said})"
    ))
}
