//! Programs that are measured: started on given cores, ended with us, their processor time and memory read from the
//! kernel.

#![expect(
    unsafe_code,
    reason = "between fork and exec a child asks the kernel to end it with us"
)]

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, gettid};

use crate::Error;
use crate::cores::{Cores, keep_to};

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    clock: ProcessorClock,
}

/// The processor time that a process or a thread has used.
#[derive(Clone, Copy, Debug)]
pub struct ProcessorClock(ClockId);

// === impl Process ===

impl Process {
    /// Starts a program on some of `cores`. It ends when the calling thread does, whatever ends that.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command, on: &[usize], cores: &Cores) -> Result<Self, Error> {
        let name = command.get_program().display().to_string();
        let failed = |error: std::io::Error| Error::new(format!("cannot start {name}: {error}"));
        // SAFETY: the closure makes one system call and allocates nothing.
        unsafe {
            command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from));
        }
        // A child begins on its parent's cores.
        keep_to(on)?;
        let child = command.spawn();
        keep_to(&cores.load)?;
        let child = child.map_err(failed)?;
        let pid =
            i32::try_from(child.id()).map_err(|error| failed(std::io::Error::other(error)))?;
        let clock =
            clock_getcpuclockid(Pid::from_raw(pid)).map_err(|error| failed(error.into()))?;
        Ok(Self {
            child,
            clock: ProcessorClock(clock),
        })
    }

    /// The process's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The processor time used so far, by all threads.
    ///
    /// # Errors
    /// If the program has ended.
    pub fn processor_time(&self) -> Result<Duration, Error> {
        self.clock.read()
    }

    /// The most memory that the program has had at any time, in bytes.
    ///
    /// # Errors
    /// If the program has ended.
    pub fn peak_memory(&self) -> Result<u64, Error> {
        self.memory("VmHWM:")
    }

    /// The memory that the program has now, in bytes.
    ///
    /// # Errors
    /// If the program has ended.
    pub fn memory_now(&self) -> Result<u64, Error> {
        self.memory("VmRSS:")
    }

    /// How the program ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    fn memory(&self, field: &str) -> Result<u64, Error> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).map_err(|error| Error::at(&path, error))?;
        status
            .lines()
            .find_map(|line| {
                let kibibytes = line.strip_prefix(field)?.trim().strip_suffix(" kB")?;
                kibibytes.parse::<u64>().ok().map(|number| number * 1024)
            })
            .ok_or_else(|| Error::new(format!("{path} has no {field}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl ProcessorClock ===

impl ProcessorClock {
    /// The calling thread's, to be read by another thread of this process.
    #[must_use]
    pub fn of_this_thread() -> Self {
        // As pthread_getcpuclockid makes it: the thread's id inverted, then "a thread's" and "as scheduled".
        let thread = !i64::from(gettid().as_raw());
        Self(ClockId::from_raw((thread << 3 | 0b110) as _))
    }

    /// The time used so far.
    ///
    /// # Errors
    /// If the process or the thread has ended.
    pub fn read(&self) -> Result<Duration, Error> {
        clock_gettime(self.0)
            .map(Duration::from)
            .map_err(|error| Error::new(format!("a processor clock cannot be read: {error}")))
    }
}
