//! What operators put into Envoy's configuration by `envoy.patches`, seen from outside.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::caller::{Answer, Caller};
use crate::gateway::{Gateway, agent, free_address};
use crate::running::{Running, at, gateway};
use crate::under_istio::{served, write};
use crate::{eventually, needed, schema};

const KEY: &str = "the-key-of-a-tester";

/// A filter in Lua that answers whoever asks for it by name, tells the agent whose key it saw, and marks answers.
pub(crate) fn lua(name: &str) -> String {
    format!(
        "
        name: {name}
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          default_source_code:
            inline_string: |
              function envoy_on_request(handle)
                local headers = handle:headers()
                if headers:get('x-ask') == '{name}' then
                  if headers:get('x-keep') then
                    handle:streamInfo():dynamicMetadata():set('{name}', 'body', 'kept')
                  end
                  handle:respond({{[':status'] = '418'}}, '{name}')
                end
                local key = headers:get('x-api-key') or 'none'
                local client = headers:get('x-waykeeper-client') or 'none'
                headers:add('x-{name}-saw', key .. ' of ' .. client)
              end
              function envoy_on_response(handle)
                handle:headers():add('x-{name}', 'was here')
                local noted = handle:streamInfo():dynamicMetadata():get('{name}')
                if noted then
                  handle:headers():replace('content-type', 'text/plain')
                  handle:body(true):setBytes(noted['body'])
                end
              end
"
    )
}

fn hash(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_patch_has_its_effect() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (agent("one").await, agent("two").await);
    let [listen, second, operations] = [(); 3].map(|()| free_address());
    let log = directory.path().join("own.log");
    let text = format!(
        "
listen: [{{address: '{listen}'}}, {{address: '{second}'}}]
operations: '{operations}'
clients: {{key_sources: [{{header: x-api-key}}], keys: [{{sha256: {hash}, client_id: tester}}]}}
agents:
  one: {{url: 'http://{one}'}}
  full: {{url: 'http://{one}'}}
  own: {{cluster: my-own}}
routes:
  - {{prefix: /one, agents: [one]}}
  - {{prefix: /full, agents: [full]}}
  - {{prefix: /own, agents: [own]}}
envoy:
  patches:
    - in: http_filters
      before: waykeeper
      add:{before}
    - in: http_filters
      listener: gateway
      after: waykeeper
      add:{after}
    - in: access_log
      add:
        name: envoy.access_loggers.file
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
          path: {log}
          log_format: {{text_format_source: {{inline_string: \"%REQ(X-WAYKEEPER-CLIENT)% asked for %REQ(:PATH)%\\n\"}}}}
    - {{in: clusters, name: full, merge: {{circuit_breakers: {{thresholds: [{{max_pending_requests: 0}}]}}}}}}
    - in: clusters
      add:
        name: my-own
        type: STATIC
        load_assignment:
          cluster_name: my-own
          endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {two}}}}}}}}}]}}]
    - {{in: clusters, name: my-own, merge: {{connect_timeout: 3.5s}}}}
    - {{in: http_connection_manager, listener: gateway-2, merge: {{server_name: second}}}}
    - {{in: listeners, name: gateway-2, merge: {{tcp_backlog_size: 99}}}}
    - {{in: virtual_host, merge: {{response_headers_to_add: [{{header: {{key: x-all, value: all}}}}]}}}}
    - {{in: routes, name: http, listener: gateway, merge: {{response_headers_to_add: [{{header: {{key: x-kind, value: http}}}}]}}}}
    - {{in: bootstrap, merge: {{layered_runtime: {{layers: [{{name: own, static_layer: {{own.flag: 7}}}}]}}}}}}
