//! The least: one stream callback, three headers, one counter.

#![expect(unsafe_code, reason = "the host looks for names that are not mangled")]

use crate::host::{
    CONTINUE, Kept, REQUEST_HEADERS, all_headers, begin, configuration, counter, increment, reply,
    set_header,
};
use crate::work::{GOOD, Limit, cells_are_there, hash, pairs};

static LIMIT: Kept<Limit> = Kept::new(Limit::NONE);
static REQUESTS: Kept<u32> = Kept::new(0);

/// The configuration is the limit, in text: nanoseconds for one request, and how many may come at once.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_root: u32, size: usize) -> bool {
    begin();
    let (Some((limit, _)), Some(requests)) = (
        configuration(size).and_then(Limit::parse),
        counter(b"floor_requests_total"),
    ) else {
        return false;
    };
    LIMIT.set(limit);
    REQUESTS.set(requests);
    cells_are_there()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(_stream: u32, _headers: usize, _end: bool) -> u32 {
    begin();
    let Some(headers) = all_headers() else {
        return reply(500);
    };
    let key = pairs(headers).find(|(name, _)| *name == b"x-api-key");
    let Some((_, key)) = key.filter(|(_, key)| key.starts_with(GOOD)) else {
        return reply(401);
    };
    let hash = hash(key);
    match LIMIT.get().admit(hash) {
        Some(Some(_)) => {}
        Some(None) => return reply(429),
        None => return reply(503),
    }
    let mut client = [0; 8];
    for (place, digit) in client.iter_mut().enumerate() {
        let nibble = (hash >> (28 - 4 * place)) & 15;
        *digit = b"0123456789abcdef"[nibble as usize];
    }
    set_header(REQUEST_HEADERS, b"x-waykeeper-client", &client);
    set_header(REQUEST_HEADERS, b"x-waykeeper-cluster", b"upstream");
    set_header(REQUEST_HEADERS, b"x-waykeeper-plan", b"standard");
    increment(REQUESTS.get());
    CONTINUE
}
