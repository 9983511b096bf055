//! A server that answers at once: what stands behind Envoy while it is measured. It is the agent, the validator that
//! Waykeeper asks and the authorizer that `ext_authz` asks, by the path. One thread on the load's core, one system
//! call to read and one to write for a request, nothing allocated but for echoes.
//!
//! A key is good if it begins with `key-`; what follows its leading zeros numbers the client. See [`key`].

mod reply;

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::Error;
use crate::cores::keep_to;
use crate::process::ProcessorClock;
use reply::{Reply, answer};

/// Between two events of one stream.
const EVENT_INTERVAL: Duration = Duration::from_millis(1);

const EVENTS_BEGIN: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
/// An event of the size that a word of a model's answer has.
const EVENT: &str = concat!(
    r#"data: {"id":"chatcmpl-0123456789","object":"chat.completion.chunk","created":1700000000,"model":"demo","#,
    r#""choices":[{"index":0,"delta":{"content":" walking"},"finish_reason":null}]}"#,
    "\n\n"
);
const EVENTS_END: &[u8] = b"0\r\n\r\n";

/// An event as a chunk.
static CHUNK: LazyLock<Vec<u8>> =
    LazyLock::new(|| format!("{:x}\r\n{EVENT}\r\n", EVENT.len()).into_bytes());

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
const TIMER: Token = Token(2);
const FIRST_CONNECTION: usize = 3;

/// The key of client number `client`: as long as keys in the field are.
#[must_use]
pub fn key(client: u64) -> String {
    format!("key-{client:036}")
}

/// A key that is not good, another one for each number.
#[must_use]
pub fn bad_key(number: u64) -> String {
    format!("bad-{number:036}")
}

/// The name of client number `client`.
#[must_use]
pub fn client(client: u64) -> String {
    format!("client-{client}")
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    clock: ProcessorClock,
    answered: Arc<AtomicU64>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

/// What the serving thread works with.
struct Serving {
    poll: Poll,
    listener: TcpListener,
    timer: TimerFd,
    connections: HashMap<Token, Connection>,
    next: usize,
    answered: Arc<AtomicU64>,
}

struct Connection {
    stream: TcpStream,
    /// What arrived and is not answered yet.
    received: Vec<u8>,
    /// What did not fit into the socket.
    unsent: Vec<u8>,
    /// Events that are still to be sent.
    events: u64,
}

// === impl Server ===

impl Server {
    /// Starts a server on a free port of 127.0.0.1, its thread on `cores`.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn start(cores: &[usize]) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::new(format!("the server behind: {error}"));
        let poll = Poll::new().map_err(failed)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(failed)?;
        let answered = Arc::new(AtomicU64::new(0));
        let mut serving = Serving::new(poll, Arc::clone(&answered)).map_err(failed)?;
        let address = serving.listener.local_addr().map_err(failed)?;
        let cores = cores.to_vec();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            // If the system refuses, the server runs on the cores of its starter.
            let kept = keep_to(&cores);
            // Nobody waits any longer if the starter is gone.
            let _ = tell.send(kept.map(|()| ProcessorClock::of_this_thread()));
            serving.run();
        });
        let clock = told
            .recv()
            .map_err(|_| Error::new("the server behind ended at once"))??;
        Ok(Self {
            address,
            clock,
            answered,
            waker,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The processor time used so far.
    ///
    /// # Errors
    /// If it has ended.
    pub fn processor_time(&self) -> Result<Duration, Error> {
        self.clock.read()
    }

    /// How many requests it has answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it cannot be woken it has ended.
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            // A panic has shown itself already.
            let _ = thread.join();
        }
    }
}

// === impl Serving ===

