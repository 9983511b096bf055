//! Agents under Istio behave as they do under plain Envoy: what keeps requests together, what is done to them, and what agents
//! are shown.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::caller::{Answer, Caller};
use crate::certificates::Authority;
use crate::front::Front;
use crate::gateway::{Gateway, agent, free_address};
use crate::replica::Replica;
use crate::sessions::{begin, go_on, goes_on};
use crate::sticky::{CLIENTS, answers, by_header, share};
use crate::under_istio::{Pod, serve, served, write, write_in};
use crate::{eventually, schema};

/// An address of nobody's, which stands for this machine in what is written for Istio.
const HERE: &str = "10.1.2.3";

#[tokio::test]
async fn requests_that_have_something_in_common_go_to_one_endpoint_under_istio() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two, three) = (agent("one").await, agent("two").await, agent("three").await);
    let all = [&one, &two, &three];
    let [a, b, c] = all.map(|agent| agent.address().port());
    let (listen, operations) = (free_address(), free_address());
    let places =
        format!("endpoints: ['http://{HERE}:{a}', 'http://{HERE}:{b}', 'http://{HERE}:{c}']");
    let names = ["ring", "maglev", "cookie", "query", "client"];
    let routes =
        |name: &str| format!("  - {{prefix: /{name}, agents: [{name}], auth_required: false}}\n");
    let text = format!(
        "listen: [{{address: '0.0.0.0:8080'}}]
{CLIENTS}
agents:
  ring: {{{places}, sticky: {{header: X-Thread}}, balance: ring_hash}}
  maglev: {{{places}, sticky: {{header: x-thread}}}}
  cookie: {{{places}, sticky: {{cookie: thread}}, balance: maglev}}
  query: {{{places}, sticky: {{query: thread}}}}
  client: {{{places}, sticky: {{client: true}}}}
routes:
  - {{prefix: /ws, agents: [ring], protocol: websocket, prefix_rewrite: /api/v1/chat/ws, auth_required: false}}
  - {{prefix: /sse, agents: [ring], protocol: sse, auth_required: false}}
{}",
        names.map(routes).concat()
    );
    let plain = text
        .replace(
            "'0.0.0.0:8080'}]",
            &format!("'{listen}'}}]\noperations: '{operations}'"),
        )
        .replace(HERE, "127.0.0.1");
    let beside = tempfile::tempdir().expect("a directory");
    let _plain_gateway = Gateway::start(beside.path(), &plain, "", operations).await;
    let plain = Caller::of(listen);

    for form in [&[][..], &["--gateway-api"]] {
        let manifests = write(directory.path(), &text, form);
        for rule in manifests.of_kind("DestinationRule") {
            schema::check(rule).unwrap_or_else(|error| panic!("{error} in {rule}"));
            // Or each zone's gateways would choose another endpoint.
            let zones = &rule["spec"]["trafficPolicy"]["loadBalancer"]["localityLbSetting"];
            assert_eq!(zones["enabled"], false, "{rule}");
        }
        let (_gateway, caller) = served(directory.path(), &manifests).await;
        // To the endpoint that plain Envoy chooses: gateways of both kinds may stand side by side.
        let cookie = |value| {
            let cookie = format!("a=b; thread={value}");
            ("/cookie".to_owned(), Some(("cookie", cookie)))
        };
        let query = |value| (format!("/query?a=b&thread={value}"), None);
        let ring = answers(&caller, 0..60, by_header("/ring")).await;
        assert_eq!(ring, answers(&plain, 0..60, by_header("/ring")).await);
        let maglev = answers(&caller, 0..60, by_header("/maglev")).await;
        assert_eq!(maglev, answers(&plain, 0..60, by_header("/maglev")).await);
        assert_eq!(
            answers(&caller, 0..20, cookie).await,
            answers(&plain, 0..20, cookie).await
        );
        assert_eq!(
            answers(&caller, 0..20, query).await,
            answers(&plain, 0..20, query).await
        );
        for agent in all {
            for answers in [&ring, &maglev] {
                let share = share(answers, agent.name());
                assert!((10..=60).contains(&share), "{} {answers:?}", agent.name());
            }
        }
        for key in ["key-of-acme", "key-of-acme-2", "key-of-other", ""] {
            let sent: &[_] = if key.is_empty() {
                &[]
            } else {
                &[("x-api-key", key)]
            };
            let there = plain.get("/client", sent).await.agent();
            for _ in 0..3 {
                assert_eq!(caller.get("/client", sent).await.agent(), there, "{key}");
            }
        }
        // The hash is nobody's to choose, and no agent's to see.
        let mut agents = BTreeSet::new();
        for _ in 0..40 {
            let answer = caller.get("/ring", &[("x-waykeeper-hash", "1")]).await;
            agents.insert(answer.agent());
        }
        assert_eq!(agents.len(), 3, "{agents:?}");
        for path in names {
            let answer = caller.get(&format!("/{path}"), &[("x-thread", "1")]).await;
            let arrived = &answer.json()["headers"];
            assert_eq!(arrived["x-waykeeper-agent"][0], path, "{arrived}");
            assert!(arrived.get("x-waykeeper-hash").is_none(), "{arrived}");
        }
        // The same on routes of every kind.
        for value in 0..6 {
            let thread = format!("thread {value}");
            let streamed = caller.get("/sse", &[("x-thread", &thread)]).await;
            assert_eq!(streamed.agent(), ring[&value]);
            let there = all.iter().find(|agent| agent.name() == ring[&value]);
            let there = there.expect("an agent");
            let before = there.stats().total;
            let mut request = format!("ws://{}/ws", caller.address)
                .into_client_request()
                .expect("a request");
            let headers = request.headers_mut();
            headers.insert("x-thread", thread.parse().expect("a value"));
            let (_socket, handshake) = tokio_tungstenite::connect_async(request)
                .await
                .expect("a WebSocket");
            assert_eq!(handshake.status(), 101);
            assert_eq!(there.stats().total, before + 1);
        }
    }
}

