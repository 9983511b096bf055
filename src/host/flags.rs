//! The flags that Envoy gives its own answers.

/// Those that say that no host of the agent is known, healthy or free, or that the connection to it failed: as the access log
/// writes them, and their bits in the property `response.flags`. `local_reply_config` names the same.
const UNREACHED: [(&str, u32); 9] = [
    ("UH", 1),
    ("LR", 3),
    ("UR", 4),
    ("UF", 5),
    ("UC", 6),
    ("UO", 7),
    ("URX", 15),
    ("NC", 24),
    ("DF", 26),
];

/// True if one of these flags stands in `response.flags`.
pub(super) fn is_unreached(flags: u64) -> bool {
    UNREACHED.iter().any(|(_, bit)| flags >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_those_of_the_reference() {
        let reference = include_str!("../../envoy/envoy.yaml");
        let (_, flags) = reference
            .split_once("response_flag_filter: {flags: [")
            .expect("a filter by flags");
        let (flags, _) = flags.split_once(']').expect("the end of a list");
        let mut named: Vec<_> = flags.split(", ").collect();
        let mut known: Vec<_> = UNREACHED.iter().map(|(flag, _)| *flag).collect();
        named.sort_unstable();
        known.sort_unstable();
        assert_eq!(named, known);
    }

    #[test]
    fn one_of_them_is_enough() {
        assert!(!is_unreached(0));
        assert!(!is_unreached(1 << 2), "UT");
        assert!(is_unreached(1 << 5 | 1 << 15));
        assert!(is_unreached(1 << 26 | 1 << 40));
    }
}
