//! A request as it goes over the wire, in HTTP/1.1; lines may end without a carriage return, as editors write them. What is wrong
//! is told without a word of what was read: any of it may be a key.

use super::request::Request;
use waykeeper::text::headers::is_token;

const BEGINS: &str = "does not begin with a method, a path and a version, as in POST /v1/chat/completions HTTP/1.1 (a HAR file is read \
                      with --har, a command of curl's with --request @FILE)";

/// Reads one request, with the body behind it.
///
/// # Errors
/// One line that says what is no such request.
pub(super) fn request(text: &[u8]) -> Result<Request, String> {
    let (head, body) = split(text);
    let head = std::str::from_utf8(head).map_err(|_| "its head is not UTF-8")?;
    let mut lines = head.lines().skip_while(|line| line.is_empty());
    let first = lines.next().ok_or("is empty")?;
    let parts: Vec<&str> = first.split_ascii_whitespace().collect();
    let [method, target, version] = parts.as_slice() else {
        return Err(BEGINS.to_owned());
    };
    if !version.starts_with("HTTP/") || !is_token(method.as_bytes()) {
        return Err(BEGINS.to_owned());
    }
    let mut request = Request {
        method: (*method).to_owned(),
        ..Request::default()
    };
    for (number, line) in (2..).zip(lines) {
        let named = line
            .split_once(':')
            .filter(|(name, _)| is_token(name.as_bytes()));
        let (name, value) =
            named.ok_or_else(|| format!("has no header in line {number} of its head"))?;
        request
            .headers
            .push((name.to_owned(), value.trim().to_owned()));
    }
    if target.contains("://") {
        request.asks(target)?;
    } else if target.starts_with('/') {
        request.path = (*target).to_owned();
        request.authority = request
            .header("host")
            .ok_or("has no header host")?
            .to_owned();
    } else {
        return Err("asks in its first line for what is no path, which begins with /".to_owned());
    }
    let coding = request.header("transfer-encoding");
    request.chunked = coding.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let length = request.header("content-length").map(str::parse::<usize>);
    let body = if request.chunked {
        Some(unchunked(body)?)
    } else if let Some(length) = length {
        let length = length.map_err(|_| "has a content-length that is no number")?;
        Some(cut(body, length)?.to_vec())
    } else {
        (!body.is_empty()).then(|| body.to_vec())
    };
    request.body = body;
    Ok(request)
}

/// The head, and what stands behind its empty line.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    // Empty lines may come first.
    let begins = text.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let behind = end + line.len();
        if matches!(line, b"\n" | b"\r\n") && begins.is_some_and(|begins| end > begins) {
            return (
                text.get(..end).unwrap_or_default(),
                text.get(behind..).unwrap_or_default(),
            );
        }
        end = behind;
    }
    (text, &[])
}

/// So many bytes of a body. Editors add a line end.
fn cut(body: &[u8], length: usize) -> Result<&[u8], String> {
    let rest = body.get(length..);
    match rest {
        Some(b"" | b"\n" | b"\r\n") => Ok(body.get(..length).unwrap_or_default()),
        _ => Err(format!(
            "has content-length: {length}, and {} bytes behind its head; leave content-length out, then all of them are its body",
            body.len()
        )),
    }
}

/// A body out of its chunks.
fn unchunked(body: &[u8]) -> Result<Vec<u8>, String> {
    const BAD: &str = "has transfer-encoding: chunked, and no chunks behind its head; leave it out, or write its chunks";
    let (mut whole, mut rest) = (Vec::new(), body);
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(BAD)?;
        let line = rest.get(..end).unwrap_or_default();
        let size = line
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        let size = std::str::from_utf8(size)
            .ok()
            .and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.ok_or(BAD)?;
        rest = rest.get(end + 1..).unwrap_or_default();
        if size == 0 {
            return Ok(whole);
        }
        whole.extend(rest.get(..size).ok_or(BAD)?);
        rest = rest.get(size..).unwrap_or_default();
        let line_end = rest.strip_prefix(b"\r\n").or(rest.strip_prefix(b"\n"));
        rest = line_end.ok_or(BAD)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_either_line_end() {
        let text = "POST /v1?a HTTP/1.1\nHost: h:1\nX-Api-Key:  k \n\n{\"a\":\n1}";
        for text in [text.to_owned(), text.replacen('\n', "\r\n", 4)] {
            let request = request(text.as_bytes()).unwrap();
            assert_eq!(
                (&*request.method, &*request.authority, &*request.path),
                ("POST", "h:1", "/v1?a")
            );
            assert_eq!(request.header("x-api-key"), Some("k"));
            assert_eq!(request.body.as_deref(), Some(&b"{\"a\":\n1}"[..]));
        }
        let bare = request(b"\nGET http://h/x HTTP/1.1\n").unwrap();
        assert_eq!((&*bare.authority, bare.body), ("h", None));
    }

    #[test]
    fn a_body_is_as_long_as_it_says() {
        let body = |head: &str, body: &str| {
            let text = format!("POST / HTTP/1.1\r\nhost: h\r\n{head}\r\n\r\n{body}");
            request(text.as_bytes()).map(|request| request.body.unwrap_or_default())
        };
        assert_eq!(body("content-length: 2", "{}\n").unwrap(), b"{}");
        assert_eq!(
            body(
                "transfer-encoding: chunked",
                "2\r\n{}\r\nA;x\r\n0123456789\r\n0\r\n\r\n"
            )
            .unwrap(),
            b"{}0123456789"
        );
        for (head, text) in [
            ("content-length: 3", "{}"),
            ("content-length: 1", "{}"),
            ("content-length: x", "{}"),
            ("transfer-encoding: chunked", "{}"),
            ("transfer-encoding: chunked", "5\r\n{}"),
        ] {
            assert!(body(head, text).is_err(), "{head} {text}");
        }
    }

    #[test]
    fn what_is_no_request_is_told() {
        for (text, told) in [
            ("", "is empty"),
            ("{}", "does not begin"),
            ("GET / FTP/1", "does not begin"),
            ("GET / HTTP/1.1\n\n", "no header host"),
            ("GET x HTTP/1.1\nhost: h\n\n", "no path"),
            ("GET / HTTP/1.1\nhost h\n\n", "no header in line 2"),
        ] {
            let fault = request(text.as_bytes()).err().unwrap();
            assert!(fault.contains(told), "{text}: {fault}");
        }
    }
}
