//! Secrets that a gateway names: whether they are there, and for whom.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::place::Place;
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
                "{{url: 'https://a', tls: {{certificate: {}, key: {}}}}}",
                path("absent"),
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
    let needed = "Envoy does not start without it";
    let open = "everybody on this machine may read it; chmod o-r takes that away";
    let directory = directory.path().to_str().unwrap();
    let told = run.errors.replace(directory, "DIR");
    assert_eq!(
        told,
        format!(
            "DIR/gateway.yaml:1: warning: listen[0].tls.certificate: DIR/absent is not there; {needed}\n\
             DIR/gateway.yaml:1: warning: listen[0].tls.key: DIR/key: {open}\n\
             DIR/gateway.yaml:1: warning: listen[0].tls.client_ca: DIR is a directory, not a file; {needed}\n\
             DIR/gateway.yaml:2: warning: clients.validator.tls.ca: DIR/absent is not there; {needed}\n\
             DIR/gateway.yaml:5: warning: agents.open.credential: DIR/open: {open}\n\
             DIR/gateway.yaml:6: warning: agents.empty.credential: DIR/empty is not filled: it is empty; {until}\n\
             DIR/gateway.yaml:7: warning: agents.absent.credential: DIR/absent is not there; {until}\n\
             DIR/gateway.yaml:9: warning: agents.unset.credential: the variable TEST_OF_NONE is not set; set it, and start Envoy or `waykeeper run` again; until then requests for this agent are answered 503 agent_unreachable\n\
             DIR/gateway.yaml:10: warning: agents.mutual.tls.certificate: DIR/absent is not there; {needed}\n\
             DIR/gateway.yaml:10: warning: agents.mutual.tls.key: DIR/key: {open}\n\
             DIR/gateway.yaml:11: warning: agents.signed.credential: DIR/absent is not there; {until}\n\
             DIR/gateway.yaml:12: warning: agents.piped.credential: DIR/pipe is no file, but a pipe, a socket or a device\n\
             DIR/gateway.yaml:13: warning: agents.untold.tls.ca: DIR/pipe is no file, but a pipe, a socket or a device; {needed}\n"
        )
    );
    assert_eq!(run.status, 0);
    assert!(!run.errors.contains("sk-") && !run.output.contains("sk-"));

    // Whoever starts Envoy by hand is told the same, and what it needs in its environment.
    let out = format!("{directory}/out");
    let run = waykeeper_in(&environment, &["envoy", &gateway, "--out", &out], b"");
    let same = run.errors.replace(directory, "DIR").starts_with(&told);
    assert!(same && run.status == 0, "{}", run.errors);
    let needs = "\nIn its environment Envoy needs TEST_OF_NONE, TEST_OF_SECRETS.\n";
    assert!(run.output.contains(needs), "{}", run.output);
}

