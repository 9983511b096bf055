//! One Envoy process. Envoy asks the kernel to end it when the thread that started it ends, so all are started from one
//! thread that lives as long as we do: then none outlives us, and none dies because a test's thread did.

use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// What to start.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    /// Files that take its output.
    pub(super) stdout: PathBuf,
    pub(super) stderr: PathBuf,
}

/// A started process, killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

/// A program cannot be started.
#[derive(Debug)]
pub struct ProcessError {
    program: PathBuf,
    source: std::io::Error,
}

/// A launch, the runtime that shall see the process end, and who waits for it.
type Order = (Launch, Handle, oneshot::Sender<std::io::Result<Child>>);

// === impl Launch ===

impl Launch {
    fn spawn(&self) -> std::io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&self.stdout)?)
            .stderr(File::create(&self.stderr)?)
            // Ctrl-C in a terminal is ours to handle: Envoy would end without draining.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

// === impl Process ===

impl Process {
    /// Must be called within a tokio runtime.
    pub(super) async fn start(launch: Launch) -> Result<Self, ProcessError> {
        let program = launch.program.clone();
        let (reply, child) = oneshot::channel();
        let ordered = starter().send((launch, Handle::current(), reply));
        let child = match ordered {
            Ok(()) => child.await.unwrap_or_else(|_| Err(starter_is_gone())),
            Err(_) => Err(starter_is_gone()),
        };
        match child {
            Ok(child) => Ok(Self { child }),
            Err(source) => Err(ProcessError { program, source }),
        }
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub(super) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
            // It may have ended in this instant, which is as well.
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
    }

    /// Ends it without asking.
    pub(super) async fn kill(&mut self) {
        // As above.
        let _ = self.child.kill().await;
    }
}

/// The thread that starts processes, itself started at first use.
fn starter() -> &'static mpsc::Sender<Order> {
    static STARTER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    STARTER.get_or_init(|| {
        let (orders, incoming) = mpsc::channel::<Order>();
        // The sender is in a static, so the channel never closes and the thread never ends.
        std::thread::spawn(move || {
            for (launch, runtime, reply) in incoming {
                let _runtime = runtime.enter();
                // If nobody waits any longer, the child is dropped here, which kills it.
                let _ = reply.send(launch.spawn());
            }
        });
        orders
    })
}

fn starter_is_gone() -> std::io::Error {
    std::io::Error::other("the thread that starts processes has ended")
}

// === impl ProcessError ===

impl std::fmt::Display for ProcessError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let program = self.program.display();
        write!(formatter, "cannot start {program}: {}", self.source)
    }
}

impl std::error::Error for ProcessError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
