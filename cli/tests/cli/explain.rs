//! `waykeeper explain`: what becomes of a request is told offline.

use std::path::PathBuf;

use serde_json::Value;

use crate::{Run, waykeeper};

const GATEWAY: &str = r#"
listen: [{address: "127.0.0.1:8080"}]
proof: "the-proof-of-this-gateway"
clients:
  key_sources: [{header: x-api-key}, {query: api_key, any_request: true}]
  keys:
    - {sha256: "c018c41c1afaf2c0b66c64f97d0ee135657b699ad260f299234cd40a5d625e0e", client_id: me, plan: standard}
plans:
  standard: {requests: 50/minute}
  premium: {requests: 500/minute, burst: 100}
agents:
  gpu: {url: "http://10.0.0.5:8000", weight: 3, models: ["big-*"], price: {input: 3, output: 15}}
  cpu: {url: "http://10.0.0.6:8000", models: ["*"], capabilities: [slow], price: {input: 0, output: 0}}
  spare: {url: "http://10.0.0.7:8000", weight: 0}
limits:
  - {name: of-gpu, each: agent, match: {agent: gpu}, requests: 9/second, enforce: false}
routes:
  - prefix: /v1/chat
    name: chat
    max_scan: 1KiB
    rules:
      - {name: paying, match: {plan: premium, team: [red, blue]}, roles: [admin], agents: [gpu]}
      - {name: posted, match: {method: PUT}, agents: [gpu]}
      - {name: tiered, match: {body: {/metadata/tier: ["gold*", 7]}}, agents: [gpu], otherwise: skip}
    agents: [gpu, cpu, spare]
  - {prefix: /, agents: [cpu], methods: [GET]}
"#;

/// A directory with that file in it.
fn gateway() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.yaml");
    std::fs::write(&file, GATEWAY).unwrap();
    let file = file.display().to_string();
    (directory, file)
}

fn explain(file: &str, arguments: &[&str], input: &[u8]) -> Run {
    waykeeper(&[&["explain", file], arguments].concat(), input)
}

fn json(run: &Run) -> Value {
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    serde_json::from_str(&run.output).unwrap()
}

#[test]
fn a_request_is_explained_in_plain_words() {
    let (_directory, file) = gateway();
    let run = explain(
        &file,
        &[
            "--",
            "curl",
            "http://127.0.0.1:8080/v1/chat/completions?api_key=example-key",
            "--json",
            "{\"model\": \"big-1\"}",
        ],
        b"",
    );
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    let told = "\
POST /v1/chat/completions?api_key=… at 127.0.0.1:8080, with a body of 18 bytes
  result   goes on to one of 2 agents
  route    chat, prefix /v1/chat (routes[0])
           not /: for GET, HEAD only
  caller   me, whose key in the query's api_key is listed; plan standard
  rules    paying  passes it on: for the plan premium; the client's is standard
           posted  passes it on: for the method PUT; it is POST
           tiered  passes it on: for bodies with /metadata/tier: gold* or 7; it has no /metadata/tier
           none takes it: what chat says itself counts
  model    big-1; named in the body
  agents   gpu 75 %, cpu 25 %
           not spare: its weight is 0: it is reached by its name in x-agent only
  limits   plan    50/minute per client, counted once the agent is chosen
           of-gpu  9/second per agent, counted once the agent is chosen; if gpu answers; only counts, refuses nobody
  removed  the key in the query
to gpu
  cluster  gpu: http://10.0.0.5:8000
  path     /v1/chat/completions
  model    big-1
  told     x-waykeeper-agent: gpu
           x-waykeeper-client: me
           x-waykeeper-plan: standard
           x-waykeeper-route: chat
  Envoy    x-waykeeper-cluster: gpu
           x-waykeeper-proof: (secret)
to cpu
  cluster  cpu: http://10.0.0.6:8000
  path     /v1/chat/completions
  model    big-1
  told     x-waykeeper-agent: cpu
           x-waykeeper-client: me
           x-waykeeper-plan: standard
           x-waykeeper-route: chat
  Envoy    x-waykeeper-cluster: cpu
           x-waykeeper-proof: (secret)
";
    assert_eq!(run.output, told);
}

