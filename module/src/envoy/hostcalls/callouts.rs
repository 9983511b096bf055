//! The hostcalls that send callouts, and the one that tells what gRPC's status was.

use std::ptr::null_mut;

use super::super::abi::Status;
use super::{Result, check, take_over};
use waykeeper::host::HostError;

mod raw {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub(super) fn proxy_http_call(
            upstream: *const u8,
            upstream_size: usize,
            headers: *const u8,
            headers_size: usize,
            body: *const u8,
            body_size: usize,
            trailers: *const u8,
            trailers_size: usize,
            timeout: u32,
            token: *mut u32,
        ) -> u32;
        pub(super) fn proxy_grpc_call(
            upstream: *const u8,
            upstream_size: usize,
            service: *const u8,
            service_size: usize,
            method: *const u8,
            method_size: usize,
            metadata: *const u8,
            metadata_size: usize,
            message: *const u8,
            message_size: usize,
            timeout: u32,
            token: *mut u32,
        ) -> u32;
        pub(super) fn proxy_get_status(
            status: *mut u32,
            text: *mut *mut u8,
            text_size: *mut usize,
        ) -> u32;
    }
}

/// `headers` in the host's layout.
pub(crate) fn http_call(
    cluster: &str,
    headers: &[u8],
    body: &[u8],
    timeout_milliseconds: u32,
) -> Result<u32> {
    let no_trailers = 0u32.to_le_bytes();
    let mut token = 0;
    let sent = check("a callout", unsafe {
        raw::proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            no_trailers.as_ptr(),
            no_trailers.len(),
            timeout_milliseconds,
            &raw mut token,
        )
    });
    sent.map(|()| token).map_err(|error| HostError {
        call: if error.status == Status::BadArgument as u32 {
            "a callout to a cluster that it does not know"
        } else {
            "a callout to a cluster of whose hosts none can be reached"
        },
        ..error
    })
}

/// `cluster` is Envoy's `GrpcService`, never a plain name; `metadata` is in the host's layout.
pub(crate) fn grpc_call(
    cluster: &[u8],
    (service, method): (&str, &str),
    metadata: &[u8],
    message: &[u8],
    timeout_milliseconds: u32,
) -> Result<u32> {
    let mut token = 0;
    check(
        "a callout to a cluster that it does not know, or of whose hosts none can be reached",
        unsafe {
            raw::proxy_grpc_call(
                cluster.as_ptr(),
                cluster.len(),
                service.as_ptr(),
                service.len(),
                method.as_ptr(),
                method.len(),
                metadata.as_ptr(),
                metadata.len(),
                message.as_ptr(),
                message.len(),
                timeout_milliseconds,
                &raw mut token,
            )
        },
    )?;
    Ok(token)
}

/// What was said of the status with which a gRPC callout ended. Only in the callback that tells of it.
pub(crate) fn grpc_status_text() -> Result<Vec<u8>> {
    let (mut status, mut text, mut size) = (0, null_mut(), 0);
    check("what was said of a status", unsafe {
        raw::proxy_get_status(&raw mut status, &raw mut text, &raw mut size)
    })?;
    Ok(take_over(text, size))
}
