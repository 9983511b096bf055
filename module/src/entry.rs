//! The functions that Envoy calls, by their names in the proxy-wasm ABI 0.2.1.

#![expect(
    unsafe_code,
    reason = "names that the host looks for must not be mangled, and the runtime must be started once"
)]

use std::cell::RefCell;

use crate::vm::Vm;
use waykeeper::lifecycle::Flow;

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

/// Runs `f` on the VM. No hostcall that `f` makes calls back into it, so it is never borrowed twice: what Envoy has to tell
/// at once, as that a callout has failed, it tells after the callback. If it were, `otherwise` would be the answer,
/// and not a trap.
fn vm<T>(otherwise: T, f: impl FnOnce(&mut Vm) -> T) -> T {
    VM.with(|vm| match vm.try_borrow_mut() {
        Ok(mut vm) => f(&mut vm),
        Err(_) => otherwise,
    })
}

unsafe extern "C" {
    fn __wasm_call_ctors();
}

#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // SAFETY: the host calls this once, before anything else. Without it the linker would wrap every export in it.
    unsafe { __wasm_call_ctors() };
}

/// Its name says which ABI the module speaks.
#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

/// Memory for what the host hands over, which becomes a boxed slice of this size.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    Box::into_raw(Box::<[u8]>::new_uninit_slice(size)).cast()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, root: u32) {
    vm((), |vm| vm.on_context_create(context, root));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_root: u32, _size: usize) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(root: u32, size: usize) -> bool {
    vm(false, |vm| vm.on_configure(root, size))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(root: u32) {
    vm((), |vm| {
        if let Some(gateway) = vm.gateways.get_mut(&root) {
            gateway.on_tick();
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(
    root: u32,
    token: u32,
    headers: usize,
    body: usize,
    _trailers: usize,
) {
    vm((), |vm| vm.on_http_answer(root, token, headers, body));
}

/// A gRPC callout that ended with status OK. Envoy calls nothing else for it: neither metadata nor an end.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_receive(root: u32, token: u32, size: usize) {
    vm((), |vm| vm.on_grpc_message(root, token, size));
}

/// A gRPC callout that ended with any other status, or with OK and no message.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_close(root: u32, token: u32, status: u32) {
    vm((), |vm| vm.on_grpc_status(root, token, status));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(
    stream: u32,
    _headers: usize,
    end_of_stream: bool,
) -> HeadersStatus {
    vm(Flow::Hold, |vm| {
        vm.on_request_headers(stream, end_of_stream)
    })
    .into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(stream: u32, size: usize, end_of_stream: bool) -> DataStatus {
    vm(Flow::Hold, |vm| {
        vm.on_request_body(stream, size, end_of_stream)
    })
    .into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(stream: u32, _trailers: usize) -> TrailersStatus {
    vm(Flow::Hold, |vm| vm.on_request_trailers(stream)).into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(
    stream: u32,
    _headers: usize,
    end_of_stream: bool,
) -> HeadersStatus {
    vm(Flow::Continue, |vm| {
        vm.on_response_headers(stream, end_of_stream)
    })
    .into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(stream: u32, size: usize, end_of_stream: bool) -> DataStatus {
    let flow = vm(Flow::Continue, |vm| {
        vm.on_response_body(stream, size, end_of_stream)
    });
    match flow {
        Flow::Continue => DataStatus::Continue,
        Flow::Hold | Flow::Collect => DataStatus::StopIterationNoBuffer,
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_trailers(stream: u32, _trailers: usize) -> TrailersStatus {
    vm(Flow::Continue, |vm| vm.on_response_trailers(stream)).into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(stream: u32) {
    vm((), |vm| vm.on_log(stream));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    vm((), |vm| vm.on_delete(context));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_queue_ready(_root: u32, queue: u32) {
    vm((), |vm| vm.on_woken(queue));
}
