//! `waykeeper run` and an Envoy that cannot be asked: its admin interface is gone, or answers nothing, or nothing of use.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::caller::Caller;
use crate::gateway::{agent, free_address};
use crate::running::{Running, at, gateway, lives, signal_to};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_interface_that_is_removed_is_put_back_or_told_of() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = agent("one").await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let text =
        |route: &str| gateway(listen, &[("one", at(agent.address()))], "").replace("/one", route);
    let mut running = Running::start(directory.path(), &text("/one"), &[]).await;
    let socket = running.directory().join("admin.sock");

    std::fs::remove_file(&socket).expect("remove");
    let said = running
        .hears("admin.sock was removed, and is there again")
        .await;
    assert!(said.contains("Envoy's admin interface"), "{said}");
    running.change(&text("/two")).await;
    assert_eq!(caller.get("/two/x", &[]).await.agent(), "one");

    // All of its names: what runs goes on, and a change waits until there is a way again.
    let elsewhere = directory.path().join("elsewhere");
    std::fs::hard_link(&socket, &elsewhere).expect("a link");
    std::fs::remove_file(running.directory().join(".admin.sock")).expect("remove");
    std::fs::remove_file(&socket).expect("remove");
    let said = running.hears("admin.sock has been removed").await;
    assert!(
        said.contains("Requests are served on; changes of the file are not taken")
            && said.contains("Start this command again"),
        "{said}"
    );
    running.replace(&text("/three"));
    running.hears("good; taken once Envoy answers").await;
    assert_eq!(caller.get("/two/x", &[]).await.agent(), "one");
    assert_eq!(caller.get("/three/x", &[]).await.status, 404);
    std::fs::hard_link(&elsewhere, &socket).expect("a link");
    running
        .hears("Envoy answers at its admin interface again")
        .await;
    running.hears("; live in").await;
    assert_eq!(caller.get("/three/x", &[]).await.agent(), "one");
    let all = running.said_in_all();
    assert_eq!(all.matches("has been removed").count(), 1, "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_that_is_stopped_is_told_of_and_goes_on_where_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = agent("one").await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let text =
        |route: &str| gateway(listen, &[("one", at(agent.address()))], "").replace("/one", route);
    let arguments = ["--drain-time", "1s", "--grace", "1s"];
    let mut running = Running::start(directory.path(), &text("/one"), &arguments).await;
    let envoy = running.envoy();

    signal_to(envoy, Signal::STOP);
    let stopped = Instant::now();
    let said = running.hears("Envoy has not answered for 5 s").await;
    assert!(stopped.elapsed() < Duration::from_secs(20), "{said}");
    assert!(
        said.contains("neither at its admin interface")
            && said.contains(&format!("nor to callers (http://{listen}/healthz: "))
            && said.contains("start this command again"),
        "{said}"
    );
    running.replace(&text("/two"));
    running.hears("good; taken once Envoy answers").await;
    // A file that is of no use meanwhile loses nothing.
    running.refuse("agents: nothing").await;
    signal_to(envoy, Signal::CONT);
    running
        .hears("Envoy answers at its admin interface again")
        .await;
    running.hears("routes: 1 added, 1 removed; live in").await;
    assert_eq!(caller.get("/two/x", &[]).await.agent(), "one");

    // It ends all the same.
    signal_to(envoy, Signal::STOP);
    running.signal(Signal::TERM);
    running
        .hears("Envoy does not answer; requests under way are cut off")
        .await;
    running.hears("Envoy does not end; it is killed").await;
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.said());
    assert!(!lives(envoy));
}

/// How somebody between `run` and Envoy's admin interface behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behaves {
    Well,
    /// It answers 500.
    Badly,
    /// It never answers.
    Silent,
}

/// Takes the place of the admin interface.
fn between(directory: &Path, behaves: watch::Receiver<Behaves>) {
    let [socket, real, ours] =
        ["admin.sock", "real.sock", "ours.sock"].map(|name| directory.join(name));
    let listener = UnixListener::bind(&ours).expect("bind");
    std::fs::hard_link(&socket, &real).expect("a link");
    std::fs::rename(&ours, &socket).expect("rename");
    let real = Arc::new(real);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (real, mut behaves) = (Arc::clone(&real), behaves.clone());
            tokio::spawn(async move {
                let now = *behaves.borrow_and_update();
                match now {
                    Behaves::Well => {
                        let mut envoy = UnixStream::connect(&*real).await.expect("Envoy");
                        // It ends when either hangs up.
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut envoy).await;
                    }
                    Behaves::Badly => {
                        let _ = stream.read(&mut [0; 4096]).await;
                        let answer = "HTTP/1.1 500 X\r\ncontent-length: 5\r\n\r\nbroke";
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                    // Held until it behaves otherwise.
                    Behaves::Silent => drop(behaves.changed().await),
                }
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_waits_for_an_admin_interface_that_answers_nothing_of_use() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = agent("one").await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let text = |name: &str| {
        let agents = [("one", at(agent.address())), (name, at(agent.address()))];
        gateway(listen, &agents, "")
    };
    let mut running = Running::start(directory.path(), &text("first"), &[]).await;
    let (behave, behaves) = watch::channel(Behaves::Well);
    between(running.directory(), behaves);
    running.change(&text("second")).await;

    for (how, why, name) in [
        (Behaves::Badly, "500 Internal Server Error: broke", "third"),
        (Behaves::Silent, "no answer in time", "fourth"),
    ] {
        behave.send_replace(how);
        running.replace(&text(name));
        let said = running
            .hears("Envoy has not answered at its admin interface for 5 s")
            .await;
        assert!(
            said.contains(why) && said.contains("Requests are served on"),
            "{said}"
        );
        running
            .hears("Envoy does not say at its admin interface whether it takes anything new")
            .await;
        running
            .hears("what runs goes on. The change is tried again every few seconds")
            .await;
        assert_eq!(caller.get("/one/x", &[]).await.agent(), "one");
        assert_eq!(caller.get(&format!("/{name}/x"), &[]).await.status, 404);

        behave.send_replace(Behaves::Well);
        running
            .hears("Envoy answers at its admin interface again")
            .await;
        let said = running.hears("; live in").await;
        assert!(said.contains(&format!("agents: added {name}")), "{said}");
        assert_eq!(caller.get(&format!("/{name}/x"), &[]).await.status, 200);
    }
}