#[test]
fn who_calls_may_be_said_beside_the_request() {
    let (_directory, file) = gateway();
    let red = ["--client", "acme", "--plan", "premium", "--team", "red"];
    let ask = [
        "--request",
        "curl http://h/v1/chat/x --json '{\"model\": \"big-1\"}'",
        "--json",
    ];
    let refused = json(&explain(&file, &[&red[..], &ask].concat(), b""));
    assert_eq!(refused["outcome"]["code"], "forbidden");
    assert_eq!(refused["rules"][0]["verdict"], "refuses");
    let admin = json(&explain(
        &file,
        &[&red[..], &["--role", "admin"], &ask].concat(),
        b"",
    ));
    assert_eq!(admin["caller"]["known"], "told");
    assert_eq!(admin["rules"][0]["verdict"], "takes");
    assert_eq!(admin["rules"][1]["verdict"], "not_asked");
    assert_eq!(admin["agents"][0]["is_told"]["x-waykeeper-roles"], "admin");
    assert_eq!(admin["limits"][0]["amount"], "500/minute, 100 at once");

    let nobody = explain(&file, &ask[..2], b"");
    assert!(
        nobody.output.contains("refused, 401 missing_key"),
        "{}",
        nobody.output
    );
    assert!(
        nobody.output.contains("with --client NAME"),
        "{}",
        nobody.output
    );
}

#[test]
fn requests_are_read_in_every_form() {
    let (directory, file) = gateway();
    let forms: [(&[&str], &[u8]); 4] = [
        (&["--request", "-"], b"curl 'http://h/v1/chat' \\\n  -H 'x-api-key: example-key' --json '{}'"),
        (&["--raw", "-"], b"POST /v1/chat HTTP/1.1\nhost: h\nx-api-key: example-key\ncontent-type: application/json\n\n{}"),
        (
            &["--har", "-"],
            br#"{"request": {"method": "POST", "url": "http://h/v1/chat", "headers": [{"name": "x-api-key", "value": "example-key"}],
                "postData": {"mimeType": "application/json", "text": "{}"}}}"#,
        ),
        (&["--", "curl", "h/v1/chat", "-Hx-api-key:example-key", "--json", "{}"], b""),
    ];
    for (arguments, input) in forms {
        let run = explain(&file, arguments, input);
        assert_eq!((run.status, run.errors.as_str()), (0, ""), "{arguments:?}");
        let first =
            "POST /v1/chat at h, with a body of 2 bytes\n  result   goes on to one of 2 agents\n";
        assert!(
            run.output.starts_with(first),
            "{arguments:?}: {}",
            run.output
        );
        assert!(!run.output.contains("example-key"), "{}", run.output);
    }
    let of_many = directory.path().join("many.har");
    let entry = r#"{"request": {"method": "GET", "url": "http://h/NUMBER"}}"#;
    let [one, two] = ["one", "two"].map(|path| entry.replace("NUMBER", path));
    std::fs::write(
        &of_many,
        format!("{{\"log\": {{\"entries\": [{one}, {two}]}}}}"),
    )
    .unwrap();
    let of_many = of_many.display().to_string();
    let both = json(&explain(
        &file,
        &["--har", &of_many, "--client", "x", "--json"],
        b"",
    ));
    assert_eq!(both.as_array().unwrap().len(), 2);
    let second = explain(
        &file,
        &["--har", &of_many, "--entry", "2", "--client", "x"],
        b"",
    );
    assert!(
        second
            .output
            .starts_with("GET /two at h\n  result   goes on to cpu"),
        "{}",
        second.output
    );
    let third = explain(&file, &["--har", &of_many, "--entry", "3"], b"");
    assert_eq!(third.status, 2);
    assert!(
        third.errors.ends_with("has 2 requests, and no number 3\n"),
        "{}",
        third.errors
    );
}

#[test]
fn the_filters_own_document_is_explained_too() {
    let file = |name: &str| crate::repository(name).display().to_string();
    for name in ["envoy/waykeeper.yaml", "envoy/gateway.yaml"] {
        let run = explain(
            &file(name),
            &[
                "--json",
                "--",
                "curl",
                "http://h/v1/chat/completions",
                "-Hx-api-key:k",
                "--json",
                "{}",
            ],
            b"",
        );
        let told = json(&run);
        assert_eq!(told["caller"]["known"], "validator");
        assert_eq!(told["caller"]["client"], Value::Null);
        assert_eq!(told["agents"][0]["share_percent"], 70.0);
        assert_eq!(
            told["agents"][0]["is_told"]["x-waykeeper-client"],
            "(as the validator names it)"
        );
    }
}

#[test]
fn a_body_that_says_too_little_is_told_of() {
    let (_directory, file) = gateway();
    let padded = format!(
        "{{\"pad\": \"{}\", \"model\": \"big-1\"}}",
        "x".repeat(3000)
    );
    let run = explain(
        &file,
        &[
            "--client",
            "a",
            "--",
            "curl",
            "h/v1/chat",
            "--json",
            &padded,
        ],
        b"",
    );
    let told = &run.output;
    assert!(
        told.contains(
            "refused, 400 bad_body: This route chooses the agent by what the first 1024 bytes"
        ),
        "{told}"
    );
    assert!(told.contains("tiered  is skipped: "), "{told}");
}

