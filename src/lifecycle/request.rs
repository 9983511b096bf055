//! A request's headers as they arrived, and the same request, trailers included, cleansed of what must not travel on.

use std::net::IpAddr;

use super::compiled::Compiled;
use crate::config::policy::{KeySource, Protocol, Sticky};
use crate::host::{HeaderBlock, HostError, Sensitive, StreamIo};
use crate::identity::{Presented, Removal, offered_protocols, without_key};
use crate::limits::ip_of;
use crate::reply::{Form, Refusal};
use crate::routing::{Path, SESSION_ID};
use crate::text::headers::{begins_with, is_reserved, is_same};

/// A request as it arrived.
#[derive(Debug)]
pub(super) struct Request {
    headers: HeaderBlock,
    /// The path without keys, where it had any.
    cleansed_path: Option<Sensitive<Vec<u8>>>,
    upgrade: Upgrade,
}

/// Which protocol the caller wants to go on in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    /// That of the request.
    None,
    Websocket,
    Other,
}

impl Request {
    /// Reads all headers in one pass, and takes out of the request what must not travel on: keys, and headers
    /// that belong to the gateway. This comes first, so that neither an agent, a local reply nor the access log sees them,
    /// whatever becomes of the request.
    pub(super) fn read(stream: &impl StreamIo, compiled: &Compiled) -> Result<Self, HostError> {
        let headers = stream.request_headers()?;
        let mut request = Self {
            upgrade: Upgrade::of(&headers),
            headers,
            cleansed_path: None,
        };
        let sources = &compiled.policy.clients.key_sources;
        request.cleansed_path = cleanse(&Headers(stream), sources, request.presented());
        Ok(request)
    }

    /// Where the request may carry keys.
    pub(super) fn presented(&self) -> Presented<'_> {
        Presented {
            headers: &self.headers,
            path: self.headers.get(":path").unwrap_or_default(),
            handshake: self.upgrade == Upgrade::Websocket,
        }
    }

    /// The path without keys, if there is one.
    pub(super) fn path(&self) -> Option<&[u8]> {
        match &self.cleansed_path {
            Some(path) => Some(path),
            None => self.headers.get(":path"),
        }
    }

    /// The path, if it may be routed.
    pub(super) fn routable_path(&self) -> Option<Path<'_>> {
        Path::read(self.path()?).ok()
    }

    /// The host that the caller has asked.
    pub(super) fn authority(&self) -> Option<&[u8]> {
        self.headers.get(":authority")
    }

    /// Where the caller has found the gateway: scheme, host and port.
    pub(super) fn origin(&self) -> Option<String> {
        let scheme = self.headers.get("x-forwarded-proto");
        let scheme = match scheme.or_else(|| self.headers.get(":scheme")) {
            Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => "https://",
            _ => "http://",
        };
        let authority = str::from_utf8(self.authority()?).ok()?;
        Some([scheme, authority].concat())
    }

    pub(super) fn method(&self) -> &[u8] {
        self.headers.get(":method").unwrap_or_default()
    }

    /// Checks that the request asks for what its route carries. Envoy would pass the upgrade on otherwise, and then
    /// wait for an agent that knows nothing of it; and a plain request to a WebSocket would have no timeout.
    pub(super) fn check_upgrade(&self, protocol: Protocol) -> Result<(), Refusal> {
        let websocket = self.upgrade == Upgrade::Websocket && self.method() == b"GET";
        match protocol {
            Protocol::Websocket if websocket => Ok(()),
            Protocol::Websocket => Err(Refusal::UpgradeRequired),
            Protocol::Http | Protocol::Sse if self.upgrade == Upgrade::None => Ok(()),
            Protocol::Http | Protocol::Sse => Err(Refusal::UpgradeNotAllowed),
        }
    }

    pub(super) fn id(&self) -> Option<&[u8]> {
        self.headers.get("x-request-id")
    }

    /// In which form its caller reads a refusal.
    pub(super) fn form(&self) -> Form {
        let content_type = self.headers.get("content-type");
        content_type.map_or(Form::Problem, Form::of)
    }

    /// The address that the farthest trusted proxy saw, by `x-forwarded-for`: each proxy appends its caller's, and Envoy comes
    /// last. What stands to the left of it is the caller's own word, and never read. `None`: too few have written there, or
    /// something that is no address.
    #[inline(never)]
    pub(super) fn forwarded_address(&self, trusted_hops: usize) -> Option<IpAddr> {
        let lines = self.headers.get_all("x-forwarded-for");
        let entry = lines
            .rev()
            .flat_map(|line| line.rsplit(|byte| *byte == b','))
            .nth(trusted_hops)?;
        ip_of(entry.trim_ascii())
    }

    /// All headers as they came.
    pub(super) fn headers(&self) -> &HeaderBlock {
        &self.headers
    }

    /// The values of `x-agent`.
    pub(super) fn wanted_agents(&self) -> impl Iterator<Item = &[u8]> {
        self.headers.get_all("x-agent")
    }

    /// The bytes of all headers.
    pub(super) fn size(&self) -> u64 {
        self.headers.size() as u64
    }

    /// How long the body says it is.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.headers.content_length()
    }

    /// The subprotocol to name in a handshake's answer if the agent names none.
    pub(super) fn protocol_for_caller(&self, compiled: &Compiled) -> Option<Sensitive<Vec<u8>>> {
        if self.upgrade != Upgrade::Websocket {
            return None;
        }
        let (_, answer) = offered_protocols(&compiled.policy.clients.key_sources, &self.headers)?;
        Some(Sensitive(answer))
    }
}

