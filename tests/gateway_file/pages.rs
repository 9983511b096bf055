//! What docs/start.md shows is so: each of its files is run, each of its commands is typed into a shell, and what that says is
//! what stands in the page, line by line. What the page says of places (its urls, files and ports) is in the test's own. One
//! gateway runs all files, one after the other, as `waykeeper run` follows them. The files of docs/routing.md and the transcripts of
//! the README and of docs/demo.md are typed in the same way.

mod readme;
mod routing;

use std::path::Path;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::certificates::Authority;
use crate::front::Front;
use crate::gateway::{Around, Gateway, agent, free_address};
use crate::needed;
use crate::providers::run_client;
use crate::running::Running;
use crate::stand_in::{Came, StandIn, json as answer};

/// What differs each time, or is left out, in the page: a part of a line, or, where it is the whole line, lines.
const ANYTHING: char = '…';

/// A part of the page: its file, and what is typed once that is live.
struct Part {
    heading: String,
    text: String,
    file: String,
    typed: Vec<Typed>,
}

/// A command, and what comes of it.
struct Typed {
    command: String,
    output: String,
}

/// What the page says, and what the test has in its place.
struct Places(Vec<(String, String)>);

#[tokio::test]
async fn each_file_of_the_first_page_does_what_is_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    let authority = Authority::new(directory.path(), "ca");
    let identity = authority.sign("gateway.example");
    std::fs::rename(&identity.certificate, at("gateway.pem")).expect("rename");
    std::fs::rename(&identity.key, at("gateway.key")).expect("rename");
    for provider in ["openai", "anthropic"] {
        std::fs::write(at(provider), format!("the-key-of-{provider}\n")).expect("write");
    }
    std::fs::write(at("sessions"), "5e".repeat(32)).expect("write");

    let chat = agent("chat").await;
    let weather = StandIn::start(a2a).await;
    let health = crate::grpc::serving().await;
    let [one, two] = [mcp("one").await, mcp("two").await];
    let internal = authority.sign("agent.internal");
    let secure = Front::of(chat.address(), internal.server(&["h2", "http/1.1"])).await;
    let provider = StandIn::start(openai).await;
    let hosted = authority.sign("api.openai.com");
    let hosted = Front::of(provider.address, hosted.server(&["h2", "http/1.1"])).await;
    let another = StandIn::start(anthropic).await;
    let claude = authority.sign("api.anthropic.com");
    let claude = Front::of(another.address, claude.server(&["h2", "http/1.1"])).await;

    let [first, second, over_tls, operations] = [(); 4].map(|()| free_address());
    let mut places = Places(Vec::new());
    for (said, here) in [
        ("127.0.0.1:8080", first),
        ("127.0.0.1:8081", second),
        ("127.0.0.1:8443", over_tls),
        ("127.0.0.1:9902", operations),
        ("127.0.0.1:8000", chat.address()),
        ("127.0.0.1:9100", weather.address),
        ("127.0.0.1:50051", health),
        ("10.0.0.5:9000", one.address),
        ("10.0.0.6:9000", two.address),
        ("10.0.0.7:8443", secure.address),
    ] {
        places.put(said, &here.to_string());
    }
    places.put(
        "gateway.example:8443",
        &format!("gateway.example:{}", over_tls.port()),
    );
    places.put("/etc/waykeeper/tls/", &at(""));
    places.put("/run/secrets/", &at(""));

    let mut gateway: Option<Running> = None;
    let (mut done, mut faults) = (Vec::new(), Vec::new());
    let mut parts = parts("docs/start.md");
    // It needs a gateway of its own, all others share one.
    parts.sort_by_key(|part| part.heading == "A hosted provider");
    for part in parts {
        let heading = part.heading.as_str();
        let file = places.here(&part.file);
        if heading == "A hosted provider" {
            // The provider's own name leads to what stands in for it, which takes it from who calls for the name.
            let secured = |file: &str, provider: &str| {
                let begin = format!("{{provider: {provider},");
                let ca = format!("{begin} tls: {{ca: '{}'}},", authority.file.display());
                assert_eq!(file.matches(&begin).count(), 1, "{file}");
                file.replace(&begin, &ca)
            };
            let both = places.here(&with_two_providers(&part));
            let both = secured(&secured(&both, "openai"), "anthropic");
            let file = secured(&file, "openai");
            let (openai, anthropic) = (
                ("api.openai.com", hosted.address),
                ("api.anthropic.com", claude.address),
            );
            let around = Around {
                elsewhere: &[openai],
                ..Around::default()
            };
            // The one that ran has its addresses.
            drop(gateway.take());
            let beside = directory.path().join("provider");
            std::fs::create_dir(&beside).expect("a directory");
            let provider = Gateway::start_with(&beside, &file, &around, operations).await;
            faults.extend(wrong(&part, &places, directory.path()).await);
            drop(provider);
            let around = Around {
                elsewhere: &[openai, anthropic],
                ..Around::default()
            };
            let _both = Gateway::start_with(&beside, &both, &around, operations).await;
            assert_eq!(say_hello(&part, &places).await, 2);
            done.push(part.heading);
            continue;
        }
        match &mut gateway {
            Some(gateway) => {
                gateway.change(&file).await;
            }
            None => gateway = Some(Running::start(directory.path(), &file, &[]).await),
        }
        let mut _another = None;
        if heading == "Several gateways" {
            let text = file.replace(&format!("${{LISTEN:-{first}}}"), &second.to_string());
            assert_ne!(text, file);
            let beside = directory.path().join("another");
            std::fs::create_dir(&beside).expect("a directory");
            _another = Some(Running::start(&beside, &text, &[]).await);
        }
        let before = faults.len();
        faults.extend(wrong(&part, &places, directory.path()).await);
        if let Some(gateway) = gateway.as_ref().filter(|_| faults.len() > before) {
            let (said, printed) = (gateway.said(), gateway.printed());
            faults.push(format!(
                "The gateway said: {said}\nIts access log: {printed}"
            ));
        }
        done.push(part.heading);
    }
    assert_eq!(done.len(), 7, "{done:?}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The file of a part with the agents and routes that the page has for two providers.
fn with_two_providers(part: &Part) -> String {
    let (_, rest) = part.text.split_once("**Two providers").expect("two");
    let own: Vec<&str> = { rest.lines().skip_while(|line| !line.starts_with("    ")) }
        .map_while(|line| line.strip_prefix("    "))
        .collect();
    let (before, _) = part.file.split_once("agents:\n").expect("agents");
    format!("{before}{}\n", own.join("\n"))
}

/// Each provider's own client, with the variables that the page's table says, is answered by that provider. Tells how many were.
async fn say_hello(part: &Part, places: &Places) -> usize {
    let rows = part.text.lines().filter(|line| line.contains("_BASE_URL="));
    let mut answered = 0;
    for row in rows {
        let package = row.split('|').nth(1).expect("a name").trim();
        let package = package.to_lowercase();
        let row = places.here(row);
        let variables = row.split('`').skip(1).step_by(2);
        let variables: Vec<_> = variables.filter_map(|it| it.split_once('=')).collect();
        assert_eq!(variables.len(), 2, "{row}");
        let said = run_client(&package, &[], &variables).await;
        assert_eq!(said, format!("Hello from {package}"));
        answered += 1;
    }
    answered
}

/// Types all commands of a part, and tells which do not say what the page shows.
async fn wrong(part: &Part, places: &Places, directory: &Path) -> Vec<String> {
    assert!(!part.typed.is_empty(), "{} shows nothing", part.heading);
    let mut wrong = Vec::new();
    for typed in &part.typed {
        let said = answered(typed, places, directory).await;
        wrong.extend(typed.differs(&part.heading, &said));
    }
    wrong
}

/// Types a command, and returns what it says, as the page would.
async fn answered(typed: &Typed, places: &Places, directory: &Path) -> String {
    // The tool of these tests stands for the one that was installed.
    let tool = Path::new(env!("CARGO_BIN_EXE_waykeeper"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", tool.parent().expect("a folder").display());
    let shell = Command::new("bash")
        .args(["-c", &places.here(&typed.command)])
        .current_dir(directory)
        .env("PATH", path)
        .output();
    let output = shell.await.expect("bash");
    let mut said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    said += &String::from_utf8_lossy(&output.stderr);
    places.there(&said)
}

/// Whether a text is what the page shows of it.
fn fits(shown: &str, said: &str) -> bool {
    let [shown, said]: [Vec<_>; 2] = [shown, said].map(|text| text.lines().collect());
    lines_fit(&shown, &said)
}

fn lines_fit(shown: &[&str], said: &[&str]) -> bool {
    let Some((line, rest)) = shown.split_first() else {
        return said.is_empty();
    };
    if line.chars().eq([ANYTHING]) {
        return (0..=said.len()).any(|left_out| lines_fit(rest, &said[left_out..]));
    }
    let next = said.split_first();
    next.is_some_and(|(first, others)| line_fits(line, first) && lines_fit(rest, others))
}

fn line_fits(shown: &str, said: &str) -> bool {
    let mut pieces = shown.split(ANYTHING);
    let begin = pieces.next().unwrap_or_default();
    let Some(mut rest) = said.strip_prefix(begin) else {
        return false;
    };
    let mut last = None;
    for piece in pieces {
        // Each piece as early as it may stand, but for the last, which ends the line.
        if let Some(piece) = last.replace(piece) {
            let Some(at) = rest.find(piece) else {
                return false;
            };
            rest = &rest[at + piece.len()..];
        }
    }
    match last {
        None => rest.is_empty(),
        Some(last) => rest.ends_with(last),
    }
}

#[test]
fn a_text_fits_what_is_shown_of_it() {
    for (shown, said) in [
        ("ab", "ab"),
        ("a…c", "abc"),
        ("a…", "abc"),
        ("a…b…c", "a-b-b-c"),
        ("a\n…\nd", "a\nb\nc\nd"),
        ("a\n…\nd", "a\nd"),
    ] {
        assert!(fits(shown, said), "{shown} {said}");
    }
    for (shown, said) in [
        ("ab", "abc"),
        ("a…c", "abcd"),
        ("a…b…c", "a-c"),
        ("a", ""),
        ("a\nc", "a\nb\nc"),
        ("a…c", "a\nc"),
        ("b\n…\na", "a\nb"),
    ] {
        assert!(!fits(shown, said), "{shown} {said}");
    }
}

// === impl Typed ===

impl Typed {
    /// What is to be told if it says something else than what the page shows.
    fn differs(&self, heading: &str, said: &str) -> Option<String> {
        let (shown, said) = (self.output.trim(), said.trim());
        let command = &self.command;
        let told = || format!("{heading}: this\n$ {command}\n{shown}\nis in truth\n{said}\n");
        (!fits(shown, said)).then(told)
    }
}

// === impl Places ===

impl Places {
    fn put(&mut self, said: &str, here: &str) {
        self.0.push((said.to_owned(), here.to_owned()));
    }

    /// What the page says, for the test.
    fn here(&self, text: &str) -> String {
        let places = self.0.iter();
        places.fold(text.to_owned(), |text, (said, here)| {
            text.replace(said, here)
        })
    }

    /// What came of it, as the page says it.
    fn there(&self, text: &str) -> String {
        let places = self.0.iter();
        places.fold(text.to_owned(), |text, (said, here)| {
            text.replace(here, said)
        })
    }
}

// ------------------------------------------------------------------------------------------------------------ the page

/// The parts of a page that have a file. What is typed in one without goes on with the file before.
fn parts(page: &str) -> Vec<Part> {
    let page = needed(page, "git checkout");
    let page = std::fs::read_to_string(page).expect("the page");
    let mut parts: Vec<Part> = Vec::new();
    for section in page.split("\n## ").skip(1) {
        let heading = section.lines().next().unwrap_or_default().to_owned();
        let consoles = blocks(section, "console");
        let typed = consoles.iter().flat_map(|block| typed(block)).collect();
        let files = blocks(section, "yaml");
        match files.as_slice() {
            [] => parts
                .last_mut()
                .expect("a part")
                .typed
                .extend::<Vec<_>>(typed),
            [file] => parts.push(Part {
                heading,
                text: section.to_owned(),
                file: file.clone(),
                typed,
            }),
            _ => panic!("{heading}: one file for each part"),
        }
    }
    parts
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks
        .map(|rest| rest.split("\n```").next().unwrap_or_default().to_owned())
        .collect()
}

/// The commands of a block. One goes on in the next line after a backslash.
fn typed(block: &str) -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    let mut goes_on = false;
    for line in block.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            all.push(Typed {
                command: command.to_owned(),
                output: String::new(),
            });
        } else {
            let typed = all.last_mut().expect("a command first");
            let text = if goes_on {
                &mut typed.command
            } else {
                &mut typed.output
            };
            text.push('\n');
            text.push_str(line);
        }
        let in_command = goes_on || line.starts_with("$ ");
        goes_on = in_command && line.ends_with('\\');
    }
    all
}

