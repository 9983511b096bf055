//! What is so of every agent without being written: which endpoint gets a request, when one is left out, how much goes to an agent
//! at a time, how long a connection may take to come about; and that a name is looked up again.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio_tungstenite::tungstenite::Message;

use crate::caller::Caller;
use crate::eventually;
use crate::gateway::{Gateway, agent, free_address};
use crate::running::{Running, at, gateway};
use crate::stand_in::{StandIn, json};

/// A cluster as an operator writes it, with one endpoint.
fn cluster(name: &str, place: SocketAddr) -> String {
    let (address, port) = (place.ip(), place.port());
    format!(
        "{{name: {name}, type: STATIC, load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: \
         {{address: {{socket_address: {{address: {address}, port_value: {port}}}}}}}}}]}}]}}}}"
    )
}

/// What is counted of a cluster.
async fn counted(operations: SocketAddr, cluster: &str, what: &str) -> u64 {
    let metrics = Caller::of(operations).get("/stats/prometheus", &[]).await;
    let begins = format!("envoy_cluster_{what}{{envoy_cluster_name=\"{cluster}\"}} ");
    let text = metrics.text();
    let value = text.lines().find_map(|line| line.strip_prefix(&begins));
    let value = value.unwrap_or_else(|| panic!("no {begins}: {text}"));
    value.parse().expect("a number")
}

/// An address at which connections never come about, as behind a firewall that drops them; as long as the others are kept.
async fn nowhere() -> (SocketAddr, impl Sized) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("bind");
    // One more than that waits to be taken, and then nobody gets an answer.
    let listener = socket.listen(1).expect("listen");
    let address = listener.local_addr().expect("an address");
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(TcpStream::connect(address).await.expect("a connection"));
    }
    (address, (listener, waiting))
}

/// A name server that knows one address of every name, for five minutes.
struct NameServer {
    address: SocketAddr,
    known: Arc<Mutex<Ipv4Addr>>,
}

