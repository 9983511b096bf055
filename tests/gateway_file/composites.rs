//! Requests that are tried at one agent after the other by older Envoys, by clusters of which each attempt goes to the next.

use std::process::Command;

use crate::caller::{Answer, Caller};
use crate::eventually;
use crate::fallback::stand_in;
use crate::gateway::{Around, Gateway, free_address};
use crate::stand_in::{Came, StandIn, json};

struct Agents {
    gateway: Gateway,
    caller: Caller,
    operations: Caller,
    all: [StandIn; 3],
    _directory: tempfile::TempDir,
}

async fn start(version: &'static str) -> Agents {
    let all = [
        stand_in("first").await,
        stand_in("second").await,
        stand_in("third").await,
    ];
    let directory = tempfile::tempdir().expect("a directory");
    let [listen, operations, nobody] = [(); 3].map(|()| free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
agents:
  first: {{url: 'http://{}'}}
  second: {{url: 'http://{}', rest: {{}}}}
  third: {{url: 'http://{}'}}
  dead: {{url: 'http://{nobody}', rest: {{failures: 1, first: 1m}}}}
routes:
  - {{prefix: /busy, agents: [first], fallback: [second, third], auth_required: false}}
  - {{prefix: /stream, agents: [first], fallback: [second], streams: true, auth_required: false}}
  - {{prefix: /either, agents: [dead, {{agent: first, weight: 0}}], fallback: [first, second], auth_required: false}}
",
        all[0].address, all[1].address, all[2].address,
    );
    let around = Around {
        version: Some(version),
        more_workers: 1,
        ..Around::default()
    };
    let gateway = Gateway::start_with(directory.path(), &text, &around, operations).await;
    Agents {
        gateway,
        caller: Caller::of(listen),
        operations: Caller::of(operations),
        all,
        _directory: directory,
    }
}

impl Agents {
    async fn ask(&self, method: &str, path: &str, status: &str) -> (Answer, [Vec<Came>; 3]) {
        let size = if method == "GET" { 0 } else { 300_000 };
        let caller = self.caller.clone().with_body(vec![b'a'; size]);
        let answer = caller.send(method, path, &[("x-status", status)]).await;
        let came = [0, 1, 2].map(|agent: usize| self.all[agent].came());
        (answer.expect("an answer"), came)
    }

    async fn told(&self, method: &str, path: &str, status: &str) -> (u16, String, [usize; 3]) {
        let (answer, came) = self.ask(method, path, status).await;
        (answer.status, answer.text(), came.map(|it| it.len()))
    }

    async fn metric(&self, line: &str) -> u64 {
        let metrics = self.operations.get("/stats/prometheus", &[]).await.text();
        let mut lines = metrics.lines().filter(|it| it.starts_with(line));
        let value = lines.next().and_then(|it| it.rsplit(' ').next());
        value.map_or(0, |value| value.parse().expect("a number"))
    }
}

fn is_its_own(came: &Came, name: &str) {
    assert_eq!(came.path, "/busy/chat?a=b");
    assert_eq!(came.body.len(), 300_000);
    assert_eq!(came.header("x-waykeeper-agent"), Some(name));
    for name in [
        "x-waykeeper-further",
        "x-waykeeper-cluster",
        "x-waykeeper-kind",
    ] {
        assert_eq!(came.header(name), None, "{name}");
    }
}

async fn goes_on(version: &'static str) {
    let agents = start(version).await;
    let (answer, [first, second, third]) = agents.ask("POST", "/busy/chat?a=b", "first=429").await;
    assert_eq!((answer.status, &*answer.text()), (200, "second"));
    assert_eq!([first.len(), second.len(), third.len()], [1, 1, 0]);
    is_its_own(&first[0], "first");
    is_its_own(&second[0], "second");
    // Who has answered is known to the caller, to the log and in the metrics.
    assert_eq!(answer.header("x-waykeeper-agent"), Some("second"));
    let logged = agents.gateway.logged(&answer).await;
    assert_eq!(logged["attempts"], 2);
    assert!(
        logged["noted"]
            .as_str()
            .is_some_and(|noted| noted.contains("\"agent\":\"second\"")),
        "{logged}"
    );
    let allowed = "waykeeper_requests_total{route=\"/busy\",agent=\"second\",outcome=\"allowed\"}";
    assert_eq!(agents.metric(allowed).await, 1);
    let passed = "waykeeper_fallbacks_total{route=\"/busy\",agent=\"first\"}";
    assert_eq!(agents.metric(passed).await, 1);

    let (answer, [_, _, third]) = agents
        .ask("POST", "/busy/chat?a=b", "first=429,second=429")
        .await;
    assert_eq!((answer.status, &*answer.text()), (200, "third"));
    is_its_own(&third[0], "third");
    let told = |status, agent: &str, came| (status, agent.to_owned(), came);
    let all = "first=429,second=429,third=429";
    assert_eq!(
        agents.told("POST", "/busy/x", all).await,
        told(429, "third", [1, 1, 1])
    );
    assert_eq!(
        agents.told("POST", "/busy/x", "").await,
        told(200, "first", [1, 0, 0])
    );
    assert_eq!(
        agents.told("POST", "/stream/x", "first=429").await,
        told(200, "second", [1, 1, 0])
    );
    assert_eq!(
        agents.told("POST", "/busy/x", "first=500").await,
        told(500, "first", [1, 0, 0])
    );
    assert_eq!(
        agents.told("GET", "/busy/x", "first=500").await,
        told(200, "second", [1, 1, 0])
    );

    // One that refuses connections comes to rest, and the next of the list is the first then.
    let answer = eventually("the rest of the dead", || async {
        let (answer, _) = agents.ask("GET", "/either/x", "").await;
        assert_eq!((answer.status, &*answer.text()), (200, "first"));
        answer
            .header("x-waykeeper-agent")
            .is_none()
            .then_some(answer)
    })
    .await;
    assert_eq!(agents.gateway.logged(&answer).await["attempts"], 1);
    let failed = "waykeeper_agent_failures_total{agent=\"dead\",outcome=\"no_answer\"}";
    assert!(agents.metric(failed).await >= 1);
    assert_eq!(
        agents.told("GET", "/either/x", "first=500").await,
        told(200, "second", [1, 1, 0])
    );
}

