//! The first minutes of somebody new: install, `waykeeper init`, `waykeeper run`, and OpenAI's client with nothing but what was
//! printed.

use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::caller::Caller;
use crate::gateway::{agent, free_address};
use crate::running::signal_to;
use crate::{PATIENCE, needed};

/// Takes address and key from the environment.
const CLIENT: &str = r#"
import openai
client = openai.OpenAI(max_retries=0)
question = [{"role": "user", "content": "Hello there"}]
print(client.chat.completions.create(model="any", messages=question).choices[0].message.content)
pieces = client.chat.completions.create(model="any", messages=question, stream=True)
print("".join(piece.choices[0].delta.content or "" for piece in pieces))
print(client.responses.create(model="any", input="Hello there").output_text)
print([model.id for model in client.models.list()])
"#;

#[tokio::test]
async fn an_empty_directory_becomes_a_gateway_in_two_commands() {
    let home = tempfile::tempdir().expect("a directory");
    let prefix = home.path().join("of mine");
    let own = home.path().join("own");
    std::fs::create_dir(&own).expect("a directory");
    let installed = make("install-files", &prefix).await;
    assert!(installed.contains("is not on your PATH"), "{installed}");
    let tool = prefix.join("bin/waykeeper");

    let init = command(&tool, &own).arg("init").output().await;
    let printed = text(init.expect("the tool"));
    let exported = printed
        .lines()
        .find_map(|line| line.trim().strip_prefix("export "))
        .expect("what clients need");
    let (base, key) = exported.split_once(' ').expect("two");
    // What it listens on is for the whole machine, which tests share.
    let [address, operations] = [(); 2].map(|()| free_address().to_string());
    let file = own.join("gateway.yaml");
    let written = std::fs::read_to_string(&file).expect("gateway.yaml");
    let moved = written
        .replace("127.0.0.1:8080 ", &format!("{address} "))
        .replace("127.0.0.1:9902", &operations);
    std::fs::write(&file, moved).expect("write");
    let base = base.replace("127.0.0.1:8080", &address);
    let mut gateway = Gateway::run(&tool, &own).await;

    let answered = command(Path::new("python3"), &own)
        .args(["-c", CLIENT])
        .env("PYTHONPATH", needed(".tools/openai", "make test-tools"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs([&base, key].map(|variable| variable.split_once('=').expect("a variable")))
        .output();
    let answered = text(answered.await.expect("python3"));

    let said = "This is echo You said: Hello there\n".repeat(3);
    assert_eq!(answered, format!("{said}['echo']\n"));

    // The line to change for a service of one's own.
    let service = agent("a service of mine").await;
    let written = std::fs::read_to_string(&file).expect("gateway.yaml");
    let own_service = format!("{{url: \"http://{}\"}}", service.address());
    assert!(written.contains("echo: {builtin: echo}"), "{written}");
    let written = written.replace("{builtin: echo}", &own_service);
    std::fs::write(&file, written).expect("write");
    gateway.hears("; live in").await;
    let key = key.split_once('=').expect("a variable").1;
    let bearer = format!("Bearer {key}");
    let caller = Caller::of(address.parse().expect("an address"));
    let answer = caller
        .get("/v1/anything", &[("authorization", &bearer)])
        .await;
    assert_eq!(answer.agent(), "a service of mine");

    gateway.end().await;
    let left = std::fs::read_dir(&own).expect("the directory");
    assert_eq!(left.count(), 1, "only the file is left");
    make("uninstall", &prefix).await;
    assert!(!prefix.join("lib/waykeeper").exists());
    assert!(!tool.exists());
}

/// A running `waykeeper run`, and what it says.
struct Gateway(Child, Lines<BufReader<ChildStderr>>);

impl Gateway {
    /// Runs gateway.yaml, and waits until it is served.
    async fn run(tool: &Path, directory: &Path) -> Self {
        let mut child = command(tool, directory)
            .args(["run", "gateway.yaml"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the tool");
        let lines = BufReader::new(child.stderr.take().expect("standard error")).lines();
        let mut gateway = Self(child, lines);
        gateway.hears("is served at").await;
        gateway
    }

    /// Waits until it says something.
    async fn hears(&mut self, what: &str) {
        let mut said = String::new();
        let heard = async {
            while let Ok(Some(line)) = self.1.next_line().await {
                said.push_str(&line);
                said.push('\n');
                if line.contains(what) {
                    return true;
                }
            }
            false
        };
        let heard = timeout(PATIENCE, heard).await;
        assert_eq!(heard, Ok(true), "{said}");
    }

    /// Ctrl-C.
    async fn end(&mut self) {
        let id = self.0.id().expect("a running process");
        signal_to(id.try_into().expect("an id"), Signal::INT);
        let ended = timeout(PATIENCE, self.0.wait()).await.expect("an end");
        assert!(ended.expect("the tool").success());
    }
}

/// Has the repository's Makefile do something with this prefix, and takes what it says.
async fn make(target: &str, prefix: &Path) -> String {
    let repository = needed("Makefile", "git checkout");
    needed("target/waykeeper.wasm", "make build");
    needed(".tools/envoy", "make tools");
    let made = command(Path::new("make"), repository.parent().expect("a directory"))
        // Of the make that runs the tests.
        .env_remove("MAKEFLAGS")
        .args(["--silent", target])
        .arg(format!("TOOL={}", env!("CARGO_BIN_EXE_waykeeper")))
        .arg(format!("PREFIX={}", prefix.display()))
        .output();
    text(made.await.expect("make"))
}

/// A command of somebody who has no Envoy but this.
fn command(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).env("PATH", "/usr/bin:/bin");
    command.kill_on_drop(true);
    command
}

fn text(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}
