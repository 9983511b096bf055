//! An agent that does nothing by itself: a test reads what arrived and writes what is answered, byte for byte and one
//! step at a time. So a test can tell that a piece has passed the gateway before the next one exists, without a clock.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::PATIENCE;

/// The agent.
pub(crate) struct Puppet {
    listener: TcpListener,
}

/// A connection, byte for byte: one that the gateway has opened to it, or a caller's to the gateway.
pub(crate) struct Exchange {
    stream: TcpStream,
    /// What arrived and was not looked at yet.
    read: Vec<u8>,
}

// === impl Puppet ===

impl Puppet {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        Self { listener }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> Exchange {
        let accepted = timeout(PATIENCE, self.listener.accept());
        let accepted = accepted.await.expect("nothing reached the agent");
        let (stream, _) = accepted.expect("accept");
        Exchange::over(stream)
    }
}

// === impl Exchange ===

impl Exchange {
    /// A caller's connection.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("connect"))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket option");
        let read = Vec::new();
        Self { stream, read }
    }

    /// All that arrives until the other end closes the connection.
    pub(crate) async fn read_to_end(mut self) -> String {
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut self.read)).await;
        read.expect("the connection stays open").expect("read");
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// What arrives up to and including `end`.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let reading = async {
            loop {
                let found = self
                    .read
                    .windows(end.len())
                    .position(|window| window == end.as_bytes());
                if let Some(position) = found {
                    let rest = self.read.split_off(position + end.len());
                    return std::mem::replace(&mut self.read, rest);
                }
                let count = self.stream.read_buf(&mut self.read).await.expect("read");
                assert!(count > 0, "the connection ended before {end:?}");
            }
        };
        let text = timeout(PATIENCE, reading).await;
        let text = text.unwrap_or_else(|_| panic!("{end:?} does not arrive"));
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The next so many bytes.
    pub(crate) async fn read(&mut self, count: usize) -> Vec<u8> {
        let reading = async {
            while self.read.len() < count {
                let came = self.stream.read_buf(&mut self.read).await.expect("read");
                assert!(came > 0, "the connection ended");
            }
        };
        timeout(PATIENCE, reading).await.expect("nothing arrives");
        let rest = self.read.split_off(count);
        std::mem::replace(&mut self.read, rest)
    }

    /// Sends bytes as they are.
    pub(crate) async fn write(&mut self, bytes: &str) {
        let written = timeout(PATIENCE, self.stream.write_all(bytes.as_bytes()));
        written
            .await
            .expect("the gateway takes no more")
            .expect("write");
    }
}
