//! Models that stand in paths and queries, as Azure OpenAI's, Gemini's and Bedrock's interfaces and OpenAI's realtime one have them,
//! where others name them in the body.

use std::borrow::Cow;
use std::ops::Range;

use super::path::BadPath;
use crate::text::escapes::{decoded, escaped, form_decoded};
use crate::text::paths::{split_once, split_query};

/// Where a path names its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInPath {
    /// The model, without escapes.
    pub name: Vec<u8>,
    /// The bytes of the path that stand for it.
    pub place: Range<usize>,
    /// The path up to the name's end, without escapes, where it is a resource's as Google has them: `…/models/NAME`.
    pub resource: Option<Vec<u8>>,
}

/// What Bedrock's paths end with, behind `/model/NAME/`.
const BEDROCK: [&[u8]; 6] = [
    b"converse",
    b"converse-stream",
    b"invoke",
    b"invoke-with-response-stream",
    b"invoke-with-bidirectional-stream",
    b"count-tokens",
];

/// What stands before a name in a path.
const BEFORE_NAMES: [&[u8]; 4] = [b"deployments", b"engines", b"models", b"model"];

/// Parameters of a query that name a model.
const PARAMETERS: [&[u8]; 2] = [b"model", b"deployment"];

/// The model that a path names: `/deployments/NAME/…` (Azure OpenAI), `/engines/NAME/…` (OpenAI's first interface, which others
/// still have), `/models/NAME:verb` (Gemini, Vertex AI), `/model/NAME/converse` and the like (Bedrock), or its query, by `model`
/// (OpenAI's realtime interface; some servers have it go before the body's) or `deployment` (Azure's). Some servers do not mind the
/// case of these words.
///
/// # Errors
/// When the segment that names it has parameters (`;…`), which some agents strip; when one of these words stands in a segment
/// with encoded slashes, which some agents take apart; when the path names two; or the name has control characters, at which some
/// readers stop.
pub fn model_in_path(path: &[u8]) -> Result<Option<ModelInPath>, BadPath> {
    let (before_query, query) = split_query(path);
    let mut found = in_segments(before_query)?;
    if let Some(query) = query {
        let start = path.len() - query.len();
        for named in in_query(query, start) {
            if found.is_some() || query.contains(&b';') {
                return Err(BadPath);
            }
            found = Some(named);
        }
    }
    match found {
        Some(found) if found.name.iter().any(u8::is_ascii_control) => Err(BadPath),
        found => Ok(found),
    }
}

/// The parameters that name a model. Some readers part them by `;` as well.
fn in_query(query: &[u8], start: usize) -> impl Iterator<Item = ModelInPath> {
    let mut start = start;
    let parameters = query.split(|byte| matches!(*byte, b'&' | b';'));
    parameters.filter_map(move |parameter| {
        let place = start..start + parameter.len();
        start = place.end + 1;
        let (name, value) = split_once(parameter, b'=');
        let (name, value) = (decoded(name, |_| true), value.unwrap_or_default());
        let mut names = PARAMETERS.iter();
        if !names.any(|it| name.trim_ascii().eq_ignore_ascii_case(it)) {
            return None;
        }
        Some(ModelInPath {
            name: form_decoded(value),
            place: place.end - value.len()..place.end,
            resource: None,
        })
    })
}

fn in_segments(path: &[u8]) -> Result<Option<ModelInPath>, BadPath> {
    let mut found = None;
    let mut before: Cow<'_, [u8]> = Cow::Borrowed(b"");
    let mut start = 0;
    for segment in path.split(|byte| *byte == b'/') {
        let place = start..start + segment.len();
        start = place.end + 1;
        // Some servers take two slashes for one.
        if segment.is_empty() {
            continue;
        }
        if let Some(named) = named(&before, segment, path.get(start..).unwrap_or_default()) {
            if found.is_some() || segment.contains(&b';') {
                return Err(BadPath);
            }
            let place = place.start..place.start + named.len();
            let name = decoded(named, |_| true);
            let is_resource = before.eq_ignore_ascii_case(b"models");
            let whole = path.get(..place.end).filter(|_| is_resource);
            let resource = whole.map(|whole| decoded(whole, |_| true));
            found = Some(ModelInPath {
                name,
                place,
                resource,
            });
        }
        before = plain(segment);
        let mut parts = before.split(|byte| *byte == b'/');
        if before.contains(&b'/') && parts.any(is_before_name) {
            return Err(BadPath);
        }
    }
    Ok(found)
}

fn is_before_name(segment: &[u8]) -> bool {
    BEFORE_NAMES
        .iter()
        .any(|word| segment.eq_ignore_ascii_case(word))
}

/// The path with another model in it. What no path holds is escaped.
#[must_use]
pub fn with_model(path: &[u8], place: &Range<usize>, model: &str) -> Vec<u8> {
    let mut renamed = path.get(..place.start).unwrap_or_default().to_vec();
    for byte in model.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            renamed.push(byte);
        } else {
            renamed.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    renamed.extend_from_slice(path.get(place.end..).unwrap_or_default());
    renamed
}

