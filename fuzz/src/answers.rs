//! Answers of the validator: only the documented object in an answer of status 200 lets anybody in, as whom it says and for
//! as long as it says; anything else is remembered for nobody.
//!
//! The first two bytes of an input are the status, in tens and ones that a seed can spell: `2`, `0` is 200 and `4`,
//! `1` is 401. The rest is the body.

use std::time::Duration;

use serde_json::json;
use waykeeper::host::{CalloutAnswer, StreamId};

use crate::input::Input;
use crate::json::{Json, has_half_a_pair, read, whole};
use crate::worker::{Outcome, Worker, World, header, headers, policy};

const LARGEST: usize = 16 * 1024;
/// Deeper than this, readers may give up.
const DEEP: usize = 100;
const DAY: u64 = 86_400;
const VALID: u64 = 300;
const INVALID: u64 = 10;
const NANOSECONDS: u64 = 1_000_000_000;

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    client: String,
    plan: Option<String>,
    team: Option<String>,
    roles: Vec<String>,
    seconds: u64,
}

/// Runs one input.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let digits = [input.byte(), input.byte()].map(|byte| u16::from(byte.wrapping_sub(b'0')));
    let status = digits[0] * 100 + digits[1];
    let body = input.rest().to_vec();
    let shown = String::from_utf8_lossy(&body).into_owned();
    let (said, vague) = match status {
        200 => strictly(&body),
        _ => (None, false),
    };

    let world = World::new();
    let mut worker = world.worker(&policy(&document()));
    let first = ask(&mut worker).expect("nobody knows the key yet");
    worker.answer(first, &CalloutAnswer::Response { status, body });
    let outcome = worker.waited(StreamId(1));
    let seen = worker.host.seen(StreamId(1));
    worker.end(StreamId(1));

    let seconds = match (outcome, &said) {
        (Outcome::Forwarded, Some(said)) => {
            let told = |name| {
                header(&seen.request, name).map(|value| String::from_utf8_lossy(value).into_owned())
            };
            let plan = if said.plan.as_deref() == Some("premium") {
                "premium"
            } else {
                "standard"
            };
            assert_eq!(
                told("x-waykeeper-client").as_ref(),
                Some(&said.client),
                "{shown}"
            );
            assert_eq!(told("x-waykeeper-plan").as_deref(), Some(plan), "{shown}");
            assert_eq!(told("x-waykeeper-team"), said.team, "{shown}");
            let roles = told("x-waykeeper-roles").unwrap_or_default();
            assert_eq!(roles, said.roles.join(","), "{shown}");
            said.seconds
        }
        (Outcome::Refused(code), _) if [401, 403, 404].contains(&status) => {
            assert_eq!(code, "invalid_key", "{status}: {shown}");
            INVALID
        }
        (Outcome::Refused(code), said) => {
            assert!(
                said.is_none() || vague,
                "{status}: {shown} is refused, and says {said:?}"
            );
            assert_eq!(code, "validator_unavailable", "{status}: {shown}");
            0
        }
        // As a double the number may be whole.
        (Outcome::Forwarded, None) if vague => 0,
        (outcome, said) => panic!("{status}: {shown}: {outcome:?}, and the answer says {said:?}"),
    };
    if !vague {
        lasts(&world, &mut worker, seconds, &shown);
    }
}

/// The answer counts until the last moment of its time, and no longer.
fn lasts(world: &World, worker: &mut Worker, seconds: u64, shown: &str) {
    if let Some(last) = (seconds * NANOSECONDS).checked_sub(1) {
        world.pass(last);
        assert!(
            ask(worker).is_none(),
            "{shown}: forgotten before its {seconds} s"
        );
        worker.end(StreamId(1));
        world.pass(1);
    }
    assert!(
        ask(worker).is_some(),
        "{shown}: remembered for longer than {seconds} s"
    );
}

/// A request with the key. What comes back is the callout that asks about it, if there is one.
fn ask(worker: &mut Worker) -> Option<waykeeper::host::CalloutId> {
    let request = headers(&[(":method", "GET"), (":path", "/"), ("x-api-key", "k")]);
    worker.request(StreamId(1), request, true);
    worker.callouts().first().map(|callout| callout.id)
}

fn document() -> serde_json::Value {
    let seconds = |seconds: u64| format!("{}s", Duration::from_secs(seconds).as_secs());
    json!({
        "clients": {
            "default_plan": "standard",
            "unknown_plan": "default",
            "validator": {
                "cluster": "auth", "path": "/validate",
                "remember": { "valid": seconds(VALID), "invalid": seconds(INVALID) },
            },
        },
        "plans": { "standard": { "requests": "1000000/second" }, "premium": { "requests": "1000000/second" } },
        "agents": { "a": { "cluster": "a" } },
        "routes": [{ "prefix": "/", "agents": ["a"] }],
        "tables": { "keys": 1024, "counters": 1024 },
    })
}

// === the contract, read strictly ===

/// What a body says. In the second place: whether a reader may also give up on it.
fn strictly(body: &[u8]) -> (Option<Said>, bool) {
    if body.len() > LARGEST {
        return (None, false);
    }
    match read(body) {
        Some((Json::Object(members), deepest)) => {
            let mut vague = deepest > DEEP;
            let said = object(&members, &mut vague);
            (said, vague)
        }
        _ => (None, false),
    }
}

fn object(members: &[(Option<String>, Json)], vague: &mut bool) -> Option<Said> {
    // Half a surrogate pair in what is ignored harms nobody, and may be refused as well.
    *vague |= members
        .iter()
        .any(|(name, value)| name.is_none() || has_half_a_pair(value));
    let member = |name: &str| -> Option<Option<&Json>> {
        let mut found = members
            .iter()
            .filter(|(other, _)| other.as_deref() == Some(name))
            .map(|(_, value)| value);
        let first = found.next().filter(|value| **value != Json::Null);
        // Twice is a failure, be it null.
        (members
            .iter()
            .filter(|(other, _)| other.as_deref() == Some(name))
            .count()
            < 2)
        .then_some(first)
    };
    let optional = |name: &str| -> Option<Option<String>> {
        member(name)?.map_or(Some(None), |value| self::name(value).map(Some))
    };
    let roles = match member("roles")? {
        None => Vec::new(),
        Some(Json::List(roles)) if roles.len() <= 16 => {
            roles.iter().map(name).collect::<Option<_>>()?
        }
        Some(_) => return None,
    };
    let seconds = match member("ttl")? {
        None => VALID,
        Some(Json::Number(written)) => {
            let (seconds, unclear) = whole(written);
            *vague |= unclear;
            seconds?.min(DAY)
        }
        Some(_) => return None,
    };
    Some(Said {
        client: name(member("client_id")??)?,
        plan: optional("plan")?,
        team: optional("team")?,
        roles,
        seconds,
    })
}

fn name(value: &Json) -> Option<String> {
    let Json::Text(Some(text)) = value else {
        return None;
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
    ((1..=128).contains(&text.len()) && text.bytes().all(legal)).then(|| text.clone())
}
