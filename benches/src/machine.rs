//! The machine that a report is of, and the programs on it.

use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::contender::Tools;

/// A machine and its programs, as far as figures depend on them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many of its cores can be used.
    pub cores: usize,
    /// True if two of them are threads of one.
    pub hyperthreads: bool,
    /// The memory, in GiB.
    pub memory: u64,
    /// The operating system's kernel.
    pub kernel: String,
    /// Envoy's version.
    pub envoy: String,
    /// `h2load`'s version.
    pub h2load: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn this(tools: &Tools, cores: usize) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processor = field(&read("/proc/cpuinfo"), "model name");
        let kibibytes: u64 = field(&read("/proc/meminfo"), "MemTotal")
            .trim_end_matches(" kB")
            .parse()
            .unwrap_or(0);
        let siblings = read("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list");
        let envoy = tools
            .envoy()
            .map(|program| said(&program.display().to_string()));
        Self {
            processor,
            cores,
            hyperthreads: siblings.trim().contains([',', '-']),
            memory: kibibytes.div_ceil(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            // `…/envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`
            envoy: envoy
                .unwrap_or_default()
                .split('/')
                .find(|part| {
                    part.starts_with(|first: char| first.is_ascii_digit()) && part.contains('.')
                })
                .unwrap_or_default()
                .to_owned(),
            h2load: said("h2load")
                .trim()
                .trim_start_matches("h2load nghttp2/")
                .to_owned(),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            processor,
            cores,
            memory,
            kernel,
            envoy,
            h2load,
            ..
        } = self;
        let threads = if self.hyperthreads {
            " (threads of fewer)"
        } else {
            ""
        };
        write!(
            formatter,
            "{processor}, {cores} cores{threads}, {memory} GiB, Linux {kernel}, Envoy {envoy}, h2load {h2load}"
        )
    }
}

/// What a program says of its version.
fn said(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

fn field(text: &str, name: &str) -> String {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_once(':'))
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}