",
        hash = hash(KEY),
        one = one.address(),
        two = two.address().port(),
        before = lua("before"),
        after = lua("after"),
        log = log.display(),
    );
    let gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let (first, second) = (Caller::of(listen), Caller::of(second));
    let key = ("x-api-key", KEY);

    // Around the filter: who is let in, with which key, is seen as it says; and only in that listener.
    let answer = first.get("/one/x", &[key]).await;
    assert_eq!((answer.status, answer.agent()), (200, "one".to_owned()));
    assert_eq!(answer.arrived("x-before-saw"), format!("{KEY} of none"));
    assert_eq!(answer.arrived("x-after-saw"), "none of tester");
    let marks = |answer: &Answer| ["x-before", "x-after"].map(|name| answer.header(name).is_some());
    assert_eq!(marks(&answer), [true, true]);
    let answer = second.get("/one/x", &[key]).await;
    assert_eq!(marks(&answer), [true, false]);

    // One before it answers callers without a key, one after it does not.
    let answer = first.get("/one/x", &[("x-ask", "before")]).await;
    assert_eq!(answer.status, 418);
    // What it answers is said in the gateway's words.
    assert_eq!(answer.json()["error"]["code"], "bad_request");
    // Unless it puts its own in again as the answer passes it.
    for (filter, key) in [("before", None), ("after", Some(key))] {
        let asked = [("x-ask", filter), ("x-keep", "mine")];
        let asked: Vec<_> = asked.into_iter().chain(key).collect();
        let answer = first.get("/one/x", &asked).await;
        let said = (answer.status, answer.header("content-type"), answer.text());
        assert_eq!(said, (418, Some("text/plain"), "kept".to_owned()));
    }
    let refused = first.get("/one/x", &[("x-ask", "after")]).await;
    assert_eq!(refused.status, 401);
    // Answers go through all of them, refusals too.
    assert_eq!(marks(&refused), [true, true]);
    let answer = first.get("/one/x", &[("x-ask", "after"), key]).await;
    assert_eq!(answer.status, 418);

    // The access log, beside the gateway's own.
    let line = "tester asked for /one/x";
    eventually("the access log", async || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        log.lines().any(|it| it == line).then_some(())
    })
    .await;
    let answer = first.get("/own/x", &[key]).await;
    assert_eq!(gateway.logged(&answer).await["client"], "tester");

    // Clusters: one that is changed takes nothing any more, one that is added serves its agent.
    assert_eq!(answer.agent(), "two");
    assert_eq!(first.get("/full/x", &[key]).await.status, 503);
    let admin = Caller::of(gateway.admin);
    let dump = admin.get("/config_dump", &[]).await.text();
    assert!(dump.contains("\"connect_timeout\": \"3.500s\""), "{dump}");
    assert!(dump.contains("\"tcp_backlog_size\": 99"), "{dump}");
    let runtime = admin.get("/runtime", &[]).await.text();
    assert!(runtime.contains("own.flag"), "{runtime}");

    // The connection manager, the virtual host and a route.
    let headers = |answer: &Answer| {
        ["server", "x-all", "x-kind"].map(|name| answer.header(name).map(str::to_owned))
    };
    let some = |text: &str| Some(text.to_owned());
    let answer = first.get("/one/x", &[key]).await;
    assert_eq!(headers(&answer), [some("envoy"), some("all"), some("http")]);
    let answer = second.get("/one/x", &[key]).await;
    assert_eq!(headers(&answer), [some("second"), some("all"), None]);
}

#[tokio::test]
async fn patches_have_their_effect_under_istio() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (agent("one").await, agent("two").await);
    let log = directory.path().join("own.log");
    let text = format!(
        "
listen: [{{address: '0.0.0.0:8080'}}]
clients: {{key_sources: [{{header: x-api-key}}], keys: [{{sha256: {hash}, client_id: tester}}]}}
agents:
  one: {{url: 'http://one:{one}'}}
  own: {{cluster: my-own}}
routes:
  - {{prefix: /one, agents: [one]}}
  - {{prefix: /own, agents: [own]}}
envoy:
  patches:
    - in: http_filters
      before: waykeeper
      add:{before}
    - in: http_filters
      listener: gateway
      after: waykeeper
      add:{after}
    - {{in: http_filters, name: envoy.filters.http.router, merge: {{typed_config: {{suppress_envoy_headers: true}}}}}}
    - {{in: http_filters, name: before, merge: {{typed_config: {{stat_prefix: merged}}}}}}
    - in: access_log
      add:
        name: envoy.access_loggers.file
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
          path: {log}
          log_format: {{text_format_source: {{inline_string: \"%REQ(X-WAYKEEPER-CLIENT)% asked for %REQ(:PATH)%\\n\"}}}}
    - {{in: clusters, name: one, merge: {{connect_timeout: 3.5s}}}}
    - in: clusters
      add:
        name: my-own
        type: STATIC
        load_assignment:
          cluster_name: my-own
          endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {two}}}}}}}}}]}}]
    - {{in: http_connection_manager, listener: gateway, merge: {{server_name: mine}}}}
    - {{in: listeners, name: gateway, merge: {{tcp_backlog_size: 99}}}}
    - {{in: virtual_host, merge: {{response_headers_to_add: [{{header: {{key: x-all, value: all}}}}]}}}}
