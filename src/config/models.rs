//! Where callers ask which models they may use.

use super::policy::{ModelsEndpoint, Route};
use super::reader::Spot;
use super::{paths, served};

const MOST_NAMES: usize = 1024;

pub(super) const FIELDS: &[&str] = &["path", "more"];

/// Where callers ask for the models. Nowhere unless it is written.
#[inline(never)]
pub(super) fn models_endpoint(spot: &Spot<'_>, routes: &[Route]) -> Option<ModelsEndpoint> {
    let fields = spot.fields(FIELDS)?;
    let path = fields.get("path").and_then(|spot| {
        let path = spot.checked(paths::prefix)?;
        if path == "/" {
            spot.fault("is where all paths begin; name one of its own");
        }
        Some(path)
    });
    let mut more: Vec<String> = Vec::new();
    if let Some(spot) = fields.get("more") {
        for item in spot.nonempty_list(MOST_NAMES).into_iter().flatten() {
            let Some(name) = item.checked(served::model_name) else {
                continue;
            };
            if more.iter().any(|other| other == name) {
                item.fault("this model is already in the list");
            }
            more.push(name.to_owned());
        }
    }
    let path = path.unwrap_or(ModelsEndpoint::PATH);
    if routes.iter().any(|route| route.prefix == path) {
        spot.fault("a route has this very prefix: its agents would never be asked for it; write another path, or leave one out");
    }
    Some(ModelsEndpoint {
        path: path.to_owned(),
        more,
    })
}
