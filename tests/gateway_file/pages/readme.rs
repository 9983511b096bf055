//! The transcripts of the README and of docs/demo.md, and the problem that docs/refusals.md shows.

use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Places, Typed, answered, blocks, typed};
use crate::gateway::free_address;
use crate::running::{Running, signal_to};
use crate::shared::repository;
use crate::{PATIENCE, needed};

/// What is typed in a section of a page, in its order.
fn typed_in(page: &str, heading: &str) -> Vec<Typed> {
    let section = section(page, heading);
    let consoles = blocks(&section, "console");
    consoles.iter().flat_map(|block| typed(block)).collect()
}

fn section(page: &str, heading: &str) -> String {
    let text = std::fs::read_to_string(repository(page)).expect("the page");
    let mut sections = text.split("\n## ");
    let named = sections.find(|section| section.lines().next() == Some(heading));
    named.expect(heading).to_owned()
}

#[tokio::test]
async fn the_readme_s_first_steps_are_as_it_shows_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let own = directory.path();
    let init = Command::new(env!("CARGO_BIN_EXE_waykeeper"))
        .arg("init")
        .current_dir(own)
        .output();
    let printed = String::from_utf8(init.await.expect("the tool").stdout).expect("text");
    let key = printed.split("OPENAI_API_KEY=").nth(1).expect("a key");
    let key = key.split_whitespace().next().expect("a key");
    let [address, operations] = [(); 2].map(|()| free_address().to_string());
    let written = std::fs::read_to_string(own.join("gateway.yaml")).expect("gateway.yaml");
    let mut places = Places(Vec::new());
    places.put("127.0.0.1:8080", &address);
    places.put("127.0.0.1:9902", &operations);
    let _gateway = Running::start(own, &places.here(&written), &[]).await;
    places.put("wk-2b7d…", key);

    let mut faults = Vec::new();
    let steps = typed_in("README.md", "Begin");
    for step in &steps {
        let said = answered(step, &places, own).await;
        faults.extend(step.differs("Begin", &said));
        if step.command.starts_with("export ") {
            let shown = places.there(&printed);
            assert!(shown.contains(&step.command), "{shown}");
        }
    }

    assert_eq!(steps.len(), 2);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn the_demo_is_as_its_page_shows_it() {
    let [gateway, operations, admin] = [(); 3].map(|()| free_address().to_string());
    let mut places = Places(Vec::new());
    places.put("127.0.0.1:8080", &gateway);
    places.put("127.0.0.1:9902", &operations);
    places.put("127.0.0.1:9901", &admin);
    let mut demo = demo(&gateway, &operations, &admin);
    let guide = until_told(&mut demo, "Ctrl-C ends it all.").await;

    let heading = "What to try";
    let steps = typed_in("docs/demo.md", heading);
    let mut faults = Vec::new();
    for step in &steps {
        let said = match step.command.as_str() {
            "make up" => places.there(&guide),
            _ => answered(step, &places, Path::new("/")).await,
        };
        faults.extend(step.differs(heading, &said));
    }
    // The last of them has used up the limit, but for what comes back meanwhile.
    let problem = Typed {
        command: "for i in $(seq 99); do curl -s http://127.0.0.1:8080/api/v1/memory/notes \
            -H 'x-api-key: demo-standard' | grep rate_limited && break; done"
            .to_owned(),
        output: shown_problem(),
    };
    let said = answered(&problem, &places, Path::new("/")).await;
    faults.extend(problem.differs("docs/refusals.md", &said));

    let process = demo.id().and_then(|id| i32::try_from(id).ok());
    signal_to(process.expect("the demo"), Signal::TERM);
    let ended = timeout(PATIENCE, demo.wait()).await;
    ended.expect("the demo ends").expect("the demo");
    assert_eq!(steps.len(), 5);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The one document of the page, on one line as it goes over the wire.
fn shown_problem() -> String {
    let shown = blocks(&section("docs/refusals.md", "What the caller gets"), "json");
    let [shown] = shown.as_slice() else {
        panic!("{shown:?}");
    };
    let lines: String = shown.lines().map(str::trim).collect();
    // How long it takes depends on when it is asked.
    let lines = lines.replace("Try again in 1 second.", "Try again in … second….");
    lines.replace("\": ", "\":")
}

#[tokio::test]
async fn the_mistakes_in_the_demo_are_told_as_its_page_shows_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let own = directory.path();
    std::fs::create_dir(own.join("envoy")).expect("a directory");
    let text = std::fs::read_to_string(repository("envoy/gateway.yaml")).expect("the demo's");
    let route = text
        .lines()
        .find(|line| line.contains("prefix: /api/v1/search,"))
        .expect("the route");
    let mistaken = route
        .replace("[rag]", "[ragg]")
        .replace("timeout: 15s", "timeout: 15");
    std::fs::write(
        own.join("envoy/gateway.yaml"),
        text.replace(route, &mistaken),
    )
    .expect("write");
    let steps = typed_in("docs/demo.md", "Its file");
    let [step] = steps.as_slice() else {
        panic!("one command");
    };

    let said = answered(step, &Places(Vec::new()), own).await;

    let differs = step.differs("Its file", &said);
    assert!(differs.is_none(), "{}", differs.unwrap_or_default());
}

// --------------------------------------------------------------------------------------------------------------- the demo

/// What `make up` starts, which lies beside the tool.
fn demo(gateway: &str, operations: &str, admin: &str) -> Child {
    let tool = Path::new(env!("CARGO_BIN_EXE_waykeeper"));
    let program = tool.with_file_name("waykeeper-demo");
    let program = needed(
        &program.display().to_string(),
        "cargo build -p waykeeper-demo",
    );
    needed(".tools/envoy", "make tools");
    needed("target/waykeeper.wasm", "make build");
    Command::new(program)
        .args(["up", "--listen", gateway, "--operations", operations])
        .args(["--admin", admin])
        .current_dir(repository(""))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the demo")
}

/// All that it says up to a line with that in it.
async fn until_told(demo: &mut Child, text: &str) -> String {
    let output = demo.stdout.take().expect("standard output");
    let mut lines = BufReader::new(output).lines();
    let mut told = String::new();
    let all = async {
        while let Some(line) = lines.next_line().await.expect("text") {
            told += &line;
            told.push('\n');
            if line.contains(text) {
                return;
            }
        }
    };
    let ended = timeout(PATIENCE, all).await;
    assert!(ended.is_ok() && told.contains(text), "{told}");
    told
}
