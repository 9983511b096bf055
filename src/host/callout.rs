//! Callouts: requests of the filter's own, by HTTP or by gRPC, and what comes back of them.

use std::fmt;
use std::time::Duration;

use super::Sensitive;

/// A callout's handle. No two callouts of one gateway have the same, whatever they are sent by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CalloutId(pub u64);

/// A request of the filter's own, to a cluster of the host.
#[derive(Clone, Copy)]
pub struct Callout<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// What is sent to it.
    pub request: CalloutRequest<'a>,
    /// After this time the callout has failed. Whole milliseconds, at least one.
    pub timeout: Duration,
}

/// What a callout sends.
#[derive(Clone, Copy)]
pub enum CalloutRequest<'a> {
    /// An HTTP request.
    Http {
        /// All headers, `:method`, `:path` and `:authority` included.
        headers: &'a [(&'a str, &'a str)],
        /// The body.
        body: &'a [u8],
    },
    /// A unary call of gRPC.
    Grpc {
        /// The `:authority`. Empty: the cluster's name, which not every server takes for one.
        authority: &'a str,
        /// The service's full name, as `package.Service`.
        service: &'a str,
        /// The method's name.
        method: &'a str,
        /// Headers beside those of gRPC itself.
        metadata: &'a [(&'a str, &'a str)],
        /// The message, encoded.
        message: &'a [u8],
    },
}

/// What came back of a callout.
#[derive(Clone, PartialEq, Eq)]
pub enum CalloutAnswer {
    /// An answer by HTTP.
    Response {
        /// HTTP's status.
        status: u16,
        /// The body.
        body: Vec<u8>,
    },
    /// An answer by gRPC, status OK: the message, encoded. It may have no bytes.
    Message(Vec<u8>),
    /// An answer by gRPC with another status. Whether the server sent it or the host made it, as 14 for a server that
    /// cannot be reached or 4 for one that takes too long, cannot be told.
    Status {
        /// gRPC's status, 1 to 16.
        status: u8,
        /// What was said of it, for the log: see [`STATUS_TEXT_BYTES`].
        text: String,
    },
    /// No answer, none in time, or one larger than was asked for.
    Failed,
}

/// So much of the text beside a status of gRPC is kept.
pub const STATUS_TEXT_BYTES: usize = 256;

/// gRPC's status for what has no other.
const UNKNOWN: u8 = 2;

impl CalloutAnswer {
    /// A status of gRPC's other than OK, as a host reports it. A number that gRPC does not know means "unknown", by its
    /// rules; and so does OK where there is no message.
    #[must_use]
    pub fn status(status: u32, text: &[u8]) -> Self {
        let status = u8::try_from(status).ok();
        let text = text.get(..STATUS_TEXT_BYTES).unwrap_or(text);
        Self::Status {
            status: status.filter(|it| (1..=16).contains(it)).unwrap_or(UNKNOWN),
            text: String::from_utf8_lossy(text).into_owned(),
        }
    }
}

// A callout tells the validator a key, and its answer may repeat it: neither shows what it holds.

impl fmt::Debug for Callout<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callout")
            .field("cluster", &self.cluster)
            .field("request", &self.request)
            .field("timeout", &self.timeout)
            .finish()
    }
}

impl fmt::Debug for CalloutRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { .. } => f.debug_struct("Http").finish_non_exhaustive(),
            Self::Grpc {
                service, method, ..
            } => f
                .debug_struct("Grpc")
                .field("service", service)
                .field("method", method)
                .finish_non_exhaustive(),
        }
    }
}

impl fmt::Debug for CalloutAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response { status, body } => f
                .debug_struct("Response")
                .field("status", status)
                .field("body", &Sensitive(body))
                .finish(),
            Self::Message(message) => f.debug_tuple("Message").field(&Sensitive(message)).finish(),
            Self::Status { status, text } => f
                .debug_struct("Status")
                .field("status", status)
                .field("text", &Sensitive(text))
                .finish(),
            Self::Failed => f.write_str("Failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(number: u32) -> u8 {
        match CalloutAnswer::status(number, b"") {
            CalloutAnswer::Status { status, .. } => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_status_that_grpc_does_not_know_is_an_unknown_one() {
        assert_eq!([1, 8, 16].map(status), [1, 8, 16]);
        assert_eq!([0, 17, 256, 257, u32::MAX].map(status), [UNKNOWN; 5]);
    }

    #[test]
    fn the_text_of_a_status_is_cut_and_may_be_any_bytes() {
        let text = |bytes: &[u8]| match CalloutAnswer::status(5, bytes) {
            CalloutAnswer::Status { text, .. } => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(b"not found"), "not found");
        assert_eq!(text(b"\xffa"), "\u{fffd}a");
        let long = "x".repeat(STATUS_TEXT_BYTES);
        assert_eq!(text(format!("{long}y").as_bytes()), long);
    }

    #[test]
    fn neither_a_callout_nor_its_answer_shows_what_may_be_a_key() {
        let requests = [
            CalloutRequest::Http {
                headers: &[("x-key", "secret")],
                body: b"secret",
            },
            CalloutRequest::Grpc {
                authority: "limits",
                service: "fleet.Limits",
                method: "Take",
                metadata: &[("x-key", "secret")],
                message: b"secret",
            },
        ];
        let callouts = requests.map(|request| Callout {
            cluster: "auth",
            request,
            timeout: Duration::from_secs(1),
        });
        let answers = [
            CalloutAnswer::Response {
                status: 200,
                body: b"secret".to_vec(),
            },
            CalloutAnswer::Message(b"secret".to_vec()),
            CalloutAnswer::status(3, b"secret"),
        ];
        let shown = format!("{callouts:?} {answers:?}");
        assert!(shown.contains("fleet.Limits"), "{shown}");
        let bytes = format!("{:?}", b"secret");
        assert!(
            !shown.contains("secret") && !shown.contains(&bytes),
            "{shown}"
        );
    }
}
