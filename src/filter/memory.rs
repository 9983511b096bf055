//! Memory that held a key is zeroed when it is freed. Freed memory keeps what was in it until somebody writes over it, and a
//! key's next copy may be long in coming.
//!
//! Any allocation may have held one: headers, a path, a question to the validator. So all are zeroed, and there is no list
//! of types that somebody could forget to extend.

#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait: each block hands on what its caller promised"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

/// The system's allocator, but for what is freed.
///
/// `realloc` is the trait's own: memory of the new size, a copy, and the old memory freed. The system's would leave a copy
/// behind when it moves.
struct Zeroing;

#[global_allocator]
static ALLOCATOR: Zeroing = Zeroing;

// SAFETY: every method is the system's own, but that memory is written to before it is freed, while it is the caller's.
unsafe impl GlobalAlloc for Zeroing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    // One body for all places that free something: inlined it makes the module 16 KB larger.
    #[inline(never)]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise: `memory` was given out for this layout and is nobody else's.
        unsafe {
            memory.write_bytes(0, layout.size());
            // The compiler knows that nobody reads memory that is freed, and would leave the zeroes out.
            System.dealloc(black_box(memory), layout);
        }
    }
}
