//! What `waykeeper run` finds out of agents that are not well: the cause and what helps, told anew when that changes, while the
//! file is followed all the time.

use std::time::Duration;

use tokio::time::Instant;

use crate::caller::Caller;
use crate::certificates::Authority;
use crate::eventually;
use crate::front::Front;
use crate::gateway::{agent, free_address};
use crate::running::{Running, at, gateway};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_is_followed_while_silent_agents_are_asked() {
    const SILENT: usize = 20;
    let directory = tempfile::tempdir().expect("a directory");
    // Whoever connects waits.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let silent = silent
        .local_addr()
        .map(|it| (silent, it))
        .expect("an address");
    let well = agent("well").await;
    let listen = free_address();
    let names: Vec<String> = (0..SILENT).map(|it| format!("s{it:02}")).collect();
    let health = format!(
        "{{url: 'http://{}', health: {{path: /x, timeout: 2s}}}}",
        silent.1
    );
    let mut agents = vec![("well", at(well.address()))];
    agents.extend(names.iter().map(|name| (name.as_str(), health.clone())));
    let text = gateway(listen, &agents, "");
    let mut running = Running::start(directory.path(), &text, &[]).await;

    let said = running.hears("agent s").await;
    let begun = Instant::now();
    running.change(&text.replace("/well", "/good")).await;
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(Caller::of(listen).get("/good/x", &[]).await.agent(), "well");
    assert!(!said.contains("all is well"), "{said}");
    eventually("all of them", async || {
        let all = running.said_in_all();
        let told = |name: &String| {
            let line = format!("agent {name}: 1 of 1 hosts ({}) left out; ", silent.1);
            all.matches(&line).count() == 1
        };
        names.iter().all(told).then_some(())
    })
    .await;
    let all = running.said_in_all();
    let helps = "connected, but no answer within 2s. Let `health` name a path that answers 200";
    assert_eq!(all.matches(helps).count(), SILENT, "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_an_agent_is_told_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "authority");
    let stranger = Authority::new(directory.path(), "stranger");
    let known = authority.sign("agent.example");
    let one = agent("one").await;
    let front = Front::of(one.address(), known.server(&["http/1.1"])).await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let over_tls = |ca: &Authority, sni: &str, more: &str| {
        let (front, ca) = (front.address, ca.file.display());
        format!("{{url: 'https://{front}', tls: {{ca: {ca}, sni: {sni}}}{more}}}")
    };
    let health = ", health: {path: /healthz, interval: 100ms}";
    let [dead, deader] = [(); 2].map(|()| free_address());
    let agents = |dead: std::net::SocketAddr, sni: &str| {
        [
            ("name", over_tls(&authority, sni, "")),
            ("asked", over_tls(&authority, "other.example", health)),
            ("issuer", over_tls(&stranger, "agent.example", "")),
            ("plain", format!("{{url: 'https://{}'}}", one.address())),
            ("secure", at(front.address)),
            ("dead", format!("{{url: 'http://{dead}'{health}}}")),
            ("shut", at(dead)),
        ]
    };
    let text = |dead, sni| gateway(listen, &agents(dead, sni), "");
    let mut running = Running::start(directory.path(), &text(dead, "other.example"), &[]).await;
    for name in ["name", "issuer", "plain", "secure", "shut"] {
        let answer = caller.get(&format!("/{name}/x"), &[]).await;
        assert!(answer.status >= 500, "{name}: {answer:?}");
    }

    let by_name = "is for agent.example, not for other.example: name one of these in tls.sni";
    let runs = "refuses connections: nothing listens there. See whether it runs and listens there";
    let line = async |running: &Running, begins: &str| {
        eventually(begins, async || {
            let all = running.said_in_all();
            let mut lines = all.lines().filter(|line| line.contains(begins));
            lines.next_back().map(str::to_owned)
        })
        .await
    };
    for (begins, why) in [
        ("agent name: connections to", by_name),
        ("agent asked: 1 of 1 hosts", by_name),
        ("agent issuer: connections to", "is signed by nobody in"),
        (
            "agent plain: connections to",
            "speaks no TLS: its url is one of http",
        ),
        (
            "agent secure: connections to",
            "If it speaks TLS, its url is one of https",
        ),
        ("agent dead: 1 of 1 hosts", runs),
        ("agent shut: connections to", runs),
    ] {
        let said = line(&running, begins).await;
        assert!(said.contains(why), "{said}");
        assert_eq!(said.contains("firewall"), why == runs, "{said}");
        assert!(!said.contains("Let `health` name"), "{said}");
    }

    // One is mended, and others are as ill as before, elsewhere.
    running.change(&text(deader, "agent.example")).await;
    assert_eq!(caller.get("/name/x", &[]).await.agent(), "one");
    running.hears("agent name: all is well again").await;
    let deader = format!("http://{deader}: refuses connections");
    for begins in ["agent dead: ", "agent shut: "] {
        eventually(begins, async || {
            let all = running.said_in_all();
            let told = |line: &str| line.contains(begins) && line.contains(&deader);
            all.lines().any(told).then_some(())
        })
        .await;
    }
    let all = running.said_in_all();
    for (told, times) in [
        ("agent name: ", 2),
        ("agent asked: ", 1),
        ("agent issuer: ", 1),
        ("agent secure: ", 1),
        ("agent dead: ", 2),
        ("agent shut: ", 2),
    ] {
        assert_eq!(all.matches(told).count(), times, "{told}: {all}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_is_taken_once_it_is_free_and_sizes_are_told_as_they_are() {
    let directory = tempfile::tempdir().expect("a directory");
    let one = agent("one").await;
    let listen = free_address();
    let good = gateway(listen, &[("one", at(one.address()))], "");
    let mut running = Running::start(directory.path(), &good, &[]).await;

    // The same port, another address: Envoy would share it with whoever has it.
    let other = std::net::SocketAddr::new([127, 0, 0, 2].into(), listen.port());
    let taken = std::net::TcpListener::bind(other).expect("bind");
    let own = format!("'{listen}'}}");
    let both = good.replace(&own, &format!("{own}, {{address: '{other}'}}"));
    let key = format!("{{sha256: '{:064x}', client_id: more}}", 1);
    let both = format!("{both}clients: {{keys: [{key}]}}\n");
    let said = running.refuse(&both).await;
    assert!(
        said.contains(&format!(
            "cannot listen on {other}: another process listens there"
        )) && said.contains("The change is tried again every few seconds"),
        "{said}"
    );
    let rest = "nothing of this change is live yet, also not: clients: changed; take that address out to have the rest now";
    assert!(said.contains(rest), "{said}");
    drop(taken);
    let said = running.hears("; live in").await;
    assert!(
        said.contains(&format!("listeners: added {other}; clients: changed")),
        "{said}"
    );
    assert!(!said.contains("cannot listen"), "{said}");
    assert_eq!(Caller::of(other).get("/one/x", &[]).await.agent(), "one");

    running.replace(&format!("{both}tables: {{keys: 1024}}\n"));
    running
        .hears("`tables` keep their sizes until this is started again")
        .await;
    running.replace(&both);
    running
        .hears("`tables` are again as they were at the start, and in force")
        .await;
    let all = running.said_in_all();
    assert_eq!(all.matches("; live in").count(), 1, "{all}");
    assert!(!all.contains("tables: changed"), "{all}");
}
