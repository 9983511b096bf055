//! Another agent hears a part of a route's requests as well, and no caller notices.

use std::fs;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::caller::Caller;
use crate::eventually;
use crate::gateway::{Around, Gateway, free_address};
use crate::stand_in::{Came, StandIn, json};

async fn named(name: &'static str) -> StandIn {
    StandIn::start(move |_: &Came| json(200, name)).await
}

/// What the agent is to hear next, however late.
async fn heard(agent: &StandIn) -> Came {
    let came = || async { agent.came().pop() };
    eventually("a request", came).await
}

/// What an agent hears of a request that it is to answer in another's place some day, and what not.
async fn hears(version: Option<&'static str>) {
    let directory = tempfile::tempdir().expect("a directory");
    let secrets = tempfile::tempdir().expect("a directory");
    let kept = |name: &str| {
        let file = secrets.path().join(name);
        fs::write(&file, format!("secret-of-{name}")).expect("write");
        file.display().to_string()
    };
    let (main, shadow) = (named("main").await, named("shadow").await);
    let [listen, operations] = [(); 2].map(|()| free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
clients: {{keys: [{{sha256: '{hash}', client_id: acme}}]}}
agents:
  main: {{url: 'http://{main}', credential: {{file: '{of_main}'}}, sticky: {{client: true}}}}
  unknown: {{cluster: unknown, sees: [agent]}}
  shadow: {{url: 'http://{shadow}/base', credential: {{file: '{of_shadow}', header: x-token}}}}
routes:
  - {{prefix: /v1/all, agents: [main], mirror: {{agent: shadow}}}}
  - {{prefix: /streams, agents: [main], streams: true, mirror: {{agent: shadow}}}}
  - {{prefix: /unknown, agents: [main], mirror: {{agent: unknown}}}}
  - {{prefix: /none, agents: [main], mirror: {{agent: shadow, percent: 0}}}}
  - {{prefix: /own, agents: [shadow], mirror: {{agent: shadow}}}}
",
        // That of `key`.
        hash = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683",
        main = main.address,
        shadow = shadow.address,
        of_main = kept("main"),
        of_shadow = kept("shadow"),
    );
    let port = shadow.address.port();
    // Not made here, and so it has no filters of its own.
    let more = format!(
        "static_resources: {{clusters: [{{name: unknown, type: STATIC, load_assignment: {{cluster_name: unknown, endpoints: [{{lb_endpoints: \
         [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]}}}}]}}",
    );
    let around = Around {
        version,
        more: &more,
        ..Around::default()
    };
    let _gateway = Gateway::start_with(directory.path(), &text, &around, operations).await;
    let caller = Caller::of(listen);
    let key = ("x-api-key", "key");
    let headers = [key, ("x-waykeeper-mirror", "main")];

    for path in ["/v1/all/x?a=b", "/streams/x?a=b"] {
        let answer = caller.post(path, &headers, "to be heard").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "main"));
        let (answered, heard) = (heard(&main).await, heard(&shadow).await);
        assert_eq!(
            answered.header("authorization"),
            Some("Bearer secret-of-main")
        );
        assert_eq!(answered.header("x-token"), None);
        // As if it were the one to answer: its own credential, its own base, the caller's host.
        assert_eq!(heard.header("x-token"), Some("secret-of-shadow"));
        let based = path
            .replace("/v1", "/base")
            .replace("/streams", "/base/streams");
        assert_eq!(heard.path, based);
        assert_eq!(
            (heard.host.as_str(), heard.host.as_str()),
            ("gateway.example", answered.host.as_str())
        );
        assert_eq!(
            (heard.method.as_str(), &heard.body[..]),
            ("POST", &b"to be heard"[..])
        );
        for (name, value) in &heard.headers {
            let value = value.to_str().expect("text");
            assert!(!value.contains("secret-of-main"), "{name}: {value}");
            assert!(
                name != "authorization" && name != "x-api-key",
                "{name}: {value}"
            );
        }
        for came in [&answered, &heard] {
            for name in ["mirror", "cluster", "kind", "hash"] {
                assert_eq!(came.header(&format!("x-waykeeper-{name}")), None);
            }
            assert_eq!(came.header("x-waykeeper-client"), Some("acme"));
        }
    }

    let answer = caller.post("/unknown/x", &headers, "").await;
    assert_eq!(answer.text(), "main");
    let (answered, heard) = (self::heard(&main).await, self::heard(&shadow).await);
    assert_eq!(answered.header("x-waykeeper-client"), Some("acme"));
    assert_eq!(heard.header("x-waykeeper-client"), None, "{heard:?}");
    assert_eq!(heard.header("x-waykeeper-agent"), Some("main"));
    assert_eq!(heard.header("x-waykeeper-hash"), None);

    // Nobody else hears these: not one is drawn, one is the mirror's own, and one may be too long.
    let long = "x".repeat((512 << 10) + 1);
    for (path, body) in [
        ("/none/x", ""),
        ("/own/x", ""),
        ("/v1/all/long", long.as_str()),
    ] {
        let answer = caller.post(path, &headers, body).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    let last = caller.post("/v1/all/last", &headers, &long[1..]).await;
    assert_eq!(last.status, 200);
    let mut all = Vec::new();
    eventually("the last request", || {
        all.extend(shadow.came().into_iter().map(|came| came.path));
        let done = all.iter().any(|path| path.ends_with("/last"));
        async move { done.then_some(()) }
    })
    .await;
    assert_eq!(all, ["/base/own/x", "/base/all/last"]);
}

