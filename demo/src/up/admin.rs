//! Envoy's admin interface on a port of this machine, for browsers too. `waykeeper run` has it on a socket that only its user may
//! open.

use std::path::PathBuf;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::POLL;

/// Hands each connection on to the socket.
pub(super) async fn forward(listener: TcpListener, socket: PathBuf) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((mut caller, _)) = accepted else {
                    // There are too many, or this one has gone again.
                    sleep(POLL).await;
                    continue;
                };
                let socket = socket.clone();
                connections.spawn(async move {
                    if let Ok(mut envoy) = UnixStream::connect(socket).await {
                        // Whoever breaks off has what it wanted.
                        let _ = copy_bidirectional(&mut caller, &mut envoy).await;
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