impl NameServer {
    async fn start(known: Ipv4Addr) -> Self {
        const SECONDS: u32 = 300;
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let address = socket.local_addr().expect("an address");
        let known = Arc::new(Mutex::new(known));
        let told = Arc::clone(&known);
        tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, whose)) = socket.recv_from(&mut question).await {
                let asked = &question[..length];
                // Behind the head comes the name, whose end is an empty part, then type and class.
                let end = 12 + asked[12..].iter().position(|it| *it == 0).expect("a name") + 5;
                let is_of_ipv4 = asked[end - 4..end - 2] == [0, 1];
                let mut answer = asked[..2].to_vec();
                answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_of_ipv4), 0, 0, 0, 0]);
                answer.extend(&asked[12..end]);
                if is_of_ipv4 {
                    answer.extend([0xc0, 12, 0, 1, 0, 1]);
                    answer.extend(SECONDS.to_be_bytes());
                    answer.extend([0, 4]);
                    answer.extend(told.lock().expect("an address").octets());
                }
                let _ = socket.send_to(&answer, whose).await;
            }
        });
        Self { address, known }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_written_of_an_agent_is_as_the_pages_say() {
    const ROUNDS: usize = 400;
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (agent("one").await, agent("two").await);
    let port = one.address().port();
    let elsewhere = waykeeper_demo::agent::start("elsewhere", &format!("127.0.0.2:{port}")).await;
    let _elsewhere = elsewhere.expect("an agent");
    let names = NameServer::start(Ipv4Addr::LOCALHOST).await;
    let failing = StandIn::start(|_| json(502, "{}")).await;
    let erring = StandIn::start(|_| json(500, "{}")).await;
    let [listen, operations, closed] = [(); 3].map(|()| free_address());
    let (silent, _waiting) = nowhere().await;
    let beside = |other: SocketAddr| {
        format!(
            "{{endpoints: ['http://{other}', 'http://{}'], balance: round_robin}}",
            one.address()
        )
    };
    let agents = [
        (
            "plain",
            format!(
                "{{endpoints: ['http://{}', 'http://{}']}}",
                one.address(),
                two.address()
            ),
        ),
        ("closed", beside(closed)),
        ("failing", beside(failing.address)),
        ("erring", beside(erring.address)),
        ("named", format!("{{url: 'http://agent.example:{port}'}}")),
        ("silent", at(silent)),
        ("waiting", at(silent)),
        (
            "own",
            "{cluster: mine, websocket_cluster: mine-of-sockets}".to_owned(),
        ),
    ];
    let (mine, of_sockets) = (
        cluster("mine", one.address()),
        cluster("mine-of-sockets", two.address()),
    );
    let more = format!(
        "  - {{prefix: /sockets, agents: [own], auth_required: false, protocol: websocket, prefix_rewrite: /api/v1/chat/ws}}\n\
         operations: '{operations}'\nenvoy:\n  patches:\n    - {{in: clusters, name: waiting, merge: {{connect_timeout: 6s}}}}\n    \
         - {{in: clusters, add: {mine}}}\n    - {{in: clusters, add: {of_sockets}}}"
    );
    let by_names = format!(
        "    - in: bootstrap\n      merge:\n        typed_dns_resolver_config:\n          name: envoy.network.dns_resolver.cares\n          \
         typed_config:\n            '@type': type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig\n            \
         resolvers: [{{socket_address: {{address: 127.0.0.1, port_value: {}}}}}]",
        names.address.port()
    );
    let text = gateway(listen, &agents, &format!("{more}\n{by_names}"));
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let caller = Caller::of(listen);

    // A name is looked up again long before its answer is too old.
    assert_eq!(caller.get("/named/x", &[]).await.agent(), "one");
    *names.known.lock().expect("an address") = Ipv4Addr::new(127, 0, 0, 2);

    // How much goes to it at a time.
    for (what, bound) in [("cx", 4096), ("rq", 4096), ("pending", 1024)] {
        let what = format!("circuit_breakers_default_remaining_{what}");
        assert_eq!(counted(operations, "plain", &what).await, bound, "{what}");
    }

    // A connection may take 1 s to come about: whoever may take longer is told later, though asked at the same time.
    let ask = async |path: &str| caller.get(path, &[]).await;
    let refused = tokio::select! {
        biased;
        answer = ask("/waiting/x") => panic!("the one that may take longer was first: {answer:?}"),
        answer = ask("/silent/x") => answer,
    };
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["error"]["code"], "agent_unreachable");
    assert!(counted(operations, "silent", "upstream_cx_connect_timeout").await > 0);

    // One that refuses connections, or answers 502, is left out; one that answers 500 is not.
    for agent in ["closed", "failing"] {
        let path = format!("/{agent}/x");
        eventually("an endpoint that is left out", async || {
            let mut of_others = 0;
            for _ in 0..6 {
                of_others += u64::from(caller.get(&path, &[]).await.status != 200);
            }
            let out = counted(operations, agent, "outlier_detection_ejections_active").await;
            ((of_others, out) == (0, 1)).then_some(())
        })
        .await;
    }
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(caller.get("/erring/x", &[]).await.status);
    }
    assert!(statuses[30..].contains(&500), "{statuses:?}");

    // Of two endpoints the one with fewer requests in flight is drawn three times in four, not two.
    let total = || [&one, &two].map(|agent| agent.stats().total);
    let before = total();
    let held = tokio::spawn({
        let caller = caller.clone();
        async move {
            caller
                .send("GET", "/plain/x", &[("x-demo-delay", "10m")])
                .await
                .is_ok()
        }
    });
    let busy = eventually("a request in flight", async || {
        let now = total();
        (0..2).find(|index| now[*index] > before[*index])
    })
    .await;
    let before = total();
    for _ in 0..ROUNDS {
        assert_eq!(caller.get("/plain/x", &[]).await.status, 200);
    }
    let drawn = total()[busy] - before[busy];
    // Six deviations away from either.
    assert!((50..150).contains(&drawn), "{drawn} of {ROUNDS}");
    held.abort();

    eventually("the name's other address", async || {
        (caller.get("/named/x", &[]).await.agent() == "elsewhere").then_some(())
    })
    .await;

    // WebSockets have a cluster of their own, if one is named.
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{listen}/sockets"))
        .await
        .expect("a WebSocket");
    let hello = Message::text("hello");
    socket.send(hello.clone()).await.expect("send");
    let heard = socket.next().await.expect("open").expect("a message");
    assert_eq!(heard, hello);
    let sockets =
        [&one, &two].map(|agent| agent.stats().last.iter().any(|it| it.path.ends_with("/ws")));
    assert_eq!(sockets, [false, true]);
    assert_eq!(caller.get("/own/x", &[]).await.agent(), "one");
}

/// In a mount namespace of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_a_mount_is_told_of_and_followed_as_far_as_it_can_be() {
    let directory = tempfile::tempdir().expect("a directory");
    let one = agent("one").await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let text = gateway(listen, &[("one", at(one.address()))], "");
    let file = directory.path().join("gateway.yaml");
    std::fs::write(&file, &text).expect("write");
    let run = directory.path().join("run");
    let mut command = tokio::process::Command::new("unshare");
    let mount = "mount --bind \"$0\" \"$0\" && exec \"$@\"";
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", mount])
        .arg(&file)
        .arg(env!("CARGO_BIN_EXE_waykeeper"));
    Running::arguments(&mut command, &file, &run, &[]);
    let mut running = Running::spawn(command, &file, run).in_its_mounts();
    let said = running.hears("is served at").await;
    let told = "gateway.yaml is itself a mount: it goes on showing the old file when another is renamed into its place";
    assert_eq!(said.matches(told).count(), 1, "{said}");
    assert_eq!(caller.get("/one/x", &[]).await.agent(), "one");

    // What is written in place is seen.
    std::fs::write(&file, text.replace("/one", "/other")).expect("write");
    running.hears("routes: 1 added, 1 removed; live in").await;
    assert_eq!(caller.get("/other/x", &[]).await.agent(), "one");
}