#[tokio::test]
async fn an_agent_hears_requests_of_another_as_its_own_and_nobody_is_shown_what_is_not_his() {
    hears(None).await;
}

#[tokio::test]
async fn an_agent_hears_requests_of_another_by_envoy_1_36() {
    hears(Some("1.36.4")).await;
}

#[tokio::test]
async fn an_agent_hears_requests_of_another_by_envoy_1_37() {
    hears(Some("1.37.0")).await;
}

#[tokio::test]
async fn an_agent_hears_requests_of_another_by_envoy_1_38() {
    hears(Some("1.38.2")).await;
}

#[tokio::test]
async fn an_agent_hears_requests_of_another_by_envoy_1_39() {
    hears(Some("1.39.3")).await;
}

#[tokio::test]
async fn what_a_route_changes_of_a_request_is_heard_as_changed() {
    let directory = tempfile::tempdir().expect("a directory");
    let (main, shadow) = (named("main").await, named("shadow").await);
    let [listen, operations] = [(); 2].map(|()| free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
agents:
  main: {{url: 'http://{}', models: [{{model: chat, as: qwen}}]}}
  shadow: {{url: 'http://{}'}}
routes:
  - prefix: /
    agents: [main]
    auth_required: false
    max_body: 1MiB
    mirror: {{agent: shadow}}
    request:
      host: internal.example
      headers: {{set: {{x-at: '{{agent}} by {{route}}'}}, add: {{x-via: waykeeper}}, remove: [x-debug]}}
      body: {{set: {{/user: gateway, /meta/store: false}}, remove: [/secret]}}
    response: {{headers: {{set: {{x-served-by: '{{agent}}'}}}}}}
",
        main.address, shadow.address
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let caller = Caller::of(listen);
    let headers = [
        ("content-type", "application/json"),
        ("x-debug", "1"),
        ("x-at", "spoofed"),
        ("x-via", "caller"),
    ];
    let long = "x".repeat(100_000);
    for input in ["a", &long] {
        let body = format!(r#"{{"model":"chat","user":"spoofed","secret":1,"input":"{input}"}}"#);
        let answer = caller.post("/x", &headers, &body).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "main"));
        assert_eq!(answer.header("x-served-by"), Some("main"));
        let (answered, heard) = (heard(&main).await, heard(&shadow).await);
        let changed = format!(
            r#"{{"model":"qwen","user":"gateway","input":"{input}","meta":{{"store":false}}}}"#
        );
        for came in [&answered, &heard] {
            assert_eq!(came.body, changed.as_bytes());
            assert_eq!(came.host, "internal.example");
            assert_eq!(
                came.header("content-length"),
                Some(&*changed.len().to_string())
            );
            assert_eq!(came.header("x-at"), Some("main by /"));
            assert_eq!(came.header("x-debug"), None);
            let via: Vec<_> = came.headers.get_all("x-via").iter().collect();
            let via: Vec<_> = via.iter().filter_map(|it| it.to_str().ok()).collect();
            assert_eq!(via.join(","), "caller,waykeeper");
        }
    }
}

