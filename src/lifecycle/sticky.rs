//! What keeps a request at one host of its agent, from the request to the answer.

use super::request::Request;
use super::shared::Shared;
use super::stream::Facts;
use crate::config::policy::Agent;
use crate::host::{Host, HostError, Sensitive, StreamIo};
use crate::reply::Refusal;
use crate::routing::{
    HASH, HOST, NONCE_BYTES, Owner, SESSION, SESSION_ID, Sessions, envelope, is_envelope,
};
use crate::text::headers::is_same;

/// What is said to Envoy of a request that is to be kept at one host.
#[derive(Debug)]
pub(super) enum Kept {
    /// By this hash.
    ByHash(String),
    /// At this host, as long as it is there; else by the hash, if there is one.
    AtHost {
        address: Vec<u8>,
        hash: Option<String>,
    },
    /// At a server that is one of several: in its own session, by its own revision of the protocol.
    OfServer {
        version: Option<String>,
        own: Option<Sensitive<Vec<u8>>>,
        /// The session that the caller knows.
        sealed: Option<Sensitive<Vec<u8>>>,
    },
    /// At the host that has named its session, or will.
    InSession {
        /// The header in which it is named.
        header: String,
        /// The session that the request is of, if one was named before.
        opened: Option<Opened>,
    },
}

/// A session as its caller knows it, and as Envoy does.
#[derive(Debug)]
pub(super) struct Opened {
    sealed: Sensitive<Vec<u8>>,
    envelope: Sensitive<Vec<u8>>,
}

impl Kept {
    /// Opens the session that a request says it is of, and takes out what agents could read as another.
    #[inline(never)]
    pub(super) fn in_session(
        stream: &impl StreamIo,
        request: &Request,
        header: &str,
        sessions: &Sessions,
        owner: Owner<'_>,
    ) -> Result<Self, Refusal> {
        for (name, _) in request.headers().iter() {
            if is_same(name, header.as_bytes()) && name != header.as_bytes() {
                stream.remove_request_header(name);
            }
        }
        let mut values = request.headers().get_all(header);
        let opened = match (values.next(), values.next()) {
            (None, _) => None,
            (Some(sealed), None) => {
                let envelope = sessions.open(owner, sealed);
                Some(Opened {
                    envelope: envelope.ok_or(Refusal::UnknownSession)?,
                    sealed: Sensitive(sealed.to_vec()),
                })
            }
            (Some(_), Some(_)) => return Err(Refusal::UnknownSession),
        };
        Ok(Self::InSession {
            header: header.to_owned(),
            opened,
        })
    }

    /// Tells Envoy, as the request is handed over.
    #[inline(never)]
    pub(super) fn forward(&self, stream: &impl StreamIo) {
        match self {
            Self::ByHash(hash) => stream.set_request_header(HASH, hash.as_bytes()),
            Self::AtHost { address, hash } => {
                if let Some(hash) = hash {
                    stream.set_request_header(HASH, hash.as_bytes());
                }
                stream.set_request_header(SESSION, HOST.as_bytes());
                stream.set_request_header(HOST, &envelope(address));
            }
            Self::OfServer {
                version,
                own,
                sealed,
            } => {
                match own {
                    Some(own) => stream.set_request_header(SESSION_ID, own),
                    None if sealed.is_some() => {
                        stream.remove_request_header(SESSION_ID.as_bytes());
                    }
                    None => {}
                }
                if let Some(version) = version {
                    stream.set_request_header("mcp-protocol-version", version.as_bytes());
                }
            }
            Self::InSession { header, opened } => {
                stream.set_request_header(SESSION, header.as_bytes());
                if let Some(opened) = opened {
                    stream.set_request_header(header, &opened.envelope);
                }
            }
        }
    }
}

/// Whose a session of this agent's is.
pub(super) fn owner<'a>(agent: &'a Agent, facts: &'a Facts) -> Owner<'a> {
    Owner {
        agent: &agent.name,
        client: facts.client.as_ref().map(|client| client.id.as_str()),
    }
}

/// Why a caller is not told of a session.
enum Withheld {
    /// Envoy has not put it into one envelope with its host: it would lead nowhere.
    NoEnvelope,
    /// It is longer than what would be opened again.
    TooLong,
    Failed(HostError),
}

/// Seals the session that an answer names. What cannot be sealed is taken out.
#[inline(never)]
pub(super) fn seal_answer<H: Host>(shared: &Shared<H>, stream: &H::Stream, facts: &Facts) {
    if let Some(Kept::AtHost { .. }) = facts.kept {
        // An agent that says so would have Envoy put its address beside it.
        return stream.remove_response_header(HOST);
    }
    if let Some(Kept::OfServer { sealed, .. }) = &facts.kept {
        // The server's own is nothing that callers could send.
        return match sealed {
            Some(sealed) if stream.response_header(SESSION_ID).is_some() => {
                stream.set_response_header(SESSION_ID, sealed);
            }
            _ => stream.remove_response_header(SESSION_ID),
        };
    }
    let agents = &shared.compiled.policy.agents;
    let agent = facts.agent.and_then(|id| agents.get(id.0));
    let (Some(Kept::InSession { header, opened }), Some(agent)) = (&facts.kept, agent) else {
        return;
    };
    let withheld = match sealed(shared, stream, header, opened.as_ref(), owner(agent, facts)) {
        Ok(None) => return,
        Ok(Some(sealed)) => return stream.set_response_header(header, &sealed),
        Err(withheld) => withheld,
    };
    stream.remove_response_header(header);
    let (host, telemetry) = (&*shared.host, &shared.telemetry);
    match withheld {
        Withheld::NoEnvelope => telemetry.session_without_host(host, header, &agent.name),
        Withheld::TooLong => telemetry.session_too_long(host, header, &agent.name),
        Withheld::Failed(error) => telemetry.host_failed(host, error),
    }
}

/// What the caller is told in place of what the agent's answer says. `None`: it names no session. Of one that the caller knows
/// already it is told what it has sent, since some clients take another name for another session.
fn sealed<H: Host>(
    shared: &Shared<H>,
    stream: &H::Stream,
    header: &str,
    opened: Option<&Opened>,
    owner: Owner<'_>,
) -> Result<Option<Vec<u8>>, Withheld> {
    let headers = stream.response_headers().map_err(Withheld::Failed)?;
    let mut values = headers.get_all(header);
    let envelope = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(envelope), None) if is_envelope(envelope) => envelope,
        _ => return Err(Withheld::NoEnvelope),
    };
    if let Some(opened) = opened.filter(|opened| *opened.envelope == envelope) {
        return Ok(Some(opened.sealed.0.clone()));
    }
    let nonce = nonce(&*shared.host).map_err(Withheld::Failed)?;
    let sealed = shared.compiled.sessions.seal(owner, nonce, envelope);
    let sealed = sealed.ok_or(Withheld::TooLong)?;
    Ok(Some(sealed.into_bytes()))
}

pub(super) fn nonce(host: &impl Host) -> Result<[u8; NONCE_BYTES], HostError> {
    let mut nonce = [0; NONCE_BYTES];
    let (first, second) = (host.seed()?, host.seed()?);
    for (byte, drawn) in nonce.iter_mut().zip(first.into_iter().chain(second)) {
        *byte = drawn;
    }
    Ok(nonce)
}
