//! What the documentation shows is true: its examples are read as the filter reads them, its links lead somewhere, and it
//! leaves out no field, refusal, metric or column of the access log.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use waykeeper::config;
use waykeeper::reply::{Form, FullLimit, Refusal, ReplyTo, RpcFault, local_reply};
use waykeeper::state::room;

const README: &str = "README.md";
const DEMO: &str = "docs/demo.md";
const CONFIGURATION: &str = "docs/configuration.md";
const REFUSALS: &str = "docs/refusals.md";
const METRICS: &str = "docs/metrics.md";
const OPERATIONS: &str = "docs/operations.md";
const CONTRIBUTING: &str = "CONTRIBUTING.md";
const SECURITY: &str = "SECURITY.md";

// ------------------------------------------------------------------------------------------------------------ examples

#[test]
fn every_example_of_the_configuration_is_one() {
    let whole = demo_configuration();
    assert_eq!(faults(&whole), "");
    let examples = blocks(&read(CONFIGURATION), "yaml");
    assert!(examples.len() >= 5, "{} examples", examples.len());
    for example in examples {
        let mut document = whole.clone();
        let Value::Object(fields) = yaml(&example) else {
            panic!("no mapping:\n{example}");
        };
        for (name, value) in fields {
            document[name.as_str()] = value;
        }
        assert_eq!(faults(&document), "", "{example}");
    }
}

#[test]
fn the_faults_that_are_shown_are_told_in_these_words() {
    let mut document = demo_configuration();
    document["routes"][5]["agents"] = json!(["ragg"]);
    document["routes"][5]["timeout"] = json!(15);
    let told = faults(&document);
    let page = read(DEMO);
    assert_eq!(told.lines().count(), 2, "{told}");
    for line in told.lines() {
        assert!(page.contains(line), "{DEMO} does not show {line}");
    }
}

// ---------------------------------------------------------------------------------------------------------- left out?

#[test]
fn every_field_of_the_configuration_is_explained() {
    let mut fields = BTreeSet::new();
    collect_fields(&config::schema(), &mut fields);
    assert!(fields.len() > 40, "{fields:?}");
    let page = read(CONFIGURATION);
    let missing: Vec<_> = fields
        .iter()
        .filter(|field| {
            !page.contains(&format!("`{field}`")) && !page.contains(&format!(".{field}`"))
        })
        .collect();
    assert!(
        missing.is_empty(),
        "{CONFIGURATION} does not explain {missing:?}"
    );
}

#[test]
fn every_refusal_stands_in_the_table_as_it_goes_over_the_wire() {
    let page = read(REFUSALS);
    for refusal in refusals() {
        let to = ReplyTo {
            form: Form::Grpc,
            ..ReplyTo::default()
        };
        let grpc = local_reply(&refusal, to, Vec::new());
        let http = local_reply(&refusal, ReplyTo::default(), Vec::new());
        let problem: Value = serde_json::from_slice(&http.body).expect("a problem");
        let row = format!(
            "| `{}` | {} | `{}` | {} |",
            refusal.code(),
            http.status,
            problem["error"]["type"].as_str().expect("a type"),
            grpc.grpc_status.expect("a status of gRPC"),
        );
        assert!(page.contains(&row), "{REFUSALS} has no row {row}");
    }
}

/// What Envoy answers has no place in the order of the filter's refusals.
#[test]
fn the_order_of_refusals_is_one_of_the_filters_own() {
    let page = read(REFUSALS);
    let order = page.split("\n\n").nth(2).expect("the first table");
    let refusals = refusals();
    let known: BTreeSet<_> = refusals.iter().map(Refusal::code).collect();
    let told: Vec<_> = words_after(order, "\n| `").collect();
    assert!(told.len() > 15, "{told:?}");
    for code in told {
        assert!(
            known.contains(code),
            "{REFUSALS}: {code} is not the filter's"
        );
    }
}

#[test]
fn every_answer_of_envoys_own_stands_in_the_table() {
    let (envoy, page) = (read("envoy/envoy.yaml"), read(REFUSALS));
    let codes: BTreeSet<_> = words_after(&envoy, "urn:waykeeper:problem:").collect();
    assert!(codes.len() > 5, "{codes:?}");
    for code in codes {
        assert!(
            page.contains(&format!("| `{code}` | ")),
            "{REFUSALS} lacks {code}"
        );
    }
}

