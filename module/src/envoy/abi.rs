//! The numbers of the proxy-wasm ABI 0.2.1, as far as they are used here.

/// What bytes are asked for.
#[repr(u32)]
#[derive(Debug, Clone, Copy)]
pub(super) enum BufferType {
    HttpRequestBody = 0,
    HttpResponseBody = 1,
    HttpCallResponseBody = 4,
    GrpcReceiveBuffer = 5,
    PluginConfiguration = 7,
}

/// Whose headers are asked for.
#[repr(u32)]
#[derive(Debug, Clone, Copy)]
pub(super) enum MapType {
    HttpRequestHeaders = 0,
    HttpRequestTrailers = 1,
    HttpResponseHeaders = 2,
    HttpResponseTrailers = 3,
    HttpCallResponseHeaders = 6,
}

/// What a metric is.
#[repr(u32)]
#[derive(Debug, Clone, Copy)]
pub(super) enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

/// What goes on, or is ended.
#[repr(u32)]
#[derive(Debug, Clone, Copy)]
pub(super) enum StreamType {
    HttpRequest = 0,
}

/// What came of a call.
#[repr(u32)]
#[derive(Debug, Clone, Copy)]
pub(super) enum Status {
    Ok = 0,
    NotFound = 1,
    BadArgument = 2,
    ParseFailure = 4,
    CasMismatch = 8,
    InternalFailure = 10,
}
