//! A sequence of bytes that is looked for, one byte after the other, so that it does not matter where pieces end (Knuth, Morris,
//! Pratt: of each beginning of it, the longest that also ends there).

#[derive(Debug, Clone)]
pub(super) struct Needle {
    bytes: Vec<u8>,
    /// For each length of a beginning: the length of a shorter one that it ends with.
    shorter: Vec<usize>,
    /// How many bytes of it have come.
    come: usize,
}

impl Needle {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let mut needle = Self {
            shorter: vec![0],
            bytes: Vec::with_capacity(bytes.len()),
            come: 0,
        };
        for byte in bytes {
            let is_first = needle.bytes.is_empty();
            if !is_first {
                needle.step(byte);
            }
            needle.bytes.push(byte);
            needle.shorter.push(if is_first { 0 } else { needle.come });
        }
        needle.come = 0;
        needle
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.come == 0
    }

    pub(super) fn restart(&mut self) {
        self.come = 0;
    }

    /// The byte that would go on with it.
    pub(super) fn next(&self) -> Option<u8> {
        self.bytes.get(self.come).copied()
    }

    /// One more byte: true if all of it has come then, and it begins anew.
    pub(super) fn read(&mut self, byte: u8) -> bool {
        self.step(byte);
        let is_all = self.come == self.bytes.len();
        if is_all {
            self.come = 0;
        }
        is_all
    }

    fn step(&mut self, byte: u8) {
        while self.come > 0 && self.next() != Some(byte) {
            self.come = self.shorter.get(self.come).copied().unwrap_or(0);
        }
        if self.next() == Some(byte) {
            self.come += 1;
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// How many bytes come before one with which a delimiter may begin.
pub(super) fn idle(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let return_ = word ^ (ONES * u64::from(b'\r'));
        let dash = word ^ (ONES * u64::from(b'-'));
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        if (zero(return_) | zero(dash)) & (0x80 * ONES) != 0 {
            break;
        }
        rest = behind;
    }
    let begins = |byte: &u8| matches!(*byte, b'\r' | b'-');
    let last = rest.iter().position(begins).unwrap_or(rest.len());
    bytes.len() - rest.len() + last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_where_it_ends() {
        for (needle, text) in [
            ("--b", "x--b---b-b--b"),
            ("\r\n--a", "\r\r\n--a\r\n\r\n--a\r\n--\r\n--a"),
            ("----x", "-----x----x---x"),
            ("abcabd", "abcabcabdabcabd"),
            ("aa", "aaaa"),
        ] {
            let mut reader = Needle::new(needle.into());
            let mut found = Vec::new();
            for (at, byte) in text.bytes().enumerate() {
                if reader.read(byte) {
                    found.push(at + 1 - needle.len());
                }
            }
            let expected: Vec<_> = text.match_indices(needle).map(|(at, _)| at).collect();
            assert_eq!(found, expected, "{needle}");
        }
    }

    #[test]
    fn what_cannot_begin_a_delimiter_is_idle() {
        for (text, expected) in [
            ("", 0),
            ("abc", 3),
            ("0123456789\u{e9}\r", 12),
            ("x".repeat(20).as_str(), 20),
        ] {
            assert_eq!(idle(text.as_bytes()), expected);
            let with = format!("{text}-abcdefghi");
            assert_eq!(idle(with.as_bytes()), expected);
        }
    }
}
