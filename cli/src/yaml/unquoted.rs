//! What stands without quotes where YAML wants them.

/// What is said of `${NAME}` between braces or brackets, if it is the `{` of one at which the reader has stopped: the character
/// with this index, in this column, both counted from 0.
pub(super) fn reference(text: &str, index: usize, column: usize) -> Option<String> {
    let mut around = text.chars().skip(index.checked_sub(1)?);
    let stopped_in = (around.next()?, around.next()?);
    (stopped_in == ('$', '{')).then(|| {
        format!(
            "column {column}: between braces or brackets what holds ${{…}} needs quotes, as in {{url: \"${{NAME}}\"}}: its {{ would \
             begin a mapping"
        )
    })
}
