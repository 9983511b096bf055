//! The module's memory. Small pieces are kept by their sizes when they are freed, and given out again: a request takes a
//! dozen of them, and the system's allocator takes ten times as long to find a place for each.
//!
//! Memory that held a key is zeroed when it is freed. Freed memory keeps what was in it until somebody writes over it, and a
//! key's next copy may be long in coming. Any allocation may have held one: headers, a path, a question to the validator. So
//! all are zeroed, and there is no list of types that somebody could forget to extend.

#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait: each block hands on what its caller promised"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::ptr::null_mut;

/// Pieces of 16, 32, … 4096 bytes are kept.
const SIZES: usize = 9;
const SMALLEST: usize = 16;
const LARGEST: usize = SMALLEST << (SIZES - 1);

/// So many bytes of each size are kept at most; what is freed beyond goes back to the system, for pieces of other sizes.
const MOST_KEPT: usize = 256 * 1024;

/// The system's allocator with free pieces before it, which zeroes what is freed. For one thread only.
pub(crate) struct Memory {
    pieces: UnsafeCell<[Pieces; SIZES]>,
}

/// Free pieces of one size. Each but the last begins with the place of the next one.
struct Pieces {
    first: *mut Piece,
    bytes: usize,
}

struct Piece {
    next: *mut Piece,
}

// SAFETY: whoever makes it the global allocator has one thread, as a module of Wasm has.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) const fn new() -> Self {
        const NONE: Pieces = Pieces {
            first: null_mut(),
            bytes: 0,
        };
        Self {
            pieces: UnsafeCell::new([NONE; SIZES]),
        }
    }
}

/// Which size of pieces a layout is given, by its number. `None`: it is the system's own.
#[inline]
fn number_of(layout: Layout) -> Option<usize> {
    if layout.size() > LARGEST || layout.align() > SMALLEST {
        return None;
    }
    let size = layout.size().max(SMALLEST).next_power_of_two();
    Some((size / SMALLEST).trailing_zeros() as usize)
}

/// What the system is asked for. Of pieces it is asked for all that they may grow to.
#[inline]
fn whole(size: usize) -> Option<Layout> {
    Layout::from_size_align(SMALLEST << size, SMALLEST).ok()
}

/// Zeroes memory that nobody will read. A little of it word by word, as the engine fills memory by a call of its own.
///
/// # Safety
/// `length` bytes at `memory` belong to the caller.
#[inline]
unsafe fn clear(memory: *mut u8, length: usize) {
    /// Beyond so many bytes the call is worth it.
    const LITTLE: usize = 256;
    let words = if length <= LITTLE && memory.addr().is_multiple_of(8) {
        length / 8
    } else {
        0
    };
    for word in 0..words {
        // SAFETY: within `length`, and aligned. Volatile: the compiler would make a call of the loop.
        unsafe { memory.cast::<u64>().add(word).write_volatile(0) };
    }
    let cleared = 8 * words;
    if words > 0 || length < 8 {
        for byte in cleared..length {
            // SAFETY: within `length`.
            unsafe { memory.add(byte).write_volatile(0) };
        }
    } else {
        // SAFETY: all of it.
        unsafe { memory.write_bytes(0, length) };
    }
    // The compiler knows that nobody reads memory that is freed, and would leave the zeroes out.
    black_box(memory);
}

// SAFETY: what is given out is the system's, of at least the layout's size and alignment, and is given out again only once it
// was freed.
unsafe impl GlobalAlloc for Memory {
    // One body each for all places that allocate or free: inlined they make the module larger by tens of kilobytes.
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(size) = number_of(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: one thread, and nothing below calls back here.
        let all = unsafe { &mut *self.pieces.get() };
        if let Some(pieces) = all.get_mut(size)
            && !pieces.first.is_null()
        {
            let piece = pieces.first;
            // SAFETY: it was freed, and begins with the next one's place.
            pieces.first = unsafe { (*piece).next };
            pieces.bytes -= SMALLEST << size;
            return piece.cast();
        }
        // SAFETY: the size is not zero.
        whole(size).map_or(null_mut(), |layout| unsafe { System.alloc(layout) })
    }

