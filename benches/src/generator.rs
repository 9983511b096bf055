//! Load of our own, for what `h2load` cannot do: another key in each request, and requests at a steady rate whose time
//! counts from when they were due, so that a gateway that falls behind cannot hide it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::Error;
use crate::statistics::percentile;

/// So long without any answer means that there will be none.
const PATIENCE: Duration = Duration::from_secs(20);

const TIMER: Token = Token(usize::MAX);

/// A load: how many requests, over how many connections, how fast.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Keep-alive connections.
    pub connections: usize,
    /// Requests over all connections.
    pub requests: u64,
    /// Requests per second, evenly spread; none: each connection sends as soon as it was answered.
    pub rate: Option<f64>,
}

/// What came of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Requests per second.
    pub throughput: f64,
    /// Half of the requests took no longer, in microseconds.
    pub p50: f64,
    /// Nine in ten took no longer, in microseconds.
    pub p90: f64,
    /// All but one in a hundred took no longer, in microseconds.
    pub p99: f64,
    /// Answers by 2xx.
    pub good: u64,
    /// Answers by anything else.
    pub refused: u64,
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// What did not fit into the socket.
    unsent: Vec<u8>,
    /// When the request under way was due.
    due: Option<Instant>,
}

struct Run<'a> {
    load: Load,
    /// Writes request number so and so.
    request: &'a mut dyn FnMut(u64, &mut Vec<u8>),
    started: Instant,
    sent: u64,
    idle: VecDeque<usize>,
    connections: Vec<Connection>,
    times: Vec<f64>,
    good: u64,
    buffer: Vec<u8>,
}

impl Load {
    /// Puts the load on `address`; `request` writes each request, whole, by its number from 0 on.
    ///
    /// # Errors
    /// If a connection breaks or no answer comes for a long time.
    pub fn run(
        &self,
        address: SocketAddr,
        request: &mut dyn FnMut(u64, &mut Vec<u8>),
    ) -> Result<Outcome, Error> {
        self.drive(address, request)
            .map_err(|error| Error::new(format!("the load on {address}: {error}")))
    }

    fn drive(
        &self,
        address: SocketAddr,
        request: &mut dyn FnMut(u64, &mut Vec<u8>),
    ) -> std::io::Result<Outcome> {
        let mut poll = Poll::new()?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let descriptor = timer.as_fd().as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&descriptor), TIMER, Interest::READABLE)?;
        let mut connections = Vec::new();
        for number in 0..self.connections {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut stream, Token(number), interest)?;
            connections.push(Connection {
                stream,
                received: Vec::with_capacity(4096),
                unsent: Vec::new(),
                due: None,
            });
        }
        let mut run = Run {
            load: *self,
            request,
            started: Instant::now(),
            sent: 0,
            idle: (0..self.connections).collect(),
            connections,
            times: Vec::with_capacity(usize::try_from(self.requests).unwrap_or(0)),
            good: 0,
            buffer: Vec::new(),
        };
        let mut events = Events::with_capacity(256);
        run.send_due(&timer)?;
        while (run.times.len() as u64) < self.requests {
            match poll.poll(&mut events, Some(PATIENCE)) {
                Ok(()) if events.is_empty() => return Err(ErrorKind::TimedOut.into()),
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                match event.token() {
                    TIMER => {
                        // Not yet expired is as good as expired: it is set anew below.
                        let _ = timer.wait();
                    }
                    Token(number) => run.receive(number)?,
                }
            }
            run.send_due(&timer)?;
        }
        Ok(run.outcome())
    }
}