/// Where metrics are counted, and lines written to the log, that traffic can cause.
fn telling_source() -> String {
    [
        "src/lifecycle/telemetry/mod.rs",
        "src/lifecycle/telemetry/agents.rs",
        "src/lifecycle/telemetry/limits.rs",
        "src/lifecycle/telemetry/validator.rs",
        "src/lifecycle/judge.rs",
        "src/limits/upkeep.rs",
    ]
    .map(read)
    .concat()
}

#[test]
fn every_metric_and_every_field_of_the_access_log_is_explained() {
    let page = read(METRICS);
    let source = telling_source();
    let metrics: BTreeSet<_> = words_after(&source, "\"waykeeper_").collect();
    assert!(metrics.len() >= 7, "{metrics:?}");
    for metric in metrics {
        assert!(
            page.contains(&format!("`waykeeper_{metric}`")),
            "{METRICS} lacks waykeeper_{metric}"
        );
    }
    let envoy = yaml(&read("envoy/envoy.yaml"));
    let manager = &envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let log = &manager["access_log"][0]["typed_config"]["log_format"]["json_format"];
    for field in log.as_object().expect("a format").keys() {
        assert!(
            page.contains(&format!("`{field}`")),
            "{METRICS} lacks {field}"
        );
    }
}

#[test]
fn every_line_that_traffic_can_write_to_the_log_is_explained() {
    let (page, source) = (read(OPERATIONS), telling_source());
    let source = source.replace("format_args!(", "format!(");
    let lines: BTreeSet<_> = source
        .split("format!(")
        .skip(1)
        .filter_map(|rest| {
            rest.trim_start()
                .strip_prefix('"')?
                .split(['{', '"'])
                .next()
        })
        // A line that is all another's words, such as the host's, begins with them.
        .filter(|line| !line.is_empty())
        .collect();
    assert!(lines.len() >= 8, "{lines:?}");
    for line in lines {
        assert!(
            page.contains(&format!("`{line}")),
            "{OPERATIONS} lacks {line}"
        );
    }
}

#[test]
fn the_room_that_is_documented_is_the_room_that_there_is() {
    let page = read(OPERATIONS);
    for each in [1, 2, 4, 8, 16, 32, 48] {
        let subjects = room::room(262_144, each);
        let row = format!(
            "| {each} | {} | {} |",
            grouped(subjects),
            grouped(subjects * u64::from(each))
        );
        assert!(page.contains(&row), "{OPERATIONS} has no row {row}");
    }
    for part in [4, 2, 1] {
        let crowded = room::crowded(65_536, 65_536 / part);
        let told = format!("{:.1} %", crowded * 100.0);
        assert!(page.contains(&told), "{OPERATIONS} does not say {told}");
    }
    let of_keys = grouped(room::room_for_keys(65_536));
    assert!(
        page.contains(&of_keys),
        "{OPERATIONS} does not say {of_keys}"
    );
}

// ----------------------------------------------------------------------------------------- tables, links and commands

/// A row that lacks one is shown with all that follows under another heading.
#[test]
fn every_row_of_a_table_has_a_cell_for_each_column() {
    let mut rows = 0;
    for page in pages() {
        let text = read(&page);
        let mut columns = None;
        for line in text.lines() {
            let cells = line.replace("\\|", "").matches('|').count();
            if !line.starts_with('|') {
                columns = None;
                continue;
            }
            assert_eq!(cells, *columns.get_or_insert(cells), "{page}: {line}");
            rows += 1;
        }
    }
    assert!(rows > 100, "{rows} rows");
}

/// What callers are told that clients do by themselves was looked up in these versions, and is tested with them.
#[test]
fn the_versions_of_clients_that_callers_are_told_of_are_those_of_the_tests() {
    let (makefile, page) = (read("Makefile"), read("docs/clients.md"));
    for client in ["openai", "anthropic"] {
        let pinned = format!("\n{}_VERSION := ", client.to_uppercase());
        let version = makefile
            .split(&pinned)
            .nth(1)
            .and_then(|rest| rest.lines().next());
        let told = format!("`{client}` {}", version.expect("a version"));
        assert!(page.contains(&told), "docs/clients.md does not say {told}");
    }
}

