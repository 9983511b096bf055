//! `waykeeper run` on a full disk: what runs goes on, and what there is no room for comes once there is.

use std::path::Path;

use tokio::process::Command;

use crate::caller::Caller;
use crate::gateway::{agent, free_address};
use crate::running::{Running, at, gateway};

/// So much room there is at first.
const ROOM: usize = 2 << 20;

/// Takes all room but so much.
fn fill(directory: &Path, but: usize) {
    let file = directory.join("filler");
    let _ = std::fs::remove_file(&file);
    let state = rustix::fs::statvfs(directory).expect("the file system");
    let free = usize::try_from(state.f_bavail * state.f_frsize).expect("a number");
    std::fs::write(&file, vec![b' '; free.checked_sub(but).expect("room")]).expect("write");
}

fn empty(directory: &Path) {
    std::fs::remove_file(directory.join("filler")).expect("remove");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_keeps_what_runs_as_it_is_until_there_is_room() {
    let home = tempfile::tempdir().expect("a directory");
    let agent = agent("one").await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let one = ("one", at(agent.address()));
    let text = gateway(listen, std::slice::from_ref(&one), "");
    let file = home.path().join("gateway.yaml");
    std::fs::write(&file, &text).expect("write");
    let run = home.path().join("run");
    std::fs::create_dir(&run).expect("a directory");
    // A small disk, which needs no right that a user has not got.
    let mut command = Command::new("unshare");
    let mount = format!("mount -t tmpfs -o size={ROOM} tmpfs \"$0\" && exec \"$@\"");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount])
        .arg(&run)
        .arg(env!("CARGO_BIN_EXE_waykeeper"));
    Running::arguments(&mut command, &file, &run, &[]);
    let mut running = Running::spawn(command, &file, run).in_its_mounts();
    running.hears("is served at").await;
    let disk = running.directory().to_owned();

    // No room for what Envoy is asked about.
    fill(&disk, 4096);
    let two = gateway(listen, &[one.clone(), ("two", at(agent.address()))], "");
    running.replace(&two);
    let said = running.hears("whole.json cannot be written: ").await;
    assert!(
        said.contains("No space left on device")
            && said.contains("what runs goes on, and the file is read again once there is room"),
        "{said}"
    );
    assert_eq!(caller.get("/one/x", &[]).await.agent(), "one");
    assert_eq!(caller.get("/two/x", &[]).await.status, 404);
    empty(&disk);
    running
        .hears("agents: added two; routes: 1 added; live in")
        .await;
    assert_eq!(caller.get("/two/x", &[]).await.status, 200);

    // Enough for that and for the agents, and then no more in the middle of the filter's configuration.
    let keys = (0..4000).map(|key| format!("{{sha256: '{key:064x}', client_id: c{key}}}"));
    let keys: Vec<String> = keys.collect();
    let more = format!("clients: {{keys: [{}]}}", keys.join(", "));
    let three = gateway(listen, &[one, ("three", at(agent.address()))], &more);
    fill(&disk, 200 << 10);
    running.replace(&three);
    let said = running.hears("filter.json cannot be written: ").await;
    assert!(said.contains("No space left on device"), "{said}");
    running
        .hears("all is again as it was before; what runs goes on. The change is tried again every few seconds")
        .await;
    for (path, status) in [("/one/x", 200), ("/two/x", 200), ("/three/x", 404)] {
        assert_eq!(caller.get(path, &[]).await.status, status, "{path}");
    }
    empty(&disk);
    let said = running.hears("; live in").await;
    assert!(said.contains("agents: added three, removed two"), "{said}");
    assert_eq!(caller.get("/three/x", &[]).await.status, 200);
    assert_eq!(caller.get("/two/x", &[]).await.status, 404);
    let all = running.said_in_all();
    for told in ["filter.json cannot", "whole.json cannot", "again as it was"] {
        assert_eq!(all.matches(told).count(), 1, "{told}: {all}");
    }
}