impl Serving {
    fn new(poll: Poll, answered: Arc<AtomicU64>) -> std::io::Result<Self> {
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let registry = poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let descriptor = std::os::fd::AsFd::as_fd(&timer).as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), TIMER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            timer,
            connections: HashMap::new(),
            next: FIRST_CONNECTION,
            answered,
        })
    }

    fn run(&mut self) {
        let mut events = Events::with_capacity(256);
        loop {
            match self.poll.poll(&mut events, None) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    eprintln!("the server behind ends: {error}");
                    return;
                }
            }
            for event in &events {
                match event.token() {
                    WAKER => return,
                    LISTENER => self.accept(),
                    TIMER => self.send_events(),
                    token => self.serve(token),
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let token = Token(self.next);
            self.next += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            let ready = stream.set_nodelay(true).is_ok()
                && self
                    .poll
                    .registry()
                    .register(&mut stream, token, interest)
                    .is_ok();
            if ready {
                let connection = Connection {
                    stream,
                    received: Vec::with_capacity(4096),
                    unsent: Vec::new(),
                    events: 0,
                };
                self.connections.insert(token, connection);
            }
        }
    }

    fn serve(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        if connection.serve(&self.answered).is_err() {
            self.connections.remove(&token);
        } else if connection.events > 0 {
            self.keep_time();
        }
    }

    /// Sends one event of each stream.
    fn send_events(&mut self) {
        // Not yet expired is as good as expired: the timer is set anew below.
        let _ = self.timer.wait();
        self.connections
            .retain(|_, connection| connection.events == 0 || connection.send_event().is_ok());
        if self
            .connections
            .values()
            .any(|connection| connection.events > 0)
        {
            self.keep_time();
        }
    }

    /// Has the next events sent in a while, if it is not under way already.
    fn keep_time(&self) {
        if matches!(self.timer.get(), Ok(None)) {
            let in_a_while = Expiration::OneShot(EVENT_INTERVAL.into());
            // Without a timer the streams stand still, which whoever measures them sees.
            let _ = self.timer.set(in_a_while, TimerSetTimeFlags::empty());
        }
    }
}

// === impl Connection ===

impl Connection {
    /// Reads what is there and answers it. An error: the connection is over.
    fn serve(&mut self, answered: &AtomicU64) -> std::io::Result<()> {
        self.flush()?;
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(size) => {
                    self.received
                        .extend_from_slice(chunk.get(..size).unwrap_or_default());
                    self.answer(answered)?;
                    // Less than asked for: there is no more.
                    if size < chunk.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn answer(&mut self, answered: &AtomicU64) -> std::io::Result<()> {
        let received = std::mem::take(&mut self.received);
        let mut rest = received.as_slice();
        while let Some((answer, size)) = answer(rest) {
            rest = rest.get(size..).unwrap_or_default();
            // Whoever has the answer finds it counted.
            answered.fetch_add(1, Ordering::Relaxed);
            match answer {
                Reply::Fixed(bytes) => self.send(bytes)?,
                Reply::Made(bytes) => self.send(&bytes)?,
                Reply::Events(number) => {
                    self.send(EVENTS_BEGIN)?;
                    self.events = number;
                }
            }
        }
        let left = received.len() - rest.len();
        self.received = received;
        self.received.drain(..left);
        Ok(())
    }

    fn send_event(&mut self) -> std::io::Result<()> {
        self.events -= 1;
        if self.events == 0 {
            self.send(&CHUNK)?;
            self.send(EVENTS_END)
        } else {
            self.send(&CHUNK)
        }
    }

    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.unsent.is_empty() {
            match self.stream.write(bytes) {
                Ok(sent) if sent == bytes.len() => return Ok(()),
                Ok(sent) => self
                    .unsent
                    .extend_from_slice(bytes.get(sent..).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.unsent.extend_from_slice(bytes);
                }
                Err(error) => return Err(error),
            }
        } else {
            self.unsent.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(sent) => {
                    self.unsent.drain(..sent);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::get;

    #[test]
    fn as_many_events_come_as_were_asked_for() {
        let server =
            Server::start(&crate::cores::Cores::anywhere().expect("cores").all).expect("a server");
        let answer = get(server.address(), "/v1/events/3", &[]).expect("an answer");
        assert_eq!(answer.body.matches("data: ").count(), 3);
        assert_eq!(server.answered(), 1);
    }
}