impl Run<'_> {
    /// Sends what is due on connections that are free, and has the timer wake us for the next.
    fn send_due(&mut self, timer: &TimerFd) -> std::io::Result<()> {
        while self.sent < self.load.requests
            && let Some(&number) = self.idle.front()
        {
            let now = Instant::now();
            let due = match self.load.rate {
                None => now,
                Some(rate) => self.started + Duration::from_secs_f64(self.sent as f64 / rate),
            };
            if due > now {
                let wait = Expiration::OneShot((due - now).into());
                timer.set(wait, TimerSetTimeFlags::empty())?;
                return Ok(());
            }
            self.idle.pop_front();
            self.buffer.clear();
            (self.request)(self.sent, &mut self.buffer);
            self.sent += 1;
            if let Some(connection) = self.connections.get_mut(number) {
                connection.due = Some(due);
                connection.send(&self.buffer)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, number: usize) -> std::io::Result<()> {
        let Some(connection) = self.connections.get_mut(number) else {
            return Ok(());
        };
        connection.flush()?;
        if connection.read()?
            && let Some(status) = connection.take_answer()?
            && let Some(due) = connection.due.take()
        {
            self.times.push(due.elapsed().as_secs_f64() * 1e6);
            self.good += u64::from((200..300).contains(&status));
            self.idle.push_back(number);
        }
        Ok(())
    }

    fn outcome(mut self) -> Outcome {
        let elapsed = self.started.elapsed();
        let answers = self.times.len() as u64;
        self.times.sort_by(f64::total_cmp);
        Outcome {
            throughput: answers as f64 / elapsed.as_secs_f64(),
            p50: percentile(&self.times, 0.50),
            p90: percentile(&self.times, 0.90),
            p99: percentile(&self.times, 0.99),
            good: self.good,
            refused: answers - self.good,
        }
    }
}

impl Connection {
    /// Takes what has arrived. False: nothing.
    fn read(&mut self) -> std::io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let mut any = false;
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(size) => {
                    any = true;
                    self.received
                        .extend_from_slice(chunk.get(..size).unwrap_or_default());
                    if size < chunk.len() {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(any),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The status of the answer, if it is whole; then it is gone from the buffer.
    fn take_answer(&mut self) -> std::io::Result<Option<u16>> {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut fields);
        let start = match response.parse(&self.received) {
            Ok(httparse::Status::Complete(start)) => start,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(std::io::Error::other(error)),
        };
        let length = response
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case("content-length"))
            .and_then(|field| std::str::from_utf8(field.value).ok()?.parse::<usize>().ok())
            .ok_or_else(|| std::io::Error::other("an answer does not tell its length"))?;
        let status = response.code;
        if self.received.len() < start + length {
            return Ok(None);
        }
        self.received.clear();
        Ok(status)
    }

    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.unsent.extend_from_slice(bytes);
        self.flush()
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
    use crate::cores::Cores;
    use crate::server::{Server, bad_key, key};

    fn ask(key: &str, request: &mut Vec<u8>) {
        let text = format!("GET /authorize HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n");
        request.extend_from_slice(text.as_bytes());
    }

    #[test]
    fn each_request_is_sent_once_and_its_answer_counted() {
        let server = Server::start(&Cores::anywhere().expect("cores").all).expect("a server");
        let load = Load {
            connections: 4,
            requests: 1000,
            rate: None,
        };
        let mut seen = Vec::new();
        let outcome = load.run(server.address(), &mut |number, request| {
            seen.push(number);
            let key = if number < 900 {
                key(number)
            } else {
                bad_key(number)
            };
            ask(&key, request);
        });
        let outcome = outcome.expect("an outcome");
        assert_eq!((outcome.good, outcome.refused), (900, 100));
        assert_eq!(server.answered(), 1000);
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_steady_rate_is_kept() {
        let server = Server::start(&Cores::anywhere().expect("cores").all).expect("a server");
        let load = Load {
            connections: 2,
            requests: 200,
            rate: Some(1000.0),
        };
        let started = Instant::now();
        let outcome = load.run(server.address(), &mut |_, request| ask(&key(1), request));
        outcome.expect("an outcome");
        // The last one is due after 199 ms; how much later it is answered is the machine's affair.
        assert!(started.elapsed() >= Duration::from_millis(199));
    }
}
