//! Sorting of the few. The standard library's sorts are made for millions, and come to some ten kilobytes of code for each
//! type that is sorted; what is sorted here has a thousand entries at most, mostly in order already.

use std::cmp::Ordering;

/// Sorts by insertion; what is equal keeps its order.
pub(crate) fn sort_by<T>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    for end in 1..items.len() {
        let mut at = end;
        while let Some([left, right]) = at.checked_sub(1).and_then(|left| items.get(left..=at))
            && compare(left, right) == Ordering::Greater
        {
            items.swap(at - 1, at);
            at -= 1;
        }
    }
}

/// Sorts by a key; what is equal keeps its order.
pub(crate) fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(items, |left, right| key(left).cmp(&key(right)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_sorts_as_the_standard_library_does(mut items: Vec<(u8, u8)>) {
            let mut expected = items.clone();
            expected.sort_by_key(|item| item.0);
            sort_by_key(&mut items, |item| item.0);
            prop_assert_eq!(items, expected);
        }
    }
}
