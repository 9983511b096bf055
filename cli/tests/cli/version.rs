//! `waykeeper version`, on the real module.

use crate::{repository, waykeeper};

fn version_of(path: &std::path::Path) -> crate::Run {
    waykeeper(&["version", path.to_str().unwrap()], b"")
}

#[test]
fn the_tool_and_the_module_that_was_built_with_it_say_one_version() {
    let module = repository("target/waykeeper.wasm");
    assert!(module.exists(), "the module is missing: run `make build`");
    let expected = (0, concat!(env!("CARGO_PKG_VERSION"), "\n"));
    for run in [waykeeper(&["version"], b""), version_of(&module)] {
        assert_eq!(
            (run.status, run.output.as_str()),
            expected,
            "{}",
            run.errors
        );
    }
}

#[test]
fn what_has_no_version_is_told_apart_from_what_cannot_be_read() {
    let no_module = version_of(&repository("README.md"));
    assert_eq!(no_module.status, 1);
    assert!(
        no_module
            .errors
            .ends_with("README.md: is no WebAssembly module\n")
    );
    let missing = version_of(&repository("nowhere.wasm"));
    assert_eq!(missing.status, 2);
    assert!(missing.errors.contains("nowhere.wasm: No such file"));
}
