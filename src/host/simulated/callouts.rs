//! Callouts of a simulated host: they are kept for a test to look at, and it answers them when and how it likes.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Duration;

use crate::host::{Callout, CalloutId, CalloutRequest, HostError};

/// A request that was sent by the filter itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SentCallout {
    /// Its handle.
    pub id: CalloutId,
    /// The cluster.
    pub cluster: String,
    /// What was sent.
    pub request: SentRequest,
    /// Its timeout.
    pub timeout: Duration,
}

/// What a callout has sent.
#[derive(Clone, PartialEq, Eq)]
pub enum SentRequest {
    /// An HTTP request.
    Http {
        /// Its headers.
        headers: Vec<(String, String)>,
        /// Its body.
        body: Vec<u8>,
    },
    /// A unary call of gRPC.
    Grpc {
        /// The `:authority`.
        authority: String,
        /// The service's full name.
        service: String,
        /// The method's name.
        method: String,
        /// Headers beside those of gRPC itself.
        metadata: Vec<(String, String)>,
        /// The message, encoded.
        message: Vec<u8>,
    },
}

/// The callouts of one worker.
#[derive(Default)]
pub(super) struct Callouts {
    sent: RefCell<Vec<SentCallout>>,
    last: Cell<u64>,
    refused: RefCell<Option<Refusals>>,
    /// Of all answers.
    header: RefCell<Option<(String, String)>>,
}

type Refusals = Box<dyn FnMut(&Callout<'_>) -> bool>;

impl SentCallout {
    /// The headers, or gRPC's metadata.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        match &self.request {
            SentRequest::Http { headers, .. } => headers,
            SentRequest::Grpc { metadata, .. } => metadata,
        }
    }

    /// The body, or gRPC's message.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        match &self.request {
            SentRequest::Http { body, .. } => body,
            SentRequest::Grpc { message, .. } => message,
        }
    }
}

impl Callouts {
    pub(super) fn send(&self, callout: &Callout<'_>) -> Result<CalloutId, HostError> {
        let mut refused = self.refused.borrow_mut();
        if refused.as_mut().is_some_and(|refuses| refuses(callout)) {
            return Err(HostError {
                call: "a callout",
                status: 2,
            });
        }
        let id = CalloutId(self.last.get() + 1);
        self.last.set(id.0);
        self.sent.borrow_mut().push(SentCallout {
            id,
            cluster: callout.cluster.to_owned(),
            request: callout.request.into(),
            timeout: callout.timeout,
        });
        Ok(id)
    }

    pub(super) fn take(&self) -> Vec<SentCallout> {
        self.sent.take()
    }

    pub(super) fn answer_with(&self, header: Option<(&str, &str)>) {
        let header = header.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.header.replace(header);
    }

    pub(super) fn header(&self, wanted: &str) -> Option<Vec<u8>> {
        let header = self.header.borrow();
        let (name, value) = header.as_ref()?;
        (name == wanted).then(|| value.as_bytes().to_vec())
    }

    pub(super) fn refuse(&self, refuses: impl FnMut(&Callout<'_>) -> bool + 'static) {
        self.refused.replace(Some(Box::new(refuses)));
    }
}

impl From<CalloutRequest<'_>> for SentRequest {
    fn from(request: CalloutRequest<'_>) -> Self {
        let owned = |headers: &[(&str, &str)]| {
            let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            headers.iter().map(text).collect()
        };
        match request {
            CalloutRequest::Http { headers, body } => Self::Http {
                headers: owned(headers),
                body: body.to_vec(),
            },
            CalloutRequest::Grpc {
                authority,
                service,
                method,
                metadata,
                message,
            } => Self::Grpc {
                authority: authority.to_owned(),
                service: service.to_owned(),
                method: method.to_owned(),
                metadata: owned(metadata),
                message: message.to_vec(),
            },
        }
    }
}

/// It may hold a key, and shows nothing of it.
impl fmt::Debug for SentCallout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentCallout")
            .field("id", &self.id)
            .field("cluster", &self.cluster)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(cluster: &str) -> Callout<'_> {
        Callout {
            cluster,
            request: CalloutRequest::Http {
                headers: &[(":path", "/validate")],
                body: b"question",
            },
            timeout: Duration::from_secs(1),
        }
    }

    fn grpc(cluster: &str) -> Callout<'_> {
        Callout {
            cluster,
            request: CalloutRequest::Grpc {
                authority: "limits",
                service: "fleet.Limits",
                method: "Take",
                metadata: &[("x-gateway", "a")],
                message: b"charge",
            },
            timeout: Duration::from_secs(2),
        }
    }

    #[test]
    fn callouts_of_both_kinds_are_kept_as_they_were_sent_and_no_two_have_one_id() {
        let callouts = Callouts::default();
        let ids = [http("auth"), grpc("limits"), http("auth")]
            .map(|callout| callouts.send(&callout).unwrap());
        let sent = callouts.take();
        assert_eq!(sent.iter().map(|it| it.id).collect::<Vec<_>>(), ids);
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
        assert_eq!(sent[0].body(), b"question");
        assert_eq!(sent[1].cluster, "limits");
        assert_eq!(sent[1].timeout, Duration::from_secs(2));
        let SentRequest::Grpc {
            authority,
            service,
            method,
            ..
        } = &sent[1].request
        else {
            panic!("not by gRPC");
        };
        assert_eq!(
            [authority, service, method],
            ["limits", "fleet.Limits", "Take"]
        );
        assert_eq!(sent[1].body(), b"charge");
        assert_eq!(sent[1].headers(), [("x-gateway".into(), "a".into())]);
        assert!(callouts.take().is_empty());
    }

    #[test]
    fn what_is_refused_is_not_sent() {
        let callouts = Callouts::default();
        callouts.refuse(|callout| matches!(callout.request, CalloutRequest::Grpc { .. }));
        assert!(callouts.send(&grpc("limits")).is_err());
        assert!(callouts.send(&http("auth")).is_ok());
        assert_eq!(callouts.take().len(), 1);
    }
}
