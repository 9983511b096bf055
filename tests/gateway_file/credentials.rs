//! By what agents know the gateway and its callers: where a credential comes from, what becomes of it, and who gets to see it.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::caller::{Answer, Caller};
use crate::eventually;
use crate::gateway::{Around, Gateway, agent, free_address};
use crate::running::Running;

/// Puts a secret in its place as Kubernetes and others do.
fn put(file: &Path, secret: &[u8]) {
    let beside = file.with_extension("new");
    fs::write(&beside, secret).expect("write");
    fs::rename(&beside, file).expect("rename");
}

/// What the agent has got in a header.
fn got(answer: &Answer, name: &str) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["headers"][name].clone()
}

/// All text in the files of a directory, whose secrets stand elsewhere.
fn written(directory: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            text += &written(&path);
        } else {
            text += &String::from_utf8_lossy(&fs::read(&path).expect("read"));
        }
    }
    text
}

#[tokio::test]
async fn a_credential_gets_to_its_agent_and_nowhere_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let secrets = tempfile::tempdir().expect("a directory");
    let at = |name: &str| secrets.path().join(name);
    let one = agent("one").await;
    let [listen, operations] = [(); 2].map(|()| free_address());
    // A part of it would stand in the environment, if that were set.
    let url = format!(
        "url: 'http://${{AGENTS_ADDRESS:-127.0.0.1}}:{}'",
        one.address().port()
    );
    put(&at("kept"), b"secret-of-a-file\n");
    let agents = [
        ("filed", format!("file: {}", at("kept").display())),
        ("late", format!("file: {}", at("late").display())),
        ("lost", format!("file: {}", at("no/such/file").display())),
        ("variable", "env: SECRET_OF_A_VARIABLE".to_owned()),
        ("unset", "env: NOT_SET_ANYWHERE".to_owned()),
        (
            "named",
            format!("file: {}, header: X-Service-Key", at("kept").display()),
        ),
        (
            "worded",
            "env: SECRET_OF_A_VARIABLE, header: x-token, scheme: Token".to_owned(),
        ),
        ("callers", "caller: X-Provider-Key".to_owned()),
    ];
    let credential = |(name, fields): &(&str, String)| {
        format!("  {name}: {{{url}, credential: {{{fields}}}}}\n")
    };
    let route = |name: &str| {
        format!(
            "  - {{prefix: /{name}, agents: [{name}], auth_required: false, retry: {{max_attempts: 3, retry_on: [503]}}}}\n"
        )
    };
    let text = format!(
        "
listen: [{{address: '{listen}', cors: {{origins: ['https://app.example']}}}}]
operations: '{operations}'
agents:
  plain: {{{url}}}
{}routes:
{}{}",
        agents.iter().map(credential).collect::<String>(),
        agents
            .iter()
            .map(|(name, _)| route(name))
            .collect::<String>(),
        route("plain"),
    );
    let around = Around {
        environment: &[("SECRET_OF_A_VARIABLE", "secret-of-the-environment")],
        ..Around::default()
    };
    // Though some are missing, Envoy starts.
    let gateway = Gateway::start_with(directory.path(), &text, &around, operations).await;
    let caller = Caller::of(listen);
    let sent = [
        ("x-provider-key", "secret-of-the-caller"),
        ("api-key", "another-of-the-callers"),
        ("openai-project", "p"),
        ("proxy-authorization", "another-of-the-callers"),
    ];
    let ask = |path: &'static str| caller.get(path, &sent);

    for (path, header, value) in [
        ("/filed", "authorization", "Bearer secret-of-a-file"),
        (
            "/variable",
            "authorization",
            "Bearer secret-of-the-environment",
        ),
        ("/named", "x-service-key", "secret-of-a-file"),
        ("/worded", "x-token", "Token secret-of-the-environment"),
        ("/callers", "authorization", "Bearer secret-of-the-caller"),
    ] {
        let answer = ask(path).await;
        assert_eq!(got(&answer, header), json!([value]), "{path}");
        for other in ["x-provider-key", "api-key", "proxy-authorization"] {
            assert_eq!(got(&answer, other), json!(null), "{path}: {other}");
        }
        // Whose credential it is says which of his accounts pays.
        let project = if path == "/callers" {
            json!(["p"])
        } else {
            json!(null)
        };
        assert_eq!(got(&answer, "openai-project"), project, "{path}");
    }
    let plain = ask("/plain").await;
    assert_eq!(got(&plain, "x-provider-key"), json!(null));
    assert_eq!(got(&plain, "api-key"), json!(["another-of-the-callers"]));

    // The caller's own is there in the next attempt too.
    let failing = [sent[0], ("x-demo-fail-first", "2"), ("x-demo-id", "again")];
    let answer = caller.get("/callers", &failing).await;
    assert_eq!(
        got(&answer, "authorization"),
        json!(["Bearer secret-of-the-caller"])
    );
    assert_eq!(gateway.logged(&answer).await["attempts"], 3);

    // What the gateway lacks is not the caller's fault.
    for path in ["/late", "/lost", "/unset"] {
        let answer = ask(path).await;
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert_eq!(answer.json()["error"]["code"], "agent_unreachable");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(answer.header("request-id").is_some());
        let logged = gateway.logged(&answer).await;
        assert_eq!(logged["details"], "failed_to_inject_credential", "{logged}");
    }
    let grpc = [sent[0], ("content-type", "application/grpc")];
    let answer = caller.get("/late", &grpc).await;
    assert_eq!(
        (answer.status, answer.header("grpc-status")),
        (200, Some("14"))
    );
    // What the caller lacks is.
    let answer = caller.get("/callers", &[]).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.json()["error"]["code"], "missing_credential");
    assert_eq!(answer.json()["error"]["type"], "authentication_error");
    assert!(
        answer.text().contains("in the header x-provider-key."),
        "{answer:?}"
    );
    assert!(answer.header("www-authenticate").is_some());
    // Of several nobody can say which counts, and one that Envoy does not note is none. None of that gets to any agent.
    let long = "k".repeat(9 << 10);
    let twice = [("x-provider-key", "one"), ("X-Provider-Key", "two")];
    let (joined, too_long) = (
        [("x-provider-key", "one,one")],
        [("x-provider-key", long.as_str())],
    );
    for (caller, http) in [(caller.clone(), "1.1"), (caller.clone().http2(), "2")] {
        for (own, several) in [(&twice[..], true), (&joined, true), (&too_long, false)] {
            let answer = caller.get("/callers", own).await;
            assert_eq!(answer.status, 401, "HTTP/{http}: {answer:?}");
            assert_eq!(answer.json()["error"]["code"], "missing_credential");
            let detail = answer.json()["detail"].clone();
            let told = detail
                .as_str()
                .is_some_and(|it| it.ends_with("holds more than one."));
            assert_eq!(told, several, "HTTP/{http}: {detail}");
            let plain = caller.get("/plain", own).await;
            assert_eq!(got(&plain, "x-provider-key"), json!(null));
        }
    }
    let metrics = Caller::of(operations).get("/stats/prometheus", &[]).await;
    for (agent, outcome) in [
        ("late", "agent_unreachable"),
        ("callers", "missing_credential"),
    ] {
        let counted = metrics.text().lines().any(|line| {
            line.starts_with("waykeeper_requests_total")
                && [("agent", agent), ("outcome", outcome)]
                    .iter()
                    .all(|(name, value)| line.contains(&format!("{name}=\"{value}\"")))
        });
        assert!(counted, "{agent} {outcome}");
    }

    // Another takes its place without a restart, and so does one that comes late.
    let shown = async |path: &'static str, value: &'static str| {
        eventually(value, || async {
            let answer = ask(path).await;
            let shown = answer.status == 200 && got(&answer, "authorization") == json!([value]);
            shown.then_some(())
        })
        .await;
    };
    put(&at("kept"), b"secret-that-is-new");
    shown("/filed", "Bearer secret-that-is-new").await;
    put(&at("late"), b"secret-that-is-late\r\n\n");
    shown("/late", "Bearer secret-that-is-late").await;
    // One that is none is refused in the same words; one that is gone stays in use.
    let refused = async |secret: &'static [u8], what: &'static str| {
        put(&at("late"), secret);
        eventually(what, || async {
            let answer = ask("/late").await;
            if answer.status == 200 {
                return None;
            }
            assert_eq!(answer.json()["error"]["code"], "agent_unreachable");
            let details = gateway.logged(&answer).await["details"].clone();
            details.as_str()?.starts_with(what).then_some(())
        })
        .await;
    };
    refused(b"", "failed_to_inject_credential").await;
    refused(b"a\nx-other: b", "filter_removed_required_request_headers").await;
    put(&at("late"), b"secret-that-stays");
    shown("/late", "Bearer secret-that-stays").await;
    fs::remove_file(at("late")).expect("remove");
    assert_eq!(ask("/late").await.status, 200);

    // Pages may send it.
    let preflight = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
    ];
    let allowed = caller
        .send("OPTIONS", "/callers", &preflight)
        .await
        .expect("an answer");
    let allowed = allowed
        .header("access-control-allow-headers")
        .expect("headers");
    assert!(allowed.ends_with(", x-provider-key"), "{allowed}");

    // Nothing of it stands in what was written, in what Envoy shows of itself, or in a log.
    let dump = Caller::of(gateway.admin)
        .get("/config_dump?include_eds", &[])
        .await
        .text();
    assert!(dump.contains("credential_injector"), "{dump}");
    let all = written(directory.path());
    assert!(
        all.contains("failed_to_inject_credential"),
        "the access log"
    );
    for text in [dump, all] {
        for secret in ["secret-of", "secret-that", "another-of"] {
            let place = text.find(secret);
            let around = place.map(|at| &text[at.saturating_sub(200)..at + 20]);
            assert_eq!(around, None, "{secret}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoys_log_shows_no_key_at_any_level() {
    let directory = tempfile::tempdir().expect("a directory");
    let one = agent("one").await;
    let listen = free_address();
    let kept = directory.path().join("kept");
    put(&kept, b"secret-of-a-provider");
    let url = format!("url: 'http://{}'", one.address());
    let session = "0123456789abcdefABCDEF9876543210".repeat(2);
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
clients: {{validator: {{{url}}}}}
sessions: {{keys: ['{session}']}}
agents:
  filed: {{{url}, credential: {{file: {}}}}}
  callers: {{{url}, credential: {{caller: x-provider-key}}}}
  old: {{url: 'http://{}'}}
routes:
  - {{prefix: /filed, agents: [filed], auth_required: false}}
  - {{prefix: /callers, agents: [callers], auth_required: false}}
  - {{prefix: /asked, agents: [callers]}}
  - {{prefix: /old, agents: [old], auth_required: false}}
",
        kept.display(),
        one.address(),
    );
    // Whatever is logged at debug is at trace.
    let file = directory.path().join("gateway.yaml");
    fs::write(&file, &text).expect("write");
    let mut running = Running::launch(directory.path(), &file, &["--log-level", "trace"]);
    let begun = running.hears("is served at").await;
    let own = [("x-provider-key", "secret-of-a-callers-own")];
    for caller in [Caller::of(listen), Caller::of(listen).http2()] {
        for path in ["/filed", "/callers", "/old?api_key=secret-of-a-query"] {
            assert_eq!(caller.get(path, &own).await.status, 200, "{path}");
        }
        // Whatever the validator makes of it, it has got it.
        caller
            .get("/asked", &[("x-api-key", "secret-of-a-caller")])
            .await;
    }
    let changed = text.replace("prefix: /old", "prefix: /older");
    running.replace(&changed);
    let said = running.hears("; live in").await;
    running.signal(Signal::INT);
    assert!(running.ended().await.success());
    let said = begun + &said + &running.said();
    assert!(said.contains("envoy: trace: connection:"), "{said}");
    assert!(said.contains("envoy: debug: pool:"), "{said}");
    for secret in ["secret-of", &session] {
        let shown = said.lines().find(|line| line.contains(secret));
        assert_eq!(shown, None);
    }
}