#[test]
fn what_cannot_be_explained_is_told_in_a_line() {
    let (directory, file) = gateway();
    let key = "-Hx-api-key:example-key";
    for (arguments, told) in [
        (&[][..], "which request?"),
        (
            &["--request", "curl $URL"],
            "the request holds $ outside of single quotes, and what begins with it only a shell can replace",
        ),
        (&["--request", "curl 'h"], "a quote ' stays open"),
        (
            &["--", "curl", "h", "-T", "a"],
            "the option -T of curl is not understood here",
        ),
        (
            &["--raw", "/nowhere/at/all"],
            "/nowhere/at/all: No such file",
        ),
        (
            &["--client", "a b", "--", "curl", "h"],
            "\"a b\" is no name",
        ),
        (
            &["--client", "a", "--plan", "premum", "--", "curl", "h"],
            "no plan named \"premum\"; did you mean \"premium\"?",
        ),
        (
            &["--client", "a", "--", "curl", "h", key],
            "the key in the request is listed, as that of me",
        ),
        (&["--plan", "premium", "--", "curl", "h"], "--client"),
        (&["--raw", "x", "--har", "y"], "cannot be used with"),
        (&["--", "wget", "http://h"], "begins with curl"),
    ] {
        let run = explain(&file, arguments, b"");
        assert_eq!((run.status, run.output.as_str()), (2, ""), "{arguments:?}");
        assert!(run.errors.contains(told), "{arguments:?}: {}", run.errors);
        assert!(!run.errors.contains("example-key"), "{}", run.errors);
    }
    let bad: PathBuf = directory.path().join("bad.yaml");
    std::fs::write(
        &bad,
        GATEWAY.replace("agents: [gpu, cpu, spare]", "agents: [gpuu]"),
    )
    .unwrap();
    let run = explain(&bad.display().to_string(), &["--", "curl", "h"], b"");
    assert_eq!((run.status, run.output.as_str()), (1, ""));
    assert!(
        run.errors.contains("did you mean \"gpu\"?"),
        "{}",
        run.errors
    );
    let missing = explain("/nowhere.yaml", &["--", "curl", "h"], b"");
    assert_eq!(missing.status, 2);
}

/// The worst that a key can be mistaken for, in each way in which a request is written. What is wrong is named, and nothing is shown.
#[test]
fn no_fault_shows_anything_of_a_request() {
    let (_directory, file) = gateway();
    let secrets = [
        ("--raw", "X-Api-Key: tOpSeCrEt7\r\nHost: h\r\n\r\n"),
        ("--raw", "tOpSeCrEt7"),
        ("--raw", "GET tOpSeCrEt7 HTTP/1.1\nhost: h\n\n"),
        ("--raw", "GET tOpSeCrEt7://h/ HTTP/1.1\nhost: h\n\n"),
        ("--raw", "GET / HTTP/1.1\nhost: h\ntOpSeCrEt7\n\n"),
        (
            "--raw",
            "GET / HTTP/1.1\nhost: h\ncontent-length: tOpSeCrEt7\n\n",
        ),
        (
            "--raw",
            "{\"log\": {\"entries\": [{\"request\": {\"url\": \"tOpSeCrEt7\"}}]}}",
        ),
        ("--har", "tOpSeCrEt7"),
        (
            "--har",
            "{\"request\": {\"method\": \"GET\", \"url\": \"tOpSeCrEt7://h\"}}",
        ),
        (
            "--har",
            "{\"request\": {\"method\": \"GET\", \"url\": \"http://h\", \"headers\": \"tOpSeCrEt7\"}}",
        ),
        (
            "--har",
            "{\"request\": {\"method\": \"GET\", \"url\": \"http://h\", \"headers\": [\"tOpSeCrEt7\"]}}",
        ),
        (
            "--har",
            "{\"request\": {\"method\": \"GET\", \"url\": \"http://h\", \"postData\": \"tOpSeCrEt7\"}}",
        ),
        (
            "--har",
            "{\"request\": {\"method\": \"GET\", \"url\": {\"tOpSeCrEt7\": 1}}}",
        ),
        ("--har", "{\"request\": \"tOpSeCrEt7\"}"),
        ("--request", "curl h -d \"$tOpSeCrEt7\""),
        ("--request", "curl h --header=tOpSeCrEt7"),
        ("--request", "curl h --tOpSeCrEt7"),
        ("--request", "curl h -H tOpSeCrEt7"),
        ("--request", "curl h -d @tOpSeCrEt7"),
        ("--request", "curl h -F tOpSeCrEt7"),
        ("--request", "curl h 'x-api-key: tOpSeCrEt7'"),
        ("--request", "curl tOpSeCrEt7://h"),
        ("--request", "curl h 'tOpSeCrEt7"),
        ("--request", "tOpSeCrEt7 http://h"),
    ];
    for (way, text) in secrets {
        let run = explain(&file, &[way, "-"], text.as_bytes());
        assert_eq!((run.status, run.output.as_str()), (2, ""), "{way} {text}");
        assert!(run.errors.len() > 20, "{way} {text}: {}", run.errors);
        assert!(!run.errors.contains("tOpSeCrEt7"), "{}", run.errors);
    }
}

