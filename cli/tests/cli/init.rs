//! `waykeeper init`: a file to begin with.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{Run, waykeeper, waykeeper_in};

const PROVIDERS: [&str; 9] = [
    "openai",
    "anthropic",
    "gemini",
    "mistral",
    "groq",
    "azure-openai",
    "bedrock",
    "ollama",
    "vllm",
];

fn init(directory: &Path, arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_waykeeper"))
        .arg("init")
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    Run {
        status: output.status.code().unwrap(),
        output: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

fn good(file: &Path) {
    // Those whose credentials come from the environment.
    let hosted = [
        "OPENAI",
        "ANTHROPIC",
        "GEMINI",
        "MISTRAL",
        "GROQ",
        "AZURE_OPENAI",
    ];
    let names = hosted.map(|name| format!("{name}_PROVIDER_KEY"));
    let environment = names.each_ref().map(|name| (name.as_str(), "sk"));
    let run = waykeeper_in(&environment, &["check", file.to_str().unwrap()], b"");
    assert_eq!((run.status, run.errors.as_str()), (0, ""), "{}", run.output);
}

/// The keys that are shown.
fn keys(run: &Run) -> BTreeSet<&str> {
    let words = run
        .output
        .split(|it: char| !it.is_ascii_alphanumeric() && it != '-');
    words.filter(|word| word.starts_with("wk-")).collect()
}

#[test]
fn a_file_is_written_whose_key_is_shown_and_stands_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.yaml");

    let run = init(directory.path(), &[]);

    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    good(&file);
    let text = fs::read_to_string(&file).unwrap();
    assert!((18..=25).contains(&text.lines().count()), "{text}");
    assert!(text.contains("  echo: {builtin: echo}\n"), "{text}");
    let keys = keys(&run);
    assert_eq!(keys.len(), 1, "{}", run.output);
    let key = keys.first().unwrap();
    assert_eq!(key.len(), 3 + 64);
    assert!(!text.contains(key), "{text}");
    let hash = waykeeper(&["hash-key"], key.as_bytes()).output;
    assert!(text.contains(hash.trim_end()), "{text}");
    for line in [
        "  waykeeper run gateway.yaml\n",
        &format!(
            "  curl http://127.0.0.1:8080/v1/chat/completions -H 'authorization: Bearer {key}'"
        ),
        &format!("  export OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY={key}\n"),
    ] {
        assert!(run.output.contains(line), "{line}{}", run.output);
    }
    // Nobody is to run it, and that is all that is unusual in it.
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    let usual = directory.path().join("usual");
    File::create(&usual).unwrap();
    assert_eq!(mode, fs::metadata(usual).unwrap().permissions().mode());
}

#[test]
fn no_two_files_have_one_key() {
    let directory = tempfile::tempdir().unwrap();
    let runs = ["a.yaml", "b.yaml"].map(|name| init(directory.path(), &[name]));
    assert_ne!(keys(&runs[0]), keys(&runs[1]));
}

#[test]
fn the_path_may_be_a_directory_or_a_file_of_another_name() {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("inside");
    fs::create_dir(&inside).unwrap();

    let within = init(directory.path(), &["inside"]);
    let named = init(directory.path(), &["inside/it is mine.yaml"]);

    assert!(
        within
            .output
            .contains("  waykeeper run inside/gateway.yaml\n")
    );
    assert!(
        named
            .output
            .contains("  waykeeper run 'inside/it is mine.yaml'\n")
    );
    good(&inside.join("gateway.yaml"));
    good(&inside.join("it is mine.yaml"));
}

#[test]
fn what_is_there_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.yaml");
    fs::write(&file, "mine").unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join("link.yaml")).unwrap();

    for name in ["gateway.yaml", "link.yaml"] {
        let run = init(directory.path(), &[name]);
        assert_eq!(run.status, 1);
        let told = format!(
            "{name}: is there already, and is left as it is; name another file, as in `waykeeper init other.yaml`\n"
        );
        assert_eq!((run.output.as_str(), run.errors), ("", told));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert!(!directory.path().join("nowhere").exists());
}

#[test]
fn where_nothing_can_be_written_that_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let run = init(directory.path(), &["no/where.yaml"]);
    assert_eq!(run.status, 2);
    let told = "waykeeper: no/where.yaml: No such file or directory (os error 2)\n";
    assert_eq!(run.errors, told);
}

/// A key that nobody has seen opens nothing.
#[test]
fn a_file_whose_key_cannot_be_shown_is_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_waykeeper"))
        .arg("init")
        .current_dir(directory.path())
        .stdout(full)
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn there_is_a_beginning_for_every_provider() {
    let schema = waykeeper(&["schema", "--gateway"], b"").output;
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let known = &schema["$defs"]["agent"]["properties"]["provider"]["enum"];
    let directory = tempfile::tempdir().unwrap();
    for provider in PROVIDERS {
        let name = format!("{provider}.yaml");
        let run = init(directory.path(), &["--for", provider, &name]);
        assert_eq!((run.status, run.errors.as_str()), (0, ""));
        let text = fs::read_to_string(directory.path().join(&name)).unwrap();
        let agent = format!("  {provider}: {{provider: {provider}");
        assert!(text.contains(&agent), "{text}");
        if !known.is_null() {
            good(&directory.path().join(name));
        }
    }
    if !known.is_null() {
        assert_eq!(*known, Value::from(PROVIDERS.to_vec()));
    }
    let run = init(directory.path(), &["--for", "opnai"]);
    assert_eq!(run.status, 2);
    assert!(run.errors.contains("'openai'"), "{}", run.errors);
}

/// Nobody who exports both in one shell sends one where the other belongs.
#[test]
fn no_variable_is_for_the_provider_s_key_and_the_gateway_s() {
    let directory = tempfile::tempdir().unwrap();
    for provider in PROVIDERS {
        let name = format!("{provider}.yaml");
        let run = init(directory.path(), &["--for", provider, &name]);
        let exported = run.output.split("export ").skip(1);
        let set = |line: &str| {
            let words = line.lines().next().unwrap().split_whitespace();
            let names = words.map(|it| it.split('=').next().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        let all: Vec<String> = exported.flat_map(set).collect();
        let different: BTreeSet<&String> = all.iter().collect();
        assert_eq!(all.len(), different.len(), "{}", run.output);
    }
}

#[test]
fn a_provider_s_own_key_is_asked_of_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let run = init(directory.path(), &["--for", "anthropic"]);
    let text = fs::read_to_string(directory.path().join("gateway.yaml")).unwrap();
    assert!(
        text.contains("credential: {env: ANTHROPIC_PROVIDER_KEY}"),
        "{text}"
    );
    for line in [
        "  export ANTHROPIC_PROVIDER_KEY=…\n  waykeeper run gateway.yaml\n",
        "  export ANTHROPIC_BASE_URL=http://127.0.0.1:8080 ANTHROPIC_API_KEY=wk-",
    ] {
        assert!(run.output.contains(line), "{line}{}", run.output);
    }
}
