//! A way to make the module trap on purpose, for the tests of what happens then. It is built with the feature
//! `provoke-trap` only, into a file of its own; no module that is installed has it.

use crate::host::StreamIo;

/// The request header that asks for a trap.
const HEADER: &str = "x-provoke-trap";

/// Traps if the request at hand asks for it.
#[expect(clippy::panic, reason = "to trap is what it is for")]
pub(super) fn if_asked(stream: &impl StreamIo) {
    let asked = stream
        .request_headers()
        .is_ok_and(|headers| headers.get(HEADER).is_some());
    if asked {
        panic!("asked to trap");
    }
}
