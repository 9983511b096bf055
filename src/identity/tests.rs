use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::policy::LimitSet;
use crate::config::{self, Log, Node, Spot};
use crate::host::CalloutAnswer;
use crate::host::simulated::{Process, SimulatedHost};

/// Any of a client's own limits, as the validator may send them.
fn own_limit() -> impl Strategy<Value = serde_json::Value> {
    let counted = prop_oneof![
        (1..1000_u64).prop_map(|burst| json!({"requests": "7/minute", "burst": burst})),
        Just(json!({"requests": "7/hour", "algorithm": "sliding_window", "warn_at": "80%"})),
        Just(
            json!({"requests": "7/month", "algorithm": "fixed_window", "utc_offset": "-03:30", "enforce": "10%"})
        ),
        Just(json!({"requests": "9/day", "scope": "fleet"})),
        (1..1000_u64).prop_map(|most| json!({"in_flight": most, "enforce": false})),
        (1..300_u64)
            .prop_map(|wait| json!({"in_flight": 3, "wait": format!("{wait}s"), "max_waiting": 9})),
    ];
    counted
}

/// Any set of them.
fn own_limits() -> impl Strategy<Value = LimitSet> {
    prop::collection::btree_map("[a-z]{9}", own_limit(), 0..4).prop_map(|limits| {
        let named = limits.into_iter().map(|(name, mut limit)| {
            limit["name"] = json!(name);
            limit
        });
        let node = Node::from(&json!({ "limits": named.collect::<Vec<_>>() }));
        let log = Log::default();
        let set = config::own_limits(&Spot::root(&node, &log)).unwrap();
        assert!(log.into_faults().is_none());
        set
    })
}

proptest! {
    #[test]
    fn a_client_is_remembered_as_it_was(
        id in "[a-z]{1,128}", plan in prop::option::of("[a-z]{1,128}"), team in prop::option::of("[a-z]{1,128}"),
        organisation in prop::option::of("[a-z]{1,128}"), roles in prop::collection::vec("[a-z]{1,128}", 0..16),
        limits in prop::option::of(own_limits()),
    ) {
        let key = KeyHash([7; 32]);
        let client = Client { id, plan_name: plan, plan: None, team, organisation, roles, limits, key: key.id() };
        prop_assert_eq!(Client::decode(&client.encode(), &key), Some(client));
    }

    #[test]
    fn any_remembered_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Client::decode(&bytes, &KeyHash([0; 32]));
    }
}

// === the validator ===

fn identity(host: &SimulatedHost, changes: serde_json::Value) -> (Identity, Policy) {
    let mut document = serde_json::json!({
        "clients": {
            "keys": [{ "sha256": hex(b"listed"), "client_id": "acme-dev", "expires": "2030-01-01T00:00:00Z" }],
            "default_plan": "standard",
            "validator": { "cluster": "auth", "path": "/validate" },
        },
        "plans": { "standard": { "requests": "1/minute" }, "premium": { "requests": "2/minute" } },
        "agents": { "a": { "cluster": "a" } },
        "routes": [{ "prefix": "/", "agents": ["a"] }],
    });
    for (name, value) in changes.as_object().unwrap() {
        document["clients"][name] = value.clone();
    }
    let policy = config::read(&document).unwrap_or_else(|faults| panic!("{faults}"));
    let (state, _) = State::open(host, policy.tables, &[]).unwrap();
    (Identity::new(&policy, &state), policy)
}

