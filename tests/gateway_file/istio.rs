//! What `waykeeper istio` writes: by istiod's rules made into Envoy's configuration, in the real Envoy. What istiod makes of a
//! ServiceEntry and of a DestinationRule is modelled in `tests/istio`.

use waykeeper_demo::auth::{self, Keys};

use crate::certificates::Authority;
use crate::front::{Front, Seen};
use crate::gateway::agent;
use crate::proxied::counts_whom_proxies_name;
use crate::under_istio::{served, write};
use crate::{eventually, schema};

const KEY: (&str, &str) = ("x-api-key", "demo-premium");

fn seen(name: &str, protocol: &str) -> Seen {
    Seen {
        name: Some(name.to_owned()),
        protocol: protocol.to_owned(),
    }
}

#[tokio::test]
async fn agents_are_reached_under_istio_as_is_written_of_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "authority");
    let stranger = Authority::new(directory.path(), "stranger");
    let both = ["h2", "http/1.1"];
    let named = authority.sign("secure.example");
    let gateways_own = authority.sign("gateway.example");

    let (one, two) = (agent("one").await, agent("two").await);
    let secure = Front::of(one.address(), named.server(&both)).await;
    let elder = Front::of(one.address(), named.server(&["http/1.1"])).await;
    let forced = Front::of(two.address(), named.server(&both)).await;
    let mutual = Front::of(one.address(), named.server_for_known(&both)).await;
    let auth = auth::start("127.0.0.1:0", Keys::demo()).await;
    let auth = auth.expect("the validator");
    let asked = Front::of(auth.address(), named.server(&both)).await;

    let (a, b) = (one.address().port(), two.address().port());
    let ca = format!("ca: {}", authority.file.display());
    let own = format!(
        "certificate: {}, key: {}",
        gateways_own.certificate.display(),
        gateways_own.key.display()
    );
    let agents = [
        ("service", format!("url: 'http://one:{a}'")),
        (
            "http2",
            format!("url: 'http://one.example:{a}', http2: true"),
        ),
        ("grpc", format!("url: 'http://two:{b}', http2: true")),
        ("address", format!("url: 'http://10.1.2.3:{a}'")),
        (
            "secure",
            format!(
                "url: 'https://secure.example:{}', tls: {{{ca}}}",
                secure.port()
            ),
        ),
        (
            "elder",
            format!(
                "url: 'https://secure.example:{}', tls: {{{ca}}}",
                elder.port()
            ),
        ),
        (
            "forced",
            format!(
                "url: 'https://forced.example:{}', tls: {{{ca}, sni: secure.example}}, http2: true",
                forced.port()
            ),
        ),
        (
            "mutual",
            format!(
                "url: 'https://secure.example:{}', tls: {{{ca}, {own}}}",
                mutual.port()
            ),
        ),
        (
            "in-turn",
            format!(
                "endpoints: ['http://one.svc-1.svc:{a}', {{url: 'http://two.example:{b}', weight: 3}}], balance: round_robin"
            ),
        ),
        (
            "watched",
            format!(
                "url: 'http://watched:{b}', health: {{path: /healthz, interval: 100ms, timeout: 5s}}"
            ),
        ),
        // Not to be spoken to.
        (
            "of-strangers",
            format!(
                "url: 'https://secure.example:{}', tls: {{ca: {}}}",
                secure.port(),
                stranger.file.display()
            ),
        ),
        (
            "misnamed",
            format!(
                "url: 'https://misnamed.example:{}', tls: {{{ca}}}",
                secure.port()
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
listen: [{{address: '0.0.0.0:8080', trusted_hops: 1, cors: {{origins: ['https://app.example.com']}}}}]
clients: {{default_plan: any, validator: {{url: 'https://secure.example:{asked}/validate', tls: {{{ca}}}, timeout: 5s, headers: {{x-gateway: waykeeper}}}}}}
plans: {{any: {{}}, premium: {{}}, standard: {{}}}}
limits: [{{name: per-address, each: address, requests: 200/hour}}]
agents:
{}routes:
{}",
        lines(&|name, fields| format!("  {name}: {{{fields}}}\n")),
        lines(&|name, _| format!("  - {{prefix: /{name}, agents: [{name}]}}\n")),
        asked = asked.port(),
    );

    for form in [
        &["--files-secret", "files"][..],
        &["--files-secret", "files", "--gateway-api"],
    ] {
        let manifests = write(directory.path(), &text, form);
        for manifest in manifests.iter() {
            // Of Kubernetes' Gateway API there are no types here.
            let version = manifest["apiVersion"].as_str().unwrap_or_default();
            if !version.starts_with("gateway.networking.k8s.io/") {
                schema::check(manifest).unwrap_or_else(|error| panic!("{error} in {manifest}"));
            }
        }
        let (_gateway, caller) = served(directory.path(), &manifests).await;

        // The validator is asked over TLS, by its name.
        let unknown = caller.get("/service", &[("x-api-key", "nobody's")]).await;
        assert_eq!(unknown.status, 401);
        let own = |front: &Front, name: &str| format!("{name}:{}", front.port());
        // In clear the caller's own host arrives, over TLS that of the url.
        for (path, agent, host) in [
            ("/service", "one", "gateway.example".to_owned()),
            ("/http2", "one", "gateway.example".to_owned()),
            ("/grpc", "two", "gateway.example".to_owned()),
            ("/address", "one", "gateway.example".to_owned()),
            ("/secure", "one", own(&secure, "secure.example")),
            ("/elder", "one", own(&elder, "secure.example")),
            ("/forced", "two", own(&forced, "forced.example")),
            ("/mutual", "one", own(&mutual, "secure.example")),
        ] {
            let answer = caller.get(path, &[KEY]).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            let arrived = (answer.agent(), answer.arrived("host"));
            assert_eq!(arrived, (agent.to_owned(), host), "{path}");
        }
        for path in ["/of-strangers", "/misnamed"] {
            let refused = caller.get(path, &[KEY]).await;
            assert_eq!(refused.status, 503, "{path}");
            assert_eq!(
                refused.json()["error"]["code"],
                "agent_unreachable",
                "{path}"
            );
        }
        let mut turns = Vec::new();
        for _ in 0..8 {
            turns.push(caller.get("/in-turn", &[KEY]).await.agent());
        }
        assert_eq!(
            turns.iter().filter(|name| *name == "two").count(),
            6,
            "{turns:?}"
        );

        two.set_healthy(false);
        eventually("an agent that is left out", || async {
            (caller.get("/watched", &[KEY]).await.status == 503).then_some(())
        })
        .await;
        two.set_healthy(true);
        eventually("an agent that is back", || async {
            (caller.get("/watched", &[KEY]).await.status == 200).then_some(())
        })
        .await;

        // A proxy in front writes for whom it calls, and each of those is counted apart.
        let from = |address: &'static str| ("x-forwarded-for", address);
        let remaining = |answer: &crate::caller::Answer| {
            let all = answer.header("x-ratelimit-remaining-requests");
            all.and_then(|left| left.parse::<u32>().ok())
                .expect("a number")
        };
        let first = caller.get("/service", &[KEY, from("192.0.2.1")]).await;
        let again = caller.get("/service", &[KEY, from("192.0.2.1")]).await;
        let other = caller.get("/service", &[KEY, from("192.0.2.2")]).await;
        assert_eq!(
            [remaining(&first), remaining(&again), remaining(&other)],
            [199, 198, 199]
        );
        let preflight = [
            ("origin", "https://app.example.com"),
            ("access-control-request-method", "POST"),
        ];
        let preflight = caller.send("OPTIONS", "/service", &preflight).await;
        let allowed = preflight.expect("an answer");
        let origin = allowed.header("access-control-allow-origin");
        assert_eq!(origin, Some("https://app.example.com"));
    }
    for (front, expected) in [
        (&asked, seen("secure.example", "h2")),
        (&elder, seen("secure.example", "http/1.1")),
        (&forced, seen("secure.example", "h2")),
        (&mutual, seen("secure.example", "h2")),
    ] {
        assert_eq!(front.seen(), [expected]);
    }
}

#[tokio::test]
async fn proxies_in_front_say_who_calls_under_istio_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let one = agent("one").await;
    for form in [&[][..], &["--gateway-api"]] {
        for (hops, behind) in [(0, false), (1, true)] {
            let text = format!(
                "
listen: [{{address: '0.0.0.0:8080', proxy_protocol: true, trusted_hops: {hops}}}]
limits: [{{name: per-address, each: address, requests: 2/day}}]
agents: {{one: {{url: 'http://one:{}'}}}}
routes: [{{prefix: /echo, agents: [one], auth_required: false}}]
",
                one.address().port()
            );
            let manifests = write(directory.path(), &text, form);
            let (_gateway, caller) = served(directory.path(), &manifests).await;
            if !behind {
                counts_whom_proxies_name(&caller).await;
                continue;
            }
            // One that knows no HTTP before one that does: the latter's word counts.
            let caller = caller.after(b"PROXY TCP4 198.51.100.1 192.0.2.80 4711 80\r\n");
            for (from, status) in [
                ("192.0.2.1", 200),
                ("192.0.2.9, 192.0.2.1", 200),
                ("192.0.2.1", 429),
                ("192.0.2.2", 200),
            ] {
                let answer = caller.get("/echo", &[("x-forwarded-for", from)]).await;
                assert_eq!(answer.status, status, "{from}");
            }
        }
    }
}
