//! The corpus that is kept, run through the properties without a fuzzer.

use std::fs;
use std::panic;
use std::path::Path;

/// A target's name and its property.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 10] = [
    ("answers", waykeeper_fuzz::answers::check),
    ("bodies", waykeeper_fuzz::bodies::check),
    ("configuration", waykeeper_fuzz::configuration::check),
    ("counters", waykeeper_fuzz::counters::check),
    ("gateway", waykeeper_fuzz::gateway::check),
    ("headers", waykeeper_fuzz::headers::check),
    ("in_flight", waykeeper_fuzz::in_flight::check),
    ("keys", waykeeper_fuzz::keys::check),
    ("paths", waykeeper_fuzz::paths::check),
    ("servers", waykeeper_fuzz::servers::check),
];

#[test]
fn no_input_of_the_corpus_breaks_a_property() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut kept = names(&root);
    kept.sort();
    assert_eq!(
        kept,
        TARGETS.map(|(name, _)| name),
        "each target has its corpus"
    );
    let mut broken = Vec::new();
    for (target, check) in TARGETS {
        let files = names(&root.join(target));
        assert!(files.len() >= 5, "{target} has {} inputs", files.len());
        for file in files {
            let path = root.join(target).join(&file);
            let input = fs::read(&path).expect("a file");
            if panic::catch_unwind(|| check(&input)).is_err() {
                broken.push(path);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

fn names(directory: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a plain name")
        })
        .collect()
}
