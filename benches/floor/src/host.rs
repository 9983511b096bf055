//! The module's memory and the calls to the host, thin. The host calls the module from one thread, and never into itself but
//! for [`proxy_on_memory_allocate`].

#![expect(
    unsafe_code,
    reason = "these are hostcalls, over memory that the module hands out itself"
)]

use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::slice;

/// What the host may hand over in one callback: the headers (60 KiB at most) and a cell.
const ARENA_BYTES: usize = 128 * 1024;

pub(crate) const REQUEST_HEADERS: u32 = 0;
#[cfg(feature = "equal")]
pub(crate) const RESPONSE_HEADERS: u32 = 2;
const PLUGIN_CONFIGURATION: u32 = 7;
const COUNTER: u32 = 0;
const OK: u32 = 0;
const CAS_MISMATCH: u32 = 8;
pub(crate) const CONTINUE: u32 = 0;
const STOP_ITERATION: u32 = 1;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    #[cfg(feature = "equal")]
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        cas: u32,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_get_buffer_bytes(
        kind: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// Where the host writes to, from the beginning in each callback.
struct Arena {
    bytes: UnsafeCell<[u64; ARENA_BYTES / 8]>,
    used: UnsafeCell<usize>,
}

// SAFETY: a VM has one thread.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena {
    bytes: UnsafeCell::new([0; ARENA_BYTES / 8]),
    used: UnsafeCell::new(0),
};

/// What a callback leaves to later ones.
pub(crate) struct Kept<T>(UnsafeCell<T>);

// SAFETY: a VM has one thread.
unsafe impl<T> Sync for Kept<T> {}

impl<T: Copy> Kept<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub(crate) fn set(&self, value: T) {
        // SAFETY: nobody holds a reference to what is in here.
        unsafe { *self.0.get() = value };
    }

    pub(crate) fn get(&self) -> T {
        // SAFETY: as above.
        unsafe { *self.0.get() }
    }
}

#[cfg(feature = "equal")]
impl<T: Copy, const N: usize> Kept<[T; N]> {
    pub(crate) fn set_at(&self, index: usize, value: T) {
        // SAFETY: as above.
        unsafe { (*self.0.get())[index % N] = value };
    }

    pub(crate) fn at(&self, index: usize) -> T {
        // SAFETY: as above.
        unsafe { (*self.0.get())[index % N] }
    }
}

#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // SAFETY: the host calls this once. Were it left out, the linker would wrap every export in it.
    unsafe { __wasm_call_ctors() };
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    // SAFETY: nobody else looks at `used` meanwhile, and what is handed out lies within the arena.
    unsafe {
        let start = *ARENA.used.get();
        match start.checked_add(size.next_multiple_of(8)) {
            Some(end) if end <= ARENA_BYTES => {
                *ARENA.used.get() = end;
                ARENA.bytes.get().cast::<u8>().add(start)
            }
            _ => null_mut(),
        }
    }
}

/// Gives the arena free for the callback that begins.
pub(crate) fn begin() {
    // SAFETY: what the last callback was given is no longer looked at.
    unsafe { *ARENA.used.get() = 0 };
}

pub(crate) fn configuration(size: usize) -> Option<&'static [u8]> {
    let (mut data, mut written) = (null_mut(), 0);
    // SAFETY: pointers to what outlives the call.
    let status = unsafe {
        proxy_get_buffer_bytes(
            PLUGIN_CONFIGURATION,
            0,
            size,
            &raw mut data,
            &raw mut written,
        )
    };
    taken(status, data, written)
}

pub(crate) fn counter(name: &[u8]) -> Option<u32> {
    let mut id = 0;
    // SAFETY: as above.
    let defined = unsafe { proxy_define_metric(COUNTER, name.as_ptr(), name.len(), &raw mut id) };
    (defined == OK).then_some(id)
}

pub(crate) fn increment(counter: u32) {
    // SAFETY: no pointers.
    unsafe { proxy_increment_metric(counter, 1) };
}

pub(crate) fn now() -> u64 {
    let mut now = 0;
    // SAFETY: as above.
    unsafe { proxy_get_current_time_nanoseconds(&raw mut now) };
    now
}

pub(crate) fn all_headers() -> Option<&'static [u8]> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: as above.
    let status =
        unsafe { proxy_get_header_map_pairs(REQUEST_HEADERS, &raw mut data, &raw mut size) };
    taken(status, data, size)
}

pub(crate) fn read(cell: &[u8; 4]) -> Option<(u64, u32)> {
    let (mut data, mut size, mut cas) = (null_mut(), 0, 0);
    // SAFETY: as above.
    let status = unsafe {
        proxy_get_shared_data(
            cell.as_ptr(),
            cell.len(),
            &raw mut data,
            &raw mut size,
            &raw mut cas,
        )
    };
    let value = taken(status, data, size)?;
    Some((u64::from_le_bytes(value.try_into().ok()?), cas))
}

/// `Some(false)`: another worker was faster. `None`: the host refuses.
pub(crate) fn write(cell: &[u8; 4], moment: u64, cas: u32) -> Option<bool> {
    let value = moment.to_le_bytes();
    // SAFETY: as above.
    let status = unsafe {
        proxy_set_shared_data(cell.as_ptr(), cell.len(), value.as_ptr(), value.len(), cas)
    };
    match status {
        OK => Some(true),
        CAS_MISMATCH => Some(false),
        _ => None,
    }
}

pub(crate) fn set_header(map: u32, name: &[u8], value: &[u8]) {
    // SAFETY: as above.
    unsafe {
        proxy_replace_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    };
}

#[cfg(feature = "equal")]
pub(crate) fn remove_header(map: u32, name: &[u8]) {
    // SAFETY: as above.
    unsafe { proxy_remove_header_map_value(map, name.as_ptr(), name.len()) };
}

/// Answers the request here.
pub(crate) fn reply(status: u32) -> u32 {
    let (details, no_headers) = (b"floor", 0_u32.to_le_bytes());
    // SAFETY: as above.
    unsafe {
        proxy_send_local_response(
            status,
            details.as_ptr(),
            details.len(),
            details.as_ptr(),
            0,
            no_headers.as_ptr(),
            no_headers.len(),
            -1,
        )
    };
    STOP_ITERATION
}

/// What the host has written, which stays in the arena until the next callback begins.
fn taken(status: u32, data: *mut u8, size: usize) -> Option<&'static [u8]> {
    if status != OK || data.is_null() {
        return None;
    }
    // SAFETY: the host has filled memory that it was given by `proxy_on_memory_allocate`.
    Some(unsafe { slice::from_raw_parts(data, size) })
}
