//! What Envoy's own configuration carries and Istio's form does not yet, beside what belongs to single clusters.

use waykeeper::config::{Node, Segment};

use super::Told;
use crate::gateway::{Checked, fallback};

pub(super) fn uncarried(written: &Node, checked: &Checked, told: &mut Told) {
    for agent in &checked.policy.agents {
        let place = ["agents", &agent.name, "rest", "each_attempt"];
        // Where a fallback has it set, that one is told of.
        let is_written = stands(written, &place);
        if is_written && agent.rest.is_some_and(|rest| rest.each_attempt) {
            told.fault(
                &place.map(|name| Segment::Field(name.to_owned())),
                "is not carried to Istio yet: there an agent is judged by what its callers get; in Envoy's own configuration it is",
            );
        }
    }
    for (index, route) in checked.policy.routes.iter().enumerate() {
        if route.mirror.is_some() {
            let place = [
                Segment::Field("routes".to_owned()),
                Segment::Item(index),
                Segment::Field("mirror".to_owned()),
            ];
            told.fault(
                &place,
                "is not carried to Istio yet; in Envoy's own configuration it is",
            );
        }
    }
    for place in fallback::places(&checked.policy) {
        told.fault(
            &place,
            "is not carried to Istio yet; in Envoy's own configuration it is",
        );
    }
}

/// Whether a field stands in the file.
fn stands(written: &Node, place: &[&str]) -> bool {
    match (written, place.split_first()) {
        (_, None) => true,
        (Node::Map(fields), Some((name, rest))) => {
            let mut fields = fields.iter();
            fields.any(|(other, inner)| other == name && stands(inner, rest))
        }
        _ => false,
    }
}
