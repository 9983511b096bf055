//! An agent whose answers take uneven time, as those of models do: how long an answer is worked at is said by the request, so
//! that all that is compared gets the same work. So many are worked at side by side; others wait their turn.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Error;

/// The header that says for how many milliseconds an answer is worked at.
pub(super) const WORK: &str = "x-work";
/// How many answers are worked at side by side.
pub(super) const SLOTS: u64 = 4;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";
/// More than what a request of ours takes.
const LONGEST: usize = 64 * 1024;

/// The agent. It ends when dropped, once those who have called have hung up.
#[derive(Debug)]
pub(super) struct Uneven {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// So many times longer than asked for does it work.
    slower: u32,
    turns: Mutex<Turns>,
    ended: Condvar,
    answered: AtomicU64,
    over: AtomicBool,
}

#[derive(Debug, Default)]
struct Turns {
    given: u64,
    ended: u64,
}

// === impl Uneven ===

impl Uneven {
    /// Starts one that is so many times slower than asked for, on a free port of 127.0.0.1.
    pub(super) fn start(slower: u32) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::new(format!("an agent: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            slower,
            ..Shared::default()
        });
        let accepted = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepted.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&accepted);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Ok(Self {
            address,
            shared,
            accepting: Some(accepting),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many it has answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Uneven {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // It looks up when somebody comes.
        if TcpStream::connect(self.address).is_ok()
            && let Some(accepting) = self.accepting.take()
        {
            // It has nothing to say.
            let _ = accepting.join();
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Answers what comes on a connection until the caller hangs up.
    fn serve(&self, mut stream: TcpStream) {
        // Without it answers are late, and no more.
        let _ = stream.set_nodelay(true);
        let (mut received, mut chunk) = (Vec::new(), [0; 4096]);
        while received.len() < LONGEST {
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(size) => received.extend_from_slice(chunk.get(..size).unwrap_or_default()),
            }
            if received.ends_with(b"\r\n\r\n") {
                self.work(asked(&received) * self.slower);
                self.answered.fetch_add(1, Ordering::Relaxed);
                received.clear();
                if stream.write_all(ANSWER).is_err() {
                    return;
                }
            }
        }
    }

    /// Waits for a turn, in the order of coming, and works.
    fn work(&self, time: Duration) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.given;
        turns.given += 1;
        while turn >= turns.ended + SLOTS {
            let woken = self.ended.wait(turns);
            turns = woken.unwrap_or_else(PoisonError::into_inner);
        }
        drop(turns);
        std::thread::sleep(time);
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.ended += 1;
        drop(turns);
        self.ended.notify_all();
    }
}

/// How long a request wants to be worked at.
fn asked(request: &[u8]) -> Duration {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut fields);
    // What is not there asks for nothing.
    let _ = parsed.parse(request);
    let field = parsed.headers.iter().find(|field| field.name == WORK);
    let milliseconds = field
        .and_then(|field| std::str::from_utf8(field.value).ok())
        .and_then(|value| value.parse().ok());
    Duration::from_millis(milliseconds.unwrap_or(0))
}
