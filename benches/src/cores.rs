//! Which processor core does what. Envoy has one of its own; the load and the servers behind Envoy share another, so
//! that neither takes the other's time.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::Error;

/// The cores for each part of the benchmark, by number.
#[derive(Clone, Debug)]
pub struct Cores {
    /// All that this process may use.
    pub all: Vec<usize>,
    /// Envoy's, or that of what stands in its place.
    pub gateway: Vec<usize>,
    /// Those of the load, and of the servers behind Envoy.
    pub load: Vec<usize>,
}

impl Cores {
    /// One core for Envoy, the last; and one for the rest, the first.
    ///
    /// # Errors
    /// If there are not two, or the kernel does not say.
    pub fn apart() -> Result<Self, Error> {
        let all = allowed()?;
        match *all.as_slice() {
            [load, .., gateway] => Ok(Self {
                gateway: vec![gateway],
                load: vec![load],
                all,
            }),
            _ => Err(Error::new(
                "the benchmark needs two processor cores: one for Envoy, one for the load",
            )),
        }
    }

    /// Everything everywhere: for tests, which measure nothing.
    ///
    /// # Errors
    /// If the kernel does not say which cores there are.
    pub fn anywhere() -> Result<Self, Error> {
        let all = allowed()?;
        Ok(Self {
            gateway: all.clone(),
            load: all.clone(),
            all,
        })
    }
}

/// Keeps the calling thread, and whatever it starts from now on, to these cores.
///
/// # Errors
/// If the kernel refuses.
pub fn keep_to(cores: &[usize]) -> Result<(), Error> {
    let failed = |error| Error::new(format!("cannot keep to the cores {cores:?}: {error}"));
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core).map_err(failed)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).map_err(failed)
}

fn allowed() -> Result<Vec<usize>, Error> {
    let set = sched_getaffinity(Pid::from_raw(0))
        .map_err(|error| Error::new(format!("cannot tell which cores there are: {error}")))?;
    Ok((0..CpuSet::count())
        .filter(|core| set.is_set(*core).unwrap_or(false))
        .collect())
}