// -------------------------------------------------------------------------------------------------------- the stand-ins

/// What stands in for OpenAI's: it knows its own name and key alone.
fn openai(came: &Came) -> Response<Full<Bytes>> {
    let key = came.header("authorization");
    let known = came.host == "api.openai.com"
        && key == Some("Bearer the-key-of-openai")
        && came.header("x-api-key").is_none();
    if !known {
        return answer(
            401,
            &json!({"error": {"message": "I know none of this"}}).to_string(),
        );
    }
    if came.path == "/v1/chat/completions" {
        let message = json!({"role": "assistant", "content": "Hello from openai"});
        let chat = json!({
            "id": "1", "object": "chat.completion", "created": 1, "model": "demo",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        });
        return answer(200, &chat.to_string());
    }
    let models = json!({"object": "list", "data": [{"id": "gpt-5.2", "object": "model"}]});
    answer(200, &models.to_string())
}

/// The same for Anthropic's.
fn anthropic(came: &Came) -> Response<Full<Bytes>> {
    let known = (came.host.as_str(), came.path.as_str()) == ("api.anthropic.com", "/v1/messages")
        && came.header("x-api-key") == Some("the-key-of-anthropic")
        && came.header("authorization").is_none();
    if !known {
        return answer(404, "{\"error\": {\"message\": \"I know none of this\"}}");
    }
    let message = json!({
        "id": "1", "type": "message", "role": "assistant", "model": "demo", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hello from anthropic"}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    });
    answer(200, &message.to_string())
}

/// An MCP server that knows the sessions that began with it, as all do that keep them in memory.
async fn mcp(name: &'static str) -> StandIn {
    StandIn::start(move |came| {
        let asked: Value = serde_json::from_slice(&came.body).unwrap_or_default();
        let own = format!("session-of-{name}");
        let mut response = if asked["method"] == "initialize" {
            let result = json!({
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "tools", "version": "1.0.0"},
            });
            answer(
                200,
                &json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}).to_string(),
            )
        } else if came.header("mcp-session-id") == Some(&own) {
            let result = json!({"tools": [{"name": "add", "inputSchema": {"type": "object"}}]});
            answer(
                200,
                &json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}).to_string(),
            )
        } else {
            answer(404, "{\"error\":\"no such session\"}")
        };
        let own = own.parse().expect("a header");
        response.headers_mut().insert("mcp-session-id", own);
        response
    })
    .await
}

