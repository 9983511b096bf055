//! Listeners and certificates that change while `waykeeper run` runs, and what Envoy refuses of them.

use std::path::Path;

use tokio_rustls::rustls::ClientConfig;

use crate::caller::Caller;
use crate::certificates::{Authority, Identity};
use crate::eventually;
use crate::gateway::{agent, free_address};
use crate::running::{Running, at, gateway, refused};

fn copy(from: &Identity, directory: &Path) {
    for (file, name) in [
        (&from.certificate, "gateway.pem"),
        (&from.key, "gateway.key"),
    ] {
        let beside = directory.join("beside");
        std::fs::copy(file, &beside).expect("copy");
        std::fs::rename(beside, directory.join(name)).expect("rename");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_come_change_and_go_and_certificates_are_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let tls = directory.path().join("tls");
    std::fs::create_dir(&tls).expect("a directory");
    let (old, new) = (
        Authority::new(directory.path(), "old"),
        Authority::new(directory.path(), "new"),
    );
    let first = old.sign("localhost");
    copy(&first, &tls);
    let trusts = |identity: &Identity| identity.caller(None, &["http/1.1"]);
    let trusts_old: ClientConfig = trusts(&first);
    let agent = agent("chat").await;
    let [plain, secure, other, late, operations] = [(); 5].map(|()| free_address());
    let text = |listeners: &str| {
        let text = gateway(plain, &[("chat", at(agent.address()))], "");
        text.replace(&format!("[{{address: '{plain}'}}]"), listeners)
    };
    let secured = format!(
        "{{address: '{secure}', tls: {{certificate: '{0}/gateway.pem', key: '{0}/gateway.key'}}}}",
        tls.display()
    );
    let plainly = format!("{{address: '{plain}'}}");
    let both = text(&format!("[{plainly}, {secured}]"));
    let arguments = ["--drain-time", "1s"];
    let mut running = Running::start(directory.path(), &both, &arguments).await;
    let envoy = running.envoy();
    let [plain, secure, other] =
        [plain, secure, other].map(|address| (address, Caller::of(address)));
    let get = async |caller: &Caller| {
        let answer = caller.send("GET", "/chat/x", &[]).await;
        answer.map(|answer| answer.status).ok()
    };
    assert_eq!(get(&plain.1).await, Some(200));
    assert_eq!(
        get(&secure.1.clone().over(trusts_old.clone())).await,
        Some(200)
    );
    let modified = "listener_manager.listener_modified";

    // A certificate is replaced: new connections see it, and the listener stays. Half of one is not taken.
    let second = new.sign("localhost");
    std::fs::copy(&second.key, tls.join("gateway.key")).expect("copy");
    let said = running.hears("what runs goes on").await;
    assert!(said.contains("gateway.yaml"), "{said}");
    assert_eq!(
        get(&secure.1.clone().over(trusts_old.clone())).await,
        Some(200)
    );
    copy(&second, &tls);
    running.hears("certificates: changed; live in").await;
    assert_eq!(
        get(&secure.1.clone().over(trusts(&second))).await,
        Some(200)
    );
    assert_eq!(get(&secure.1.clone().over(trusts_old)).await, None);
    assert_eq!(running.stat(modified).await, 0);

    // The first one goes: the other stays what it was.
    running.change(&text(&format!("[{secured}]"))).await;
    eventually("the end of a listener", async || {
        get(&plain.1).await.is_none().then_some(())
    })
    .await;
    assert_eq!(running.stat(modified).await, 0);
    // It comes back, with pages that may call; what belongs to routes leaves a listener as it is.
    running.change(&both).await;
    assert_eq!(get(&plain.1).await, Some(200));
    let cors = format!("{{address: '{}', cors: {{origins: [localhost]}}}}", plain.0);
    running.change(&text(&format!("[{cors}, {secured}]"))).await;
    let answer = plain
        .1
        .get("/chat/x", &[("origin", "http://localhost:3000")])
        .await;
    assert!(
        answer.header("access-control-allow-origin").is_some(),
        "{answer:?}"
    );
    assert_eq!(running.stat(modified).await, 0);
    // It changes itself.
    let behind = format!("{{address: '{}', trusted_hops: 1}}", plain.0);
    let last = text(&format!("[{behind}, {secured}]"));
    let said = running.change(&last).await;
    assert!(
        said.contains(&format!("listeners: changed {}", plain.0)),
        "{said}"
    );
    assert_eq!(running.stat(modified).await, 1);
    assert_eq!(get(&plain.1).await, Some(200));

    // Where another process listens nobody else may, though Envoy would share it.
    let taken = std::net::TcpListener::bind(other.0).expect("bind");
    let more = |address: &str| text(&format!("[{plainly}, {secured}, {{address: '{address}'}}]"));
    let said = running.refuse(&more(&other.0.to_string())).await;
    let third = "gateway.yaml:1: listen[2].address: cannot listen on ";
    let told = format!("{third}{}: another process listens there", other.0);
    assert!(said.contains(&told), "{said}");
    drop(taken);
    // So it is told of an address that is not there, once and with what helps.
    let said = running.refuse(&more("192.0.2.1:8080")).await;
    let told = format!("{third}192.0.2.1:8080: this machine has no such address; take one");
    assert!(said.contains(&told), "{said}");
    assert_eq!(said.matches("192.0.2.1").count(), 1, "{said}");
    // What only the kernel knows to be wrong, Envoy refuses; all is as before, the new agent and route included.
    let elsewhere = format!("{}{}", more(&other.0.to_string()), refused("gateway-3"));
    let elsewhere = elsewhere.replace("  chat: ", "  more: {url: 'http://127.0.0.1:1'}\n  chat: ");
    let said = running.refuse(&elsewhere).await;
    let told = format!(
        "Envoy refuses the listeners: Error adding/updating listener(s) {}",
        other.0
    );
    assert!(said.contains(&told), "{said}");
    assert_eq!(get(&plain.1).await, Some(200));
    let clusters = running.admin("/clusters").await;
    assert!(!clusters.contains("more::"), "{clusters}");
    // What cannot be put back either is told, and tried again with the next change, even if the file says then what is live.
    let obstacle = running.directory().join("listeners.new");
    std::fs::create_dir(&obstacle).expect("a directory");
    running.replace(&elsewhere);
    let said = running.hears("this could not be put back: ").await;
    assert!(
        said.contains("listeners.json (File exists") && !said.contains("clusters"),
        "{said}"
    );
    let clusters = running.admin("/clusters").await;
    assert!(!clusters.contains("more::"), "{clusters}");
    std::fs::remove_dir(&obstacle).expect("remove");
    let said = running.change(&last).await;
    assert!(said.contains("again what it was before"), "{said}");
    assert_eq!(get(&plain.1).await, Some(200));
    running.change(&more(&other.0.to_string())).await;
    assert_eq!(get(&other.1).await, Some(200));

    // A certificate that comes after the file that names it: it is taken once it is there.
    let waits = secured
        .replace("gateway.", "late.")
        .replace(&secure.0.to_string(), &late.to_string());
    let waits = text(&format!("[{plainly}, {secured}, {waits}]"));
    let said = running.refuse(&waits).await;
    assert!(said.contains("late.pem is not there"), "{said}");
    for name in ["key", "pem"] {
        let from = tls.join(format!("gateway.{name}"));
        std::fs::copy(from, tls.join(format!("late.{name}"))).expect("copy");
    }
    let said = running.hears("; live in").await;
    assert!(said.contains(&late.to_string()), "{said}");
    let late = Caller::of(late).over(trusts(&second));
    assert_eq!(get(&late).await, Some(200));

    // For the operators' tools.
    let told = format!("{both}operations: '{operations}'\n");
    running.change(&told).await;
    let ready = Caller::of(operations).get("/ready", &[]).await;
    assert_eq!(ready.status, 200);
    assert_eq!(running.envoy(), envoy, "Envoy was started again");
}

/// Each is told once, with its place and what helps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_on_which_it_cannot_listen_are_told_of_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("gateway.yaml");
    let text = |listen: [&str; 2], operations: &str| {
        let [one, two] = listen;
        format!(
            "listen:\n  - {{address: '{one}'}}\n  - {{address: '{two}'}}\nagents:\n  a: {{url: 'http://127.0.0.1:1'}}\nroutes:\n  \
             - {{prefix: /a, agents: [a], auth_required: false}}\noperations: '{operations}'\n"
        )
    };
    let begin = |said: &str, begins: &[&str]| {
        // A busy machine takes its time, and it is said what for.
        let lines = said
            .lines()
            .filter(|line| !line.ends_with(": starting Envoy …"));
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.len(), begins.len(), "{said}");
        for (line, begins) in lines.into_iter().zip(begins) {
            let file = file.display();
            assert!(
                line.starts_with(&format!("waykeeper: {file}:{begins}")),
                "{said}"
            );
        }
    };

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = taken
        .local_addr()
        .map(|it| (taken, it))
        .expect("an address");
    let here = free_address();
    let busy = taken.1.to_string();
    std::fs::write(&file, text([&here.to_string(), &busy], "192.0.2.1:81")).expect("write");
    let said = Running::launch(directory.path(), &file, &[]).fails(1).await;
    begin(
        &said,
        &[
            &format!(
                "3: listen[1].address: cannot listen on {busy}: another process listens there"
            ),
            "8: operations: cannot listen on 192.0.2.1:81: this machine has no such address; take one",
        ],
    );

    // A machine of its own, on which nobody has the right to low ports.
    let mut command = tokio::process::Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--net", "setpriv"])
        .args([
            "--bounding-set=-net_bind_service",
            "--inh-caps=-net_bind_service",
        ])
        .arg(env!("CARGO_BIN_EXE_waykeeper"));
    let run = directory.path().join("run");
    Running::arguments(&mut command, &file, &run, &[]);
    std::fs::write(&file, text(["0.0.0.0:80", "0.0.0.0:8080"], "0.0.0.0:8081")).expect("write");
    let said = Running::spawn(command, &file, run).fails(1).await;
    let told = "2: listen[0].address: cannot listen on 0.0.0.0:80: Envoy may not; take a port from 1024 on, or";
    begin(&said, &[told]);
}
