//! A walk waits: for what, until when, and for whom what has come of its request is held meanwhile.

use std::future::poll_fn;
use std::task::Poll;

use super::clock::Ticks;
use super::hold::Waits;
use super::request::Request;
use super::stream::Facts;
use super::walk::Walk;
use crate::host::Host;

impl<H: Host> Walk<H> {
    /// Waits until enough of the request's body has arrived for an answer. `None`: the time `due` has come before.
    pub(super) async fn until<T>(
        &self,
        request: &Request,
        waits: Waits,
        due: Ticks,
        enough: impl Fn(&Facts) -> Option<T>,
    ) -> Option<T> {
        self.common.facts.borrow_mut().due = Some(due);
        let arrived = poll_fn(|_| {
            if let Some(answer) = enough(&self.common.facts.borrow()) {
                return Poll::Ready(Some(answer));
            }
            if self.shared.ticks.get() >= due {
                return Poll::Ready(None);
            }
            self.waits(request, waits);
            Poll::Pending
        })
        .await;
        self.common.facts.borrow_mut().due = None;
        arrived
    }

    /// The request waits for this from now on. What has come of it is held for its caller.
    #[inline(never)]
    pub(super) fn waits(&self, request: &Request, waits: Waits) {
        self.caller(request);
        self.common.facts.borrow_mut().waits = waits;
    }

    /// A number for who asks: the client, without one the address. Never 0. It is found out once.
    pub(super) fn caller(&self, request: &Request) -> u64 {
        let facts = self.common.facts.borrow();
        if facts.caller.get() != 0 {
            return facts.caller.get();
        }
        let hash = &self.shared.compiled.hash;
        let hashed = match &facts.client {
            Some(client) => hash.of(&[b"client", client.id.as_bytes()]),
            None => {
                let address = self.address(request).unwrap_or_default();
                hash.of(&[b"address", &address])
            }
        };
        facts.caller.set(hashed.tag | 1);
        facts.caller.get()
    }
}
