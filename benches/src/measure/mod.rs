//! The measurements. Each starts what it compares, warms it up, and then goes round by round through all of it, so
//! that whatever the machine does meanwhile befalls all alike.

mod bodies;
mod compare;
mod growth;
mod instructions;
mod latency;
mod memory;
mod pieces;
mod start;
mod stream;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tempfile::TempDir;

pub use bodies::{LARGE, SMALL};

use crate::Error;
use crate::contender::{Gateway, Limit, PATH, Site, Target, Tools};
use crate::cores::{Cores, keep_to};
use crate::h2load;
use crate::report::{Measurement, Metric, Sample};
use crate::server::{Server, key};

/// What all measurements share.
#[derive(Debug)]
pub struct Bench {
    tools: Tools,
    cores: Cores,
    plan: Plan,
    /// Stands behind the contenders.
    agent: Server,
    /// Knows keys.
    authority: Server,
    /// Files of loads.
    scratch: TempDir,
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds.
    pub rounds: usize,
    /// Requests of each contender in a round.
    pub requests: u32,
    /// Keep-alive connections.
    pub connections: u32,
    /// Numbers of clients that are compared.
    pub clients: Vec<u64>,
    /// How many valid and as many invalid keys are to fit into memory.
    pub keys: u64,
    /// Only these contenders, by name; empty: all.
    pub contenders: Vec<String>,
    /// Another build of the filter to compare with.
    pub against: Option<PathBuf>,
}

/// A measurement's name and what makes it.
pub type Named = (&'static str, fn(&Bench) -> Result<Measurement, Error>);

/// All measurements, in the order in which they are made.
pub const ALL: [Named; 11] = [
    ("direct", compare::direct),
    ("upstream", compare::upstream),
    ("posted", compare::posted),
    ("latency", latency::at_half_load),
    ("events", stream::events),
    ("pieces", pieces::of_bodies),
    ("routes", growth::routes),
    ("workers", growth::workers),
    ("clients", growth::clients),
    ("memory", memory::of_many_keys),
    ("start", start::cold),
];

/// Measurements that are only made when they are asked for.
pub const MORE: [Named; 6] = [
    ("instructions", instructions::of_contenders),
    ("settings", instructions::of_settings),
    ("attempts", instructions::of_judges),
    ("dense", instructions::of_clients),
    ("bodies", bodies::instructions),
    ("calls", instructions::of_calls),
];

/// Something that takes part in the rounds of a measurement.
struct Lane<'a> {
    name: String,
    sample: Box<dyn FnMut() -> Result<Sample, Error> + 'a>,
}

// === impl Plan ===

impl Plan {
    /// Enough to judge by.
    #[must_use]
    pub fn full() -> Self {
        Self {
            rounds: 30,
            requests: 10_000,
            connections: 16,
            clients: vec![10, 10_000, 1_000_000],
            keys: 1_000_000,
            contenders: Vec::new(),
            against: None,
        }
    }

    /// Under two minutes: enough to see where one stands.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            rounds: 5,
            requests: 3_000,
            clients: vec![10, 10_000],
            keys: 5_000,
            ..Self::full()
        }
    }
}

// === impl Bench ===

