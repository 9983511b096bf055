//! Requests out of a HAR file, as browsers and proxies write them: the whole file, one of its entries, or its request alone.

use serde::Deserialize;
use serde_json::Value;

use super::request::Request;

#[derive(Deserialize)]
struct Asked {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<Named>,
    #[serde(rename = "postData")]
    body: Option<Body>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "mimeType", default)]
    content_type: String,
    text: Option<String>,
    #[serde(default)]
    params: Vec<Named>,
}

/// All requests of a file, in their order.
///
/// # Errors
/// One line that says what is no HAR.
pub(super) fn requests(text: &[u8]) -> Result<Vec<Request>, String> {
    // Some programs write a byte order mark.
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let whole: Value =
        serde_json::from_slice(text).map_err(|error| format!("is no JSON: {error}"))?;
    let entries = whole.get("log").map(|log| log.get("entries"));
    let asked: Vec<&Value> = match (entries, whole.get("request"), whole.get("url")) {
        (Some(Some(Value::Array(entries))), ..) => {
            let requests = entries
                .iter()
                .map(|entry| entry.get("request").unwrap_or(entry));
            requests.collect()
        }
        (None, Some(request), _) => vec![request],
        (None, None, Some(_)) => vec![&whole],
        _ => return Err("is no HAR: it has neither log.entries nor a request".to_owned()),
    };
    if asked.is_empty() {
        return Err("holds no requests".to_owned());
    }
    let requests = asked.into_iter().zip(1..);
    requests
        .map(|(asked, number): (_, usize)| {
            request(asked).map_err(|why| format!("request {number}: {why}"))
        })
        .collect()
}

fn request(asked: &Value) -> Result<Request, String> {
    let asked = Asked::deserialize(asked).map_err(|error| error.to_string())?;
    let mut request = Request {
        method: asked.method,
        ..Request::default()
    };
    request.asks(&asked.url)?;
    let headers = asked.headers.into_iter();
    // What browsers show of HTTP/2 is the method, the host and the path once more.
    let headers = headers.filter(|header| !header.name.starts_with(':'));
    request.headers = headers.map(|header| (header.name, header.value)).collect();
    if let Some(body) = asked.body {
        let of_form = || {
            let fields = body
                .params
                .iter()
                .map(|it| format!("{}={}", it.name, it.value));
            (!body.params.is_empty()).then(|| fields.collect::<Vec<_>>().join("&"))
        };
        request.body = body.text.clone().or_else(of_form).map(String::into_bytes);
        if request.header("content-type").is_none() && !body.content_type.is_empty() {
            request
                .headers
                .push(("content-type".to_owned(), body.content_type));
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"{"request": {"method": "POST", "url": "https://h/v1?a=b", "headers": [{"name": ":authority", "value": "h"},
        {"name": "X-Api-Key", "value": "k"}], "postData": {"mimeType": "application/json", "text": "{}"}}, "response": {}}"#;

    #[test]
    fn a_file_an_entry_and_a_request_are_read() {
        let whole = format!("\u{feff}{{\"log\": {{\"entries\": [{ENTRY}, {ENTRY}]}}}}");
        assert_eq!(requests(whole.as_bytes()).unwrap().len(), 2);
        let alone: Value = serde_json::from_str(ENTRY).unwrap();
        for text in [ENTRY.to_owned(), alone["request"].to_string()] {
            let [request] = &requests(text.as_bytes()).unwrap()[..] else {
                panic!("{text}");
            };
            assert_eq!((&*request.method, &*request.path), ("POST", "/v1?a=b"));
            assert_eq!(request.body.as_deref(), Some(&b"{}"[..]));
            let headers: Vec<_> = request
                .headers
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            assert_eq!(headers, ["X-Api-Key", "content-type"]);
        }
    }

    #[test]
    fn what_is_no_har_is_told() {
        for (text, told) in [
            ("{", "no JSON"),
            ("{}", "neither"),
            ("[]", "neither"),
            ("{\"log\": {}}", "neither"),
            ("{\"log\": {\"entries\": []}}", "no requests"),
            (
                "{\"log\": {\"entries\": [{}]}}",
                "request 1: missing field `method`",
            ),
            (
                "{\"request\": {\"method\": \"GET\", \"url\": \"ftp://x\"}}",
                "ftp",
            ),
        ] {
            let fault = requests(text.as_bytes()).err().unwrap();
            assert!(fault.contains(told), "{text}: {fault}");
        }
    }
}