// === links and commands ===

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut links = 0;
    for page in pages() {
        let text = read(&page);
        let folder = Path::new(&page).parent().unwrap_or(Path::new(""));
        for link in links_of(&text) {
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => PathBuf::from(&page),
                file => folder.join(file),
            };
            let there = root().join(&target).exists()
                && (anchor.is_empty()
                    || anchors_of(&read(&target.to_string_lossy())).contains(anchor));
            if !there {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(links > 20, "{links} links");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_target_of_make_that_is_named_exists() {
    let makefile = read("Makefile");
    for page in pages() {
        let text = read(&page);
        let inline = words_after(&text, "`make ");
        for target in inline.chain(words_after(&text, "\n    make ")) {
            assert!(
                makefile.contains(&format!("\n{target}:")),
                "{page}: make {target}"
            );
        }
    }
}

#[test]
fn every_file_that_a_contributor_is_sent_to_is_there() {
    let page = read(CONTRIBUTING);
    let quoted = page.split('`').skip(1).step_by(2);
    let paths: BTreeSet<_> = quoted
        .filter(|quoted| quoted.contains('/') && !quoted.contains([' ', ':']))
        .filter(|path| {
            !["target/", "dist/"]
                .iter()
                .any(|made| path.starts_with(made))
        })
        .collect();
    assert!(paths.len() > 40, "{paths:?}");
    let missing: Vec<_> = paths
        .iter()
        .filter(|path| !root().join(path).exists())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_promise_is_held_by_the_tests_that_are_named() {
    let page = read(SECURITY);
    let mut named = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let quoted: Vec<_> = row.split('`').skip(1).step_by(2).collect();
        let [file, test] = quoted.as_slice() else {
            continue;
        };
        named += 1;
        let there = read(file).contains(&format!("fn {test}("));
        assert!(there, "{SECURITY}: {file} has no test {test}");
    }
    assert!(named > 15, "{named} tests are named");
}

// === what is compared ===

/// One of each kind. A kind that is added is missed by the compiler here, and belongs into the list below.
fn refusals() -> Vec<Refusal> {
    match Refusal::NoRoute {
        Refusal::GatewayUnavailable
        | Refusal::BadPath
        | Refusal::NoRoute
        | Refusal::MethodNotAllowed(_)
        | Refusal::UpgradeNotAllowed
        | Refusal::UpgradeRequired
        | Refusal::RateLimited(..)
        | Refusal::TooManyInFlight(_)
        | Refusal::LimitsUnavailable
        | Refusal::MissingKey
        | Refusal::InvalidKey
        | Refusal::ExpiredKey
        | Refusal::ValidatorUnavailable
        | Refusal::UnknownPlan
        | Refusal::Forbidden
        | Refusal::BadQuery(_)
        | Refusal::BadBody(_)
        | Refusal::BadMessage(..)
        | Refusal::VersionNotSupported(_)
        | Refusal::ToolForbidden(_)
        | Refusal::NotOffered(..)
        | Refusal::ServersUnavailable
        | Refusal::NoRule
        | Refusal::ModelNotFound
        | Refusal::UnknownCapability
        | Refusal::UnknownAgent
        | Refusal::AgentsResting(_)
        | Refusal::UnknownSession
        | Refusal::NoAgent
        | Refusal::BodyTooLarge(_)
        | Refusal::HeldTooLarge(_)
        | Refusal::RequestTimeout
        | Refusal::AgentTimeout
        | Refusal::UnreadableAnswer
        | Refusal::AnswerTooLarge(_) => {}
    }
    vec![
        Refusal::GatewayUnavailable,
        Refusal::BadPath,
        Refusal::NoRoute,
        Refusal::MethodNotAllowed(Vec::new()),
        Refusal::UpgradeNotAllowed,
        Refusal::UpgradeRequired,
        Refusal::RateLimited(Vec::new(), 1),
        Refusal::TooManyInFlight(FullLimit {
            name: "in-flight".to_owned(),
            per: "client".to_owned(),
        }),
        Refusal::LimitsUnavailable,
        Refusal::MissingKey,
        Refusal::InvalidKey,
        Refusal::ExpiredKey,
        Refusal::ValidatorUnavailable,
        Refusal::UnknownPlan,
        Refusal::Forbidden,
        Refusal::BadQuery("Why.".to_owned()),
        Refusal::BadBody(String::new()),
        Refusal::BadMessage(RpcFault::Message, String::new()),
        Refusal::BadMessage(RpcFault::Header, String::new()),
        Refusal::VersionNotSupported(String::new()),
        Refusal::ToolForbidden(String::new()),
        Refusal::NotOffered(RpcFault::Params, String::new()),
        Refusal::ServersUnavailable,
        Refusal::NoRule,
        Refusal::ModelNotFound,
        Refusal::UnknownCapability,
        Refusal::UnknownAgent,
        Refusal::AgentsResting(1),
        Refusal::UnknownSession,
        Refusal::NoAgent,
        Refusal::BodyTooLarge(1),
        Refusal::HeldTooLarge(1),
        Refusal::RequestTimeout,
        Refusal::AgentTimeout,
        Refusal::UnreadableAnswer,
        Refusal::AnswerTooLarge(1),
    ]
}

/// What the filter reads under `make up`.
fn demo_configuration() -> Value {
    let discovery = yaml(&read("envoy/waykeeper.yaml"));
    discovery["resources"][0]["typed_config"]["config"]["configuration"]["value"].clone()
}

/// All faults of a configuration, one a line.
fn faults(document: &Value) -> String {
    config::read(document).map_or_else(|faults| faults.to_string(), |_| String::new())
}

/// The names of all properties that a schema speaks of.
fn collect_fields(schema: &Value, fields: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                fields.extend(properties.keys().cloned());
            }
            members
                .values()
                .for_each(|member| collect_fields(member, fields));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_fields(item, fields)),
        _ => {}
    }
}

