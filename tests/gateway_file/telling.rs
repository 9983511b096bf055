//! What `waykeeper run` says of agents that are not well, and that they stop nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::caller::Caller;
use crate::eventually;
use crate::gateway::{agent, free_address};
use crate::running::{Running, at, gateway};

/// Answers everything with the status that is set; nothing at all while that is 0.
async fn service(status: &Arc<AtomicU16>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address");
    let status = Arc::clone(status);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let status = status.load(Ordering::Relaxed);
            if status == 0 {
                kept.push(stream);
                continue;
            }
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while matches!(stream.read(&mut request).await, Ok(1..)) {
                    let answer = format!(
                        "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    );
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_are_not_well_are_told_of_once_with_what_helps() {
    let directory = tempfile::tempdir().expect("a directory");
    let status = Arc::new(AtomicU16::new(404));
    let ill = service(&status).await;
    let well = agent("well").await;
    let [listen, closed] = [(); 2].map(|()| free_address());
    let caller = Caller::of(listen);
    let agents = [
        ("well", at(well.address())),
        (
            "ill",
            format!("{{url: 'http://{ill}', health: {{path: /ping, interval: 100ms}}}}"),
        ),
        (
            "lost",
            "{url: 'http://no-such-host.invalid:8000'}".to_owned(),
        ),
        // Called otherwise in statistics.
        ("sh:ut", at(closed)),
    ];
    let text = gateway(listen, &agents, "");
    let mut running = Running::start(directory.path(), &text, &[]).await;
    let said = running
        .hears_one_of(&["agent ill: 1 of 1 hosts", "agent lost: no address"])
        .await;
    let other = running
        .hears_one_of(&["agent ill: 1 of 1 hosts", "agent lost: no address"])
        .await;
    let both = format!("{said}{other}");
    assert!(
        both.contains(
            "answers GET /ping with 404, and Envoy sends requests only where that is 200"
        ),
        "{both}"
    );
    assert!(
        both.contains("no address is known for http://no-such-host.invalid:8000"),
        "{both}"
    );
    assert_eq!(caller.get("/ill/x", &[]).await.status, 503);
    assert_eq!(caller.get("/well/x", &[]).await.agent(), "well");

    status.store(200, Ordering::Relaxed);
    running.hears("agent ill: all is well again").await;
    assert_eq!(caller.get("/ill/x", &[]).await.status, 200);

    assert_eq!(caller.get("/sh:ut/x", &[]).await.status, 503);
    let said = running.hears("agent sh:ut: connections to").await;
    assert!(said.contains(&format!("http://{closed}")), "{said}");
    running.change(&text.replace("/well", "/good")).await;
    // Once is enough: what is new is told after two more looks at all of them.
    status.store(404, Ordering::Relaxed);
    running.hears("agent ill: 1 of 1 hosts").await;
    let all = running.said_in_all();
    for (told, times) in [
        ("agent ill: 1 of 1", 2),
        ("agent ill: all is well", 1),
        ("agent lost: ", 1),
        ("agent sh:ut: ", 1),
        ("agent well: ", 0),
    ] {
        assert_eq!(all.matches(told).count(), times, "{told}: {all}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_never_warms_stops_nobody_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let silent = service(&Arc::new(AtomicU16::new(0))).await;
    let well = agent("well").await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let never = format!("{{url: 'http://{silent}', health: {{path: /ping, timeout: 1m}}}}");
    let good = ("well", at(well.address()));
    let text = gateway(listen, &[good.clone(), ("cold", never.clone())], "");
    let file = directory.path().join("gateway.yaml");
    std::fs::write(&file, text).expect("write");
    let mut running = Running::launch(directory.path(), &file, &[]);
    running.hears("agent cold: is not ready after 15 s").await;
    running.hears("is served at").await;
    assert_eq!(caller.get("/well/x", &[]).await.agent(), "well");

    // Nobody waits for one that the file does not name any more, nor is a file lost that is of no use meanwhile.
    let two = gateway(listen, &[good.clone(), ("colder", never)], "");
    running.replace(&two);
    let clusters = "cluster_manager.warming_clusters";
    eventually("a cluster that warms", async || {
        (running.stat(clusters).await > 0).then_some(())
    })
    .await;
    running.refuse("routes: nothing").await;
    let said = running
        .change(&gateway(listen, &[("good", good.1)], ""))
        .await;
    assert!(
        said.contains("agents: added good, removed cold well"),
        "{said}"
    );
    assert_eq!(caller.get("/good/x", &[]).await.agent(), "well");
}

/// One of the file's is another under another name; a patch's goes on as it was, as Envoy has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_requests_go_is_told_of_agents_that_were_changed_and_never_warm() {
    let directory = tempfile::tempdir().expect("a directory");
    let silent = service(&Arc::new(AtomicU16::new(0))).await;
    let well = agent("well").await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let text = |place: std::net::SocketAddr, health: &str, checks: &str| {
        let agents = [
            ("one", format!("{{url: 'http://{place}'{health}}}")),
            ("own", "{cluster: mine}".to_owned()),
        ];
        let (address, port) = (place.ip(), place.port());
        let patches = format!(
            "envoy: {{patches: [{{in: clusters, add: {{name: mine, type: STATIC{checks}, load_assignment: {{cluster_name: mine, endpoints: \
             [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {address}, port_value: {port}}}}}}}}}]}}]}}}}}}]}}\n"
        );
        gateway(listen, &agents, &patches)
    };
    let mut running = Running::start(directory.path(), &text(well.address(), "", ""), &[]).await;
    let checks = ", health_checks: [{timeout: 60s, interval: 60s, unhealthy_threshold: 1, healthy_threshold: 1, \
                  http_health_check: {path: /ping}}]";
    running.replace(&text(
        silent,
        ", health: {path: /ping, timeout: 1m}",
        checks,
    ));
    eventually("clusters that warm", async || {
        (running.stat("cluster_manager.warming_clusters").await == 2).then_some(())
    })
    .await;
    for path in ["/one/x", "/own/x"] {
        assert_eq!(caller.get(path, &[]).await.agent(), "well", "{path}");
    }

    let said = running.hears("; live in").await;
    for (agent, meanwhile) in [
        ("one", "requests for it are answered 503 agent_unreachable"),
        ("own", "its requests go where they went before the change"),
    ] {
        let line = said
            .lines()
            .find(|line| line.contains(&format!("agent {agent}: is not ready")));
        assert!(line.is_some_and(|line| line.contains(meanwhile)), "{said}");
    }
    assert_eq!(caller.get("/one/x", &[]).await.status, 503);
    assert_eq!(caller.get("/own/x", &[]).await.agent(), "well");
}
