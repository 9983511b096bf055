//! No two routes may take the same requests, nor the same name unless they share a prefix.

use std::collections::HashMap;

use super::document::shown;
use super::policy::Route;
use super::reader::{Fields, Spot};
use crate::text::escapes::canonical;

/// What earlier routes have taken.
#[derive(Default)]
pub(super) struct Earlier {
    /// Names, and the prefix and the place of the first route that has each.
    names: HashMap<String, (String, String)>,
    /// By their canonical spelling, in which paths are compared with them.
    prefixes: HashMap<Vec<u8>, Vec<Taken>>,
}

/// What a route has taken of its prefix.
struct Taken {
    prefix: String,
    /// `None`: all.
    methods: Option<Vec<String>>,
    by: String,
}

impl Earlier {
    /// Faults a route that takes what an earlier one has taken: a name, or requests.
    pub(super) fn check(&mut self, item: &Spot<'_>, fields: &Fields<'_>, route: &Route) {
        let place = item.place().to_string();
        let earlier = self
            .prefixes
            .entry(canonical(route.prefix.as_bytes()))
            .or_default();
        for taken in earlier.iter() {
            if taken.prefix != route.prefix {
                fields.get("prefix").unwrap_or(*item).fault(format!(
                    "{} and {} of {} are one to requests; write them the same",
                    shown(&route.prefix),
                    shown(&taken.prefix),
                    taken.by
                ));
                break;
            }
            if let Some(overlap) = overlap(taken.methods.as_deref(), route.methods.as_deref()) {
                item.fault(format!(
                    "{overlap} {} already belongs to {} (GET implies HEAD)",
                    shown(&route.prefix),
                    taken.by
                ));
                break;
            }
        }
        earlier.push(Taken {
            prefix: route.prefix.clone(),
            methods: route.methods.clone(),
            by: place.clone(),
        });

        match self.names.get(&route.name) {
            // Routes of one prefix without names of their own share the prefix as their name.
            Some((prefix, earlier_place))
                if fields.get("name").is_some() || *prefix != route.prefix =>
            {
                let at = fields.get("name").unwrap_or(*item);
                at.fault(format!(
                    "{earlier_place} is already named {}",
                    shown(&route.name)
                ));
            }
            Some(_) => {}
            None => {
                self.names
                    .insert(route.name.clone(), (route.prefix.clone(), place));
            }
        }
    }
}

/// What two lists of methods have in common, in words; `None` where they have nothing.
fn overlap(one: Option<&[String]>, other: Option<&[String]>) -> Option<String> {
    match (one, other) {
        (None, None) => Some("every method of".to_owned()),
        (None, Some(methods)) | (Some(methods), None) => Some(methods.join(", ")),
        (Some(one), Some(other)) => {
            let common: Vec<&str> = one
                .iter()
                .filter(|method| other.contains(method))
                .map(String::as_str)
                .collect();
            (!common.is_empty()).then(|| common.join(", "))
        }
    }
}
