//! `waykeeper check` on files of every kind.

use std::fs;

use tempfile::TempDir;

use crate::{Run, repository, waykeeper};

/// A good document, as it stands in a file of its own.
const BARE: &str = "\
clients:
  validator: {cluster: auth, path: /validate}
agents:
  chat: {cluster: chat}
routes:
  - prefix: /chat
    agents: [chat]
";

/// The cluster of its validator, as Envoy should have it.
const AUTH: &str = "{name: auth, circuit_breakers: {thresholds: [{max_retries: 1024}]}}";

/// Files in a directory that is gone after the test.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        Self(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

/// Checks one file's text; its path is left out of what is said.
fn check(text: &str, arguments: &[&str]) -> Run {
    let files = Files::new(&[("file.yaml", text)]);
    let path = files.path("file.yaml");
    let mut run = waykeeper(&[&["check", path.as_str()], arguments].concat(), b"");
    run.output = run.output.replace(&path, "FILE");
    run.errors = run.errors.replace(&path, "FILE");
    run
}

/// The document inside of Envoy's Wasm filter, inside of whatever `around` makes of it.
fn filter(configuration: &str) -> String {
    format!(
        "\
\"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
config:
  name: waykeeper
  configuration:
{}",
        indented(configuration, 4)
    )
}

fn as_struct(document: &str) -> String {
    format!(
        "\"@type\": type.googleapis.com/google.protobuf.Struct\nvalue:\n{}",
        indented(document, 2)
    )
}

fn indented(text: &str, by: usize) -> String {
    text.lines()
        .map(|line| format!("{}{line}\n", " ".repeat(by)))
        .collect()
}

/// An extension configuration in a file, as Envoy watches it.
fn discovered(configuration: &str) -> String {
    format!(
        "\
resources:
  - \"@type\": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
    name: waykeeper
    typed_config:
{}",
        indented(&filter(configuration), 6)
    )
}

fn bootstrap(document: &str, clusters: &str) -> String {
    format!(
        "\
static_resources:
  listeners:
    - name: gateway
      filter_chains:
        - filters:
            - name: hcm
              typed_config:
                http_filters:
                  - name: waykeeper
                    typed_config:
{}  clusters:
{}",
        indented(&filter(&as_struct(document)), 22),
        indented(clusters, 4),
    )
}

fn assert_good(run: &Run) {
    assert_eq!((run.status, run.errors.as_str()), (0, ""), "{}", run.output);
    assert!(run.output.contains(": good\n"), "{}", run.output);
}

#[test]
fn a_good_document_is_summed_up() {
    let run = check(BARE, &[]);

    assert_good(&run);
    assert_eq!(
        run.output,
        "\
FILE:1: good
  1 route, 1 agent, 0 plans, 0 limits
  0 listed keys, others asked at cluster auth, as host auth
  memory in each Envoy process, whatever the traffic:
    65536 keys in 8192 cells, at most 32.0 MiB; room for 16144 in use
    262144 counters in 8192 cells, usually 10.2 MiB, at most 80.2 MiB
    65536 address counters in 2048 cells, usually 2.5 MiB, at most 20.0 MiB
  and in each of its workers, for requests that wait:
    at most 128.0 MiB for the validator, 4.0 MiB of each
"
    );
}

#[test]
fn it_is_told_what_waiting_can_hold_where_anything_waits() {
    let rest =
        "agents: {chat: {cluster: chat}}\nroutes: [{prefix: /a, agents: [chat], max_body: 1MiB";
    let waiting = |text: &str| {
        let run = check(text, &[]);
        assert_good(&run);
        let told = run.output.split_once("for requests that wait:\n");
        told.map(|(_, told)| told.to_owned())
    };

    assert_eq!(waiting(&format!("{rest}, auth_required: false}}]")), None);
    let collecting = format!(
        "clients: {{hold: {{collected: 1GiB}}}}\n{rest}, auth_required: false, collect_body: true}}]"
    );
    let told = waiting(&collecting).unwrap();
    let bodies = "    at most 1024.0 MiB by those that wait for their bodies\n";
    assert!(
        told.starts_with(bodies) && !told.contains("validator"),
        "{told}"
    );
    let both = format!(
        "clients: {{hold: {{request: 64KiB, worker: 1MiB}}, validator: {{cluster: auth, path: /}}}}\n{rest}, collect_body: true}}]"
    );
    assert_eq!(
        waiting(&both).as_deref(),
        Some(
            "    at most 1.0 MiB for the validator, 64.0 KiB of each\n    at most 512.0 MiB by those that wait for their bodies\n"
        )
    );
}

#[test]
fn where_addresses_are_read_is_compared_with_envoys() {
    let reference = std::fs::read_to_string(repository("envoy/envoy.yaml")).unwrap();
    let own = std::fs::read_to_string(repository("envoy/waykeeper.yaml")).unwrap();
    let (hops, remote) = ("xff_num_trusted_hops: 0", "use_remote_address: true");
    assert!(reference.contains(hops) && reference.contains(remote));
    let check = |envoy: &str, address: &str| {
        let own = own.replace(
            "            tables:",
            &format!("            {address}\n            tables:"),
        );
        let files = Files::new(&[("envoy.yaml", envoy), ("own.yaml", &own)]);
        let (envoy, own) = (files.path("envoy.yaml"), files.path("own.yaml"));
        let run = waykeeper(&["check", &own, "--envoy", &envoy], b"");
        assert_eq!(run.status, 0, "{}", run.errors);
        let text = std::fs::read_to_string(&envoy).unwrap();
        let told = run.errors.lines().filter_map(|line| {
            let (_, told) = line.split_once("warning: ")?;
            let (told, place) = told.split_once(&format!(" at {envoy}:"))?;
            let number: String = place.chars().take_while(char::is_ascii_digit).collect();
            let line = text.lines().nth(number.parse::<usize>().unwrap() - 1);
            Some((told.to_owned(), line.unwrap().trim().to_owned()))
        });
        told.collect::<Vec<_>>()
    };
    let at = |told: &str, line: &str| vec![(told.to_owned(), line.to_owned())];
    let forwarded = |hops: u32| format!("address: {{from: x-forwarded-for, trusted_hops: {hops}}}");
    let none = Vec::new();
    let begins = "\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

    // Envoy is asked, or reads the same entry.
    assert_eq!(check(&reference, ""), none);
    assert_eq!(check(&reference, "address: {from: envoy}"), none);
    assert_eq!(check(&reference, &forwarded(0)), none);
    let one = reference.replace(hops, "xff_num_trusted_hops: 1");
    assert_eq!(check(&one, &forwarded(1)), none);
    assert_eq!(
        check(&reference, &forwarded(1)),
        at(
            "address.trusted_hops: 1 is not the xff_num_trusted_hops 0",
            hops
        )
    );
    let unwritten = reference.replace(hops, "");
    assert_eq!(
        check(&unwritten, &forwarded(2)),
        at(
            "address.trusted_hops: 2 is not the xff_num_trusted_hops 0",
            begins
        )
    );
    assert_eq!(
        check(&one, "address: {from: x-forwarded-for}"),
        at(
            "address.trusted_hops: 0 is not the xff_num_trusted_hops 1",
            "xff_num_trusted_hops: 1"
        )
    );
    // An extension finds the address by rules of its own.
    let extended = reference.replace(hops, "original_ip_detection_extensions: []");
    assert_eq!(check(&extended, &forwarded(1)), none);
    // Nothing is appended.
    let skip = "skip_xff_append: true";
    for (silent, line) in [
        ("", begins),
        (skip, skip),
        ("use_remote_address: false", "use_remote_address: false"),
    ] {
        let silent = reference.replace(remote, silent);
        assert_eq!(check(&silent, &forwarded(0)), at("address.from:", line));
    }
    let both = reference.replace(remote, &format!("{remote}\n                {skip}"));
    assert_eq!(check(&both, &forwarded(0)), at("address.from:", skip));
    assert_eq!(check(&both, "address: {from: envoy}"), none);
}

#[test]
fn a_raised_generation_is_told_and_one_that_is_none_is_a_fault() {
    let document = |generation: &str| {
        let remember = format!("/validate, remember: {{generation: {generation}}}");
        BARE.replace("/validate", &remember)
    };

    let raised = check(&document("2"), &[]);
    let none = check(&document("0"), &[]);

    assert_good(&raised);
    let told = "  0 listed keys, others asked at cluster auth, as host auth, generation 2\n";
    assert!(raised.output.contains(told), "{}", raised.output);
    let told = "FILE:2: clients.validator.remember.generation: expected a whole number from 1 to ";
    assert_eq!(none.status, 1);
    assert!(none.errors.contains(told), "{}", none.errors);
}

#[test]
fn it_is_told_for_how_many_the_tables_are_enough() {
    let limited = BARE.to_owned()
        + "\
plans: {standard: {requests: 5/second}, free: {}}
limits:
  - {name: per-address, each: address, requests: 10/second}
  - {name: per-day, each: client, requests: 100/day}
  - {name: everyone, each: [], requests: 1000/second}
tables: {keys: 1024, counters: 65536, address_counters: 1024}
";
    let run = check(&limited, &[]);

    assert_good(&run);
    let told = "
    1024 keys in 128 cells, at most 512.0 KiB; room for 252 in use
    65536 counters in 2048 cells, usually 2.5 MiB, at most 20.0 MiB; room for the counters of 145 thousand clients, 2 each
    1024 address counters in 32 cells, usually 40.8 KiB, at most 320.8 KiB; room for the counters of 5742 addresses
";
    assert!(run.output.contains(told), "{}", run.output);
}

#[test]
fn the_repository_s_own_files_are_good() {
    let path = |name: &str| repository(name).to_str().unwrap().to_owned();
    let (own, envoy) = (path("envoy/waykeeper.yaml"), path("envoy/envoy.yaml"));
    assert_good(&waykeeper(&["check", &own, "--envoy", &envoy], b""));
    assert_good(&waykeeper(
        &[
            "check",
            &path("istio/waykeeper.yaml"),
            &path("istio/sidecar/envoy-filter.yaml"),
        ],
        b"",
    ));
}

