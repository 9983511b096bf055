//! One HTTP/1.1 request on a connection of its own: to see whether a gateway serves, and what it does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Error;

/// Longer than any answer of ours takes, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP's status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, as text.
    pub body: String,
}

impl Answer {
    /// The first value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Sends GET `path` and takes the whole answer.
///
/// # Errors
/// If there is none.
pub fn get(address: SocketAddr, path: &str, headers: &[(String, String)]) -> Result<Answer, Error> {
    exchange(address, &format!("GET {path}"), headers, "")
}

/// Sends POST `path` with a body and takes the whole answer.
///
/// # Errors
/// If there is none.
pub fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(String, String)],
    body: &str,
) -> Result<Answer, Error> {
    let mut headers = headers.to_vec();
    headers.push(("content-length".to_owned(), body.len().to_string()));
    exchange(address, &format!("POST {path}"), &headers, body)
}

fn exchange(
    address: SocketAddr,
    asked: &str,
    headers: &[(String, String)],
    body: &str,
) -> Result<Answer, Error> {
    let failed = |error: std::io::Error| Error::new(format!("{asked} at {address}: {error}"));
    let mut request = format!("{asked} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    request += body;
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let size = stream.read(&mut chunk).map_err(failed)?;
        bytes.extend_from_slice(chunk.get(..size).unwrap_or_default());
        match parse(&bytes) {
            Some(answer) => return Ok(answer),
            None if size > 0 => {}
            None => {
                let text = String::from_utf8_lossy(&bytes);
                return Err(Error::new(format!(
                    "{asked} at {address}: no whole answer in \"{text}\""
                )));
            }
        }
    }
}

/// The answer, if it is whole. All servers here say where theirs ends.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let start = match response.parse(bytes).ok()? {
        httparse::Status::Complete(start) => start,
        httparse::Status::Partial => return None,
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let answer = Answer {
        status: response.code?,
        headers: response
            .headers
            .iter()
            .map(|field| (field.name.to_ascii_lowercase(), text(field.value)))
            .collect(),
        body: String::new(),
    };
    let rest = bytes.get(start..)?;
    let body = match answer.header("transfer-encoding") {
        Some("chunked") => text(&unchunked(rest)?),
        _ => {
            let length: usize = answer.header("content-length")?.parse().ok()?;
            text(rest.get(..length)?)
        }
    };
    Some(Answer { body, ..answer })
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(rest).ok()? {
            httparse::Status::Complete(found) => found,
            httparse::Status::Partial => return None,
        };
        let size = usize::try_from(size).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend(rest.get(start..start + size)?);
        rest = rest.get(start + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_chunks_is_put_together() {
        let answer = parse(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        );
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, "abcde"));
    }

    #[test]
    fn an_answer_is_not_taken_before_it_is_whole() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab";
        assert!(parse(&whole[..whole.len() - 1]).is_none());
        assert_eq!(parse(whole).expect("an answer").body, "ab");
    }
}