",
        hash = hash(KEY),
        one = one.address().port(),
        two = two.address().port(),
        before = lua("before"),
        after = lua("after"),
        log = log.display(),
    );
    for form in [&[][..], &["--gateway-api"]] {
        let manifests = write(directory.path(), &text, form);
        for filter in manifests.of_kind("EnvoyFilter") {
            schema::check(filter).unwrap_or_else(|error| panic!("{error} in {filter}"));
        }
        let (gateway, caller) = served(directory.path(), &manifests).await;
        let key = ("x-api-key", KEY);

        // Around the filter: who is let in, with which key, is seen as it says.
        let answer = caller.get("/one/x", &[key]).await;
        assert_eq!((answer.status, answer.agent()), (200, "one".to_owned()));
        assert_eq!(answer.arrived("x-before-saw"), format!("{KEY} of none"));
        assert_eq!(answer.arrived("x-after-saw"), "none of tester");
        let named = ["x-before", "x-after", "x-all", "server"];
        let said = named.map(|name| answer.header(name));
        assert_eq!(
            said,
            [
                Some("was here"),
                Some("was here"),
                Some("all"),
                Some("mine")
            ]
        );
        // What the router does not say any more.
        assert_eq!(answer.header("x-envoy-upstream-service-time"), None);
        let asked = caller.get("/one/x", &[("x-ask", "before")]).await;
        assert_eq!(asked.status, 418);
        let asked = caller.get("/one/x", &[("x-ask", "after")]).await;
        assert_eq!(asked.status, 401);

        let line = "tester asked for /one/x";
        eventually("the access log", async || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            log.lines().any(|it| it == line).then_some(())
        })
        .await;
        std::fs::write(&log, "").expect("write");
        assert_eq!(caller.get("/own/x", &[key]).await.agent(), "two");
        let dump = Caller::of(gateway.admin)
            .get("/config_dump", &[])
            .await
            .text();
        for part in [
            "\"connect_timeout\": \"3.500s\"",
            "\"tcp_backlog_size\": 99",
            "\"stat_prefix\": \"merged\"",
        ] {
            assert!(dump.contains(part), "{part}: {dump}");
        }
    }
}

/// An agent that answers each request when it is told to.
async fn patient() -> (SocketAddr, mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address");
    let (asked, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let (answer, told) = oneshot::channel();
                let _ = asked.send(answer);
                let _ = told.await;
                let _ = stream
                    .write_all(
                        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nlate",
                    )
                    .await;
            });
        }
    });
    (address, requests)
}

