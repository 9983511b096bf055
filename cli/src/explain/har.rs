//! Requests out of a HAR file, as browsers and proxies write them: the whole file, one of its entries, or its request alone. What
//! is wrong is told without a word of what was read: any of it may be a key.

use serde_json::Value;

use super::request::Request;

/// All requests of a file, in their order.
///
/// # Errors
/// One line that says what is no HAR.
pub(super) fn requests(text: &[u8]) -> Result<Vec<Request>, String> {
    // Some programs write a byte order mark.
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let whole: Value = serde_json::from_slice(text).map_err(|error| no_json(&error))?;
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

/// Where it is none: what the error itself says may show what stands there.
fn no_json(error: &serde_json::Error) -> String {
    format!(
        "is no JSON, at line {} column {}",
        error.line(),
        error.column()
    )
}

fn request(asked: &Value) -> Result<Request, String> {
    let needed = |name: &str| text(asked, name)?.ok_or_else(|| format!("has no {name}"));
    let mut request = Request {
        method: needed("method")?,
        ..Request::default()
    };
    request.asks(&needed("url")?)?;
    let headers = pairs(asked, "headers")?.into_iter();
    // What browsers show of HTTP/2 is the method, the host and the path once more.
    request.headers = headers.filter(|(name, _)| !name.starts_with(':')).collect();
    let Some(body) = asked.get("postData").filter(|body| !body.is_null()) else {
        return Ok(request);
    };
    if !body.is_object() {
        return Err("postData is no object".to_owned());
    }
    let fields = pairs(body, "params")?.into_iter();
    let fields: Vec<String> = fields
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let of_form = (!fields.is_empty()).then(|| fields.join("&"));
    request.body = text(body, "text")?.or(of_form).map(String::into_bytes);
    let content_type = text(body, "mimeType")?.filter(|it| !it.is_empty());
    if let (None, Some(content_type)) = (request.header("content-type"), content_type) {
        (request.headers).push(("content-type".to_owned(), content_type));
    }
    Ok(request)
}

/// A text, if it stands there.
fn text(around: &Value, name: &str) -> Result<Option<String>, String> {
    match around.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} is no text")),
    }
}

/// A list of names with their values, if it stands there.
fn pairs(around: &Value, name: &str) -> Result<Vec<(String, String)>, String> {
    let bad = || format!("{name} is no list of objects, each with a name and a value");
    let list = match around.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(list) => list.as_array().ok_or_else(bad)?,
    };
    let pair = |item: &Value| {
        let name = text(item, "name").ok()??;
        Some((name, text(item, "value").ok()?.unwrap_or_default()))
    };
    let pairs = list.iter().map(|item| pair(item).ok_or_else(bad));
    pairs.collect()
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
            ("{\"log\": {\"entries\": [{}]}}", "request 1: has no method"),
            (
                "{\"request\": {\"method\": \"GET\", \"url\": \"ftp://x\"}}",
                "another scheme",
            ),
        ] {
            let fault = requests(text.as_bytes()).err().unwrap();
            assert!(fault.contains(told), "{text}: {fault}");
        }
    }
}
