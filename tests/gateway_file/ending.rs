//! How `waykeeper run` starts and ends: told to, in two ways; killed; left by its Envoy; or not at all.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::caller::Caller;
use crate::certificates::Authority;
use crate::gateway::{agent, free_address};
use crate::running::{Running, at, gateway, lives, signal_to};
use crate::{eventually, needed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_end_it_lets_requests_finish_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = agent("slow").await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let text = gateway(listen, &[("slow", at(agent.address()))], "");
    let mut running = Running::start(directory.path(), &text, &["--drain-time", "1s"]).await;
    let socket = running.directory().join("admin.sock");
    let mode = |path: &std::path::Path| {
        let found = std::fs::metadata(path).expect("metadata");
        std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777
    };
    assert_eq!((mode(&socket), mode(running.directory())), (0o600, 0o700));
    let envoy = running.envoy();

    let under_way = tokio::spawn({
        let caller = caller.clone();
        async move { caller.get("/slow/x", &[("x-demo-delay", "6s")]).await }
    });
    let name = "http.gateway.downstream_rq_active";
    eventually("a request", async || {
        (running.stat(name).await == 1).then_some(())
    })
    .await;
    running.signal(Signal::TERM);
    running.hears("ending").await;
    eventually("failing health checks", async || {
        let answer = caller.send("GET", "/healthz", &[]).await;
        answer
            .is_ok_and(|answer| answer.status == 503)
            .then_some(())
    })
    .await;

    assert_eq!(under_way.await.expect("an answer").agent(), "slow");
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.said());
    assert!(!lives(envoy));
    assert!(!running.directory().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_it_at_once_and_a_kill_leaves_no_envoy() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = agent("slow").await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let text = gateway(listen, &[("slow", at(agent.address()))], "");
    let mut running = Running::start(directory.path(), &text, &["--drain-time", "60s"]).await;
    let envoy = running.envoy();
    let began = Instant::now();
    running.signal(Signal::TERM);
    running.hears("ending").await;
    running.signal(Signal::TERM);
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.said());
    assert!(
        began.elapsed() < Duration::from_secs(50),
        "it waited all the same"
    );
    assert!(!lives(envoy));

    // Killed: the kernel ends Envoy, and the directory can be used again.
    let mut running = Running::start(directory.path(), &text, &[]).await;
    let envoy = running.envoy();
    let second = Running::launch(directory.path(), &running.file, &[])
        .fails(2)
        .await;
    assert!(
        second.contains("is in use by another `waykeeper run`"),
        "{second}"
    );
    running.signal(Signal::KILL);
    running.ended().await;
    eventually("Envoy's end", async || (!lives(envoy)).then_some(())).await;

    // Envoy ends by itself: whoever looks after this one is told, by its status too.
    let mut running = Running::start(directory.path(), &text, &[]).await;
    assert_eq!(caller.get("/slow/x", &[]).await.agent(), "slow");
    signal_to(running.envoy(), Signal::KILL);
    assert_eq!(running.ended().await.code(), Some(3));
    running.hears("Envoy ended by itself (signal: 9").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_it_is_installed_it_needs_a_file_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let at_home = |path: &str| directory.path().join(path);
    for made in ["bin", "lib/waykeeper", "runtime"] {
        std::fs::create_dir_all(at_home(made)).expect("a directory");
    }
    let tool = at_home("bin/waykeeper");
    std::fs::copy(env!("CARGO_BIN_EXE_waykeeper"), &tool).expect("copy");
    let module = needed("target/waykeeper.wasm", "make build");
    std::fs::copy(module, at_home("lib/waykeeper/waykeeper.wasm")).expect("copy");
    let envoy = needed(".tools/envoy", "make tools");
    std::os::unix::fs::symlink(envoy, at_home("lib/waykeeper/envoy")).expect("a link");
    let agent = agent("own").await;
    let listen = free_address();
    let file = at_home("gateway.yaml");
    let text = gateway(listen, &[("own", at(agent.address()))], "");
    std::fs::write(&file, text).expect("write");

    let mut command = tokio::process::Command::new(tool);
    command
        .arg("run")
        .arg(&file)
        .env("PATH", "/nowhere")
        .env("XDG_RUNTIME_DIR", at_home("runtime"));
    let mut running = Running::spawn(command, &file, at_home("runtime"));
    let said = running.hears("is served at").await;
    assert!(said.contains("runtime/waykeeper-run-"), "{said}");
    let answer = Caller::of(listen).get("/own/x", &[]).await;
    assert_eq!(answer.agent(), "own");
    // Somebody at a terminal waits for no drain.
    running.signal(Signal::INT);
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.said());
    let left = std::fs::read_dir(at_home("runtime"))
        .expect("a directory")
        .count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn what_it_cannot_run_it_says_and_nothing_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let listen = free_address();
    let file = directory.path().join("gateway.yaml");
    let text = gateway(
        listen,
        &[("a", "{url: 'http://127.0.0.1:1'}".to_owned())],
        "",
    );
    std::fs::write(&file, &text).expect("write");
    let run = |arguments: &[&str], status| {
        Running::launch(directory.path(), &file, arguments).fails(status)
    };

    let said = run(&["--envoy", "/no/envoy"], 2).await;
    assert!(
        said.contains("cannot start Envoy, /no/envoy: No such file"),
        "{said}"
    );
    let said = run(&["--envoy", "no-such-envoy"], 2).await;
    assert!(
        said.contains("--envoy no-such-envoy: is not in PATH"),
        "{said}"
    );
    let said = run(&["--envoy", "/bin/true"], 2).await;
    assert!(said.contains("names no version; is it Envoy?"), "{said}");

    let taken = std::net::TcpListener::bind(listen).expect("bind");
    let said = run(&[], 1).await;
    assert!(
        said.contains(&format!(
            "cannot listen on {listen}: another process listens there"
        )),
        "{said}"
    );
    drop(taken);

    // Right to its reader, and wrong to Envoy.
    let tls = "tls: {certificate: /no/certificate.pem, key: /no/key.pem}";
    let secure = text.replace("'}]", &format!("', {tls}}}]"));
    assert_ne!(secure, text);
    std::fs::write(&file, secure).expect("write");
    let said = run(&[], 1).await;
    for (field, file) in [
        ("certificate", "/no/certificate.pem"),
        ("key", "/no/key.pem"),
    ] {
        let told = format!("listen[0].tls.{field}: {file} is not there");
        assert!(said.contains(&told), "{said}");
        assert_eq!(said.matches(file).count(), 1, "{said}");
    }
    // One that does not fit is told once, and not in OpenSSL's words.
    let known = Authority::new(directory.path(), "ca").sign("own");
    let unfit = Authority::new(directory.path(), "other").sign("other");
    let (certificate, key) = (known.certificate.display(), unfit.key.display());
    let tls = format!("', tls: {{certificate: {certificate}, key: {key}}}}}]");
    std::fs::write(&file, text.replace("'}]", &tls)).expect("write");
    let said = run(&[], 1).await;
    assert!(said.contains("is not the key of"), "{said}");
    assert!(!said.contains("MISMATCH"), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    // A pipe that nobody writes keeps nobody waiting.
    let pipe = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let waiting = format!("', tls: {{certificate: {0}, key: {0}}}}}]", pipe.display());
    std::fs::write(&file, text.replace("'}]", &waiting)).expect("write");
    let said = run(&[], 1).await;
    assert!(said.contains("pipe is no file, but a pipe"), "{said}");
    std::fs::remove_file(&file).expect("remove");
    std::fs::rename(&pipe, &file).expect("rename");
    let said = run(&[], 2).await;
    assert!(
        said.contains("gateway.yaml is no file, but a pipe"),
        "{said}"
    );
    std::fs::remove_file(&file).expect("remove");
    std::fs::write(&file, "listen: []").expect("write");
    let said = run(&[], 1).await;
    assert!(said.contains("gateway.yaml:1: listen: "), "{said}");
    std::fs::remove_file(&file).expect("remove");
    let said = run(&[], 2).await;
    assert!(said.contains("gateway.yaml is not there"), "{said}");
    assert!(!directory.path().join("run").exists());
}