/// An A2A agent, in version 1.0 of the protocol.
fn a2a(came: &Came) -> Response<Full<Bytes>> {
    if came.path == "/.well-known/agent-card.json" {
        let card = json!({
            "name": "Weather",
            "supportedInterfaces": [
                {"url": "http://127.0.0.1:8080/a2a", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            ],
            "capabilities": {"streaming": true},
        });
        return answer(200, &card.to_string());
    }
    let asked: Value = serde_json::from_slice(&came.body).unwrap_or_default();
    let result = |result: Value| json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
    match asked["method"].as_str() {
        _ if came.header("a2a-version") != Some("1.0") => answer(400, "{}"),
        Some("SendMessage") => {
            let message =
                json!({"messageId": "m2", "role": "ROLE_AGENT", "parts": [{"text": "Sunny"}]});
            answer(200, &result(json!({"message": message})).to_string())
        }
        Some("SendStreamingMessage") => {
            let status = |state: &str| json!({"statusUpdate": {"taskId": "t1", "contextId": "c1", "status": {"state": state}}});
            let artifact = json!({"artifactUpdate": {
                "taskId": "t1", "contextId": "c1",
                "artifact": {"artifactId": "a1", "parts": [{"text": "Sunny"}]},
            }});
            let events = [
                status("TASK_STATE_WORKING"),
                artifact,
                status("TASK_STATE_COMPLETED"),
            ];
            let events: String = events
                .map(|event| format!("data: {}\n\n", result(event)))
                .concat();
            let mut response = answer(200, &events);
            let kind = "text/event-stream".parse().expect("a header");
            response.headers_mut().insert("content-type", kind);
            response
        }
        _ => answer(404, "{}"),
    }
}
