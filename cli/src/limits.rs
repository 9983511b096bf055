//! `waykeeper limits`: how a client's limits stand in a running gateway, and a fresh start for it. The operator's key is read from
//! the environment or standard input, never from the arguments, which other users of a machine can see and shells remember.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::HeaderValue;
use hyper::{Method, Request};
use serde::Deserialize;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use waykeeper::config::policy::LimitsEndpoint;
use waykeeper::config::show_duration;
use waykeeper::identity::{Credential, MAX_KEY};
use waykeeper::text::escapes;

use crate::gateway::{ClientTls, Http, Url};
use crate::reach::{self, innermost};
use crate::{Outcome, http, limits_for};

/// Where the key stands in the environment.
const KEY: &str = "WAYKEEPER_KEY";

/// More than any answer: 512 limits with the longest names.
const MOST_BYTES: usize = 4 << 20;

/// Show how the limits of a client stand, give it a fresh start, or write the fleet's as another service's file
///
/// The running gateway is asked, with the key of a client that has the operator_role of its limits_endpoint. The key is
/// taken from the environment (WAYKEEPER_KEY), else from standard input. What is counted lies in one process of Envoy, so of
/// several gateways each is asked for its own; limits with scope: fleet are those of all gateways, whichever is asked.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The client, as its client_id says; with --for a gateway.yaml
    #[arg(value_name = "CLIENT|FILE")]
    client: String,
    /// http[s]://HOST[:PORT], with a path if the endpoint was moved
    #[arg(long, value_name = "URL", value_parser = Url::parse, required_unless_present = "service")]
    gateway: Option<Url>,
    /// Ask nobody, and write the limits with scope: fleet of a gateway.yaml as the file of this rate limit service
    #[arg(long = "for", value_name = "SERVICE", conflicts_with_all = ["gateway", "reset", "limit", "key_sha256", "plan", "team", "organisation", "json"])]
    service: Option<limits_for::Service>,
    /// Give the client a fresh start: nothing is used of what is counted for it alone
    #[arg(long)]
    reset: bool,
    /// With --reset: only this limit, whoever else is counted in it; may stand there several times
    #[arg(long, value_name = "NAME", requires = "reset")]
    limit: Vec<String>,
    /// The SHA-256 of a key of the client's, by which the gateway knows the rest
    #[arg(long, value_name = "HEX")]
    key_sha256: Option<String>,
    /// Its plan, where the gateway does not know it
    #[arg(long, value_name = "NAME")]
    plan: Option<String>,
    /// Its team, where the gateway does not know it
    #[arg(long, value_name = "NAME")]
    team: Option<String>,
    /// Its organisation, where the gateway does not know it
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
    /// The header that carries the operator's key; authorization carries it as a Bearer
    #[arg(long, value_name = "NAME", default_value = "x-api-key")]
    key_header: String,
    /// The authorities that may sign the gateway's certificate
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// How long the answer may take in all
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = crate::probe::patience)]
    timeout: Duration,
    /// Print the gateway's answer as it is
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    plan: Option<String>,
    team: Option<String>,
    organisation: Option<String>,
    limits: Vec<Limit>,
    in_flight: Vec<InFlight>,
    more: bool,
    done_in: Vec<String>,
    in_fleet: Vec<InFleet>,
    not_known: Vec<String>,
}

/// A limit that is counted for all gateways, of which nothing is known.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InFleet {
    name: String,
    why: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Limit {
    #[serde(flatten)]
    name: Name,
    burst: u64,
    used: u64,
    leased: u64,
    one_more_seconds: u64,
    reset_seconds: u64,
    was_used: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InFlight {
    #[serde(flatten)]
    name: Name,
    most: u64,
    taken: u64,
    waiting: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Name {
    name: String,
    per: String,
    route: Option<String>,
    agent: Option<String>,
    scope: Option<String>,
    enforced: Option<bool>,
}

/// Asks the gateway and shows what it says; or writes the file of another service.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    match (arguments.service, &arguments.gateway) {
        (Some(service), _) => limits_for::write(service, Path::new(&arguments.client)),
        (None, Some(gateway)) => of_client(arguments, gateway),
        // The arguments are read so that one of the two is there.
        (None, None) => Ok(Outcome::Unusable),
    }
}

