//! When an agent rests.

use serde_json::{Value, json};

use super::{described, object};

pub(super) fn of_agent() -> Value {
    json!({"rest": described("rest", "When it gets no requests for a while, as it fails. Never unless written; {} takes what is usual.")})
}

pub(super) fn rest() -> Value {
    let properties = json!({
        "failures": {
            "description": "After so many failures in a row. 5 unless written.",
            "type": "integer", "minimum": 1, "maximum": 1000,
        },
        "error_rate": {
            "description": "When more than this have failed in ten seconds, of at least 20. 50% unless written.",
            "type": "string", "pattern": "^[0-9]{1,3}%$",
        },
        "first": described("duration", "For how long at first; it doubles each time that the agent still fails. 100ms to 24h, 10s unless written."),
        "longest": described("duration", "For how long at most, also if the agent's Retry-After says longer. 5m unless written."),
        "slow_first_token": described("duration", "An answer whose headers come later is a failure. Unless written, none is for that."),
        "on_429": {
            "description": "Whether it rests for as long as the Retry-After of its 429 says. rest unless written.",
            "enum": ["rest", "ignore"],
        },
        "each_attempt": {
            "description": "The module stands on the agent's side of Envoy too, and judges each attempt there. false unless written.",
            "type": "boolean",
        },
    });
    object(&[], properties)
}
