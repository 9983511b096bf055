//! The module's version, where it can be read without running it.

#![expect(
    unsafe_code,
    reason = "a section of the module is named, and no code reads it"
)]

use waykeeper::VERSION;

/// In [`waykeeper::VERSION_SECTION`].
#[used]
#[unsafe(link_section = "waykeeper.version")]
static SECTION: [u8; VERSION.len()] = section();

const fn section() -> [u8; VERSION.len()] {
    let mut bytes = [0; VERSION.len()];
    bytes.copy_from_slice(VERSION.as_bytes());
    bytes
}