#[test]
fn a_websocket_goes_on_to_an_agent_with_models() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = GATEWAY.replace(
        "{prefix: /, agents: [cpu], methods: [GET]}",
        "{prefix: /ws, agents: [gpu], protocol: websocket}",
    );
    std::fs::write(file.path(), text).unwrap();
    let file = file.path().display().to_string();
    let upgrade = ["-H", "connection: upgrade", "-H", "upgrade: websocket"];
    let run = explain(
        &file,
        &[&["--client", "a", "--", "curl", "ws://h/ws"], &upgrade[..]].concat(),
        b"",
    );
    assert!(
        run.output.contains("result   goes on to gpu"),
        "{}{}",
        run.output,
        run.errors
    );
}

#[test]
fn shares_are_those_of_a_canary_and_of_what_is_kept_together() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let shares = |route: &str, headers: &[&str]| {
        let text = GATEWAY.replace("{prefix: /, agents: [cpu], methods: [GET]}", route);
        std::fs::write(file.path(), text).unwrap();
        let name = file.path().display().to_string();
        let asked = [&["--client", "a", "--json", "--", "curl", "h/x"], headers].concat();
        let told = json(&explain(&name, &asked, b""));
        let agents = told["agents"].as_array().unwrap().iter();
        let shares = agents.map(|agent| {
            format!(
                "{} {}",
                agent["name"].as_str().unwrap(),
                agent["share_percent"]
            )
        });
        shares.collect::<Vec<_>>().join(", ")
    };
    let canary =
        "{prefix: /, agents: [gpu, cpu], canary: {agent: spare, percent: 20, header: x-canary}}";
    assert_eq!(shares(canary, &[]), "spare 20.0, gpu 60.0, cpu 20.0");
    assert_eq!(shares(canary, &["-H", "x-canary: always"]), "spare 100.0");
    assert_eq!(
        shares(canary, &["-H", "x-canary: never"]),
        "gpu 75.0, cpu 25.0"
    );
    let cheapest = "{prefix: /, agents: [gpu, cpu], prefer: cheapest}";
    assert_eq!(shares(cheapest, &[]), "cpu 100.0");
    assert_eq!(shares(cheapest, &["-H", "x-agent: gpu"]), "gpu 100.0");
    let fastest = "{prefix: /, agents: [gpu, cpu], prefer: fastest}";
    assert_eq!(shares(fastest, &[]), "gpu 75.0, cpu 25.0");
    let sticky = "{prefix: /, agents: [gpu, cpu], sticky: {header: x-session}}";
    assert_eq!(shares(sticky, &[]), "gpu 75.0, cpu 25.0");
    let kept = shares(sticky, &["-H", "x-session: 7"]);
    assert!(kept.ends_with(" 100.0") && !kept.contains(','), "{kept}");
}