impl Bench {
    /// Starts the servers behind the contenders. The calling thread is kept to the load's cores from now on.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new(tools: Tools, cores: Cores, plan: Plan) -> Result<Self, Error> {
        keep_to(&cores.load)?;
        Ok(Self {
            agent: Server::start(&cores.load)?,
            authority: Server::start(&cores.load)?,
            scratch: tempfile::tempdir().map_err(|error| Error::at(std::env::temp_dir(), error))?,
            tools,
            cores,
            plan,
        })
    }

    /// Where contenders are measured: one worker on a core of its own, with `target` behind.
    fn site(&self, target: Target) -> Site<'_> {
        Site {
            tools: &self.tools,
            cores: &self.cores,
            on: &self.cores.gateway,
            workers: 1,
            target,
            authority: self.authority.address(),
            limit: Limit::Unreached,
            counted: false,
        }
    }

    /// Where instructions are counted. They are the same on any core, so it may have whichever is free.
    fn counting_site(&self, target: Target) -> Site<'_> {
        Site {
            on: &self.cores.all,
            counted: true,
            ..self.site(target)
        }
    }

    fn behind(&self) -> Target {
        Target::Agent(self.agent.address())
    }

    fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The load that all comparisons put on: what an AI client sends, with the key of one client.
    fn load(&self) -> h2load::Load {
        h2load::Load {
            connections: self.plan.connections,
            requests: self.plan.requests,
            paths: vec![PATH.to_owned()],
            headers: client_headers(&key(7)),
            body: None,
        }
    }

    /// Puts a load on a gateway and says what it cost.
    fn measure(&self, gateway: &Gateway, load: &h2load::Load) -> Result<Sample, Error> {
        let requests = f64::from(load.requests);
        self.observe(gateway, requests, || {
            let outcome = load.run(gateway.address(), self.scratch())?;
            Ok(Sample::from([
                (Metric::Throughput, outcome.throughput),
                (Metric::P50, outcome.p50),
                (Metric::P99, outcome.p99),
            ]))
        })
    }

    /// What `work` of so many requests cost a gateway, beside what it says itself.
    fn observe(
        &self,
        gateway: &Gateway,
        requests: f64,
        work: impl FnOnce() -> Result<Sample, Error>,
    ) -> Result<Sample, Error> {
        let process = gateway.process();
        let (asked, served) = (self.authority.answered(), self.authority.processor_time()?);
        let before = process.processor_time()?;
        let mut sample = work()?;
        let used = process.processor_time()? - before;
        let server = self.authority.processor_time()? - served;
        let questions = self.authority.answered() - asked;
        sample.extend([
            (Metric::Cpu, used.as_secs_f64() * 1e6 / requests),
            (Metric::ServerCpu, server.as_secs_f64() * 1e6 / requests),
            (Metric::Questions, questions as f64 / requests),
            (Metric::PeakMemory, process.peak_memory()? as f64),
        ]);
        Ok(sample)
    }

    /// Goes round by round through all lanes, each time beginning with another one.
    fn rounds(&self, rounds: usize, mut lanes: Vec<Lane<'_>>) -> Result<Measurement, Error> {
        let mut measurement = Measurement {
            rounds,
            ..Measurement::default()
        };
        for round in 0..rounds {
            progress(round, rounds);
            for place in 0..lanes.len() {
                let index = (round + place) % lanes.len();
                if let Some(lane) = lanes.get_mut(index) {
                    let sample = (lane.sample)()
                        .map_err(|error| Error::new(format!("{}: {error}", lane.name)))?;
                    measurement.add(&lane.name, sample);
                }
            }
        }
        Ok(measurement)
    }

    /// Makes a measurement and says on the standard error how far it is.
    ///
    /// # Errors
    /// If something does not start, or refuses its work.
    pub fn make(&self, (name, measurement): Named) -> Result<Measurement, Error> {
        let started = Instant::now();
        eprint!("{name} ");
        let result = measurement(self);
        eprintln!(" {:.0} s", started.elapsed().as_secs_f64());
        result.map_err(|error| Error::new(format!("{name}: {error}")))
    }
}

/// The headers of an AI client's request, beside those that every client sends.
#[must_use]
pub fn client_headers(key: &str) -> Vec<(String, String)> {
    [
        ("x-api-key", key),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("content-type", "application/json"),
        ("x-stainless-lang", "python"),
        ("x-stainless-os", "Linux"),
        ("x-stainless-package-version", "3.52.0"),
        ("x-stainless-retry-count", "0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// A dot for each tenth of the rounds.
fn progress(round: usize, rounds: usize) {
    if round.is_multiple_of(rounds.div_ceil(10)) {
        eprint!(".");
        // Whoever does not see it misses nothing.
        let _ = std::io::stderr().flush();
    }
}