fn of_client(arguments: &Arguments, gateway: &Url) -> io::Result<Outcome> {
    let key = match key() {
        Ok(key) => key,
        Err(why) => {
            writeln!(io::stderr().lock(), "{why}")?;
            return Ok(Outcome::Unusable);
        }
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    let asked = runtime.block_on(async {
        let asked = timeout(arguments.timeout, ask(arguments, gateway, &key)).await;
        asked.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    });
    runtime.shutdown_background();
    match asked.and_then(|body| shown(arguments, &body)) {
        Ok(text) => {
            write!(io::stdout().lock(), "{text}")?;
            Ok(Outcome::Good)
        }
        Err(why) => {
            writeln!(io::stderr().lock(), "{gateway}: {why}")?;
            Ok(Outcome::Faulty)
        }
    }
}

fn key() -> Result<Credential, String> {
    let bytes = match std::env::var(KEY) {
        Ok(key) => key.into_bytes(),
        Err(_) => {
            let mut bytes = Vec::new();
            let mut input = io::stdin().lock().take(MAX_KEY as u64 + 3);
            let read = input.read_to_end(&mut bytes);
            read.map_err(|error| format!("no key on standard input: {error}"))?;
            bytes
        }
    };
    Credential::read(bytes.trim_ascii())
        .map_err(|_| format!("expected the operator's key in {KEY} or on standard input"))
}

/// The body of the gateway's answer.
async fn ask(arguments: &Arguments, url: &Url, key: &Credential) -> Result<Vec<u8>, String> {
    let header = match arguments.key_header.eq_ignore_ascii_case("authorization") {
        true => format!("Bearer {}", key.secret()),
        false => key.secret().to_owned(),
    };
    let mut value = HeaderValue::from_str(&header).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    let method = if arguments.reset {
        Method::POST
    } else {
        Method::GET
    };
    let request = Request::builder()
        .method(method)
        .uri(path(arguments, url))
        .header("host", url.authority())
        .header("user-agent", "waykeeper-limits")
        .header(arguments.key_header.as_str(), value)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let stream = connect(url).await?;
    let answer = if url.secure {
        let tls = ClientTls {
            ca: arguments.ca.clone(),
            ..ClientTls::default()
        };
        let (stream, _) = reach::secured(stream, &tls, &url.host, Http::One).await?;
        http::ask(stream, request).await
    } else {
        http::ask(stream, request).await
    };
    let answer = answer.map_err(|error| innermost(&error))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    if status.is_success() {
        return Ok(body.to_vec());
    }
    let problem: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let detail = problem.and_then(|it| Some(it.get("detail")?.as_str()?.to_owned()));
    Err(match detail {
        Some(detail) => format!("answered {}: {detail}", status.as_u16()),
        None => format!("answered {}", status.as_u16()),
    })
}

async fn connect(url: &Url) -> Result<TcpStream, String> {
    let mut last = "the host has no address".to_owned();
    let host = url.host.bare();
    let found = lookup_host((host.as_str(), url.port)).await;
    for address in found.map_err(|error| error.to_string())? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// The path of the question, with all that is said of the client.
fn path(arguments: &Arguments, url: &Url) -> String {
    let base = match url.request_path().as_str() {
        "/" => LimitsEndpoint::PATH.to_owned(),
        path => path.trim_end_matches('/').to_owned(),
    };
    let reset = if arguments.reset { "/reset" } else { "" };
    let client = Some(&arguments.client);
    let mut parameters: Vec<String> = [
        ("client", client),
        ("plan", arguments.plan.as_ref()),
        ("team", arguments.team.as_ref()),
        ("organisation", arguments.organisation.as_ref()),
        ("key_sha256", arguments.key_sha256.as_ref()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(format!("{name}={}", escaped(value?))))
    .collect();
    let limits = arguments.limit.iter();
    parameters.extend(limits.map(|name| format!("limit={}", escaped(name))));
    format!("{base}{reset}?{}", parameters.join("&"))
}

/// A value as it stands in a query.
fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for byte in value.bytes() {
        match byte {
            byte if escapes::is_unreserved(byte) => escaped.push(char::from(byte)),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// The answer as it is printed.
fn shown(arguments: &Arguments, body: &[u8]) -> Result<String, String> {
    let not_read = |_| "the answer is not the one of a gateway's limits".to_owned();
    if arguments.json {
        let value: serde_json::Value = serde_json::from_slice(body).map_err(not_read)?;
        return Ok(format!("{value:#}\n"));
    }
    let answer: Answer = serde_json::from_slice(body).map_err(not_read)?;
    let mut lines = if arguments.reset {
        reset_lines(&arguments.client, &answer)
    } else {
        left_lines(&arguments.client, &answer)
    };
    if answer.more {
        lines.push("there are more, which are not shown".to_owned());
    }
    if !answer.not_known.is_empty() {
        lines.push(format!("not known here: {}", answer.not_known.join(", ")));
    }
    Ok(lines.join("\n") + "\n")
}

fn left_lines(client: &str, answer: &Answer) -> Vec<String> {
    let of = |what: &str, name: &Option<String>| Some(format!("{what} {}", name.as_ref()?));
    let names = [
        of("plan", &answer.plan),
        of("team", &answer.team),
        of("organisation", &answer.organisation),
    ];
    let names: Vec<_> = names.into_iter().flatten().collect();
    let mut lines = vec![match names.as_slice() {
        [] => client.to_owned(),
        names => format!("{client}: {}", names.join(", ")),
    }];
    for limit in &answer.limits {
        let when = match limit.used {
            0 => String::new(),
            // A window ends for all of them at once.
            _ if limit.one_more_seconds == limit.reset_seconds => {
                format!(", all again in {}", seconds(limit.reset_seconds))
            }
            _ => format!(
                ", one more in {}, all again in {}",
                seconds(limit.one_more_seconds),
                seconds(limit.reset_seconds)
            ),
        };
        let leased = match limit.leased {
            0 => String::new(),
            number => format!(" ({number} of them fetched ahead)"),
        };
        let (name, used, burst) = (&limit.name, limit.used, limit.burst);
        lines.push(format!(
            "  {}: {used} of {burst} used{leased}{when}",
            name.told()
        ));
    }
    for limit in &answer.in_flight {
        let waiting = match limit.waiting {
            0 => String::new(),
            number => format!(", {number} waiting"),
        };
        let (name, taken, most) = (&limit.name, limit.taken, limit.most);
        lines.push(format!(
            "  {}: {taken} of {most} in flight{waiting}",
            name.told()
        ));
    }
    lines.extend(in_fleet_lines(answer, "not told"));
    lines
}

/// The limits of which the service that counts for all gateways has said nothing.
fn in_fleet_lines(answer: &Answer, what: &str) -> impl Iterator<Item = String> {
    answer.in_fleet.iter().map(move |it| {
        let why = match it.why.as_str() {
            "unavailable" => "the limiter does not answer",
            "unsupported" => "the limiter cannot do that",
            other => other,
        };
        format!("  {} in the fleet: {what}, {why}", it.name)
    })
}

fn reset_lines(client: &str, answer: &Answer) -> Vec<String> {
    let mut lines = vec![format!(
        "{client}: reset in this {}",
        answer.done_in.join(" and in the ")
    )];
    for limit in &answer.limits {
        let was = if limit.was_used {
            "begins anew"
        } else {
            "nothing was used"
        };
        lines.push(format!("  {}: {was}", limit.name.told()));
    }
    lines.extend(in_fleet_lines(answer, "not reset there"));
    lines
}

fn seconds(number: u64) -> String {
    show_duration(Duration::from_secs(number))
}

impl Name {
    fn told(&self) -> String {
        let mut told = format!("{} per {}", self.name, self.per);
        for (what, name) in [("on", &self.route), ("at", &self.agent)] {
            if let Some(name) = name {
                told.extend([" ", what, " ", name]);
            }
        }
        if self.scope.as_deref() == Some("fleet") {
            told.push_str(" in the fleet");
        }
        if self.enforced == Some(false) {
            told.push_str(" (only counts)");
        }
        told
    }
}
