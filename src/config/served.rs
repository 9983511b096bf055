//! What agents say of themselves: the models that they serve, by which names, and what they can do. And names of models that stand
//! for others.

use std::collections::HashSet;

use super::document::{Node, shown};
use super::names;
use super::policy::Model;
use super::reader::{Fields, Spot};
use super::rules::pattern;
use crate::sort::sort_by;
use crate::text::pattern::Pattern;

const MOST_MODELS: usize = 1024;
const MOST_CAPABILITIES: usize = 64;
const MOST_ALIASES: usize = 4096;
/// As long as the longest names that providers give their models, and some more.
const LONGEST_MODEL: usize = 256;

pub(super) const MODEL_FIELDS: &[&str] = &["model", "as"];

pub(super) fn model_name(text: &str) -> Result<(), String> {
    let legal = |it: char| !it.is_control() && it != '*';
    if (1..=LONGEST_MODEL).contains(&text.len()) && text.chars().all(legal) {
        Ok(())
    } else {
        Err(format!(
            "{} is no model's name; it is 1 to {LONGEST_MODEL} bytes without control characters",
            shown(text)
        ))
    }
}

pub(super) fn model_pattern(spot: &Spot<'_>) -> Option<Pattern> {
    let pattern = pattern(spot)?;
    let text = match &pattern {
        Pattern::Any => return Some(pattern),
        Pattern::Exact(text) | Pattern::Prefix(text) | Pattern::Suffix(text) => text,
    };
    if let Err(fault) = model_name(text) {
        spot.fault(fault);
        return None;
    }
    Some(pattern)
}

/// The models that an agent serves.
pub(super) fn models(spot: &Spot<'_>) -> Vec<Model> {
    let mut models: Vec<Model> = Vec::new();
    for item in spot.nonempty_list(MOST_MODELS).into_iter().flatten() {
        let model = if item.is_map() {
            renamed(&item)
        } else {
            model_pattern(&item).map(|name| Model {
                name,
                sent_as: None,
            })
        };
        let Some(model) = model else { continue };
        if models.iter().any(|other| other.name == model.name) {
            item.fault("this model is already in the list");
        }
        models.push(model);
    }
    models
}

fn renamed(spot: &Spot<'_>) -> Option<Model> {
    let fields = spot.fields(MODEL_FIELDS)?;
    let name = fields.need("model").and_then(|spot| model_pattern(&spot));
    let sent_as = fields
        .need("as")
        .and_then(|spot| spot.checked(model_name).map(str::to_owned));
    let name = name?;
    if name.exact().is_none() {
        fields.fault("only one model can be sent as another; write its whole name");
    }
    Some(Model { name, sent_as })
}

/// What an agent can do, by words of the operator's.
pub(super) fn capabilities(spot: &Spot<'_>) -> Vec<String> {
    let mut capabilities: Vec<String> = Vec::new();
    for item in spot.nonempty_list(MOST_CAPABILITIES).into_iter().flatten() {
        let Some(name) = item.checked(names::name) else {
            continue;
        };
        if capabilities.iter().any(|other| other == name) {
            item.fault("this capability is already in the list");
        }
        capabilities.push(name.to_owned());
    }
    capabilities
}

/// Names of models that stand for others, and those.
pub(super) fn model_aliases(spot: Option<&Spot<'_>>) -> Vec<(String, String)> {
    let named = spot.and_then(|spot| spot.named(MOST_ALIASES));
    let mut aliases = Vec::new();
    for (alias, spot) in named.iter().flat_map(Fields::iter) {
        if let Err(fault) = model_name(alias) {
            spot.fault(fault);
            continue;
        }
        let model = spot.checked(model_name);
        aliases.extend(model.map(|model| (alias.to_owned(), model.to_owned())));
    }
    let all: HashSet<&str> = aliases.iter().map(|(alias, _)| alias.as_str()).collect();
    for (_, model) in named.iter().flat_map(Fields::iter) {
        if let Node::Text(text) = model.node()
            && all.contains(text.as_str())
        {
            model.fault(format!(
                "{} is an alias itself; write the model that it stands for",
                shown(text)
            ));
        }
    }
    sort_by(&mut aliases, |left, right| left.0.cmp(&right.0));
    aliases
}
