//! What operators do without: fields that tell callers, headers that tell agents.

use serde_json::json;

use super::*;

const NAMES: [(&str, &str); 6] = [
    ("client", "acme"),
    ("plan", "standard"),
    ("team", "blue"),
    ("roles", "dev,ops"),
    ("agent", "one"),
    ("route", "/chat"),
];

const TOLD: [&str; 5] = [
    "ratelimit-policy",
    "ratelimit",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
];

impl World {
    fn seen(agents_see: &[&str]) -> Self {
        Self::with(|document| document["agents_see"] = json!(agents_see))
    }

    fn telling(tell: &[&str]) -> Self {
        Self::with(|document| document["tell"] = json!(tell))
    }

    /// What the access log finds among the notes.
    fn note(&self, id: StreamId, name: &str) -> Option<String> {
        let notes = self.stream(id).notes;
        assert!(
            notes.iter().all(|(name, _)| name == b"waykeeper"),
            "one for all"
        );
        let (_, note) = notes.first()?;
        let note: serde_json::Value = serde_json::from_slice(note).unwrap();
        Some(note[name].as_str()?.to_owned())
    }

    fn header(&self, id: StreamId, name: &str) -> Option<String> {
        self.upstream(id, &format!("x-waykeeper-{name}"))
    }

    /// The agent answers, and this is what the caller gets.
    fn responded(&mut self, id: StreamId, response: &[(&str, &str)]) -> Vec<(String, String)> {
        self.host.respond(id, response);
        self.gateway
            .on_response_headers(id, &self.host.io(id), false);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let response = self.stream(id).response.into_iter();
        response
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }
}

#[test]
fn what_agents_are_not_to_see_is_noted_for_the_access_log_and_nothing_else_is() {
    for (hidden, _) in NAMES {
        let seen: Vec<&str> = NAMES
            .map(|(name, _)| name)
            .into_iter()
            .filter(|name| *name != hidden)
            .collect();
        let mut world = World::seen(&seen);
        world.validated(STREAM, "POST", "/chat", &[]);
        for (name, value) in NAMES {
            let (header, note) = (world.header(STREAM, name), world.note(STREAM, name));
            let value = Some(value.to_owned());
            let wanted = if name == hidden {
                (None, value)
            } else {
                (value, None)
            };
            assert_eq!((header, note), wanted, "{name} without {hidden}");
        }
        assert_eq!(
            world.header(STREAM, "cluster").as_deref(),
            Some("cluster-one")
        );
    }
}

#[test]
fn agents_that_see_nothing_get_no_header_that_a_caller_wrote_either() {
    let mut world = World::seen(&[]);
    let forged = [
        ("x-waykeeper-client", "root"),
        ("x_waykeeper_roles", "admin"),
        ("x-waykeeper-route", "/admin"),
    ];
    world.validated(STREAM, "POST", "/chat", &forged);
    let request = world.stream(STREAM).request;
    let ours: Vec<_> = request
        .iter()
        .filter(|(name, _)| name.starts_with(b"x-waykeeper") || name.starts_with(b"x_way"))
        .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
        .collect();
    assert_eq!(ours, ["x-waykeeper-cluster"]);
    assert_eq!(world.note(STREAM, "client").as_deref(), Some("acme"));
}

#[test]
fn the_access_log_is_told_who_was_refused_and_where_to() {
    let mut world = World::seen(&["plan"]);
    world.validated(STREAM, "GET", "/admin", &[]);
    assert_eq!(world.refusal(STREAM).as_deref(), Some("forbidden"));
    assert_eq!(world.note(STREAM, "client").as_deref(), Some("acme"));
    assert_eq!(world.note(STREAM, "route").as_deref(), Some("/admin"));
    assert_eq!(world.header(STREAM, "plan").as_deref(), Some("standard"));
    assert_eq!(
        (
            world.header(STREAM, "client"),
            world.header(STREAM, "route")
        ),
        (None, None)
    );
    // Nobody is named who is not known.
    world.request(StreamId(2), "POST", "/chat", &[]);
    assert_eq!(world.note(StreamId(2), "client"), None);
    assert_eq!(world.note(StreamId(2), "route").as_deref(), Some("/chat"));
}

/// Nobody who waits or is refused may be taken by an open route of Envoy's for one who is let in.
#[test]
fn only_what_goes_on_to_an_agent_has_the_proof_and_a_caller_s_own_is_none() {
    let mut world = World::with(|document| document["proof"] = json!("a-long-enough-secret"));
    let forged = [
        ("x-api-key", "secret"),
        ("x-waykeeper-proof", "forged"),
        ("x_waykeeper_proof", "forged"),
    ];
    world.request(STREAM, "POST", "/chat", &forged);
    assert_eq!(world.header(STREAM, "proof"), None, "while it waits");
    world.answer(200, ACME);
    assert_eq!(
        world.header(STREAM, "proof").as_deref(),
        Some("a-long-enough-secret")
    );
    assert_eq!(world.upstream(STREAM, "x_waykeeper_proof"), None);

    let refused = StreamId(2);
    world.validated(refused, "GET", "/admin", &forged[1..]);
    assert_eq!(world.refusal(refused).as_deref(), Some("forbidden"));
    assert_eq!(world.header(refused, "proof"), None);
}

#[test]
fn callers_are_told_what_is_chosen_and_keep_what_the_agent_says_of_the_rest() {
    for (tell, ours) in [
        (&["ratelimit", "openai"][..], &TOLD[..]),
        (&["ratelimit"], &TOLD[..2]),
        (&["openai"], &TOLD[2..]),
        (&[], &[]),
    ] {
        let mut world = World::telling(tell);
        world.validated(STREAM, "POST", "/chat", &[]);
        let theirs = TOLD.map(|name| (name, "theirs"));
        let mut response = vec![(":status", "200")];
        response.extend(theirs);
        for (name, value) in world.responded(STREAM, &response) {
            if TOLD.contains(&name.as_str()) {
                assert_eq!(
                    value != "theirs",
                    ours.contains(&name.as_str()),
                    "{tell:?}: {name}: {value}"
                );
            }
        }
        let told: Vec<_> = world
            .responded(STREAM, &[(":status", "200")])
            .into_iter()
            .map(|(name, _)| name)
            .skip(1)
            .collect();
        assert_eq!(told, ours, "{tell:?}");
    }
}

#[test]
fn whoever_is_refused_is_told_when_to_come_back_whatever_else_is_told() {
    for (tell, ours) in [(&["openai"][..], &TOLD[2..]), (&[], &[])] {
        let mut world = World::telling(tell);
        for id in 1..=4 {
            world.validated(StreamId(id), "POST", "/chat", &[]);
        }
        assert_eq!(world.refusal(StreamId(4)).as_deref(), Some("rate_limited"));
        let headers = world.stream(StreamId(4)).reply.unwrap().headers;
        assert!(
            headers.contains(&("retry-after", "1200".to_owned())),
            "{headers:?}"
        );
        let told: Vec<_> = headers
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| TOLD.contains(name))
            .collect();
        assert_eq!(told, ours);
        // The last that was let through left nothing: an agent's 503 is no call to come back before.
        let answer = [(":status", "503"), ("retry-after", "1")];
        let response = world.responded(StreamId(3), &answer);
        assert!(
            response.contains(&("retry-after".to_owned(), "1200".to_owned())),
            "{response:?}"
        );
    }
}