#[test]
fn json_is_read_too() {
    let json = fs::read_to_string(repository("src/config/tests/reference.json")).unwrap();

    assert_good(&check(&json, &[]));
    assert_good(&check(&json.replace("  ", "\t"), &[]));
}

#[test]
fn json_whose_characters_are_escaped_in_halves_is_read_without_lines() {
    let run = check(
        r#"{"routes": [], "\ud83d\ude00": 1, "agents": {"a": {"cluster": "a"}}}"#,
        &[],
    );

    assert_eq!(run.status, 1);
    assert_eq!(
        run.errors,
        "FILE: routes: the list is empty; write at least one entry\nFILE: \"😀\": unknown field\n"
    );
}

#[test]
fn every_fault_is_told_with_its_line() {
    let text = BARE.replace("[chat]", "[chta]") + "    timeout: 5\ntabels: {}\nroutes: []\n";

    let run = check(&text, &[]);

    assert_eq!(run.status, 1);
    assert_eq!(run.output, "");
    assert_eq!(
        run.errors,
        "\
FILE:7: routes[0].agents[0]: no agent named \"chta\"; did you mean \"chat\"?
FILE:8: routes[0].timeout: the number 5 has no unit; write a duration such as \"250ms\", \"30s\", \"5m\" or \"1h\"
FILE:9: tabels: unknown field; did you mean \"tables\"?
FILE:10: routes: written twice; only one can count
"
    );
}

#[test]
fn a_missing_field_is_told_at_the_line_of_what_lacks_it() {
    let run = check(&BARE.replace("cluster: auth, ", ""), &[]);

    assert_eq!(
        run.errors,
        "FILE:2: clients.validator.cluster: is missing\n"
    );
}

#[test]
fn broken_yaml_is_told_with_its_line() {
    let run = check("routes:\n  - prefix: [\n", &[]);

    assert_eq!(run.status, 1);
    assert!(run.errors.starts_with("FILE:3: "), "{}", run.errors);
}

const GATEWAY: &str = "listen: [{address: '127.0.0.1:8080'}]\nagents: {a: {url: 'http://127.0.0.1:9'}}\n\
                       routes: [{prefix: /, agents: [a], auth_required: false, timeout: 2h}]\n";

/// `run` refuses such a file.
#[test]
fn a_gateway_beside_another_document_is_not_good() {
    for other in [GATEWAY, "listen: []\n", BARE] {
        for text in [
            format!("{GATEWAY}---\n{other}"),
            format!("{other}---\n{GATEWAY}"),
        ] {
            let run = check(&text, &["--no-validate"]);
            assert_eq!(run.status, 1, "{text}");
            assert!(!run.output.contains("good"), "{}", run.output);
            let told = "FILE:1: holds several documents; a gateway is one\n";
            assert!(run.errors.contains(told), "{}", run.errors);
        }
    }
    assert_good(&check(
        &format!("---\n{GATEWAY}---\n# nothing\n"),
        &["--no-validate"],
    ));
}

#[test]
fn a_file_that_is_too_large_is_told_at_once() {
    let large = format!("{GATEWAY}#{}", " ".repeat(16 << 20));
    let run = check(&large, &["--no-validate"]);
    assert_eq!(
        (run.status, run.errors.as_str()),
        (1, "FILE: is larger than 16 MiB\n")
    );
    // And what would be once its aliases are put in.
    let aliases = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(1 << 20),
        vec!["*a"; 20_000].join(",")
    );
    let run = check(&aliases, &["--no-validate"]);
    assert_eq!(run.status, 1);
    assert!(
        run.errors.starts_with("FILE:2: more than"),
        "{}",
        run.errors
    );
}

/// A patch may make Envoy end what the file lets go on.
#[test]
fn patches_that_contradict_the_file_are_warned_of() {
    let with = |patch: &str| {
        let run = check(
            &format!("{GATEWAY}envoy: {{patches: [{patch}]}}\n"),
            &["--no-validate"],
        );
        assert_eq!(run.status, 0, "{}", run.errors);
        run.errors
    };
    let route = |merge: &str| {
        with(&format!(
            "{{in: routes, name: http, merge: {{route: {{{merge}}}}}}}"
        ))
    };
    assert_eq!(
        with("{in: clusters, name: a, merge: {connect_timeout: 3s}}"),
        ""
    );
    assert_eq!(route("idle_timeout: 3h"), "");
    assert_eq!(
        route("idle_timeout: 1s"),
        "FILE:3: warning: the timeout 2h of the route \"/\" is longer than the idle_timeout 1s for kind http at the patched \
         envoy.yaml, which ends requests whose agent is silent for longer\n"
    );
}

#[test]
fn an_empty_file_is_no_configuration() {
    for text in ["", "# nothing\n", "---\n", "\u{feff}"] {
        let run = check(text, &[]);
        assert_eq!(
            (run.status, run.errors.as_str()),
            (1, "FILE:1: the file is empty\n"),
            "{text:?}"
        );
    }
}

#[test]
fn a_file_that_is_no_text_is_refused() {
    let run = waykeeper(&["check", "-"], b"\xff\xfe");

    assert_eq!(
        (run.status, run.errors.as_str()),
        (1, "standard input:1: not UTF-8\n")
    );
}

