//! The hostcalls of proxy-wasm, raw: every one returns a `Result` and hands out bytes.
//!
//! The crate's own wrappers panic on statuses they do not expect and on values that are not UTF-8, and a panic traps
//! the whole VM. Names and numbers are those of the proxy-wasm ABI 0.2.1.

#![expect(
    unsafe_code,
    reason = "this is where the module touches its host: each block only passes pointers to memory that outlives the call"
)]

mod callouts;

use std::ptr::null_mut;

use super::abi::{BufferType, MapType, MetricType, Status, StreamType};
use waykeeper::host::HostError;

pub(super) use callouts::{grpc_call, grpc_status_text, http_call};

mod raw {
    use super::super::abi::{BufferType, MapType, MetricType, StreamType};

    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub(super) fn proxy_get_log_level(level: *mut u32) -> u32;
        pub(super) fn proxy_log(level: u32, line: *const u8, size: usize) -> u32;
        pub(super) fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
        pub(super) fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
        pub(super) fn proxy_get_buffer_bytes(
            kind: BufferType,
            start: usize,
            max_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_set_buffer_bytes(
            kind: BufferType,
            start: usize,
            size: usize,
            data: *const u8,
            data_size: usize,
        ) -> u32;
        pub(super) fn proxy_get_header_map_pairs(
            kind: MapType,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_get_header_map_value(
            kind: MapType,
            name: *const u8,
            name_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_replace_header_map_value(
            kind: MapType,
            name: *const u8,
            name_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_add_header_map_value(
            kind: MapType,
            name: *const u8,
            name_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_remove_header_map_value(
            kind: MapType,
            name: *const u8,
            name_size: usize,
        ) -> u32;
        pub(super) fn proxy_get_property(
            path: *const u8,
            path_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_set_property(
            path: *const u8,
            path_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_get_shared_data(
            key: *const u8,
            key_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
            cas: *mut u32,
        ) -> u32;
        pub(super) fn proxy_set_shared_data(
            key: *const u8,
            key_size: usize,
            value: *const u8,
            value_size: usize,
            cas: u32,
        ) -> u32;
        pub(super) fn proxy_register_shared_queue(
            name: *const u8,
            name_size: usize,
            queue: *mut u32,
        ) -> u32;
        pub(super) fn proxy_enqueue_shared_queue(
            queue: u32,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_dequeue_shared_queue(
            queue: u32,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_continue_stream(stream: StreamType) -> u32;
        pub(super) fn proxy_close_stream(stream: StreamType) -> u32;
        pub(super) fn proxy_send_local_response(
            status: u32,
            details: *const u8,
            details_size: usize,
            body: *const u8,
            body_size: usize,
            headers: *const u8,
            headers_size: usize,
            grpc_status: i32,
        ) -> u32;
        pub(super) fn proxy_set_effective_context(context: u32) -> u32;
        pub(super) fn proxy_define_metric(
            kind: MetricType,
            name: *const u8,
            name_size: usize,
            id: *mut u32,
        ) -> u32;
        pub(super) fn proxy_record_metric(id: u32, value: u64) -> u32;
        pub(super) fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    }
}

type Result<T> = std::result::Result<T, HostError>;

/// The property of the caller's address, as path segments behind each other.
pub(super) const SOURCE_ADDRESS: &[u8] = b"source\0address";

/// The property of the address of the agent's host.
pub(super) const UPSTREAM_ADDRESS: &[u8] = b"upstream\0address";

/// Who gave the answer, or what was wrong.
pub(super) const CODE_DETAILS: &[u8] = b"response\0code_details";

/// The answer's status: eight bytes, as all numbers.
pub(super) const RESPONSE_CODE: &[u8] = b"response\0code";

/// The cluster that the router has asked last.
pub(super) const UPSTREAM_CLUSTER: &[u8] = b"xds\0cluster_name";

/// What Envoy notes of the answer: a bit each.
pub(super) const RESPONSE_FLAGS: &[u8] = b"response\0flags";

/// How often the request was tried.
pub(super) const ATTEMPTS: &[u8] = b"upstream\0request_attempt_count";

/// Our end of the connection to the agent's host, once there is one.
pub(super) const LOCAL_ADDRESS: &[u8] = b"upstream\0local_address";

/// Why there is none.
pub(super) const NO_CONNECTION: &[u8] = b"upstream\0transport_failure_reason";

fn check(call: &'static str, status: u32) -> Result<()> {
    if status == Status::Ok as u32 {
        Ok(())
    } else {
        Err(HostError { call, status })
    }
}

/// Takes over what the host has written into memory that it asked the module's allocator for.
fn take_over(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: the host allocates by `proxy_on_memory_allocate`, which hands out a boxed slice of just this size.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

/// Writes a line of the log. There is nobody to tell if Envoy does not take it.
pub(super) fn log(level: u32, line: &str) {
    // SAFETY: the host reads the line during the call.
    unsafe { raw::proxy_log(level, line.as_ptr(), line.len()) };
}

pub(super) fn log_level() -> Result<u32> {
    let mut level = 0;
    check("the log level", unsafe {
        raw::proxy_get_log_level(&raw mut level)
    })?;
    Ok(level)
}

pub(super) fn current_time() -> Result<u64> {
    let mut time = 0;
    check("the time", unsafe {
        raw::proxy_get_current_time_nanoseconds(&raw mut time)
    })?;
    Ok(time)
}

pub(super) fn set_tick_period(milliseconds: u32) -> Result<()> {
    check("ticks", unsafe {
        raw::proxy_set_tick_period_milliseconds(milliseconds)
    })
}

pub(super) fn buffer(kind: BufferType, max_size: usize) -> Result<Vec<u8>> {
    part_of_buffer(kind, 0, max_size)
}

pub(super) fn part_of_buffer(kind: BufferType, start: usize, max_size: usize) -> Result<Vec<u8>> {
    let (mut data, mut size) = (null_mut(), 0);
    check("a buffer", unsafe {
        raw::proxy_get_buffer_bytes(kind, start, max_size, &raw mut data, &raw mut size)
    })?;
    Ok(take_over(data, size))
}

pub(super) fn set_part_of_buffer(
    kind: BufferType,
    start: usize,
    size: usize,
    data: &[u8],
) -> Result<()> {
    check("a change of a buffer", unsafe {
        raw::proxy_set_buffer_bytes(kind, start, size, data.as_ptr(), data.len())
    })
}

pub(super) fn header_map(kind: MapType) -> Result<Vec<u8>> {
    let (mut data, mut size) = (null_mut(), 0);
    check("the headers", unsafe {
        raw::proxy_get_header_map_pairs(kind, &raw mut data, &raw mut size)
    })?;
    Ok(take_over(data, size))
}

pub(super) fn header(kind: MapType, name: &[u8]) -> Result<Vec<u8>> {
    let (mut data, mut size) = (null_mut(), 0);
    check("a header", unsafe {
        raw::proxy_get_header_map_value(
            kind,
            name.as_ptr(),
            name.len(),
            &raw mut data,
            &raw mut size,
        )
    })?;
    Ok(take_over(data, size))
}

pub(super) fn replace_header(kind: MapType, name: &[u8], value: &[u8]) -> Result<()> {
    check("a change of headers", unsafe {
        raw::proxy_replace_header_map_value(
            kind,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

pub(super) fn add_header(kind: MapType, name: &[u8], value: &[u8]) -> Result<()> {
    check("a change of headers", unsafe {
        raw::proxy_add_header_map_value(
            kind,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

pub(super) fn remove_header(kind: MapType, name: &[u8]) -> Result<()> {
    check("a change of headers", unsafe {
        raw::proxy_remove_header_map_value(kind, name.as_ptr(), name.len())
    })
}

pub(super) fn property(path: &[u8]) -> Result<Vec<u8>> {
    let (mut data, mut size) = (null_mut(), 0);
    check("a property", unsafe {
        raw::proxy_get_property(path.as_ptr(), path.len(), &raw mut data, &raw mut size)
    })?;
    Ok(take_over(data, size))
}

/// Envoy keeps it as filter state, under `wasm.` and the path.
pub(super) fn set_property(path: &[u8], value: &[u8]) -> Result<()> {
    check("a change of a property", unsafe {
        raw::proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len())
    })
}

/// A value of shared data and its version.
pub(super) fn shared_data(key: &[u8]) -> Result<(Vec<u8>, u32)> {
    let (mut data, mut size, mut cas) = (null_mut(), 0, 0);
    check("shared data", unsafe {
        raw::proxy_get_shared_data(
            key.as_ptr(),
            key.len(),
            &raw mut data,
            &raw mut size,
            &raw mut cas,
        )
    })?;
    Ok((take_over(data, size), cas))
}

/// `cas` 0 writes whatever is there; any other one only if the value's version is still that.
pub(super) fn set_shared_data(key: &[u8], value: &[u8], cas: u32) -> Result<()> {
    check("a change of shared data", unsafe {
        raw::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas)
    })
}

/// Finds or makes the queue of this name; from then on its events come to the context at hand.
pub(super) fn register_queue(name: &[u8]) -> Result<u32> {
    let mut queue = 0;
    check("a queue", unsafe {
        raw::proxy_register_shared_queue(name.as_ptr(), name.len(), &raw mut queue)
    })?;
    Ok(queue)
}

pub(super) fn enqueue(queue: u32, value: &[u8]) -> Result<()> {
    check("a place in a queue", unsafe {
        raw::proxy_enqueue_shared_queue(queue, value.as_ptr(), value.len())
    })
}

pub(super) fn dequeue(queue: u32) -> Result<Vec<u8>> {
    let (mut data, mut size) = (null_mut(), 0);
    check("the head of a queue", unsafe {
        raw::proxy_dequeue_shared_queue(queue, &raw mut data, &raw mut size)
    })?;
    Ok(take_over(data, size))
}

pub(super) fn continue_stream(stream: StreamType) -> Result<()> {
    check("to go on", unsafe { raw::proxy_continue_stream(stream) })
}

pub(super) fn close_stream(stream: StreamType) -> Result<()> {
    check("to end a stream", unsafe {
        raw::proxy_close_stream(stream)
    })
}

/// `headers` in the host's layout. The crate's own wrapper has no place for `details`.
pub(super) fn send_local_response(
    status: u16,
    details: &str,
    headers: &[u8],
    body: &[u8],
    grpc_status: Option<u8>,
) -> Result<()> {
    check("a reply", unsafe {
        raw::proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status.map_or(-1, i32::from),
        )
    })
}

pub(super) fn set_effective_context(context: u32) -> Result<()> {
    check("a stream", unsafe {
        raw::proxy_set_effective_context(context)
    })
}

pub(super) fn define_metric(kind: MetricType, name: &str) -> Result<u32> {
    let mut id = 0;
    check("a metric", unsafe {
        raw::proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id)
    })?;
    Ok(id)
}

pub(super) fn record_metric(id: u32, value: u64) -> Result<()> {
    check("a metric", unsafe { raw::proxy_record_metric(id, value) })
}

pub(super) fn increment_metric(id: u32) -> Result<()> {
    check("a metric", unsafe { raw::proxy_increment_metric(id, 1) })
}
