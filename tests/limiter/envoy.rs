//! The real Envoy, whose own rate limit filter asks the limiter.

use std::net::SocketAddr;
use std::process::Stdio;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::Service;
use crate::shared::{eventually, free_address, needed};

/// An Envoy whose rate limit filter stands before an agent that answers 200. It ends when it is dropped.
struct Gateway {
    _envoy: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Gateway {
    async fn start(limiter: SocketAddr) -> Self {
        let directory = TempDir::new().expect("a directory");
        let (address, agent) = (free_address(), free_address());
        let bootstrap = directory.path().join("envoy.yaml");
        std::fs::write(&bootstrap, configuration(address, agent, limiter)).expect("a file");
        let log = std::fs::File::create(directory.path().join("log")).expect("a log");
        let mut envoy = Command::new(needed(".tools/envoy", "make tools"))
            .arg("--config-path")
            .arg(&bootstrap)
            .args(["--concurrency", "2", "--disable-hot-restart"])
            .args(["--log-level", "warning"])
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("Envoy");
        eventually("Envoy", || {
            let ended = envoy.try_wait().expect("Envoy");
            let log = std::fs::read_to_string(directory.path().join("log"));
            assert!(ended.is_none(), "Envoy ended: {}", log.unwrap_or_default());
            async { TcpStream::connect(address).await.ok() }
        })
        .await;
        Self {
            _envoy: envoy,
            address,
            directory,
        }
    }

    async fn get(&self, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap) {
        let stream = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        let io = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .expect("HTTP");
        tokio::spawn(connection);
        let mut request = Request::get("/").header("host", "gateway");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let (head, _) = sender
            .send_request(request)
            .await
            .expect("an answer")
            .into_parts();
        (head.status, head.headers)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("log"));
            eprintln!("--- envoy's log\n{}", log.unwrap_or_default());
        }
    }
}

