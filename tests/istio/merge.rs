//! Protobuf's merge, on messages written as JSON: what Istio does where a patch says `MERGE`.
//!
//! Messages merge field by field, lists append, scalars and durations replace, the entries of a map replace each other
//! whole, and a field of a `oneof` drives out its siblings. A type packed as `Any` (an object with `@type`) is opaque,
//! hence replaced, except at the top of a filter's configuration, which Istio unpacks first.
//!
//! JSON does not tell a map from a message, nor which fields share a `oneof`. The few that occur in what Istio generates
//! or in a patch of ours are listed here.

use serde_json::{Map, Value};

/// Fields that are maps.
const MAPS: [&str; 3] = [
    "typed_per_filter_config",
    "typed_extension_protocol_options",
    "filter_metadata",
];

/// Fields that exclude each other.
const ONE_OF: [&[&str]; 4] = [
    // Route.action
    &["route", "redirect", "direct_response"],
    // RouteAction.cluster_specifier
    &["cluster", "cluster_header", "weighted_clusters"],
    // HttpConnectionManager.route_specifier
    &["rds", "route_config", "scoped_routes"],
    // HttpFilter.config_type
    &["typed_config", "config_discovery"],
];

/// Merges `patch` into `target`, both of one message type.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => merge_message(target, patch),
        (Value::Array(target), Value::Array(patch)) => target.extend(patch.iter().cloned()),
        (target, patch) => *target = patch.clone(),
    }
}

/// Merges two packed messages. Istio leaves the target as it was where their types differ.
pub(crate) fn merge_any(target: &mut Value, patch: &Value) {
    if target["@type"] == patch["@type"] {
        merge(target, patch);
    }
}

fn merge_message(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        for siblings in ONE_OF.iter().filter(|group| group.contains(&name.as_str())) {
            target.retain(|field, _| field == name || !siblings.contains(&field.as_str()));
        }
        match target.get_mut(name) {
            Some(found) if MAPS.contains(&name.as_str()) => replace_entries(found, value),
            Some(found) if value.get("@type").is_none() => merge(found, value),
            _ => {
                target.insert(name.clone(), value.clone());
            }
        }
    }
}

fn replace_entries(target: &mut Value, patch: &Value) {
    if let (Value::Object(target), Value::Object(patch)) = (target, patch) {
        target.extend(patch.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut target: Value, patch: Value) -> Value {
        merge(&mut target, &patch);
        target
    }

    #[test]
    fn messages_merge_lists_append_and_scalars_replace() {
        let target = json!({"a": {"b": 1, "c": 2}, "list": [1], "time": "0s"});
        let patch = json!({"a": {"c": 3}, "list": [2], "time": "60s"});
        let expected = json!({"a": {"b": 1, "c": 3}, "list": [1, 2], "time": "60s"});
        assert_eq!(merged(target, patch), expected);
    }

    #[test]
    fn an_entry_of_a_map_replaces_the_one_before_it() {
        let target = json!({"typed_per_filter_config": {"cors": {"old": 1}, "other": {}}});
        let patch = json!({"typed_per_filter_config": {"cors": {"new": 1}}});
        let expected = json!({"typed_per_filter_config": {"cors": {"new": 1}, "other": {}}});
        assert_eq!(merged(target, patch), expected);
    }

    #[test]
    fn a_field_of_a_oneof_drives_out_its_siblings() {
        let target = json!({"name": "r", "route": {"cluster": "a", "timeout": "0s"}});
        let by_header = json!({"route": {"cluster_header": "x"}});
        assert_eq!(
            merged(target.clone(), by_header),
            json!({"name": "r", "route": {"cluster_header": "x", "timeout": "0s"}})
        );
        let direct = json!({"direct_response": {"status": 503}});
        assert_eq!(
            merged(target, direct),
            json!({"name": "r", "direct_response": {"status": 503}})
        );
    }

    #[test]
    fn a_packed_message_is_replaced_within_a_message_and_merged_at_the_top() {
        let target = json!({"@type": "t", "kept": 1, "inner": {"@type": "i", "lost": 1}});
        let patch = json!({"@type": "t", "inner": {"@type": "i", "new": 1}});
        let mut value = target.clone();
        merge_any(&mut value, &patch);
        let expected = json!({"@type": "t", "kept": 1, "inner": {"@type": "i", "new": 1}});
        assert_eq!(value, expected);

        let mut value = target.clone();
        merge_any(&mut value, &json!({"@type": "another", "kept": 2}));
        assert_eq!(value, target);
    }
}