/// A certificate for some days of some years, and its key, in files of one name.
fn make(place: &Place, name: &str, years: (i32, i32)) {
    let mut params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
    params.not_before = date_time_ymd(years.0, 1, 2);
    params.not_after = date_time_ymd(years.1, 3, 4);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    fs::write(place.path(&format!("{name}.pem")), certificate).unwrap();
    let file = place.path(&format!("{name}.key"));
    fs::write(&file, key.serialize_pem()).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn certificates_and_keys_are_judged_with_their_lines_and_without_envoy() {
    let place = Place::with("");
    make(&place, "good", (2020, 2080));
    make(&place, "other", (2020, 2080));
    make(&place, "gone", (2020, 2021));
    make(&place, "early", (2070, 2080));
    let none = place.path("none.pem");
    fs::write(&none, "no certificate\n").unwrap();
    fs::set_permissions(&none, Permissions::from_mode(0o600)).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nMAAwAA==\n-----END CERTIFICATE-----\n";
    fs::write(place.path("broken.pem"), broken).unwrap();
    let identity = |certificate: &str, key: &str| {
        format!("certificate: DIR/{certificate}.pem, key: DIR/{key}.key")
    };
    let agent = |tls: &str| format!("{{url: 'https://a', tls: {{{tls}}}}}");
    let agents = [
        ("good", agent(&identity("good", "good"))),
        ("unfit", agent(&identity("good", "other"))),
        ("gone", agent(&identity("gone", "gone"))),
        ("early", agent(&identity("early", "early"))),
        (
            "empty",
            agent("certificate: DIR/none.pem, key: DIR/none.pem, ca: DIR/none.pem"),
        ),
        ("broken", agent(&identity("broken", "good"))),
        ("ca", agent("ca: DIR/gone.pem")),
    ];
    let mut text = format!(
        "listen:\n  - {{address: '127.0.0.1:8443', tls: {{{}, client_ca: DIR/good.key}}}}\nagents:\n",
        identity("other", "good")
    );
    for (name, fields) in &agents {
        text += &format!("  {name}: {fields}\n");
    }
    let names = agents.map(|(name, _)| name).join(", ");
    text += &format!("routes: [{{prefix: /, agents: [{names}], auth_required: false}}]\n");
    let text = text.replace("DIR", place.directory());
    fs::write(place.path("gateway.yaml"), text).unwrap();

    let run = place.run("check", &["--no-validate"]);

    assert_eq!(
        run.errors,
        "DIR/gateway.yaml:2: listen[0].tls.key: DIR/good.key: is not the key of DIR/other.pem\n\
         DIR/gateway.yaml:2: listen[0].tls.client_ca: DIR/good.key: holds no certificate\n\
         DIR/gateway.yaml:5: agents.unfit.tls.key: DIR/other.key: is not the key of DIR/good.pem\n\
         DIR/gateway.yaml:6: warning: agents.gone.tls.certificate: DIR/gone.pem: its certificate expired on 2021-03-04; who verifies \
         it refuses it\n\
         DIR/gateway.yaml:7: warning: agents.early.tls.certificate: DIR/early.pem: its certificate is not valid before 2070-01-02; \
         until then who verifies it refuses it\n\
         DIR/gateway.yaml:8: agents.empty.tls.ca: DIR/none.pem: holds no certificate\n\
         DIR/gateway.yaml:8: agents.empty.tls.certificate: DIR/none.pem: holds no certificate\n\
         DIR/gateway.yaml:8: agents.empty.tls.key: DIR/none.pem: holds no private key, or one behind a password\n\
         DIR/gateway.yaml:9: agents.broken.tls.certificate: DIR/broken.pem: its first certificate cannot be read\n\
         DIR/gateway.yaml:10: warning: agents.ca.tls.ca: DIR/gone.pem: its certificate expired on 2021-03-04; who verifies it \
         refuses it\n"
    );
    assert_eq!(run.status, 1);
    assert!(!run.output.contains("good"), "{}", run.output);
}

/// OpenAI's clients read the gateway's key under the name under which many keep the provider's.
#[test]
fn a_credential_that_is_a_key_of_a_client_is_a_fault() {
    let place = Place::with(
        "listen: [{address: '127.0.0.1:8080'}]
clients:
  keys: [{sha256: 5d19f84807c15ad345e1f0b12b73b7ad4da77ed6040c14be987a45eca4c8b0c2, client_id: other}, {sha256: HASH, client_id: dev}]
agents:
  from-env: {provider: openai, credential: {env: TEST_OF_KEYS}}
  from-file: {url: 'https://a', credential: {file: DIR/key}}
  fine: {url: 'https://a', credential: {file: DIR/fine}}
routes: [{prefix: /, agents: [from-env, from-file, fine]}]
",
    );
    for (name, text) in [("key", "Bearer wk-example\r\n"), ("fine", "sk-provider\n")] {
        fs::write(place.path(name), text).unwrap();
        fs::set_permissions(place.path(name), Permissions::from_mode(0o600)).unwrap();
    }
    let hash = crate::waykeeper(&["hash-key"], b"wk-example").output;
    let file = place.path("gateway.yaml");
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("HASH", hash.trim());
    fs::write(&file, text.replace("DIR", place.directory())).unwrap();

    let what = "holds the gateway key of client dev, not the provider's key\n";
    let in_file = format!("DIR/gateway.yaml:6: agents.from-file.credential: {what}");
    let both = format!("DIR/gateway.yaml:5: agents.from-env.credential: {what}{in_file}");
    let check = |value| place.run_in(&[("TEST_OF_KEYS", value)], "check", &["--no-validate"]);
    let run = check("wk-example");
    assert_eq!((run.status, run.errors), (1, both.clone()));
    assert!(!run.output.contains("wk-example"));
    // Nor does it run.
    let run = place.run_in(&[("TEST_OF_KEYS", "wk-example")], "run", &[]);
    assert_eq!((run.status, run.errors), (1, both));

    let run = check("sk-provider");
    assert_eq!((run.status, run.errors), (1, in_file));
    fs::write(place.path("key"), "sk-provider").unwrap();
    let run = check("sk-provider");
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
}

/// What may stand on another machine is warned of. `run` does not start without it here, and so it is not called good without more.
#[test]
fn what_run_does_not_start_with_is_not_called_good_without_more() {
    let text = "listen: [{address: '127.0.0.1:8080', TLS}]\nagents: {chat: {url: 'http://chat:8000'}}\n\
                routes: [{prefix: /chat, agents: [chat], auth_required: false}]\n";
    let absent = "tls: {certificate: /no/one.pem, key: /no/one.key}";
    let place = Place::with(&text.replace("TLS", absent));
    let run = place.run("check", &["--no-validate"]);
    assert_eq!(run.status, 0, "{}", run.errors);
    let told = "DIR/gateway.yaml:1: good, but `waykeeper run` does not start here with it: see the warnings\n";
    assert!(run.output.starts_with(told), "{}", run.output);
    let judged = "\n    has not validated the rest: --no-validate\n";
    assert!(run.output.ends_with(judged), "{}", run.output);
    assert_eq!(run.errors.matches(": warning: ").count(), 2);

    // Where that is no place for warnings, such as CI, they are faults.
    let strict = place.run("check", &["--no-validate", "--strict"]);
    assert_eq!((strict.status, strict.output.as_str()), (1, ""));
    assert_eq!(strict.errors, run.errors);
    let run = Place::with(&text.replace(", TLS", "")).run("check", &["--no-validate", "--strict"]);
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    assert!(
        run.output.contains("gateway.yaml:1: good\n"),
        "{}",
        run.output
    );
}