/// With `sticky` the agent is the same each time: it is said by which entry, and where only the running gateway knows to whom it goes.
#[test]
fn what_keeps_a_request_at_one_agent_and_at_one_host_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let routes = "[{header: x-session}, {cookie: chat}, {response: true}, {body: /user}, {prompt: 16B}, {client: true}]";
    let text = GATEWAY
        .replace(
            "gpu: {url: \"http://10.0.0.5:8000\"",
            "gpu: {endpoints: [\"http://10.0.0.5:8000\", \"http://10.0.0.8:8000\"], sticky: {query: user}",
        )
        .replace(
            "  - {prefix: /, agents: [cpu], methods: [GET]}",
            &format!(
                "  - {{prefix: /one, agents: [gpu, cpu], sticky: {{cookie: chat}}}}
  - {{prefix: /v1/responses, agents: [gpu, cpu], sticky: {routes}}}
  - {{prefix: /a2a, agents: [gpu, cpu], a2a: {{}}}}"
            ),
        );
    std::fs::write(file.path(), text).unwrap();
    let name = file.path().display().to_string();
    let told = |asked: &[&str]| {
        let asked = [&["--client", "a", "--json", "--", "curl"], asked].concat();
        json(&explain(&name, &asked, b""))
    };
    let back = |what: &str, way: &str, otherwise: &str| {
        format!(
            "back to the agent that {what} which it names, by {way}: who that is only the running gateway knows; where it knows nobody, {otherwise}"
        )
    };
    let answer = |otherwise| {
        let what = "has given the answer, or has the conversation,";
        Some(back(what, "response (sticky[2])", otherwise))
    };
    let task = Some(back("has the task or the context", "task", "drawn"));
    let kept = |way: &str| Some(format!("kept at one agent by {way}"));
    let rpc = r#"{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "t"}}"#;
    let list = r#"{"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}"#;
    let named = r#"{"user": "u", "previous_response_id": "resp_1"}"#;
    for (asked, sticky, agents) in [
        (&["h/one", "-b", "chat=7"][..], kept("cookie chat"), 1),
        (
            &["h/one"],
            Some("drawn: of what keeps requests at one agent it has none (cookie chat)".to_owned()),
            2,
        ),
        // The caller's word counts before.
        (&["h/one", "-b", "chat=7", "-H", "x-agent: cpu"], None, 1),
        (
            &["h/v1/responses", "-H", "x-session: 1", "--json", named],
            kept("header x-session (sticky[0])"),
            1,
        ),
        (
            &["h/v1/responses", "--json", named],
            answer("kept at one agent by body /user (sticky[3])"),
            1,
        ),
        (
            &["h/v1/responses/resp_1"],
            answer("kept at one agent by client (sticky[5])"),
            1,
        ),
        (
            &["h/v1/responses", "--json", r#"{"input": "Hi"}"#],
            kept("prompt 16B (sticky[4])"),
            1,
        ),
        (
            &["h/a2a", "-H", "a2a-version: 1.0", "--json", rpc],
            task.clone(),
            2,
        ),
        (&["h/a2a/tasks/t", "-H", "a2a-version: 1.0"], task, 2),
        (
            &["h/a2a", "-H", "a2a-version: 1.0", "--json", list],
            Some("drawn: of what keeps requests at one agent it has none (task)".to_owned()),
            2,
        ),
        // No route of theirs is sticky.
        (&["h/v1/chat"], None, 2),
    ] {
        let told = told(asked);
        assert_eq!(told["sticky"].as_str(), sticky.as_deref(), "{asked:?}");
        let count = told["agents"].as_array().map(Vec::len);
        assert_eq!(count, Some(agents), "{asked:?}: {told}");
    }
    let host = |url| told(&[url, "-H", "x-agent: gpu"])["agents"][0]["sticky"].clone();
    assert_eq!(host("h/one?user=1"), "kept at one host by query user");
    assert_eq!(
        host("h/one"),
        "drawn: of what keeps requests at one host it has none (query user)"
    );
    let plain = explain(
        &name,
        &[
            "--client",
            "a",
            "--",
            "curl",
            "h/one?user=1",
            "-b",
            "chat=7",
            "-H",
            "x-agent: gpu",
        ],
        b"",
    );
    let line = "\n  path     /one?user=1\n  sticky   kept at one host by query user\n";
    assert!(plain.output.contains(line), "{}", plain.output);
}

