//! A request in the words of curl's command line. What is wrong is told without a word of what was read but options' names: any may
//! be a key.

use std::fs;
use std::io::{self, Read};

mod form;
mod options;

use super::request::Request;
use options::{is_passed, long, takes_word};

/// As curl names itself, whichever it is.
const AGENT: &str = "curl/8.0.0";

/// What a command line says, as far as it was read.
#[derive(Default)]
struct Line {
    url: Option<String>,
    method: Option<String>,
    headers: Vec<String>,
    data: Option<Vec<u8>>,
    json: bool,
    /// The data are the parts of a form.
    parts: bool,
    get: bool,
    head: bool,
    more_query: Vec<String>,
    user_agent: Option<String>,
    user: Option<String>,
    bearer: Option<String>,
    referer: Option<String>,
    cookies: Vec<String>,
    range: Option<String>,
    compressed: bool,
}

/// Reads the words of a command, with or without `curl` before them.
///
/// # Errors
/// One line that says which of them is not understood.
pub(super) fn request(words: &[String]) -> Result<Request, String> {
    let is_of_url = |word: &String| word.contains([':', '/', '.']);
    if let [first, others @ ..] = words
        && !first.starts_with('-')
        && first != "curl"
        && !is_of_url(first)
        && others
            .iter()
            .any(|word| !word.starts_with('-') && is_of_url(word))
    {
        return Err(
            "the command begins with a word that is neither curl nor a url; it is written as for curl, and begins with curl"
                .to_owned(),
        );
    }
    let mut words = words.iter().map(String::as_str).peekable();
    words.next_if(|word| *word == "curl" || word.ends_with("/curl"));
    let mut read = Line::default();
    let mut only_urls = false;
    while let Some(word) = words.next() {
        match word {
            _ if only_urls || !word.starts_with('-') || word == "-" => read.asks(word)?,
            "--" => only_urls = true,
            _ => match word.strip_prefix("--") {
                Some(name) => read.option(&format!("--{name}"), name, None, &mut words)?,
                None => read.short(word, &mut words)?,
            },
        }
    }
    read.finish()
}

impl Line {
    fn asks(&mut self, url: &str) -> Result<(), String> {
        match &self.url {
            Some(_) => Err(
                "asks for more than one url; one request is explained at a time. Does what belongs to an option stand in quotes?"
                    .to_owned(),
            ),
            None => {
                self.url = Some(url.to_owned());
                Ok(())
            }
        }
    }

