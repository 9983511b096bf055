//! What an agent's card tells callers of A2A: that the agent is where the gateway is. In it stands where the agent can be reached, in
//! 1.0 as `supportedInterfaces`, in 0.3 as `url` and `additionalInterfaces`; these are changed, and every other byte stays.
//!
//! A signed card stays as it is: changed, it would be taken for a forgery.
//!
//! Members are looked for by their names in JSON and by those of the protocol's own definition (`supported_interfaces`), which readers
//! of protobuf's JSON take as well.

use std::net::Ipv6Addr;
use std::ops::Range;
use std::rc::Rc;

use super::location::location_for_caller;
use super::path::Path;
use super::tool_list::Unreadable;
use crate::config::policy::EncodedSlashes;
use crate::text::json::parts::Parts;
use crate::text::json::{Found, Member, MemberId, Scan, Search, Value};

/// Where callers find what an agent calls its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardPlace {
    /// The gateway: scheme, host and port.
    pub origin: String,
    /// The route's prefix.
    pub prefix: String,
    /// What the agent sees in place of the prefix; `None`: the prefix.
    pub rewrite: Option<String>,
    /// Where the route takes `%2f`.
    pub encoded_slashes: EncodedSlashes,
}

/// What the members of a card are looked for by.
struct Members {
    search: Rc<Search>,
    url: MemberId,
    /// What is spoken at `url`.
    transports: [MemberId; 2],
    signatures: MemberId,
    lists: [MemberId; 4],
}

/// A place of the text, and what stands there instead.
type Change = (Range<usize>, String);

/// The card, or the answer of JSON-RPC that has one as its result, as callers are to see it. `None`: as it came. A text of JSON that
/// is no card is none.
///
/// # Errors
/// When it is not JSON, or where the agent is stands in it in more than one way.
pub fn card_for_callers(
    text: &[u8],
    place: &CardPlace,
    in_result: bool,
) -> Result<Option<Vec<u8>>, Unreadable> {
    let text = str::from_utf8(text).map_err(|_| Unreadable)?;
    let members = Members::new(if in_result { "/result" } else { "" }).ok_or(Unreadable)?;
    let scan = scan_for(&members.search, text)?;
    if let Some((found, _)) = place_of(&scan, members.signatures)
        && Parts::of(text.as_bytes(), found.start).next().is_some()
    {
        return Ok(None);
    }
    let mut changes: Vec<Change> = Vec::new();
    let mut carried = None;
    for list in members.lists {
        let Some((at, _)) = place_of(&scan, list) else {
            continue;
        };
        let interfaces = interfaces(text, at.start, place)?;
        carried = carried.or_else(|| interfaces.first().cloned());
        let all: Vec<String> = interfaces.into_iter().map(|it| it.text).collect();
        changes.push((at, ["[", &all.join(","), "]"].concat()));
    }
    if let Some((at, value)) = place_of(&scan, members.url) {
        let url = text_of(value).ok_or(Unreadable)?;
        let mut transports = members.transports.into_iter();
        let transport = transports.find_map(|id| place_of(&scan, id));
        let is_grpc = transport.as_ref().is_some_and(|(_, value)| is_grpc(value));
        match (transport, carried) {
            (Some((transport, _)), Some(other)) if is_grpc => {
                changes.push((at, other.url));
                changes.push((transport, other.transport));
            }
            _ => changes.push((at, written(&place.of(url)))),
        }
    }
    changes.retain(|(at, new)| text.get(at.clone()) != Some(new));
    changes.sort_unstable_by_key(|(at, _)| at.start);
    Ok((!changes.is_empty()).then(|| changed(text, &changes).into_bytes()))
}

impl Members {
    fn new(base: &str) -> Option<Self> {
        let mut search = Search::new();
        let mut member = |name| search.member(&[base, name].concat()).ok();
        Some(Self {
            url: member("/url")?,
            transports: [
                member("/preferredTransport")?,
                member("/preferred_transport")?,
            ],
            signatures: member("/signatures")?,
            lists: [
                member("/supportedInterfaces")?,
                member("/supported_interfaces")?,
                member("/additionalInterfaces")?,
                member("/additional_interfaces")?,
            ],
            search: Rc::new(search),
        })
    }
}

