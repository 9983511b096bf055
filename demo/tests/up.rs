//! `waykeeper-demo up` as a user runs it: it serves, it ends without a trace, and it says in one line why it cannot start.
//! Needs Envoy and the filter, as `make test` provides them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;
use waykeeper_demo::gateway::{Admin, AdminAddress};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn it_serves_until_it_is_told_to_end_and_leaves_nothing_behind() {
    let admin = free_port().await;
    let mut up = up(&["--admin", &admin]).spawn().expect("start");
    let mut lines = lines(&mut up);

    let serving = line_with(&mut lines, " serves: ").await;
    let access_log = line_with(&mut lines, "Access log").await;
    line_with(&mut lines, "Ctrl-C ends it all.").await;
    let address = serving
        .split_whitespace()
        .find_map(|word| word.strip_prefix("http://"));
    let address = address.expect("an address").to_owned();
    let run_directory = Path::new(access_log.split_whitespace().last().expect("a path"))
        .parent()
        .expect("a directory")
        .to_owned();
    let envoy = envoys_process(&admin).await;
    assert!(TcpStream::connect(&address).await.is_ok());
    assert!(run_directory.exists());
    assert!(is_running(envoy));

    terminate(&up);

    let status = timeout(PATIENCE, up.wait())
        .await
        .expect("it goes on")
        .expect("wait");
    assert!(status.success(), "{status}");
    assert!(TcpStream::connect(&address).await.is_err());
    assert!(!run_directory.exists());
    assert!(!is_running(envoy));
}

#[tokio::test]
async fn who_asks_how_it_is_used_waits_for_neither_filter_nor_envoy() {
    let plan = async |arguments: &[&str]| {
        let mut make = Command::new("make");
        make.current_dir(repository(""))
            // Of the make that runs the tests.
            .env_remove("MAKEFLAGS")
            .args(["--dry-run", "up"])
            .args(arguments);
        let output = make.output().await.expect("make");
        String::from_utf8(output.stdout).expect("text")
    };

    let usual = plan(&[]).await;
    let asked = plan(&["ARGS=--help"]).await;

    for needed in ["wasm32-wasip1", ".tools/envoy"] {
        assert!(usual.contains(needed), "{usual}");
        assert!(!asked.contains(needed), "{asked}");
    }
    // What differed would be built again by whoever then starts it.
    let built = "cargo build -p waykeeper-demo -p waykeeper-cli\n";
    assert!(asked.contains(built) && usual.contains(built), "{asked}");
}