    /// Short options, several in one word, of which the last may have its own word behind it.
    fn short<'w>(
        &mut self,
        word: &'w str,
        words: &mut impl Iterator<Item = &'w str>,
    ) -> Result<(), String> {
        for (at, letter) in word.char_indices().skip(1) {
            let Some(name) = long(letter) else {
                return Err(format!(
                    "the option -{letter} of curl is not understood here"
                ));
            };
            let behind = word
                .get(at + letter.len_utf8()..)
                .filter(|rest| !rest.is_empty());
            if takes_word(name) {
                return self.option(&format!("-{letter}"), name, behind, words);
            }
            self.option(&format!("-{letter}"), name, None, &mut std::iter::empty())?;
        }
        Ok(())
    }

    fn option<'w>(
        &mut self,
        shown: &str,
        name: &str,
        behind: Option<&'w str>,
        words: &mut impl Iterator<Item = &'w str>,
    ) -> Result<(), String> {
        let value = if takes_word(name) {
            let value = behind.or_else(|| words.next());
            value.ok_or_else(|| format!("behind {shown} a word is missing"))?
        } else {
            ""
        };
        match name {
            "request" => self.method = Some(value.to_owned()),
            "url" => self.asks(value)?,
            "header" => match value.strip_prefix('@') {
                Some(file) => {
                    let text = String::from_utf8(bytes_of(file)?)
                        .map_err(|_| format!("the file behind the @ of {shown} is not UTF-8"))?;
                    self.headers.extend(text.lines().map(str::to_owned));
                }
                None => self.headers.push(value.to_owned()),
            },
            "data" | "data-ascii" => {
                let data = match value.strip_prefix('@') {
                    Some(file) => bytes_of(file)?
                        .into_iter()
                        .filter(|byte| !matches!(byte, b'\r' | b'\n' | 0))
                        .collect(),
                    None => value.into(),
                };
                self.add(data);
            }
            "data-raw" => self.add(value.into()),
            "data-binary" => self.add(data_of(value)?),
            "data-urlencode" => self.add(encoded(value)?.into_bytes()),
            "json" => {
                // As one text, and not as fields of a form.
                self.data.get_or_insert_default().extend(data_of(value)?);
                self.json = true;
            }
            "form" => self.add_part(&form::part(value)?),
            "form-string" => self.add_part(&form::plain(value)?),
            "url-query" => self.more_query.push(match value.strip_prefix('+') {
                Some(as_it_is) => as_it_is.to_owned(),
                None => encoded(value)?,
            }),
            "get" => self.get = true,
            "head" => self.head = true,
            "user-agent" => self.user_agent = Some(value.to_owned()),
            "user" => self.user = Some(value.to_owned()),
            "oauth2-bearer" => self.bearer = Some(value.to_owned()),
            "referer" => self.referer = Some(value.to_owned()),
            "range" => self.range = Some(value.to_owned()),
            "cookie" if value.contains('=') => self.cookies.push(value.to_owned()),
            "compressed" => self.compressed = true,
            "disable" => {}
            _ if is_passed(name) => {}
            _ => {
                return Err(not_understood(shown));
            }
        }
        Ok(())
    }

    fn add(&mut self, data: Vec<u8>) {
        match &mut self.data {
            Some(before) => {
                before.push(b'&');
                before.extend(data);
            }
            None => self.data = Some(data),
        }
    }

    /// Another part of a form, which ends when all parts have come.
    fn add_part(&mut self, part: &[u8]) {
        self.data.get_or_insert_default().extend(part);
        self.parts = true;
    }

    fn finish(mut self) -> Result<Request, String> {
        let url = self.url.take().ok_or("asks for no url")?;
        let mut request = Request::default();
        request.asks(&url)?;
        let mut query = std::mem::take(&mut self.more_query);
        if self.get
            && let Some(data) = self.data.take()
        {
            query.push(String::from_utf8(data).map_err(|_| "-G with data that is no text")?);
        }
        for part in query {
            let between = if request.path.contains('?') { '&' } else { '?' };
            request.path.push(between);
            request.path.push_str(&part);
        }
        request.method = match (self.method.take(), self.head, &self.data) {
            (Some(method), ..) => method,
            (None, true, _) => "HEAD".to_owned(),
            (None, false, Some(_)) => "POST".to_owned(),
            (None, false, None) => "GET".to_owned(),
        };
        self.headers_of(&url, &mut request)?;
        if self.parts
            && let Some(data) = &mut self.data
        {
            data.extend(form::end());
        }
        request.body = self.data;
        Ok(request)
    }

    /// The headers that curl sends: its own, unless others of their names are written, and those that are written.
    fn headers_of(&self, url: &str, request: &mut Request) -> Result<(), String> {
        let mut own: Vec<(&str, String)> = vec![
            (
                "User-Agent",
                self.user_agent.clone().unwrap_or_else(|| AGENT.to_owned()),
            ),
            (
                "Accept",
                if self.json { "application/json" } else { "*/*" }.to_owned(),
            ),
        ];
        let in_url = url.split_once("://").map_or(url, |(_, rest)| rest);
        let in_url = in_url
            .split(['/', '?'])
            .next()
            .and_then(|it| it.rsplit_once('@'));
        let user = self.user.as_deref().or(in_url.map(|(user, _)| user));
        if let Some(bearer) = &self.bearer {
            own.push(("Authorization", format!("Bearer {bearer}")));
        } else if let Some(user) = user {
            own.push((
                "Authorization",
                format!("Basic {}", base64(user.as_bytes())),
            ));
        }
        if let Some(referer) = &self.referer {
            own.push(("Referer", referer.clone()));
        }
        if let Some(range) = &self.range {
            own.push(("Range", format!("bytes={range}")));
        }
        if !self.cookies.is_empty() {
            own.push(("Cookie", self.cookies.join("; ")));
        }
        if self.compressed {
            own.push(("Accept-Encoding", "deflate, gzip, br, zstd".to_owned()));
        }
        let is_form = self.data.is_some() && !self.json && !self.parts;
        if self.json {
            own.push(("Content-Type", "application/json".to_owned()));
        } else if self.parts {
            own.push(("Content-Type", form::content_type()));
        } else if is_form {
            own.push((
                "Content-Type",
                "application/x-www-form-urlencoded".to_owned(),
            ));
        }
        let mut written = Vec::new();
        let mut named: Vec<&str> = Vec::new();
        for line in &self.headers {
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                continue;
            }
            if let Some((name, value)) = line.split_once(':') {
                named.push(name.trim());
                // Nothing behind the colon takes curl's own away.
                if !value.trim().is_empty() {
                    written.push((name.trim().to_owned(), value.trim().to_owned()));
                }
            } else if let Some(name) = line.strip_suffix(';') {
                named.push(name);
                written.push((name.to_owned(), String::new()));
            } else {
                return Err("a header (-H) has no colon".to_owned());
            }
        }
        let is_named = |name: &str| named.iter().any(|other| other.eq_ignore_ascii_case(name));
        if is_form && !is_named("content-type") {
            request.notes.push(
                "with -d curl says that it sends a form (application/x-www-form-urlencoded); for a body of JSON add -H 'content-type: application/json', or write --json in place of -d"
                    .to_owned(),
            );
        }
        own.retain(|(name, _)| !is_named(name));
        request.headers = own
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        request.chunked = written.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked")
        });
        request.headers.extend(written);
        Ok(())
    }
}

