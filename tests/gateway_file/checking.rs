//! `waykeeper check` has Envoy validate what is made of a `gateway.yaml`, and says which part of the file it does not take.

use std::path::Path;
use std::process::{Command, Output};

use crate::certificates::Authority;
use crate::needed;
use crate::patches::lua;

const GATEWAY: &str = "\
listen: [{address: 127.0.0.1:8080LISTEN}]
agents:
  chat: {url: http://127.0.0.1:8000}
  hosted: {provider: groq, credential: {env: TEST_OF_CHECKING}AGENT}
routes:
  - {prefix: /, agents: [chat, hosted], auth_required: false}
";

/// Names a cluster, which Envoy looks for while it reads this.
const TRACING: &str = "    - in: http_connection_manager
      merge:
        tracing:
          provider:
            name: envoy.tracers.zipkin
            typed_config:
              \"@type\": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig
              collector_cluster: outside
              collector_endpoint: /spans
              collector_endpoint_version: HTTP_JSON
";

/// A tool with nothing beside it, in a directory of its own.
struct Tool(tempfile::TempDir);

impl Tool {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let tool = place.path().join("waykeeper");
        std::fs::copy(env!("CARGO_BIN_EXE_waykeeper"), tool).expect("copy");
        Self(place)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Checks a file; tells how that ended, what is said against it and what it amounts to.
    fn check(&self, text: &str, arguments: &[&str]) -> (i32, String, String) {
        self.check_by(text, arguments, self.path())
    }

    /// The same with another directory for what is there for a moment only.
    fn check_by(&self, text: &str, arguments: &[&str], temporary: &Path) -> (i32, String, String) {
        std::fs::write(self.path().join("gateway.yaml"), text).expect("write");
        let output = Command::new(self.path().join("waykeeper"))
            .args(["check", "gateway.yaml"])
            .args(arguments)
            .current_dir(self.path())
            .env("PATH", "/nowhere")
            .env("TMPDIR", temporary)
            .env("TEST_OF_CHECKING", "sk-secret")
            .output();
        let Output {
            status,
            stdout,
            stderr,
        } = output.expect("the tool");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (status.code().expect("an end"), text(stderr), text(stdout))
    }
}

fn gateway(listen: &str, agent: &str, patches: &str) -> String {
    let patches = match patches {
        "" => String::new(),
        patches => format!("envoy:\n  patches:\n{patches}"),
    };
    let text = GATEWAY.replace("LISTEN", listen).replace("AGENT", agent);
    text + &patches
}

#[test]
fn what_envoy_does_not_take_is_told_with_the_patch_and_its_line() {
    let tool = Tool::new();
    let envoy = needed(".tools/envoy", "make tools");
    let validated = ["--envoy-program", envoy.to_str().expect("a path")];

    let good = format!(
        "    - in: http_filters\n      before: waykeeper\n      add:{}    - {{in: clusters, name: chat, merge: {{connect_timeout: 3s}}}}\n",
        lua("mine")
    );
    let lines = good.lines().count();
    let (status, errors, output) = tool.check(&gateway("", "", &good), &validated);
    assert_eq!((status, errors.as_str()), (0, ""), "{output}");
    let said = format!(
        "  Envoy:\n    listens on 127.0.0.1:8080\n    has validated this: 1.40.0 ({})\n",
        envoy.display()
    );
    assert!(output.ends_with(&said), "{output}");

    // Each between patches that are good; the first line of patches is the ninth.
    let first = 9 + lines;
    let script = "    - in: http_filters\n      after: waykeeper\n      add:\n        name: broken\n        typed_config:\n          \
                  \"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua\n          \
                  default_source_code: {inline_string: function envoy_on_request(}\n";
    for (patch, line, field, said) in [
        (
            "    - in: http_connection_manager\n      merge:\n        server_name: mine\n        no_such_field: 1\n",
            first + 3,
            "merge.no_such_field",
            "no such field: 'no_such_field'",
        ),
        (
            "    - in: listeners\n      name: gateway\n      merge:\n        tcp_backlog_size: {a: 1}\n",
            first + 3,
            "merge.tcp_backlog_size.a",
            "no such field: 'a'",
        ),
        (
            "    - in: http_connection_manager\n      merge:\n        server_name: mine\n        max_request_headers_kb: 0\n",
            first + 3,
            "merge.max_request_headers_kb",
            "MaxRequestHeadersKb",
        ),
        (script, first + 2, "add", "script load error"),
        (
            "    - {in: clusters, add: {name: mine, type: STATIC, transport_socket: {name: none}}}\n",
            first,
            "add",
            "registered implementation for 'none'",
        ),
    ] {
        let after = "    - {in: bootstrap, merge: {stats_flush_interval: 7s}}\n";
        let text = gateway("", "", &format!("{good}{patch}{after}"));
        let (status, errors, output) = tool.check(&text, &validated);
        let begin =
            format!("gateway.yaml:{line}: envoy.patches[2].{field}: Envoy does not take it: ");
        assert!(
            errors.starts_with(&begin) && errors.contains(said),
            "{begin}{said}\n{errors}"
        );
        assert!(errors.len() < 700 && errors.lines().count() < 4, "{errors}");
        assert!(
            !errors.contains("sk-secret") && !output.contains("good"),
            "{errors}{output}"
        );
        assert_eq!(status, 1);
    }

    // A patch that is good with a later one only is not blamed for what is wrong with a third.
    let later = "    - {in: clusters, add: {name: outside, type: STATIC, connect_timeout: 1s}}\n";
    let both = format!("{TRACING}{later}");
    let (status, errors, _) = tool.check(&gateway("", "", &both), &validated);
    assert_eq!((status, errors.as_str()), (0, ""));
    let wrong = "    - {in: virtual_host, merge: {wrong: 1}}\n";
    let (_, errors, _) = tool.check(&gateway("", "", &format!("{both}{wrong}")), &validated);
    let begin = "gateway.yaml:20: envoy.patches[2].merge.wrong: Envoy does not take it: ";
    assert!(errors.starts_with(begin), "{errors}");
}

/// What is shown to Envoy has a place whose name may be long, and nothing is left there. Without a place nothing is shown.
#[test]
fn envoy_is_asked_wherever_there_is_a_place_for_it() {
    let tool = Tool::new();
    let envoy = needed(".tools/envoy", "make tools");
    let validated = ["--envoy-program", envoy.to_str().expect("a path")];
    let long = tool.path().join("long-".repeat(25));
    std::fs::create_dir(&long).expect("a directory");
    let text = gateway("", "", "").replace("{url: http://127.0.0.1:8000}", "{builtin: echo}");
    let (status, errors, output) = tool.check_by(&text, &validated, &long);
    assert_eq!((status, errors.as_str()), (0, ""));
    assert!(output.contains("has validated this: 1.40.0"), "{output}");
    assert_eq!(std::fs::read_dir(&long).expect("the directory").count(), 0);

    let (status, errors, _) = tool.check_by(&text, &validated, Path::new("/nowhere"));
    assert_eq!(status, 2, "{errors}");
    assert!(errors.contains("/nowhere"), "{errors}");
}

/// Clusters of whoever starts Envoy with more than these files.
#[test]
fn clusters_that_are_written_elsewhere_are_shown_to_envoy_too() {
    let tool = Tool::new();
    let envoy = needed(".tools/envoy", "make tools");
    let validated = ["--envoy-program", envoy.to_str().expect("a path")];
    let text = gateway("", "", TRACING);
    let (status, errors, _) = tool.check(&text, &validated);
    let told = "gateway.yaml:10: envoy.patches[0].merge: Envoy does not take it: envoy.tracers.zipkin: unknown cluster 'outside'\n";
    assert_eq!((status, errors.as_str()), (1, told));

    let more =
        "static_resources: {clusters: [{name: outside, type: STATIC, connect_timeout: 1s}]}\n";
    std::fs::write(tool.path().join("more.yaml"), more).expect("write");
    let beside = [&validated[..], &["--envoy", "more.yaml"]].concat();
    let (status, errors, _) = tool.check(&text, &beside);
    assert_eq!((status, errors.as_str()), (0, ""));
}

/// Certificates may come later, or be on another machine: that is said of them, and all else is validated.
#[test]
fn envoy_is_asked_of_the_rest_where_certificates_are_not_here() {
    let tool = Tool::new();
    let envoy = needed(".tools/envoy", "make tools");
    let validated = ["--envoy-program", envoy.to_str().expect("a path")];
    let known = Authority::new(tool.path(), "ca").sign("own");
    let unfit = Authority::new(tool.path(), "other").sign("other");
    let (certificate, key) = (known.certificate.display(), unfit.key.display());
    let absent = "certificate: /nowhere/a.pem, key: /nowhere/a.key";
    let listen = format!(", tls: {{{absent}, client_ca: /nowhere/ca.pem}}");
    for (agent, faults) in [
        (format!(", tls: {{ca: /nowhere/ca.pem, {absent}}}"), 0),
        (
            format!(", tls: {{certificate: {certificate}, key: {key}}}"),
            1,
        ),
    ] {
        let (status, errors, output) = tool.check(&gateway(&listen, &agent, ""), &validated);
        let told = errors
            .lines()
            .filter(|line| !line.contains(": warning: "))
            .count();
        assert_eq!(
            (status, told),
            (faults, usize::try_from(faults).expect("a number")),
            "{errors}"
        );
        assert!(!errors.contains("Envoy does not take it"), "{errors}");
        assert_eq!(
            output.contains("has validated the rest: 1.40.0"),
            faults == 0,
            "{output}"
        );
        let wrong = "    - {in: clusters, name: hosted/tls, merge: {wrong: 1}}\n";
        let (status, errors, _) = tool.check(&gateway(&listen, &agent, wrong), &validated);
        let at = "gateway.yaml:9: envoy.patches[0].merge.wrong: Envoy does not take it: ";
        assert!(status == 1 && errors.contains(at), "{errors}");
    }
}

#[test]
fn without_an_envoy_that_is_said_and_no_fault() {
    let tool = Tool::new();
    let text = gateway("", "", "    - {in: virtual_host, merge: {wrong: 1}}\n");
    for (arguments, said) in [
        (
            &["--no-validate"][..],
            "    has not validated this: --no-validate\n",
        ),
        (
            &[],
            "    has not validated this: no Envoy: there is no `envoy` in PATH, nor is it at ",
        ),
    ] {
        let (status, errors, output) = tool.check(&text, arguments);
        assert_eq!((status, errors.as_str()), (0, ""));
        assert!(output.contains(said), "{output}");
        assert_eq!(
            output.matches("validate").count(),
            said.matches("validate").count(),
            "{output}"
        );
    }
    // One that was named is to be there.
    let (status, errors, output) = tool.check(&text, &["--envoy-program", "/no/envoy"]);
    assert_eq!((status, output.as_str()), (2, ""));
    assert!(
        errors.starts_with("cannot start Envoy, /no/envoy: No such file"),
        "{errors}"
    );
}
