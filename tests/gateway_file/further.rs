//! Attempts that go on to another agent. The filter is to name it in a note; until it does, a filter of Envoy's notes here what
//! the caller asks for.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;

use crate::caller::{Answer, Caller};
use crate::certificates::Authority;
use crate::front::Front;
use crate::gateway::{Around, Gateway, free_address};
use crate::stand_in::{Came, StandIn};

/// The caller asks for this host.
const ASKED: &str = "gateway.example";
/// Larger than a window of HTTP/2, smaller than what a stream may hold.
const BODY: usize = 300_000;

/// The gateway, and what stands in for its agents.
struct Agents {
    gateway: Gateway,
    caller: Caller,
    /// In clear, with a credential and a base.
    first: StandIn,
    /// Over TLS, with others.
    second: StandIn,
    /// In clear, without either.
    plain: StandIn,
    /// What its cluster is made of is written by hand.
    own: StandIn,
    /// How the second is called.
    own_host: String,
    _directory: tempfile::TempDir,
}

/// Too busy where the caller wants it to be.
async fn stand_in(name: &'static str) -> StandIn {
    StandIn::start(move |came: &Came| {
        let busy = came.header("x-busy").unwrap_or_default();
        let status = match busy.split(',').any(|it| it == name) {
            true => 429,
            false => 200,
        };
        let answer = Response::builder().status(status);
        answer
            .body(Full::from(Bytes::from(name)))
            .expect("an answer")
    })
    .await
}

/// With three attempts at most on each route.
async fn start(version: Option<&'static str>) -> Agents {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "authority");
    let (first, second) = (stand_in("first").await, stand_in("second").await);
    let (plain, own) = (stand_in("plain").await, stand_in("own").await);
    let front = authority.sign("localhost").server(&["http/1.1"]);
    let front = Front::of(second.address, front).await;
    let [listen, operations, nobody] = [(); 3].map(|()| free_address());
    let route = |(path, agent): (&str, &str)| {
        format!(
            "  - {{prefix: {path}, prefix_rewrite: /v1, agents: [{agent}], auth_required: false, retry: {{max_attempts: 3, retry_on: [429]}}}}\n"
        )
    };
    let routes = ["first", "second", "plain", "own", "dead"];
    let routes: String = routes
        .map(|agent| route((&format!("/{agent}"), agent)))
        .concat();
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
agents:
  first: {{url: 'http://{first}/deep/v1', sees: [], credential: {{env: OF_FIRST}}}}
  second: {{url: 'https://localhost:{port}/other/v1', tls: {{ca: {ca}}}, credential: {{env: OF_SECOND, header: x-second-key}}}}
  plain: {{url: 'http://localhost:{plain}'}}
  dead: {{url: 'http://{nobody}'}}
  own: {{cluster: my-own}}
routes:
  - {{prefix: /stream, prefix_rewrite: /v1, agents: [first], auth_required: false, protocol: sse, retry: {{max_attempts: 2, retry_on: [429]}}}}
{routes}
envoy:
  patches:
    - in: http_filters
      after: waykeeper
      add:
        name: further
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          default_source_code:
            inline_string: |
              function envoy_on_request(handle)
                local headers = handle:headers()
                if {steers} and headers:get('x-next') then
                  headers:replace('x-waykeeper-further', headers:get('x-waykeeper-cluster'))
                  headers:remove('x-waykeeper-cluster')
                  if headers:get('x-waykeeper-kind') == 'sse' then
                    headers:replace('x-waykeeper-kind', 'sse-further')
                  end
                end
              end
    - in: http_filters
      after: further
      add:
        name: asked-for
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config
          clear_route_cache: true
          on_request_headers:
            - object_key: wasm.waykeeper_cluster_2
              factory_key: envoy.string
              skip_if_empty: true
              format_string: {{omit_empty_values: true, text_format_source: {{inline_string: '%REQ(x-next)%'}}}}
            - object_key: wasm.waykeeper_cluster_3
              factory_key: envoy.string
              skip_if_empty: true
              format_string: {{omit_empty_values: true, text_format_source: {{inline_string: '%REQ(x-last)%'}}}}
    - in: clusters
      add:
        name: my-own
        type: STATIC
        load_assignment:
          cluster_name: my-own
          endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {own}}}}}}}}}]}}]