fn scan_for(search: &Rc<Search>, text: &str) -> Result<Scan, Unreadable> {
    let mut scan = Scan::new(Rc::clone(search));
    let read = scan.feed(text.as_bytes()).and_then(|()| scan.end());
    read.map(|()| scan).map_err(|_| Unreadable)
}

/// What the members of an interface are looked for by.
struct InterfaceMembers {
    search: Rc<Search>,
    url: MemberId,
    transports: [MemberId; 3],
}

impl InterfaceMembers {
    fn new() -> Option<Self> {
        let mut search = Search::new();
        let mut member = |name| search.member(name).ok();
        Some(Self {
            url: member("/url")?,
            transports: [
                member("/protocolBinding")?,
                member("/protocol_binding")?,
                member("/transport")?,
            ],
            search: Rc::new(search),
        })
    }
}

/// An interface that callers can reach by the gateway.
#[derive(Clone)]
struct Interface {
    text: String,
    url: String,
    transport: String,
}

/// Those of a list. What the route does not carry is left out: gRPC, and what is not over HTTP.
fn interfaces(text: &str, at: usize, place: &CardPlace) -> Result<Vec<Interface>, Unreadable> {
    let members = InterfaceMembers::new().ok_or(Unreadable)?;
    let mut all = Vec::new();
    for part in Parts::of(text.as_bytes(), at) {
        let text = text.get(part.value).ok_or(Unreadable)?;
        let scan = scan_for(&members.search, text)?;
        let (at, url) = place_of(&scan, members.url).ok_or(Unreadable)?;
        let url = text_of(url).ok_or(Unreadable)?;
        let mut transports = members.transports.into_iter();
        let transport = transports.find_map(|id| place_of(&scan, id));
        if transport.as_ref().is_some_and(|(_, value)| is_grpc(value)) || !is_http(url) {
            continue;
        }
        let url = written(&place.of(url));
        let transport = transport.and_then(|(at, _)| text.get(at));
        all.push(Interface {
            text: changed(text, &[(at, url.clone())]),
            url,
            transport: transport.unwrap_or("\"JSONRPC\"").to_owned(),
        });
    }
    Ok(all)
}

impl CardPlace {
    /// Where callers find what the agent says to be at this URL: beneath the route's prefix, and where the agent names another
    /// place, or one that no request would be let through to, at the prefix itself.
    fn of(&self, url: &str) -> String {
        let (scheme, authority, path) = parted(url);
        let path = if self.takes(path) { path } else { "" };
        let (here, own, _) = parted(&self.origin);
        // As an agent says that knows where it is shown.
        let is_shown = plain_authority(scheme, authority) == plain_authority(here, own)
            && self.mapped(path, &self.prefix).is_some_and(|it| it == path);
        let rewrite = self.rewrite.as_deref().filter(|_| !is_shown);
        let mapped = self.mapped(path, rewrite.unwrap_or(&self.prefix));
        let prefix = || self.prefix.clone();
        [&*self.origin, &mapped.unwrap_or_else(prefix)].concat()
    }

    /// Whether callers can ask for this path, as it stands: none that leads out of the prefix, or that is read in two ways.
    fn takes(&self, path: &str) -> bool {
        let end = path.find('#').unwrap_or(path.len());
        let asked = path.get(..end).unwrap_or_default();
        // What is not ASCII callers write in escapes.
        let plain = |byte: u8| if byte.is_ascii() { byte } else { b'x' };
        let asked: Vec<u8> = asked.bytes().map(plain).collect();
        let slashes = Some(self.encoded_slashes);
        !asked.starts_with(b"/") || Path::read(&asked).is_ok_and(|it| it.allow(slashes).is_ok())
    }