// === reading pages ===

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// A mark that names no test would run none, and nobody would be told.
#[test]
fn the_tests_that_the_makefile_marks_are_there() {
    for list in ["SMOKE", "ON_EACH_VERSION", "ON_EACH_VERSION_SHORT"] {
        for mark in marks(list) {
            let (module, name) = mark.split_once("::").expect("a module and a name");
            let tests = read(&format!("tests/e2e/{module}.rs"));
            let wanted = format!("\nasync fn {name}");
            assert!(tests.contains(&wanted), "{list}: {mark} marks no test");
        }
    }
}

/// What is run each time is a part of what is run on demand.
#[test]
fn the_short_list_for_each_version_of_envoy_is_a_part_of_the_long_one() {
    let long = marks("ON_EACH_VERSION");
    for mark in marks("ON_EACH_VERSION_SHORT") {
        let held = long.iter().any(|longer| mark.starts_with(longer));
        assert!(held, "ON_EACH_VERSION lacks {mark}");
    }
}

/// A list of tests in the Makefile.
fn marks(list: &str) -> Vec<String> {
    let makefile = read("Makefile").replace("\\\n", " ");
    let begin = format!("{list} := ");
    let line = makefile.lines().find_map(|line| line.strip_prefix(&begin));
    let marks = line.expect(list).split_whitespace();
    marks.map(str::to_owned).collect()
}

/// The pages that a newcomer reads.
fn pages() -> Vec<String> {
    let docs = fs::read_dir(root().join("docs")).expect("docs");
    let mut pages: Vec<_> = docs
        .map(|entry| format!("docs/{}", entry.expect("a file").file_name().display()))
        .filter(|path| path.ends_with(".md"))
        .collect();
    let others = [
        README,
        "istio/README.md",
        CONTRIBUTING,
        "CHANGELOG.md",
        "SECURITY.md",
    ];
    pages.extend(others.map(str::to_owned));
    pages
}

/// The fenced blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line == format!("```{language}") {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(block.join("\n"));
        } else if line.starts_with("```") {
            lines.by_ref().find(|line| *line == "```");
        }
    }
    blocks
}

/// What stands in `](…)`.
fn links_of(page: &str) -> impl Iterator<Item = &str> {
    page.split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0))
}

/// The headings as links name them: in lower case, blanks as hyphens, nothing but letters, digits, `_` and hyphens.
fn anchors_of(page: &str) -> BTreeSet<String> {
    let heading = |line: &str| {
        let text = line.trim_start_matches('#').strip_prefix(' ')?;
        let kept = text
            .to_lowercase()
            .replace(' ', "-")
            .replace(|c: char| !c.is_alphanumeric() && !"-_".contains(c), "");
        line.starts_with('#').then_some(kept)
    };
    page.lines().filter_map(heading).collect()
}

/// The words (letters, digits, `_`, `-`) that follow a text wherever it stands.
fn words_after<'p>(page: &'p str, before: &str) -> impl Iterator<Item = &'p str> {
    page.split(before)
        .skip(1)
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c));
            rest.split_at(end.unwrap_or(rest.len())).0
        })
        .filter(|word| !word.is_empty())
}
