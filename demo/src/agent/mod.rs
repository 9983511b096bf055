//! An agent: it answers chats as agents in the field do, echoes WebSocket messages, and shows any other request what
//! arrived of it. It can be slow, broken or talkative, as the request asks, so that a test can show what the gateway
//! does about it. It counts its requests.
//!
//! | request | answer |
//! |---|---|
//! | `POST …/chat/completions`, `/api/v1/chat`, `/api/v1/chat/stream` | OpenAI's chat completion, whole or streamed (`stream: true` or the stream route) |
//! | `POST …/responses`, `…/messages` | the same as OpenAI's response or Anthropic's message |
//! | `POST …/embeddings`, `…/messages/count_tokens`, `GET …/models`, `…/models/NAME` | as OpenAI or Anthropic answers; of models by whether `anthropic-version` is there |
//! | `GET /api/v1/chat/ws` | a WebSocket that sends back what it gets |
//! | `GET /healthz`, `PUT /demo/health` `{"healthy"}` | 200, or 503 from now on |
//! | `GET /demo/stats`, `DELETE /demo/stats` | what arrived: see [`Stats`]; from zero on |
//! | any other | what arrived: see [`Echo`] |
//!
//! What a request may ask for, in a header or, where none can be set, in the query:
//!
//! | header | |
//! |---|---|
//! | `x-demo-status: 502` | this status; from 400 on with an error for a body |
//! | `x-demo-delay: 200ms` | nothing for so long, then the answer |
//! | `x-demo-reset: 1000` | the connection ends after so many bytes of body; `0`: before anything is sent; `headers`: after the headers |
//! | `x-demo-fail-first: 2`, `x-demo-id: any` | status, delay and reset (a bare 503 if none of them is given) for the first two requests with this id only |
//! | `x-demo-interval: 20ms` | the time between two events, or two pieces of a large answer |
//! | `x-demo-events: 100` | a chat's answer has so many words; elsewhere: an event stream of so many events |
//! | `x-demo-size: 50000000` | an answer of so many bytes: a chat's JSON made longer; elsewhere bytes as [`byte_at`] tells them |
//! | `x-demo-usage: anthropic` | a chat's answer on any path, in the shape and with the usage of `openai`, `responses`, `anthropic`, `gemini`, or as OpenAI without usage (`none`) |
//! | `x-demo-encoding: gzip` | compressed, each event by itself |
//! | `x-demo-protocol: chat.v1` | the WebSocket's answer selects this subprotocol |
//! | `x-demo-close: 4001` | the WebSocket is closed with this code after the first message |
//!
//! Each event carries `"demo": {"index", "sent_ms"}`: its place in the stream and when it was sent, in milliseconds
//! since 1970. A body is taken in whole before it is answered, and so is its failure.

mod answers;
mod bodies;
mod echo;
mod service;
mod stats;
#[cfg(test)]
mod tests;
mod websocket;
mod wishes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use bodies::byte_at;
pub use echo::Echo;
pub use stats::{Seen, Stats};

use self::service::Shared;
use crate::serving::{ListenError, Listening, Server};

/// A running agent; it ends when dropped.
#[derive(Debug)]
pub struct Agent {
    server: Server,
    shared: Arc<Shared>,
}

/// Starts an agent called `name` on `address` (`host:port`, port 0 for any free one).
pub async fn start(name: &str, address: &str) -> Result<Agent, ListenError> {
    let listening = Listening::on(address).await?;
    let shared = Arc::new(Shared::new(name, listening.stopping()));
    let server = listening.serve(service::router(Arc::clone(&shared)));
    Ok(Agent { server, shared })
}

impl Agent {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What arrived so far.
    pub fn stats(&self) -> Stats {
        self.shared.ledger.stats()
    }

    /// Counts from zero on.
    pub fn reset_stats(&self) {
        self.shared.ledger.reset();
    }

    /// What its health check says from now on; requests are answered all the same.
    pub fn set_healthy(&self, healthy: bool) {
        self.shared.healthy.store(healthy, Ordering::Relaxed);
    }

    /// Accepts no more requests, lets those under way finish for up to five seconds, then ends.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}
