//! Members of bodies that are looked for together: those that a route's rules name, those that its other conditions go by, and
//! what is sticky. Of two that some reader takes for one, only one can be looked for.

use super::policy::{MODEL, Route, STREAM, Sticky, TOOLS};
use super::reader::{Fields, Spot};
use super::rules::Around;
use crate::text::json::Search;

/// Tells of those of a route that cannot be looked for together.
#[inline(never)]
pub(super) fn check(fields: &Fields<'_>, route: &Route, around: &Around<'_>) {
    of_rules(fields, route, around);
    let agents = || route.all_agents().filter_map(|id| around.agents.get(id.0));
    let all = || {
        let agents = agents().filter_map(|agent| agent.sticky.as_ref());
        route.sticky.iter().chain(agents).flat_map(Sticky::ways)
    };
    let mut search = Search::new();
    let written = all().filter(|way| matches!(way, Sticky::Body(_)));
    let implied = all().filter(|way| !matches!(way, Sticky::Body(_)));
    for pointer in implied.chain(written).flat_map(Sticky::pointers) {
        // What is no pointer has been told.
        if Search::new().member(&pointer).is_ok()
            && let Err(bad) = search.member(&pointer)
        {
            let message = format!(
                "{pointer}, by which its requests are kept together, cannot be looked for: {bad}"
            );
            match fields.get("sticky") {
                Some(spot) => spot.fault(message),
                None => fields.fault(message),
            }
            return;
        }
    }
}

fn of_rules(fields: &Fields<'_>, route: &Route, around: &Around<'_>) {
    let Some(rules) = fields.get("rules") else {
        return;
    };
    let conditions = || route.rules.iter().map(|rule| &rule.conditions);
    let mut agents = route.all_agents().filter_map(|id| around.agents.get(id.0));
    let mut search = Search::new();
    let mut imply = |pointers: &[&str]| {
        for pointer in pointers {
            let _ = search.member(pointer);
        }
    };
    if agents.any(|agent| !agent.models.is_empty()) || conditions().any(|it| !it.models.is_empty())
    {
        imply(&[MODEL]);
    }
    if conditions().any(|it| it.tools.is_some()) {
        imply(&TOOLS);
    }
    if conditions().any(|it| it.stream.is_some()) {
        imply(&[STREAM]);
    }
    for (_, rule) in rules.inside() {
        each(&rule, "match", |conditions| {
            each(conditions, "body", |body| {
                for (pointer, spot) in body.inside() {
                    if Search::new().member(pointer).is_ok()
                        && let Err(bad) = search.member(pointer)
                    {
                        spot.fault(bad.to_string());
                    }
                }
            });
        });
    }
}

fn each(spot: &Spot<'_>, name: &str, mut found: impl FnMut(&Spot<'_>)) {
    for (other, inner) in spot.inside() {
        if other == name {
            found(&inner);
        }
    }
}
