//! What Istio's form cannot carry, told of the file that people write.

use waykeeper::config::{Fault, Log, Node, Segment, Spot};

/// Faults, each with its place. All are collected before anything is written.
#[derive(Debug, Default)]
pub(super) struct Told(Vec<(Vec<Segment>, String)>);

// === impl Told ===

impl Told {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn fault(&mut self, place: &[Segment], message: impl Into<String>) {
        self.0.push((place.to_vec(), message.into()));
    }

    /// As faults of the file.
    pub(super) fn faults(&self, written: &Node) -> Vec<Fault> {
        let log = Log::default();
        let root = Spot::root(written, &log);
        for (place, message) in &self.0 {
            tell(&root, place, message);
        }
        let faults = log.into_faults();
        let mut faults: Vec<Fault> = faults.iter().flatten().cloned().collect();
        faults.sort_by(|left, right| left.positions.cmp(&right.positions));
        faults
    }
}

/// Tells it where it stands, or of what stands around it where that is written in another way.
fn tell(spot: &Spot<'_>, place: &[Segment], message: &str) {
    match place.split_first() {
        Some((Segment::Field(name), rest)) if spot.is_map() => {
            let fields = spot.named(usize::MAX);
            match fields.as_ref().and_then(|fields| fields.get(name)) {
                Some(inner) => tell(&inner, rest, message),
                None => spot.fault(message),
            }
        }
        Some((Segment::Item(index), rest)) => {
            let item = spot
                .list(usize::MAX)
                .and_then(|mut items| items.nth(*index));
            match item {
                Some(inner) => tell(&inner, rest, message),
                None => spot.fault(message),
            }
        }
        _ => spot.fault(message),
    }
}