#[tokio::test]
async fn a_changed_configuration_is_taken_and_a_bad_one_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("gateway.yaml");
    let text = std::fs::read_to_string(repository("envoy/gateway.yaml")).expect("read");
    std::fs::write(&file, &text).expect("write");
    let admin = free_port().await;
    let configuration = file.display().to_string();
    let mut up = up(&["--admin", &admin, "--configuration", &configuration])
        .spawn()
        .expect("start");
    let mut lines = lines(&mut up);
    let serving = line_with(&mut lines, " serves: ").await;
    line_with(&mut lines, "Ctrl-C ends it all.").await;

    std::fs::write(&file, text.replace("50/minute", "60/minute")).expect("write");
    line_with(&mut lines, "gateway.yaml: plans: changed ").await;
    assert!(limit(&serving).await.contains(r#""plan";q=60;w=60"#));

    std::fs::write(&file, text.replace("50/minute", "60/fortnight")).expect("write");
    line_with(&mut lines, "60/fortnight").await;
    line_with(&mut lines, "what runs goes on").await;
    assert!(limit(&serving).await.contains(r#""plan";q=60;w=60"#));

    terminate(&up);
    timeout(PATIENCE, up.wait())
        .await
        .expect("it goes on")
        .expect("wait");
}

#[tokio::test]
async fn a_file_with_a_mistake_does_not_start_it_and_is_told_with_its_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("gateway.yaml");
    let text = std::fs::read_to_string(repository("envoy/gateway.yaml")).expect("read");
    let line = 1 + text
        .lines()
        .position(|line| line.contains("premium: {requests"))
        .expect("a plan");
    std::fs::write(&file, text.replace("500/minute", "500/fortnight")).expect("write");
    let admin = free_port().await;
    let configuration = file.display().to_string();

    let output = timeout(
        PATIENCE,
        up(&["--admin", &admin, "--configuration", &configuration]).output(),
    );
    let output = output.await.expect("it goes on").expect("start");

    assert!(!output.status.success());
    let told = String::from_utf8(output.stdout).expect("text");
    assert!(
        told.contains(&format!("{configuration}:{line}: plans.premium")),
        "{told}"
    );
    let ended = String::from_utf8(output.stderr).expect("text");
    assert_eq!(
        ended,
        "waykeeper-demo: the gateway ended (exit status: 1)\n"
    );
}

#[tokio::test]
async fn killed_it_leaves_no_gateway_behind() {
    let admin = free_port().await;
    let mut up = up(&["--admin", &admin]).spawn().expect("start");
    let mut lines = lines(&mut up);
    line_with(&mut lines, "Ctrl-C ends it all.").await;
    let envoy = envoys_process(&admin).await;

    up.kill().await.expect("kill");

    let gone = async {
        while is_running(envoy) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("envoy goes on");
}

#[tokio::test]
async fn a_port_in_use_is_told_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = taken.local_addr().expect("an address").to_string();

    let (line, success) = failure(&["--listen", &address]).await;

    assert!(!success);
    assert!(
        line.contains(&address) && line.contains("--listen"),
        "{line}"
    );
}

#[tokio::test]
async fn what_is_missing_is_told_in_one_line() {
    for (option, remedy) in [
        ("--module", "make build"),
        ("--envoy", "make tools"),
        ("--tool", "cargo build --package waykeeper-cli"),
    ] {
        let (line, success) = failure(&[option, "/no/such/file"]).await;

        assert!(!success);
        assert!(
            line.contains("/no/such/file") && line.contains(remedy),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_validator_that_does_not_know_the_first_request_s_key_is_told_in_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let keys = directory.path().join("keys.json");
    let text = r#"{"keys": [{"api_key": "another-key", "client_id": "acme", "plan": "standard"}]}"#;
    std::fs::write(&keys, text).expect("write");

    let (line, success) = failure(&["--keys", &keys.display().to_string()]).await;

    assert!(!success);
    for told in ["/v1/chat/completions", "demo-admin", "validator", "401"] {
        assert!(line.contains(told), "{line}");
    }
}

/// The command, in the repository, on ports that do not clash with another stack's.
fn up(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waykeeper-demo"));
    command
        .current_dir(repository("."))
        .args(["up", "--operations", "127.0.0.1:0"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command
}

/// What it says when it cannot start, which must be one line, and whether it claims success.
async fn failure(arguments: &[&str]) -> (String, bool) {
    let admin = free_port().await;
    let output = timeout(PATIENCE, up(arguments).args(["--admin", &admin]).output());
    let output = output.await.expect("it goes on").expect("start");
    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!(told.trim_end().lines().count(), 1, "{told}");
    (told, output.status.success())
}

fn lines(up: &mut Child) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(up.stdout.take().expect("standard output")).lines()
}

/// The next line that contains `text`.
async fn line_with(lines: &mut Lines<BufReader<ChildStdout>>, text: &str) -> String {
    let search = async {
        while let Some(line) = lines.next_line().await.expect("read") {
            if line.contains(text) {
                return line;
            }
        }
        panic!("it ended before it said {text:?}");
    };
    timeout(PATIENCE, search)
        .await
        .unwrap_or_else(|_| panic!("it does not say {text:?}"))
}

/// What the gateway that said where it serves tells of its limits.
async fn limit(serving: &str) -> String {
    let gateway = serving
        .split_whitespace()
        .find(|word| word.starts_with("http://"));
    let response = reqwest::Client::new()
        .get(format!(
            "{}/api/v1/memory/notes",
            gateway.expect("an address")
        ))
        .header("x-api-key", "demo-standard")
        .send()
        .await
        .expect("a response");
    let policy = response.headers().get("ratelimit-policy");
    let policy = policy.expect("its limits").to_str().expect("text");
    policy.to_owned()
}

/// A port that was free a moment ago.
async fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    listener.local_addr().expect("an address").to_string()
}

/// Envoy's process id, found by the bootstrap that it says it was started with.
async fn envoys_process(admin: &str) -> u32 {
    let address = admin.parse().expect("an address");
    let admin = Admin::at(AdminAddress::Tcp(address));
    let info = admin
        .get("/server_info")
        .await
        .expect("the admin interface");
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    let path = info["command_line_options"]["config_path"]
        .as_str()
        .expect("a path")
        .to_owned();
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .find(|id| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&path)
        })
        .expect("envoy's process")
}

fn is_running(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

fn terminate(process: &Child) {
    let id = process.id().and_then(|id| i32::try_from(id).ok());
    let id = id
        .and_then(rustix::process::Pid::from_raw)
        .expect("it runs");
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("a signal");
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