",
        // An older one has no routes for it.
        steers = version.is_none_or(|version| version.starts_with("1.39")),
        first = first.address,
        port = front.port(),
        ca = authority.file.display(),
        plain = plain.address.port(),
        own = own.address.port(),
    );
    let around = Around {
        environment: &[
            ("OF_FIRST", "secret-of-the-first"),
            ("OF_SECOND", "secret-of-the-second"),
        ],
        version,
        ..Around::default()
    };
    let gateway = Gateway::start_with(directory.path(), &text, &around, operations).await;
    Agents {
        gateway,
        caller: Caller::of(listen).with_body(vec![b'a'; BODY]),
        first,
        second,
        plain,
        own,
        own_host: format!("localhost:{}", front.port()),
        _directory: directory,
    }
}

impl Agents {
    /// Asks for a path, and where to go on; tells who answered with what, and what came to each.
    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> (Answer, [Vec<Came>; 4]) {
        let answer = self.caller.send("POST", path, headers).await;
        let came = [&self.first, &self.second, &self.plain, &self.own].map(StandIn::came);
        (answer.expect("an answer"), came)
    }
}

fn answered(answer: &Answer, status: u16, agent: &str) {
    assert_eq!((answer.status, &*answer.text()), (status, agent));
}

/// Its own, and of nobody else's.
fn is_the_firsts(came: &Came, attempt: &str) {
    assert_eq!(came.path, "/deep/v1/chat?a=b");
    assert_eq!(came.host, ASKED);
    assert_eq!(came.body.len(), BODY);
    let shown = came.header("authorization");
    assert_eq!(shown, Some("Bearer secret-of-the-first"));
    only_its_own(
        came,
        attempt,
        &["x-second-key", "api-key", "x-envoy-original-host"],
    );
    for name in ["x-waykeeper-route", "x-waykeeper-agent", "x-forwarded-for"] {
        assert_eq!(came.header(name), None, "{name}");
    }
}

fn is_the_seconds(came: &Came, host: &str, attempt: &str) {
    assert_eq!(came.path, "/other/v1/chat?a=b");
    assert_eq!(came.host, host);
    assert_eq!(came.body.len(), BODY);
    assert_eq!(came.header("x-second-key"), Some("secret-of-the-second"));
    assert_eq!(came.header("x-envoy-original-host"), Some(ASKED));
    assert!(came.header("x-forwarded-for").is_some(), "{came:?}");
    only_its_own(came, attempt, &["authorization", "api-key"]);
}

fn is_the_plains(came: &Came, attempt: &str) {
    assert_eq!(came.path, "/v1/chat?a=b");
    assert_eq!(came.host, ASKED);
    assert_eq!(came.body.len(), BODY);
    // What the caller has sent is here again, though the others were not to see it.
    assert_eq!(came.header("api-key"), Some("the-callers"));
    assert!(came.header("x-forwarded-for").is_some(), "{came:?}");
    only_its_own(
        came,
        attempt,
        &["authorization", "x-second-key", "x-envoy-original-host"],
    );
}

fn only_its_own(came: &Came, attempt: &str, others: &[&str]) {
    assert_eq!(came.header("x-envoy-attempt-count"), Some(attempt));
    let names = came.headers.keys().map(|name| name.as_str());
    let between =
        names.filter(|name| name.starts_with("x-waykeeper-cluster") || *name == "x-waykeeper-host");
    assert_eq!(between.collect::<Vec<_>>(), [""; 0]);
    for name in others {
        assert_eq!(came.header(name), None, "{name}");
    }
}

const KEY: (&str, &str) = ("api-key", "the-callers");

