//! Secrets that a gateway names: whether they are there, and for whom.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::waykeeper_in;

#[test]
fn a_secret_that_is_not_there_or_there_for_everybody_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for (name, text, mode) in [
        ("fine", "sk-fine", 0o640),
        ("open", "sk-open", 0o644),
        ("empty", "", 0o600),
        ("key", "sk-key", 0o604),
    ] {
        fs::write(path(name), text).unwrap();
        fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
    }
    let made = Command::new("mkfifo").arg(path("pipe")).status();
    assert!(made.unwrap().success());
    let file = |name: &str| format!("{{url: 'https://a', credential: {{file: {}}}}}", path(name));
    let agents = [
        ("fine", file("fine")),
        ("open", file("open")),
        ("empty", file("empty")),
        ("absent", file("absent")),
        (
            "set",
            "{url: 'https://a', credential: {env: TEST_OF_SECRETS}}".to_owned(),
        ),
        (
            "unset",
            "{url: 'https://a', credential: {env: TEST_OF_NONE}}".to_owned(),
        ),
        (
            "mutual",
            format!(
                "{{url: 'https://a', tls: {{certificate: {0}, key: {0}}}}}",
                path("key")
            ),
        ),
        (
            "signed",
            format!(
                "{{provider: bedrock, region: eu-west-1, credential: {{file: {}}}}}",
                path("absent")
            ),
        ),
        ("piped", file("pipe")),
        (
            "untold",
            format!("{{url: 'https://a', tls: {{ca: {}}}}}", path("pipe")),
        ),
    ];
    let mut text = format!(
        "listen: [{{address: '0.0.0.0:8443', tls: {{certificate: {0}, key: {1}, client_ca: {2}}}}}]\n\
         clients: {{validator: {{url: 'https://v', tls: {{ca: {0}}}}}}}\nagents:\n",
        path("absent"),
        path("key"),
        directory.path().display(),
    );
    for (name, fields) in &agents {
        text += &format!("  {name}: {fields}\n");
    }
    text += "routes:\n";
    for (name, _) in &agents {
        text += &format!("  - {{prefix: /{name}, agents: [{name}]}}\n");
    }
    fs::write(path("gateway.yaml"), text).unwrap();
    let gateway = path("gateway.yaml");
    let environment = [("TEST_OF_SECRETS", "sk-set")];
    let run = waykeeper_in(&environment, &["check", &gateway], b"");

    let until = "until it is, requests for this agent are answered 503 agent_unreachable";
    let open = "everybody on this machine may read it; chmod o-r takes that away";
    let directory = directory.path().to_str().unwrap();
    let told = run.errors.replace(directory, "DIR");
    assert_eq!(
        told,
        format!(
            "DIR/gateway.yaml:1: warning: listen[0].tls.certificate: DIR/absent is not there\n\
             DIR/gateway.yaml:1: warning: listen[0].tls.key: DIR/key: {open}\n\
             DIR/gateway.yaml:1: warning: listen[0].tls.client_ca: DIR is a directory, not a file\n\
             DIR/gateway.yaml:2: warning: clients.validator.tls.ca: DIR/absent is not there\n\
             DIR/gateway.yaml:5: warning: agents.open.credential: DIR/open: {open}\n\
             DIR/gateway.yaml:6: warning: agents.empty.credential: DIR/empty is not filled: it is empty; {until}\n\
             DIR/gateway.yaml:7: warning: agents.absent.credential: DIR/absent is not there; {until}\n\
             DIR/gateway.yaml:9: warning: agents.unset.credential: the variable TEST_OF_NONE is not set; {until}\n\
             DIR/gateway.yaml:10: warning: agents.mutual.tls.key: DIR/key: {open}\n\
             DIR/gateway.yaml:11: warning: agents.signed.credential: DIR/absent is not there; {until}\n\
             DIR/gateway.yaml:12: warning: agents.piped.credential: DIR/pipe is no file, but a pipe, a socket or a device\n\
             DIR/gateway.yaml:13: warning: agents.untold.tls.ca: DIR/pipe is no file, but a pipe, a socket or a device\n"
        )
    );
    assert_eq!(run.status, 0);
    assert!(!run.errors.contains("sk-") && !run.output.contains("sk-"));

    // What is written for another machine is not looked for here.
    let out = format!("{directory}/out");
    let run = waykeeper_in(&environment, &["envoy", &gateway, "--out", &out], b"");
    assert!(!run.errors.contains("credential"), "{}", run.errors);
}