#[test]
fn who_listens_where_a_request_is_sent_is_told_if_nobody_does() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let listen = r#"listen: [{address: "127.0.0.1:8080"}, {address: "0.0.0.0:8443", tls: {certificate: /a.pem, key: /a.key}}, {address: "[::1]:80"}]
operations: 127.0.0.1:9902"#;
    let text = GATEWAY.replace(r#"listen: [{address: "127.0.0.1:8080"}]"#, listen);
    std::fs::write(file.path(), text).unwrap();
    let name = file.path().display().to_string();
    let notes = |how: &[&str], input: &[u8]| {
        let told = json(&explain(
            &name,
            &[&["--client", "a", "--json"], how].concat(),
            input,
        ));
        told["notes"].as_array().cloned().unwrap_or_default()
    };
    let nobody = "no listener is there, but at 127.0.0.1:8080, 0.0.0.0:8443, [::1]:80; this holds if something in front leads from there to one";
    let operations = "no listener is there, but operations, where GET /stats/prometheus and GET /ready are answered, and nothing else; this is what a listener would do";
    for (url, note) in [
        ("http://127.0.0.1:8080/x", None),
        ("http://localhost:8080/x", None),
        ("http://[::1]/x", None),
        ("https://10.1.2.3:8443/x", None),
        // Something in front may have a name, and the usual port.
        ("http://gateway/x", None),
        ("https://gateway/x", None),
        ("http://gateway:8080/x", None),
        ("http://gateway:9999/x", Some(nobody)),
        ("http://127.0.0.1:9999/x", Some(nobody)),
        ("http://127.0.0.1/x", Some(nobody)),
        ("http://localhost:9999/x", Some(nobody)),
        ("http://10.1.2.3:8080/x", Some(nobody)),
        ("https://[::1]:8443/x", Some(nobody)),
        ("http://127.0.0.1:9902/ready", Some(operations)),
        (
            "https://127.0.0.1:8080/x",
            Some("this listener speaks no TLS; write http:// to reach it"),
        ),
        (
            "http://127.0.0.1:8443/x",
            Some("this listener speaks TLS; write https:// to reach it"),
        ),
    ] {
        let told = notes(&["--", "curl", url], b"");
        let told: Vec<&str> = told.iter().filter_map(Value::as_str).collect();
        assert_eq!(told, note.into_iter().collect::<Vec<_>>(), "{url}");
    }
    // What goes over the wire says of itself only whom it means.
    let raw = b"GET /x HTTP/1.1\r\nhost: 127.0.0.1:9999\r\n\r\n";
    assert_eq!(notes(&["--raw", "-"], raw), Vec::<Value>::new());
}

/// Who forgets `Bearer`, or the route's prefix, sees what is looked for.
#[test]
fn where_keys_and_routes_are_looked_for_is_told_where_there_is_none() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |more: &str| {
        let text = GATEWAY
            .replace(
                "  key_sources: [{header: x-api-key}, {query: api_key, any_request: true}]\n",
                more,
            )
            .replace(
                "  - {prefix: /, agents: [cpu], methods: [GET]}",
                "  - {prefix: /other, agents: [cpu]}",
            );
        std::fs::write(file.path(), text).unwrap();
    };
    let name = file.path().display().to_string();
    let notes = |asked: &[&str]| {
        let told = json(&explain(
            &name,
            &[&["--json", "--", "curl"], asked].concat(),
            b"",
        ));
        (told["outcome"]["code"].clone(), told["notes"].clone())
    };
    write("");
    let beside = "what a client would meet is told with --client NAME";
    let (code, told) = notes(&["h/other", "-H", "authorization: example-key"]);
    let wanted =
        format!("keys are looked for in x-api-key, authorization (as Bearer KEY); {beside}");
    assert_eq!(
        (code, told),
        ("missing_key".into(), serde_json::json!([wanted]))
    );
    write(
        "  key_sources: [{query: my_key, any_request: true}, {header: x-key}, {query: ws_key}, {websocket_protocol: my.key.}]\n",
    );
    let (_, told) = notes(&["h/other"]);
    let wanted = format!(
        "keys are looked for in the query's my_key, x-key, the query's ws_key (of a WebSocket's handshake), the subprotocol my.key.… (of a WebSocket's handshake); {beside}"
    );
    assert_eq!(told, serde_json::json!([wanted]));
    let (code, told) = notes(&["h/v1/models"]);
    assert_eq!(code, "no_route");
    assert_eq!(
        told,
        serde_json::json!(["the routes' prefixes are /v1/chat, /other"])
    );
}

/// An agent is not told who hears its requests too: Envoy is.
#[test]
fn a_mirror_is_told_of_as_what_envoy_goes_by() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let route = "{prefix: /, agents: [cpu], mirror: {agent: spare}}";
    let text = GATEWAY.replace("{prefix: /, agents: [cpu], methods: [GET]}", route);
    std::fs::write(file.path(), text).unwrap();
    let name = file.path().display().to_string();
    let told = json(&explain(
        &name,
        &["--client", "a", "--json", "--", "curl", "h/x"],
        b"",
    ));
    let agent = &told["agents"][0];
    assert_eq!(agent["steers_envoy"]["x-waykeeper-mirror"], "spare");
    assert_eq!(agent["is_told"]["x-waykeeper-mirror"], Value::Null);
}