/// What `check` says of the file, which is not good.
fn told_by_check(directory: &Path) -> String {
    let checked = Command::new(env!("CARGO_BIN_EXE_waykeeper"))
        .arg("check")
        .arg(directory.join("gateway.yaml"))
        .arg("--envoy-program")
        .arg(needed(".tools/envoy", "make tools"))
        .output()
        .expect("the tool");
    assert_eq!(checked.status.code(), Some(1));
    String::from_utf8(checked.stderr).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_are_followed_and_one_that_envoy_refuses_leaves_what_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let chat = agent("chat").await;
    let (slow, mut requests) = patient().await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let agents = [("chat", at(chat.address())), ("slow", at(slow))];
    let text = |patches: &str| {
        let patches = match patches {
            "" => String::new(),
            patches => format!("envoy:\n  patches:\n{patches}"),
        };
        gateway(listen, &agents, &patches)
    };
    let arguments = ["--drain-time", "60s"];
    let mut running = Running::start(directory.path(), &text(""), &arguments).await;
    let envoy = running.envoy();
    let modified = "listener_manager.listener_modified";
    let marked = async || caller.get("/chat/x", &[]).await.header("x-mine").is_some();
    assert!(!marked().await);

    // A filter is added: the listener is replaced, and what is under way has the drain time to finish.
    let late = tokio::spawn({
        let caller = caller.clone();
        async move { caller.get("/slow/x", &[]).await }
    });
    let answer_late = requests.recv().await.expect("a request");
    let filter = format!(
        "    - in: http_filters\n      before: waykeeper\n      add:{}",
        lua("mine")
    );
    let said = running.change(&text(&filter)).await;
    let expected = format!("listeners: changed {listen}; envoy.patches: changed; live in");
    assert!(said.contains(&expected), "{said}");
    eventually("the new listener", async || marked().await.then_some(())).await;
    answer_late.send(()).expect("a request under way");
    let late = late.await.expect("an answer");
    assert_eq!((late.status, late.text()), (200, "late".to_owned()));
    assert_eq!(running.stat(modified).await, 1);

    // What is said of other parts leaves the listener as it is; so do other changes of the file.
    let cluster = "    - {in: clusters, name: chat, merge: {connect_timeout: 3.5s}}\n";
    let both = format!("{filter}{cluster}");
    let said = running.change(&text(&both)).await;
    assert!(
        said.contains("gateway.yaml: envoy.patches: changed; live in"),
        "{said}"
    );
    let dump = running
        .admin("/config_dump?resource=dynamic_active_clusters")
        .await;
    assert!(dump.contains("\"connect_timeout\": \"3.500s\""), "{dump}");
    let route = "routes:\n  - {prefix: /more, agents: [chat], auth_required: false}\n";
    running
        .change(&text(&both).replace("routes:\n", route))
        .await;
    assert_eq!(caller.get("/more/x", &[]).await.status, 200);
    assert_eq!(running.stat(modified).await, 1);

    // What matches nothing, and what Envoy does not know, is told, and what runs goes on.
    let wrong = both.replace("name: chat", "name: chatt");
    let said = running.refuse(&text(&wrong)).await;
    assert!(
        said.contains("].name: no cluster named \"chatt\"; did you mean \"chat\"?"),
        "{said}"
    );
    let unknown =
        format!("{both}    - {{in: http_connection_manager, merge: {{no_such_field: 1}}}}\n");
    let said = running.refuse(&text(&unknown)).await;
    let told = told_by_check(directory.path());
    assert!(
        told.contains(": envoy.patches[2].merge.no_such_field: Envoy does not take it: "),
        "{told}"
    );
    assert!(said.contains(&told), "{told}\n{said}");
    assert!(marked().await);

    // The same at the start.
    let file = running.file.clone();
    let other = directory.path().join("other");
    std::fs::create_dir(&other).expect("a directory");
    let said = Running::launch(&other, &file, &[]).fails(1).await;
    assert_eq!(said, told);

    // What Envoy refuses only once it is to be live is told with its line too: the filter before it was taken.
    let unset =
        "    - {in: listeners, merge: {socket_options: [{level: 41, name: 9999, int_value: 1}]}}\n";
    let late = text(&format!("{both}{unset}"));
    let line = late
        .lines()
        .position(|line| line.contains("socket_options"));
    let line = line.expect("the patch") + 1;
    let said = running.refuse(&late).await;
    let told = format!(
        "gateway.yaml:{line}: envoy.patches[2].merge: Envoy refuses the listeners: Error adding/updating listener(s) {listen}: "
    );
    assert!(said.contains(&told), "{told}\n{said}");
    assert!(marked().await);

    // At a start nothing tells which it is.
    let file = other.join("gateway.yaml");
    let elsewhere = late.replace(&listen.to_string(), &free_address().to_string());
    std::fs::write(&file, elsewhere).expect("write");
    let said = Running::launch(&other, &file, &[]).fails(1).await;
    let first = late
        .lines()
        .position(|line| line.contains("in: http_filters"));
    // Two lines below stands what it adds.
    let first = first.expect("the filter") + 3;
    assert!(
        said.contains("gateway.yaml: Envoy refuses the listeners: Error"),
        "{said}"
    );
    for place in [
        format!("gateway.yaml:{first}: envoy.patches[0].add: may be to blame"),
        format!("gateway.yaml:{line}: envoy.patches[2].merge: may be to blame"),
    ] {
        assert!(said.contains(&place), "{place}\n{said}");
    }

    // What stands around all waits for the next start.
    let around = format!("{both}    - {{in: bootstrap, merge: {{stats_flush_interval: 7s}}}}\n");
    let said = running.change(&text(&around)).await;
    assert!(said.contains("envoy.patches: changed"), "{said}");
    running.hears("bootstrap has changed too").await;

    running.change(&text("")).await;
    eventually("the former listener", async || {
        (!marked().await).then_some(())
    })
    .await;
    assert_eq!(running.envoy(), envoy, "Envoy was started again");
}
