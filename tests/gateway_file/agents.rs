//! Where agents and the validator are, and how they are spoken to.

use std::collections::{BTreeMap, BTreeSet};

use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use waykeeper_demo::auth::{self, Keys};

use crate::caller::Caller;
use crate::certificates::Authority;
use crate::eventually;
use crate::front::{Front, Seen};
use crate::gateway::{Gateway, agent, free_address};

const KEY: (&str, &str) = ("x-api-key", "demo-premium");

fn seen(name: Option<&str>, protocol: &str) -> Seen {
    Seen {
        name: name.map(str::to_owned),
        protocol: protocol.to_owned(),
    }
}

/// Which agents answer so many requests in turn.
async fn turns(caller: &Caller, path: &str, number: usize) -> Vec<String> {
    let mut turns = Vec::new();
    for _ in 0..number {
        turns.push(caller.get(path, &[KEY]).await.agent());
    }
    turns
}

#[tokio::test]
async fn each_agent_is_reached_as_is_written_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "authority");
    let stranger = Authority::new(directory.path(), "stranger");
    let (by_name, by_address) = (authority.sign("localhost"), authority.sign("127.0.0.1"));
    let (other_name, gateways_own) = (
        authority.sign("agent.example"),
        authority.sign("gateway.example"),
    );
    let both = ["h2", "http/1.1"];

    let (one, two) = (agent("one").await, agent("two").await);
    let named = Front::of(one.address(), by_name.server(&both)).await;
    let addressed = Front::of(two.address(), by_address.server(&both)).await;
    let renamed = Front::of(one.address(), other_name.server(&both)).await;
    let elder = Front::of(one.address(), by_name.server(&["http/1.1"])).await;
    let forced = Front::of(one.address(), by_name.server(&both)).await;
    let sockets = Front::of(one.address(), by_name.server(&both)).await;
    let checked = Front::of(two.address(), by_name.server(&["h2"])).await;
    let examined = Front::of(two.address(), by_name.server(&both)).await;
    let mutual = Front::of(one.address(), by_name.server_for_known(&both)).await;
    let auth = auth::start("127.0.0.1:0", Keys::demo())
        .await
        .expect("the validator");
    let asked = Front::of(auth.address(), by_name.server(&both)).await;

    let [listen, operations] = [(); 2].map(|()| free_address());
    let (a, b) = (one.address(), two.address());
    let ca = format!("ca: {}", authority.file.display());
    let own = format!(
        "certificate: {}, key: {}",
        gateways_own.certificate.display(),
        gateways_own.key.display()
    );
    let health = "health: {path: /healthz, interval: 100ms, timeout: 5s}";
    let agents = [
        ("address", format!("url: 'http://{a}'")),
        ("name", format!("url: 'http://localhost:{}'", a.port())),
        ("http2", format!("url: 'http://{a}', http2: true")),
        (
            "secure",
            format!("url: 'https://localhost:{}', tls: {{{ca}}}", named.port()),
        ),
        (
            "by-address",
            format!(
                "url: 'https://127.0.0.1:{}', tls: {{{ca}}}",
                addressed.port()
            ),
        ),
        (
            "renamed",
            format!(
                "url: 'https://127.0.0.1:{}', tls: {{{ca}, sni: agent.example}}",
                renamed.port()
            ),
        ),
        (
            "elder",
            format!("url: 'https://localhost:{}', tls: {{{ca}}}", elder.port()),
        ),
        (
            "forced",
            format!(
                "url: 'https://localhost:{}', tls: {{{ca}}}, http2: false",
                forced.port()
            ),
        ),
        (
            "sockets",
            format!("url: 'https://localhost:{}', tls: {{{ca}}}", sockets.port()),
        ),
        (
            "mutual",
            format!(
                "url: 'https://localhost:{}', tls: {{{ca}, {own}}}",
                mutual.port()
            ),
        ),
        (
            "regions",
            format!(
                "endpoints: ['https://localhost:{}', 'https://127.0.0.1:{}'], tls: {{{ca}}}, balance: round_robin",
                named.port(),
                addressed.port(),
            ),
        ),
        ("gpt-4.1", format!("url: 'http://{a}'")),
        (
            "checked",
            format!(
                "url: 'https://localhost:{}', tls: {{{ca}}}, {health}, http2: true",
                checked.port()
            ),
        ),
        (
            "examined",
            format!(
                "url: 'https://localhost:{}', tls: {{{ca}}}, {health}",
                examined.port()
            ),
        ),
        ("elsewhere", "cluster: my-own".to_owned()),
        // Not to be spoken to.
        (
            "of-strangers",
            format!(
                "url: 'https://localhost:{}', tls: {{ca: {}}}",
                named.port(),
                stranger.file.display()
            ),
        ),
        (
            "of-the-system",
            format!("url: 'https://localhost:{}'", named.port()),
        ),
        (
            "misnamed",
            format!(
                "url: 'https://localhost:{}', tls: {{{ca}, sni: agent.example}}",
                named.port()
            ),
        ),
        (
            "misplaced",
            format!("url: 'https://127.0.0.1:{}', tls: {{{ca}}}", named.port()),
        ),
        (
            "anonymous",
            format!("url: 'https://localhost:{}', tls: {{{ca}}}", mutual.port()),
        ),
        // In two places.
        (
            "in-turn",
            format!("endpoints: ['http://{a}', 'http://{b}'], balance: round_robin"),
        ),
        (
            "at-random",
            format!("endpoints: ['http://{a}', 'http://{b}'], balance: random"),
        ),
        (
            "weighted",
            format!(
                "endpoints: [{{url: 'http://{a}', weight: 9}}, 'http://{b}'], balance: round_robin"
            ),
        ),
        (
            "watched",
            format!(
                "endpoints: ['http://{a}', 'http://{b}'], health: {{path: /healthz, interval: 100ms, timeout: 5s}}"
            ),
        ),
    ];
    let lines = |line: &dyn Fn(&str, &str) -> String| -> String {
        agents
            .iter()
            .map(|(name, fields)| line(name, fields))
            .collect()
    };
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
clients: {{default_plan: any, validator: {{url: 'https://localhost:{asked}/validate', tls: {{{ca}}}, timeout: 5s, headers: {{x-gateway: waykeeper}}}}}}
plans: {{any: {{}}, premium: {{}}, standard: {{}}}}
agents:
{}routes:
  - {{prefix: /ws, agents: [sockets], protocol: websocket, prefix_rewrite: /api/v1/chat/ws}}
  - {{prefix: /clear/ws, agents: [http2], protocol: websocket, prefix_rewrite: /api/v1/chat/ws}}
{}",
        lines(&|name, fields| format!("  {name}: {{{fields}}}\n")),
        lines(&|name, _| format!("  - {{prefix: /{name}, agents: [{name}]}}\n")),
        asked = asked.port(),
    );
    let more = format!(
        "static_resources: {{clusters: [{{name: my-own, type: STATIC, load_assignment: {{cluster_name: my-own, endpoints: \
         [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}}}]}}",
        b.port()
    );
    let gateway = Gateway::start(directory.path(), &text, &more, operations).await;
    let caller = Caller::of(listen);

    // The validator is asked over TLS, by its name.
    assert_eq!(
        caller
            .get("/address", &[("x-api-key", "nobody's")])
            .await
            .status,
        401
    );
    assert_eq!(caller.get("/address", &[KEY]).await.status, 200);
    assert_eq!(
        auth.stats().calls.values().sum::<u64>(),
        2,
        "{:?}",
        auth.stats()
    );
    assert_eq!(asked.seen(), [seen(Some("localhost"), "h2")]);

    // In clear the caller's own host arrives, over TLS that of the url.
    let port = Front::port;
    for (path, agent, host) in [
        ("/address", "one", "gateway.example".to_owned()),
        ("/name", "one", "gateway.example".to_owned()),
        ("/http2", "one", "gateway.example".to_owned()),
        ("/elsewhere", "two", "gateway.example".to_owned()),
        ("/secure", "one", format!("localhost:{}", port(&named))),
        (
            "/by-address",
            "two",
            format!("127.0.0.1:{}", port(&addressed)),
        ),
        ("/renamed", "one", format!("127.0.0.1:{}", port(&renamed))),
        ("/elder", "one", format!("localhost:{}", port(&elder))),
        ("/forced", "one", format!("localhost:{}", port(&forced))),
        ("/mutual", "one", format!("localhost:{}", port(&mutual))),
    ] {
        let answer = caller.get(path, &[KEY]).await;
        assert_eq!(
            (answer.agent(), answer.arrived("host")),
            (agent.to_owned(), host),
            "{path}"
        );
    }
    for (front, expected) in [
        (&named, seen(Some("localhost"), "h2")),
        (&addressed, seen(None, "h2")),
        (&renamed, seen(Some("agent.example"), "h2")),
        (&elder, seen(Some("localhost"), "http/1.1")),
        (&forced, seen(Some("localhost"), "http/1.1")),
        (&mutual, seen(Some("localhost"), "h2")),
    ] {
        assert_eq!(front.seen(), [expected]);
    }
    let metrics = Caller::of(operations)
        .get("/stats/prometheus", &[])
        .await
        .text();
    let spoken = |version: &str| {
        format!("envoy_cluster_upstream_cx_{version}_total{{envoy_cluster_name=\"http2\"}} ")
    };
    assert!(
        metrics.contains(&(spoken("http2") + "1")),
        "HTTP/2 in clear"
    );
    assert!(metrics.contains(&(spoken("http1") + "0")));

    assert_eq!(caller.get("/gpt-4.1", &[KEY]).await.status, 200);
    let metrics = Caller::of(operations)
        .get("/stats/prometheus", &[])
        .await
        .text();
    let connected = "envoy_cluster_upstream_cx_total{envoy_cluster_name=\"gpt-4_1\"} 1";
    assert!(metrics.contains(connected), "a point in an agent's name");

    // Whose certificate is not theirs is not sent a byte.
    let before = (one.stats().total, two.stats().total);
    for path in [
        "/of-strangers",
        "/of-the-system",
        "/misnamed",
        "/misplaced",
        "/anonymous",
    ] {
        let refused = caller.get(path, &[KEY]).await;
        assert_eq!(refused.status, 503, "{path}");
        assert_eq!(
            refused.json()["error"]["code"],
            "agent_unreachable",
            "{path}"
        );
    }
    assert_eq!((one.stats().total, two.stats().total), before);

    // Two hosts over TLS, each by its own name.
    let hosts: BTreeMap<String, String> = {
        let mut hosts = BTreeMap::new();
        for _ in 0..4 {
            let answer = caller.get("/regions", &[KEY]).await;
            hosts.insert(answer.agent(), answer.arrived("host"));
        }
        hosts
    };
    let expected = [
        ("one", format!("localhost:{}", port(&named))),
        ("two", format!("127.0.0.1:{}", port(&addressed))),
    ];
    assert_eq!(
        hosts,
        expected
            .map(|(agent, host)| (agent.to_owned(), host))
            .into()
    );

    // A WebSocket reaches an agent that is otherwise spoken to in HTTP/2.
    for path in ["/ws", "/clear/ws"] {
        let mut request = format!("ws://{listen}{path}")
            .into_client_request()
            .expect("a request");
        request
            .headers_mut()
            .insert(KEY.0, KEY.1.parse().expect("a key"));
        let (_socket, handshake) = tokio_tungstenite::connect_async(request)
            .await
            .expect("a WebSocket");
        assert_eq!(handshake.status(), 101, "{path}");
    }
    assert_eq!(caller.get("/sockets", &[KEY]).await.agent(), "one");
    let spoken = ["http/1.1", "h2"].map(|protocol| seen(Some("localhost"), protocol));
    assert_eq!(sockets.seen(), spoken);

    // Balancing.
    let [in_turn, at_random, weighted] = [
        turns(&caller, "/in-turn", 20).await,
        turns(&caller, "/at-random", 40).await,
        turns(&caller, "/weighted", 20).await,
    ];
    assert!(
        in_turn.windows(2).all(|pair| pair[0] != pair[1]),
        "{in_turn:?}"
    );
    assert!(
        at_random.windows(2).any(|pair| pair[0] == pair[1]),
        "{at_random:?}"
    );
    assert_eq!(
        weighted.iter().filter(|agent| *agent == "two").count(),
        2,
        "{weighted:?}"
    );

    // An agent that is ill is passed over where its health is asked for, and nowhere else.
    one.set_healthy(false);
    eventually("the ill one to be passed over", || async {
        turns(&caller, "/watched", 20)
            .await
            .iter()
            .all(|agent| agent == "two")
            .then_some(())
    })
    .await;
    assert!(
        turns(&caller, "/in-turn", 4)
            .await
            .contains(&"one".to_owned())
    );
    one.set_healthy(true);
    eventually("the one that is well again", || async {
        turns(&caller, "/watched", 20)
            .await
            .contains(&"one".to_owned())
            .then_some(())
    })
    .await;

    // Health over TLS is asked for in the version of HTTP that was agreed on.
    let ill = |path: &'static str, status: u16| {
        let caller = caller.clone();
        eventually(path, move || {
            let caller = caller.clone();
            async move { (caller.get(path, &[KEY]).await.status == status).then_some(()) }
        })
    };
    for path in ["/checked", "/examined"] {
        ill(path, 200).await;
    }
    two.set_healthy(false);
    for path in ["/checked", "/examined"] {
        ill(path, 503).await;
    }
    two.set_healthy(true);
    assert_eq!(checked.seen(), [seen(Some("localhost"), "h2")]);
    let protocols: BTreeSet<String> = examined.seen().into_iter().map(|it| it.protocol).collect();
    assert_eq!(protocols, both.map(str::to_owned).into());

    // What is not Envoy's own business is live at once.
    assert_eq!(caller.get("/new", &[KEY]).await.status, 404);
    gateway.change("{prefix: /address,", "{prefix: /new,");
    eventually("the new route", || async {
        (caller.get("/new", &[KEY]).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(caller.get("/address", &[KEY]).await.status, 404);
}