#[test]
fn what_a_route_changes_is_told_with_what_becomes_of_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let route = r#"- prefix: /edited
    agents: [spare]
    max_body: 1MiB
    request:
      headers: {set: {x-tenant: "{client}", x-org: "{organisation}", x-token: hidden}, add: {x-via: gw}, remove: [x-debug]}
      host: internal.example
      body: {set: {/client_id: "{client}"}, remove: [/internal]}
    response: {headers: {set: {x-served-by: "by {agent}"}, remove: [server]}}"#;
    let text = GATEWAY
        .replace("weight: 0}", "weight: 1}")
        .replace("- {prefix: /, agents: [cpu], methods: [GET]}", route)
        + "models_endpoint: {}\n";
    std::fs::write(file.path(), text).unwrap();
    let file = file.path().display().to_string();
    let asked = |more: &[&str]| {
        let curl = [&["--client", "a", "--", "curl"], more].concat();
        let run = explain(&file, &curl, b"");
        assert_eq!((run.status, run.errors.as_str()), (0, ""));
        run.output
    };
    let body = r#"{"client_id":"you","internal":1}"#;
    let told = asked(&[
        "h/edited",
        "--json",
        body,
        "-H",
        "x-tenant: you",
        "-H",
        "x-debug: 1",
    ]);
    for line in [
        "  removed  x-tenant, x-debug\n",
        "  changed  x-tenant: a\n           x-org: taken out\n           x-token: (secret)\n           x-via: gw\n           x-debug: \
         taken out\n           host: internal.example\n           body /client_id: \"a\"\n           body /internal: taken out\n",
        "  answer   x-served-by: by {agent}\n           server: taken out\n",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    let twice = asked(&["h/edited", "--json", r#"{"client_id":1,"client_id":2}"#]);
    assert!(
        twice.contains(
            "refused, 400 bad_body: This route changes the body, and the JSON has /client_id twice"
        ),
        "{twice}"
    );
    let models = asked(&["h/v1/models"]);
    assert!(
        models.contains("as the place where callers ask which models they may use"),
        "{models}"
    );
}

/// A gateway of several servers of MCP.
const SERVERS: &str = r#"
listen: [{address: "127.0.0.1:8080"}]
clients:
  keys: [{sha256: "c018c41c1afaf2c0b66c64f97d0ee135657b699ad260f299234cd40a5d625e0e", client_id: me}]
sessions: {keys: ["8d3f0c5e6a7b92104f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978"]}
limits:
  - {name: all, each: client, requests: 100/minute}
  - {name: finds, each: [client, tool], match: {tool: web__find}, requests: 1/hour}
  - {name: of-files, each: agent, match: {agent: files-agent}, requests: 9/hour}
agents:
  files-agent: {url: "http://10.0.0.5:8000"}
  web-agent: {url: "http://10.0.0.6:8000"}
routes:
  - prefix: /mcp
    mcp: {servers: {files: files-agent, web: web-agent}, tools: [{match: "*__secret", roles: [admin]}, {match: "*"}]}
"#;

#[test]
fn of_several_servers_those_are_told_that_get_to_know_of_a_request() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.yaml");
    std::fs::write(&file, SERVERS).unwrap();
    let file = file.display().to_string();
    let ask = |message: &str| {
        let words = [
            "--json",
            "--",
            "curl",
            "http://127.0.0.1:8080/mcp",
            "-H",
            "x-api-key: example-key",
            "--json",
            message,
        ];
        json(&explain(&file, &words, b""))
    };
    let names = |told: &Value, list: &str| -> Vec<String> {
        let all = told[list].as_array().map(Vec::as_slice);
        let all = all.unwrap_or_default().iter();
        all.map(|it| it["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let call = |tool: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"}}}}"#)
    };
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    for (message, servers, limits) in [
        (call("web__find"), vec!["web"], vec!["all", "finds"]),
        (call("files__find"), vec!["files"], vec!["all", "of-files"]),
        (list.to_owned(), vec!["files", "web"], vec!["all"]),
        (call("web__secret"), vec![], vec![]),
        (call("nobody__find"), vec![], vec![]),
        (list.replace("tools/list", "ping"), vec![], vec!["all"]),
    ] {
        let told = ask(&message);
        assert_eq!(names(&told, "servers"), servers, "{message} {told}");
        assert_eq!(names(&told, "limits"), limits, "{message} {told}");
        assert_eq!(told["route"]["prefix"], "/mcp", "{message} {told}");
    }
    // It is asked by its own name.
    let changed = |message: &str| ask(message)["agents"][0]["is_changed"].clone();
    assert_eq!(
        changed(&call("web__find")),
        serde_json::json!([["body /params/name", "\"find\""]])
    );
    let read = call("x").replace("tools/call", "resources/read");
    let read = read.replace(r#""name":"x""#, r#""uri":"web+file:///a""#);
    assert_eq!(
        changed(&read),
        serde_json::json!([["body /params/uri", "\"file:///a\""]])
    );
    let words = [
        "--",
        "curl",
        "http://127.0.0.1:8080/mcp",
        "--json",
        list,
        "-H",
        "x-api-key: example-key",
    ];
    let run = explain(&file, &words, b"");
    let told = "  calls    the method tools/list\n  servers  files (agent files-agent)\n           web (agent web-agent)\n";
    assert!(run.output.contains(told), "{}", run.output);
    let stream = explain(&file, &["--client", "a", "--", "curl", "h/mcp"], b"");
    let told = "  result   the gateway itself, with 405, in place of all servers of the route\n";
    assert!(stream.output.contains(told), "{}", stream.output);
    // No weight decides among them.
    let checked = waykeeper(&["check", &file], b"");
    assert!(!checked.output.contains("shares"), "{}", checked.output);
}