#[tokio::test]
async fn a_share_of_the_requests_is_heard_and_those_to_an_agent_over_tls_by_its_own_name() {
    const REQUESTS: usize = 1000;
    let directory = tempfile::tempdir().expect("a directory");
    let (main, shadow) = (named("main").await, named("shadow").await);
    let [listen, operations] = [(); 2].map(|()| free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
agents:
  main: {{url: 'http://{}'}}
  shadow: {{provider: vllm, url: 'http://localhost:{}'}}
routes: [{{prefix: /, agents: [main], auth_required: false, mirror: {{agent: shadow, percent: 30}}}}]
",
        main.address,
        shadow.address.port(),
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let caller = Caller::of(listen);
    for _ in 0..REQUESTS {
        assert_eq!(caller.get("/x", &[]).await.text(), "main");
    }
    // Whatever is heard is heard by the time that this is. 5.5 standard deviations: a fair share strays so far less than once in
    // ten million times.
    let mut heard = Vec::new();
    let mut last = None;
    eventually("the share", || {
        let came = shadow.came();
        let quiet = came.is_empty() && last.replace(heard.len()) == Some(heard.len());
        heard.extend(came);
        async move { quiet.then_some(()) }
    })
    .await;
    assert!((221..=379).contains(&heard.len()), "{}", heard.len());
    let own = format!("localhost:{}", shadow.address.port());
    assert!(heard.iter().all(|came| came.host == own), "{:?}", heard[0]);
    assert_eq!(main.came().len(), REQUESTS);
}

#[tokio::test]
async fn a_mirror_that_is_gone_or_reads_nothing_makes_nobody_wait() {
    let directory = tempfile::tempdir().expect("a directory");
    let main = named("main").await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let [listen, operations, nobody] = [(); 3].map(|()| free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
agents:
  main: {{url: 'http://{}'}}
  silent: {{url: 'http://{}'}}
  gone: {{url: 'http://{nobody}'}}
routes:
  - {{prefix: /silent, agents: [main], auth_required: false, mirror: {{agent: silent}}}}
  - {{prefix: /gone, agents: [main], auth_required: false, mirror: {{agent: gone}}}}
",
        main.address,
        silent.local_addr().expect("an address"),
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let caller = Caller::of(listen);
    let body = "x".repeat(512 << 10);
    let begun = Instant::now();
    for path in ["/silent/x", "/gone/x"] {
        for _ in 0..20 {
            let answer = caller.post(path, &[], &body).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "main"));
        }
    }
    // A mirror that was waited for would have cost the route's `timeout`, 5 minutes.
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(main.came().len(), 40);
}

#[tokio::test]
async fn what_mirrors_nothing_has_none_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let main = named("main").await;
    let [listen, operations] = [(); 2].map(|()| free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
agents: {{main: {{url: 'http://{}'}}}}
routes: [{{prefix: /, agents: [main], auth_required: false}}]
",
        main.address
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let written = fs::read_to_string(directory.path().join("out/envoy.yaml")).expect("envoy.yaml");
    assert!(!written.contains("mirror"));
}
