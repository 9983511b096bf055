//! The parts of a form, as `-F` writes them.

/// Between them. curl draws one each time.
const BOUNDARY: &str = "------------------------waykeeper-explains";

/// The type of a body of such parts.
pub(super) fn content_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// What stands behind the last part.
pub(super) fn end() -> Vec<u8> {
    format!("--{BOUNDARY}--\r\n").into_bytes()
}

/// A part: `name=content`, `name=@file` or `name=<file`, each with `;type=…` and `;filename=…` behind it if need be.
///
/// # Errors
/// One line, where it is none, or its file cannot be read.
pub(super) fn part(text: &str) -> Result<Vec<u8>, String> {
    let (name, content) = named(text)?;
    let mut pieces = content.split(';');
    let content = pieces.next().unwrap_or_default();
    let (mut kind, mut called) = (None, None);
    for piece in pieces {
        match piece.trim().split_once('=') {
            Some(("type", it)) => kind = Some(it.to_owned()),
            Some(("filename", it)) => called = Some(it.trim_matches('"').to_owned()),
            _ => return Err(
                "a form (-F) has a ; that begins neither type= nor filename=; write --form-string"
                    .to_owned(),
            ),
        }
    }
    let bytes = match (content.strip_prefix('@'), content.strip_prefix('<')) {
        (Some(file), _) => {
            let last = file.rsplit('/').next().unwrap_or(file);
            called.get_or_insert_with(|| last.to_owned());
            kind.get_or_insert_with(|| "application/octet-stream".to_owned());
            super::bytes_of(file)?
        }
        (None, Some(file)) => super::bytes_of(file)?,
        (None, None) => content.into(),
    };
    Ok(written(name, called.as_deref(), kind.as_deref(), &bytes))
}

/// A part whose content is what is written.
///
/// # Errors
/// One line, where it is none.
pub(super) fn plain(text: &str) -> Result<Vec<u8>, String> {
    let (name, content) = named(text)?;
    Ok(written(name, None, None, content.as_bytes()))
}

fn named(text: &str) -> Result<(&str, &str), String> {
    let named = text.split_once('=');
    named.ok_or_else(|| "a part of a form (-F) has no name; write name=content".to_owned())
}

fn written(name: &str, called: Option<&str>, kind: Option<&str>, content: &[u8]) -> Vec<u8> {
    let called = called.map_or(String::new(), |called| format!("; filename=\"{called}\""));
    let kind = kind.map_or(String::new(), |kind| format!("Content-Type: {kind}\r\n"));
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{called}\r\n{kind}\r\n"
    );
    [head.as_bytes(), content, b"\r\n"].concat()
}
