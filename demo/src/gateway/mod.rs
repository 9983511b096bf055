//! Runs Envoy as the gateway: the reference configuration of `envoy/` with other ports, endpoints and paths put in,
//! in a process that ends with ours. `waykeeper-demo up` and the end-to-end tests both stand on this module, so what
//! they show is true of the files that an operator loads.

mod admin;
mod exchange;
mod process;
mod reference;
#[cfg(test)]
mod tests;

pub use admin::{Admin, AdminAddress, AdminError, Reloads};
pub(crate) use exchange::exchange;
pub use process::ProcessError;
pub use reference::{Bootstrap, FilterFile, ReferenceError};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use process::{Launch, Process};

/// How often a condition that is waited for is looked at.
const POLL: Duration = Duration::from_millis(10);

/// How long Envoy may take from its start until it serves: long enough for a busy machine to compile the module.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// How long Envoy may take to end once it was told to.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Files in the run directory. Only renames into [`DISCOVERY`] are seen by Envoy.
const BOOTSTRAP: &str = "envoy.json";
const DISCOVERY: &str = "discovery";
const ADMIN_SOCKET: &str = "admin.sock";
const ENVOY_LOG: &str = "envoy.log";
const ACCESS_LOG: &str = "access.log";

/// How Envoy gets the filter's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// From a file that it watches, as the reference does: it can be changed by [`Gateway::reconfigure`].
    File,
    /// From its bootstrap: a filter that cannot be configured keeps Envoy from starting.
    Bootstrap,
    /// Not at all: Envoy runs without the filter.
    Absent,
}

/// What to run. The two documents can be edited freely before the start.
#[derive(Debug)]
pub struct Setup {
    /// The Envoy program.
    pub program: PathBuf,
    /// The reference bootstrap, edited.
    pub bootstrap: Bootstrap,
    /// The filter and its configuration, edited.
    pub filter: FilterFile,
    /// How the filter's configuration reaches Envoy.
    pub discovery: Discovery,
    /// Where the admin interface listens; without an address, on a socket in the run directory.
    pub admin: Option<SocketAddr>,
    /// Envoy's worker threads.
    pub concurrency: u32,
    /// Further arguments of Envoy's command line.
    pub arguments: Vec<String>,
}

/// A running Envoy. Dropping it kills the process and removes its run directory.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    admin: Admin,
    address: SocketAddr,
    operations: SocketAddr,
    directory: TempDir,
}

/// Envoy could not be started.
#[derive(Debug)]
pub enum StartError {
    /// The reference configuration is not what we take it for.
    Reference(ReferenceError),
    /// A file of the run directory cannot be written.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The program cannot be started.
    Process(ProcessError),
    /// Envoy ended before it served.
    Ended {
        /// How.
        status: ExitStatus,
        /// All it logged.
        log: String,
    },
    /// Envoy does not serve.
    Deadline {
        /// What it did not do.
        waiting_for: String,
        /// All it logged.
        log: String,
    },
}

// === impl Setup ===

impl Setup {
    /// The reference configuration found in `directory` (the repository's `envoy/`), with every listener on a free port
    /// of 127.0.0.1 and the filter's module at `module`.
    ///
    /// # Errors
    /// If the files cannot be read or lack what is to be replaced.
    pub fn reference(
        directory: &Path,
        program: &Path,
        module: &Path,
    ) -> Result<Self, ReferenceError> {
        let mut bootstrap = Bootstrap::read(&directory.join("envoy.yaml"))?;
        let mut filter = FilterFile::read(&directory.join("waykeeper.yaml"))?;
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        bootstrap.listen("gateway", any_port)?;
        bootstrap.listen("operations", any_port)?;
        filter.set_module(module)?;
        Ok(Self {
            program: program.to_owned(),
            bootstrap,
            filter,
            discovery: Discovery::File,
            admin: None,
            concurrency: 1,
            arguments: Vec::new(),
        })
    }

    /// Starts Envoy and waits until it serves. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If Envoy cannot be started, ends, or does not serve within a minute; with its log where there is one.
    pub async fn start(mut self) -> Result<Gateway, StartError> {
        let directory = tempfile::Builder::new()
            .prefix("waykeeper-")
            .tempdir()
            .map_err(|source| StartError::file(&std::env::temp_dir(), source))?;
        let admin = self.write(directory.path())?;
        let mut process = self.launch(directory.path()).await?;

        let envoy_log = directory.path().join(ENVOY_LOG);
        let deadline = Instant::now() + START_DEADLINE;
        let (address, operations) = loop {
            if let Some(status) = process.ended() {
                let log = read_log(&envoy_log);
                return Err(StartError::Ended { status, log });
            }
            match serving(&admin).await {
                Ok(addresses) => break addresses,
                Err(error) if Instant::now() >= deadline => {
                    return Err(StartError::Deadline {
                        waiting_for: error.to_string(),
                        log: read_log(&envoy_log),
                    });
                }
                Err(_) => sleep(POLL).await,
            }
        };
        Ok(Gateway {
            process,
            admin,
            address,
            operations,
            directory,
        })
    }

