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
           tiered  passes it on: for bodies with /metadata/tier: gold* or 7; it has /metadata/tier: none
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
