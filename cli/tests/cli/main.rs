//! The tool as its users meet it: the real binary, its output and its exit status.

mod check;
mod explain;
mod gateway;
mod hash_key;
mod init;
mod istio;
mod limits;
mod place;
mod probe;
mod proof;
mod schema;
mod secrets;
mod server;
mod version;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What the tool did.
struct Run {
    status: i32,
    output: String,
    errors: String,
}

/// Runs the tool with these arguments and this standard input.
fn waykeeper(arguments: &[&str], input: &[u8]) -> Run {
    waykeeper_in(&[], arguments, input)
}

/// The same in an environment.
fn waykeeper_in(environment: &[(&str, &str)], arguments: &[&str], input: &[u8]) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_waykeeper"))
        .envs(environment.iter().copied())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The tool may end before it has read everything; that is not for this end to judge.
    let _ = child.stdin.take().unwrap().write_all(input);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    Run {
        status: status.code().unwrap(),
        output: String::from_utf8(stdout).unwrap(),
        errors: String::from_utf8(stderr).unwrap(),
    }
}

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join(path)
}