    /// Writes the files that Envoy reads, and says where its admin interface will be.
    fn write(&mut self, directory: &Path) -> Result<Admin, StartError> {
        let admin = match self.admin {
            Some(address) => AdminAddress::Tcp(address),
            None => AdminAddress::Socket(directory.join(ADMIN_SOCKET)),
        };
        self.bootstrap.set_admin(&admin)?;
        let discovery = directory.join(DISCOVERY);
        std::fs::create_dir(&discovery).map_err(|source| StartError::file(&discovery, source))?;
        match self.discovery {
            Discovery::File => {
                let path = self
                    .filter
                    .write_into(&discovery)
                    .map_err(|source| StartError::file(&discovery, source))?;
                self.bootstrap.discover_filter(&path)?;
            }
            Discovery::Bootstrap => self.bootstrap.embed_filter(&self.filter)?,
            Discovery::Absent => self.bootstrap.remove_filter()?,
        }
        let path = directory.join(BOOTSTRAP);
        self.bootstrap
            .write(&path)
            .map_err(|source| StartError::file(&path, source))?;
        Ok(Admin::at(admin))
    }

    async fn launch(&self, directory: &Path) -> Result<Process, StartError> {
        let mut arguments = vec![
            "--config-path".to_owned(),
            directory.join(BOOTSTRAP).display().to_string(),
            "--concurrency".to_owned(),
            self.concurrency.to_string(),
            "--disable-hot-restart".to_owned(),
        ];
        arguments.extend(self.arguments.iter().cloned());
        let launch = Launch {
            program: self.program.clone(),
            arguments,
            stdout: directory.join(ACCESS_LOG),
            stderr: directory.join(ENVOY_LOG),
        };
        Process::start(launch).await.map_err(StartError::Process)
    }
}

// === impl Gateway ===

impl Gateway {
    /// Where the gateway listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics and readiness are served.
    pub fn operations(&self) -> SocketAddr {
        self.operations
    }

    /// Envoy's admin interface.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The process id of Envoy, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Everything Envoy has logged so far, the filter's lines among it.
    pub fn envoy_log(&self) -> String {
        read_log(&self.envoy_log_path())
    }

    /// The access log so far, one JSON object a line. Envoy writes it with a delay.
    pub fn access_log(&self) -> String {
        read_log(&self.access_log_path())
    }

    /// The file that [`Self::envoy_log`] reads.
    pub fn envoy_log_path(&self) -> PathBuf {
        self.directory.path().join(ENVOY_LOG)
    }

    /// The file that [`Self::access_log`] reads.
    pub fn access_log_path(&self) -> PathBuf {
        self.directory.path().join(ACCESS_LOG)
    }

    /// Gives Envoy another configuration of the filter, which it takes or refuses within a moment: see
    /// [`Admin::reloads`]. Only where it was started with [`Discovery::File`].
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn reconfigure(&self, filter: &FilterFile) -> std::io::Result<()> {
        let discovery = self.directory.path().join(DISCOVERY);
        filter.write_into(&discovery).map(|_| ())
    }

    /// The same with any text in place of a file that has a configuration.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn reconfigure_with(&self, text: &str) -> std::io::Result<()> {
        let discovery = self.directory.path().join(DISCOVERY);
        FilterFile::write_text_into(text, &discovery).map(|_| ())
    }

    /// Ends Envoy as an orchestrator would: health checks fail first, then the listeners drain; requests under way have
    /// `grace` to finish. What remains is cut off.
    pub async fn drain(&mut self, grace: Duration) {
        // An admin interface that does not answer belongs to an Envoy that is ending or broken already.
        let told = self.admin.post("/healthcheck/fail").await.is_ok()
            && self.admin.post("/drain_listeners?graceful").await.is_ok();
        if told {
            let idle = async {
                while !matches!(self.requests_under_way().await, Ok(0) | Err(_)) {
                    sleep(POLL).await;
                }
            };
            // Whether they finished or not, the process ends now.
            let _ = timeout(grace, idle).await;
        }
        self.stop().await;
    }

    /// Ends Envoy at once.
    pub async fn stop(&mut self) {
        self.process.terminate();
        if timeout(STOP_DEADLINE, self.process.wait()).await.is_err() {
            self.process.kill().await;
        }
    }

    async fn requests_under_way(&self) -> Result<u64, AdminError> {
        self.admin.stat("http.gateway.downstream_rq_active").await
    }
}

/// The addresses of the gateway and of the operators' listener, once Envoy accepts connections on them.
async fn serving(admin: &Admin) -> Result<(SocketAddr, SocketAddr), AdminError> {
    admin.ready().await?;
    Ok((
        admin.listener("gateway").await?,
        admin.listener("operations").await?,
    ))
}

/// A log as far as it can be read: it is only ever shown to people.
fn read_log(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("({}: {error})", path.display()),
    }
}

// === impl StartError ===

impl StartError {
    fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }
}

impl From<ReferenceError> for StartError {
    fn from(error: ReferenceError) -> Self {
        Self::Reference(error)
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reference(error) => error.fmt(formatter),
            Self::File { path, source } => write!(formatter, "{}: {source}", path.display()),
            Self::Process(error) => error.fmt(formatter),
            Self::Ended { status, log } => {
                write!(
                    formatter,
                    "envoy ended before it served ({status}); its log:\n{log}"
                )
            }
            Self::Deadline { waiting_for, log } => {
                write!(
                    formatter,
                    "envoy does not serve ({waiting_for}); its log:\n{log}"
                )
            }
        }
    }
}

impl std::error::Error for StartError {}
