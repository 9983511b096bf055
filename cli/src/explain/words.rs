//! A command line taken apart as a shell does it, as far as that needs no shell: quotes, `$'…'`, backslashes, line ends.

/// The words of a command. What is wrong is told without a word of it: any may be a key.
///
/// # Errors
/// One line, where a quote stays open, or something stands there that only a shell can replace.
pub(super) fn words(text: &str) -> Result<Vec<String>, String> {
    let mut rest = text.chars().peekable();
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    while let Some(next) = rest.next() {
        match next {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\\' => match rest.next() {
                // A line that goes on in the next one, however its lines end.
                Some('\n') => {}
                Some('\r') if rest.peek() == Some(&'\n') => {
                    rest.next();
                }
                Some(other) => word.get_or_insert_default().push(other),
                None => return Err("ends in a backslash".to_owned()),
            },
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('\'') => break,
                        Some(other) => word.push(other),
                        None => return Err(open('\'')),
                    }
                }
            }
            '"' => double_quoted(&mut rest, word.get_or_insert_default())?,
            '$' if rest.peek() == Some(&'\'') => {
                rest.next();
                dollar_quoted(&mut rest, word.get_or_insert_default())?;
            }
            '$' | '`' if is_replaced(next, rest.peek().copied()) => {
                return Err(of_shell(next));
            }
            '|' | ';' | '&' | '<' | '>' | '(' | ')' => {
                return Err(format!(
                    "holds {next} outside of quotes, which ends a command of a shell; quote it, or leave out what is not curl's"
                ));
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

fn double_quoted(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    word: &mut String,
) -> Result<(), String> {
    loop {
        match rest.next() {
            Some('"') => return Ok(()),
            Some('\\') => match rest.next() {
                Some('\n') => {}
                Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                Some(other) => word.extend(['\\', other]),
                None => return Err(open('"')),
            },
            Some(next @ ('$' | '`')) if is_replaced(next, rest.peek().copied()) => {
                return Err(of_shell(next));
            }
            Some(other) => word.push(other),
            None => return Err(open('"')),
        }
    }
}

/// What browsers write for values with quotes or line ends in them.
fn dollar_quoted(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    word: &mut String,
) -> Result<(), String> {
    loop {
        match rest.next() {
            Some('\'') => return Ok(()),
            Some('\\') => word.push(match rest.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('u') => code(rest, 4)?,
                Some('U') => code(rest, 8)?,
                Some('x') => code(rest, 2)?,
                Some(other) => other,
                None => return Err(open('\'')),
            }),
            Some(other) => word.push(other),
            None => return Err(open('\'')),
        }
    }
}

/// The character of so many hexadecimal digits at most.
fn code(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, most: usize) -> Result<char, String> {
    let mut digits = String::new();
    while digits.len() < most
        && let Some(digit) = rest.next_if(char::is_ascii_hexdigit)
    {
        digits.push(digit);
    }
    let code = u32::from_str_radix(&digits, 16)
        .ok()
        .and_then(char::from_u32);
    code.ok_or_else(|| "holds an escape of no character".to_owned())
}

/// Whether a shell would put something else in the place of what begins so.
fn is_replaced(first: char, next: Option<char>) -> bool {
    first == '`' || next.is_some_and(|it| it.is_ascii_alphabetic() || "_{(".contains(it))
}

fn of_shell(first: char) -> String {
    format!(
        "holds {first} outside of single quotes, and what begins with it only a shell can replace; let yours do it: waykeeper \
         explain FILE -- curl …"
    )
}

fn open(quote: char) -> String {
    format!("a quote {quote} stays open")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_the_words_that_a_shell_gives_it() {
        for (text, shown) in [
            (
                "curl  -d 'a b'\t\"c \\\"d\\\" \\x\"",
                &["curl", "-d", "a b", "c \"d\" \\x"][..],
            ),
            ("a\\\n b\\\r\n c\\ d", &["a", "b", "c d"]),
            ("-H'x: y'z '' \"\"", &["-Hx: yz", "", ""]),
            ("$'it\\'s\\u0021 \\n' 5$ '$x'", &["it's! \n", "5$", "$x"]),
            ("", &[]),
        ] {
            assert_eq!(
                words(text).as_deref(),
                Ok(&shown.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()[..]),
                "{text}"
            );
        }
    }

    #[test]
    fn what_only_a_shell_can_do_is_told() {
        for (text, told) in [
            ("'a", "stays open"),
            ("\"a", "stays open"),
            ("a\\", "backslash"),
            ("-H \"x-api-key: $KEY\"", "holds $ outside"),
            ("$(cat key)", "holds $ outside"),
            ("`cat`", "shell"),
            ("curl a | jq", "holds |"),
            ("curl http://a/?b&c", "quote it"),
        ] {
            let fault = words(text).unwrap_err();
            assert!(fault.contains(told), "{text}: {fault}");
        }
    }
}
