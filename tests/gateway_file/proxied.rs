//! The PROXY protocol, by which proxies that know no HTTP say who calls: what a listener makes of it, whoever has generated it.

use crate::caller::Caller;
use crate::gateway::{Gateway, agent, free_address};

/// A connection's first bytes, and whom it is from by these; `None` if from who has opened it.
const SAID: [(&[u8], Option<&str>); 6] = [
    (
        b"PROXY TCP4 198.51.100.1 192.0.2.80 4711 80\r\n",
        Some("198.51.100.1"),
    ),
    (
        b"PROXY TCP6 2001:db8::1 2001:db8:1::80 4711 80\r\n",
        Some("2001:db8::1"),
    ),
    // The second version, of either kind.
    (
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x02\xc0\0\x02\x50\x12\x67\0\x50",
        Some("198.51.100.2"),
    ),
    (
        b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\
          \x20\x01\x0d\xb8\0\0\0\x02\0\0\0\0\0\0\0\x01\
          \x20\x01\x0d\xb8\0\x01\0\0\0\0\0\0\0\0\0\x80\x12\x67\0\x50",
        Some("2001:db8:0:2::1"),
    ),
    // For nobody but the proxy itself, which asks whether all is well.
    (b"PROXY UNKNOWN\r\n", None),
    (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", None),
];

#[tokio::test]
async fn a_listener_for_proxies_counts_whom_they_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = agent("chat").await;
    let [proxied, operations] = [(); 2].map(|()| free_address());
    let text = format!(
        "
listen: [{{address: '{proxied}', proxy_protocol: true}}]
operations: '{operations}'
limits: [{{name: per-address, each: address, requests: 2/day}}]
agents: {{chat: {{url: 'http://{}'}}}}
routes: [{{prefix: /echo, agents: [chat], auth_required: false}}]
",
        agent.address(),
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;

    counts_whom_proxies_name(&Caller::of(proxied)).await;
}

/// Sees that a listener with `proxy_protocol`, where an address may call `/echo` twice a day, counts whom its proxies name, and
/// nobody else.
pub(crate) async fn counts_whom_proxies_name(listener: &Caller) {
    let spoken = |preamble| listener.clone().after(preamble);
    for (preamble, address) in SAID {
        let answer = spoken(preamble).get("/echo", &[]).await;
        let arrived = answer.arrived("x-forwarded-for");
        if let Some(address) = address {
            assert_eq!(arrived, address);
        }
    }
    // Two of them were from this machine itself. What callers write is not believed.
    let others = [("x-forwarded-for", "192.0.2.1")];
    for (preamble, address) in SAID {
        let answer = spoken(preamble).get("/echo", &others).await;
        let expected = if address.is_some() { 200 } else { 429 };
        assert_eq!(answer.status, expected, "{address:?}");
        let answer = spoken(preamble).get("/echo", &others).await;
        assert_eq!(answer.status, 429, "{address:?}");
    }

    // Who does not speak it gets nowhere, nor who speaks it otherwise; and twice it is no HTTP.
    for preamble in [
        &b""[..],
        b"PROXY TCP4 198.51.100.9 192.0.2.80 4711\r\n",
        b"PROXY TCP4 nobody 192.0.2.80 4711 80\r\n",
        b"proxy TCP4 198.51.100.9 192.0.2.80 4711 80\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\xc6\x33\x64\x09\xc0\0\x02\x50\x12\x67\0\x50",
    ] {
        let refused = spoken(preamble).send("GET", "/echo", &[]).await;
        assert!(refused.is_err(), "{preamble:?}: {refused:?}");
    }
    let twice = b"PROXY TCP4 198.51.100.9 192.0.2.80 4711 80\r\nPROXY TCP4 198.51.100.8 192.0.2.80 4711 80\r\n";
    let refused = spoken(twice).send("GET", "/echo", &[]).await;
    let status = refused.as_ref().map(|answer| answer.status);
    assert!(!matches!(status, Ok(200)), "{refused:?}");
}