async fn goes_on(version: Option<&'static str>) {
    let agents = start(version).await;
    let (to_second, to_plain) = (("x-next", "second/tls"), ("x-next", "plain"));

    // A busy one, first on new connections, then on those that are there; also for what may be a stream.
    for path in ["/first", "/first", "/stream", "/stream"] {
        let busy = ("x-busy", "first");
        let asks = [to_second, busy, KEY];
        let (answer, [first, second, plain, _]) =
            agents.ask(&format!("{path}/chat?a=b"), &asks).await;
        answered(&answer, 200, "second");
        is_the_firsts(&first[0], "1");
        is_the_seconds(&second[0], &agents.own_host, "2");
        assert_eq!([first.len(), second.len(), plain.len()], [1, 1, 0]);
        let logged = agents.gateway.logged(&answer).await;
        assert_eq!(logged["cluster"], "second/tls");
        assert_eq!(logged["attempts"], 2);
        assert_eq!(logged["agent_path"], "/other/v1/chat");
    }

    // One that has a name of its own and a credential is followed by one that has neither.
    for _ in 0..2 {
        let asks = [to_plain, ("x-busy", "second"), KEY];
        let (answer, [_, second, plain, _]) = agents.ask("/second/chat?a=b", &asks).await;
        answered(&answer, 200, "plain");
        is_the_seconds(&second[0], &agents.own_host, "1");
        is_the_plains(&plain[0], "2");
        let logged = agents.gateway.logged(&answer).await;
        assert_eq!(logged["agent_path"], "/v1/chat", "not that of the former");
    }

    // One that is told nothing of who calls, behind one that is told all.
    let asks = [("x-next", "first"), ("x-busy", "second"), KEY];
    let (answer, [first, second, ..]) = agents.ask("/second/chat?a=b", &asks).await;
    answered(&answer, 200, "first");
    assert_eq!(second[0].header("x-waykeeper-route"), Some("/second"));
    is_the_firsts(&first[0], "2");

    // Three; and back to the first again.
    let last = ("x-last", "plain");
    let asks = [to_second, last, ("x-busy", "first,second"), KEY];
    let (answer, [first, second, plain, _]) = agents.ask("/first/chat?a=b", &asks).await;
    answered(&answer, 200, "plain");
    is_the_firsts(&first[0], "1");
    is_the_seconds(&second[0], &agents.own_host, "2");
    is_the_plains(&plain[0], "3");
    let asks = [
        to_second,
        ("x-last", "first"),
        ("x-busy", "first,second"),
        KEY,
    ];
    let (answer, [first, second, ..]) = agents.ask("/first/chat?a=b", &asks).await;
    answered(&answer, 429, "first");
    is_the_firsts(&first[1], "3");
    assert_eq!([first.len(), second.len()], [2, 1]);
    // With none for the third it stays at the second.
    let asks = [to_second, ("x-busy", "first,second"), KEY];
    let (answer, [first, second, ..]) = agents.ask("/first/chat?a=b", &asks).await;
    answered(&answer, 429, "second");
    is_the_seconds(&second[1], &agents.own_host, "3");
    assert_eq!([first.len(), second.len()], [1, 2]);

    // One that refuses connections.
    let (answer, [_, second, ..]) = agents.ask("/dead/chat?a=b", &[to_second, KEY]).await;
    answered(&answer, 200, "second");
    is_the_seconds(&second[0], &agents.own_host, "2");

    // One that is not known, and one whose cluster is written by hand, are not gone on to; nor from the latter.
    for next in ["nobody", "my-own"] {
        let asks = [("x-next", next), ("x-busy", "first"), KEY];
        let (answer, [first, _, _, own]) = agents.ask("/first/chat?a=b", &asks).await;
        answered(&answer, 429, "first");
        assert_eq!([first.len(), own.len()], [3, 0], "{next}");
    }
    let asks = [to_second, ("x-busy", "own"), KEY];
    let (answer, [_, second, _, own]) = agents.ask("/own/chat?a=b", &asks).await;
    answered(&answer, 429, "own");
    assert_eq!([second.len(), own.len()], [0, 3]);

    // All others stay where they are, whatever a caller says of it.
    let spoofed = [
        ("x-waykeeper-cluster-2", "second/tls"),
        ("x-waykeeper-cluster", "second/tls"),
        ("x-waykeeper-host", "elsewhere.example"),
        ("x-envoy-attempt-count", "1"),
        ("x-busy", "first"),
        KEY,
    ];
    let (answer, [first, second, ..]) = agents.ask("/first/chat?a=b", &spoofed).await;
    answered(&answer, 429, "first");
    assert_eq!([first.len(), second.len()], [3, 0]);
    assert_eq!(first[0].header("x-envoy-attempt-count"), None);
    let asks = [&[to_second][..], &spoofed[..]].concat();
    let (answer, [first, second, ..]) = agents.ask("/first/chat?a=b", &asks).await;
    answered(&answer, 200, "second");
    is_the_firsts(&first[0], "1");
    is_the_seconds(&second[0], &agents.own_host, "2");
}

#[tokio::test]
async fn an_attempt_goes_on_to_another_agent_as_that_one_is_asked() {
    goes_on(None).await;
}

#[tokio::test]
async fn so_it_does_with_envoy_1_39() {
    goes_on(Some("1.39.3")).await;
}

#[tokio::test]
async fn with_an_older_envoy_it_stays_where_it_is() {
    let agents = start(Some("1.38.2")).await;
    let asks = [("x-next", "second/tls"), ("x-busy", "first"), KEY];
    let (answer, [first, second, ..]) = agents.ask("/first/chat?a=b", &asks).await;
    answered(&answer, 429, "first");
    assert_eq!([first.len(), second.len()], [3, 0]);
}