/// What stands behind an `@` is read from that file, `-` from standard input.
fn data_of(value: &str) -> Result<Vec<u8>, String> {
    match value.strip_prefix('@') {
        Some(file) => bytes_of(file),
        None => Ok(value.into()),
    }
}

pub(super) fn bytes_of(file: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = if file == "-" {
        io::stdin().lock().read_to_end(&mut bytes).map(|_| ())
    } else {
        fs::read(file).map(|read| bytes = read)
    };
    read.map_err(|error| {
        format!("a file that the command names, behind an @ or <, is not read: {error}")
    })?;
    Ok(bytes)
}

/// Said of an option. What stands behind `=`, or looks like no option of curl's, may be a key that has got there.
fn not_understood(shown: &str) -> String {
    let (name, value) = shown
        .split_once('=')
        .map_or((shown, None), |(name, value)| (name, Some(value)));
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    let known = match name.strip_prefix("--") {
        Some(long) => takes_word(long),
        None => true,
    };
    if known && value.is_some() {
        return format!(
            "behind {name} stands =; curl has the word of an option apart: {name} WORD"
        );
    }
    let name = if name.len() <= 24 && (known || name.bytes().all(is_plain)) {
        format!("the option {name} of curl")
    } else {
        "an option".to_owned()
    };
    format!("{name} is not understood here; leave it out, or write what it does as -H and -d")
}

/// A value of `--data-urlencode`: `content`, `=content`, `name=content`, `@file` or `name@file`.
fn encoded(value: &str) -> Result<String, String> {
    let escaped = |bytes: &[u8]| {
        let byte = |byte: &u8| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
                char::from(*byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        };
        bytes.iter().map(byte).collect::<String>()
    };
    let end = value.find(['=', '@']);
    let Some(end) = end else {
        return Ok(escaped(value.as_bytes()));
    };
    let (name, rest) = value.split_at(end);
    let content = match rest.strip_prefix('=') {
        Some(content) => escaped(content.as_bytes()),
        None => escaped(&bytes_of(rest.strip_prefix('@').unwrap_or_default())?),
    };
    Ok(if name.is_empty() {
        content
    } else {
        format!("{name}={content}")
    })
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4_usize {
            let six = (bits >> (18 - 6 * at)) & 63;
            let letter = LETTERS.get(six as usize).copied().unwrap_or(b'=');
            text.push(if at <= three.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests;