    fn mapped(&self, path: &str, rewrite: &str) -> Option<String> {
        let mapped = location_for_caller(path.as_bytes(), b"", &self.prefix, rewrite)?;
        String::from_utf8(mapped).ok()
    }
}

/// The scheme, the authority and all that follows.
fn parted(url: &str) -> (&str, &str, &str) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return ("", "", url);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    (scheme, authority, path)
}

/// An authority as it is compared, whatever its spelling: letters small, without the port that its scheme implies, and an address of
/// IPv6 apart from what follows it.
fn plain_authority(scheme: &str, authority: &str) -> (Option<Ipv6Addr>, String) {
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => "\0",
    };
    let authority = authority.strip_suffix(port).unwrap_or(authority);
    let authority = authority.strip_suffix(':').unwrap_or(authority);
    let bracketed = authority
        .strip_prefix('[')
        .and_then(|it| it.split_once(']'));
    match bracketed.and_then(|(address, port)| Some((address.parse::<Ipv6Addr>().ok()?, port))) {
        Some((address, port)) => (Some(address), port.to_owned()),
        None => (None, authority.to_ascii_lowercase()),
    }
}

fn changed(text: &str, changes: &[Change]) -> String {
    let mut changed = String::with_capacity(text.len());
    let mut from = 0;
    for (at, new) in changes {
        changed.push_str(text.get(from..at.start).unwrap_or_default());
        changed.push_str(new);
        from = at.end;
    }
    changed.push_str(text.get(from..).unwrap_or_default());
    changed
}

/// Where a member stands that is there, and is not null.
fn place_of(scan: &Scan, id: MemberId) -> Option<(Range<usize>, &Value)> {
    let Member::Found(Found { value, start, end }) = scan.member(id) else {
        return None;
    };
    if *value == Value::Null {
        return None;
    }
    let at = |at: u64| usize::try_from(at).ok();
    Some((at(*start)?..at((*end)?)?, value))
}

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn is_grpc(transport: &Value) -> bool {
    text_of(transport).is_some_and(|it| it.eq_ignore_ascii_case("GRPC"))
}

fn is_http(url: &str) -> bool {
    match url.split_once("://") {
        Some((scheme, _)) => {
            scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")
        }
        None => url.starts_with('/'),
    }
}

