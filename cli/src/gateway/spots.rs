//! Walking over what is written of the filter's part. What is no list or no mapping the filter's reader tells.

use waykeeper::config::Spot;

/// What stands in a list, if it is one.
pub(super) fn items<'d>(spot: &'d Spot<'d>) -> impl Iterator<Item = Spot<'d>> {
    let all = spot.is_list().then(|| spot.list(usize::MAX)).flatten();
    all.into_iter().flatten()
}

/// What stands in a mapping under a name.
pub(super) fn inner<'d>(spot: &'d Spot<'d>, name: &str) -> Option<Spot<'d>> {
    let fields = spot.named(usize::MAX)?;
    fields.get(name)
}