#[test]
fn a_client_who_is_named_is_as_its_key_has_it_unless_that_is_said_too() {
    let (_directory, file) = gateway();
    let text = std::fs::read_to_string(&file).unwrap();
    let more = "client_id: me, plan: premium, team: red, roles: [admin]}";
    let text = text.replace("client_id: me, plan: standard}", more);
    std::fs::write(&file, text).unwrap();
    let who = |words: &[&str]| {
        let curl = ["--json", "--", "curl", "h/v1/chat", "--json", "{}"];
        json(&explain(&file, &[words, &curl].concat(), b""))["caller"].clone()
    };
    for (words, plan, team, roles) in [
        (&["--client", "me"][..], "premium", "red", vec!["admin"]),
        (
            &["--client", "me", "--plan", "standard", "--role", "ops"],
            "standard",
            "red",
            vec!["ops"],
        ),
    ] {
        let told = who(words);
        assert_eq!(told["plan"], plan, "{told}");
        assert_eq!(told["team"], team, "{told}");
        assert_eq!(told["roles"], serde_json::json!(roles), "{told}");
    }
    let told = who(&["--client", "other"]);
    assert_eq!((&told["plan"], &told["team"]), (&Value::Null, &Value::Null));
}

/// What is told of each agent at which a request of two agents' route may be tried.
fn of_two(route: &str, headers: &[&str]) -> Vec<(String, Vec<String>, Option<String>)> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.yaml");
    let text = format!(
        "listen: [{{address: '127.0.0.1:8080'}}]
agents:
  cheap: {{url: http://a, capabilities: [vision], price: {{input: 1, output: 1}}}}
  dear: {{url: http://b, capabilities: [vision], price: {{input: 2, output: 2}}}}
  blind: {{url: http://c}}
routes: [{{prefix: /, auth_required: false, {route}}}]
"
    );
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let told = json(&explain(
        file,
        &[&["--json", "--", "curl", "h/x"], headers].concat(),
        b"",
    ));
    let all = told["agents"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let one = |agent: &Value| {
        let then = agent["then"].as_array().into_iter().flatten().map(text);
        let further = agent["steers_envoy"]["x-waykeeper-further"].as_str();
        (
            text(&agent["name"]),
            then.collect(),
            further.map(str::to_owned),
        )
    };
    all.map(one).collect()
}

#[test]
fn each_agent_is_told_with_those_that_come_behind_it() {
    let found = |agent: &str, then: &[&str], further: Option<&str>| {
        let then = then.iter().map(|it| (*it).to_owned()).collect();
        (agent.to_owned(), then, further.map(str::to_owned))
    };
    let sees = ["-H", "x-agent-capability: vision"];
    // One that costs more comes behind the cheaper.
    let cheapest = "agents: [cheap, dear], prefer: cheapest, fallback: []";
    assert_eq!(
        of_two(cheapest, &sees),
        [found("cheap", &["dear"], Some("cheap"))]
    );
    // Each is handed to Envoy as one of which another comes behind.
    let either = "agents: [cheap, {agent: dear, weight: 3}], fallback: []";
    assert_eq!(
        of_two(either, &sees),
        [
            found("cheap", &["dear"], Some("cheap")),
            found("dear", &["cheap"], Some("dear"))
        ]
    );
    let listed = "agents: [cheap, dear], fallback: [blind]";
    assert_eq!(
        of_two(listed, &[]),
        [
            found("cheap", &["blind"], Some("cheap")),
            found("dear", &["blind"], Some("dear"))
        ]
    );
    // Nobody does where the caller has named it.
    assert_eq!(
        of_two(listed, &["-H", "x-agent: dear"]),
        [found("dear", &[], None)]
    );
    let canary = "agents: [cheap], fallback: [blind], canary: {agent: dear, percent: 5}";
    assert_eq!(
        of_two(canary, &[]),
        of_two(listed, &[]).into_iter().rev().collect::<Vec<_>>()
    );
}