#[test]
fn standard_input_is_read() {
    let run = waykeeper(&["check", "-"], BARE.as_bytes());

    assert_good(&run);
    assert!(
        run.output.starts_with("standard input:1: good\n"),
        "{}",
        run.output
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_wrong_argument() {
    let files = Files::new(&[("good.yaml", BARE)]);

    let run = waykeeper(
        &["check", &files.path("none.yaml"), &files.path("good.yaml")],
        b"",
    );

    assert_eq!(run.status, 2);
    assert!(
        run.errors.contains("none.yaml: No such file"),
        "{}",
        run.errors
    );
    assert!(
        run.output.contains("good.yaml:1: good"),
        "the others are checked all the same: {}",
        run.output
    );
}

#[test]
fn wrong_arguments_are_told_apart_from_faults() {
    assert_eq!(waykeeper(&["check"], b"").status, 2);
    assert_eq!(waykeeper(&[], b"").status, 2);
    assert_eq!(waykeeper(&["chekc"], b"").status, 2);
    assert_eq!(
        waykeeper(&["check", "--target", "nginx", "-"], b"").status,
        2
    );
    assert_eq!(waykeeper(&["--help"], b"").status, 0);
    assert_eq!(waykeeper(&["--version"], b"").status, 0);
}

#[test]
fn one_faulty_file_among_good_ones_is_a_fault() {
    let files = Files::new(&[("good.yaml", BARE), ("bad.yaml", "routes: 1\n")]);

    let run = waykeeper(
        &["check", &files.path("bad.yaml"), &files.path("good.yaml")],
        b"",
    );

    assert_eq!(run.status, 1);
    assert!(run.output.contains("good.yaml:1: good"));
    assert!(!run.output.contains("bad.yaml"));
}

#[test]
fn the_document_is_found_in_envoy_s_files() {
    for text in [
        discovered(&as_struct(BARE)),
        bootstrap(BARE, "- name: chat\n- name: auth\n"),
        filter(&as_struct(BARE)),
        format!(
            "---\nkind: Service\napiVersion: v1\n---\n{}",
            discovered(&as_struct(BARE))
        ),
    ] {
        assert_good(&check(&text, &[]));
        let run = check(&text.replace("[chat]", "[chta]"), &[]);
        let line = 1 + text
            .lines()
            .position(|line| line.contains("[chat]"))
            .unwrap();
        let expected = format!(
            "FILE:{line}: routes[0].agents[0]: no agent named \"chta\"; did you mean \"chat\"?\n"
        );
        assert_eq!((run.status, run.errors), (1, expected));
    }
}

#[test]
fn the_document_is_found_as_json_in_a_string() {
    let json = r#"{"routes":[{"prefix":"/a","agents":["b"],"auth_required":false}],"agents":{"b":{"cluster":"b"}}}"#;
    let string = |json: &str| {
        filter(&format!(
            "\"@type\": type.googleapis.com/google.protobuf.StringValue\nvalue: |\n{}",
            indented(json, 2)
        ))
    };
    assert_good(&check(&string(json), &[]));

    let run = check(&string(&json.replace(r#"["b"]"#, r#"["c"]"#)), &[]);
    assert_eq!(
        (run.status, run.errors.as_str()),
        (
            1,
            "FILE:7: routes[0].agents[0]: no agent named \"c\"; did you mean \"b\"?\n"
        )
    );

    let run = check(&string("routes: []"), &[]);
    assert_eq!(run.status, 1);
    assert!(
        run.errors
            .starts_with("FILE:7: neither a protobuf Struct nor JSON"),
        "{}",
        run.errors
    );
}

#[test]
fn the_document_is_found_in_istio_s_manifests() {
    let plugin = format!(
        "\
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {{name: waykeeper}}
spec:
  url: file:///waykeeper.wasm
  pluginConfig:
    proof: \"0123-a-proof-of-tests\"
{}",
        indented(BARE, 4)
    );
    let typed_struct = format!(
        "\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
spec:
  configPatches:
    - applyTo: HTTP_FILTER
      patch:
        value:
          name: waykeeper
          typed_config:
            \"@type\": type.googleapis.com/udpa.type.v1.TypedStruct
            type_url: type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
            value:
{}",
        indented(&filter(&as_struct(BARE)), 14)
    );
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n  -\n{}",
        indented(&plugin, 4)
    );
    for text in [plugin, typed_struct, list] {
        assert_good(&check(&text, &[]));
        let run = check(&text.replace("prefix: /chat", "prefix: chat"), &[]);
        assert_eq!(run.status, 1);
        assert!(
            run.errors
                .contains("routes[0].prefix: \"chat\" must begin with /"),
            "{}",
            run.errors
        );
    }
}

#[test]
fn every_configuration_of_a_file_is_checked() {
    let text = format!(
        "{}---\n{}",
        discovered(&as_struct(BARE)),
        discovered(&as_struct(&BARE.replace("[chat]", "[]")))
    );

    let run = check(&text, &[]);

    assert_eq!(run.status, 1);
    assert!(run.output.contains("FILE:11: good"), "{}", run.output);
    assert_eq!(
        run.errors,
        "FILE:35: routes[0].agents: the list is empty; write at least one entry\n"
    );
}

#[test]
fn other_filters_are_left_alone() {
    let other =
        filter(&as_struct("metrics: [{name: a}]")).replace("name: waykeeper", "name: stats");
    let text = format!(
        "http_filters:\n  -\n{}  -\n{}",
        indented(&other, 4),
        indented(&filter(&as_struct(BARE)), 4)
    );

    assert_good(&check(&text, &[]));

    let run = check(&format!("http_filters:\n  -\n{}", indented(&other, 4)), &[]);
    assert_eq!(
        (run.status, run.errors.as_str()),
        (1, "FILE:1: no configuration of Waykeeper in this file\n")
    );
}

#[test]
fn a_filter_without_a_readable_configuration_is_told() {
    let kind = "the configuration's @type must be type.googleapis.com/google.protobuf.Struct, or \
                google.protobuf.StringValue with JSON";
    let value = "the configuration has no `value`, or one of another kind than its @type says";
    for (configuration, expected) in [
        (
            "\"@type\": type.googleapis.com/google.protobuf.BytesValue\nvalue: e30=",
            kind,
        ),
        ("clients: {}", kind),
        (
            "\"@type\": type.googleapis.com/google.protobuf.Struct",
            value,
        ),
        (
            "\"@type\": type.googleapis.com/google.protobuf.StringValue\nvalue: {}",
            value,
        ),
    ] {
        let run = check(&filter(configuration), &[]);
        assert_eq!(
            (run.status, run.errors),
            (1, format!("FILE:5: {expected}\n")),
            "{configuration}"
        );
    }
    let without = "\"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\nconfig:\n  name: waykeeper\n";
    assert_eq!(
        check(without, &[]).errors,
        "FILE:3: the filter has no configuration\n"
    );
}

#[test]
fn a_filter_that_fails_open_is_refused() {
    let plugin = format!(
        "kind: WasmPlugin\nmetadata:\n  name: waykeeper\nspec:\n  pluginConfig:\n{}    proof: \"0123-a-proof-of-tests\"\n",
        indented(BARE, 4)
    );
    let filter = filter(&as_struct(BARE));
    for (text, behind, field, written) in [
        (
            &filter,
            "  name: waykeeper\n",
            "failure_policy",
            "failure_policy: FAIL_OPEN",
        ),
        (
            &filter,
            "  name: waykeeper\n",
            "failure_policy",
            "failurePolicy: 3",
        ),
        (
            &filter,
            "  name: waykeeper\n",
            "fail_open",
            "fail_open: true",
        ),
        (
            &filter,
            "  name: waykeeper\n",
            "fail_open",
            "failOpen: true",
        ),
        (
            &filter,
            "  name: waykeeper\n",
            "fail_open",
            "fail_open: yes",
        ),
        (
            &plugin,
            "spec:\n",
            "failStrategy",
            "failStrategy: FAIL_OPEN",
        ),
    ] {
        assert_good(&check(text, &[]));
        let text = text.replace(behind, &format!("{behind}  {written}\n"));
        let line = 1 + text
            .lines()
            .position(|line| line.contains(written))
            .unwrap();

        let run = check(&text, &[]);

        let fault = format!(
            "FILE:{line}: {field} lets every request pass unchecked once the module has failed\n"
        );
        assert_eq!(
            (run.status, run.errors, run.output),
            (1, fault, String::new())
        );
    }
    let closed = filter.replace(
        "  name: waykeeper\n",
        "  name: waykeeper\n  failurePolicy: FAIL_RELOAD\n  fail_open: false\n",
    );
    assert_good(&check(&closed, &[]));
}

#[test]
fn what_envoy_does_not_know_around_the_configuration_is_warned_of() {
    let text = discovered(&as_struct(BARE))
        .replace(
            "        name: waykeeper\n",
            "        name: waykeeper
        failure_polcy: FAIL_RELOAD
        reloadConfig: {backoff: {}}
        vm_config: {vm_id: a, run_time: envoy.wasm.runtime.v8, code: {}, nackOnCodeCacheMiss: true}
",
        )
        .replace("      config:\n", "      configs: {}\n      config:\n");
    let run = check(&text, &[]);

    assert_eq!(run.status, 0);
    assert_eq!(
        run.errors,
        "\
FILE:6: warning: configs: Envoy knows no such field here; did you mean \"config\"?
FILE:9: warning: failure_polcy: Envoy knows no such field here; did you mean \"failure_policy\"?
FILE:11: warning: run_time: Envoy knows no such field here; did you mean \"runtime\"?
"
    );
}

/// Protobuf's JSON has each name in two spellings, and numbers in quotes too.
#[test]
fn envoys_own_fields_are_read_however_they_are_spelled() {
    let reference = std::fs::read_to_string(repository("envoy/envoy.yaml")).unwrap();
    let own = std::fs::read_to_string(repository("envoy/waykeeper.yaml")).unwrap();
    let own = own.replace(
        "            tables:",
        "            address: {from: x-forwarded-for, trusted_hops: 1}\n            tables:",
    );
    let names = [
        "static_resources",
        "filter_chains",
        "typed_config",
        "http_filters",
        "use_remote_address",
        "skip_xff_append",
        "xff_num_trusted_hops",
        "idle_timeout",
        "cluster_header",
        "string_match",
        "request_body_buffer_limit",
        "circuit_breakers",
        "max_requests",
        "max_retries",
        "retry_budget",
        "budget_percent",
        "min_retry_concurrency",
        "request_headers_to_remove",
        "virtual_hosts",
        "route_config",
    ];
    let camel = |name: &str| {
        let mut words = name.split('_');
        let first = words.next().unwrap().to_owned();
        words.fold(first, |spelled, word| {
            spelled + &word[..1].to_uppercase() + &word[1..]
        })
    };
    let quoted = |text: &str, name: &str, value: &str| {
        let (plain, quoted) = (format!("{name}: {value}"), format!("{name}: \"{value}\""));
        assert!(text.contains(&plain), "{plain}");
        text.replace(&plain, &quoted)
    };
    // Something wrong of every kind.
    let wrong = reference
        .replace(
            "use_remote_address: true",
            "use_remote_address: true\n                skip_xff_append: true",
        )
        .replace(
            "max_requests: 1024, max_retries: 1024",
            "max_requests: 5000, max_retries: 49",
        )
        .replace("idle_timeout: \"3s\"", "idle_timeout: 1s")
        .replace(
            "request_body_buffer_limit: 1048576",
            "request_body_buffer_limit: 4194304",
        )
        .replace("timeout: 300s", "timeout: 15s");
    let told = |envoy: &str, own: &str| {
        let files = Files::new(&[("envoy.yaml", envoy), ("own.yaml", own)]);
        let (envoy, own) = (files.path("envoy.yaml"), files.path("own.yaml"));
        let run = waykeeper(&["check", &own, "--envoy", &envoy], b"");
        run.errors.replace(files.0.path().to_str().unwrap(), "DIR")
    };
    let expected = told(&wrong, &own);
    for part in [
        "address.trusted_hops: 1 is not the xff_num_trusted_hops 0",
        "address.from: ",
        "of 5000 requests that \"waykeeper/validator\" takes at a time only 49 may be retries",
        "is not shorter than the idle_timeout 1s",
        "less than twice the request_body_buffer_limit 4MiB",
        "the timeout is not 300s",
    ] {
        assert!(expected.contains(part), "{part}: {expected}");
    }

    let mut otherwise = wrong.clone();
    for (name, value) in [
        ("xff_num_trusted_hops", "0"),
        ("max_requests", "5000"),
        ("max_retries", "49"),
        ("request_body_buffer_limit", "4194304"),
    ] {
        otherwise = quoted(&otherwise, name, value);
    }
    assert_eq!(told(&otherwise, &own), expected);
    for name in names {
        otherwise = otherwise.replace(&format!("{name}:"), &format!("{}:", camel(name)));
    }
    assert!(otherwise.contains("clusterHeader: ") && !otherwise.contains("cluster_header: "));
    assert_eq!(told(&otherwise, &own), expected);
    // Names of headers are written in either case.
    let capitals = otherwise.replace("name: x-waykeeper-", "name: X-Waykeeper-");
    let capitals = capitals.replace(
        "clusterHeader: x-waykeeper-cluster",
        "clusterHeader: X-Waykeeper-Cluster",
    );
    assert_ne!(capitals, otherwise);
    assert_eq!(told(&capitals, &own), expected);
    // And what is `null` is not written.
    let null = wrong.replace("xff_num_trusted_hops: 0", "xff_num_trusted_hops: null");
    assert!(told(&null, &own).contains("is not the xff_num_trusted_hops 0"));
    // What stands around the filter's configuration as well.
    let blind = own
        .replace(
            "prefix: \"/v1/chat/completions\"",
            "prefix: \"/v1/chat/completions\"\n                max_body: 1MiB\n                collect_body: true",
        )
        .replace("allow_on_headers_stop_iteration: true", "")
        .replace("vm_config:", "vmConfig:")
        .replace("typed_config:", "typedConfig:")
        .replace("root_id:", "rootId:");
    assert!(
        told(&reference, &blind).contains("allow_on_headers_stop_iteration: true beside vm_config")
    );
    let seeing = blind.replace(
        "vmConfig:",
        "allowOnHeadersStopIteration: true\n        vmConfig:",
    );
    assert!(!told(&reference, &seeing).contains("beside vm_config"));
}

#[test]
fn values_that_readers_of_yaml_disagree_on_are_warned_of() {
    let text = BARE.replace(
        "    agents: [chat]",
        "    agents: [chat, on]\n    roles: [yes, 0755, \"no\"]",
    ) + "    name: 1_000\n"
        + "agents2: {}\n";
    let text = text
        .replace(
            "  chat: {cluster: chat}",
            "  chat: {cluster: chat}\n  on: {cluster: 'off'}",
        )
        .replace("agents2: {}\n", "");

    let run = check(&text, &[]);

    let after = "; put it in quotes, or write it otherwise";
    let boolean = format!("true or false to some readers of YAML and a word to others{after}");
    assert!(
        run.errors
            .contains(&format!("FILE:5: warning: `on` is {boolean}\n")),
        "{}",
        run.errors
    );
    assert!(
        run.errors
            .contains(&format!("FILE:8: warning: `on` is {boolean}\n")),
        "{}",
        run.errors
    );
    assert!(
        run.errors
            .contains(&format!("FILE:9: warning: `yes` is {boolean}\n")),
        "{}",
        run.errors
    );
    assert!(
        run.errors.contains(&format!("FILE:9: warning: `0755` is octal to some readers of YAML and decimal to others{after}\n")),
        "{}",
        run.errors
    );
    assert!(
        run.errors.contains(&format!("FILE:10: warning: `1_000` is a number to some readers of YAML and a word to others{after}\n")),
        "{}",
        run.errors
    );
    assert!(
        !run.errors.contains("`no`") && !run.errors.contains("`off`"),
        "quoted: {}",
        run.errors
    );
}

#[test]
fn what_is_legal_but_hardly_meant_is_warned_of() {
    let text = BARE
        .replace(
            "  chat: {cluster: chat}",
            "  chat: {cluster: chat}\n  spare: {cluster: chat}",
        )
        .replace("prefix: /chat", "prefix: /chat/*\n    roles: [admin]")
        .replace(
            "validator: {cluster: auth, path: /validate}",
            &format!("keys: [{{sha256: \"{}\", client_id: a}}]", "ab".repeat(32)),
        );

    let run = check(&text, &[]);

    assert_eq!(run.status, 0);
    assert_eq!(
        run.errors,
        "\
FILE:5: warning: agents.spare: no route leads to this agent
FILE:7: warning: routes[0].prefix: * has no special meaning; a prefix is matched literally
FILE:8: warning: routes[0].roles: no listed key has such a role, and there is no validator
"
    );
}

/// `BARE` with other agents and routes.
fn with_routes(agents: &str, routes: &str) -> String {
    let (before, _) = BARE.split_once("agents:").unwrap();
    format!("{before}agents: {agents}\nroutes:\n{routes}")
}

#[test]
fn weights_that_do_not_mean_what_they_look_like_are_warned_of() {
    let told = |agents: &str, of_route: &str| {
        let routes = format!("  - prefix: /chat\n    agents: {of_route}\n");
        check(&with_routes(agents, &routes), &[])
    };
    let agents = "{a: {cluster: a}, b: {cluster: b, weight: 30}, c: {cluster: c, weight: 0}}";
    let run = told(agents, "[{agent: a, weight: 9}, b, {agent: c, weight: 1}]");
    assert_eq!(run.status, 0);
    assert_eq!(
        run.errors,
        "FILE:6: warning: routes[0].agents: some weights stand here, others at their agents, so of the requests get a 22.5 %, b \
         75 %, c 2.5 %; write all of a route's weights in one of the places\n"
    );
    let run = told(agents, "[c]");
    assert_eq!(
        run.errors.lines().last(),
        Some(
            "FILE:6: warning: routes[0].agents: all weights are 0: who names none of these agents in x-agent is answered 503 no_agent"
        )
    );
    // What is as it looks.
    for of_route in [
        "[a, b, c]",
        "[{agent: a, weight: 9}, {agent: b, weight: 2}, {agent: c, weight: 0}]",
        "[a, {agent: b, weight: 3}, {agent: c, weight: 0}]",
    ] {
        assert_eq!(told(agents, of_route).errors, "", "{of_route}");
    }
}

#[test]
fn the_shares_of_several_agents_are_shown() {
    let agents =
        "{a: {cluster: a, weight: 70}, b: {cluster: b, weight: 30}, c: {cluster: c, weight: 0}}";
    let shares = |routes: &str| {
        let run = check(&with_routes(agents, routes), &[]);
        let (_, shares) = run.output.split_once("  shares of")?;
        Some(shares.to_owned())
    };
    assert_eq!(
        shares(
            "  - {prefix: /one, agents: [a]}\n  - {prefix: /all, name: every, agents: [a, b, c]}\n  - {prefix: /few, agents: [{agent: \
             a, weight: 999999}, {agent: b, weight: 1}]}\n  - {prefix: /none, agents: [c, {agent: a, weight: 0}]}\n"
        )
        .unwrap(),
        " requests that name no agent:\n    every: a 70 %, b 30 %, c by name only\n    /few: a 100 %, b under 0.1 %\n    /none: c \
         by name only, a by name only\n"
    );
    assert_eq!(shares("  - {prefix: /one, agents: [a]}\n"), None);
    let many: String = (0..25)
        .map(|number| format!("  - {{prefix: /r{number}, agents: [a, b]}}\n"))
        .collect();
    assert!(shares(&many).unwrap().ends_with("\n    and 5 more\n"));
}

#[test]
fn what_follows_an_answer_and_does_not_come_to_who_has_given_it_is_warned_of() {
    let told = |of_agents: &str, fields: &str| {
        let agents = format!("{{a: {{cluster: a{of_agents}}}, b: {{cluster: b{of_agents}}}}}");
        let routes = format!("  - {{prefix: /v1{fields}}}\n");
        check(&with_routes(&agents, &routes), &[]).errors
    };
    let both = ", agents: [a, b]";
    let sticky = ", sticky: [{response: true}]";
    let drawn = "FILE:5: warning: routes[0].agents: a is sticky by `response`, and the route is not: each request is drawn anew, so one that \
                 names an earlier answer may come to another agent, which does not know it; write sticky: [{response: true}] here too\n";
    assert_eq!(told(sticky, both), drawn);
    let by_client = format!("{both}, sticky: {{client: true}}");
    for (of_agents, fields) in [
        ("", both),
        (sticky, ", agents: [a]"),
        (sticky, &format!("{both}{sticky}")),
        (sticky, &by_client),
        (sticky, ", agents: [a, {agent: b, weight: 0}]"),
    ] {
        let errors = told(of_agents, fields);
        assert!(
            !errors.contains("earlier answer"),
            "{of_agents} {fields}: {errors}"
        );
    }
    let asks = |edits: &str| {
        told(
            sticky,
            &format!("{both}{sticky}, request: {{headers: {{{edits}}}}}"),
        )
    };
    let compressed = "FILE:5: warning: routes[0].request: accept-encoding is changed after the gateway has asked for answers that it can read: \
                      of those that come compressed it learns nothing, so `response` keeps nothing together; leave accept-encoding out\n";
    assert_eq!(asks("set: {Accept-Encoding: gzip}"), compressed);
    assert_eq!(asks("add: {accept-encoding: gzip}"), compressed);
    assert_eq!(asks("set: {accept-encoding: identity}"), "");
    assert_eq!(asks("set: {x-y: gzip}"), "");
}

#[test]
fn a_mirror_that_hears_nothing_is_warned_of() {
    let told = |fields: &str| {
        let agents = "{a: {cluster: a}, b: {cluster: b}}";
        let routes = format!("  - {{prefix: /chat, {fields}, mirror: {{agent: a}}}}\n");
        let run = check(&with_routes(agents, &routes), &[]);
        let lines = run.errors.lines();
        let told: Vec<_> = lines.filter(|it| it.contains("mirror")).collect();
        told.join("")
    };
    let warning = "FILE:5: warning: routes[0].mirror: is the only agent of this route, and what it answers it does not hear a second time";
    assert_eq!(told("agents: [a]"), warning);
    assert_eq!(told("agents: [b]"), "");
    assert_eq!(told("agents: [a, b]"), "");
    let rule = |agent: &str| {
        format!("agents: [a], rules: [{{match: {{method: GET}}, agents: [{agent}]}}]")
    };
    assert_eq!(told(&rule("a")), warning);
    assert_eq!(told(&rule("b")), "");
}

#[test]
fn a_bound_of_silence_that_is_never_reached_is_warned_of() {
    let told = |fields: &str| {
        let routes = format!("  - {{prefix: /chat, agents: [a], {fields}}}\n");
        check(&with_routes("{a: {cluster: a}}", &routes), &[]).errors
    };
    let warning = "FILE:5: warning: routes[0].idle_timeout: never reached: timeout is not longer, and ends requests before\n";
    for fields in [
        "timeout: 30s, idle_timeout: 30s",
        "idle_timeout: 10m",
        "protocol: sse, timeout: 30s, idle_timeout: 1m",
    ] {
        assert_eq!(told(fields), warning, "{fields}");
    }
    for fields in [
        "timeout: 30s, idle_timeout: 29s",
        "timeout: 30s, idle_timeout: 1m, streams: true",
        "protocol: sse, idle_timeout: 1m",
        "protocol: sse, timeout: 30s",
    ] {
        assert_eq!(told(fields), "", "{fields}");
    }
}

#[test]
fn what_openais_clients_ask_for_and_no_route_serves_is_told() {
    let told = |routes: &[&str]| {
        let routes: String = routes
            .iter()
            .map(|fields| format!("  - {{agents: [a], {fields}}}\n"))
            .collect();
        let run = check(&with_routes("{a: {cluster: a}}", &routes), &[]);
        let lines = run.output.lines();
        let told: Vec<_> = lines
            .filter(|line| line.contains("clients also ask for"))
            .map(str::to_owned)
            .collect();
        told
    };
    let chat = "prefix: /v1/chat/completions, methods: [POST]";
    assert_eq!(
        told(&[chat, "prefix: /eu/chat/completions"]),
        [
            "  OpenAI's clients also ask for GET /eu/models, which no route serves",
            "  OpenAI's clients also ask for GET /v1/models, which no route serves",
        ]
    );
    for models in [
        "prefix: /v1/models, methods: [GET]",
        "prefix: /v1",
        "prefix: /",
    ] {
        assert!(told(&[chat, models]).is_empty(), "{models}");
    }
    assert_eq!(
        told(&[chat, "prefix: /v1/models, methods: [POST]"]).len(),
        1
    );
    assert!(told(&["prefix: /tools"]).is_empty());
}

#[test]
fn clusters_that_envoy_does_not_have_are_faults() {
    let files = Files::new(&[
        ("waykeeper.yaml", BARE),
        (
            "whole.yaml",
            &format!("static_resources: {{clusters: [{{name: chat}}, {AUTH}]}}\n"),
        ),
        (
            "lacking.yaml",
            &format!("static_resources: {{clusters: [{{name: chta}}, {AUTH}]}}\n"),
        ),
        (
            "dynamic.yaml",
            &format!(
                "static_resources: {{clusters: [{AUTH}]}}\ndynamic_resources: {{cds_config: {{ads: {{}}}}}}\n"
            ),
        ),
        ("broken.yaml", "static_resources: [\n"),
    ]);
    let check = |envoy: &str| {
        let run = waykeeper(
            &[
                "check",
                &files.path("waykeeper.yaml"),
                "--envoy",
                &files.path(envoy),
            ],
            b"",
        );
        (
            run.status,
            run.errors.replace(files.0.path().to_str().unwrap(), "DIR"),
        )
    };

    assert_eq!(check("whole.yaml"), (0, String::new()));
    let missing = "agents.chat.cluster: DIR/lacking.yaml has no cluster named \"chat\"; did you mean \"chta\"?\n";
    assert_eq!(
        check("lacking.yaml"),
        (1, format!("DIR/waykeeper.yaml:4: {missing}"))
    );
    let may_come = "agents.chat.cluster: DIR/dynamic.yaml has no cluster named \"chat\"\n";
    assert_eq!(
        check("dynamic.yaml"),
        (0, format!("DIR/waykeeper.yaml:4: warning: {may_come}"))
    );
    assert_eq!(check("broken.yaml").0, 1);
    assert_eq!(check("none.yaml").0, 2);
}

#[test]
fn an_unknown_cluster_is_told_beside_all_other_faults() {
    let envoy = "static_resources: {clusters: [{name: chat}, {name: keys}]}\n";
    let check = |document: &str| {
        let files = Files::new(&[("own.yaml", document), ("envoy.yaml", envoy)]);
        let (own, envoy) = (files.path("own.yaml"), files.path("envoy.yaml"));
        let run = waykeeper(&["check", &own, "--envoy", &envoy], b"");
        assert_eq!((run.status, run.output.as_str()), (1, ""));
        run.errors.replace(files.0.path().to_str().unwrap(), "DIR")
    };
    let bad = BARE
        .replace("/validate", "validate, headers: {Host: a}")
        .replace("cluster: chat", "cluster: \"\"");
    let path = "clients.validator.path: \"validate\" must begin with /\n";
    let header = "clients.validator.headers.Host: the header \"Host\" has a meaning of its own and cannot be used here\n";
    let agent =
        "agents.chat.cluster: \"\" is no cluster's name; it is 1 to 512 visible ASCII characters\n";
    let cluster = "clients.validator.cluster: DIR/envoy.yaml has no cluster named \"auth\"\n";
    assert_eq!(
        check(&bad),
        format!(
            "DIR/own.yaml:2: {path}DIR/own.yaml:2: {header}DIR/own.yaml:4: {agent}DIR/own.yaml:2: {cluster}"
        )
    );
    // The same as JSON in a string, where lines are not known.
    let json = r#"{"clients": {"validator": {"cluster": "auth", "path": "validate"}}, "agents": {"chat": {"cluster": "chat"}},
        "routes": [{"prefix": "/chat", "agents": ["chat"]}]}"#;
    let string = format!(
        "\"@type\": type.googleapis.com/google.protobuf.StringValue\nvalue: |\n{}",
        indented(json, 2)
    );
    let told = check(&filter(&string));
    assert!(told.contains(path) && told.contains(cluster), "{told}");
}

#[test]
fn a_validators_cluster_that_asks_too_few_questions_again_is_warned_of() {
    let check = |breakers: &str| {
        let envoy = format!(
            "static_resources:\n  clusters:\n    - {{name: chat}}\n    - name: auth\n{breakers}"
        );
        let files = Files::new(&[("waykeeper.yaml", BARE), ("envoy.yaml", &envoy)]);
        let (own, envoy) = (files.path("waykeeper.yaml"), files.path("envoy.yaml"));
        let run = waykeeper(&["check", &own, "--envoy", &envoy], b"");
        assert_eq!(run.status, 0, "{}", run.errors);
        run.errors.replace(files.0.path().to_str().unwrap(), "DIR")
    };
    let breakers = |default: &str| {
        format!("      circuit_breakers:\n        thresholds:\n          - {{{default}}}\n")
    };
    let warning = |line: u32, requests: u32, retries: u32| {
        format!(
            "DIR/waykeeper.yaml:2: warning: clients.validator.cluster: DIR/envoy.yaml:{line}: of {requests} requests that \
             \"auth\" takes at a time only {retries} may be retries: when the validator closes connections, more questions than \
             that fail; write max_retries: {requests} into the circuit_breakers\n"
        )
    };
    assert_eq!(check(""), warning(4, 1024, 3));
    assert_eq!(check(&breakers("max_requests: 2")), "");
    assert_eq!(check(&breakers("max_requests: 50")), warning(7, 50, 3));
    assert_eq!(
        check(&breakers("max_requests: 50, max_retries: 49")),
        warning(7, 50, 49)
    );
    assert_eq!(check(&breakers("max_requests: 50, max_retries: 50")), "");
    assert_eq!(check(&breakers("max_retries: 1024")), "");
    // Those of another priority are not the validator's.
    assert_eq!(
        check(&breakers("priority: HIGH, max_retries: 1024")),
        warning(4, 1024, 3)
    );
    // A budget takes the place of the number.
    let budget = |budget: &str| breakers(&format!("max_retries: 1024, retry_budget: {{{budget}}}"));
    assert_eq!(check(&budget("")), warning(7, 1024, 204));
    assert_eq!(check(&budget("budget_percent: {value: 100}")), "");
    assert_eq!(check(&budget("min_retry_concurrency: 1024")), "");
}

#[test]
fn what_ends_undecided_requests_is_compared_with_the_validators_timeout() {
    let reference = std::fs::read_to_string(repository("envoy/envoy.yaml")).unwrap();
    let own = std::fs::read_to_string(repository("envoy/waykeeper.yaml")).unwrap();
    let written = |line: &str| line.trim() == "timeout: \"1s\"";
    let line = 1 + own.lines().position(written).unwrap();
    let check = |envoy: &str, timeout: &str| {
        let own = own.replace("timeout: \"1s\"", &format!("timeout: {timeout}"));
        let files = Files::new(&[("envoy.yaml", envoy), ("own.yaml", &own)]);
        let (envoy, own) = (files.path("envoy.yaml"), files.path("own.yaml"));
        let run = waykeeper(&["check", &own, "--envoy", &envoy], b"");
        let told = run.errors.replace(files.0.path().to_str().unwrap(), "DIR");
        // The line is the reference's business.
        let told = told.split_once("DIR/envoy.yaml:").map(|(before, behind)| {
            let behind = behind.trim_start_matches(|digit: char| digit.is_ascii_digit());
            format!("{before}DIR/envoy.yaml:LINE{behind}")
        });
        (run.status, told.unwrap_or_default())
    };

    assert_eq!(check(&reference, "2s"), (0, String::new()));
    let fault = format!(
        "DIR/own.yaml:{line}: clients.validator.timeout: 3s is not shorter than the idle_timeout 3s at \
                 DIR/envoy.yaml:LINE, which would end requests that wait\n"
    );
    assert_eq!(check(&reference, "3s"), (1, fault.clone()));
    // Under another name it is known by what stands before it.
    let renamed = reference.replace("name: not-decided", "name: rest");
    assert_eq!(check(&renamed, "3s"), (1, fault.clone()));
    let without = reference.replace("idle_timeout: \"3s\"", "priority: DEFAULT");
    let warning = format!(
        "DIR/own.yaml:{line}: warning: DIR/envoy.yaml:LINE: without an idle_timeout, requests that wait for the \
                   validator when the filter traps wait on\n"
    );
    assert_eq!(check(&without, "3s"), (0, warning));
}

#[test]
fn bodies_that_are_collected_need_time_and_what_a_plugin_cannot_set() {
    let reference = std::fs::read_to_string(repository("envoy/envoy.yaml")).unwrap();
    let own = "agents: {chat: {cluster: chat-gpu}}
routes: [{prefix: /a, agents: [chat], auth_required: false, max_body: 1MiB, collect_body: true}]
";
    let check = |envoy: &str| {
        let files = Files::new(&[("envoy.yaml", envoy), ("own.yaml", own)]);
        let (envoy, own) = (files.path("envoy.yaml"), files.path("own.yaml"));
        let run = waykeeper(&["check", &own, "--envoy", &envoy], b"");
        assert_eq!(run.status, 0, "{}", run.errors);
        run.errors
    };
    let told = check(&reference);
    let warning = "the route \"/a\" collects bodies, and the idle_timeout 3s at ";
    assert!(told.contains(warning), "{told}");
    assert!(told.contains("write 15s or more"), "{told}");
    assert_eq!(
        check(&reference.replace("idle_timeout: \"3s\"", "idle_timeout: 15s")),
        ""
    );

    let files = Files::new(&[("own.yaml", own)]);
    let own = files.path("own.yaml");
    let run = waykeeper(&["check", "--target", "wasmplugin", &own], b"");
    assert_eq!(run.status, 1);
    let fault = "collect_body of the route \"/a\" needs to see the body before the agent does";
    assert!(run.errors.contains(fault), "{}", run.errors);
}

#[test]
fn what_is_sticky_by_bodies_and_answers_is_not_for_a_wasmplugin_and_takes_memory() {
    let own = |sticky: &str| {
        format!(
            "clients: {{validator: {{cluster: auth, path: /a}}}}
proof: abcdefghijklmnopqrstuvwxyz
agents: {{chat: {{cluster: chat, sticky: {sticky}}}}}
routes: [{{prefix: /a, agents: [chat], sticky: [{{header: x-session}}, {sticky}]}}]
tables: {{responses: 2000}}
"
        )
    };
    for (sticky, faulty) in [
        ("{body: /user}", true),
        ("{prompt: 1KiB}", true),
        ("{response: true}", true),
        ("{client: true}", false),
    ] {
        let own = own(sticky);
        let run = waykeeper(&["check", "--target", "wasmplugin", "-"], own.as_bytes());
        for what in ["sticky of the route \"/a\"", "sticky of the agent \"chat\""] {
            let told = run.errors.contains(what);
            assert_eq!((told, run.status == 1), (faulty, faulty), "{}", run.errors);
        }
        let run = waykeeper(&["check", "-"], own.as_bytes());
        let told = run
            .output
            .contains("2000 responses in 125 cells, at most 156.2 KiB");
        assert_eq!(told, sticky == "{response: true}", "{}", run.output);
    }
}

#[test]
fn what_is_held_is_compared_with_envoys_buffer() {
    let envoy = repository("envoy/envoy.yaml");
    let check = |hold: &str, most: &str| {
        let own = format!(
            "clients: {{hold: {{{hold}}}, validator: {{cluster: waykeeper/validator, path: /a}}}}
agents: {{chat: {{cluster: chat-gpu}}}}
routes: [{{prefix: /a, agents: [chat], max_body: {most}, collect_body: true}}]
"
        );
        let files = Files::new(&[("own.yaml", &own)]);
        let own = files.path("own.yaml");
        let run = waykeeper(&["check", &own, "--envoy", envoy.to_str().unwrap()], b"");
        assert_eq!(run.status, 0, "{}", run.errors);
        // That pauses are short is told always.
        run.errors
            .lines()
            .filter(|line| !line.contains("idle_timeout"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(check("request: 2MiB", "1MiB"), "");
    let small = check("request: 1MiB", "1MiB");
    let told =
        "clients.hold.request: 1MiB is less than twice the request_body_buffer_limit 1MiB at ";
    assert!(small.contains(told), "{small}");
    let large = check("request: 2MiB", "5MiB");
    let told = "the route \"/a\" collects bodies of up to 5MiB, of which Envoy refuses those beyond the request_body_buffer_limit 1MiB";
    assert!(large.contains(told), "{large}");
}

#[test]
fn bodies_are_not_collected_where_envoy_does_not_show_them() {
    let reference = std::fs::read_to_string(repository("envoy/waykeeper.yaml")).unwrap();
    let collecting = reference.replace(
        "prefix: \"/v1/chat/completions\"\n",
        "prefix: \"/v1/chat/completions\"\n                max_body: 1MiB\n                collect_body: true\n",
    );
    assert_ne!(collecting, reference);
    let blind = collecting.replace("allow_on_headers_stop_iteration: true", "");
    assert_ne!(blind, collecting);
    let files = Files::new(&[("collecting.yaml", &collecting), ("blind.yaml", &blind)]);
    let status = |file: &str| waykeeper(&["check", &files.path(file)], b"").status;
    assert_eq!(status("collecting.yaml"), 0);
    // Envoy would wait for a body that it never shows: every request with one ends with 504.
    assert_eq!(status("blind.yaml"), 1);
}

#[test]
fn bodies_that_choose_agents_are_to_be_seen_and_to_fit_envoys_buffer() {
    let reference = std::fs::read_to_string(repository("envoy/envoy.yaml")).unwrap();
    let envoy = reference.replace(
        "request_body_buffer_limit: 1048576",
        "request_body_buffer_limit: 32768",
    );
    assert_ne!(envoy, reference);
    let check = |scan: &str| {
        let own = format!(
            "agents: {{chat: {{cluster: chat-gpu}}}}
routes:
- prefix: /a
  agents: [chat]
  auth_required: false
  max_scan: {scan}
  rules: [{{match: {{model: x}}, agents: [chat]}}]
"
        );
        let files = Files::new(&[("own.yaml", &own), ("envoy.yaml", &envoy)]);
        let (own, envoy) = (files.path("own.yaml"), files.path("envoy.yaml"));
        let run = waykeeper(&["check", &own, "--envoy", &envoy], b"");
        assert_eq!(run.status, 0, "{}", run.errors);
        run.errors
    };
    let told = "the route \"/a\" chooses agents by up to 64KiB of a body, of which Envoy does not hold more than the request_body_buffer_limit 32KiB";
    let large = check("64KiB");
    assert!(large.contains(told), "{large}");
    let fits = check("32KiB");
    assert!(!fits.contains("chooses agents"), "{fits}");

    let reference = std::fs::read_to_string(repository("envoy/waykeeper.yaml")).unwrap();
    let asking = reference.replace(
        "prefix: \"/v1/chat/completions\"\n",
        "prefix: \"/v1/chat/completions\"\n                rules: [{match: {model: x}, agents: [chat-gpu]}]\n",
    );
    assert_ne!(asking, reference);
    let blind = asking.replace("allow_on_headers_stop_iteration: true", "");
    assert_ne!(blind, asking);
    let files = Files::new(&[("asking.yaml", &asking), ("blind.yaml", &blind)]);
    let check = |file: &str| waykeeper(&["check", &files.path(file)], b"");
    let seen = check("asking.yaml");
    assert_eq!(seen.status, 0, "{}", seen.errors);
    let unseen = check("blind.yaml");
    assert_eq!(unseen.status, 1);
    let told = "chooses agents by bodies, which Envoy shows the filter only with";
    assert!(unseen.errors.contains(told), "{}", unseen.errors);
}

#[test]
fn routes_of_envoys_that_do_not_fit_are_warned_of() {
    let reference = std::fs::read_to_string(repository("envoy/envoy.yaml")).unwrap();
    let own = repository("envoy/waykeeper.yaml");
    let check = |envoy: &str| {
        let files = Files::new(&[("envoy.yaml", envoy)]);
        let run = waykeeper(
            &[
                "check",
                own.to_str().unwrap(),
                "--envoy",
                &files.path("envoy.yaml"),
            ],
            b"",
        );
        assert_eq!(run.status, 0, "{}", run.errors);
        let messages = run.errors.lines().map(|line| {
            let (_, message) = line.split_once("warning: ").expect("a warning");
            message
                .split([':', ','])
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        messages.collect::<Vec<_>>()
    };

    assert!(check(&reference).is_empty());
    let timeout = "the timeout is not 300s";
    assert_eq!(
        check(&reference.replace("timeout: 300s", "timeout: 15s")),
        [timeout; 5]
    );
    let without: Vec<_> = reference
        .lines()
        .filter(|line| !line.contains(" timeout: 300s"))
        .collect();
    assert_eq!(check(&without.join("\n")), [timeout; 5]);

    let present = "{name: x-waykeeper-cluster, present_match: true}";
    let kind = |kind: &str| format!("{{name: x-waykeeper-kind, string_match: {{exact: {kind}}}}}");
    assert_eq!(
        check(&reference.replace(present, &kind("http"))),
        ["no request is of this kind"]
    );
    let first_takes_all = reference
        .replace(present, "{name: x-unheard-of, present_match: true}")
        .replace(&kind("sse"), present);
    assert_eq!(check(&first_takes_all), ["never reached"]);
    let further = "{name: x-waykeeper-further, present_match: true}";
    let further_takes_all = reference
        .replace(further, "{name: x-unheard-of, present_match: true}")
        .replace(&kind("sse-further"), further)
        .replacen(
            "x-unheard-of, present_match: true",
            "x-waykeeper-kind, string_match: {exact: sse-further}",
            1,
        );
    assert_eq!(check(&further_takes_all), ["never reached"]);
}

/// Checks the reference's own files, both changed.
fn check_reference(envoy: impl Fn(&str) -> String, own: impl Fn(&str) -> String) -> Run {
    let read = |file: &str| std::fs::read_to_string(repository("envoy").join(file)).unwrap();
    let (envoy, own) = (envoy(&read("envoy.yaml")), own(&read("waykeeper.yaml")));
    let files = Files::new(&[("envoy.yaml", &envoy), ("own.yaml", &own)]);
    let (envoy, own) = (files.path("envoy.yaml"), files.path("own.yaml"));
    let mut run = waykeeper(&["check", &own, "--envoy", &envoy], b"");
    run.errors = run.errors.replace(files.0.path().to_str().unwrap(), "DIR");
    assert_eq!(run.status, 0, "{}", run.errors);
    run
}

#[test]
fn how_long_streams_may_be_silent_is_compared_with_envoys_routes() {
    let told = |kind: &str, idle: &str, envoy: &dyn Fn(&str) -> String| {
        let route =
            format!("{{prefix: /silent, agents: [chat-gpu], {kind}, idle_timeout: {idle}}}");
        let own = |own: &str| {
            let routes = "            routes:";
            let line = own.lines().find(|line| line.starts_with(routes)).unwrap();
            own.replacen(line, &format!("{line}\n              - {route}"), 1)
        };
        check_reference(envoy, own).errors
    };
    let as_it_is = |envoy: &str| envoy.to_owned();
    let short = |envoy: &str| envoy.replace("idle_timeout: \"3600s\"", "idle_timeout: 60s");
    // Unless a route says it, what is said of all streams holds, and Envoy's own default.
    let unsaid = |envoy: &str| envoy.replace("idle_timeout: \"3600s\"", "priority: DEFAULT");
    let unset = |envoy: &str| unsaid(envoy).replace("stream_idle_timeout: 60s", "");
    let endless = |envoy: &str| envoy.replace("idle_timeout: \"3600s\"", "idle_timeout: 0s");
    for (name, kind) in [
        ("sse", "protocol: sse"),
        ("sse", "streams: true"),
        ("websocket", "methods: [GET], protocol: websocket"),
    ] {
        let has = |idle: &str, most: &str, envoy: &dyn Fn(&str) -> String| {
            let warning = format!(
                "the idle_timeout {idle} of the route \"/silent\" is longer than the idle_timeout {most} for kind {name} at DIR/envoy.yaml:"
            );
            told(kind, idle, envoy).contains(&warning)
        };
        assert_eq!(told(kind, "1h", &as_it_is), "", "{kind}");
        assert!(has("2h", "1h", &as_it_is), "{kind}");
        assert!(has("2m", "1m", &short), "{kind}");
        assert!(has("2m", "1m", &unsaid), "{kind}");
        assert!(has("6m", "5m", &unset), "{kind}");
        assert_eq!(told(kind, "24h", &endless), "", "{kind}");
    }
    let plain = told("timeout: 1h", "20m", &as_it_is);
    assert!(
        plain.contains(
            "the idle_timeout 20m of the route \"/silent\" is longer than the idle_timeout 10m for kind http"
        ),
        "{plain}"
    );
    assert!(
        plain.contains(
            "the timeout 1h of the route \"/silent\" is longer than the idle_timeout 10m for kind http at DIR/envoy.yaml:"
        ),
        "{plain}"
    );
}

#[test]
fn a_proof_that_envoys_routes_show_to_agents_is_warned_of() {
    let with_proof = |own: &str| {
        let tables = "            tables:";
        own.replacen(
            tables,
            &format!("            proof: \"0123-a-proof-of-tests\"\n{tables}"),
            1,
        )
    };
    let warns = |envoy: &dyn Fn(&str) -> String, own: &dyn Fn(&str) -> String| {
        let told = check_reference(envoy, own).errors;
        let warning =
            "agents are shown the proof: name x-waykeeper-proof in request_headers_to_remove";
        assert!(!told.contains("-a-proof-"), "{told}");
        assert_eq!(told.is_empty(), !told.contains(warning), "{told}");
        !told.is_empty()
    };
    let same = |text: &str| text.to_owned();
    assert!(!warns(&same, &same));
    assert!(warns(&same, &with_proof));
    let own = |name: &'static str| {
        move |envoy: &str| {
            let removed = "request_headers_to_remove: [x-waykeeper-kind, ";
            assert_eq!(envoy.matches(removed).count(), 1);
            envoy.replace(
                removed,
                &format!("request_headers_to_remove: [{name}, x-waykeeper-kind, "),
            )
        }
    };
    assert!(!warns(&own("x-waykeeper-proof"), &with_proof));
    assert!(!warns(&own("X-Waykeeper-Proof"), &with_proof));
    assert!(warns(&own("x-waykeeper-proofs"), &with_proof));
    // On each route, or on all but one.
    let on_routes = |most: usize| {
        move |envoy: &str| {
            let route =
                "                          route:\n                            cluster_header:";
            let removed = format!(
                "                          request_headers_to_remove: [x-waykeeper-proof]\n{route}"
            );
            assert_eq!(envoy.matches(route).count(), 3);
            envoy.replacen(route, &removed, most)
        }
    };
    assert!(!warns(&on_routes(3), &with_proof));
    assert!(warns(&on_routes(2), &with_proof));
}

#[test]
fn a_limit_by_addresses_that_callers_choose_is_warned_of() {
    let warning = "counts by addresses, and without use_remote_address: true Envoy takes them from x-forwarded-for at DIR/envoy.yaml:";
    let remote = "use_remote_address: true";
    let same = |text: &str| text.to_owned();
    let without = |envoy: &str| {
        assert!(envoy.contains(remote));
        envoy.replace(remote, "")
    };
    let off = |envoy: &str| envoy.replace(remote, "use_remote_address: false");
    let extended = |envoy: &str| envoy.replace(remote, "original_ip_detection_extensions: []");
    assert_eq!(check_reference(same, same).errors, "");
    for envoy in [&without as &dyn Fn(&str) -> String, &off] {
        let told = check_reference(envoy, same).errors;
        assert!(
            told.contains(warning) && told.contains("the limit \"per-address\""),
            "{told}"
        );
        let by_client = |own: &str| own.replace("each: \"address\"", "each: client");
        assert_eq!(check_reference(envoy, by_client).errors, "");
    }
    assert_eq!(check_reference(extended, same).errors, "");
}

/// What is legal, and leaves somebody without a limit who seems to have one.
#[test]
fn keys_without_a_plan_and_plans_without_a_key_are_warned_of() {
    let text = |more: &str| {
        format!(
            "clients:\n  keys:\n    - {{sha256: '{:064x}', client_id: a}}\n    - {{sha256: '{:064x}', client_id: b, plan: big}}\n{more}\
             plans:\n  big: {{requests: 5/minute}}\n  none: {{requests: 1/minute}}\n\
             agents: {{chat: {{cluster: chat}}}}\nroutes: [{{prefix: /, agents: [chat]}}]\n",
            1, 2
        )
    };
    let run = check(&text(""), &[]);
    assert_eq!(run.status, 0);
    assert_eq!(
        run.errors,
        "FILE:3: warning: clients.keys[0]: has no plan, and there is no clients.default_plan: no plan limits this client\n\
         FILE:7: warning: plans.none: no listed key has this plan, and there is no validator\n"
    );
    // Whoever has no plan has this one; a validator may name any.
    assert_eq!(check(&text("  default_plan: none\n"), &[]).errors, "");
    let validator = "  default_plan: big\n  validator: {cluster: auth, path: /validate}\n";
    assert_eq!(check(&text(validator), &[]).errors, "");
}

#[test]
fn a_route_that_nothing_bounds_is_told_of() {
    let open = |more: &str, route: &str| {
        let text = format!(
            "{more}agents: {{chat: {{cluster: chat}}}}\nroutes: [{{prefix: /chat, agents: [chat], auth_required: false{route}}}]\n"
        );
        let run = check(&text, &[]);
        assert_good(&run);
        let told = "\n  /chat: open to all, without a key and without a limit\n";
        run.output.contains(told)
    };
    assert!(open("", ""));
    assert!(!open("", ", rate_limit: {requests: 5/minute}"));
    let limit =
        |more: &str| format!("limits: [{{name: all, each: address, requests: 5/minute{more}}}]\n");
    assert!(!open(&limit(""), ""));
    // It holds for nobody without a key.
    assert!(open(&limit(", match: {team: core}"), ""));
}

#[test]
fn requests_in_flight_are_summed_up_with_how_long_one_may_wait() {
    let text = BARE.replace(
        "{cluster: chat}",
        "{cluster: chat, max_in_flight: 8, wait: 30s}",
    ) + "plans: {standard: {in_flight: 4, wait: 10s}}\n";
    let run = check(&text, &[]);
    assert_good(&run);
    let told = "\n  requests in flight: plan standard at most 4 (others wait for 10 s), agent chat at most 8 (others wait for 30 s); one may wait for 40 s in all\n";
    assert!(run.output.contains(told), "{}", run.output);
}

/// Fields whose names people know from elsewhere, and that no name of ours is near to.
#[test]
fn fields_that_are_called_otherwise_are_told_with_what_to_write() {
    let text = "clients: {keys: [{key: mine, client_id: a}]}\nplans: {big: {rpm: 5}}\n\
                agents: {chat: {cluster: chat}}\nroutes: [{path: /, agents: [chat]}]\n";
    let run = check(text, &[]);
    for told in [
        "FILE:1: clients.keys[0].key: unknown field; the file holds the key's hash, as sha256; this prints it: printf %s KEY | waykeeper hash-key\n",
        "FILE:2: plans.big.rpm: unknown field; write requests: NUMBER/minute\n",
        "FILE:4: routes[0].path: unknown field; write prefix\n",
    ] {
        assert!(run.errors.contains(told), "{}", run.errors);
    }
}

/// Fields that are there, and stand elsewhere: people look for them where they know them from.
#[test]
fn a_field_of_another_mapping_is_told_with_where_it_stands() {
    let gateway = |listen: &str, more: &str, agent: &str, route: &str| {
        format!(
            "listen: [{{address: '127.0.0.1:8080'{listen}}}]\nclients: {{}}\nagents: {{chat: {{url: 'http://10.0.0.5:8000'{agent}}}}}\n\
             routes: [{{prefix: /, agents: [chat]{route}}}]\n{more}"
        )
    };
    let of_agent = |agent: &str| gateway("", "", agent, "");
    let of_route = |route: &str| gateway("", "", "", route);
    for (text, told) in [
        (
            of_agent(", retry: {max_attempts: 2}"),
            "agents.chat.retry: unknown field; retry is a field of a route, not of an agent\n",
        ),
        (
            of_agent(", retrys: {max_attempts: 2}"),
            "agents.chat.retrys: unknown field; did you mean \"retry\"? It is a field of a route, not of an agent\n",
        ),
        (
            of_agent(", timeout: 5s"),
            "agents.chat.timeout: unknown field; timeout is a field of a route, of an agent's health and of an agent's picker, not of an agent\n",
        ),
        (
            of_route(", rest: {}"),
            "routes[0].rest: unknown field; rest is a field of an agent, not of a route\n",
        ),
        (
            of_route(", max_attempts: 2"),
            "routes[0].max_attempts: unknown field; max_attempts is a field of a route's retry, not of a route\n",
        ),
        (
            of_route(", rules: [{model: x, agents: [chat]}]"),
            "routes[0].rules[0].model: unknown field; model is a field of a rule's match, not of a rule\n",
        ),
        (
            of_route(", retry: {timeout: 1s}"),
            "routes[0].retry.timeout: unknown field; timeout is a field of a route, not of a route's retry\n",
        ),
        (
            of_route(", request: {set: {a: b}}"),
            "routes[0].request.set: unknown field; set is a field of a route's request.body and of a route's request.headers, not of a route's request\n",
        ),
        (
            gateway("", "validator: {url: 'http://v/x'}\n", "", ""),
            "validator: unknown field; validator is a field of clients, not of the file itself\n",
        ),
        (
            gateway(", operations: 1", "", "", ""),
            "listen[0].operations: unknown field; operations is a field of the file itself, not of a listener\n",
        ),
        // Nothing is called so.
        (
            of_agent(", models: [{name: big, as: b}]"),
            "agents.chat.models[0].name: unknown field; write model\n",
        ),
        (
            of_agent(", rest: true"),
            "agents.chat.rest: expected a mapping, found true; {} takes what is usual\n",
        ),
        (of_agent(", frobnicate: 1"), "agents.chat.frobnicate: unknown field\n"),
        // What is near counts before.
        (
            of_route(", rate_limits: 1"),
            "routes[0].rate_limits: unknown field; did you mean \"rate_limit\"?\n",
        ),
        // The filter's own document has no listeners.
        (
            "operations: 1\nagents: {chat: {cluster: chat}}\nroutes: [{prefix: /, agents: [chat], address: x}]\n".to_owned(),
            "routes[0].address: unknown field; address is a field of the file itself, not of a route\n",
        ),
        (
            gateway(", port: 1", "", "", ""),
            "listen[0].port: unknown field; write it behind the address, as in address: 0.0.0.0:8080\n",
        ),
        (
            of_route(", request: {headers: {x-y: z}}"),
            "routes[0].request.headers.x-y: unknown field; write it within set, add or remove\n",
        ),
        (
            of_route(", fallback: chat"),
            "routes[0].fallback: expected a list, found \"chat\"; write [\"chat\"]\n",
        ),
        (of_route(", fallback: 7"), "routes[0].fallback: expected a list, found the number 7\n"),
        (of_route(", rules: x"), "routes[0].rules: expected a list, found \"x\"\n"),
    ] {
        let run = check(&text, &["--no-validate"]);
        assert!(run.errors.contains(told), "{told}{}", run.errors);
    }
}

#[test]
fn what_no_client_has_and_no_method_is_called_is_told_of() {
    let told = |keys: &str, route: &str| {
        let text = format!(
            "clients: {{keys: [{keys}]}}\nagents: {{chat: {{cluster: chat}}}}\nroutes: [{{prefix: /, agents: [chat], {route}}}]\n"
        );
        let run = check(&text, &[]);
        assert_eq!(run.status, 0, "{}", run.errors);
        run.errors
    };
    let hash = "5d19f84807c15ad345e1f0b12b73b7ad4da77ed6040c14be987a45eca4c8b0c2";
    let red = format!("{{sha256: {hash}, client_id: a, team: red, roles: [reader]}}");
    let rules = "rules: [{match: {team: [blue, green]}, agents: [chat]}, {match: {role: writer}, roles: [admin], agents: [chat]}]";
    assert_eq!(
        told(&red, rules),
        "FILE:3: warning: routes[0].rules[0].match.team: no listed key has such a team, and there is no validator\n\
         FILE:3: warning: routes[0].rules[1].match.role: no listed key has such a role, and there is no validator\n\
         FILE:3: warning: routes[0].rules[1].roles: no listed key has such a role, and there is no validator\n"
    );
    let had = "rules: [{match: {team: [blue, red], role: reader}, roles: [admin, reader], agents: [chat]}]";
    assert_eq!(told(&red, had), "");
    let methods =
        "a2a: {methods: [{match: [CancelTaks, tasks/get, SendMessage, our/own, \"tasks/*\"]}]}";
    assert_eq!(
        told(&red, methods),
        "FILE:3: warning: routes[0].a2a: no method of A2A is called \"CancelTaks\"; did you mean \"CancelTask\"?\n"
    );
}

/// Rules and agents go by models, never by the names that stand for them.
#[test]
fn a_model_that_no_request_or_no_agent_has_is_told_of() {
    let check_rule = |agents: &str, rule: &str| {
        let text = format!(
            "model_aliases: {{fast: small-1}}\nagents: {{chat: {{cluster: chat{agents}}}, any: {{cluster: any}}}}\n\
             routes:\n- {{prefix: /, auth_required: false, agents: [any], rules: [{{match: {{model: {rule}}}, agents: [chat]}}]}}\n"
        );
        let run = check(&text, &[]);
        assert_eq!(run.status, 0, "{}", run.errors);
        run.errors
    };
    let alias = "is one of model_aliases, so a request for it is one for \"small-1\", and none is for \"fast\"; write \"small-1\"\n";
    assert_eq!(
        check_rule("", "[small-1, fast]"),
        format!("FILE:4: warning: routes[0].rules[0].match.model: \"fast\" {alias}")
    );
    assert_eq!(
        check_rule(", models: [small-1, fast]", "small-1"),
        format!("FILE:2: warning: agents.chat.models: \"fast\" {alias}")
    );
    assert_eq!(
        check_rule(", models: [small-1]", "[small-2, large-*]"),
        "FILE:4: warning: routes[0].rules[0].match.model: none of the rule's agents serves \"small-2\"; did you mean \"small-1\"?; who asks for it is answered 404 model_not_found\n"
    );
    assert_eq!(
        check_rule(", models: [\"small-*\"]", "[small-1, small-2, \"f*\"]"),
        ""
    );
    assert_eq!(check_rule("", "anything"), "");
}

/// A gateway with two agents of models and prices, and these words more.
fn two_agents(route: &str, beside: &str) -> String {
    format!(
        "listen: [{{address: '127.0.0.1:8080'}}]
agents:
  one: {{url: 'http://10.0.0.5:8000', models: [small], price: {{input: 1, output: 1}}, max_in_flight: 4}}
  two: {{url: 'http://10.0.0.6:8000', models: [large], price: {{input: 2, output: 2}}}}
routes:
  - prefix: /v1/chat/completions
    auth_required: false
{route}{beside}"
    )
}

#[test]
fn an_endpoint_of_models_serves_those_who_ask_for_them() {
    let told = "clients also ask for GET /v1/models";
    for (beside, is_told) in [
        ("", true),
        ("models_endpoint: {}\n", false),
        ("models_endpoint: {path: /other}\n", true),
    ] {
        let run = check(
            &two_agents("    agents: [one, two]\n", beside),
            &["--no-validate"],
        );
        assert_eq!((run.status, run.errors.as_str()), (0, ""), "{beside}");
        assert_eq!(run.output.contains(told), is_told, "{}", run.output);
    }
}

#[test]
fn shares_go_by_what_a_route_prefers() {
    for (prefer, told) in [
        ("weighted", "/v1/chat/completions: one 50 %, two 50 %\n"),
        ("cheapest", "/v1/chat/completions: one; when full, two\n"),
        (
            "fastest",
            "/v1/chat/completions: the fastest of one, two, which only the running gateway knows\n",
        ),
    ] {
        let route = format!("    agents: [one, two]\n    prefer: {prefer}\n");
        let run = check(&two_agents(&route, ""), &["--no-validate"]);
        assert_eq!((run.status, run.errors.as_str()), (0, ""), "{prefer}");
        assert!(run.output.contains(told), "{}", run.output);
    }
}

#[test]
fn a_field_that_stands_twice_is_told_of_once() {
    let route = "    agents: [one]\n    timeout: 1m\n    timeout: 2m\n";
    let run = check(&two_agents(route, ""), &["--no-validate"]);
    assert_eq!(
        run.errors,
        "FILE:10: routes[0].timeout: written twice; only one can count\n"
    );
}

#[test]
fn a_prompt_that_is_cut_off_before_its_words_is_doubtful() {
    let told = |at: &str, few: &str| {
        format!(
            "FILE:{at}: the first {few} bytes of nearly all prompts are the same, [{{\"role\":\"user\",\"content\":\" has 27: nearly all requests are \
             kept together; write as much as the operator's words have, such as 1KiB\n"
        )
    };
    for (sticky, few) in [
        ("{prompt: 16B}", Some("16")),
        ("[{body: /user}, {prompt: 27B}]", Some("27")),
        ("{prompt: 28B}", None),
        ("{prompt: 1KiB}", None),
    ] {
        let of_route = format!("    agents: [one]\n    sticky: {sticky}\n");
        let of_agent = two_agents("    agents: [two, one]\n", "").replace("models: [small], ", "");
        let of_agent = of_agent.replace(
            "price: {input: 1",
            &format!("sticky: {sticky}, price: {{input: 1"),
        );
        for (document, at) in [
            (two_agents(&of_route, ""), "9: warning: routes[0].sticky"),
            (of_agent, "3: warning: agents.one.sticky"),
        ] {
            let run = check(&document, &["--no-validate"]);
            let about = |line: &&str| line.contains("sticky");
            let errors: String = run.errors.split_inclusive('\n').filter(about).collect();
            let told = few.map(|few| told(at, few)).unwrap_or_default();
            assert_eq!((run.status, errors), (0, told), "{sticky}");
        }
    }
}

#[test]
fn a_fallback_of_nobody_else_and_an_alias_of_nothing_are_doubtful() {
    for (route, beside, told) in [
        (
            "    agents: [one, two]\n    fallback: [one]\n",
            "",
            "FILE:9: warning: routes[0].fallback: one never comes next: it has no model that an agent before it is asked for by the same name\n",
        ),
        (
            "    agents: [one, {agent: two, weight: 0}]\n    fallback: [one]\n",
            "",
            "FILE:9: warning: routes[0].fallback: one never comes next: it is the one that is tried first, and no other is\n",
        ),
        (
            "    agents: [one, two]\n",
            "model_aliases: {fast: smal, best: large}\n",
            "FILE:9: warning: model_aliases.fast: no agent serves the model \"smal\"; did you mean \"small\"?; who asks for it is answered 404 model_not_found\n",
        ),
    ] {
        let run = check(&two_agents(route, beside), &["--no-validate"]);
        let of_two = "agents.two: no route leads to this agent";
        let beside = "has max_in_flight, which does not count";
        let errors: String = { run.errors.split_inclusive('\n') }
            .filter(|line| !line.contains(of_two) && !line.contains(beside))
            .collect();
        assert_eq!((run.status, errors.as_str()), (0, told), "{route}");
    }
    let both = "    agents: [one, two]\n    fallback: [one]\n";
    let both = two_agents(both, "").replace("models: [small], ", "");
    let run = check(&both.replace("models: [large], ", ""), &["--no-validate"]);
    assert!(!run.errors.contains("never comes next"), "{}", run.errors);
}