/// Headers by which a request is routed, or which Envoy adds to it.
const STEER: [&[u8]; 4] = [
    b"x-agent",
    b"x-agent-capability",
    b"x-request-id",
    b"forwarded",
];

/// Takes out of a request's trailers what must not travel on. They end up among the headers of agents that merge both.
pub(super) fn cleanse_trailers(
    stream: &impl StreamIo,
    compiled: &Compiled,
) -> Result<(), HostError> {
    let trailers = stream.request_trailers()?;
    let presented = Presented {
        headers: &trailers,
        path: b"",
        handshake: false,
    };
    cleanse(
        &Trailers(stream),
        &compiled.policy.clients.key_sources,
        presented,
    );
    for (name, _) in trailers.iter().filter(|(name, _)| steers(name, compiled)) {
        stream.remove_request_trailer(name);
    }
    Ok(())
}

/// True if a header of this name says where a request goes, or where it comes from. None comes too late to be believed.
fn steers(name: &[u8], compiled: &Compiled) -> bool {
    let mut all = Sticky::all(&compiled.policy);
    begins_with(name, b"x-forwarded-")
        || STEER.iter().any(|wanted| is_same(name, wanted))
        || (compiled.members_of_servers.is_some() && is_same(name, SESSION_ID.as_bytes()))
        || all.any(
            |sticky| matches!(sticky, Sticky::Session(header) if is_same(name, header.as_bytes())),
        )
}

/// Takes out what must not travel on: keys, and headers that belong to the gateway. Returns the path if it had keys.
fn cleanse(
    fields: &impl Fields,
    sources: &[KeySource],
    presented: Presented<'_>,
) -> Option<Sensitive<Vec<u8>>> {
    for (name, _) in presented
        .headers
        .iter()
        .filter(|(name, _)| is_reserved(name))
    {
        fields.remove(name);
    }
    let mut cleansed_path = None;
    for removal in without_key(sources, presented) {
        match removal {
            Removal::Header(name) => fields.remove(name.as_bytes()),
            Removal::Rest(name, rest) => fields.set(name, &rest),
            Removal::Path(path) => {
                fields.set(":path", &path);
                cleansed_path = Some(path);
            }
        }
    }
    if let Some((others, _)) = offered_protocols(sources, presented.headers) {
        if others.is_empty() {
            fields.remove(b"sec-websocket-protocol");
        } else {
            fields.set("sec-websocket-protocol", &others);
        }
    }
    cleansed_path
}

/// What can be cleansed of a request.
trait Fields {
    fn set(&self, name: &str, value: &[u8]);
    fn remove(&self, name: &[u8]);
}

struct Headers<'a, S>(&'a S);

impl<S: StreamIo> Fields for Headers<'_, S> {
    fn set(&self, name: &str, value: &[u8]) {
        self.0.set_request_header(name, value);
    }

    fn remove(&self, name: &[u8]) {
        self.0.remove_request_header(name);
    }
}

struct Trailers<'a, S>(&'a S);

impl<S: StreamIo> Fields for Trailers<'_, S> {
    fn set(&self, name: &str, value: &[u8]) {
        self.0.set_request_trailer(name, value);
    }

    fn remove(&self, name: &[u8]) {
        self.0.remove_request_trailer(name);
    }
}

impl Upgrade {
    /// Envoy takes the header away where `connection` does not say that it is meant, and turns the extended `CONNECT`
    /// of HTTP/2 and HTTP/3 into a `GET` with it. Any other `CONNECT` asks for a tunnel.
    fn of(headers: &HeaderBlock) -> Self {
        let offered = headers
            .get_all("upgrade")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|protocol| !protocol.is_empty());
        let upgrade = offered.fold(Self::None, |upgrade, protocol| {
            let websocket = protocol.eq_ignore_ascii_case(b"websocket");
            if websocket || upgrade == Self::Websocket {
                Self::Websocket
            } else {
                Self::Other
            }
        });
        match upgrade {
            Self::None if headers.get(":method") == Some(b"CONNECT") => Self::Other,
            upgrade => upgrade,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_is_known_however_it_is_listed() {
        let upgrade = |lines: &[&str]| {
            let headers: Vec<_> = lines.iter().map(|line| ("upgrade", *line)).collect();
            Upgrade::of(&HeaderBlock::from_pairs(&headers))
        };
        for none in [&[][..], &[""], &[" , "]] {
            assert_eq!(upgrade(none), Upgrade::None, "{none:?}");
        }
        for websocket in [
            &["websocket"][..],
            &["WebSocket"],
            &["h2c, WEBSOCKET ,x"],
            &["h2c", "websocket"],
            &["websocket", "h2c"],
        ] {
            assert_eq!(upgrade(websocket), Upgrade::Websocket, "{websocket:?}");
        }
        for other in [&["h2c"][..], &["websockets"], &["websocket/13"]] {
            assert_eq!(upgrade(other), Upgrade::Other, "{other:?}");
        }
        let connect = HeaderBlock::from_pairs(&[(":method", "CONNECT"), (":path", "/a")]);
        assert_eq!(Upgrade::of(&connect), Upgrade::Other);
    }
}
