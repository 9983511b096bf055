//! The functions that Envoy calls, by their names in the proxy-wasm ABI 0.2.1.

#![expect(
    unsafe_code,
    reason = "names that the host looks for must not be mangled, and the runtime must be started once"
)]

use std::cell::RefCell;

use proxy_wasm as _;

use super::Vm;
use super::missed::{self, Missed};
use crate::lifecycle::Flow;

thread_local! {
    static VM: RefCell<Vm> = RefCell::new(Vm::new());
}

/// Envoy's `FilterHeadersStatus`.
#[repr(u32)]
enum HeadersStatus {
    Continue = 0,
    /// The headers do not move on; the body is handed over as it comes, and must be stopped too.
    StopIteration = 1,
}

/// Envoy's `FilterDataStatus`.
#[repr(u32)]
enum DataStatus {
    Continue = 0,
    /// All of the body is kept. Beyond Envoy's buffer it is refused with 413.
    StopIterationAndBuffer = 1,
    /// What has come is kept. Beyond Envoy's buffer the sender waits.
    StopIterationAndWatermark = 2,
    /// What has come was taken out.
    StopIterationNoBuffer = 3,
}

/// Envoy's `FilterTrailersStatus`.
#[repr(u32)]
enum TrailersStatus {
    Continue = 0,
    StopIteration = 1,
}

impl From<Flow> for HeadersStatus {
    fn from(flow: Flow) -> Self {
        match flow {
            Flow::Continue => Self::Continue,
            Flow::Hold | Flow::Collect => Self::StopIteration,
        }
    }
}

impl From<Flow> for DataStatus {
    fn from(flow: Flow) -> Self {
        match flow {
            Flow::Continue => Self::Continue,
            Flow::Hold => Self::StopIterationAndWatermark,
            Flow::Collect => Self::StopIterationAndBuffer,
        }
    }
}

impl From<Flow> for TrailersStatus {
    fn from(flow: Flow) -> Self {
        match flow {
            Flow::Continue => Self::Continue,
            Flow::Hold | Flow::Collect => Self::StopIteration,
        }
    }
}

/// Runs `f` on the VM. Nearly no hostcall that `f` makes calls back into it: what Envoy has to tell at once, as that a callout has
/// failed, it tells after the callback. Only a callout to an agent that has the module on its side as well begins there at once, see
/// `missed.rs`. Then, and if there ever is another case, the VM is in use: `otherwise` is the answer, and no trap.
fn vm<T>(otherwise: impl FnOnce() -> T, f: impl FnOnce(&mut Vm) -> T) -> T {
    VM.with(|vm| match vm.try_borrow_mut() {
        Ok(mut vm) => {
            missed::each(|missed| match missed {
                Missed::Created { context, root } => vm.on_context_create(context, root),
                Missed::Deleted { context } => vm.on_missed_delete(context),
            });
            f(&mut vm)
        }
        Err(_) => otherwise(),
    })
}

/// A part of a request that comes while the VM is in use.
fn meanwhile(stream: u32) -> Flow {
    match missed::is_own_question(stream) {
        true => Flow::Continue,
        false => Flow::Hold,
    }
}

unsafe extern "C" {
    fn __wasm_call_ctors();
}

#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // SAFETY: the host calls this once, before anything else. Without it the linker would wrap every export in it.
    unsafe { __wasm_call_ctors() };
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, root: u32) {
    let missed = || missed::put(Missed::Created { context, root });
    vm(missed, |vm| vm.on_context_create(context, root));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_root: u32, _size: usize) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(root: u32, size: usize) -> bool {
    vm(|| false, |vm| vm.on_configure(root, size))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(root: u32) {
    vm(
        || (),
        |vm| {
            if let Some(gateway) = vm.gateways.get_mut(&root) {
                gateway.on_tick();
            }
        },
    );
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(
    root: u32,
    token: u32,
    headers: usize,
    body: usize,
    _trailers: usize,
) {
    vm(|| (), |vm| vm.on_http_answer(root, token, headers, body));
}

/// A gRPC callout that ended with status OK. Envoy calls nothing else for it: neither metadata nor an end.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_receive(root: u32, token: u32, size: usize) {
    vm(|| (), |vm| vm.on_grpc_message(root, token, size));
}

/// A gRPC callout that ended with any other status, or with OK and no message.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_close(root: u32, token: u32, status: u32) {
    vm(|| (), |vm| vm.on_grpc_status(root, token, status));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(
    stream: u32,
    _headers: usize,
    end_of_stream: bool,
) -> HeadersStatus {
    vm(
        || meanwhile(stream),
        |vm| vm.on_request_headers(stream, end_of_stream),
    )
    .into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(stream: u32, size: usize, end_of_stream: bool) -> DataStatus {
    vm(
        || meanwhile(stream),
        |vm| vm.on_request_body(stream, size, end_of_stream),
    )
    .into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(stream: u32, _trailers: usize) -> TrailersStatus {
    vm(|| meanwhile(stream), |vm| vm.on_request_trailers(stream)).into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(
    stream: u32,
    _headers: usize,
    end_of_stream: bool,
) -> HeadersStatus {
    vm(
        || Flow::Continue,
        |vm| vm.on_response_headers(stream, end_of_stream),
    )
    .into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(stream: u32, size: usize, end_of_stream: bool) -> DataStatus {
    let flow = vm(
        || Flow::Continue,
        |vm| vm.on_response_body(stream, size, end_of_stream),
    );
    match flow {
        Flow::Continue => DataStatus::Continue,
        Flow::Hold | Flow::Collect => DataStatus::StopIterationNoBuffer,
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_trailers(stream: u32, _trailers: usize) -> TrailersStatus {
    vm(|| Flow::Continue, |vm| vm.on_response_trailers(stream)).into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(_context: u32) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(stream: u32) {
    vm(|| (), |vm| vm.on_log(stream));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    let missed = || missed::put(Missed::Deleted { context });
    vm(missed, |vm| vm.on_delete(context));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_queue_ready(_root: u32, queue: u32) {
    vm(|| (), |vm| vm.on_woken(queue));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_foreign_function(_context: u32, _function: u32, _size: usize) {}
