//! The linear memories of the modules that an Envoy runs: all that a module can read and write, its stack included.

use std::fs::{File, read_to_string};
use std::io::{Read, Seek, SeekFrom};

/// V8 reserves so much behind each linear memory, so that an access beyond its end needs no check.
const GUARD: u64 = 1 << 30;

/// A mapping of a process, from one address up to another.
struct Mapping {
    start: u64,
    end: u64,
    permissions: String,
}

/// What stands in the linear memories of a process at this moment, each one for itself; bytes are Latin-1, which can be
/// searched as text.
pub(crate) fn linear_memories(process: u32) -> Vec<String> {
    let maps = read_to_string(format!("/proc/{process}/maps")).expect("a process");
    let mappings: Vec<_> = maps.lines().map(Mapping::parse).collect();
    let mut memory = File::open(format!("/proc/{process}/mem")).expect("a process of our own");
    mappings
        .windows(2)
        .filter_map(|pair| match pair {
            [memory, guard] => guard.guards(memory).then_some(memory),
            _ => None,
        })
        .map(|mapping| {
            let mut bytes = vec![0; usize::try_from(mapping.end - mapping.start).expect("a size")];
            let read = memory.seek(SeekFrom::Start(mapping.start));
            read.and_then(|_| memory.read_exact(&mut bytes))
                .expect("its memory");
            bytes.into_iter().map(char::from).collect()
        })
        .collect()
}

/// In how many of the memories `wanted` stands, which is ASCII.
pub(crate) fn holders(memories: &[String], wanted: &str) -> usize {
    memories
        .iter()
        .filter(|memory| memory.contains(wanted))
        .count()
}

impl Mapping {
    fn parse(line: &str) -> Self {
        let mut fields = line.split(' ');
        let mut field = || fields.next().expect("a field");
        let (start, end) = field().split_once('-').expect("two addresses");
        let address = |text| u64::from_str_radix(text, 16).expect("an address");
        Self {
            start: address(start),
            end: address(end),
            permissions: field().to_owned(),
        }
    }

    /// Whether this is what V8 puts behind a linear memory.
    fn guards(&self, memory: &Self) -> bool {
        memory.permissions == "rw-p"
            && self.permissions == "---p"
            && self.start == memory.end
            && self.end - self.start >= GUARD
    }
}
