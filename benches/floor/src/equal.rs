//! Equal work: what Waykeeper does for a request by contract, written by hand. The same headers are set and removed on both
//! sides with the same values, the same callbacks are exported (the build's last step leaves those that it leaves to
//! Waykeeper, see `link/`), and the same counters are increased.

#![expect(unsafe_code, reason = "the host looks for names that are not mangled")]

use crate::host::{
    CONTINUE, Kept, REQUEST_HEADERS, RESPONSE_HEADERS, all_headers, begin, configuration, counter,
    increment, remove_header, reply, set_header,
};
use crate::text::Text;
use crate::work::{GOOD, Limit, cells_are_there, hash, pairs};

/// Streams that may be under way at a time; more would overwrite each other's levels.
const STREAMS: usize = 4096;

static LIMIT: Kept<Limit> = Kept::new(Limit::NONE);
/// As the caller reads it.
static POLICY: Kept<Text> = Kept::new(Text::EMPTY);
static QUANTITY: Kept<Text> = Kept::new(Text::EMPTY);
static REQUESTS: Kept<u32> = Kept::new(0);
static REMEMBERED: Kept<u32> = Kept::new(0);
/// What each stream's client owes; zero: the stream was not let through.
static OWED: Kept<[u64; STREAMS]> = Kept::new([0; STREAMS]);

/// The configuration is the limit, in text: nanoseconds for one request, how many may come at once, and the seconds in which
/// as many flow in again.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_root: u32, size: usize) -> bool {
    begin();
    let (Some((limit, seconds)), Some(requests), Some(remembered)) = (
        configuration(size).and_then(Limit::parse),
        counter(b"equal_requests_total;route=/v1;agent=demo;outcome=allowed;"),
        counter(b"equal_remembered_keys_total;outcome=hit;"),
    ) else {
        return false;
    };
    LIMIT.set(limit);
    QUANTITY.set(Text::EMPTY.number(limit.burst));
    POLICY.set(
        Text::EMPTY
            .and(b"\"plan\";q=")
            .number(limit.burst)
            .and(b";w=")
            .and(seconds.as_bytes()),
    );
    REQUESTS.set(requests);
    REMEMBERED.set(remembered);
    cells_are_there()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(stream: u32, _headers: usize, _end: bool) -> u32 {
    begin();
    let Some(headers) = all_headers() else {
        return reply(500);
    };
    let (mut key, mut routed) = (None, false);
    for (name, value) in pairs(headers) {
        match name {
            b"x-api-key" => {
                key = Some(value);
                remove_header(REQUEST_HEADERS, name);
            }
            b":path" => routed = value.starts_with(b"/v1/"),
            _ if is_reserved(name) => remove_header(REQUEST_HEADERS, name),
            _ => {}
        }
    }
    let Some(key) = key.filter(|key| key.starts_with(GOOD)) else {
        return reply(401);
    };
    if !routed {
        return reply(404);
    }
    increment(REMEMBERED.get());
    match LIMIT.get().admit(hash(key)) {
        Some(Some(owed)) => OWED.set_at(stream as usize, owed),
        Some(None) => return reply(429),
        None => return reply(503),
    }
    let zeros = key
        .iter()
        .skip(GOOD.len())
        .take_while(|byte| **byte == b'0');
    let number = key.get(GOOD.len() + zeros.count()..).unwrap_or_default();
    let client = Text::EMPTY.and(b"client-").and(number);
    for (name, value) in [
        (&b"x-waykeeper-client"[..], client.bytes()),
        (b"x-waykeeper-plan", b"standard"),
        (b"x-waykeeper-agent", b"demo"),
        (b"x-waykeeper-route", b"/v1"),
        (b"x-waykeeper-cluster", b"upstream"),
    ] {
        set_header(REQUEST_HEADERS, name, value);
    }
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(stream: u32, _headers: usize, _end: bool) -> u32 {
    let owed = OWED.at(stream as usize);
    if owed == 0 {
        return CONTINUE;
    }
    let limit = LIMIT.get();
    let remaining = (limit.capacity() - owed) / limit.interval;
    let next = owed - (limit.capacity() - (remaining + 1) * limit.interval);
    let left = Text::EMPTY.number(remaining);
    let state = Text::EMPTY
        .and(b"\"plan\";r=")
        .and(left.bytes())
        .and(b";t=")
        .number(next.div_ceil(1_000_000_000));
    for (name, value) in [
        (&b"ratelimit-policy"[..], POLICY.get().bytes()),
        (b"ratelimit", state.bytes()),
        (b"x-ratelimit-limit-requests", QUANTITY.get().bytes()),
        (b"x-ratelimit-remaining-requests", left.bytes()),
        (
            b"x-ratelimit-reset-requests",
            Text::EMPTY.duration(owed).bytes(),
        ),
    ] {
        set_header(RESPONSE_HEADERS, name, value);
    }
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    if OWED.at(context as usize) != 0 {
        OWED.set_at(context as usize, 0);
        increment(REQUESTS.get());
    }
}

/// Headers that only the gateway or Envoy may set, also with `_` for `-`.
fn is_reserved(name: &[u8]) -> bool {
    [&b"x-waykeeper-"[..], b"x-envoy-"].iter().any(|prefix| {
        name.len() >= prefix.len()
            && name
                .iter()
                .zip(*prefix)
                .all(|(byte, wanted)| byte == wanted || (*byte == b'_' && *wanted == b'-'))
    })
}

// What Waykeeper hears of and this module has no work in.

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(_context: u32, _root: u32) {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_root: u32, _size: usize) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(_root: u32) {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(_: u32, _: u32, _: usize, _: usize, _: usize) {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_receive(_root: u32, _token: u32, _size: usize) {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_close(_root: u32, _token: u32, _status: u32) {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_queue_ready(_root: u32, _queue: u32) {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(_stream: u32, _size: usize, _end: bool) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(_stream: u32, _trailers: usize) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(_stream: u32, _size: usize, _end: bool) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_trailers(_stream: u32, _trailers: usize) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(_stream: u32) {}
