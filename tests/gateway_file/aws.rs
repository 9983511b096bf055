//! AWS's Signature Version 4, as the services verify it: from the request alone, and the secret that both know.

use ring::{digest, hmac};

use crate::stand_in::Came;

/// Verifies that a request was signed for this region and service by who has this secret.
///
/// # Errors
/// What is wrong, or both signatures.
pub(crate) fn verify(
    came: &Came,
    id: &str,
    secret: &str,
    scope: (&str, &str),
) -> Result<(), String> {
    let (region, service) = scope;
    let authorization = came.header("authorization").ok_or("not signed")?;
    let fields = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or("signed in another way")?;
    let field = |name: &str| {
        let mut fields = fields.split(", ");
        let found = fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        found.ok_or(format!("no {name}"))
    };
    let date = came.header("x-amz-date").ok_or("no date")?;
    let day = date.get(..8).ok_or("no day")?;
    let of = format!("{day}/{region}/{service}/aws4_request");
    if field("Credential")? != format!("{id}/{of}") {
        return Err(format!("for another: {fields}"));
    }
    let hash = hex(digest::digest(&digest::SHA256, &came.body).as_ref());
    if came.header("x-amz-content-sha256") != Some(&hash) {
        return Err("another body".to_owned());
    }
    let signed = field("SignedHeaders")?;
    if !["host", "x-amz-date"]
        .iter()
        .all(|it| signed.split(';').any(|name| name == *it))
    {
        return Err(format!("not all that must be is signed: {signed}"));
    }
    let mut headers = String::new();
    for name in signed.split(';') {
        let value = match name {
            "host" => came.host.as_str(),
            name => came.header(name).ok_or(format!("no {name}"))?,
        };
        headers += &format!("{name}:{}\n", value.trim());
    }
    let (path, query) = came.path.split_once('?').unwrap_or((&came.path, ""));
    let path = escaped(path);
    let request = format!(
        "{}\n{path}\n{query}\n{headers}\n{signed}\n{hash}",
        came.method
    );
    let request = hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{of}\n{request}");
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [day, region, service, "aws4_request"] {
        key = mac(&key, part);
    }
    let expected = hex(&mac(&key, &text));
    match field("Signature")? {
        signature if signature == expected => Ok(()),
        signature => Err(format!("{signature} in place of {expected}")),
    }
}

/// Escaped once more than it was sent.
fn escaped(path: &str) -> String {
    let escape = |byte: u8| match byte {
        b'/' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    path.bytes().map(escape).collect()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