/// The part of a segment that names a model: by what stands before it and behind it.
fn named<'a>(before: &[u8], segment: &'a [u8], behind: &[u8]) -> Option<&'a [u8]> {
    let is = |word: &[u8]| before.eq_ignore_ascii_case(word);
    if is(b"deployments") || is(b"engines") {
        return Some(segment);
    }
    if is(b"models") {
        return before_verb(segment);
    }
    let next = behind
        .split(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    let verb = plain(next);
    let of_bedrock = BEDROCK.iter().any(|word| verb.eq_ignore_ascii_case(word));
    (is(b"model") && of_bedrock).then_some(segment)
}

/// What stands before the last colon, if one does.
fn before_verb(segment: &[u8]) -> Option<&[u8]> {
    let mut rest = segment;
    let mut colon = None;
    while let [first, behind @ ..] = rest {
        if *first == b':' || escaped(rest) == Some(b':') {
            colon = Some(segment.len() - rest.len());
        }
        rest = behind;
    }
    segment.get(..colon?)
}

/// A segment as most servers read it: without parameters and escapes.
fn plain(segment: &[u8]) -> Cow<'_, [u8]> {
    let name = crate::text::paths::segment_name(segment);
    if name.contains(&b'%') {
        Cow::Owned(decoded(name, |_| true))
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_interfaces_name_the_model_in_the_path() {
        for (path, name, renamed) in [
            (
                "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
                "gpt-4o",
                "/openai/deployments/m%2F1/chat/completions?api-version=2024-10-21",
            ),
            (
                "/openai/Deployments/gpt%2D4o/embeddings",
                "gpt-4o",
                "/openai/Deployments/m%2F1/embeddings",
            ),
            (
                "/v1beta/models/gemini-2.0-flash:generateContent",
                "gemini-2.0-flash",
                "/v1beta/models/m%2F1:generateContent",
            ),
            (
                "/v1beta/models/gemini%3AstreamGenerateContent?alt=sse",
                "gemini",
                "/v1beta/models/m%2F1%3AstreamGenerateContent?alt=sse",
            ),
            (
                "/v1/projects/p/locations/l/publishers/google/models/g:predict",
                "g",
                "/v1/projects/p/locations/l/publishers/google/models/m%2F1:predict",
            ),
            (
                "/model/anthropic.claude-3-haiku-20240307-v1:0/converse-stream",
                "anthropic.claude-3-haiku-20240307-v1:0",
                "/model/m%2F1/converse-stream",
            ),
            (
                "/model/amazon.nova-sonic-v1:0/invoke-with-bidirectional-stream",
                "amazon.nova-sonic-v1:0",
                "/model/m%2F1/invoke-with-bidirectional-stream",
            ),
            ("/model/us.x%3A0/invoke", "us.x:0", "/model/m%2F1/invoke"),
            (
                "/v1/engines/davinci/completions",
                "davinci",
                "/v1/engines/m%2F1/completions",
            ),
            (
                "/openai//deployments//gpt-4o/chat",
                "gpt-4o",
                "/openai//deployments//m%2F1/chat",
            ),
            (
                "/v1/realtime?intent=a&model=gpt%2D4o&x=1",
                "gpt-4o",
                "/v1/realtime?intent=a&model=m%2F1&x=1",
            ),
            ("/x?M%4fdel=a+b", "a b", "/x?M%4fdel=m%2F1"),
            (
                "/openai/realtime?deployment=a",
                "a",
                "/openai/realtime?deployment=m%2F1",
            ),
        ] {
            let found = model_in_path(path.as_bytes()).unwrap().unwrap();
            assert_eq!(String::from_utf8_lossy(&found.name), name, "{path}");
            let path = with_model(path.as_bytes(), &found.place, "m/1");
            assert_eq!(String::from_utf8_lossy(&path), renamed);
        }
    }

    #[test]
    fn other_paths_name_none() {
        for path in [
            "/v1/models/gpt-4o",
            "/v1/models",
            "/v1/chat/completions?x=/deployments/y",
            "/v1/realtime?models=x&x=model",
            "/files/a%2Fb",
            "/model/x/other",
            "/model/converse",
            "/openai/deployments/",
            "/",
        ] {
            assert_eq!(model_in_path(path.as_bytes()), Ok(None), "{path}");
        }
    }

    #[test]
    fn an_empty_name_is_one() {
        for path in ["/v1/realtime?model=", "/v1/models/:generateContent"] {
            let found = model_in_path(path.as_bytes()).unwrap();
            assert_eq!(found.map(|found| found.name), Some(Vec::new()), "{path}");
        }
    }

    #[test]
    fn what_two_agents_would_read_as_two_models_is_refused() {
        for path in [
            "/openai/deployments/a;b/chat",
            "/openai/deployments/a/deployments/b",
            "/model/a/converse/models/b:x",
            "/openai/deployments/a/chat?model=a",
            "/v1/chat/completions?model=a&model=b",
            "/v1/chat/completions?x=1;model=b",
            "/v1/chat/completions?model=a;b",
            "/openai%2Fdeployments%2Fb/chat",
            "/openai/deployments%2fb/chat",
            "/v1%2Fmodels/b:generateContent",
            "/openai/deployments/gpt-4o%0a-mini/chat",
            "/v1/models/g%00-flash:generateContent",
            "/v1/realtime?model=gpt-4o%0A-mini",
        ] {
            assert_eq!(model_in_path(path.as_bytes()), Err(BadPath), "{path}");
        }
    }
}
