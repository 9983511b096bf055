//! Envoy under callgrind, which counts every instruction outside the kernel: the same work comes to the same number within a
//! hundredth, whatever else the machine does.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::process::Process;

const DUMP: &str = "callgrind";

/// The command that runs `envoy` so; its arguments are to be added.
pub(super) fn command(envoy: &Path, directory: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command
        .arg("--tool=callgrind")
        // Envoy makes code while it runs.
        .arg("--smc-check=all-non-file")
        .arg(format!(
            "--callgrind-out-file={}",
            directory.join(DUMP).display()
        ))
        .arg(envoy);
    command
}

/// The instructions that a process takes for `work`.
pub(super) fn count(
    process: &Process,
    directory: &Path,
    work: impl FnOnce() -> Result<(), Error>,
) -> Result<u64, Error> {
    control("--zero", process)?;
    work()?;
    control("--dump", process)?;
    let dump = newest(directory);
    let text = std::fs::read(&dump).map_err(|error| Error::at(&dump, error))?;
    let text = String::from_utf8_lossy(&text);
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("summary: ")?.trim().parse().ok());
    total.ok_or_else(|| Error::new(format!("{} has no sum", dump.display())))
}

/// Each count is dumped to a file of its own, numbered from 1 on.
fn newest(directory: &Path) -> PathBuf {
    let dump = |number: u32| directory.join(format!("{DUMP}.{number}"));
    let dumps = (1..).map(dump).take_while(|dump| dump.exists());
    dumps.last().unwrap_or_else(|| dump(1))
}

fn control(what: &str, process: &Process) -> Result<(), Error> {
    let output = Command::new("callgrind_control")
        .arg(what)
        .arg(process.id().to_string())
        .output()
        .map_err(|error| Error::new(format!("cannot start callgrind_control: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("callgrind_control {what}: {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_counts_the_last_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        for number in 1..=11 {
            let dump = directory.path().join(format!("{DUMP}.{number}"));
            std::fs::write(&dump, "").expect("a dump");
            assert_eq!(newest(directory.path()), dump);
        }
    }
}