#[tokio::test]
async fn envoy_1_37_tries_a_request_at_the_agents_of_a_list() {
    goes_on("1.37.0").await;
}

#[tokio::test]
async fn so_does_envoy_1_38() {
    goes_on("1.38.2").await;
}

#[tokio::test]
async fn a_request_that_returns_to_who_has_answered_goes_on_by_the_list_of_the_rule_that_takes_it()
{
    let giver = StandIn::start(|came: &Came| match came.header("x-rule") {
        Some(_) => json(429, "{}"),
        None => json(200, r#"{"id":"resp_1","object":"response"}"#),
    })
    .await;
    let (other, next) = (stand_in("other").await, stand_in("next").await);
    let directory = tempfile::tempdir().expect("a directory");
    let [listen, operations] = [(); 2].map(|()| free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
agents:
  giver: {{url: 'http://{}'}}
  other: {{url: 'http://{}'}}
  next: {{url: 'http://{}'}}
routes:
  - prefix: /v1
    auth_required: false
    sticky: [{{response: true}}]
    rules: [{{match: {{header: {{x-rule: '*'}}}}, agents: [other], fallback: [next]}}]
    agents: [giver]
",
        giver.address, other.address, next.address,
    );
    let around = Around {
        version: Some("1.38.2"),
        ..Around::default()
    };
    let _gateway = Gateway::start_with(directory.path(), &text, &around, operations).await;
    let caller = Caller::of(listen);
    let kind = ("content-type", "application/json");
    let first = caller.post("/v1/responses", &[kind], "{}").await;
    assert_eq!(first.status, 200, "{}", first.text());
    giver.came();

    let following = r#"{"previous_response_id":"resp_1"}"#;
    let headers = [kind, ("x-rule", "1")];
    let answer = caller.post("/v1/responses", &headers, following).await;
    assert_eq!((answer.status, &*answer.text()), (200, "next"));
    let came = [&giver, &other, &next].map(|it| it.came().len());
    assert_eq!(came, [1, 0, 1]);
}

/// What the tool says of a list of these agents for an Envoy of this version.
fn refused(version: &str, agents: &str, route: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("gateway.yaml");
    let text = format!(
        "listen: [{{address: '127.0.0.1:8080'}}]\nagents:\n  a: {{url: 'http://10.0.0.5:8000'}}\n{agents}\nroutes:\n  - {{prefix: /, auth_required: false, agents: [a], {route}}}\n"
    );
    std::fs::write(&file, text).expect("write");
    let told = Command::new(env!("CARGO_BIN_EXE_waykeeper"))
        .args([
            "envoy",
            "--no-validate",
            "--module",
            "/waykeeper.wasm",
            "--envoy-version",
            version,
            "--out",
        ])
        .arg(directory.path().join("out"))
        .arg(&file)
        .output()
        .expect("the tool");
    match told.status.success() {
        true => String::new(),
        false => {
            String::from_utf8_lossy(&told.stdout).into_owned()
                + &String::from_utf8_lossy(&told.stderr)
        }
    }
}

#[test]
fn what_they_cannot_do_is_refused_with_the_reason() {
    let plain = "  b: {url: 'http://10.0.0.6:8000'}";
    let behind = "fallback: [b]";
    assert_eq!(refused("1.38", plain, behind), "");
    let of_1_36 = refused("1.36", plain, behind);
    assert!(
        of_1_36.contains("tries a request at one agent only; this needs 1.37 or newer"),
        "{of_1_36}"
    );
    let b = |fields: &str| format!("  b: {{{fields}}}");
    let url = "url: 'http://10.0.0.6:8000'";
    for (agents, route, why) in [
        (
            b("url: 'https://b.example'"),
            behind,
            "over TLS it is asked by its own host",
        ),
        (
            b("url: 'http://10.0.0.6:8000/base/v1'"),
            behind,
            "its url has a path",
        ),
        (
            b(&format!("{url}, credential: {{env: OF_B}}")),
            behind,
            "it has a credential",
        ),
        (b(&format!("{url}, sees: []")), behind, "it has sees"),
        (
            b(&format!("{url}, rest: {{each_attempt: true}}")),
            behind,
            "no place for the module",
        ),
        (
            b(&format!("{url}, http2: true")),
            behind,
            "speaks one version of HTTP",
        ),
        (
            format!(
                "{plain}\n  c: {{url: 'http://10.0.0.7:8000'}}\n  d: {{url: 'http://10.0.0.8:8000'}}"
            ),
            "fallback: [b, c, d]",
            "three agents at most",
        ),
        (
            "  b: {url: 'http://10.0.0.6:8000', capabilities: [vision]}".to_owned(),
            "rules: [{match: {method: GET}, agents: [a, b], fallback: []}]",
            "by its capabilities",
        ),
    ] {
        let told = refused("1.38.2", &agents, route);
        assert!(
            told.contains(why) && told.contains("1.39 or newer can"),
            "{why}: {told}"
        );
        // A newer one can.
        assert_eq!(refused("1.39", &agents, route), "", "{why}");
    }
}
