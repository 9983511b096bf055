//! `waykeeper hash-key`.

use crate::waykeeper;

const OF_TEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n";

#[test]
fn one_line_s_end_is_no_part_of_the_key() {
    for input in ["test", "test\n", "test\r\n"] {
        let run = waykeeper(&["hash-key"], input.as_bytes());
        assert_eq!((run.status, run.output.as_str()), (0, OF_TEST), "{input:?}");
    }
}

#[test]
fn what_cannot_be_a_key_is_refused_and_not_repeated() {
    let longest = "k".repeat(4096);
    assert_eq!(waykeeper(&["hash-key"], longest.as_bytes()).status, 0);
    assert_eq!(
        waykeeper(&["hash-key"], format!("{longest}\r\n").as_bytes()).status,
        0
    );

    let too_long = "k".repeat(4097);
    for input in [
        "",
        "\n",
        "secret one",
        "secret\n\n",
        " secret",
        "sécret",
        "secret\0",
        &too_long,
    ] {
        let run = waykeeper(&["hash-key"], input.as_bytes());
        assert_eq!((run.status, run.output.as_str()), (1, ""), "{input:?}");
        assert!(
            !run.errors.is_empty() && !run.errors.contains("cret") && !run.errors.contains("kk"),
            "{}",
            run.errors
        );
    }
}

#[test]
fn a_key_among_the_arguments_is_refused() {
    let run = waykeeper(&["hash-key", "test"], b"");

    assert_eq!((run.status, run.output.as_str()), (2, ""));
}
