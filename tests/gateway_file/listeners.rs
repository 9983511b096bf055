//! Where the gateway listens, and what it makes of those who connect there.

use hyper::Version;

use crate::caller::{Answer, Caller};
use crate::certificates::Authority;
use crate::gateway::{Gateway, agent, free_address};

const ALLOWED: &str = "access-control-allow-origin";

async fn preflight(caller: &Caller, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
    ];
    caller
        .send("OPTIONS", "/echo", &headers)
        .await
        .expect("an answer")
}

#[tokio::test]
async fn each_listener_does_what_is_written_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "authority");
    let stranger = Authority::new(directory.path(), "stranger");
    let server = authority.sign("localhost");
    let known = authority.sign("caller.example");
    let unknown = stranger.sign("stranger.example");
    let agent = agent("chat").await;
    let [plain, behind, tls, mutual, operations] = [(); 5].map(|()| free_address());
    let text = format!(
        "
listen:
  - {{address: '{plain}', cors: {{origins: ['https://app.example.com', 'app://desktop']}}}}
  - {{address: '{behind}', trusted_hops: 1, cors: {{origins: [localhost]}}}}
  - {{address: '{tls}', tls: {{certificate: {certificate}, key: {key}}}}}
  - {{address: '{mutual}', tls: {{certificate: {certificate}, key: {key}, client_ca: {ca}}}}}
operations: '{operations}'
limits:
  - {{name: per-address, each: address, requests: 2/day}}
agents:
  chat: {{url: 'http://{agent}'}}
routes:
  - {{prefix: /echo, agents: [chat], auth_required: false}}
",
        certificate = server.certificate.display(),
        key = server.key.display(),
        ca = authority.file.display(),
        agent = agent.address(),
    );
    let gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let [plain, behind, tls, mutual, operations] =
        [plain, behind, tls, mutual, operations].map(Caller::of);
    let echo = |caller: Caller, from: &'static str| async move {
        caller
            .send("GET", "/echo", &[("x-forwarded-for", from)])
            .await
            .map(|answer| answer.status)
    };

    // Whose address counts: the connection's, or what one proxy in front has written.
    for (caller, from, status) in [
        (&plain, "192.0.2.1", 200),
        (&plain, "192.0.2.2", 200),
        (&plain, "192.0.2.3", 429),
        (&behind, "192.0.2.1", 200),
        (&behind, "192.0.2.9, 192.0.2.1", 200),
        (&behind, "192.0.2.1", 429),
        (&behind, "192.0.2.2", 200),
    ] {
        assert_eq!(
            echo(caller.clone(), from).await.expect("an answer"),
            status,
            "{from}"
        );
    }

    // TLS, in both versions of HTTP; and with the certificate of a caller where one is asked for. (The answers are refusals:
    // this machine's own address has used up its limit.)
    let over = |caller: &Caller, own, protocols: &[&str]| {
        caller.clone().over(server.caller(own, protocols))
    };
    for (protocol, version) in [("http/1.1", Version::HTTP_11), ("h2", Version::HTTP_2)] {
        for caller in [
            over(&tls, None, &[protocol]),
            over(&mutual, Some(&known), &[protocol]),
        ] {
            let answer = caller.get("/echo", &[]).await;
            assert_eq!((answer.status, answer.version), (429, version));
        }
        for own in [None, Some(&unknown)] {
            let refused = over(&mutual, own, &[protocol])
                .send("GET", "/echo", &[])
                .await;
            assert!(refused.is_err(), "{refused:?}");
        }
    }
    let unsuspecting = Caller::clone(&tls);
    assert!(
        echo(unsuspecting, "192.0.2.1").await.is_err(),
        "TLS is spoken only"
    );
    assert!(
        echo(plain.clone().http2(), "192.0.2.1").await.is_ok(),
        "HTTP/2 without TLS"
    );

    // Pages.
    for (caller, origin, allowed) in [
        (&plain, "https://app.example.com", true),
        (&plain, "app://desktop", true),
        (&plain, "https://app.example.com.evil.example", false),
        (&plain, "http://localhost:3000", false),
        (&behind, "http://localhost:3000", true),
        (&behind, "https://app.example.com", false),
        (&over(&tls, None, &[]), "https://app.example.com", false),
    ] {
        let answer = preflight(caller, origin).await;
        let expected = allowed.then_some(origin);
        assert_eq!(answer.header(ALLOWED), expected, "{origin}: {answer:?}");
    }

    // For the operators' tools, and nothing else.
    let metrics = operations.get("/stats/prometheus", &[]).await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().contains("waykeeper_requests_total"));
    assert_eq!(operations.get("/config_dump", &[]).await.status, 404);
    drop(gateway);
}

/// A page may send and read the headers that the file itself speaks of: its browser asks first.
#[tokio::test]
async fn a_page_may_use_the_headers_of_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = agent("chat").await;
    let [address, operations] = [(); 2].map(|()| free_address());
    let key = "0".repeat(64);
    let text = format!(
        "
listen:
  - {{address: '{address}', cors: {{origins: ['https://app.example.com']}}}}
operations: '{operations}'
clients:
  keys: [{{sha256: '{key}', client_id: page}}]
  key_sources: [{{header: X-My-Own-Key}}]
sessions: {{keys: ['{key}']}}
agents:
  chat: {{url: 'http://{agent}', sticky: {{header: x-thread, named_by: agent}}}}
routes:
  - {{prefix: /echo, agents: [chat]}}
",
        agent = agent.address(),
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let caller = Caller::of(address);
    let answer = preflight(&caller, "https://app.example.com").await;
    assert_eq!(
        (answer.status, answer.header(ALLOWED)),
        (200, Some("https://app.example.com"))
    );
    let allowed = answer
        .header("access-control-allow-headers")
        .expect("headers");
    for name in ["x-my-own-key", "x-thread", "authorization"] {
        assert!(allowed.split(", ").any(|it| it == name), "{allowed}");
    }
    let answer = caller
        .get("/echo", &[("origin", "https://app.example.com")])
        .await;
    let exposed = answer
        .header("access-control-expose-headers")
        .expect("headers");
    assert!(exposed.split(", ").any(|it| it == "x-thread"), "{exposed}");
}
