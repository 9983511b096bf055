//! Names that readers who ignore case take for the same: Go's `encoding/json`, by Unicode's simple case folding, and many others.

/// One spelling for all those that some reader may take for `name`: also `ſ` for `s`, and the Kelvin sign for `k`.
///
/// The way down, up and down again leads all characters to one that simple folding makes equal, and some more.
pub(crate) fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars()
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
}

/// How many times as long a name may be as the one it is taken for: the Kelvin sign has three bytes.
pub(crate) const LONGER: usize = 3;

/// Whether some reader may take `name` for `wanted`, which is `folded` so.
pub(crate) fn is_same(name: &[u8], wanted: &str, folded: &str) -> bool {
    if name.is_ascii() && wanted.is_ascii() {
        return name.eq_ignore_ascii_case(wanted.as_bytes());
    }
    str::from_utf8(name).is_ok_and(|name| self::folded(name).eq(folded.chars()))
}
