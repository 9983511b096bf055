//! Load by `h2load`: so many requests, one after the other on each of its keep-alive connections, as fast as they are
//! answered. What it reports, and the time of each request from its log.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::statistics::percentile;

/// A load: what is asked, and how often.
#[derive(Clone, Debug)]
pub struct Load {
    /// Keep-alive connections.
    pub connections: u32,
    /// Requests over all connections.
    pub requests: u32,
    /// Paths that each connection asks for in turn.
    pub paths: Vec<String>,
    /// Headers beside those that the program sends itself.
    pub headers: Vec<(String, String)>,
    /// A file that is sent as the body; then the requests are POST.
    pub body: Option<PathBuf>,
}

/// What came of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Requests per second.
    pub throughput: f64,
    /// Half of the requests took no longer, in microseconds.
    pub p50: f64,
    /// All but one in a hundred took no longer, in microseconds.
    pub p99: f64,
}

impl Load {
    /// Puts the load on `address`. Files are kept in `directory` meanwhile.
    ///
    /// # Errors
    /// If the program is missing, or a request was not answered by 2xx: what refuses its work is not measured.
    pub fn run(&self, address: SocketAddr, directory: &Path) -> Result<Outcome, Error> {
        let (log, list) = (directory.join("h2load.log"), directory.join("h2load.paths"));
        let paths: String = self
            .paths
            .iter()
            .map(|path| format!("http://{address}{path}\n"))
            .collect();
        std::fs::write(&list, paths).map_err(|error| Error::at(&list, error))?;
        // It appends to a log that is there.
        if log.exists() {
            std::fs::remove_file(&log).map_err(|error| Error::at(&log, error))?;
        }
        let mut command = Command::new("h2load");
        command
            .args(["--h1", "--threads=1"])
            .arg(format!("--clients={}", self.connections))
            .arg(format!("--requests={}", self.requests))
            .arg(format!("--log-file={}", log.display()))
            .arg(format!("--input-file={}", list.display()));
        for (name, value) in &self.headers {
            command.arg(format!("--header={name}: {value}"));
        }
        if let Some(body) = &self.body {
            command.arg(format!("--data={}", body.display()));
        }
        let output = command.output().map_err(|error| {
            Error::new(format!(
                "cannot start h2load: {error}; apt-get install nghttp2-client"
            ))
        })?;
        let report = String::from_utf8_lossy(&output.stdout);
        let log = std::fs::read_to_string(&log).map_err(|error| Error::at(&log, error))?;
        self.outcome(&report, &log)
    }

    fn outcome(&self, report: &str, log: &str) -> Result<Outcome, Error> {
        let odd = || {
            Error::new(format!(
                "h2load reports what cannot be understood:\n{report}"
            ))
        };
        let counts = report
            .lines()
            .find_map(|line| line.strip_prefix("status codes: "))
            .ok_or_else(odd)?;
        let good = counts
            .split_once(" 2xx")
            .and_then(|(number, _)| number.parse::<u32>().ok());
        if good != Some(self.requests) {
            return Err(Error::new(format!(
                "of {} requests not all were answered by 2xx: {counts}",
                self.requests
            )));
        }
        let throughput = report
            .lines()
            .find_map(|line| {
                let (_, rest) = line.strip_prefix("finished in ")?.split_once(", ")?;
                rest.split_once(" req/s")?.0.parse().ok()
            })
            .ok_or_else(odd)?;
        let mut times: Vec<f64> = log
            .lines()
            .filter_map(|line| line.split('\t').nth(2)?.parse().ok())
            .collect();
        if times.len() != self.requests as usize {
            return Err(Error::new(format!(
                "h2load's log has {} requests instead of {}",
                times.len(),
                self.requests
            )));
        }
        times.sort_by(f64::total_cmp);
        Ok(Outcome {
            throughput,
            p50: percentile(&times, 0.50),
            p99: percentile(&times, 0.99),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
finished in 10.00ms, 400.50 req/s, 1.00MB/s
requests: 4 total, 4 started, 4 done, 4 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 4 2xx, 0 3xx, 0 4xx, 0 5xx
";

    fn load() -> Load {
        Load {
            connections: 1,
            requests: 4,
            paths: vec!["/".to_owned()],
            headers: Vec::new(),
            body: None,
        }
    }

    #[test]
    fn what_h2load_says_is_understood() {
        let log = "1\t200\t10\n2\t200\t20\n3\t200\t30\n4\t200\t400\n";
        let outcome = load().outcome(REPORT, log).expect("an outcome");
        let expected = Outcome {
            throughput: 400.5,
            p50: 20.0,
            p99: 400.0,
        };
        assert_eq!(outcome, expected);
    }

    #[test]
    fn a_load_that_is_refused_in_part_is_not_measured() {
        let report = REPORT.replace("4 2xx, 0 3xx, 0 4xx", "3 2xx, 0 3xx, 1 4xx");
        let error = load().outcome(&report, "").expect_err("a refusal");
        assert!(error.to_string().contains("1 4xx"), "{error}");
    }
}
