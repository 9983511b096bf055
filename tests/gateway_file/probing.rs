//! `waykeeper check --probe`: what it says of services that can be reached, and of those that cannot.

use std::process::Command;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use waykeeper_demo::auth::{self, Keys};

use crate::certificates::Authority;
use crate::front::Front;
use crate::gateway::{agent, free_address};

/// A port that greets whoever connects with these bytes.
async fn greeting(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            // It may have gone again.
            let _ = stream.write_all(bytes).await;
            kept.push(stream);
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_is_reached_for_as_envoy_would() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "authority");
    let stranger = Authority::new(directory.path(), "stranger");
    let by_name = authority.sign("localhost");
    let own = authority.sign("gateway.example");
    let both = ["h2", "http/1.1"];

    let one = agent("one").await;
    let auth = auth::start("127.0.0.1:0", Keys::demo())
        .await
        .expect("the validator");
    let asked = auth.address();
    let named = Front::of(one.address(), by_name.server(&both)).await;
    let named = named.port();
    let elder = Front::of(one.address(), by_name.server(&["http/1.1"])).await;
    let elder = elder.port();
    let mutual = Front::of(one.address(), by_name.server_for_known(&both)).await;
    let mutual = mutual.port();
    let plain = one.address().port();
    let nobody = free_address().port();
    let silent = greeting(b"").await;
    let other = greeting(b"220 mail.example ESMTP\r\n").await;

    let ca = format!("ca: {}", authority.file.display());
    let of_stranger = stranger.file.display();
    let shown = format!(
        "certificate: {}, key: {}",
        own.certificate.display(),
        own.key.display()
    );
    let health = |path: &str| format!("health: {{path: {path}, timeout: 500ms}}");
    let agents = [
        (
            "plain",
            format!("{{url: 'http://127.0.0.1:{plain}'}}"),
            Ok("answers in HTTP/1.1".to_owned()),
        ),
        (
            "healthy",
            format!(
                "{{url: 'http://localhost:{plain}', http2: true, {}}}",
                health("/healthz")
            ),
            Ok("answers in HTTP/2, GET /healthz with 200".to_owned()),
        ),
        (
            "secure",
            format!("{{url: 'https://localhost:{named}', tls: {{{ca}}}}}"),
            Ok("answers in HTTP/2".to_owned()),
        ),
        (
            "mutual",
            format!(
                "{{url: 'https://localhost:{mutual}', tls: {{{ca}, {shown}}}, http2: false, {}}}",
                health("/healthz")
            ),
            Ok("answers in HTTP/1.1, GET /healthz with 200".to_owned()),
        ),
        (
            "nobody",
            format!("{{url: 'http://127.0.0.1:{nobody}'}}"),
            Err("refuses connections: nothing listens there".to_owned()),
        ),
        (
            "nowhere",
            "{url: 'http://agent.invalid'}".to_owned(),
            Err("the name agent.invalid is not known: ".to_owned()),
        ),
        (
            "unhealthy",
            format!("{{url: 'http://{asked}', {}}}", health("/validate")),
            Err(
                "answers GET /validate with 405, and Envoy sends requests only where that is 200"
                    .to_owned(),
            ),
        ),
        (
            "silent",
            format!(
                "{{url: 'http://127.0.0.1:{silent}', {}}}",
                health("/healthz")
            ),
            Err("connected, but no answer within 500ms".to_owned()),
        ),
        (
            "of-another-kind",
            format!("{{url: 'http://127.0.0.1:{other}'}}"),
            Err("connected, but speaks no HTTP: ".to_owned()),
        ),
        (
            "of-the-first-kind",
            format!("{{url: 'http://127.0.0.1:{other}', http2: true}}"),
            Err("connected, but speaks no HTTP/2: ".to_owned()),
        ),
        (
            "in-clear",
            format!("{{url: 'https://127.0.0.1:{other}', tls: {{{ca}}}}}"),
            Err("speaks no TLS: ".to_owned()),
        ),
        (
            "of-strangers",
            format!("{{url: 'https://localhost:{named}', tls: {{ca: {of_stranger}}}}}"),
            Err(format!(
                "its certificate is signed by nobody in {of_stranger}: name its authority in tls.ca"
            )),
        ),
        (
            "misplaced",
            format!("{{url: 'https://127.0.0.1:{named}', tls: {{{ca}}}}}"),
            Err(
                "its certificate is for localhost, not for 127.0.0.1: name one of these in tls.sni"
                    .to_owned(),
            ),
        ),
        (
            "elder",
            format!("{{url: 'https://localhost:{elder}', tls: {{{ca}}}, http2: true}}"),
            Err("offers none of the HTTP versions that are asked for".to_owned()),
        ),
        (
            "anonymous",
            format!("{{url: 'https://localhost:{mutual}', tls: {{{ca}}}}}"),
            Err(
                "asks for a certificate of the gateway's: write tls.certificate and tls.key"
                    .to_owned(),
            ),
        ),
        (
            "unfounded",
            format!("{{url: 'https://localhost:{named}', tls: {{ca: /nowhere.pem}}}}"),
            Err("/nowhere.pem is not there".to_owned()),
        ),
    ];
    let mut text = format!(
        "listen: [{{address: '127.0.0.1:8080'}}]\nclients: {{validator: {{url: 'http://{asked}/validate'}}}}\nagents:\n"
    );
    for (name, fields, _) in &agents {
        text += &format!("  {name}: {fields}\n");
    }
    text += "  elsewhere: {cluster: my-own}\nroutes:\n  - {prefix: /mine, agents: [elsewhere]}\n";
    for (name, ..) in &agents {
        text += &format!("  - {{prefix: /{name}, agents: [{name}]}}\n");
    }
    let file = directory.path().join("gateway.yaml");
    std::fs::write(&file, text).expect("write");

    let probed = tokio::task::spawn_blocking(move || {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_waykeeper"));
        tool.arg("check").arg("--probe").arg(file).output()
    });
    let probed = probed.await.expect("a thread").expect("the tool");
    let output = String::from_utf8(probed.stdout).expect("text");
    let errors = String::from_utf8(probed.stderr).expect("text");

    assert_eq!(probed.status.code(), Some(1), "{errors}");
    let says = |lines: &str, line: &str| lines.lines().any(|it| it.contains(line));
    assert!(
        says(
            &output,
            &format!("clients.validator: http://{asked}/validate answers in HTTP/1.1")
        ),
        "{output}"
    );
    assert!(
        says(
            &output,
            "agents.elsewhere: not asked, the cluster my-own is written elsewhere"
        ),
        "{output}"
    );
    for (line, (name, fields, outcome)) in agents.iter().enumerate() {
        let url = fields.split('\'').nth(1).expect("a url");
        let (lines, told) = match outcome {
            Ok(answer) => (&output, format!("  agents.{name}: {url} {answer}")),
            Err(wrong) => (
                &errors,
                format!("gateway.yaml:{}: agents.{name}: {url}: {wrong}", line + 4),
            ),
        };
        assert!(says(lines, &told), "{told}\n{output}{errors}");
    }
    let wrong = agents.iter().filter(|(.., outcome)| outcome.is_err());
    let faults = errors.lines().filter(|line| !line.contains(": warning: "));
    assert_eq!(faults.count(), wrong.count(), "{errors}");
}
