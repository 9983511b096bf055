//! The limiter that stands in a `gateway.yaml` as `builtin`: served by `waykeeper run` on a Unix socket, for this user's Envoy alone.
//! It counts for one gateway, and with a file its counts outlive that.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::watch;

use super::memory::Memory;
use super::serve::{self, End};
use super::service::{Limiter, Store};
use super::{Health, MOST_COUNTERS, kept, say};

/// A running limiter. It and its socket are gone when this is dropped, and what was counted is on the disk.
#[derive(Debug)]
pub(crate) struct Served {
    socket: PathBuf,
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Serves it on a path where nothing is yet, from a thread of its own.
///
/// # Errors
/// If it cannot listen there, or the file cannot be used.
pub(crate) fn serve(socket: &Path, keep: Option<&str>) -> io::Result<Served> {
    let store = match keep {
        Some(file) => {
            let keep = kept(Path::new(file), MOST_COUNTERS).map_err(io::Error::other)?;
            Store::Keep(Arc::new(keep))
        }
        None => Store::Memory(Mutex::new(Memory::new(MOST_COUNTERS))),
    };
    let listener = StdListener::bind(socket)?;
    let (end, ended) = End::new();
    // From here on the socket is taken away again, whatever fails.
    let mut served = Served {
        socket: socket.to_owned(),
        end,
        thread: None,
    };
    fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let limiter = Arc::new(Limiter::new(store));
    let serve = move || {
        runtime.block_on(until_the_end(&listener, &limiter, &ended));
        if let Store::Keep(keep) = limiter.store() {
            keep.end();
        }
    };
    let thread = thread::Builder::new().name("limiter".to_owned());
    served.thread = Some(thread.spawn(serve)?);
    Ok(served)
}

/// Begins again should it ever fail; counts stay.
async fn until_the_end(listener: &StdListener, limiter: &Arc<Limiter>, ended: &End) {
    let (health, server) = Health::of(limiter);
    match limiter.store() {
        Store::Keep(keep) => {
            tokio::spawn(Arc::clone(keep).report(health));
        }
        _ => health.set(true).await,
    }
    loop {
        let listener = listener.try_clone().and_then(UnixListener::from_std);
        let why = match listener {
            Ok(listener) => {
                let (limiter, server, end) = (Arc::clone(limiter), server.clone(), ended.clone());
                let serves = serve::questions(listener, None, limiter, server, end, Duration::ZERO);
                match tokio::spawn(serves).await {
                    Ok(()) => return,
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => error.to_string(),
        };
        say(&format!(
            "the limiter has failed and is started again: {why}"
        ));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // Fails only if it panicked; it is gone either way.
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.socket);
    }
}
