//! Events of Envoy's loop, one for each stream that is to be answered or resumed.
//!
//! A shared queue is the one thing by which a module can ask Envoy for an event: for each value that is put in, the
//! root context that registered the queue is called once, from the loop of its own thread. Each root has a queue of
//! its own, whose name no other VM knows. Envoy never forgets a name, so the names of roots that are gone are used again.

use std::cell::RefCell;
use std::rc::Rc;

use super::hostcalls;
use waykeeper::host::{Bell, HostError, StreamId};

/// The names of the queues of one VM.
#[derive(Debug)]
pub(super) struct Names {
    /// Tells this VM's queues from those of all others.
    vm: u64,
    pool: RefCell<Pool>,
}

#[derive(Debug, Default)]
struct Pool {
    /// So many were given out at one time or another.
    known: u32,
    free: Vec<u32>,
}

/// The queue of one root context.
#[derive(Debug)]
pub(super) struct Wakes {
    queue: u32,
    name: u32,
    names: Rc<Names>,
}

impl Names {
    /// `vm` is a random number.
    pub(super) fn new(vm: u64) -> Rc<Self> {
        let pool = RefCell::default();
        Rc::new(Self { vm, pool })
    }

    fn take(&self) -> u32 {
        let mut pool = self.pool.borrow_mut();
        pool.free.pop().unwrap_or_else(|| {
            pool.known += 1;
            pool.known
        })
    }
}

impl Wakes {
    /// The queue of the root context that is at hand.
    pub(super) fn register(names: &Rc<Names>) -> Result<Self, HostError> {
        let name = names.take();
        let text = format!("waykeeper/wakes/{:016x}/{name}", names.vm);
        let wakes = Self {
            queue: hostcalls::register_queue(text.as_bytes())?,
            name,
            names: Rc::clone(names),
        };
        // Left by a root that is gone: its events found nobody to take these out.
        while woken(wakes.queue).is_some() {}
        Ok(wakes)
    }

    pub(super) fn wake(&self, stream: StreamId) -> Result<(), HostError> {
        ring(self.bell(), stream)
    }

    /// Envoy numbers queues for the whole process.
    pub(super) fn bell(&self) -> Bell {
        Bell(self.queue)
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.names.pool.borrow_mut().free.push(self.name);
    }
}

/// Asks for an event of the root context that has this bell, in whichever VM.
pub(super) fn ring(Bell(queue): Bell, stream: StreamId) -> Result<(), HostError> {
    hostcalls::enqueue(queue, &stream.0.to_le_bytes())
}

/// The stream that an event of this queue was asked for.
pub(crate) fn woken(queue: u32) -> Option<StreamId> {
    let value = hostcalls::dequeue(queue).ok()?;
    let id = value.first_chunk()?;
    Some(StreamId(u32::from_le_bytes(*id)))
}
