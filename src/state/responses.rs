//! Who has given which answer: a table of its own, made when the first configuration comes that is sticky by answers.
//!
//! An answer is told from others by a hash of its name and of whose it is; who asks for another's finds nothing. The table never
//! grows: where a cell is full, the record goes that was made first.

use std::time::Duration;

use super::grid::{Decision, Grid, StateError, read};
use super::{Hashed, SeededHash, State};
use crate::host::{CellName, Host, HostError, Timestamp};

/// So long it is known who has given an answer.
const LASTS: Duration = Duration::from_secs(24 * 3600);

/// So many records a cell has at most.
pub const RECORDS_PER_CELL: u32 = 16;

/// The longest address of a host that is kept: that of an IPv6 host with its port, and some more.
const ADDRESS: usize = 56;

/// A record's size in bytes.
pub const RECORD: usize = 24 + ADDRESS;

/// Who has given which answer.
#[derive(Debug)]
pub struct Responses {
    grid: Grid,
    hash: SeededHash,
}

/// Who has given an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Giver {
    agent: u64,
    /// The host; empty if that is not known.
    pub address: Vec<u8>,
}

struct Record {
    tag: u64,
    until: Timestamp,
    giver: Giver,
}

impl Responses {
    /// The table of a process; if it has none, one for so many answers.
    ///
    /// # Errors
    /// When the host refuses the cells.
    pub fn open<H: Host>(host: &H, state: &State, records: u32) -> Result<Self, HostError> {
        let size = state.responses.locate(0);
        let grid = |cells: u32| Grid::new(b'o', cells);
        let made = host.read_cell(size)?;
        let made = made.and_then(|(value, _)| Some(u32::from_le_bytes(value.try_into().ok()?)));
        let grid = match made {
            Some(cells) => grid(cells),
            // A configuration is read on the main thread before any worker has it, so nobody else makes it at the same time.
            None => {
                let cells = records.div_ceil(RECORDS_PER_CELL);
                let grid = grid(cells);
                grid.create(host)?;
                host.create_cell(size, &cells.to_le_bytes())?;
                grid
            }
        };
        let hash = state.hash;
        Ok(Self { grid, hash })
    }

    /// An answer of this name that was given to this client; `None`: to somebody without a key.
    #[must_use]
    pub fn key(&self, client: Option<&str>, name: &[u8]) -> Hashed {
        let whose: [&[u8]; 2] = match client {
            Some(client) => [b"client", client.as_bytes()],
            None => [b"anybody", b""],
        };
        let [kind, client] = whose;
        self.hash.of(&[b"response", kind, client, name])
    }

    fn agent(&self, name: &str) -> u64 {
        self.hash.of(&[b"agent", name.as_bytes()]).tag
    }

    /// Whether it was this agent.
    #[must_use]
    pub fn is_by(&self, giver: &Giver, agent: &str) -> bool {
        giver.agent == self.agent(agent)
    }

    /// Remembers who has given an answer.
    ///
    /// # Errors
    /// When the cell cannot be changed.
    pub fn remember<H: Host>(
        &self,
        host: &H,
        key: Hashed,
        agent: &str,
        address: &[u8],
    ) -> Result<(), StateError> {
        let agent = self.agent(agent);
        Grid::update(host, self.cell(key), |value| {
            let now = host.now();
            let mut records = decode(&value);
            records.retain(|it| it.until > now && it.tag != key.tag);
            // Behind them comes what is younger.
            let too_many = (records.len() + 1).saturating_sub(RECORDS_PER_CELL as usize);
            records.drain(..too_many);
            let fits = address.len() <= ADDRESS;
            let address = if fits { address } else { &[] };
            records.push(Record {
                tag: key.tag,
                until: now.after(LASTS),
                giver: Giver {
                    agent,
                    address: address.to_vec(),
                },
            });
            Decision::Replace(encode(&records), ())
        })
    }

    /// Who has given an answer, if that is known.
    ///
    /// # Errors
    /// When the cell cannot be read.
    pub fn find<H: Host>(&self, host: &H, key: Hashed) -> Result<Option<Giver>, StateError> {
        let (value, _) = read(host, self.cell(key))?;
        let mut records = decode(&value).into_iter();
        let found = records.find(|it| it.tag == key.tag && it.until > host.now());
        Ok(found.map(|it| it.giver))
    }

    fn cell(&self, key: Hashed) -> CellName {
        self.grid.locate(key.cell)
    }
}

fn encode(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD * records.len());
    for Record { tag, until, giver } in records {
        for number in [*tag, until.0, giver.agent] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(&giver.address);
        bytes.resize(bytes.len() + ADDRESS - giver.address.len().min(ADDRESS), 0);
    }
    bytes
}

fn decode(value: &[u8]) -> Vec<Record> {
    let (records, _) = value.as_chunks::<RECORD>();
    let record = |bytes: &[u8; RECORD]| {
        let (numbers, address) = bytes.split_at_checked(24)?;
        let (numbers, _) = numbers.as_chunks();
        let mut numbers = numbers.iter().map(|it| u64::from_le_bytes(*it));
        let length = address.iter().position(|byte| *byte == 0);
        Some(Record {
            tag: numbers.next()?,
            until: Timestamp(numbers.next()?),
            giver: Giver {
                agent: numbers.next()?,
                address: address.get(..length.unwrap_or(ADDRESS))?.to_vec(),
            },
        })
    };
    records.iter().filter_map(record).collect()
}

#[cfg(test)]
mod tests;
