//! TLS in front of a sample service: remembers whom each connection asked for, and in which protocol.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// What a connection asked for, once TLS was set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) name: Option<String>,
    pub(crate) protocol: String,
}

/// The front of one service.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Front {
    /// Listens on any port and hands on what comes to `service`.
    pub(crate) async fn of(service: SocketAddr, config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, list) = (acceptor.clone(), Arc::clone(&list));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let (_, session) = stream.get_ref();
                    let protocol = session.alpn_protocol().unwrap_or_default();
                    list.lock().expect("seen").push(Seen {
                        name: session.server_name().map(str::to_owned),
                        protocol: String::from_utf8_lossy(protocol).into_owned(),
                    });
                    let mut service = TcpStream::connect(service).await.expect("the service");
                    // It ends when one of them hangs up.
                    let _ = copy_bidirectional(&mut stream, &mut service).await;
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What its connections asked for, each kind once.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let mut seen = self.seen.lock().expect("seen").clone();
        seen.dedup();
        seen
    }
}