/// What the agent has got in a header.
fn got(answer: &Answer, name: &str) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["headers"][name].clone()
}

#[tokio::test]
async fn a_credential_gets_to_its_agent_and_nowhere_else_under_istio() {
    let one = agent("one").await;
    let port = one.address().port();
    let agents = [
        ("filed", "file: /run/secrets/kept"),
        ("late", "file: /run/secrets/late"),
        ("variable", "env: SECRET_OF_A_VARIABLE"),
        ("unset", "env: NOT_IN_THE_SECRET"),
        (
            "worded",
            "env: SECRET_OF_A_VARIABLE, header: x-token, scheme: Token",
        ),
        (
            "named:so@x",
            "file: /var/secrets/kept.too, header: X-Service-Key",
        ),
        ("callers", "caller: X-Provider-Key"),
    ];
    let service = |name: &str| name.replace([':', '@'], "-");
    let credential = |(name, fields): &(&str, &str)| {
        let service = service(name);
        format!("  '{name}': {{url: 'http://{service}:{port}', credential: {{{fields}}}}}\n")
    };
    let route = |name: &str| {
        format!(
            "  - {{prefix: /{}, agents: ['{name}'], auth_required: false, retry: {{max_attempts: 3, retry_on: [503]}}}}\n",
            service(name)
        )
    };
    let text = format!(
        "listen: [{{address: '0.0.0.0:8080', cors: {{origins: ['https://app.example']}}}}]
agents:
  plain: {{url: 'http://plain:{port}'}}
{}routes:
{}{}",
        agents.iter().map(credential).collect::<String>(),
        agents
            .iter()
            .map(|(name, _)| route(name))
            .collect::<String>(),
        route("plain"),
    );
    let sent = [
        ("x-provider-key", "secret-of-the-caller"),
        ("api-key", "another-of-the-callers"),
        ("openai-project", "p"),
    ];
    let oldest = ["--envoy-version", "1.36"];
    for (form, version) in [
        (&["--gateway-api"][..], None),
        (&[], Some("1.37.0")),
        (&oldest, Some("1.36.4")),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let secret = ["--credentials-secret", "providers"];
        let manifests = write(directory.path(), &text, &[&secret, form].concat());
        for manifest in manifests.iter() {
            let version = manifest["apiVersion"].as_str().unwrap_or_default();
            if !version.starts_with("gateway.networking.k8s.io/") {
                schema::check(manifest).unwrap_or_else(|error| panic!("{error} in {manifest}"));
            }
        }
        let mut entries = vec![
            ("kept", "secret-of-a-file\n"),
            ("kept.too", "secret-of-a-file\n"),
            ("SECRET_OF_A_VARIABLE", "secret-of-the-environment"),
        ];
        let pod = Pod::new(directory.path(), &manifests, &entries);
        // Though some are missing, Envoy starts.
        let (gateway, caller) = serve(directory.path(), &manifests, &pod, &[], version).await;
        let ask = |path: &'static str| caller.get(path, &sent);
        for (path, header, value) in [
            ("/filed", "authorization", "Bearer secret-of-a-file"),
            (
                "/variable",
                "authorization",
                "Bearer secret-of-the-environment",
            ),
            ("/named-so-x", "x-service-key", "secret-of-a-file"),
            ("/worded", "x-token", "Token secret-of-the-environment"),
            ("/callers", "authorization", "Bearer secret-of-the-caller"),
        ] {
            let answer = ask(path).await;
            assert_eq!(got(&answer, header), json!([value]), "{path}");
            for other in ["x-provider-key", "api-key"] {
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

        // It is there in the next attempt too, and once.
        for (path, id) in [("/callers", "again"), ("/filed", "once more")] {
            let failing = [sent[0], ("x-demo-fail-first", "2"), ("x-demo-id", id)];
            let answer = caller.get(path, &failing).await;
            let shown = got(&answer, "authorization");
            assert!(
                shown[0]
                    .as_str()
                    .is_some_and(|it| it.starts_with("Bearer secret-of-")),
                "{shown}"
            );
        }

        // What the gateway lacks is not the caller's fault; what the caller lacks is.
        for path in ["/late", "/unset"] {
            let answer = ask(path).await;
            assert_eq!(answer.status, 503, "{path}: {answer:?}");
            assert_eq!(answer.json()["error"]["code"], "agent_unreachable");
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        let answer = caller.get("/callers", &[]).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (401, &json!("missing_credential"))
        );

        // Another takes its place without a restart, and so does one that comes late. (Envoy 1.36 looks for that once.)
        entries[0].1 = "secret-that-is-new";
        entries.push(("late", "secret-that-is-late\r\n\n"));
        pod.change(&entries);
        let late = ("/late", "Bearer secret-that-is-late");
        let late = (version != Some("1.36.4")).then_some(late);
        for (path, value) in late
            .into_iter()
            .chain([("/filed", "Bearer secret-that-is-new")])
        {
            eventually(value, || async {
                let answer = ask(path).await;
                let shown = answer.status == 200 && got(&answer, "authorization") == json!([value]);
                shown.then_some(())
            })
            .await;
        }
        // One that is none is refused in the same words.
        for none in ["", " \n", "a\nx-other: b"] {
            entries[0].1 = none;
            pod.change(&entries);
            eventually("one that is none", || async {
                let answer = ask("/filed").await;
                if answer.status == 200 {
                    return None;
                }
                assert_eq!(answer.json()["error"]["code"], "agent_unreachable");
                Some(())
            })
            .await;
            entries[0].1 = "secret-that-is-new";
            pod.change(&entries);
            eventually("one that is good", || async {
                (ask("/filed").await.status == 200).then_some(())
            })
            .await;
        }

        // Pages may send the caller's own.
        let preflight = [
            ("origin", "https://app.example"),
            ("access-control-request-method", "POST"),
        ];
        let allowed = caller.send("OPTIONS", "/callers", &preflight).await;
        let allowed = allowed.expect("an answer");
        let headers = allowed.header("access-control-allow-headers");
        assert!(
            headers.is_some_and(|it| it.ends_with(", x-provider-key")),
            "{headers:?}"
        );

        // Nothing of it stands in what Envoy shows of itself.
        let dump = Caller::of(gateway.admin)
            .get("/config_dump", &[])
            .await
            .text();
        assert!(dump.contains("credential_injector"), "{dump}");
        for secret in ["secret-of", "secret-that"] {
            assert!(!dump.contains(secret), "{secret}");
        }
    }
}

#[tokio::test]
async fn a_session_stays_where_it_was_named_under_istio() {
    const SESSION: &str = "mcp-session-id";
    const KEY_OF_FILE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
    const KEY_OF_VARIABLE: &str =
        "2222222222222222222222222222222222222222222222222222222222222222";
    let acme = ("x-api-key", "key-of-acme");
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "authority");
    let (one, two) = (Replica::start("one").await, Replica::start("two").await);
    let [a, b] = [one.address, two.address].map(|address| address.port());
    let secure = authority.sign("secure.example");
    let front = Front::of(one.address, secure.server(&["http/1.1"])).await;
    let key_file = directory.path().join("session-key");
    std::fs::write(&key_file, format!("{KEY_OF_FILE}\n")).expect("write");
    // The tool looks whether it is a key, and writes it nowhere.
    let keys = |first: &str, second: &str| format!("sessions: {{keys: [{first}, {second}]}}\n");
    let of_file = format!("{{file: {}}}", key_file.display());
    let places = format!("endpoints: ['http://{HERE}:{a}', 'http://{HERE}:{b}']");
    let mcp = "sticky: {header: mcp-session-id}, balance: round_robin";
    let rest = format!(
        "listen: [{{address: '0.0.0.0:8080'}}]
{CLIENTS}
agents:
  tools: {{{places}, {mcp}}}
  twin: {{{places}, sticky: {{header: mcp-session-id}}}}
  named: {{{places}, sticky: {{header: X-Thread, named_by: agent}}}}
  hosted: {{provider: vllm, url: 'http://vllm:{a}/tools/v1', {mcp}}}
  secure: {{url: 'https://secure.example:{}', tls: {{ca: {}}}, http2: false, {mcp}}}
  plain: {{{places}}}
routes:
  - {{prefix: /tools, agents: [tools]}}
  - {{prefix: /open, agents: [tools], auth_required: false}}
  - {{prefix: /sse, agents: [tools], protocol: sse}}
  - {{prefix: /twin, agents: [twin]}}
  - {{prefix: /named, agents: [named]}}
  - {{prefix: /plain, agents: [plain]}}
  - {{prefix: /secure, agents: [secure]}}
  - {{prefix: /v1/hosted, agents: [hosted]}}
",
        front.port(),
        authority.file.display(),
    );
    // Two gateways with the same keys, the other one first; one in each form, one on the oldest Envoy.
    let oldest = ["--envoy-version", "1.36"];
    let mut gateways = Vec::new();
    for (form, version, keys) in [
        (
            &["--gateway-api"][..],
            None,
            keys(&of_file, "{env: SESSION_KEY}"),
        ),
        (
            &oldest,
            Some("1.36.4"),
            keys("{env: SESSION_KEY}", &of_file),
        ),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let secrets = [
            "--files-secret",
            "files",
            "--credentials-secret",
            "providers",
        ];
        let text = format!("{keys}{rest}");
        let environment = [("SESSION_KEY", KEY_OF_VARIABLE)];
        let manifests = write_in(
            directory.path(),
            &text,
            &[&secrets, form].concat(),
            &environment,
        );
        for manifest in manifests.iter() {
            let written = manifest.to_string();
            assert!(
                ![KEY_OF_FILE, KEY_OF_VARIABLE]
                    .iter()
                    .any(|key| written.contains(key)),
                "{written}"
            );
        }
        let entries = [
            (
                "session-key",
                "1111111111111111111111111111111111111111111111111111111111111111\n",
            ),
            environment[0],
        ];
        let pod = Pod::new(directory.path(), &manifests, &entries);
        let (gateway, caller) = serve(directory.path(), &manifests, &pod, &[], version).await;
        gateways.push((directory, gateway, caller));
    }
    let [(_, gateway, first), (_, _, second)] = &gateways[..] else {
        panic!("two gateways");
    };

    let mut replicas = BTreeSet::new();
    for _ in 0..6 {
        let session = begin(first, "/tools", &[acme], SESSION).await;
        goes_on(first, "/tools", &[acme], SESSION, &session).await;
        goes_on(first, "/sse", &[acme], SESSION, &session).await;
        goes_on(
            second,
            "/tools",
            &[("x-api-key", "key-of-acme-2")],
            SESSION,
            &session,
        )
        .await;
        replicas.insert(session.replica);
    }
    assert_eq!(replicas.len(), 2);
    for (path, key, header) in [
        ("/secure", &[acme][..], SESSION),
        ("/v1/hosted", &[acme], SESSION),
        ("/named", &[acme], "x-thread"),
        ("/open", &[], SESSION),
    ] {
        for caller in [first, second] {
            let session = begin(caller, path, key, header).await;
            goes_on(first, path, key, header, &session).await;
        }
    }
    // What was not named to this client by this agent reaches nobody.
    let session = begin(first, "/tools", &[acme], SESSION).await;
    let other = ("x-api-key", "key-of-other");
    let before = (one.total(), two.total());
    for (path, sent) in [
        ("/tools", &[other, (SESSION, &*session.sealed)][..]),
        ("/open", &[(SESSION, &session.sealed)]),
        ("/twin", &[acme, (SESSION, &session.sealed)]),
        ("/secure", &[acme, (SESSION, &session.sealed)]),
        ("/tools", &[acme, (SESSION, "forged")]),
    ] {
        let refused = go_on(first, "GET", path, sent).await;
        assert_eq!(refused.status, 404, "{path} {refused:?}");
        assert_eq!(refused.json()["error"]["code"], "unknown_session");
    }
    assert_eq!((one.total(), two.total()), before);
    // Where sessions are not kept together nothing is changed.
    let answer = go_on(first, "POST", "/plain", &[acme]).await;
    assert_eq!(answer.header(SESSION), answer.json()["session"].as_str());
    // Nor does Envoy show a key.
    let dump = Caller::of(gateway.admin)
        .get("/config_dump", &[])
        .await
        .text();
    assert!(
        dump.contains("WAYKEEPER_SESSION_KEY_1") && !dump.contains(KEY_OF_FILE),
        "{dump}"
    );
}
