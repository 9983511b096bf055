//! What may name a client, plan, team, role, agent or limit, whoever names it so.

/// What a name may hold beside letters and digits. The hyphen stands last: so it may stand in a class of a pattern.
pub const NAME_MARKS: &str = "._:@-";

/// What a name is, in words.
pub const NAME: &str = "1 to 128 of the characters A-Z a-z 0-9 . _ : @ -";

/// The longest name, in bytes.
pub const LONGEST_NAME: usize = 128;

/// Whether `text` is a name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || NAME_MARKS.as_bytes().contains(&byte);
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_travels_in_headers_labels_and_structured_fields_as_it_is() {
        let longest = "n".repeat(128);
        for name in ["a", "acme-dev", "Team_7", "a.b:c@d", longest.as_str()] {
            assert!(is_name(name), "{name}");
        }
        let longer = "n".repeat(129);
        for none in ["", "a b", "ä", "a;b", "a=b", "a,b", "a/b", longer.as_str()] {
            assert!(!is_name(none), "{none}");
        }
    }
}