fn written(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(prefix: &str, rewrite: Option<&str>) -> CardPlace {
        CardPlace {
            origin: "https://gateway.example".to_owned(),
            prefix: prefix.to_owned(),
            rewrite: rewrite.map(str::to_owned),
            encoded_slashes: EncodedSlashes::Refuse,
        }
    }

    fn seen(card: &str) -> Result<Option<String>, Unreadable> {
        let seen = card_for_callers(card.as_bytes(), &place("/planner", Some("/")), false)?;
        Ok(seen.map(|it| String::from_utf8(it).unwrap()))
    }

    #[test]
    fn urls_lead_to_the_gateway_and_stay_beneath_the_prefix() {
        for (url, prefix, rewrite, expected) in [
            ("http://agent:9000", "/planner", Some("/"), "/planner"),
            ("http://agent:9000/", "/planner", Some("/"), "/planner/"),
            (
                "http://agent:9000/rpc?x=1",
                "/planner",
                Some("/"),
                "/planner/rpc?x=1",
            ),
            ("http://agent:9000/rpc", "/planner", None, "/planner"),
            (
                "http://agent:9000/planner/rpc",
                "/planner",
                None,
                "/planner/rpc",
            ),
            ("http://agent:9000/plannerrpc", "/planner", None, "/planner"),
            (
                "http://agent:9000/api/rpc",
                "/planner",
                Some("/api"),
                "/planner/rpc",
            ),
            (
                "http://agent:9000/other",
                "/planner",
                Some("/api"),
                "/planner",
            ),
            ("http://agent:9000/rpc", "/", None, "/rpc"),
            ("http://agent:9000", "/", None, "/"),
            // An agent that knows where it is shown, and one that goes by the host that was asked.
            (
                "http://Gateway.example/planner/rpc",
                "/planner",
                Some("/"),
                "/planner/rpc",
            ),
            (
                "http://gateway.example/rpc",
                "/planner",
                Some("/"),
                "/planner/rpc",
            ),
            ("/rpc", "/planner", Some("/"), "/planner/rpc"),
            (
                "http://agent//evil.example",
                "/planner",
                Some("/"),
                "/planner",
            ),
            // Where no request would be let through, or would leave the prefix.
            (
                "http://agent/any/../../etc",
                "/planner",
                Some("/"),
                "/planner",
            ),
            ("http://agent/..", "/planner", Some("/"), "/planner"),
            ("http://agent/..?x#y", "/planner", Some("/"), "/planner"),
            ("/%2E%2e/etc", "/planner", Some("/"), "/planner"),
            ("http://agent/a%2fb", "/planner", Some("/"), "/planner"),
            ("http://agent/a\\b", "/planner", Some("/"), "/planner"),
            ("http://agent/a//b", "/planner", Some("/"), "/planner"),
            ("http://agent/é", "/planner", Some("/"), "/planner/é"),
            (
                "http://agent/a?b/../c#d/..",
                "/p",
                Some("/"),
                "/p/a?b/../c#d/..",
            ),
        ] {
            let expected = format!("https://gateway.example{expected}");
            assert_eq!(place(prefix, rewrite).of(url), expected, "{url} {prefix}");
        }
    }

    #[test]
    fn an_agent_that_knows_where_it_is_shown_may_spell_that_in_any_way() {
        let of = |origin: &str, url: &str| {
            let mut place = place("/planner", Some("/"));
            place.origin = origin.to_owned();
            place.of(url)
        };
        for (origin, url) in [
            (
                "https://gateway.example",
                "https://gateway.example:443/planner/rpc",
            ),
            (
                "https://gateway.example",
                "http://GATEWAY.example:80/planner/rpc",
            ),
            (
                "https://gateway.example:443",
                "https://gateway.example/planner/rpc",
            ),
            (
                "http://Gateway.example:80",
                "HTTP://gateway.EXAMPLE/planner/rpc",
            ),
            (
                "http://gateway.example:8080",
                "http://Gateway.example:8080/planner/rpc",
            ),
            ("http://192.0.2.1", "http://192.0.2.1:80/planner/rpc"),
            (
                "http://[2001:db8::1]:8080",
                "http://[2001:DB8:0:0:0:0:0:1]:8080/planner/rpc",
            ),
            ("https://[::1]", "https://[0:0::1]:443/planner/rpc"),
        ] {
            assert_eq!(of(origin, url), format!("{origin}/planner/rpc"), "{url}");
        }
        for url in [
            "https://gateway.example:80/planner/rpc",
            "http://gateway.example:443/planner/rpc",
            "https://gateway.example:8443/planner/rpc",
            "https://gateway.example.evil/planner/rpc",
        ] {
            let origin = "https://gateway.example";
            assert_eq!(
                of(origin, url),
                format!("{origin}/planner/planner/rpc"),
                "{url}"
            );
        }
    }

    #[test]
    fn members_by_the_names_of_the_definition_are_told_alike() {
        for (card, expected) in [
            (
                r#"{"supported_interfaces":[{"url":"http://agent/rpc","protocol_binding":"JSONRPC"},{"url":"agent:1","protocol_binding":"GRPC"}]}"#,
                r#"{"supported_interfaces":[{"url":"https://gateway.example/planner/rpc","protocol_binding":"JSONRPC"}]}"#,
            ),
            (
                r#"{"url":"agent:1","preferred_transport":"GRPC","additional_interfaces":[{"url":"http://agent/r","transport":"HTTP+JSON"}]}"#,
                r#"{"url":"https://gateway.example/planner/r","preferred_transport":"HTTP+JSON","additional_interfaces":[{"url":"https://gateway.example/planner/r","transport":"HTTP+JSON"}]}"#,
            ),
        ] {
            assert_eq!(seen(card), Ok(Some(expected.to_owned())));
        }
    }

    #[test]
    fn a_card_of_either_version_names_the_gateway_and_no_byte_else_is_changed() {
        let one = r#" {"name":"a", "provider":{"url":"http://agent/"},"supportedInterfaces" : [ {"url":"http://agent/rpc","protocolBinding":"JSONRPC","x":1.0e0},{"protocolBinding":"GRPC","url":"agent:50051"}, {"url":"http:\/\/agent\/rest","protocolBinding":"HTTP+JSON"}], "signatures":[]} "#;
        let expected = r#" {"name":"a", "provider":{"url":"http://agent/"},"supportedInterfaces" : [{"url":"https://gateway.example/planner/rpc","protocolBinding":"JSONRPC","x":1.0e0},{"url":"https://gateway.example/planner/rest","protocolBinding":"HTTP+JSON"}], "signatures":[]} "#;
        assert_eq!(seen(one), Ok(Some(expected.to_owned())));
        let old = r#"{"url":"http://agent/","preferredTransport":"JSONRPC","additionalInterfaces":[{"url":"http://agent/","transport":"JSONRPC"}],"iconUrl":"http://agent/i"}"#;
        let expected = r#"{"url":"https://gateway.example/planner/","preferredTransport":"JSONRPC","additionalInterfaces":[{"url":"https://gateway.example/planner/","transport":"JSONRPC"}],"iconUrl":"http://agent/i"}"#;
        assert_eq!(seen(old), Ok(Some(expected.to_owned())));
        // Its first choice is one that the route does not carry.
        let grpc = r#"{"preferredTransport":"GRPC","url":"agent:1","additionalInterfaces":[{"url":"agent:1","transport":"GRPC"},{"transport":"HTTP+JSON","url":"http://agent/r"}]}"#;
        let expected = r#"{"preferredTransport":"HTTP+JSON","url":"https://gateway.example/planner/r","additionalInterfaces":[{"transport":"HTTP+JSON","url":"https://gateway.example/planner/r"}]}"#;
        assert_eq!(seen(grpc), Ok(Some(expected.to_owned())));
        let result = format!(r#"{{"url":"x","id":1,"result":{old}}}"#);
        let place = place("/planner", Some("/"));
        let shown = card_for_callers(result.as_bytes(), &place, true)
            .unwrap()
            .unwrap();
        assert!(
            String::from_utf8(shown)
                .unwrap()
                .starts_with(r#"{"url":"x","id":1,"result":{"url":"https://gateway"#)
        );
    }

    #[test]
    fn signed_cards_and_what_is_no_card_stay_as_they_are() {
        for whole in [
            r#"{"url":"http://agent/","signatures":[{"protected":"a","signature":"b"}]}"#,
            r#"{"supportedInterfaces":[{"url":"http://agent/"}],"signatures":[{}]}"#,
            r#"{"error":"not found"}"#,
            r#"{"supportedInterfaces":[]}"#,
            r#"{"supportedInterfaces":null,"url":null}"#,
            "{}",
        ] {
            assert_eq!(seen(whole), Ok(None), "{whole}");
        }
        for bad in [
            "",
            "[]",
            "{",
            r#"{"url":"http://agent/","url":"http://b/"}"#,
            r#"{"url":"http://agent/","URL":"http://b/"}"#,
            r#"{"url":7}"#,
            r#"{"supportedInterfaces":[7]}"#,
            r#"{"supportedInterfaces":[{}]}"#,
            r#"{"supportedInterfaces":[{"url":"http://agent/","url":"http://b/"}]}"#,
            "{\"url\":\"http://agent/\"}{}",
        ] {
            assert_eq!(seen(bad), Err(Unreadable), "{bad}");
        }
        assert_eq!(
            card_for_callers(b"{\"a\":\"\xff\"}", &place("/", None), false),
            Err(Unreadable)
        );
    }
}
