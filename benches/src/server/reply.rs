//! What is answered to a request, by its path and its key.

const PLAIN: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";
const UNAUTHORIZED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";

pub(super) enum Reply {
    Fixed(&'static [u8]),
    Made(Vec<u8>),
    /// A stream of so many events.
    Events(u64),
}

/// The reply to the first request in `bytes`, and the request's size. `None`: it is not whole yet.
pub(super) fn answer(bytes: &[u8]) -> Option<(Reply, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let body_start = match request.parse(bytes) {
        Ok(httparse::Status::Complete(start)) => start,
        Ok(httparse::Status::Partial) => return None,
        Err(_) => return Some((Reply::Fixed(BAD_REQUEST), bytes.len())),
    };
    let field = |name: &str| {
        let found = request
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name));
        found.map(|field| field.value)
    };
    let (body, end) = match field("transfer-encoding") {
        // The filter's callouts and Envoy's requests of known length have none; a body in chunks is small and whole.
        Some(_) => (&[][..], end_of_chunks(bytes, body_start)?),
        None => {
            let length = field("content-length")
                .and_then(|value| std::str::from_utf8(value).ok()?.parse::<usize>().ok());
            let end = body_start + length.unwrap_or(0);
            (bytes.get(body_start..end)?, end)
        }
    };
    let path = request.path.unwrap_or_default();
    let reply = if path.starts_with("/validate") {
        match key_in_json(body).and_then(client_of) {
            Some(client) => Reply::Made(validated(client)),
            None => Reply::Fixed(UNAUTHORIZED),
        }
    } else if path.starts_with("/authorize") {
        match field("x-api-key").and_then(client_of) {
            Some(client) => Reply::Made(authorized(client)),
            None => Reply::Fixed(UNAUTHORIZED),
        }
    } else if let Some((_, number)) = path.rsplit_once("/events/") {
        Reply::Events(number.parse().unwrap_or(1).max(1))
    } else if path.ends_with("/echo") {
        Reply::Made(echo(bytes.get(..body_start).unwrap_or_default()))
    } else {
        Reply::Fixed(PLAIN)
    };
    Some((reply, end))
}

fn end_of_chunks(bytes: &[u8], start: usize) -> Option<usize> {
    const END: &[u8] = b"0\r\n\r\n";
    let body = bytes.get(start..)?;
    let place = body.windows(END.len()).position(|part| part == END)?;
    Some(start + place + END.len())
}

/// The client that a good key names, as the end of its name.
fn client_of(key: &[u8]) -> Option<&str> {
    let number = std::str::from_utf8(key).ok()?.strip_prefix("key-")?;
    match number.trim_start_matches('0') {
        "" => Some("0"),
        number => Some(number),
    }
}

/// The key in `{"api_key":"…"}`. Keys of ours hold nothing that JSON escapes.
fn key_in_json(body: &[u8]) -> Option<&[u8]> {
    let value = body.strip_prefix(b"{\"api_key\":\"")?;
    value.strip_suffix(b"\"}")
}

fn validated(client: &str) -> Vec<u8> {
    let body = format!("{{\"client_id\":\"client-{client}\",\"plan\":\"standard\"}}");
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn authorized(client: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nx-waykeeper-client: client-{client}\r\nx-waykeeper-plan: standard\r\ncontent-length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn echo(head: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
        head.len()
    )
    .into_bytes();
    bytes.extend_from_slice(head);
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::{bad_key, key};
    use super::*;

    fn text(reply: Reply) -> String {
        match reply {
            Reply::Fixed(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Reply::Made(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Reply::Events(number) => format!("{number} events"),
        }
    }

    #[test]
    fn a_validator_knows_good_keys_and_names_their_clients() {
        let body = format!("{{\"api_key\":\"{}\"}}", key(120));
        let head = format!(
            "POST /validate HTTP/1.1\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let whole = head + &body;
        let (reply, size) = answer(whole.as_bytes()).expect("an answer");
        assert_eq!(size, whole.len());
        assert!(text(reply).ends_with("{\"client_id\":\"client-120\",\"plan\":\"standard\"}"));
        assert!(answer(&whole.as_bytes()[..whole.len() - 1]).is_none());
    }

    #[test]
    fn an_authorizer_refuses_bad_keys() {
        let ask = |key: &str| {
            let request = format!("GET /authorize/v1 HTTP/1.1\r\nX-Api-Key: {key}\r\n\r\n");
            text(answer(request.as_bytes()).expect("an answer").0)
        };
        assert!(ask(&key(0)).contains("x-waykeeper-client: client-0\r\n"));
        assert!(ask(&bad_key(0)).starts_with("HTTP/1.1 401"));
    }
}
