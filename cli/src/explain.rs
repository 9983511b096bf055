//! `waykeeper explain`: what a request meets under a configuration, and why: which route and rule take it, who calls, which agents may
//! answer, what they get, which limits count it. Nobody is asked and nothing is started: the filter's own code walks the request on
//! a host in plain memory.
//!
//! | file | what it says |
//! |---|---|
//! | `curl.rs`, `words.rs`, `har.rs`, `raw.rs` | requests in the words of curl, out of HAR files, as they go over the wire |
//! | `request.rs` | what Envoy makes of a request before the filter sees it |
//! | `caller.rs` | who calls |
//! | `walked.rs` | what the filter does |
//! | `listens.rs` | whether anybody listens where it is sent |
//! | `outcome.rs` | what that comes to |
//! | `found.rs`, `routes.rs`, `called.rs`, `servers.rs`, `rules.rs`, `conditions.rs`, `agents.rs`, `kept.rs`, `edits.rs`, `limits.rs` | why |
//! | `explanation.rs`, `told.rs` | all of it in fields, and in plain words |

mod agents;
mod called;
mod caller;
mod conditions;
mod curl;
mod edits;
mod explanation;
mod found;
mod har;
mod kept;
mod limits;
mod listens;
mod outcome;
mod raw;
mod request;
mod routes;
mod rules;
mod servers;
mod told;
mod walked;
mod words;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use self::agents::Reached;
use self::caller::Named;
use self::explanation::Explanation;
use self::found::Meeting;
use self::request::Request;
use crate::Outcome;
use crate::check::{self, Meant};

/// Say which route, rule and agent a request meets, and why; nothing is started and nobody is asked
///
/// The request is walked through the filter's own code, with nothing counted yet. It is written as for curl, behind -- (then
/// your shell has replaced what it replaces) or in quotes:
///
///     waykeeper explain gateway.yaml -- curl http://127.0.0.1:8080/v1/chat/completions -H "x-api-key: $KEY" --json '{"model": "fast"}'
///     waykeeper explain gateway.yaml --client acme --plan premium --request 'curl http://gateway/v1/models'
///     waykeeper explain gateway.yaml --har browser.har
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Keys in arguments can be seen by other users of the machine; --client in their place, or --request - for standard input, keeps them out. \
                  No key, proof or session is printed.\n\nExit status: 0 if the request was explained, whatever becomes of it; 1 if there are faults in FILE, 2 if a \
                  file or the request cannot be read."
)]
pub(crate) struct Arguments {
    /// A gateway.yaml, a waykeeper.yaml, or a file of Envoy's or Istio's that holds one configuration
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The request, in the words of curl's command line; - reads them from standard input, @FILE from a file
    #[arg(long, value_name = "CURL", conflicts_with_all = ["har", "raw", "command"])]
    request: Option<String>,
    /// All requests of a HAR file, or one of its entries alone; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["raw", "command"])]
    har: Option<PathBuf>,
    /// Of a HAR file the request with this number only, counted from 1
    #[arg(long, value_name = "NUMBER", requires = "har")]
    entry: Option<usize>,
    /// A request of HTTP/1.1 as it goes over the wire; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    raw: Option<PathBuf>,
    #[command(flatten)]
    named: Named,
    /// Print it as JSON: one object, or with --har a list of them
    #[arg(long)]
    json: bool,
    /// curl's command line, word by word
    #[arg(last = true, value_name = "CURL")]
    command: Vec<String>,
}

/// Explains all that was asked.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let mut errors = io::stderr().lock();
    let requests = match arguments.requests() {
        Ok(requests) => requests,
        Err(why) => {
            writeln!(errors, "{why}")?;
            return Ok(Outcome::Unusable);
        }
    };
    drop(errors);
    let meant = match check::meant(&arguments.file)? {
        Ok(meant) => meant,
        Err(outcome) => return Ok(outcome),
    };
    let mut explained = Vec::new();
    for request in &requests {
        match explain(&meant, request, &arguments.named) {
            Ok(explanation) => explained.push(explanation),
            Err(why) => {
                writeln!(io::stderr().lock(), "{why}")?;
                return Ok(Outcome::Unusable);
            }
        }
    }
    let mut output = io::stdout().lock();
    if arguments.json {
        match (explained.as_slice(), arguments.har.is_some()) {
            ([one], false) => serde_json::to_writer_pretty(&mut output, one)?,
            (all, _) => serde_json::to_writer_pretty(&mut output, all)?,
        }
        writeln!(output)?;
    } else {
        for (number, explanation) in explained.iter().enumerate() {
            let between = if number > 0 { "\n" } else { "" };
            write!(output, "{between}{explanation}")?;
        }
    }
    Ok(Outcome::Good)
}

fn explain(meant: &Meant, request: &Request, named: &Named) -> Result<Explanation, String> {
    let mut arrived = request.arrive();
    if let Some(by) = arrived.answered {
        return Ok(Explanation::of_envoy(request, &arrived, &meant.policy, by));
    }
    let mut policy = meant.policy.clone();
    let caller = caller::settle(&mut policy, &mut arrived, named)?;
    let meeting = Meeting {
        policy: &policy,
        arrived: &arrived,
        caller: &caller,
        reached: &Reached(meant.checked.as_ref()),
    };
    meeting.explain(request)
}

impl Arguments {
    /// The requests that are asked about.
    fn requests(&self) -> Result<Vec<Request>, String> {
        if let Some(file) = &self.har {
            let name = file.display();
            let all = har::requests(&bytes_of(file)?).map_err(|why| format!("{name}: {why}"))?;
            let Some(entry) = self.entry else {
                return Ok(all);
            };
            let count = all.len();
            let one = all.into_iter().nth(entry.wrapping_sub(1));
            return one
                .map(|one| vec![one])
                .ok_or_else(|| format!("{name}: has {count} requests, and no number {entry}"));
        }
        if let Some(file) = &self.raw {
            let read = raw::request(&bytes_of(file)?);
            return read
                .map(|one| vec![one])
                .map_err(|why| format!("{}: {why}", file.display()));
        }
        let of_curl = |words: &[String]| curl::request(words).map(|one| vec![one]);
        if !self.command.is_empty() {
            return of_curl(&self.command);
        }
        let Some(request) = &self.request else {
            return Err(
                "which request? Write it as for curl behind --, or with --request, --har or --raw"
                    .to_owned(),
            );
        };
        let from = match request.as_str() {
            "-" => Some("-"),
            other => other.strip_prefix('@'),
        };
        let text = match from {
            Some(file) => String::from_utf8(bytes_of(Path::new(file))?)
                .map_err(|_| format!("{file}: is not UTF-8"))?,
            None => request.clone(),
        };
        let words = words::words(&text).map_err(|why| format!("the request {why}"))?;
        of_curl(&words)
    }
}

/// More than any request that is explained, and most HAR files.
const LARGEST: u64 = 256 << 20;

fn bytes_of(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().take(LARGEST).read_to_end(&mut bytes)
    } else {
        fs::File::open(file).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes))
    };
    read.map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(bytes)
}
