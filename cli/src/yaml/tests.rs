//! How scalars are read, and where things stand.

use super::*;

fn one(text: &str) -> Value {
    parse(text).unwrap().into_iter().next().unwrap()
}

fn kind_of(scalar: &str) -> Kind {
    one(&format!("a: {scalar}")).get("a").unwrap().kind.clone()
}

#[test]
fn plain_scalars_are_those_of_yaml_1_2() {
    for (scalar, expected) in [
        ("", Kind::Null),
        ("~", Kind::Null),
        ("null", Kind::Null),
        ("true", Kind::Bool(true)),
        ("FALSE", Kind::Bool(false)),
        ("5", Kind::Number(5.0)),
        ("-5.5e1", Kind::Number(-55.0)),
        ("+.5", Kind::Number(0.5)),
        ("0x1F", Kind::Number(31.0)),
        ("0o17", Kind::Number(15.0)),
        ("0755", Kind::Number(755.0)),
        (".inf", Kind::Number(f64::INFINITY)),
    ] {
        assert_eq!(kind_of(scalar), expected, "{scalar}");
    }
    for word in [
        "yes",
        "on",
        "infinity",
        "NaN",
        "1_000",
        "5m",
        "50/minute",
        "0x",
        "0xfg",
        "1:30",
        "e5",
        "2027-01-31",
    ] {
        assert_eq!(kind_of(word), Kind::Text(word.to_owned()), "{word}");
    }
}

#[test]
fn quotes_and_tags_make_text() {
    for scalar in ["'5'", "\"5\"", "!!str 5", "! 5", "|-\n  5", ">-\n  5"] {
        assert_eq!(kind_of(scalar), Kind::Text("5".to_owned()), "{scalar}");
    }
    assert_eq!(kind_of("!!int 5"), Kind::Number(5.0));
    assert!(
        parse("a: !secret 5")
            .unwrap_err()
            .message
            .contains("!secret")
    );
}

#[test]
fn only_plain_scalars_that_are_read_in_two_ways_are_doubted() {
    let doubted = |scalar: &str| {
        one(&format!("a: {scalar}"))
            .get("a")
            .unwrap()
            .doubt
            .is_some()
    };
    for scalar in [
        "yes", "No", "ON", "off", "y", "0755", "-010", "0o17", "1_000", "12:30:45",
    ] {
        assert!(doubted(scalar), "{scalar}");
    }
    for scalar in [
        "'yes'",
        "\"0755\"",
        "0",
        "10",
        "0.5",
        "true",
        "onward",
        "50/minute",
        "_",
        "a:b",
        "::1",
        "100s",
    ] {
        assert!(!doubted(scalar), "{scalar}");
    }
}

#[test]
fn every_value_knows_its_line() {
    let value = one("# first\na:\n  - x\n  - y: 1\n    z: >\n      text\n      more\nb: {c: d}\n");
    for (steps, line) in [
        (&["a"][..], 2),
        (&["b"], 8),
        (&["b", "c"], 8),
        (&["b", "missing"], 8),
        (&["missing"], 2),
    ] {
        assert_eq!(value.line_of(steps), line, "{steps:?}");
    }
    for (positions, line) in [
        (&[][..], 2),
        (&[0, 0], 3),
        (&[0, 1, 0], 4),
        (&[0, 1, 1], 5),
        (&[0, 9], 2),
        (&[1, 0], 8),
    ] {
        assert_eq!(value.line_at(positions), line, "{positions:?}");
    }
}

#[test]
fn anchors_stand_for_their_values_within_bounds() {
    let value = one("a: &x {k: v}\nb: *x\n");
    assert_eq!(value.get("a"), value.get("b"));
    assert!(parse("a: &x [*x]").is_err());
    assert!(parse("---\na: &x 1\n---\nb: *x\n").is_err());

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        bomb += &format!(
            "a{level}: &a{level} [{}]\n",
            vec![format!("*a{}", level - 1); 10].join(", ")
        );
    }
    assert!(
        parse(&bomb)
            .unwrap_err()
            .message
            .starts_with("more than 2000000 values")
    );
}

#[test]
fn what_anchors_and_aliases_make_of_a_text_is_bounded() {
    let text = "x".repeat(1 << 20);
    let aliases = |count: usize| format!("a: &a {text}\nb: [{}]\n", vec!["*a"; count].join(", "));
    let nested = |count: usize| {
        let anchors: Vec<String> = (0..count).map(|nth| format!("&a{nth} [")).collect();
        format!("a: {}{text}{}\n", anchors.concat(), "]".repeat(count))
    };
    let names = |count: usize| {
        format!(
            "a: &a {{{text}: 1}}\nb: [{}]\n",
            vec!["*a"; count].join(", ")
        )
    };
    for text in [aliases(50), nested(50), names(50)] {
        assert!(parse(&text).is_ok());
    }
    for text in [aliases(20_000), nested(90), names(20_000)] {
        let broken = parse(&text).unwrap_err();
        let told = broken.message.as_str();
        assert!(told.contains("values or 64 MiB of text"), "{told}");
        assert!(broken.line > 0);
    }
    // Nor by being JSON.
    let many = format!("[{}1]", "1,".repeat(2_000_000));
    assert!(parse(&many).is_err());
}

#[test]
fn deep_nesting_is_refused_without_harm() {
    let blocks: String = (0..2_000)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    for text in ["[".repeat(100_000), "a: {b: ".repeat(100_000), blocks] {
        assert!(parse(&text).is_err());
    }
}

#[test]
fn documents_are_read_one_by_one() {
    let documents = parse("---\na: 1\n---\n# nothing\n---\nb: 2\n...\n").unwrap();

    assert_eq!(documents.len(), 2);
    assert_eq!(documents[1].get("b").unwrap().line, 6);
}

proptest::proptest! {
    #[test]
    fn any_text_is_answered(text in "[-a-c:{}\\[\\], \n&*!|>'\"#%?~0-9]{0,60}") {
        let _ = parse(&text);
    }
}
