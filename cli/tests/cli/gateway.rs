//! `gateway.yaml`: what is said of it, and the files that are written out of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::place::Place;
use crate::{repository, waykeeper, waykeeper_in};

const SMALL: &str = "\
listen: [{address: 127.0.0.1:8080}]
agents:
  chat: {url: http://chat:8000}
routes:
  - {prefix: /chat, agents: [chat], auth_required: false}
";

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let run = waykeeper(&["schema", "--gateway"], b"");
    let schema = serde_json::from_str(&run.output).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    jsonschema::validator_for(&schema).unwrap()
});

impl Place {
    fn parsed(&self, name: &str) -> Value {
        yaml(&self.written(name))
    }
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// A gateway with these lines for its agents' places and whatever follows.
fn with(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    SMALL.replace(from, to)
}

/// The filter's document in a file that was written.
fn document(filter: &Value) -> &Value {
    &filter["resources"][0]["typed_config"]["config"]["configuration"]["value"]
}

fn cluster<'v>(envoy: &'v Value, name: &str) -> &'v Value {
    let clusters = envoy["static_resources"]["clusters"].as_array().unwrap();
    clusters
        .iter()
        .find(|cluster| cluster["name"] == name)
        .unwrap_or_else(|| panic!("no cluster {name:?}"))
}

// ------------------------------------------------------------------------------------------------------------ examples

#[test]
fn the_files_of_the_demo_are_what_is_written_out_of_its_gateway() {
    let out = tempfile::tempdir().unwrap();
    let run = waykeeper(
        &[
            "envoy",
            repository("envoy/gateway.yaml").to_str().unwrap(),
            "--out",
            out.path().to_str().unwrap(),
            "--configuration-dir",
            "/etc/waykeeper/envoy",
        ],
        b"",
    );

    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    for name in ["envoy.yaml", "waykeeper.yaml"] {
        let written = fs::read_to_string(out.path().join(name)).unwrap();
        let kept = fs::read_to_string(repository("envoy").join(name)).unwrap();
        assert!(
            written == kept,
            "envoy/{name} is not what `waykeeper envoy envoy/gateway.yaml --out envoy --configuration-dir \
             /etc/waykeeper/envoy` writes"
        );
    }
}

/// What is told, but for files that are on no machine of tests.
fn but_for_files(errors: &str) -> String {
    let other = |line: &&str| {
        !line.ends_with(" is not there; Envoy does not start without it") || !line.contains(".tls.")
    };
    errors.lines().filter(other).collect()
}

