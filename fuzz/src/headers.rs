//! Header blocks: whatever the host hands over is refused, or gives the pairs that it holds; and what is written is
//! read back.

use waykeeper::host::{HeaderBlock, encode};

use crate::input::Input;

const MOST_PAIRS: usize = 64;
/// Of a long block not every name is looked up: that would take a time of its own for each.
const LOOKED_UP: usize = 16;

/// Runs one input: as a block of the host's, then as choices of headers.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let expected = plainly(data);
    let block = HeaderBlock::from_host(data.to_vec());
    match (&block, &expected) {
        (Ok(block), Some(pairs)) => are_read(block, pairs),
        (Err(_), None) => {}
        _ => panic!("read as {block:?}, which holds {expected:?}"),
    }
    let pairs = chosen(data);
    are_read(&HeaderBlock::from_pairs(&pairs), &pairs);
}

/// The block holds these pairs, in this order, however it is asked.
fn are_read(block: &HeaderBlock, pairs: &[(Vec<u8>, Vec<u8>)]) {
    let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
    let read: Vec<_> = block.iter().map(owned).collect();
    assert_eq!(read, pairs);
    for (name, _) in pairs.iter().take(LOOKED_UP) {
        let Ok(text) = std::str::from_utf8(name) else {
            continue;
        };
        let values: Vec<_> = pairs
            .iter()
            .filter(|(other, _)| other == name)
            .map(|(_, value)| value.as_slice())
            .collect();
        assert_eq!(block.get_all(text).collect::<Vec<_>>(), values);
        assert_eq!(block.get(text), values.first().copied());
    }
    let written = encode(pairs);
    assert_eq!(plainly(&written).as_deref(), Some(pairs));
    let again = HeaderBlock::from_host(written).expect("what is written can be read");
    assert!(again.iter().map(owned).eq(pairs.iter().cloned()));
}

/// What a block holds. `None`: it is shorter than it says.
fn plainly(bytes: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let number = |at: usize| -> Option<usize> {
        let four = bytes.get(at..at + 4)?;
        Some(
            (0..4)
                .map(|index| usize::from(four[index]) << (8 * index))
                .sum(),
        )
    };
    let count = number(0)?;
    let mut at = 4 + 8 * count;
    if at > bytes.len() {
        return None;
    }
    let mut pairs = Vec::new();
    for pair in 0..count {
        let mut part = |length: usize| -> Option<Vec<u8>> {
            let part = bytes.get(at..at + length)?;
            at += length + 1;
            (at <= bytes.len()).then(|| part.to_vec())
        };
        pairs.push((part(number(4 + 8 * pair)?)?, part(number(8 + 8 * pair)?)?));
    }
    Some(pairs)
}

fn chosen(data: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut input = Input::new(data);
    let mut pairs = Vec::new();
    while !input.is_empty() && pairs.len() < MOST_PAIRS {
        let name = match input.below(4) {
            0 => input.piece(12).to_vec(),
            choice => [&b"a"[..], b"b", b"cookie"][choice - 1].to_vec(),
        };
        pairs.push((name, input.piece(40).to_vec()));
    }
    pairs
}