    #[inline(never)]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise: `memory` was given out for this layout and is nobody else's.
        unsafe { clear(memory, layout.size()) };
        let Some(size) = number_of(layout) else {
            // SAFETY: as above, and of this size it is the system's own.
            return unsafe { System.dealloc(memory, layout) };
        };
        // SAFETY: one thread, and nothing below calls back here.
        let all = unsafe { &mut *self.pieces.get() };
        if let Some(pieces) = all.get_mut(size)
            && pieces.bytes < MOST_KEPT
        {
            let piece = memory.cast::<Piece>();
            // SAFETY: it has room for that, is aligned to 16 bytes, and nobody else has it.
            unsafe { (*piece).next = pieces.first };
            pieces.first = piece;
            pieces.bytes += SMALLEST << size;
        } else if let Some(layout) = whole(size) {
            // SAFETY: the system gave it out for this layout.
            unsafe { System.dealloc(memory, layout) };
        }
    }

    /// A piece that is large enough stays where it is; else it is a new one, a copy, and the old one freed. The system's own
    /// would leave a copy behind when it moves.
    #[inline(never)]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise: the size does not overflow.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let size = number_of(layout);
        if size.is_some() && size == number_of(new_layout) {
            if new_size < layout.size() {
                // SAFETY: the part that is given back.
                unsafe { clear(memory.add(new_size), layout.size() - new_size) };
            }
            return memory;
        }
        // SAFETY: the caller's promise, and of the two sizes the smaller is copied.
        unsafe {
            let new = self.alloc(new_layout);
            if !new.is_null() {
                new.copy_from_nonoverlapping(memory, layout.size().min(new_size));
                self.dealloc(memory, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    fn bytes<'a>(memory: *mut u8, length: usize) -> &'a mut [u8] {
        // SAFETY: the tests ask for what they were given.
        unsafe { std::slice::from_raw_parts_mut(memory, length) }
    }

    #[test]
    fn what_is_freed_is_given_out_again_and_holds_nothing_of_what_it_held() {
        let memory = Memory::new();
        for size in [1, 8, 15, 16, 17, 40, 1000, 4096] {
            // SAFETY: each is freed once, by its layout.
            unsafe {
                let first = memory.alloc(layout(size));
                bytes(first, size).fill(7);
                memory.dealloc(first, layout(size));
                let second = memory.alloc(layout(size));
                assert_eq!(first, second, "{size}");
                let place = std::mem::size_of::<*mut Piece>().min(size);
                assert!(
                    bytes(second, size)[place..].iter().all(|byte| *byte == 0),
                    "{size}"
                );
                memory.dealloc(second, layout(size));
            }
        }
    }

    #[test]
    fn pieces_that_are_in_use_are_nobody_elses() {
        let memory = Memory::new();
        let sizes: Vec<usize> = (0..600).map(|number| 1 + number * 37 % 5000).collect();
        // SAFETY: each is freed once, by its layout.
        unsafe {
            for _ in 0..3 {
                let all: Vec<_> = sizes
                    .iter()
                    .map(|size| memory.alloc(layout(*size)))
                    .collect();
                for (number, (piece, size)) in all.iter().zip(&sizes).enumerate() {
                    assert!(piece.addr().is_multiple_of(8));
                    bytes(*piece, *size).fill(number as u8);
                }
                for (number, (piece, size)) in all.iter().zip(&sizes).enumerate() {
                    assert!(
                        bytes(*piece, *size)
                            .iter()
                            .all(|byte| *byte == number as u8)
                    );
                    memory.dealloc(*piece, layout(*size));
                }
            }
        }
    }

    #[test]
    fn a_piece_grows_and_shrinks_with_what_it_holds_and_leaves_nothing_behind() {
        let memory = Memory::new();
        // SAFETY: each is freed once, by its layout.
        unsafe {
            let mut piece = memory.alloc(layout(20));
            bytes(piece, 20).fill(7);
            let grown = memory.realloc(piece, layout(20), 30);
            assert_eq!(piece, grown, "it has room");
            let shrunk = memory.realloc(grown, layout(30), 17);
            assert_eq!(piece, shrunk);
            assert!(bytes(piece, 20)[17..].iter().all(|byte| *byte == 0));
            for (old, new) in [(17, 100), (100, 5000), (5000, 6000), (6000, 17)] {
                let left = piece;
                piece = memory.realloc(piece, layout(old), new);
                assert_ne!(piece, left);
                assert!(
                    bytes(piece, 17).iter().all(|byte| *byte == 7),
                    "{old} to {new}"
                );
            }
            memory.dealloc(piece, layout(17));
        }
    }

    #[test]
    fn only_so_much_is_kept() {
        let memory = Memory::new();
        let number = 2 * MOST_KEPT / 1024;
        // SAFETY: each is freed once, by its layout.
        unsafe {
            let all: Vec<_> = (0..number).map(|_| memory.alloc(layout(1024))).collect();
            all.into_iter()
                .for_each(|piece| memory.dealloc(piece, layout(1024)));
            let kept: usize = (*memory.pieces.get())
                .iter()
                .map(|pieces| pieces.bytes)
                .sum();
            assert_eq!(kept, MOST_KEPT);
        }
    }
}
