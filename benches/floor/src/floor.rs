//! The module. The host calls it from one thread, and never into itself but for [`proxy_on_memory_allocate`].

#![expect(
    unsafe_code,
    reason = "the module is nothing but hostcalls, over memory that it hands out itself"
)]

use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::slice;

/// Counters that clients share, by the hash of their keys.
const CELLS: u32 = 1024;

/// What the host may hand over in one callback: the headers (60 KiB at most) and a cell.
const ARENA_BYTES: usize = 128 * 1024;

const REQUEST_HEADERS: u32 = 0;
const PLUGIN_CONFIGURATION: u32 = 7;
const COUNTER: u32 = 0;
const OK: u32 = 0;
const CAS_MISMATCH: u32 = 8;
const CONTINUE: u32 = 0;
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

/// All that outlives a callback.
struct Module {
    /// Where the host writes to, from the beginning in each callback.
    arena: UnsafeCell<[u64; ARENA_BYTES / 8]>,
    used: UnsafeCell<usize>,
    settings: UnsafeCell<Settings>,
}

/// One limit for each client, and the counter of requests.
#[derive(Clone, Copy)]
struct Settings {
    interval: u64,
    tolerance: u64,
    requests: u32,
}

// SAFETY: a VM has one thread.
unsafe impl Sync for Module {}

static MODULE: Module = Module {
    arena: UnsafeCell::new([0; ARENA_BYTES / 8]),
    used: UnsafeCell::new(0),
    settings: UnsafeCell::new(Settings {
        interval: 0,
        tolerance: 0,
        requests: 0,
    }),
};

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
        let start = *MODULE.used.get();
        match start.checked_add(size.next_multiple_of(8)) {
            Some(end) if end <= ARENA_BYTES => {
                *MODULE.used.get() = end;
                MODULE.arena.get().cast::<u8>().add(start)
            }
            _ => null_mut(),
        }
    }
}

/// The configuration is the limit, in text: nanoseconds for one request, and how many may come at once.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_root: u32, size: usize) -> bool {
    begin();
    let Some((interval, burst)) = buffer(PLUGIN_CONFIGURATION, size).and_then(limit) else {
        return false;
    };
    let name = b"floor_requests_total";
    let mut requests = 0;
    // SAFETY: pointers to what outlives the calls.
    let defined =
        unsafe { proxy_define_metric(COUNTER, name.as_ptr(), name.len(), &raw mut requests) };
    if defined != OK {
        return false;
    }
    // SAFETY: no request is under way.
    unsafe {
        *MODULE.settings.get() = Settings {
            interval,
            tolerance: interval.saturating_mul(burst.saturating_sub(1)),
            requests,
        };
    }
    // The first VM creates the cells, before any worker starts; the others find them.
    (0..CELLS).all(|number| {
        begin();
        let cell = number.to_le_bytes();
        read(&cell).is_some() || write(&cell, 0, 0) == OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(_stream: u32, _headers: usize, _end: bool) -> u32 {
    begin();
    let Some(headers) = all_headers() else {
        return reply(500);
    };
    let Some(key) = find(headers, b"x-api-key") else {
        return reply(401);
    };
    if !key.starts_with(b"key-") {
        return reply(401);
    }
    // FNV-1a.
    let hash = key.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    // SAFETY: set once, before any request.
    let settings = unsafe { *MODULE.settings.get() };
    match admit(&(hash % CELLS).to_le_bytes(), settings) {
        Some(true) => {}
        Some(false) => return reply(429),
        None => return reply(503),
    }
    let mut client = [0; 8];
    for (place, digit) in client.iter_mut().enumerate() {
        let nibble = (hash >> (28 - 4 * place)) & 15;
        *digit = b"0123456789abcdef"[nibble as usize];
    }
    set_header(b"x-waykeeper-client", &client);
    set_header(b"x-waykeeper-cluster", b"upstream");
    set_header(b"x-waykeeper-plan", b"standard");
    // SAFETY: no pointers.
    unsafe { proxy_increment_metric(settings.requests, 1) };
    CONTINUE
}

/// Counts a request in a cell by GCRA. `None`: the cell cannot be read or written.
fn admit(cell: &[u8; 4], settings: Settings) -> Option<bool> {
    let mut now = 0;
    // SAFETY: a pointer to what outlives the call.
    unsafe { proxy_get_current_time_nanoseconds(&raw mut now) };
    loop {
        let (moment, cas) = read(cell)?;
        let moment = moment.max(now);
        if moment - now > settings.tolerance {
            return Some(false);
        }
        match write(cell, moment + settings.interval, cas) {
            OK => return Some(true),
            CAS_MISMATCH => {}
            _ => return None,
        }
    }
}

/// Gives the arena free for the callback that begins.
fn begin() {
    // SAFETY: what the last callback was given is no longer looked at.
    unsafe { *MODULE.used.get() = 0 };
}

fn buffer(kind: u32, size: usize) -> Option<&'static [u8]> {
    let (mut data, mut written) = (null_mut(), 0);
    // SAFETY: pointers to what outlives the call.
    let status = unsafe { proxy_get_buffer_bytes(kind, 0, size, &raw mut data, &raw mut written) };
    taken(status, data, written)
}

fn all_headers() -> Option<&'static [u8]> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: as above.
    let status =
        unsafe { proxy_get_header_map_pairs(REQUEST_HEADERS, &raw mut data, &raw mut size) };
    taken(status, data, size)
}

fn read(cell: &[u8; 4]) -> Option<(u64, u32)> {
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

fn write(cell: &[u8; 4], moment: u64, cas: u32) -> u32 {
    let value = moment.to_le_bytes();
    // SAFETY: as above.
    unsafe { proxy_set_shared_data(cell.as_ptr(), cell.len(), value.as_ptr(), value.len(), cas) }
}

fn set_header(name: &[u8], value: &[u8]) {
    // SAFETY: as above.
    unsafe {
        proxy_replace_header_map_value(
            REQUEST_HEADERS,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    };
}

fn reply(status: u32) -> u32 {
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

/// A header's value, in the host's layout: the number of headers, the sizes of each name and value, then all of them,
/// each with a zero behind it.
fn find<'a>(headers: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let number = u32::from_le_bytes(*headers.first_chunk()?) as usize;
    let (sizes, _) = headers.get(4..4 + 8 * number)?.as_chunks::<8>();
    let mut place = 4 + 8 * number;
    for sizes in sizes {
        let [a, b, c, d, e, f, g, h] = *sizes;
        let name = place..place + u32::from_le_bytes([a, b, c, d]) as usize;
        let value = name.end + 1..name.end + 1 + u32::from_le_bytes([e, f, g, h]) as usize;
        if headers.get(name)? == wanted {
            return headers.get(value);
        }
        place = value.end + 1;
    }
    None
}

fn limit(text: &[u8]) -> Option<(u64, u64)> {
    let (interval, burst) = core::str::from_utf8(text).ok()?.split_once(' ')?;
    Some((interval.parse().ok()?, burst.parse().ok()?))
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
