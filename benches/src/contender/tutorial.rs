//! The gateway that tutorials show, in one process of its own.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Gateway, LISTED_CLIENTS, Site, Target, log_path, read_log, run_directory};
use crate::Error;
use crate::process::Process;

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// What uvicorn writes before its address.
const RUNNING: &str = "Uvicorn running on http://";

pub(super) fn start(site: &Site<'_>) -> Result<Gateway, Error> {
    let Target::Agent(agent) = site.target else {
        return Err(Error::new(
            "the tutorial's gateway needs an agent to pass requests on to",
        ));
    };
    let (requests, _) = site.limit.quantity();
    let directory = run_directory()?;
    let log = log_path(directory.path());
    let log = File::create(&log).map_err(|error| Error::at(&log, error))?;
    let mut command = Command::new("python3");
    command
        .args([
            "-m",
            "uvicorn",
            "gateway:app",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
        ])
        .args(["--no-access-log", "--no-use-colors"])
        .current_dir(site.tools.at("benches/contenders"))
        .env("PYTHONPATH", site.tools.tutorial()?)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("AGENT", format!("http://{agent}"))
        .env("LIMIT", requests.to_string())
        .env("CLIENTS", LISTED_CLIENTS.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let mut process = Process::start(&mut command, site.on, site.cores)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = read_log(directory.path());
        if let Some(address) = address(&log) {
            return Ok(Gateway {
                process,
                address,
                directory,
            });
        }
        if process.ended().is_some() || Instant::now() >= deadline {
            return Err(Error::new(format!(
                "the tutorial's gateway does not serve:\n{log}"
            )));
        }
        std::thread::sleep(POLL);
    }
}

fn address(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once(RUNNING)?;
    rest.split_whitespace().next()?.parse().ok()
}