/// Each client has three requests a year, and all together four; `x-cost` says how many a request counts as, and `x-back` what
/// a client gets back.
fn configuration(address: SocketAddr, agent: SocketAddr, limiter: SocketAddr) -> String {
    format!(
        r#"
node: {{id: gateway, cluster: gateway}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: gateway
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: gateway
          http_filters:
          - name: envoy.filters.http.set_metadata
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config
              metadata:
              - metadata_namespace: limits
                value:
                  client: {{requests_per_unit: 3, unit: YEAR}}
                  all: {{requests_per_unit: 4, unit: MONTH}}
          - name: envoy.filters.http.ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
              domain: waykeeper
              failure_mode_deny: true
              status_on_error: {{code: ServiceUnavailable}}
              timeout: 60s
              enable_x_ratelimit_headers: DRAFT_VERSION_03
              rate_limit_service:
                transport_api_version: V3
                grpc_service: {{envoy_grpc: {{cluster_name: limiter}}}}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                route: {{cluster: agent}}
              typed_per_filter_config:
                envoy.filters.http.ratelimit:
                  "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute
                  rate_limits:
                  - actions:
                    - generic_key: {{descriptor_key: limit, descriptor_value: plan}}
                    - request_headers: {{header_name: x-client, descriptor_key: client}}
                    limit: {{dynamic_metadata: {{metadata_key: {{key: limits, path: [{{key: client}}]}}}}}}
                  - actions:
                    - generic_key: {{descriptor_key: limit, descriptor_value: all}}
                    - request_headers: {{header_name: x-all, descriptor_key: all}}
                    limit: {{dynamic_metadata: {{metadata_key: {{key: limits, path: [{{key: all}}]}}}}}}
                  - actions:
                    - generic_key: {{descriptor_key: limit, descriptor_value: plan}}
                    - request_headers: {{header_name: x-buyer, descriptor_key: client}}
                    limit: {{dynamic_metadata: {{metadata_key: {{key: limits, path: [{{key: client}}]}}}}}}
                    hits_addend: {{format: "%REQ(x-cost)%"}}
                  - actions:
                    - generic_key: {{descriptor_key: limit, descriptor_value: plan}}
                    - request_headers: {{header_name: x-back, descriptor_key: client}}
                    limit: {{dynamic_metadata: {{metadata_key: {{key: limits, path: [{{key: client}}]}}}}}}
                    hits_addend: {{number: 2, is_negative_hits: true}}
  - name: agent
    address: {{socket_address: {{address: 127.0.0.1, port_value: {agent}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: agent
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                direct_response: {{status: 200}}
  clusters:
  - name: agent
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: agent
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {agent}}}}}}}
  - name: limiter
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    common_lb_config: {{healthy_panic_threshold: {{value: 0}}}}
    health_checks:
    - timeout: 5s
      interval: 0.1s
      no_traffic_interval: 0.1s
      healthy_threshold: 1
      unhealthy_threshold: 1
      grpc_health_check: {{service_name: envoy.service.ratelimit.v3.RateLimitService}}
    load_assignment:
      cluster_name: limiter
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {limiter}}}}}}}
"#,
        port = address.port(),
        agent = agent.port(),
        limiter = limiter.port(),
    )
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    let value = headers
        .get(name)
        .unwrap_or_else(|| panic!("no {name}: {headers:?}"));
    value.to_str().expect("text").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn envoys_own_filter_asks_it_and_tells_callers_what_it_answers() {
    let service = Service::start(&[]).await;
    let gateway = Gateway::start(service.address).await;
    // Once its health check has found the limiter.
    eventually("the limiter's cluster", || async {
        let (status, _) = gateway.get(&[("x-client", "probe")]).await;
        (status == 200).then_some(())
    })
    .await;
    let year = 365 * 86_400;
    for left in [2, 1, 0] {
        let (status, headers) = gateway.get(&[("x-client", "acme")]).await;
        assert_eq!(status, 200);
        assert_eq!(headers["x-ratelimit-limit"], format!("3, 3;w={year}"));
        assert_eq!(number(&headers, "x-ratelimit-remaining"), left);
        assert!(number(&headers, "x-ratelimit-reset") <= 366 * 86_400);
    }
    let (status, headers) = gateway.get(&[("x-client", "acme")]).await;
    assert_eq!(status, 429);
    assert_eq!(number(&headers, "x-ratelimit-remaining"), 0);
    // Two descriptors: the fuller is told, and a refusal by one spends nothing of the other.
    let both = |client| [("x-client", client), ("x-all", "all")];
    assert_eq!(gateway.get(&both("acme")).await.0, 429);
    let (status, headers) = gateway.get(&both("beta")).await;
    assert_eq!(status, 200);
    let month = 30 * 86_400;
    let told = format!("3, 3;w={year}, 4;w={month}");
    assert_eq!(headers["x-ratelimit-limit"], told);
    assert_eq!(number(&headers, "x-ratelimit-remaining"), 2);
    // As many hits as the request says, and some of them given back.
    let buy = |cost| [("x-buyer", "gamma"), ("x-cost", cost)];
    assert_eq!(gateway.get(&buy("4")).await.0, 429);
    assert_eq!(gateway.get(&buy("3")).await.0, 200);
    assert_eq!(gateway.get(&buy("1")).await.0, 429);
    assert_eq!(gateway.get(&[("x-back", "gamma")]).await.0, 200);
    assert_eq!(gateway.get(&buy("3")).await.0, 429);
    assert_eq!(gateway.get(&buy("2")).await.0, 200);
    // Two workers ask over connections of their own.
    let mut callers = tokio::task::JoinSet::new();
    let gateway = std::sync::Arc::new(gateway);
    for _ in 0..32 {
        let gateway = std::sync::Arc::clone(&gateway);
        callers.spawn(async move { gateway.get(&[("x-client", "delta")]).await.0 });
    }
    let answers = callers.join_all().await;
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 3);
    assert_eq!(answers.iter().filter(|status| **status == 429).count(), 29);
    service.kill().await;
    assert_eq!(gateway.get(&[("x-client", "acme")]).await.0, 503);
}
