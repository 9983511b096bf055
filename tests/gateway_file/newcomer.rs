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
use crate::{PATIENCE, eventually, needed};

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
    let printed = text_of(init.expect("the tool"));
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
    let answered = text_of(answered.await.expect("python3"));

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

/// Envoy without `run`: what `waykeeper envoy` prints is typed as it stands there, by somebody who has no `envoy` in PATH.
#[tokio::test]
async fn what_waykeeper_envoy_prints_starts_the_envoy_and_the_filter_that_were_installed() {
    let home = tempfile::tempdir().expect("a directory");
    let prefix = home.path().join("of mine");
    let own = home.path().join("own");
    std::fs::create_dir(&own).expect("a directory");
    make("install-files", &prefix).await;
    let tool = prefix.join("bin/waykeeper");
    let service = agent("a service of mine").await;
    let listen = free_address();
    let text = crate::running::gateway(
        listen,
        &[("mine", crate::running::at(service.address()))],
        "",
    );
    std::fs::write(own.join("gateway.yaml"), text).expect("write");
    let write = async || {
        let mut written = command(&tool, &own);
        let output = written
            .args(["envoy", "gateway.yaml", "--out", "envoy"])
            .output();
        output.await.expect("the tool")
    };

    let written = write().await;
    assert_eq!(String::from_utf8_lossy(&written.stderr), "");
    let printed = text_of(written);
    let module = prefix.join("lib/waykeeper/waykeeper.wasm");
    let module = module.canonicalize().expect("the module");
    let names = format!(
        "The filter is {}; --module names another one.\n",
        module.display()
    );
    assert!(printed.contains(&names), "{printed}");
    let line = printed.lines().last().expect("a command");
    let envoy = prefix.join("lib/waykeeper/envoy");
    let envoy = envoy.canonicalize().expect("Envoy");
    let begin = format!("  '{}' --config-path ", envoy.display());
    assert!(line.starts_with(&begin), "{printed}");
    // Every gateway on this machine would want this port.
    let file = own.join("envoy/envoy.yaml");
    let bootstrap = std::fs::read_to_string(&file).expect("envoy.yaml");
    let moved = format!("port_value: {}}}", free_address().port());
    assert!(bootstrap.contains("port_value: 9901}"), "{bootstrap}");
    std::fs::write(&file, bootstrap.replace("port_value: 9901}", &moved)).expect("write");

    // From anywhere.
    let typed = command(Path::new("sh"), home.path())
        .args(["-c", &format!("exec {}", line.trim())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut typed = typed.expect("a shell");
    let caller = Caller::of(listen);
    let answered = eventually("an answer", || {
        let ended = typed.try_wait().expect("Envoy");
        assert!(ended.is_none(), "{line}: {ended:?}");
        let caller = caller.clone();
        async move { caller.send("GET", "/mine/x", &[]).await.ok() }
    });
    assert_eq!(answered.await.agent(), "a service of mine");
    typed.kill().await.expect("an end");

    // Once they are gone it says so, whatever stands in the files by then.
    std::fs::remove_file(&module).expect("remove");
    std::fs::remove_file(&envoy).expect("remove");
    let written = write().await;
    let warned = String::from_utf8_lossy(&written.stderr).into_owned();
    let printed = text_of(written);
    let there = Path::new("/etc/waykeeper/waykeeper.wasm").exists();
    let absent = "warning: the filter is to be /etc/waykeeper/waykeeper.wasm, which is not there, and without it Envoy does not start; \
                  say with --module where it will be\n";
    assert!(there || warned.starts_with(absent), "{warned}");
    assert!(
        warned.contains("warning: no Envoy: there is no `envoy` in PATH"),
        "{warned}"
    );
    let line = printed.lines().last().expect("a command");
    assert!(line.starts_with("  envoy --config-path "), "{printed}");
    let named = command(&tool, &own)
        .args([
            "envoy",
            "gateway.yaml",
            "--out",
            "envoy",
            "--module",
            "my.wasm",
        ])
        .output();
    let named = named.await.expect("the tool");
    let warned = String::from_utf8_lossy(&named.stderr).into_owned();
    let absent = format!(
        "warning: the filter is to be {}/my.wasm, which is not there",
        own.display()
    );
    assert!(warned.contains(&absent), "{warned}");
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
    text_of(made.await.expect("make"))
}

/// A command of somebody who has no Envoy but this.
fn command(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).env("PATH", "/usr/bin:/bin");
    command.kill_on_drop(true);
    command
}

fn text_of(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}
