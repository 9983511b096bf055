//! What Envoy tells while a callback is under way.
//!
//! A callout begins within the hostcall that makes it. Where its agent has the module on its side too, that is a stream of the same VM,
//! which is in use then: it is made, and often asked to pass the request on, before the callout is made for the gateway. The request
//! is the gateway's own, so it passes, and what was missed is made up for with the next callback.

use std::cell::RefCell;

/// What was told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Missed {
    /// There is a new context, of this root.
    Created { context: u32, root: u32 },
    /// There is one less.
    Deleted { context: u32 },
}

thread_local! {
    static MISSED: RefCell<Vec<Missed>> = const { RefCell::new(Vec::new()) };
    /// The root contexts of agents' sides.
    static ATTEMPTS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Puts it down.
#[cold]
pub(super) fn put(missed: Missed) {
    MISSED.with_borrow_mut(|all| all.push(missed));
}

/// Takes up all that was put down.
pub(super) fn each(f: impl FnMut(Missed)) {
    if MISSED.with_borrow(|all| !all.is_empty()) {
        MISSED.take().into_iter().for_each(f);
    }
}

/// A root context of an agent's side was configured.
pub(super) fn is_of_attempts(root: u32) {
    ATTEMPTS.with_borrow_mut(|all| all.push(root));
}

/// It is gone.
pub(super) fn is_no_more(root: u32) {
    ATTEMPTS.with_borrow_mut(|all| all.retain(|it| *it != root));
}

/// True of a stream on an agent's side that was made while a callback was under way: only the gateway's own callouts are.
#[cold]
pub(super) fn is_own_question(stream: u32) -> bool {
    let is_of_attempts = |root: &u32| ATTEMPTS.with_borrow(|all| all.contains(root));
    MISSED.with_borrow(|all| {
        all.iter().any(|missed| {
            matches!(missed, Missed::Created { context, root } if *context == stream && is_of_attempts(root))
        })
    })
}