fn hex(key: &[u8]) -> String {
    KeyHash::of(key)
        .0
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn verdict(status: u16, body: impl AsRef<[u8]>) -> Result<Verdict, Failure> {
    let host = Process::default().worker();
    let (_, policy) = identity(&host, serde_json::json!({}));
    let body = body.as_ref().to_vec();
    Verdict::read(
        policy.clients.validator.as_ref().unwrap(),
        &CalloutAnswer::Response { status, body },
    )
}

/// The client that an answer of 200 names.
fn client(body: &str) -> Client {
    match verdict(200, body) {
        Ok(Verdict::Valid { client, .. }) => client,
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn statuses_that_mean_no_are_invalid_and_all_others_failures() {
    for status in [401, 403, 404] {
        assert_eq!(
            verdict(status, ""),
            Ok(Verdict::Invalid {
                lasts: Duration::from_secs(10)
            })
        );
    }
    for status in [
        0, 100, 201, 202, 204, 206, 301, 302, 304, 400, 429, 500, 503, 504,
    ] {
        assert_eq!(
            verdict(status, r#"{"client_id":"acme"}"#),
            Err(Failure::Status(status))
        );
    }
}

#[test]
fn what_is_not_the_documented_object_is_a_failure_that_names_the_member_and_shows_no_value() {
    let long_name = format!(r#"{{"client_id":"sk-{}"}}"#, "a".repeat(126));
    let many_roles = format!(
        r#"{{"client_id":"acme","roles":[{}"sk-17"]}}"#,
        r#""r","#.repeat(16)
    );
    let deep = format!(
        r#"{{"client_id":"acme","roles":{}{}}}"#,
        "[".repeat(7_000),
        "]".repeat(7_000)
    );
    for (body, fault) in [
        // No object.
        ("", "it is not JSON: EOF while parsing"),
        ("null", "it is no JSON object"),
        ("[]", "it is no JSON object"),
        (r#"["acme"]"#, "it is no JSON object"),
        (
            r#"["acme","standard",null,["sk-1"],300]"#,
            "it is no JSON object",
        ),
        (r#"[{"client_id":"acme"}]"#, "it is no JSON object"),
        (r#""sk-1""#, "it is no JSON object"),
        ("7", "it is no JSON object"),
        ("true", "it is no JSON object"),
        // No JSON.
        ("{", "it is not JSON: EOF while parsing"),
        ("sk-1", "it is not JSON: expected value"),
        ("<html>sk-1</html>", "it is not JSON: expected value"),
        (
            "{client_id:\"acme\"}",
            "it is not JSON: key must be a string",
        ),
        (
            "{'client_id':'acme'}",
            "it is not JSON: key must be a string",
        ),
        (r#"{"client_id":"acme",}"#, "it is not JSON: trailing comma"),
        (
            r#"{"client_id":"acme"} sk-1"#,
            "it is not JSON: trailing characters",
        ),
        (
            r#"{"client_id":"acme"}{"client_id":"acme"}"#,
            "it is not JSON: trailing characters",
        ),
        (
            "{\"client_id\":\"acme\"}\0",
            "it is not JSON: trailing characters",
        ),
        (
            "\u{feff}{\"client_id\":\"acme\"}",
            "it is not JSON: expected value",
        ),
        (
            "{\"client_id\":\"ac\nme\"}",
            "it is not JSON: control character",
        ),
        (
            r#"{"client_id":"acme","ttl":NaN}"#,
            "it is not JSON: expected value",
        ),
        (
            r#"{"client_id":"acme","ttl":Infinity}"#,
            "it is not JSON: expected value",
        ),
        (
            r#"{"client_id":"acme","ttl":+5}"#,
            "it is not JSON: expected value",
        ),
        (
            r#"{"client_id":"acme","ttl":05}"#,
            "it is not JSON: invalid number",
        ),
        (
            r#"{"client_id":"acme","ttl":5.}"#,
            "it is not JSON: invalid number",
        ),
        (
            r#"{"client_id":"acme","ttl":0x5}"#,
            "it is not JSON: expected `,` or `}`",
        ),
        (
            r#"{"client_id":"acme","ttl":1e999}"#,
            "it is not JSON: number out of range",
        ),
        (r#"{"client_id":"\ud800"}"#, "it is not JSON: "),
        (r#"{"client_id":"acme","x":[1,]}"#, "it is not JSON: "),
        (
            r#"{"client_id":"acme","x":"\x"}"#,
            "it is not JSON: invalid escape",
        ),
        (&deep, "it is not JSON: recursion limit exceeded"),
        // No client.
        ("{}", "it has no client_id"),
        (r#"{"clientId":"acme"}"#, "it has no client_id"),
        (r#"{"client_id":null}"#, "it has no client_id"),
        (
            r#"{"client_id":7}"#,
            "client_id: expected a name, found a number",
        ),
        (
            r#"{"client_id":true}"#,
            "client_id: expected a name, found a boolean",
        ),
        (
            r#"{"client_id":["sk-1"]}"#,
            "client_id: expected a name, found an array",
        ),
        (
            r#"{"client_id":{"id":"sk-1"}}"#,
            "client_id: expected a name, found an object",
        ),
        (r#"{"client_id":""}"#, "client_id: a string that is no name"),
        (
            r#"{"client_id":"sk-1 b"}"#,
            "client_id: a string that is no name",
        ),
        (
            r#"{"client_id":"sk-1\nb"}"#,
            "client_id: a string that is no name",
        ),
        (
            r#"{"client_id":"sk-1\u0000"}"#,
            "client_id: a string that is no name",
        ),
        (
            r#"{"client_id":"sk-ä"}"#,
            "client_id: a string that is no name",
        ),
        (&long_name, "client_id: a string that is no name"),
        // Other members.
        (
            r#"{"client_id":"acme","plan":""}"#,
            "plan: a string that is no name",
        ),
        (
            r#"{"client_id":"acme","plan":7}"#,
            "plan: expected a name, found a number",
        ),
        (
            r#"{"client_id":"acme","plan":{"sk-1":1}}"#,
            "plan: expected a name, found an object",
        ),
        (
            r#"{"client_id":"acme","team":"sk-1;"}"#,
            "team: a string that is no name",
        ),
        (
            r#"{"client_id":"acme","team":false}"#,
            "team: expected a name, found a boolean",
        ),
        (
            r#"{"client_id":"acme","roles":"sk-1"}"#,
            "roles: expected an array of names, found a string",
        ),
        (
            r#"{"client_id":"acme","roles":{"sk-1":true}}"#,
            "roles: expected an array of names, found an object",
        ),
        (
            r#"{"client_id":"acme","roles":["a","sk-1,b"]}"#,
            "roles[1]: a string that is no name",
        ),
        (
            r#"{"client_id":"acme","roles":["a","b",null]}"#,
            "roles[2]: expected a name, found null",
        ),
        (
            r#"{"client_id":"acme","roles":[7]}"#,
            "roles[0]: expected a name, found a number",
        ),
        (
            r#"{"client_id":"acme","roles":[["sk-1"]]}"#,
            "roles[0]: expected a name, found an array",
        ),
        (&many_roles, "roles: 17 of them; at most 16 are believed"),
        (
            r#"{"client_id":"acme","ttl":-1}"#,
            "ttl: expected a whole number of seconds from 0, found another number",
        ),
        (
            r#"{"client_id":"acme","ttl":1.5}"#,
            "ttl: expected a whole number of seconds from 0, found another number",
        ),
        (
            r#"{"client_id":"acme","ttl":1e-1}"#,
            "ttl: expected a whole number of seconds from 0, found another number",
        ),
        (
            r#"{"client_id":"acme","ttl":"sk-1"}"#,
            "ttl: expected a whole number of seconds from 0, found a string",
        ),
        (
            r#"{"client_id":"acme","ttl":"300"}"#,
            "ttl: expected a whole number of seconds from 0, found a string",
        ),
        (
            r#"{"client_id":"acme","ttl":true}"#,
            "ttl: expected a whole number of seconds from 0, found a boolean",
        ),
        // Members that come twice.
        (
            r#"{"client_id":"acme","client_id":"acme"}"#,
            "client_id: written twice",
        ),
        (
            r#"{"client_id":"acme","client\u005fid":"sk-1"}"#,
            "client_id: written twice",
        ),
        (
            r#"{"client_id":"acme","plan":"a","plan":null}"#,
            "plan: written twice",
        ),
        (
            r#"{"client_id":"acme","team":null,"team":"a"}"#,
            "team: written twice",
        ),
        (
            r#"{"client_id":"acme","roles":[],"roles":["admin"]}"#,
            "roles: written twice",
        ),
        (
            r#"{"client_id":"acme","ttl":1,"x":2,"ttl":1}"#,
            "ttl: written twice",
        ),
    ] {
        let told = match verdict(200, body) {
            Err(failure @ Failure::Answer(_)) => failure.to_string(),
            other => panic!("{body:.80}: {other:?}"),
        };
        assert!(told.contains(fault), "{body:.80}: {told}");
        assert!(!told.contains("sk-"), "{body:.80}: {told}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_no_answer_wherever_they_stand() {
    for body in [
        &b"\xff\xfe{\"client_id\":\"acme\"}"[..],
        b"{\"client_id\":\"ac\xffme\"}",
        b"{\"client_id\":\"acme\",\"unknown\":\"\xff\"}",
        b"{\"client_id\":\"acme\",\"\xff\":1}",
    ] {
        let told = verdict(200, body).unwrap_err().to_string();
        assert_eq!(told, "its answer is not believed: it is not UTF-8");
    }
}

#[test]
fn an_answer_is_read_up_to_its_greatest_size() {
    let of_size = |size: usize| {
        let (head, tail) = (r#"{"client_id":"acme","x":""#, r#""}"#);
        format!("{head}{}{tail}", "x".repeat(size - head.len() - tail.len()))
    };
    assert!(verdict(200, of_size(MAX_ANSWER_BYTES)).is_ok());
    assert_eq!(
        verdict(200, of_size(MAX_ANSWER_BYTES + 1)),
        Err(Failure::NoAnswer)
    );
}

#[test]
fn what_nobody_documented_is_passed_over_and_null_is_as_good_as_nothing() {
    let plain = client(r#"{"client_id":"acme"}"#);
    let deep = format!(
        r#"{{"client_id":"acme","x":{}{}}}"#,
        "[".repeat(8_000),
        "]".repeat(8_000)
    );
    for body in [
        r#"{"client_id":"acme","plan":null,"team":null,"roles":null,"ttl":null}"#,
        r#"{"client_id":"acme","roles":[]}"#,
        r#"{"x":1,"client_id":"acme","x":{"client_id":"other"},"x":[1e999,"\ud800"],"":null}"#,
        r#" {"client\u005fid" : "\u0061cme" } "#,
        "\r\n\t{\"client_id\":\"acme\"}\n",
        &deep,
    ] {
        assert_eq!(client(body), plain, "{body:.80}");
    }
}

#[test]
fn a_whole_answer_is_taken_over() {
    let body =
        r#"{"client_id":"acme","plan":"premium","team":"blue","roles":["dev","ops:eu"],"ttl":60}"#;
    let told = Client {
        id: "acme".to_owned(),
        plan_name: Some("premium".to_owned()),
        plan: None,
        team: Some("blue".to_owned()),
        roles: vec!["dev".to_owned(), "ops:eu".to_owned()],
        ..Client::default()
    };
    assert_eq!(client(body), told);
}

#[test]
fn ttl_is_obeyed_up_to_a_day() {
    let lasts = |body: &str| match verdict(200, body) {
        Ok(Verdict::Valid { lasts, .. }) => Some(lasts.as_secs()),
        _ => None,
    };
    assert_eq!(lasts(r#"{"client_id":"acme"}"#), Some(300));
    assert_eq!(lasts(r#"{"client_id":"acme","ttl":5}"#), Some(5));
    assert_eq!(lasts(r#"{"client_id":"acme","ttl":0}"#), Some(0));
    for huge in ["99999999999", "18446744073709551616", "1e300", "86400.0"] {
        let body = format!(r#"{{"client_id":"acme","ttl":{huge}}}"#);
        assert_eq!(lasts(&body), Some(86_400), "{huge}");
    }
    // However a whole number is written.
    for (written, seconds) in [
        ("300.0", 300),
        ("3e2", 300),
        ("30E+1", 300),
        ("0.0", 0),
        ("-0", 0),
    ] {
        let body = format!(r#"{{"client_id":"acme","ttl":{written}}}"#);
        assert_eq!(lasts(&body), Some(seconds), "{written}");
    }
}

proptest! {
    /// An answer is believed exactly if each of its members is what the documentation says.
    #[test]
    fn an_answer_is_believed_if_it_is_as_documented_and_only_then(
        members in prop::collection::vec((member_name(), member_value()), 0..6),
    ) {
        let written: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("{}:{value}", serde_json::json!(name)))
            .collect();
        let body = format!("{{{}}}", written.join(","));

        let values = |wanted: &str| -> Vec<&serde_json::Value> {
            members.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value).collect()
        };
        let is_plain = |value: &serde_json::Value| {
            value.as_str().is_some_and(|text| ["acme", "premium", "a:b", "300"].contains(&text))
        };
        let optional = |name: &str, fits: &dyn Fn(&serde_json::Value) -> bool| match values(name)[..] {
            [] => true,
            [value] => value.is_null() || fits(value),
            _ => false,
        };
        let documented = matches!(values("client_id")[..], [value] if is_plain(value))
            && optional("plan", &is_plain)
            && optional("team", &is_plain)
            && optional("roles", &|value| value.as_array().is_some_and(|roles| roles.iter().all(is_plain)))
            && optional("ttl", &|value| value.as_f64().is_some_and(|ttl| ttl >= 0.0 && ttl.trunc() == ttl));
        prop_assert_eq!(verdict(200, &body).is_ok(), documented, "{}", body);
    }

    #[test]
    fn any_bytes_are_answered(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = verdict(200, body);
    }
}

fn member_name() -> impl Strategy<Value = String> {
    let names = [
        "client_id",
        "client_id",
        "client_id",
        "plan",
        "team",
        "roles",
        "ttl",
        "unknown",
        "Plan",
    ];
    prop::sample::select(names.to_vec()).prop_map(str::to_owned)
}

fn member_value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let text = prop::sample::select(vec!["acme", "premium", "a:b", "", "a b", "a,b", "300"])
        .prop_map(Value::from);
    let leaf = prop_oneof![
        6 => text,
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        2 => prop::sample::select(vec![json!(0), json!(300), json!(300.0), json!(1.5), json!(-1), json!(u64::MAX)]),
    ];
    leaf.clone().prop_recursive(2, 8, 3, move |inner| {
        prop_oneof![
            3 => prop::collection::vec(leaf.clone(), 0..3).prop_map(Value::from),
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            1 => prop::collection::btree_map("client_id|plan|x", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

// === what is known ===

fn learn(host: &SimulatedHost, identity: &Identity, key: &[u8], verdict: Verdict) -> Knowledge {
    let (knowledge, remembered) = identity.learn(host, &KeyHash::of(key), verdict, host.now());
    remembered.unwrap();
    knowledge
}

fn valid(plan: Option<&str>, seconds: u64) -> Verdict {
    let client = Client {
        id: "acme".to_owned(),
        plan_name: plan.map(str::to_owned),
        ..Client::default()
    };
    Verdict::Valid {
        client,
        lasts: Duration::from_secs(seconds),
    }
}

fn known(identity: &Identity, host: &SimulatedHost, key: &str) -> Knowledge {
    let credential = Credential::read(key.as_bytes()).unwrap();
    identity.look_up(host, &credential, host.now())
}

fn plan_of(knowledge: &Knowledge) -> Option<PlanId> {
    match knowledge {
        Knowledge::Client(client) => client.plan,
        _ => None,
    }
}

#[test]
fn what_one_worker_learned_every_worker_knows_until_it_expires() {
    let process = Process::default();
    let (one, other) = (process.worker(), process.worker());
    let (identity, _) = identity(&one, serde_json::json!({}));
    let knowledge = learn(&one, &identity, b"k", valid(Some("premium"), 300));
    assert_eq!(known(&identity, &other, "k"), knowledge);
    process.pass(Duration::from_secs(300));
    assert_eq!(known(&identity, &other, "k"), Knowledge::Unknown);
}

#[test]
fn a_clock_that_is_set_back_keeps_no_key_alive() {
    let process = Process::default();
    let host = process.worker();
    let (identity, _) = identity(&host, serde_json::json!({}));
    learn(&host, &identity, b"k", valid(Some("premium"), 300));
    // Also known to the worker itself for a moment.
    assert!(matches!(known(&identity, &host, "k"), Knowledge::Client(_)));
    process.set_back(Duration::from_secs(86_400));
    assert_eq!(known(&identity, &host, "k"), Knowledge::Unknown);
}

#[test]
fn a_listed_key_needs_no_memory_and_expires_when_it_says() {
    let process = Process::default();
    let host = process.worker();
    let (identity, _) = identity(&host, serde_json::json!({}));
    let look = |host: &SimulatedHost| known(&identity, host, "listed");
    assert!(matches!(look(&host), Knowledge::Client(client) if client.id == "acme-dev"));
    process.pass(Duration::from_secs(7 * 365 * 86_400));
    assert_eq!(look(&host), Knowledge::Expired);
}

#[test]
fn a_plan_nobody_knows_is_refused_or_becomes_the_default() {
    let host = Process::default().worker();
    let (strict, _) = identity(&host, serde_json::json!({}));
    let unknown = Knowledge::UnknownPlan("gold".to_owned());
    assert_eq!(
        learn(&host, &strict, b"k", valid(Some("gold"), 300)),
        unknown
    );
    assert_eq!(known(&strict, &host, "k"), unknown);
    let (lenient, policy) = identity(&host, serde_json::json!({ "unknown_plan": "default" }));
    let knowledge = known(&lenient, &host, "k");
    assert_eq!(plan_of(&knowledge), policy.clients.default_plan);
}

#[test]
fn a_client_without_a_plan_has_the_default_one() {
    let host = Process::default().worker();
    let (identity, policy) = identity(&host, serde_json::json!({}));
    let knowledge = learn(&host, &identity, b"k", valid(None, 300));
    assert_eq!(plan_of(&knowledge), policy.clients.default_plan);
    assert!(plan_of(&knowledge).is_some());
}

#[test]
fn another_validator_is_asked_anew() {
    let host = Process::default().worker();
    let (first, _) = identity(&host, serde_json::json!({}));
    learn(&host, &first, b"k", valid(None, 300));
    let (second, _) = identity(
        &host,
        serde_json::json!({ "validator": { "cluster": "other", "path": "/validate" } }),
    );
    assert_eq!(known(&second, &host, "k"), Knowledge::Unknown);
}

#[test]
fn an_answer_that_lasts_no_time_is_not_remembered() {
    let host = Process::default().worker();
    let (identity, _) = identity(&host, serde_json::json!({}));
    assert!(matches!(
        learn(&host, &identity, b"k", valid(None, 0)),
        Knowledge::Client(_)
    ));
    assert_eq!(known(&identity, &host, "k"), Knowledge::Unknown);
}

#[test]
fn a_key_just_seen_is_known_without_shared_state_for_a_second_and_not_beyond_its_answer() {
    for (lasts, seconds_known) in [(300, 1), (0, 0)] {
        let process = Process::default();
        let host = process.worker();
        let (identity, _) = identity(&host, serde_json::json!({}));
        learn(&host, &identity, b"k", valid(None, lasts));
        known(&identity, &host, "k");
        // Another process shares nothing with this one but the clock's reading.
        let elsewhere = Process::default();
        let look = || {
            matches!(
                known(&identity, &elsewhere.worker(), "k"),
                Knowledge::Client(_)
            )
        };
        assert_eq!(look(), seconds_known > 0);
        elsewhere.pass(Duration::from_millis(999));
        assert_eq!(look(), seconds_known > 0);
        elsewhere.pass(Duration::from_millis(1));
        assert!(!look());
    }
}

#[test]
fn another_generation_knows_nothing_of_what_was_remembered_under_the_last_whatever_else_is_undone()
{
    let host = Process::default().worker();
    let validator = |path: &str, remember: serde_json::Value| {
        let validator =
            serde_json::json!({ "cluster": "auth", "path": path, "remember": remember });
        identity(&host, serde_json::json!({ "validator": validator })).0
    };
    let first = validator("/validate", serde_json::json!({}));
    learn(&host, &first, b"k", valid(None, 300));
    let known = |identity: Identity| known(&identity, &host, "k") != Knowledge::Unknown;

    // One is the generation that is not written, and what is written as a double is the same number.
    assert!(known(validator(
        "/validate",
        serde_json::json!({ "generation": 1 })
    )));
    assert!(known(validator(
        "/validate",
        serde_json::json!({ "generation": 1.0 })
    )));
    for path in ["/validate", "/validate?after=leak", "/validate"] {
        assert!(
            !known(validator(path, serde_json::json!({ "generation": 2 }))),
            "{path}"
        );
    }
    let greatest = 9_007_199_254_740_991_u64;
    assert!(!known(validator(
        "/validate",
        serde_json::json!({ "generation": greatest })
    )));
}

#[test]
fn what_was_said_of_a_key_is_believed_whichever_number_the_validators_cluster_has() {
    let host = Process::default().worker();
    let validator = |cluster: &str| {
        let validator =
            serde_json::json!({ "cluster": cluster, "path": "/validate", "host": "auth" });
        identity(&host, serde_json::json!({ "validator": validator })).0
    };
    let known = |cluster: &str| known(&validator(cluster), &host, "k") != Knowledge::Unknown;

    learn(
        &host,
        &validator("waykeeper/validator"),
        b"k",
        valid(None, 300),
    );
    assert!(known("waykeeper/validator~2"));
    assert!(!known("waykeeper/validators~2"));

    // Others are called as their operators like, and each is another.
    learn(&host, &validator("auth~eu"), b"k", valid(None, 300));
    assert!(!known("auth~us"));
    assert!(!known("auth"));
}

#[test]
fn what_was_said_under_one_host_is_not_believed_under_another() {
    let host = Process::default().worker();
    let validator = |name: &str| {
        let validator = serde_json::json!({ "cluster": "auth", "path": "/validate", "host": name });
        identity(&host, serde_json::json!({ "validator": validator })).0
    };
    learn(&host, &validator("auth"), b"k", valid(None, 300));
    let known = |identity: Identity| known(&identity, &host, "k") != Knowledge::Unknown;

    let unwritten = serde_json::json!({"validator": {"cluster": "auth", "path": "/validate"}});
    assert!(known(identity(&host, unwritten).0));
    assert!(!known(validator("auth.example.com")));
}

#[test]
fn a_key_just_seen_is_not_taken_for_another_on_the_same_slot() {
    let host = Process::default().worker();
    let (identity, _) = identity(&host, serde_json::json!({}));
    for number in 0..5_000 {
        let key = format!("k{number}");
        let client = Client {
            id: key.clone(),
            ..Client::default()
        };
        let lasts = Duration::from_secs(300);
        learn(
            &host,
            &identity,
            key.as_bytes(),
            Verdict::Valid { client, lasts },
        );
        known(&identity, &host, &key);
    }
    for number in 0..5_000 {
        let key = format!("k{number}");
        if let Knowledge::Client(client) = known(&identity, &host, &key) {
            assert_eq!(client.id, key);
        }
    }
}
