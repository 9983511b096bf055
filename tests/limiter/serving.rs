//! The service around the counting: what it refuses, its health, its metrics, its log, its end.

use std::process::Stdio;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::protocol::{METHOD, RateLimitDescriptor, SERVICE, Unit};
use crate::shared::{free_address, needed, repository};
use crate::{Service, ask, descriptor};

#[tokio::test]
async fn what_cannot_be_counted_is_refused_and_no_value_is_logged() {
    let service = Service::start(&["--max-counters", "2"]).await;
    let client = service.client().await;
    let year = |client| descriptor(client, 5, Unit::Year);
    let limitless = RateLimitDescriptor {
        limit: None,
        ..year("secret-name")
    };
    let refused = ask(&client, vec![year("a"), limitless])
        .await
        .expect_err("no limit");
    assert_eq!(refused.status, 3, "{refused:?}");
    assert!(
        refused
            .message
            .starts_with("descriptors[1] brings no limit"),
        "{refused:?}"
    );
    let unknown = client.call(&METHOD.replace("Should", "Would"), &[]).await;
    assert_eq!(unknown.expect_err("no such call").status, 12);
    let name = "x".repeat(70_000);
    let large = year(&name);
    let large = ask(&client, vec![large]).await.expect_err("too large");
    assert_eq!(large.status, 11, "{large:?}");
    // Two may be counted; what a third asks for is not, and not what is asked for with it either.
    assert_eq!(ask(&client, vec![year("a")]).await, Ok((true, vec![4])));
    assert_eq!(ask(&client, vec![year("b")]).await, Ok((true, vec![4])));
    let full = ask(&client, vec![year("a"), year("secret-name")])
        .await
        .expect_err("full");
    assert_eq!(full.status, 8, "{full:?}");
    assert_eq!(ask(&client, vec![year("a")]).await, Ok((true, vec![3])));
    let log = service.log();
    assert!(log.contains("descriptors[1] brings no limit"), "{log}");
    assert!(log.contains("--max-counters"), "{log}");
    assert!(!log.contains("secret-name"), "{log}");
}

#[tokio::test]
async fn health_checks_and_metrics_tell_how_it_is() {
    let address = free_address();
    let service = Service::start(&["--metrics", &address.to_string()]).await;
    let client = service.client().await;
    assert_eq!(client.health(SERVICE).await, Ok(1));
    assert_eq!(
        client
            .health("other")
            .await
            .expect_err("no such service")
            .status,
        5
    );
    for _ in 0..3 {
        ask(&client, vec![descriptor("acme", 2, Unit::Year)])
            .await
            .expect("an answer");
    }
    let stream = TcpStream::connect(address).await.expect("a connection");
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .expect("HTTP");
    tokio::spawn(connection);
    let request = hyper::Request::get("/metrics").header("host", "limiter");
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    let text = answer
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let text = String::from_utf8(text.to_vec()).expect("text");
    for line in [
        "waykeeper_limiter_requests_total{outcome=\"ok\"} 2",
        "waykeeper_limiter_requests_total{outcome=\"over_limit\"} 1",
        "waykeeper_limiter_requests_total{outcome=\"unavailable\"} 0",
        "waykeeper_limiter_store_duration_seconds_bucket{le=\"+Inf\"} 3",
        "waykeeper_limiter_store_duration_seconds_count 3",
        "waykeeper_limiter_store_up 1",
        "waykeeper_limiter_counters 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    let families = families(&text).await;
    let told = [
        ("waykeeper_limiter_counters", "gauge", &[][..]),
        ("waykeeper_limiter_requests", "counter", &["outcome"]),
        (
            "waykeeper_limiter_store_duration_seconds",
            "histogram",
            &["le"],
        ),
        ("waykeeper_limiter_store_up", "gauge", &[]),
    ];
    assert_eq!(families.as_object().map(Map::len), Some(told.len()));
    for (name, kind, labels) in told {
        assert_eq!(families[name]["type"], kind, "{name}");
        for sample in families[name]["samples"].as_array().expect("samples") {
            let of = sample["labels"].as_object().expect("labels");
            let summed = ["_sum", "_count"].map(|end| format!("{name}{end}"));
            let expected = if summed.iter().any(|it| sample["name"] == it.as_str()) {
                &[][..]
            } else {
                labels
            };
            assert!(of.keys().eq(expected), "{sample}");
        }
    }
}

/// What the parser of Prometheus' Python client reads there.
async fn families(text: &str) -> Value {
    let mut parser = Command::new("python3")
        .arg(repository("tests/e2e/prometheus_families.py"))
        .env(
            "PYTHONPATH",
            needed(".tools/prometheus-client", "make test-tools"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut input = parser.stdin.take().expect("its input");
    input.write_all(text.as_bytes()).await.expect("write");
    drop(input);
    let parsed = parser.wait_with_output().await.expect("python3");
    assert!(parsed.status.success(), "{text}");
    serde_json::from_slice(&parsed.stdout).expect("JSON")
}

#[tokio::test]
async fn it_ends_when_it_is_told_also_while_a_gateway_is_connected() {
    let service = Service::start(&[]).await;
    let client = service.client().await;
    assert_eq!(
        ask(&client, vec![descriptor("a", 5, Unit::Year)]).await,
        Ok((true, vec![4]))
    );
    let (status, log) = service.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(
        lines.iter().all(|line| line.starts_with("waykeeper: ")),
        "{log}"
    );
}

#[tokio::test]
async fn its_page_explains_every_option_and_every_metric() {
    let page = std::fs::read_to_string(repository("docs/limiter.md")).expect("the page");
    let help = Command::new(env!("CARGO_BIN_EXE_waykeeper"))
        .args(["limiter", "--help"])
        .output()
        .await
        .expect("the limiter");
    let help = String::from_utf8(help.stdout).expect("text");
    let options = help.lines().filter_map(|line| {
        let option = line.trim_start().strip_prefix("--")?;
        option.split(' ').next()
    });
    let options: Vec<_> = options.collect();
    assert!(options.len() >= 10, "{help}");
    for option in options {
        assert!(page.contains(&format!("\n| `--{option} ")), "--{option}");
    }
    let source = repository("cli/src/limiter/metrics.rs");
    let source = std::fs::read_to_string(source).expect("the source");
    let metrics = source.split("# TYPE ").skip(1).map(|rest| {
        let name = rest.split(' ').next();
        name.expect("a name")
    });
    for metric in metrics {
        assert!(page.contains(&format!("\n| `{metric}")), "{metric}");
    }
}
