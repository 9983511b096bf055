//! The name that was meant, where one is written that nobody knows.

/// `; did you mean "chat-gpu"?`, or nothing where no known name is near.
pub fn did_you_mean<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> String {
    /// Longer names are not compared: the cost grows with the product of the lengths.
    const LONGEST: usize = 128;
    if name.is_empty() || name.len() > LONGEST {
        return String::new();
    }
    let lower = name.to_ascii_lowercase();
    let length = lower.chars().count();
    // A third of the letters may differ, at least one.
    let farthest = (length / 3).max(1);
    let nearest = known
        .filter(|known| {
            known.len() <= LONGEST && known.chars().count().abs_diff(length) <= farthest
        })
        .map(|known| {
            (
                strsim::osa_distance(&lower, &known.to_ascii_lowercase()),
                known,
            )
        })
        .filter(|(distance, _)| *distance <= farthest)
        .min();
    nearest.map_or_else(String::new, |(_, known)| {
        format!("; did you mean {known:?}?")
    })
}
