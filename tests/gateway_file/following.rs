//! `waykeeper run` follows its file: what is live, what is refused, and what is said of it.

use std::os::unix::fs::symlink;

use crate::caller::Caller;
use crate::eventually;
use crate::gateway::{agent, free_address};
use crate::running::{Running, at, gateway, refused};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_file_says_is_live_without_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (agent("one").await, agent("two").await);
    let listen = free_address();
    let caller = Caller::of(listen);
    let text = |agents: &[(&str, String)]| gateway(listen, agents, "");
    let first = text(&[("one", at(one.address()))]);
    // How long a request may wait for a decision, as a former configuration is remembered: 3 s without a validator.
    let mut running = Running::start(directory.path(), &first, &[]).await;
    let envoy = running.envoy();
    assert_eq!(caller.get("/one/x", &[]).await.agent(), "one");

    // Added.
    let both = [("one", at(one.address())), ("two", at(two.address()))];
    let said = running.change(&text(&both)).await;
    assert!(
        said.contains("agents: added two; routes: 1 added; live in"),
        "{said}"
    );
    assert_eq!(caller.get("/two/x", &[]).await.agent(), "two");

    // Moved to another endpoint.
    let said = running
        .change(&text(&[both[0].clone(), ("two", at(one.address()))]))
        .await;
    assert!(said.contains("agents: changed two; live in"), "{said}");
    assert_eq!(caller.get("/two/x", &[]).await.agent(), "one");

    // Renamed: the former cluster stays for those who are on their way, and goes then.
    let renamed = [("one", at(one.address())), ("dos", at(two.address()))];
    let said = running.change(&text(&renamed)).await;
    assert!(
        said.contains("agents: added dos, removed two; routes: 1 added, 1 removed"),
        "{said}"
    );
    assert_eq!(caller.get("/dos/x", &[]).await.agent(), "two");
    assert_eq!(caller.get("/two/x", &[]).await.status, 404);
    let clusters = running.admin("/clusters").await;
    assert!(clusters.contains("two::"), "{clusters}");
    eventually("the former cluster's end", async || {
        (!running.admin("/clusters").await.contains("two::")).then_some(())
    })
    .await;
    let good = text(&renamed);

    // Files that are of no use leave what runs untouched, and it is said where and why.
    let said = running.refuse(&good.replace("[dos]", "[doz]")).await;
    assert!(
        said.contains("gateway.yaml:7: routes[1].agents[0]: no agent named \"doz\""),
        "{said}"
    );
    let said = running.refuse("listen: [").await;
    assert!(said.contains("gateway.yaml:2: "), "{said}");
    let said = running.refuse("").await;
    assert!(said.contains("gateway.yaml"), "{said}");
    std::fs::remove_file(&running.file).expect("remove");
    running.hears("is not there").await;
    assert_eq!(caller.get("/dos/x", &[]).await.agent(), "two");

    // Written in place, in pieces.
    let placed = good.replace("/dos", "/written");
    let (begin, end) = placed.split_at(placed.len() - 20);
    let mut file = std::fs::File::create(&running.file).expect("create");
    std::io::Write::write_all(&mut file, begin.as_bytes()).expect("write");
    std::io::Write::write_all(&mut file, end.as_bytes()).expect("write");
    drop(file);
    running.hears("routes: 1 added, 1 removed; live in").await;
    assert_eq!(caller.get("/written/x", &[]).await.agent(), "two");

    // As Kubernetes shows a ConfigMap: links to a directory that is replaced.
    let conf = directory.path();
    let version = |name: &str, text: &str| {
        std::fs::create_dir(conf.join(name)).expect("a directory");
        std::fs::write(conf.join(name).join("gateway.yaml"), text).expect("write");
        symlink(name, conf.join("..data_tmp")).expect("a link");
        std::fs::rename(conf.join("..data_tmp"), conf.join("..data")).expect("rename");
    };
    version("..1", &good.replace("/dos", "/map"));
    std::fs::remove_file(&running.file).expect("remove");
    symlink("..data/gateway.yaml", &running.file).expect("a link");
    running.hears("routes: 1 added, 1 removed; live in").await;
    assert_eq!(caller.get("/map/x", &[]).await.agent(), "two");
    version("..2", &good.replace("/dos", "/swapped"));
    running.hears("routes: 1 added, 1 removed; live in").await;
    assert_eq!(caller.get("/swapped/x", &[]).await.agent(), "two");

    // Sizes of tables stand in memory that is made once.
    version("..3", &format!("{good}tables: {{keys: 1024}}\n"));
    running
        .hears("`tables` keep their sizes until this is started again")
        .await;

    assert_eq!(running.envoy(), envoy, "Envoy was started again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_live_stays_whatever_becomes_of_two_changes_after_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = agent("one").await;
    // Whoever connects waits.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let busy = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let [silent, busy] = [&silent, &busy].map(|it| it.local_addr().expect("an address"));
    let listen = free_address();
    let caller = Caller::of(listen);
    let stays = ("stays", at(agent.address()));
    let good = gateway(listen, &[("x", at(agent.address())), stays.clone()], "");
    let never = format!("{{url: 'http://{silent}', health: {{path: /ping, timeout: 1m}}}}");
    let without = gateway(listen, &[stays, ("y", never)], "");
    let mut running = Running::start(directory.path(), &good, &[]).await;

    // Refused by this tool, and by Envoy, which has taken a part by then.
    for (address, patch, who) in [
        (busy, String::new(), "another process listens there"),
        (
            free_address(),
            refused("gateway-2"),
            "Envoy refuses the listeners",
        ),
    ] {
        let warming = async || running.stat("cluster_manager.warming_clusters").await;
        running.replace(&without);
        eventually("a cluster that warms", async || {
            (warming().await > 0).then_some(())
        })
        .await;
        let more = format!("'{listen}'}}, {{address: '{address}'}}]");
        let both = good.replace(&format!("'{listen}'}}]"), &more);
        let said = running.refuse(&format!("{both}{patch}")).await;
        assert!(said.contains(who), "{said}");

        // It has let go of what was not live, and of nothing else.
        eventually("the end of what never was live", async || {
            (!running.admin("/config_dump").await.contains("/ping")).then_some(())
        })
        .await;
        let live = format!("\n{}", running.admin("/clusters").await);
        assert!(live.contains("\nx::") && !live.contains("\ny::"), "{live}");
        assert_eq!(caller.get("/x/x", &[]).await.agent(), "one");
        assert_eq!(caller.get("/y/x", &[]).await.status, 404);
        running.replace(&good);
        running.hears("nothing is different").await;
        assert_eq!(caller.get("/x/x", &[]).await.agent(), "one");
    }
}
