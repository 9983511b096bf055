//! The limiter's own TLS.

use std::path::Path;

use crate::certificates::Authority;
use crate::protocol::Unit;
use crate::shared::eventually;
use crate::{Client, Service, ask, descriptor};

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

#[tokio::test]
async fn it_answers_only_in_tls_and_those_whom_its_authority_knows() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "authority");
    let stranger = Authority::new(directory.path(), "stranger");
    let own = authority.sign("limiter.example");
    let (gateway, other) = (authority.sign("gateway"), stranger.sign("other"));
    let service = Service::begin(&[
        "--tls-certificate",
        text(&own.certificate),
        "--tls-key",
        text(&own.key),
        "--tls-client-ca",
        text(&authority.file),
    ])
    .await;
    let asks = async |name, config| {
        let client = Client::over_tls(service.address, name, config).await?;
        // TLS 1.3: whoever is not let in learns of it after its handshake.
        let answer = ask(&client, vec![descriptor("acme", 5, Unit::Year)]).await;
        answer.ok()
    };
    let known = || own.caller(Some(&gateway), &["h2"]);

    assert_eq!(
        asks("limiter.example", known()).await,
        Some((true, vec![4]))
    );
    assert_eq!(asks("another.example", known()).await, None);
    assert_eq!(
        asks("limiter.example", own.caller(None, &["h2"])).await,
        None
    );
    assert_eq!(
        asks("limiter.example", own.caller(Some(&other), &["h2"])).await,
        None
    );
    assert_eq!(
        asks("limiter.example", other.caller(Some(&gateway), &["h2"])).await,
        None
    );
    if let Some(plain) = Client::to(service.address).await {
        let answer = ask(&plain, vec![descriptor("acme", 5, Unit::Year)]).await;
        assert_eq!(answer.expect_err("an end").status, -1);
    }
    assert_eq!(
        asks("limiter.example", known()).await,
        Some((true, vec![3]))
    );

    // Renewed, by another authority; and then by nothing that could be used.
    let renewed = stranger.sign("limiter.example");
    eventually("the new certificate", || async {
        let answer = asks("limiter.example", renewed.caller(Some(&gateway), &["h2"])).await;
        // Authorities write their files beside each other: the key is another one now, and so is what it belongs to.
        answer.map(|(admitted, _)| assert!(admitted))
    })
    .await;
    std::fs::write(&own.key, "no key").expect("write");
    assert!(
        asks("limiter.example", renewed.caller(Some(&gateway), &["h2"]))
            .await
            .is_some()
    );
    let log = service.log();
    assert!(log.contains("the certificate is read anew"), "{log}");
    assert!(log.contains("holds no private key"), "{log}");
    assert!(!log.contains("PRIVATE KEY-"), "{log}");
}

#[tokio::test]
async fn a_file_that_is_of_no_use_is_named_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "authority");
    let (own, other) = (authority.sign("a"), authority.sign("b"));
    for (certificate, key, says) in [
        (text(&own.key), text(&own.key), "holds no certificate"),
        (text(&own.certificate), "/nowhere", "/nowhere"),
        (text(&own.certificate), text(&other.key), "b.key.pem"),
    ] {
        let tool = tokio::process::Command::new(env!("CARGO_BIN_EXE_waykeeper"))
            .args(["limiter", "--listen", "127.0.0.1:0"])
            .args(["--tls-certificate", certificate, "--tls-key", key])
            .output()
            .await
            .expect("the limiter");
        let said = String::from_utf8(tool.stderr).expect("text");
        assert_eq!(tool.status.code(), Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
}