#[test]
fn every_example_that_is_shown_is_good() {
    let mut shown = 0;
    for page in ["README.md", "docs/gateway.md"] {
        let page = fs::read_to_string(repository(page)).unwrap();
        let blocks = page.split("```yaml\n").skip(1);
        let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
        for block in blocks.filter(|block| block.contains("listen:")) {
            shown += 1;
            let place = Place::with(block);
            let run = place.run("check", &[]);
            let faults = but_for_files(&run.errors);
            assert_eq!((run.status, faults.as_str()), (0, ""), "{block}");
            assert_eq!(place.write("envoy", &[]).status, 0, "{block}");
            let errors: Vec<_> = SCHEMA
                .iter_errors(&yaml(block))
                .map(|it| it.to_string())
                .collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
    assert!(shown >= 4, "{shown}");
}

#[test]
fn every_field_is_explained() {
    let page = fs::read_to_string(repository("docs/gateway.md")).unwrap();
    let run = waykeeper(&["schema", "--gateway"], b"");
    let schema: Value = serde_json::from_str(&run.output).unwrap();
    let own = [
        "listener",
        "cors",
        "server_tls",
        "client_tls",
        "agent",
        "endpoint",
        "health",
        "limiter",
        "builtin_limiter",
        "envoy",
        "patch",
    ];
    let mut fields: Vec<&String> = Vec::new();
    for name in own {
        let properties = schema["$defs"][name]["properties"].as_object();
        fields.extend(properties.unwrap_or_else(|| panic!("{name}")).keys());
    }
    assert!(fields.len() > 20, "{fields:?}");
    for field in fields {
        assert!(page.contains(&format!("`{field}`")), "{field}");
    }
}

// -------------------------------------------------------------------------------------------------------------- faults

#[test]
fn a_good_gateway_is_told_with_what_is_derived() {
    let text = "\
listen:
  - {address: 127.0.0.1:8080}
  - {address: '[::]:8443', tls: {certificate: /a, key: /b}}
operations: 127.0.0.1:9902
clients: {validator: {url: http://auth/validate}}
agents:
  chat: {url: https://chat.example.com}
  tools: {url: https://tools.example.com}
routes:
  - {prefix: /chat, agents: [chat], protocol: websocket}
  - {prefix: /tools, agents: [tools]}
";
    let run = Place::with(text).run("check", &[]);

    assert_eq!((run.status, but_for_files(&run.errors).as_str()), (0, ""));
    for line in [
        "DIR/gateway.yaml:1: good, but `waykeeper run` does not start here with it: see the warnings\n",
        "others asked at http://auth/validate\n",
        "    listens on 127.0.0.1:8080\n",
        "    listens on [::]:8443 over TLS\n",
        "    serves metrics and /ready on 127.0.0.1:9902\n",
    ] {
        assert!(run.output.contains(line), "{line}{}", run.output);
    }
}

/// What tells of a credential comes and goes with it, and whatever else lies there stays.
#[test]
fn files_of_credentials_come_and_go_with_them() {
    let agent = "chat: {url: http://chat:8000}";
    let place = Place::with(&with(
        agent,
        "chat: {provider: openai, credential: {file: /run/key}}",
    ));
    let names = || {
        let entries = fs::read_dir(place.path("out").join("credentials")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };

    assert_eq!(place.write("envoy", &[]).status, 0);
    assert_eq!(names(), ["chat.yaml"]);
    let secret = "/resources/0/generic_secret/secret";
    assert_eq!(
        place.parsed("credentials/chat.yaml").pointer(secret),
        Some(&json!({"filename": "/run/key", "watched_directory": {"path": "/run"}}))
    );

    fs::write(place.path("out").join("credentials/other.yaml"), "mine").unwrap();
    let changed = with(
        agent,
        "chat: {provider: openai, credential: {caller: x-provider-key}}",
    );
    fs::write(place.path("gateway.yaml"), changed).unwrap();
    let run = place.write("envoy", &[]);
    assert_eq!(run.status, 0, "{}", run.errors);
    assert!(
        run.output.contains("credentials/chat.yaml: removed\n"),
        "{}",
        run.output
    );
    assert_eq!(names(), ["other.yaml"]);
}

#[test]
fn a_hosted_provider_without_a_credential_is_doubted() {
    let agent = "chat: {url: http://chat:8000}";
    let run = Place::with(&with(agent, "chat: {provider: groq}")).run("check", &[]);
    assert_eq!(run.status, 0);
    assert_eq!(
        run.errors,
        "DIR/gateway.yaml:2: warning: agents.chat: groq answers nobody without a credential, and none is written\n"
    );
    let run = Place::with(&with(agent, "chat: {provider: ollama}")).run("check", &[]);
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
}

#[test]
fn a_reference_stands_for_what_the_environment_holds() {
    let text = with(
        "http://chat:8000",
        "'http://${CHAT_HOST}:${CHAT_PORT:-8000}'",
    )
    .replace("}\nroutes", "\n    weight: ${CHAT_WEIGHT}\nroutes")
    .replace("chat: {url:", "chat:\n    url:");
    let place = Place::with(&text);
    let out = place.path("out");
    let arguments = ["--out", out.to_str().unwrap()];
    let environment = [("CHAT_HOST", "10.1.2.3"), ("CHAT_WEIGHT", "7")];

    let run = place.run_in(&environment, "envoy", &arguments);

    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    assert_eq!(
        document(&place.parsed("waykeeper.yaml"))["agents"]["chat"]["weight"],
        7
    );
    let address =
        "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address";
    let envoy = place.parsed("envoy.yaml");
    assert_eq!(
        cluster(&envoy, "chat").pointer(address),
        Some(&json!("10.1.2.3"))
    );

    let run = place.run("check", &[]);
    assert_eq!(
        (run.status, run.errors.as_str()),
        (
            1,
            "DIR/gateway.yaml:4: agents.chat.url: ${CHAT_HOST} is not set in the environment; set it, or write what holds without \
             it: ${CHAT_HOST:-default}\n\
             DIR/gateway.yaml:5: agents.chat.weight: ${CHAT_WEIGHT} is not set in the environment; set it, or write what holds \
             without it: ${CHAT_WEIGHT:-default}\n"
        )
    );
}

/// Wherever a fault or a warning would show a value, it shows what stands in the file.
#[test]
fn no_fault_shows_what_the_environment_holds() {
    let listen = "listen: [{address: 127.0.0.1:8080}]";
    let agent = "chat: {url: http://chat:8000}";
    let place = |text: &str| Place::with(text);
    for (text, value) in [
        (with("http://chat:8000", "'${SECRET}'"), "hunter-22"),
        (
            with("http://chat:8000", "'${SECRET}'"),
            "http://hunter:99999",
        ),
        (
            with("http://chat:8000", "'${SECRET}'"),
            "https://api.example/hunter\"2222",
        ),
        (with("/chat", "'${SECRET}'"), "/hun\"hunter/"),
        (with("http://chat:8000", "'${SECRET}'"), "http://[hunter]"),
        (
            with("http://chat:8000", "'http://${SECRET}'"),
            "hunter/../x",
        ),
        (with(listen, "listen: [{address: '${SECRET}'}]"), "hunter"),
        (
            with(
                listen,
                "listen: [{address: '${SECRET}'}, {address: 1.2.3.4:80}]",
            ),
            "1.2.3.4:80",
        ),
        (
            with(agent, "chat: {url: http://a, balance: '${SECRET}'}"),
            "hunter",
        ),
        (
            with(agent, "chat: {url: http://a, http2: '${SECRET}'}"),
            "hunter",
        ),
        (
            with(agent, "chat:\n    url: http://a\n    weight: ${SECRET}"),
            "918273645",
        ),
        (
            with(
                agent,
                "chat:\n    url: http://a\n    health:\n      path: /\n      interval: ${SECRET}",
            ),
            "918273645",
        ),
        (
            with(agent, "chat: {url: http://a, tls: '${SECRET}'}"),
            "hunter: x",
        ),
        (with(agent, "chat: {provider: '${SECRET}'}"), "openay"),
        (with("[chat]", "['${SECRET}']"), "hunter"),
        (with("/chat", "'${SECRET}'"), "hunter"),
        (with("/chat", "'${SECRET}'"), "/hunter/"),
        (with("[chat]", "[chat], name: '${SECRET}'"), "hunter;"),
        (
            format!("{SMALL}clients: {{default_plan: '${{SECRET}}'}}\n"),
            "hunter",
        ),
        (
            format!(
                "{SMALL}clients: {{validator: {{url: 'http://a/v', headers: {{a: '${{SECRET}}'}}}}}}\n"
            ),
            "hunter\u{7}",
        ),
    ] {
        let run = place(&text).run_in(&[("SECRET", value)], "check", &[]);
        assert_eq!(run.status, 1, "{text}");
        let parts = value.split([';', ':', '/', '.', '"', '\u{7}', '[', ']', ' ']);
        for part in parts.filter(|part| part.len() > 3) {
            assert!(!run.errors.contains(part), "{text}{}", run.errors);
        }
    }
    let url = "http://auth/v?key=${SECRET}";
    let text = format!("{SMALL}clients: {{validator: {{url: '{url}'}}}}\n");
    let run = place(&text).run_in(&[("SECRET", "hunter22")], "check", &[]);
    assert_eq!(run.status, 0, "{}", run.errors);
    assert!(
        run.output.contains(url) && !run.output.contains("hunter22"),
        "{}",
        run.output
    );
}

/// Each fault once, at its line, and of a field that stands there.
#[test]
fn every_fault_is_told_of_the_field_that_is_written() {
    let agent = "chat: {url: http://chat:8000}";
    let listen = "listen: [{address: 127.0.0.1:8080}]";
    let validator = |fields: &str| format!("{SMALL}clients: {{validator: {{{fields}}}}}\n");
    let limiter = |fields: &str| format!("{SMALL}fleet: {{gateways: 1, limiter: {{{fields}}}}}\n");
    for (text, told) in [
        (with(listen, "tables: {}"), "1: listen: is missing"),
        (
            with(listen, "listen: []"),
            "1: listen: the list is empty; write at least one entry",
        ),
        (
            with(listen, "listen: [{}]"),
            "1: listen[0].address: is missing",
        ),
        (
            with(listen, "listen: [{address: localhost:8080}]"),
            "1: listen[0].address: expected an IP address with a port, such as \"0.0.0.0:8080\", \"127.0.0.1:8080\" or \
             \"[::]:8080\", found \"localhost:8080\"",
        ),
        (
            with("127.0.0.1:8080", "127.0.0.1:0"),
            "1: listen[0].address: expected an IP address with a port, such as \"0.0.0.0:8080\", \"127.0.0.1:8080\" or \
             \"[::]:8080\", found \"127.0.0.1:0\"",
        ),
        (
            with("127.0.0.1:8080", "0.0.0.0:9901"),
            "1: listen[0].address: Envoy's admin interface is at 127.0.0.1:9901; take another port",
        ),
        (
            with(
                listen,
                "listen: [{address: 0.0.0.0:80}, {address: 127.0.0.1:80}]",
            ),
            "1: listen[1].address: takes connections to 0.0.0.0:80, which is listed too",
        ),
        (
            with(listen, &format!("{listen}\noperations: 0.0.0.0:8080")),
            "2: operations: takes connections to 127.0.0.1:8080, which is listed too",
        ),
        (
            with("}]\nagents", ", adress: x}]\nagents"),
            "1: listen[0].adress: unknown field; did you mean \"address\"?",
        ),
        (
            with("}]\nagents", ", tls: {certificate: /a}}]\nagents"),
            "1: listen[0].tls.key: is missing",
        ),
        (
            with("}]\nagents", ", tls: {certificate: a, key: /b}}]\nagents"),
            "1: listen[0].tls.certificate: write the whole path, from / on: Envoy reads the file, wherever it is started",
        ),
        (
            with(
                "}]\nagents",
                ", tls: {certificate: \"/a\\nb\", key: /b}}]\nagents",
            ),
            "1: listen[0].tls.certificate: is no path; it is at most 4095 bytes without control characters",
        ),
        (
            with("}]\nagents", ", trusted_hops: 33}]\nagents"),
            "1: listen[0].trusted_hops: expected a whole number from 0 to 32, found the number 33",
        ),
        (
            with("}]\nagents", ", proxy_protocol: 1}]\nagents"),
            "1: listen[0].proxy_protocol: expected true or false, found the number 1",
        ),
        (
            with("}]\nagents", ", cors: {}}]\nagents"),
            "1: listen[0].cors.origins: is missing",
        ),
        (
            with(
                "}]\nagents",
                ", cors: {origins: ['https://a', 'https://a']}}]\nagents",
            ),
            "1: listen[0].cors.origins[1]: this origin is already in the list",
        ),
        (
            with(agent, "chat: {weight: 1}"),
            "3: agents.chat: must have exactly one of url, endpoints, cluster and builtin, or a provider",
        ),
        (
            with(agent, "chat: {url: http://a, cluster: a}"),
            "3: agents.chat: must have exactly one of url, endpoints, cluster and builtin, or a provider",
        ),
        (
            with(agent, "chat: {cluster: a, health: {path: /h}}"),
            "3: agents.chat.health: has no meaning beside cluster, which says it where it is written",
        ),
        (
            with(agent, "chat: {builtin: echos}"),
            "3: agents.chat.builtin: expected echo, found \"echos\"; did you mean \"echo\"?",
        ),
        (
            with(agent, "chat: {builtin: echo, http2: true}"),
            "3: agents.chat.http2: has no meaning beside builtin",
        ),
        (
            with(agent, "chat: {builtin: echo, sticky: {client: true}}"),
            "3: agents.chat.sticky: has no meaning beside builtin",
        ),
        (
            with(agent, "chat: {builtin: echo, sees: [client, address]}"),
            "3: agents.chat.sees[1]: has no meaning here: only of a url, endpoints or a provider is it kept back",
        ),
        (
            with(agent, "chat: {provider: vllm, sees: [role]}"),
            "3: agents.chat.sees[0]: expected client or plan or team or roles or agent or route or address, found \"role\"; did \
             you mean \"roles\"?",
        ),
        (
            with(agent, "chat: {url: http://a, sees: [plan, plan]}"),
            "3: agents.chat.sees[1]: stands here twice; once is enough",
        ),
        (
            with(agent, "chat: {cluster: waykeeper/nobody}"),
            "3: agents.chat.cluster: \"waykeeper/nobody\" would be one of the gateway's own: these begin with waykeeper/ or end \
             in /tls, /host or /websocket",
        ),
        (
            with(agent, "chat: {url: http://a, wieght: 2}"),
            "3: agents.chat.wieght: unknown field; did you mean \"weight\"?",
        ),
        (
            with(agent, "chat: {url: http://a, weight: -1}"),
            "3: agents.chat.weight: expected a whole number from 0 to 1000000, found the number -1",
        ),
        (
            with(agent, "chat: {url: http://a, url: http://b}"),
            "3: agents.chat.url: written twice; only one can count",
        ),
        (
            with(agent, "chat: {url: http://a/v1?b}"),
            "3: agents.chat.url: holds a query; requests have their own",
        ),
        (
            with(agent, "chat: {url: http://a/v1/../b}"),
            "3: agents.chat.url: \"/v1/../b\" holds an empty part, or one of dots, which servers read in different ways",
        ),
        (
            with(agent, "chat: {endpoints: [http://a/v1, http://b]}"),
            "3: agents.chat.endpoints[1]: all endpoints of an agent have the same path in their urls",
        ),
        (
            with(agent, "chat: {url: 'http://me:pw@a'}"),
            "3: agents.chat.url: holds user info in front of @, which has no place in a url",
        ),
        (
            with(agent, "chat: {url: 'tcp://a'}"),
            "3: agents.chat.url: must begin with http:// or https://, such as \"http://10.0.0.5:8000\" or \
             \"https://api.example.com\"",
        ),
        (
            with(agent, "chat: {endpoints: []}"),
            "3: agents.chat.endpoints: the list is empty; write at least one entry",
        ),
        (
            with(agent, "chat: {endpoints: [http://a, https://b]}"),
            "3: agents.chat.endpoints[1]: all endpoints of an agent are spoken to over TLS (https), or none",
        ),
        (
            with(agent, "chat: {endpoints: [http://a, {url: http://A:80}]}"),
            "3: agents.chat.endpoints[1]: this endpoint is already in the list",
        ),
        (
            with(agent, "chat: {endpoints: [{url: http://a, weight: 0}]}"),
            "3: agents.chat.endpoints[0].weight: expected a whole number from 1 to 1000000, found the number 0",
        ),
        (
            with(agent, "chat: {url: http://a, balance: fair}"),
            "3: agents.chat.balance: expected least_request or round_robin or random or ring_hash or maglev, found \"fair\"",
        ),
        (
            with(
                agent,
                "chat: {endpoints: [http://a, http://b], load: {from: metrics, clusters: [a]}}",
            ),
            "3: agents.chat.load.clusters: stands beside cluster only; what is written here has one made for each of its endpoints",
        ),
        (
            with(
                agent,
                &format!(
                    "chat: {{endpoints: [{}], load: {{from: metrics}}}}",
                    (0..33)
                        .map(|it| format!("http://a{it}"))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            ),
            "3: agents.chat.load: asks each of its endpoints for its metrics, and has 33 of them; at most 32 are asked. Make several agents of it, or have them report in their answers (from: orca or queue_depth)",
        ),
        (
            with(
                agent,
                "chat: {url: http://a, load: {from: metrics}, credential: {caller: x-key}}",
            ),
            "3: agents.chat.load: asks for metrics, and the gateway's own questions bear no credential of a caller's; have the agent report in its answers (from: orca or queue_depth)",
        ),
        (
            with(
                agent,
                "chat: {url: http://a, sticky: {client: true}, picker: {url: http://p}}",
            ),
            "3: agents.chat.picker: says which endpoint answers, and so does sticky; write one of the two",
        ),
        (
            with(agent, "chat: {url: http://a, picker: {url: http://p/x}}"),
            "3: agents.chat.picker.url: ends with its host and port: gRPC has paths of its own",
        ),
        (
            with(
                agent,
                "chat: {url: http://a, picker: {url: http://p, on_failure: fail}}",
            ),
            "3: agents.chat.picker.on_failure: expected deny or balance, found \"fail\"",
        ),
        (
            with(agent, "chat: {cluster: c, picker: {url: http://p}}"),
            "3: agents.chat.picker: has no meaning beside cluster, which says it where it is written",
        ),
        (
            with(agent, "chat: {url: http://a, balance: maglev}"),
            "3: agents.chat.balance: goes by what requests have in common, and nothing says by what; write sticky, such as sticky: {client: true}",
        ),
        (
            with(
                agent,
                "chat: {url: http://a, sticky: {query: a}, balance: random}",
            ),
            "3: agents.chat.balance: cannot keep requests together, as sticky wants it: ring_hash and maglev do",
        ),
        (
            with(
                agent,
                "chat: {url: http://a, sticky: {header: mcp-session-id}}",
            ),
            "3: agents.chat.sticky: the agent names this session, so the gateway seals it, and needs a key for that: sessions: {keys: [\"…\"]}; `openssl rand -hex 32` makes one",
        ),
        (
            with(agent, "chat: {url: http://a, sticky: {header: x-api-key}}"),
            "3: agents.chat.sticky: that is where keys stand, and they are taken out; client: true keeps each client's requests together",
        ),
        (
            with(agent, "chat: {url: http://a, health: {}}"),
            "3: agents.chat.health.path: is missing",
        ),
        (
            with(agent, "chat: {url: http://a, health: {path: h}}"),
            "3: agents.chat.health.path: \"h\" must begin with /",
        ),
        (
            with(
                agent,
                "chat: {url: http://a, health: {path: /h, interval: 5}}",
            ),
            "3: agents.chat.health.interval: the number 5 has no unit; write a duration such as \"250ms\", \"30s\", \"5m\" or \
             \"1h\"",
        ),
        (
            with(agent, "chat: {url: http://a, tls: {}}"),
            "3: agents.chat.tls: has no meaning with a url of http; write https",
        ),
        (
            with(agent, "chat: {url: https://a, tls: {key: /k}}"),
            "3: agents.chat.tls.certificate: is missing",
        ),
        (
            with(agent, "chat: {url: https://a, tls: {sni: 'a:443'}}"),
            "3: agents.chat.tls.sni: must be a name, without a port",
        ),
        (
            with(agent, "chat: {provider: opneai}"),
            "3: agents.chat.provider: expected openai or anthropic or gemini or mistral or groq or azure-openai or bedrock or \
             ollama or vllm, found \"opneai\"; did you mean \"openai\"?",
        ),
        (
            with(agent, "chat: {provider: openai, cluster: a}"),
            "3: agents.chat.provider: has no meaning beside cluster, which says it where it is written",
        ),
        (
            with(agent, "chat: {cluster: a, credential: {env: K}}"),
            "3: agents.chat.credential: has no meaning beside cluster, which says it where it is written",
        ),
        (
            with(
                agent,
                "chat: {provider: azure-openai, credential: {env: K}}",
            ),
            "3: agents.chat: needs a url: everybody has a place of their own at azure-openai, such as \
             https://RESOURCE.openai.azure.com",
        ),
        (
            with(agent, "chat: {provider: bedrock}"),
            "3: agents.chat.region: is missing",
        ),
        (
            with(agent, "chat: {provider: bedrock, region: EU}"),
            "3: agents.chat.region: \"EU\" is no region, such as eu-central-1",
        ),
        (
            with(
                agent,
                "chat: {provider: bedrock, region: eu-west-1, endpoints: [http://a]}",
            ),
            "3: agents.chat.endpoints: cannot be: requests are signed for one host; write a url",
        ),
        (
            with(agent, "chat: {url: http://a, region: eu-west-1}"),
            "3: agents.chat.region: has no meaning but with provider: bedrock",
        ),
        (
            with(agent, "chat: {url: http://a, credential: {}}"),
            "3: agents.chat.credential: must have exactly one of file, env and caller",
        ),
        (
            with(
                agent,
                "chat: {url: http://a, credential: {env: K, file: /k}}",
            ),
            "3: agents.chat.credential: must have exactly one of file, env and caller",
        ),
        (
            with(agent, "chat: {url: http://a, credential: {file: k}}"),
            "3: agents.chat.credential.file: write the whole path, from / on: Envoy reads the file, wherever it is started",
        ),
        // What stands in the place of a name may be the secret.
        (
            with(agent, "chat: {url: http://a, credential: {env: sk-secret}}"),
            "3: agents.chat.credential.env: must be the name of a variable: letters, digits and _, such as OPENAI_PROVIDER_KEY",
        ),
        (
            with(
                agent,
                "chat: {url: http://a, credential: {caller: X-Api-Key}}",
            ),
            "3: agents.chat.credential.caller: is a header in which the gateway looks for its own key (clients.key_sources); \
             take another one",
        ),
        (
            with(agent, "chat: {url: http://a, credential: {caller: x-key}}")
                .replace("agents: [chat]", "mirror: {agent: chat}, agents: [chat]"),
            "5: routes[0].mirror.agent: is shown the caller's own credential, which is shown to the agent that answers, and to \
             no other",
        ),
        (
            with(agent, "chat: {url: https://a}")
                .replace("agents: [chat]", "request: {host: b}, agents: [chat]"),
            "5: routes[0].request.host: the agent chat is called by its own host, whatever stands here; leave it out, or give that \
             agent a route of its own",
        ),
        (
            with(agent, "chat: {url: http://a, websocket_cluster: b}"),
            "3: agents.chat.websocket_cluster: stands beside cluster only; what is written here has one of its own where it \
             needs one",
        ),
        (
            with(agent, "chat: http://a"),
            "3: agents.chat: expected a mapping that says where it is, such as {url: \"http://10.0.0.5:8000\"}",
        ),
        (
            with(agent, "none: {url: http://a}\n  chat: {url: http://b}"),
            "3: agents.none: \"none\" is what metrics say of requests that have none; choose another name",
        ),
        // What the filter's reader finds.
        (
            with("agents: [chat]", "agents: [chatt]"),
            "5: routes[0].agents[0]: no agent named \"chatt\"; did you mean \"chat\"?",
        ),
        (
            format!("{SMALL}rutes: []\n"),
            "6: rutes: unknown field; did you mean \"routes\"?",
        ),
        (
            validator("timeout: 1s"),
            "6: clients.validator.url: is missing",
        ),
        (
            validator("url: http://auth, cluster: a, path: /v"),
            "6: clients.validator.cluster: must not stand beside url",
        ),
        (
            validator("url: http://auth, path: /v"),
            "6: clients.validator.path: stands in the url; it has a field of its own beside cluster only",
        ),
        (
            validator("cluster: auth"),
            "6: clients.validator.path: is missing",
        ),
        (
            validator(&format!("url: 'http://auth/{}'", "x".repeat(1024))),
            &format!(
                "6: clients.validator.url: \"/{}\"… is no path; it is at most 1024 visible ASCII characters without #",
                "x".repeat(79)
            ),
        ),
        (
            validator("url: http://auth, timeout: 2m"),
            "6: clients.validator.timeout: expected a duration from 1ms to 1m, found \"2m\"",
        ),
        (
            validator("url: http://auth, tls: {ca: /a}"),
            "6: clients.validator.tls: has no meaning with a url of http; write https",
        ),
        (
            limiter("timeout: 1s"),
            "6: fleet.limiter: must have exactly one of cluster, url and builtin",
        ),
        (
            limiter("url: http://l:1, builtin: {}"),
            "6: fleet.limiter: must have exactly one of cluster, url and builtin",
        ),
        (
            limiter("url: http://l:1/a"),
            "6: fleet.limiter.url: ends with its host and port: gRPC has paths of its own",
        ),
        (
            limiter("url: http://l:1, tls: {ca: /a}"),
            "6: fleet.limiter.tls: has no meaning with a url of http; write https",
        ),
        (
            limiter("cluster: l, health_check: true"),
            "6: fleet.limiter.health_check: has no meaning beside cluster, which says it where it is written",
        ),
        (
            limiter("builtin: {keep: counts}"),
            "6: fleet.limiter.builtin.keep: write the whole path, from / on: Envoy reads the file, wherever it is started",
        ),
        (
            limiter("url: http://l:1, timeout: 2m"),
            "6: fleet.limiter.timeout: expected a duration from 1ms to 10s, found \"2m\"",
        ),
        (
            with(
                "127.0.0.1:8080}",
                "127.0.0.1:8080, trusted_hops: 1}, {address: 127.0.0.1:8081}",
            ) + "address: {from: x-forwarded-for}\n",
            "6: address: with from: x-forwarded-for every listener has the same trusted_hops, and 127.0.0.1:8081 has 0 in place \
             of 1",
        ),
        (
            SMALL.to_owned() + "address: {from: x-forwarded-for, trusted_hops: 2}\n",
            "6: address: with from: x-forwarded-for every listener has the same trusted_hops, and 127.0.0.1:8080 has 0 in place \
             of 2",
        ),
    ] {
        let place = Place::with(&text);
        for run in [place.run("check", &[]), place.write("envoy", &[])] {
            assert_eq!(
                (run.status, run.errors),
                (1, format!("DIR/gateway.yaml:{told}\n")),
                "{text}"
            );
        }
        assert!(!place.path("out").exists(), "written in spite of {told}");
    }
}

/// Whoever runs Envoy by hand has nobody who serves it.
#[test]
fn a_builtin_agent_is_for_run_alone() {
    let place = Place::with(&with(
        "chat: {url: http://chat:8000}",
        "chat:\n    builtin: echo",
    ));

    let checked = place.run("check", &[]);
    let written = place.write("envoy", &[]);

    assert_eq!((checked.status, checked.errors.as_str()), (0, ""));
    let finds = "    finds chat where `waykeeper run` serves it, and nowhere without\n";
    assert!(checked.output.contains(finds), "{}", checked.output);
    assert_eq!(written.status, 1);
    let told = "DIR/gateway.yaml:4: agents.chat.builtin: only `waykeeper run` serves such an agent; say where one of your own \
                is, as in {url: \"http://10.0.0.5:8000\"}\n";
    assert_eq!(written.errors, told);
    assert!(!place.path("out").exists());
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let text = "\
listen: [{address: here}]
clients: {validator: {url: nowhere, timeout: 1}}
agents:
  chat: {url: http://a/v1?x, weight: many}
routes:
  - {prefix: chat, agents: [chat]}
operations: there
";
    let run = Place::with(text).run("check", &[]);

    let places: Vec<&str> = run
        .errors
        .lines()
        .map(|line| line.strip_prefix("DIR/gateway.yaml:").unwrap())
        .map(|line| line.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "listen[0].address",
            "clients.validator.url",
            "clients.validator.timeout",
            "agents.chat.url",
            "agents.chat.weight",
            "routes[0].prefix",
            "operations",
        ]
    );
}

/// Whatever else is wrong, and wherever; but nothing is said of what may come once that is mended.
#[test]
fn patches_that_match_nothing_are_told_beside_other_faults() {
    let patches = "\
envoy:
  patches:
    - {in: clusters, name: chatt, merge: {connect_timeout: 3s}}
    - {in: clusters, name: hosted/tls, merge: {connect_timeout: 3s}}
    - {in: http_filters, before: waykeper, add: {name: a}}
    - {in: http_filters, after: late, add: {name: b}}
    - {in: http_filters, before: waykeeper, add: {name: late}, more: 1}
    - {in: http_filters, listener: gateway-2, before: waykeeper, add: {name: c}}
    - {in: routes, name: http-tls, merge: {metadata: {}}}
    - {in: clusters, add: {name: chat}}
";
    let begin = "\
listen: [{address: 127.0.0.1:8080}, {address: SECOND}]
agents:
  chat: {url: http://chat:8000}
  hosted: {url: HOSTED}
routes:
  - {prefix: PREFIX, agents: [chat, hosted], auth_required: false}
";
    let told = |second: &str, hosted: &str, prefix: &str| {
        let text = format!("{begin}{patches}");
        let text = text.replace("SECOND", second).replace("HOSTED", hosted);
        let run = Place::with(&text.replace("PREFIX", prefix)).run("check", &[]);
        assert_eq!(run.status, 1);
        let lines = run.errors.lines();
        let told = lines.map(|line| line.strip_prefix("DIR/gateway.yaml:").unwrap().to_owned());
        let (of_patches, others): (Vec<_>, Vec<_>) =
            told.partition(|it| it.contains("envoy.patches"));
        (of_patches, others.len())
    };
    let all = [
        "9: envoy.patches[0].name: no cluster named \"chatt\"; did you mean \"chat\"?",
        "11: envoy.patches[2].before: no filter named \"waykeper\" in the listener gateway; did you mean \"waykeeper\"?",
        "13: envoy.patches[4].more: unknown field",
        "16: envoy.patches[7].add: there is a cluster named \"chat\" already; change that with merge, or take another name",
    ]
    .map(str::to_owned);
    // The fault of a patch; of the filter's part; of an agent's and a listener's place.
    for (second, hosted, prefix, others) in [
        ("127.0.0.1:8081", "https://hosted", "/chat", 0),
        ("127.0.0.1:8081", "https://hosted", "chat", 1),
        ("nowhere", "nowhere", "/chat", 2),
        ("127.0.0.1:8081", "'${TEST_OF_NONE}'", "/chat", 1),
    ] {
        let (told, number) = told(second, hosted, prefix);
        assert_eq!(
            (told.as_slice(), number),
            (&all[..], others),
            "{second} {hosted} {prefix}"
        );
    }
}

#[test]
fn a_reference_between_braces_without_quotes_is_told_with_its_place() {
    let what = "between braces or brackets what holds ${…} needs quotes, as in {url: \"${NAME}\"}: its { would begin a mapping";
    for (from, to, place) in [
        ("{url: http://chat:8000}", "{url: ${CHAT}}", "3: column 15"),
        (
            "{url: http://chat:8000}",
            "{url: \"é${A}\", weight: ${W:-3}}",
            "3: column 32",
        ),
        (
            "[{address: 127.0.0.1:8080}]",
            "[{address: 127.0.0.1:${PORT}}]",
            "1: column 30",
        ),
        ("[chat]", "[${CHAT}]", "5: column 30"),
    ] {
        let run = Place::with(&with(from, to)).run("check", &[]);
        let told = format!("DIR/gateway.yaml:{place}: {what}\n");
        assert_eq!((run.status, run.errors), (1, told));
    }
}

#[test]
fn weights_that_a_random_choice_does_not_go_by_are_doubted() {
    let told = |fields: &str| {
        let agent =
            format!("chat: {{endpoints: [{{url: http://a, weight: 2}}, http://b]{fields}}}");
        Place::with(&with("chat: {url: http://chat:8000}", &agent))
            .run("check", &[])
            .errors
    };
    assert_eq!(
        told(", balance: random"),
        "DIR/gateway.yaml:2: warning: agents.chat.balance: Envoy's random choice does not go by the endpoints' weights; all other \
         ways of balancing do\n"
    );
    assert_eq!(told(""), "");
}

#[test]
fn endpoints_that_are_not_found_again_with_their_agent_are_doubted() {
    let told = |sticky: &str| {
        let agent = format!("chat: {{endpoints: [http://a, http://b]{sticky}}}");
        let text = with("chat: {url: http://chat:8000}", &agent);
        let text = text.replace("agents: [chat]", "agents: [chat], sticky: {response: true}");
        Place::with(&text).run("check", &[]).errors
    };
    assert_eq!(
        told(""),
        "DIR/gateway.yaml:2: warning: agents.chat.sticky: is missing: the route \"/chat\" finds the agent again by `response`, and not which of \
         its 2 endpoints has given the answer; write sticky: [{response: true}] here too\n"
    );
    assert_eq!(told(", sticky: {response: true}"), "");
    assert_eq!(told(", sticky: {client: true}"), "");
}

#[test]
fn a_picker_is_asked_where_envoy_can_bound_that_and_for_requests_to_one_agent() {
    let picks = "chat: {url: http://chat:8000, picker: {url: http://p:9002}}";
    let text = with("chat: {url: http://chat:8000}", picks);
    let written = |version: &str| {
        let place = Place::with(&text);
        let out = place.path("out");
        let arguments = [
            "--no-validate",
            "--module",
            "/m",
            "--envoy-version",
            version,
            "--out",
        ];
        let run = place.run(
            "envoy",
            &[&arguments[..], &[out.to_str().unwrap()]].concat(),
        );
        (run.status, run.errors)
    };
    let (status, errors) = written("1.36");
    let told = "DIR/gateway.yaml:3: agents.chat.picker: Envoy 1.36 goes on with its question until the agent has answered, and so cannot \
                bound it; this needs 1.37 or newer\n";
    assert_eq!((status, errors.as_str()), (1, told));
    assert_eq!(written("1.37").0, 0);
    let explained = Place::with(&text);
    let asked = ["--", "curl", "http://127.0.0.1:8080/chat"];
    let note = "which of its endpoints answers the picker at p:9002 says";
    assert!(explained.run("explain", &asked).output.contains(note));
    // Not of a WebSocket.
    let sockets = text.replace("agents: [chat]", "agents: [chat], protocol: websocket");
    let upgrade = [
        &asked[..],
        &["-H", "connection: upgrade", "-H", "upgrade: websocket"],
    ];
    let told = Place::with(&sockets).run("explain", &upgrade.concat());
    assert!(told.output.contains("goes on to chat"), "{}", told.output);
    assert!(!told.output.contains("picker"), "{}", told.output);
}

#[test]
fn a_picker_is_not_asked_about_what_comes_from_another_agent_and_none_goes_on_from_it() {
    let told = |picker: &str, route: &str| {
        let agents = format!(
            "chat: {{url: http://chat:8000, picker: {{url: http://p:9002{picker}}}}}\n  b: {{url: http://b}}\n  c: {{url: http://c}}"
        );
        let text = with("chat: {url: http://chat:8000}", &agents);
        let text = text.replace("agents: [chat]", route);
        let faults = Place::with(&text).run("check", &[]).errors;
        faults.replace("DIR/gateway.yaml:7: routes[0].", "")
    };
    let balances = ", on_failure: balance";
    let denied = "fallback[0]: has a picker, which is not asked for a request that comes from another agent; where it may be balanced then, \
                  say on_failure: balance there\n";
    let to_it = "agents: [b, c], fallback: [chat]";
    assert_eq!(told("", to_it), denied);
    assert_eq!(told(", on_failure: deny", to_it), denied);
    assert_eq!(told(balances, to_it), "");

    let from_it = "no request goes on from \"chat\", which has a picker: that is asked for requests alone that go to one agent\n";
    assert_eq!(
        told(balances, "agents: [chat, c], fallback: [b]"),
        format!("fallback: {from_it}")
    );
    // A request that goes back to it goes on by the list of the rule that takes it.
    let rule = "rules: [{match: {method: PUT}, agents: [b], fallback: [c]}], agents: [chat]";
    let returns = format!("sticky: [{{response: true}}], {rule}");
    let errors = told(balances, &returns);
    assert_eq!(errors, format!("rules[0].fallback: {from_it}"));
    assert_eq!(told(balances, rule), "");
}

/// Who has given an earlier answer is asked first, and behind it whoever the list names that the request meets now.
#[test]
fn older_envoys_have_an_order_for_each_agent_to_which_requests_return() {
    let orders = |sticky: &str| {
        let agents = "chat: {url: http://a}\n  b: {url: http://b}\n  c: {url: http://c}\n  d: {url: http://d}";
        let text = with("chat: {url: http://chat:8000}", agents);
        let route = format!(
            "agents: [chat], fallback: [d]{sticky}, rules: [{{match: {{method: PUT}}, agents: [b], fallback: [c]}}]"
        );
        let place = Place::with(&text.replace("agents: [chat]", &route));
        let older = ["--envoy-version", "1.38", "--no-validate", "--module", "/m"];
        let run = place.write("envoy", &older);
        assert_eq!(run.status, 0, "{}", run.errors);
        let envoy = place.parsed("envoy.yaml");
        let clusters = envoy["static_resources"]["clusters"].as_array().unwrap();
        let names = clusters.iter().filter_map(|it| it["name"].as_str());
        let orders = names.filter_map(|name| name.strip_prefix("waykeeper/further/"));
        let mut orders: Vec<String> = orders.map(str::to_owned).collect();
        orders.sort();
        orders.join(" ")
    };
    assert_eq!(orders(""), "b+c chat+d");
    let returning = "b+c b+d c+d chat+c chat+d d+c";
    assert_eq!(orders(", sticky: [{response: true}]"), returning);
    assert_eq!(orders(", a2a: {}"), returning);
}

#[test]
fn a_fallback_is_judged_by_the_envoy_that_is_asked() {
    let text = with("routes", "  b: {url: http://b}\nroutes");
    let text = text.replace("agents: [chat]", "agents: [chat], fallback: [b]");
    let place = Place::with(&text);
    let by = |version: &str| {
        let program = repository(".tools").join(format!("envoy-{version}/envoy/_bin/envoy"));
        let run = place.run("check", &["--envoy-program", program.to_str().unwrap()]);
        (run.status, run.errors)
    };
    let fault = "DIR/gateway.yaml:6: routes[0].fallback: Envoy 1.36 tries a request at one agent only; this needs 1.37 or newer\n";
    assert_eq!(by("1.36.4"), (1, fault.to_owned()));
    for (version, known) in [("1.37.0", "1.37"), ("1.38.2", "1.38")] {
        let warning = format!(
            "DIR/gateway.yaml:6: warning: routes[0].fallback: `waykeeper run` cannot give it to Envoy {known} while that runs, and needs 1.39 \
             or newer; `waykeeper envoy` writes such lists for 1.37 and 1.38\n"
        );
        assert_eq!(by(version), (0, warning));
    }
    assert_eq!(by("1.39.3"), (0, String::new()));
}

#[test]
fn an_agent_that_no_route_names_is_doubted() {
    let text = with("routes", "  idle: {url: http://idle}\nroutes");
    let run = Place::with(&text).run("check", &[]);
    assert_eq!(
        (run.status, run.errors.as_str()),
        (
            0,
            "DIR/gateway.yaml:4: warning: agents.idle: no route leads to this agent\n"
        )
    );
}

#[test]
fn only_clusters_that_are_written_elsewhere_are_looked_for() {
    let text = with("routes", "  old: {cluster: legacy}\nroutes").replace("[chat]", "[chat, old]");
    let place = Place::with(&text);
    let envoy = place.path("more.yaml");
    let check = |clusters: &str| {
        fs::write(
            &envoy,
            format!("static_resources: {{clusters: [{clusters}]}}\n"),
        )
        .unwrap();
        place.run("check", &["--envoy", envoy.to_str().unwrap()])
    };

    assert_eq!(check("{name: legacy}").status, 0);
    let run = check("{name: legasy}");
    assert_eq!(
        (run.status, run.errors.as_str()),
        (
            1,
            "DIR/gateway.yaml:4: agents.old.cluster: DIR/more.yaml has no cluster named \"legacy\"; did you mean \"legasy\"?\n"
        )
    );
}

#[test]
fn a_cluster_that_nothing_in_the_file_makes_is_warned_of() {
    let text = with("routes", "  old: {cluster: legacy}\nroutes").replace("[chat]", "[chat, old]");
    let place = Place::with(&text);
    let run = place.run("check", &["--no-validate"]);
    assert_eq!(
        (run.status, run.errors.as_str()),
        (
            0,
            "DIR/gateway.yaml:4: warning: agents.old.cluster: nothing in this file makes a cluster \"legacy\". Under `waykeeper run` \
             requests for this agent are answered 503 agent_unreachable, unless `envoy.patches` add it\n"
        )
    );
    let added = "envoy: {patches: [{in: clusters, add: {name: legacy}}]}\n";
    fs::write(place.path("gateway.yaml"), format!("{text}{added}")).unwrap();
    let run = place.run("check", &["--no-validate"]);
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
}

#[test]
fn the_schema_knows_what_the_reader_refuses() {
    let good = yaml(SMALL);
    assert!(SCHEMA.is_valid(&good));
    for (pointer, value) in [
        ("/listen", json!([])),
        ("/listen/0/address", json!("8080")),
        ("/listen/0/tls", json!({"certificate": "/a"})),
        ("/listen/0/tls", json!({"certificate": "a", "key": "/b"})),
        ("/listen/0/trusted_hops", json!(33)),
        ("/listen/0/cors", json!({"origins": ["https://A"]})),
        ("/operations", json!(9902)),
        ("/agents/chat", json!({})),
        ("/agents/chat", json!({"url": "http://a", "cluster": "a"})),
        ("/agents/chat", json!({"cluster": "a", "http2": true})),
        ("/agents/chat/url", json!("http://a/v1?x")),
        ("/agents/chat", json!({"builtin": "echos"})),
        ("/agents/chat", json!({"builtin": "echo", "http2": true})),
        ("/agents/chat/url", json!("a:80")),
        ("/agents/chat", json!({"provider": "mine"})),
        ("/agents/chat", json!({"provider": "azure-openai"})),
        ("/agents/chat", json!({"provider": "bedrock"})),
        (
            "/agents/chat",
            json!({"provider": "bedrock", "region": "eu-west-1", "credential": {"env": "K"}}),
        ),
        (
            "/agents/chat",
            json!({"provider": "openai", "cluster": "a"}),
        ),
        (
            "/agents/chat",
            json!({"url": "http://a", "region": "eu-west-1"}),
        ),
        ("/agents/chat", json!({"url": "http://a", "credential": {}})),
        (
            "/agents/chat",
            json!({"url": "http://a", "credential": {"env": "K", "file": "/k"}}),
        ),
        (
            "/agents/chat",
            json!({"url": "http://a", "credential": {"env": "a-b"}}),
        ),
        ("/agents/chat/balance", json!("fair")),
        ("/agents/chat/health", json!({"interval": "1s"})),
        (
            "/agents/chat",
            json!({"url": "https://a", "tls": {"key": "/k"}}),
        ),
        ("/agents/chat", json!({"endpoints": []})),
        ("/agents/chat", json!({"endpoints": [{"weight": 1}]})),
        ("/clients", json!({"validator": {"timeout": "1s"}})),
        (
            "/clients",
            json!({"validator": {"url": "http://a", "cluster": "a", "path": "/v"}}),
        ),
        ("/clients", json!({"validator": {"cluster": "a"}})),
        (
            "/fleet",
            json!({"gateways": 1, "limiter": {"url": "http://a/b"}}),
        ),
        (
            "/fleet",
            json!({"gateways": 1, "limiter": {"url": "http://a", "cluster": "b"}}),
        ),
        (
            "/fleet",
            json!({"gateways": 1, "limiter": {"builtin": {}, "host": "b"}}),
        ),
        (
            "/fleet",
            json!({"gateways": 1, "limiter": {"builtin": {"kept": "/a"}}}),
        ),
        ("/fleet", json!({"gateways": 1, "limiter": {}})),
    ] {
        let mut document = good.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[name] = value;
        assert!(!SCHEMA.is_valid(&document), "the schema takes {document}");
        let run = Place::with(&document.to_string()).run("check", &[]);
        assert_eq!(run.status, 1, "the reader takes {document}");
    }
}

// --------------------------------------------------------------------------------------------------------------- files

/// Names and paths that some reader of YAML, or a template, takes for something else come through as they are.
#[test]
fn nothing_that_an_operator_writes_is_taken_for_anything_else() {
    let names = [
        "n", "yes", "0755", "1e3", "null", "-", ".", "@at", "a:b", "on", "1:30", "nobody", "admin",
    ];
    let paths = [
        "/a: b",
        "/#x",
        "/{{ a }}",
        "/{% raw %}",
        "/a\" b'c\\d",
        "/%41%PATH%",
        "/ä\u{1f600}",
        "/- [x], {y}: &z *z !z |",
    ];
    let mut document = yaml(SMALL);
    for (index, name) in names.iter().enumerate() {
        let path = paths[index % paths.len()];
        document["agents"][name] = json!({"url": "https://a.example", "tls": {"ca": path}});
        let route =
            json!({"prefix": format!("/{index}"), "agents": [name], "auth_required": false});
        document["routes"].as_array_mut().unwrap().push(route);
    }
    document["agents"]["elsewhere"] = json!({"cluster": "{{my}}#cluster"});
    document["routes"][0]["agents"] = json!(["chat", "elsewhere"]);
    document["routes"][0]["name"] = json!("{{x}}:#'&*!|>%@`");
    document["clients"] = json!({"validator": {
        "url": "http://auth/{{v}}?a=%41&b='#".trim_end_matches('#'),
        "headers": {"yes": "no: #\"{{ x }}\"", "x'": "%PATH%"},
    }});
    let place = Place::with(&document.to_string());

    let elsewhere = ["--configuration-dir", "/c"];
    let module = ["--module", "/m: {{ x }} #"];
    let run = place.write("envoy", &[elsewhere, module].concat());

    assert_eq!((run.status, but_for_files(&run.errors).as_str()), (0, ""));
    let (envoy, filter) = (place.parsed("envoy.yaml"), place.parsed("waykeeper.yaml"));
    for (index, name) in names.iter().enumerate() {
        let cluster = cluster(&envoy, &format!("{name}/tls"));
        let ca = "/transport_socket/typed_config/common_tls_context/validation_context/trusted_ca/filename";
        assert_eq!(
            cluster.pointer(ca),
            Some(&json!(paths[index % paths.len()]))
        );
        let agent = &document_of(&filter)["agents"][name];
        assert_eq!(*agent, json!({"cluster": format!("{name}/tls")}));
    }
    let mut routes = document["routes"].clone();
    assert_eq!(document_of(&filter)["routes"], routes.take());
    let validator = &document_of(&filter)["clients"]["validator"];
    assert_eq!(
        validator["headers"],
        document["clients"]["validator"]["headers"]
    );
    assert_eq!(validator["path"], "/{{v}}?a=%41&b='");
    assert_eq!(
        document_of(&filter)["agents"]["elsewhere"]["cluster"],
        "{{my}}#cluster"
    );
    let module = "/resources/0/typed_config/config/vm_config/code/local/filename";
    assert_eq!(filter.pointer(module), Some(&json!("/m: {{ x }} #")));
}

fn document_of(filter: &Value) -> &Value {
    document(filter)
}

/// The Envoy that is found is named by what a shell finds it by, and warned of where it may not take the files.
#[test]
fn an_envoy_that_is_older_than_the_files_are_for_is_warned_of() {
    let place = Place::with(SMALL);
    let program = place.path("envoy");
    fs::write(
        &program,
        "#!/bin/sh\necho 'envoy  version: 84e5/1.37.2/Clean/RELEASE/BoringSSL'\n",
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let out = place.path("out");
    let write = |arguments: &[&str]| {
        let out = ["--out", out.to_str().unwrap()];
        place.run_in(
            &[("PATH", place.directory())],
            "envoy",
            &[&out, arguments].concat(),
        )
    };

    let run = write(&["--module", "/dev/null"]);
    let warned = "warning: DIR/envoy is Envoy 1.37.2, and the files are for Envoy 1.40; --envoy-version 1.37 writes them for it\n";
    assert!(run.errors.ends_with(warned), "{}", run.errors);
    let command =
        "\n  envoy --config-path DIR/out/envoy.yaml --drain-time-s 5 --disable-hot-restart\n";
    assert!(run.output.ends_with(command), "{}", run.output);
    for version in ["1.37", "1.36"] {
        let run = write(&["--envoy-version", version]);
        assert!(!run.errors.contains("files are for"), "{}", run.errors);
    }
    // Where they are read elsewhere nothing is known of it.
    let run = write(&["--configuration-dir", "/c"]);
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    assert!(
        run.output
            .contains("The filter is /etc/waykeeper/waykeeper.wasm;"),
        "{}",
        run.output
    );
}

/// The real Envoy is asked; what it would start with is written, and nothing else.
#[test]
fn nothing_is_written_that_check_finds_faults_in() {
    let envoy = repository(".tools/envoy");
    let asked = ["--envoy-program", envoy.to_str().unwrap()];
    let patched =
        format!("{SMALL}envoy: {{patches: [{{in: virtual_host, merge: {{wrong: 1}}}}]}}\n");
    let known = "clients: {keys: [{client_id: mine, sha256: \"SUM\"}]}\n";
    let sum = waykeeper(&["hash-key"], b"wk-mine").output;
    let agent = "chat: {url: \"http://chat:8000\", credential: {env: TEST_OF_KEY}}";
    let mixed = with("chat: {url: http://chat:8000}", agent) + &known.replace("SUM", sum.trim());
    for (text, said) in [
        (
            patched,
            "envoy.patches[0].merge.wrong: Envoy does not take it: ",
        ),
        (
            mixed,
            "agents.chat.credential: holds the gateway key of client mine",
        ),
    ] {
        let place = Place::with(&text);
        let out = place.path("out");
        let environment = [("TEST_OF_KEY", "wk-mine")];
        let checked = place.run_in(&environment, "check", &asked);
        let write = |more: &[&str]| {
            let out = ["--out", out.to_str().unwrap()];
            place.run_in(&environment, "envoy", &[&out[..], more].concat())
        };
        let elsewhere = [&asked[..], &["--configuration-dir", "/c"]].concat();
        for arguments in [&asked[..], &elsewhere] {
            let written = write(arguments);
            assert!(written.errors.contains(said), "{}", written.errors);
            assert_eq!((written.status, &written.errors), (1, &checked.errors));
            assert!(!out.exists(), "{said}");
        }
    }

    // Who does not have it validated is told so.
    let place = Place::with(SMALL);
    let run = place.write("envoy", &asked);
    let told = format!("\nEnvoy has validated this: 1.40.0 ({})\n", envoy.display());
    assert!(run.output.contains(&told), "{}", run.output);
    let run = place.write("envoy", &["--no-validate"]);
    assert!(
        run.output
            .contains("\nEnvoy has not validated this: --no-validate\n")
    );
    let run = place.write("envoy", &["--envoy-program", "/no/envoy"]);
    assert_eq!(run.status, 2, "{}", run.errors);
}

/// What cannot be reached is no good gateway to whoever asked for that.
#[test]
fn what_cannot_be_reached_is_not_called_good() {
    let place = Place::with(&with("http://chat:8000", "http://127.0.0.1:1"));
    let run = place.run("check", &["--probe", "--no-validate"]);
    assert_eq!((run.status, run.output.as_str()), (1, ""), "{}", run.errors);
    let place = Place::with(SMALL);
    let run = place.run("check", &["--no-validate"]);
    assert!(run.output.contains(": good\n"), "{}", run.output);

    // Pickers too, and what the environment holds is not shown.
    let (there, _) = crate::server::server(|mut stream| {
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
    });
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = nowhere.local_addr().unwrap();
    drop(nowhere);
    let agent = format!(
        "chat: {{url: 'http://127.0.0.1:{there}/${{BASE}}', picker: {{url: 'http://{nobody}'}}}}\n  gone: {{url: 'http://{nobody}/${{BASE}}'}}"
    );
    let place = Place::with(&with("chat: {url: http://chat:8000}", &agent));
    let environment = [("BASE", "base-of-the-environment")];
    let run = place.run_in(&environment, "check", &["--probe", "--no-validate"]);
    assert_eq!(run.status, 1);
    let refused = "refuses connections: nothing listens there";
    for at in [
        format!("3: agents.chat.picker: http://{nobody}"),
        format!("4: agents.gone: http://{nobody}"),
    ] {
        let told = |line: &str| line.contains(&at) && line.contains(refused);
        assert!(run.errors.lines().any(told), "{at}\n{}", run.errors);
    }
    let all = run.output + &run.errors;
    assert!(!all.contains("base-of-the-environment"), "{all}");
}

#[test]
fn mistakes_of_indentation_are_told_with_what_to_look_at() {
    for (text, line, said) in [
        ("a:\n  b: 1\n c: 2\n", 3, "column 2: "),
        ("agents:\n  chat: {url: x}\n   more: 1\n", 3, "column "),
        ("agents: a\n  b: 1\n", 2, "column "),
        ("list:\n  - a\n  b: 1\n", 3, "column 3: "),
    ] {
        let run = Place::with(text).run("check", &[]);
        let begin = format!("DIR/gateway.yaml:{line}: {said}");
        assert!(run.errors.starts_with(&begin), "{text}{}", run.errors);
        let hint = "look at the indentation";
        assert!(run.errors.contains(hint), "{text}{}", run.errors);
    }
}

#[test]
fn a_directory_in_place_of_a_file_is_told_with_what_to_name() {
    let run = waykeeper(&["check", "."], b"");
    let told = ".: is a directory, not a file; name the files in it\n";
    assert_eq!((run.status, run.errors.as_str()), (2, told));
}

#[test]
fn a_file_of_another_hand_is_not_overwritten_unless_forced() {
    let place = Place::with(SMALL);
    fs::create_dir(place.path("out")).unwrap();
    let own = place.path("out").join("waykeeper.yaml");
    fs::write(&own, "mine\n").unwrap();

    let run = place.write("envoy", &[]);

    assert_eq!(
        (run.status, run.errors.as_str()),
        (
            1,
            "DIR/out/waykeeper.yaml: was not written by this command; --force overwrites it\n"
        )
    );
    assert_eq!(fs::read_to_string(&own).unwrap(), "mine\n");
    assert!(
        !place.path("out").join("envoy.yaml").exists(),
        "half was written"
    );

    assert_eq!(place.write("envoy", &["--force"]).status, 0);
    let first = place.written("waykeeper.yaml");
    assert!(
        first.starts_with(
            "# Written by `waykeeper envoy` from gateway.yaml: changes belong there.\n"
        )
    );
    assert!(!first.contains(place.directory()));

    // Its own it overwrites, and leaves alone what has not changed.
    let run = place.write("envoy", &[]);
    assert!(
        run.output
            .starts_with("DIR/out/envoy.yaml: unchanged\nDIR/out/waykeeper.yaml: unchanged\n"),
        "{}",
        run.output
    );
    fs::write(
        place.path("gateway.yaml"),
        SMALL.replace("/chat,", "/other,"),
    )
    .unwrap();
    let run = place.write("envoy", &[]);
    assert!(
        run.output
            .starts_with("DIR/out/envoy.yaml: unchanged\nDIR/out/waykeeper.yaml: written\n"),
        "{}",
        run.output
    );
    // One that somebody has put beside them is none of its business.
    fs::write(place.path("out").join("waykeeper.yaml.new"), "mine\n").unwrap();
    assert_eq!(place.write("envoy", &["--force"]).status, 0);
    let left: Vec<_> = fs::read_dir(place.path("out"))
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn the_source_is_never_overwritten() {
    let place = Place::with(SMALL);
    let source = place.path("waykeeper.yaml");
    let text = format!("# Written by `waykeeper envoy` before it was edited.\n{SMALL}");
    fs::write(&source, &text).unwrap();
    let directory = place.directory();

    let run = waykeeper(
        &[
            "envoy",
            source.to_str().unwrap(),
            "--out",
            directory,
            "--force",
        ],
        b"",
    );

    assert_eq!(run.status, 2, "{}", run.errors);
    assert_eq!(fs::read_to_string(&source).unwrap(), text);
}

#[test]
fn who_may_not_read_the_source_may_not_read_what_is_written() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let place = Place::with(SMALL);
    fs::set_permissions(
        place.path("gateway.yaml"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();

    assert_eq!(place.write("envoy", &[]).status, 0);
    let written = place.path("out").join("waykeeper.yaml");
    assert_eq!(mode(&written), 0o640);

    let out = place.path("by-input");
    let run = waykeeper(
        &["envoy", "-", "--out", out.to_str().unwrap()],
        SMALL.as_bytes(),
    );
    assert_eq!(run.status, 0, "{}", run.errors);
    assert_eq!(mode(&out.join("waykeeper.yaml")), 0o600);

    // Who was let in stays in.
    fs::set_permissions(&written, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(
        place.path("gateway.yaml"),
        SMALL.replace("/chat,", "/other,"),
    )
    .unwrap();
    assert_eq!(place.write("envoy", &[]).status, 0);
    assert_eq!(mode(&written), 0o644);
}

#[test]
fn who_may_not_read_a_key_of_sessions_may_not_read_what_it_is_written_into() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let key = "0123456789abcdefABCDEF9876543210".repeat(2);
    let place = Place::with(SMALL);
    let (source, kept) = (place.path("gateway.yaml"), place.path("key"));
    let text = |keys: &str| {
        SMALL.replace(
            "\nagents:",
            &format!("\nsessions: {{keys: [{keys}]}}\nagents:"),
        )
    };
    let of_file = format!("{{file: {}}}", kept.display());
    fs::write(&kept, &key).unwrap();
    fs::write(&source, text(&of_file)).unwrap();
    set(&source, 0o644).unwrap();
    let written = place.path("out").join("waykeeper.yaml");
    for (of_key, expected) in [(0o600, 0o600), (0o640, 0o640), (0o644, 0o640)] {
        set(&kept, of_key).unwrap();
        let _ = fs::remove_file(&written);
        let run = place.write("envoy", &[]);
        assert_eq!(run.status, 0, "{}", run.errors);
        assert!(place.written("waykeeper.yaml").contains(&key));
        assert_eq!(mode(&written), expected);
        assert_eq!(mode(&place.path("out").join("envoy.yaml")), 0o644);
    }

    // Whoever may have widened it since, whether its text stays or not.
    set(&kept, 0o600).unwrap();
    set(&written, 0o644).unwrap();
    assert_eq!(place.write("envoy", &[]).status, 0);
    assert_eq!(mode(&written), 0o600);
    set(&written, 0o644).unwrap();
    fs::write(&source, text(&of_file).replace("/chat,", "/other,")).unwrap();
    assert_eq!(place.write("envoy", &[]).status, 0);
    assert_eq!(mode(&written), 0o600);

    // The strictest place of all keys.
    let other = key.replace('0', "1");
    fs::remove_file(&written).unwrap();
    set(&kept, 0o640).unwrap();
    fs::write(&source, text(&format!("{of_file}, {{env: TEST_OF_MODES}}"))).unwrap();
    let out = place.path("out");
    let arguments = [
        "envoy",
        source.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ];
    let environment = [("TEST_OF_MODES", other.as_str())];
    let run = waykeeper_in(&environment, &arguments, b"");
    assert_eq!(run.status, 0, "{}", run.errors);
    assert_eq!(mode(&written), 0o600);
}

#[test]
fn a_name_of_a_file_that_ends_its_line_stays_in_the_comment() {
    let place = Place::with(SMALL);
    let odd = place.path("a\nadmin: {}\n.yaml");
    fs::write(&odd, SMALL).unwrap();
    let out = place.path("out");

    let run = waykeeper(
        &[
            "envoy",
            odd.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ],
        b"",
    );

    assert_eq!(run.status, 0, "{}", run.errors);
    let envoy = place.written("envoy.yaml");
    assert!(
        envoy.starts_with("# Written by `waykeeper envoy` from \"a\\nadmin: {}\\n.yaml\": changes"),
        "{envoy:.100}"
    );
}

#[test]
fn a_gateway_comes_by_standard_input_too() {
    let place = Place::with(SMALL);
    let out = place.path("out");
    let run = waykeeper(
        &["envoy", "-", "--out", out.to_str().unwrap()],
        SMALL.as_bytes(),
    );
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    assert!(
        place
            .written("envoy.yaml")
            .contains("from \"standard input\": changes")
    );
}

// ------------------------------------------------------------------------------------------------------------- derived

#[test]
fn what_envoy_waits_for_follows_from_the_routes_and_the_validator() {
    let times = |text: &str| {
        let place = Place::with(text);
        let run = place.write("envoy", &[]);
        assert_eq!(run.status, 0, "{}", run.errors);
        let envoy = place.parsed("envoy.yaml");
        let routes = &envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
            ["route_config"]["virtual_hosts"][0]["routes"];
        let routes = routes.as_array().unwrap();
        let named = |name: &str| routes.iter().find(|route| route["name"] == name).unwrap();
        let idle = |name: &str| {
            named(name)["route"]["idle_timeout"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let buffer = named("not-decided")["request_body_buffer_limit"]
            .as_u64()
            .unwrap();
        (
            [
                idle("sse"),
                idle("websocket"),
                idle("http"),
                idle("not-decided"),
            ],
            buffer,
        )
    };
    let usual = ["3600s", "3600s", "600s", "3s"].map(str::to_owned);
    assert_eq!(times(SMALL), (usual, 1 << 20));

    let asked = format!("{SMALL}clients: {{validator: {{url: http://auth, timeout: 1500ms}}}}\n");
    assert_eq!(times(&asked).0[3], "3.5s");
    let long = with("[chat], ", "[chat], timeout: 1h, ")
        + "  - {prefix: /w, agents: [chat], auth_required: false, protocol: websocket, idle_timeout: 2h}\n";
    let expected = ["7205s", "7205s", "3600s", "3s"].map(str::to_owned);
    assert_eq!(times(&long).0, expected);
    let collects = with("[chat], ", "[chat], max_body: 5MiB, collect_body: true, ");
    assert_eq!(
        (times(&collects).0[3].as_str(), times(&collects).1),
        ("15s", 5 << 20)
    );
}

#[test]
fn the_filter_counts_hops_as_the_listeners_do() {
    let text = with("8080}", "8080, trusted_hops: 2}") + "address: {from: x-forwarded-for}\n";
    let place = Place::with(&text);
    assert_eq!(place.write("envoy", &[]).status, 0);
    let filter = place.parsed("waykeeper.yaml");
    assert_eq!(
        document(&filter)["address"],
        json!({"from": "x-forwarded-for", "trusted_hops": 2})
    );
}

// ------------------------------------------------------------------------------------------------------------- patches

const PATCHES: &str = "\
envoy:
  patches:
    - {in: http_filters, before: waykeeper, add: {name: mine, typed_config: {a: [5.5, 'n']}}}
    - {in: clusters, name: chat, merge: {connect_timeout: 3s}}
    - {in: clusters, add: {name: added}}
";

#[test]
fn patches_are_in_what_is_written_whenever_it_is_and_the_filter_hears_nothing_of_them() {
    let with_agent =
        with("  chat:", "  own: {cluster: added}\n  chat:").replace("[chat]", "[chat, own]");
    let place = Place::with(&with_agent);
    assert_eq!(place.write("envoy", &[]).status, 0);
    let filter = place.parsed("waykeeper.yaml");
    fs::write(place.path("gateway.yaml"), format!("{with_agent}{PATCHES}")).unwrap();
    for agent in ["http://chat:8000", "http://other:8000"] {
        let text = format!("{with_agent}{PATCHES}").replace("http://chat:8000", agent);
        fs::write(place.path("gateway.yaml"), text).unwrap();
        let run = place.write("envoy", &["--no-validate"]);
        assert_eq!(run.status, 0, "{}", run.errors);
        let envoy = place.parsed("envoy.yaml");
        assert_eq!(cluster(&envoy, "chat")["connect_timeout"], "3s");
        assert_eq!(cluster(&envoy, "added"), &json!({"name": "added"}));
        let manager = &envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
        let filters = &manager["typed_config"]["http_filters"];
        assert_eq!(
            filters[2],
            json!({"name": "mine", "typed_config": {"a": [5.5, "n"]}})
        );
        assert_eq!(place.parsed("waykeeper.yaml"), filter);
    }
    // Without them it is the commented file again.
    fs::write(place.path("gateway.yaml"), &with_agent).unwrap();
    assert_eq!(place.write("envoy", &[]).status, 0);
    assert!(
        place
            .written("envoy.yaml")
            .contains("# One spelling per path.")
    );
}

#[test]
fn a_patch_that_matches_nothing_is_told_with_its_line_by_every_command() {
    let text = format!("{SMALL}{PATCHES}").replace("name: chat, merge", "name: chatt, merge");
    let place = Place::with(&text);
    let told = "DIR/gateway.yaml:9: envoy.patches[1].name: no cluster named \"chatt\"; did you mean \"chat\"?\n";
    for run in [place.run("check", &[]), place.write("envoy", &[])] {
        assert_eq!(run.status, 1);
        assert!(run.errors.ends_with(told), "{}", run.errors);
    }
    assert!(!place.path("out").exists());
}

#[test]
fn check_knows_clusters_that_patches_add() {
    let place = Place::with(&format!(
        "{}{PATCHES}",
        with("{url: http://chat:8000}", "{cluster: chat}")
    ));
    let more = place.path("more.yaml");
    let check = |clusters: &str| {
        fs::write(
            &more,
            format!("static_resources: {{clusters: [{clusters}]}}\n"),
        )
        .unwrap();
        let text = fs::read_to_string(place.path("gateway.yaml")).unwrap();
        fs::write(
            place.path("gateway.yaml"),
            text.replace("name: chat, merge", "name: added, merge"),
        )
        .unwrap();
        // What stands for filters there is none.
        let arguments = ["--no-validate", "--envoy", more.to_str().unwrap()];
        place.run("check", &arguments)
    };
    assert!(check("").errors.contains("has no cluster named \"chat\""));
    let text = fs::read_to_string(place.path("gateway.yaml")).unwrap();
    let own = text.replace("{cluster: chat}", "{cluster: added}");
    let later = "    - {in: clusters, add: {name: added}}\n";
    let first = own
        .replace(later, "")
        .replace("patches:\n", &format!("patches:\n{later}"));
    fs::write(place.path("gateway.yaml"), first).unwrap();
    let run = check("");
    assert_eq!(run.status, 0, "{}", run.errors);
}

// --------------------------------------------------------------------------------------------------------------- fleet

const COUNTED: &str = "\
plans:
  standard: {requests: 50/minute, scope: fleet}
  premium: {requests: 500/minute, scope: fleet, limits: [{name: of-route, each: [client, route], requests: 9/hour, scope: fleet}]}
limits:
  - {name: tenants, each: {header: x-tenant}, requests: 7/day, scope: fleet}
  - {name: here, each: client, requests: 1/second}
";

#[test]
fn a_builtin_limiter_is_run_s_alone_and_a_limiter_at_a_url_has_a_cluster() {
    let limits = "limits: [{name: all, each: [], requests: 5/day, scope: fleet}]\n";
    let with = |limiter: &str| {
        Place::with(&format!(
            "{SMALL}{limits}fleet: {{gateways: 1, limiter: {{{limiter}}}}}\n"
        ))
    };
    let run = with("builtin: {}").write("envoy", &[]);
    assert_eq!(run.status, 1);
    let told = "gateway.yaml:7: fleet.limiter.builtin: only `waykeeper run` serves it";
    assert!(run.errors.contains(told), "{}", run.errors);

    let place = with("url: 'http://limiter:8081', max_pending: 10");
    let run = place.write("envoy", &["--no-validate"]);
    assert_eq!(run.status, 0, "{}", run.errors);
    let envoy = place.written("envoy.yaml");
    for line in [
        "    - name: \"waykeeper/limiter\"\n",
        "max_requests: 640,",
        "grpc_health_check: {authority: \"limiter:8081\"}",
        "connection_keepalive",
    ] {
        assert!(envoy.contains(line), "{line}: {envoy}");
    }
    let filter = place.written("waykeeper.yaml");
    for line in ["cluster: \"waykeeper/limiter\"", "host: \"limiter:8081\""] {
        assert!(filter.contains(line), "{line}: {filter}");
    }
}

#[test]
fn limits_of_the_fleet_are_written_as_other_services_files() {
    let text = format!(
        "{SMALL}{COUNTED}fleet: {{gateways: 1, limiter: {{url: 'http://l:1', domain: mine}}}}\n"
    );
    let run = Place::with(&text).run("limits", &["--for", "ratelimit"]);
    assert_eq!(run.status, 0, "{}", run.errors);
    let read = yaml(&run.output);
    let of = |unit, number| json!({"unit": unit, "requests_per_unit": number});
    let of_plan = |name, number| json!({"key": "plan", "value": name, "descriptors": [{"key": "client", "rate_limit": of("minute", number)}]});
    let expected = json!({"domain": "mine", "descriptors": [
        {"key": "limit", "value": "plan", "descriptors": [of_plan("premium", 500), of_plan("standard", 50)]},
        {"key": "limit", "value": "of-route", "descriptors": [{"key": "plan", "value": "premium", "descriptors": [
            {"key": "client", "descriptors": [{"key": "route", "rate_limit": of("hour", 9)}]},
        ]}]},
        {"key": "limit", "value": "tenants", "descriptors": [{"key": "header:x-tenant", "rate_limit": of("day", 7)}]},
    ]});
    assert_eq!(read, expected);

    let run = Place::with(&text).run("limits", &["--for", "limitador"]);
    assert_eq!(run.status, 0, "{}", run.errors);
    let read = yaml(&run.output);
    let names: Vec<_> = read
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["name"], &it["max_value"], &it["namespace"]))
        .map(|(name, most, domain)| json!([name, most, domain]))
        .collect();
    let expected = json!([
        ["plan", 500, "mine"],
        ["of-route", 9, "mine"],
        ["plan", 50, "mine"],
        ["tenants", 7, "mine"]
    ]);
    assert_eq!(json!(names), expected);

    let run = Place::with(SMALL).run("limits", &["--for", "ratelimit"]);
    assert_eq!((run.status, run.output.as_str()), (1, ""), "{}", run.errors);
}

/// A name is needed only where there are several.
#[test]
fn a_patch_of_the_only_listener_needs_no_name() {
    let patch = "envoy: {patches: [{in: listeners, merge: {tcp_backlog_size: 4096}}]}\n";
    let place = Place::with(&format!("{SMALL}operations: 127.0.0.1:9902\n{patch}"));
    let run = place.write("envoy", &["--no-validate"]);
    assert_eq!(run.status, 0, "{}", run.errors);
    let envoy = yaml(&place.written("envoy.yaml"));
    let listeners = envoy["static_resources"]["listeners"].as_array().unwrap();
    let patched: Vec<_> = { listeners.iter() }
        .filter(|it| it["tcp_backlog_size"] == 4096)
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(patched, ["gateway"]);
    let two = with(
        "{address: 127.0.0.1:8080}",
        "{address: 127.0.0.1:8080}, {address: 127.0.0.1:8081}",
    );
    let run = Place::with(&format!("{two}{patch}")).run("check", &["--no-validate"]);
    let told = "envoy.patches[0].name: is missing\n";
    assert!(
        run.status == 1 && run.errors.ends_with(told),
        "{}",
        run.errors
    );
}

#[test]
fn it_is_told_whether_envoy_has_to_be_started_again() {
    let place = Place::with(SMALL);
    let run = place.write("envoy", &["--no-validate"]);
    let first = "\nEnvoy reads waykeeper.yaml again whenever it is written, and envoy.yaml when it starts:\n";
    assert!(run.output.contains(first), "{}", run.output);
    let limits = "limits: [{name: all, each: address, requests: 5/minute}]\n";
    fs::write(place.path("gateway.yaml"), format!("{SMALL}{limits}")).unwrap();
    let run = place.write("envoy", &["--no-validate"]);
    let same = "\nenvoy.yaml has not changed: an Envoy that runs needs no restart";
    assert!(run.output.contains(same), "{}", run.output);
    fs::write(place.path("gateway.yaml"), with("8000", "8001")).unwrap();
    let run = place.write("envoy", &["--no-validate"]);
    let changed = "\nenvoy.yaml has changed: start Envoy again:\n";
    assert!(run.output.contains(changed), "{}", run.output);
}
