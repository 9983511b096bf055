//! The caller's address out of `x-forwarded-for`, where the operator says how many proxies may be believed.

use serde_json::json;

use super::*;

/// The connection's peer.
const PEER: &str = "192.0.2.200:5";

struct Gate(World, u32);

impl Gate {
    /// Two requests an hour for each address.
    fn with(address: serde_json::Value) -> Self {
        let world = World::with(|document| {
            document["limits"] =
                json!([{ "name": "per-address", "each": "address", "requests": "2/hour" }]);
            document["address"] = address;
        });
        world.host.call_from(PEER);
        Self(world, 0)
    }

    fn trusting(hops: u32) -> Self {
        Self::with(json!({ "from": "x-forwarded-for", "trusted_hops": hops }))
    }

    /// Whether a request with these lines finds its address with a token left.
    fn passes(&mut self, lines: &[&str]) -> bool {
        self.1 += 1;
        let id = StreamId(self.1);
        let headers: Vec<_> = lines
            .iter()
            .map(|line| ("x-forwarded-for", *line))
            .collect();
        self.0.request(id, "POST", "/chat", &headers);
        match self.0.refusal(id).as_deref() {
            Some("missing_key") => true,
            Some("rate_limited") => false,
            other => panic!("{other:?}"),
        }
    }

    /// Takes both tokens of the address that these lines give.
    fn used_up(mut self, lines: &[&str]) -> Self {
        assert_eq!(
            [self.passes(lines), self.passes(lines)],
            [true, true],
            "{lines:?}"
        );
        assert!(!self.passes(lines), "{lines:?}");
        self
    }
}

#[test]
fn the_address_is_the_one_that_the_farthest_trusted_proxy_saw() {
    for (hops, used, same, other) in [
        (
            0,
            "203.0.113.7",
            "198.51.100.1, 203.0.113.7",
            "203.0.113.7, 203.0.113.8",
        ),
        (
            1,
            "203.0.113.7, 10.0.0.1",
            "203.0.113.7,10.0.0.2",
            "203.0.113.8, 10.0.0.1",
        ),
        (
            2,
            "a, 203.0.113.7, 10.0.0.1, 10.0.0.2",
            "203.0.113.7, 10.0.0.3, 10.0.0.2",
            "203.0.113.7, 10.0.0.9, 1.1.1.1, 2.2.2.2",
        ),
    ] {
        let mut gate = Gate::trusting(hops).used_up(&[used]);
        assert!(!gate.passes(&[same]), "{same}");
        assert!(gate.passes(&[other]), "{other}");
    }
}

#[test]
fn one_address_is_counted_once_however_it_is_spelled() {
    let spelled = |used: &str, same: &[&str]| {
        let mut gate = Gate::trusting(0).used_up(&[used]);
        for same in same {
            assert!(!gate.passes(&[same]), "{same}");
        }
    };
    spelled(
        "203.0.113.7",
        &[
            "203.0.113.7:443",
            " 203.0.113.7\t",
            "::ffff:203.0.113.7",
            "[::ffff:203.0.113.7]:9",
            ",203.0.113.7",
        ],
    );
    spelled(
        "2001:db8::1",
        &[
            "2001:DB8:0:0:ffff::2",
            "[2001:db8::3]",
            "[2001:db8::3]:443",
            "x,[2001:db8::4]:1",
        ],
    );
}

/// What a caller writes stands to the left, however many lines it writes it in.
#[test]
fn lines_count_as_one_in_their_order() {
    let mut gate = Gate::trusting(1).used_up(&["203.0.113.7, 10.0.0.1"]);
    for lines in [
        &["203.0.113.7", "10.0.0.1"][..],
        &["6.6.6.6", "203.0.113.7", "10.0.0.1"],
        &["6.6.6.6, 7.7.7.7", "203.0.113.7,10.0.0.1"],
    ] {
        assert!(!gate.passes(lines), "{lines:?}");
    }
    assert!(gate.passes(&["203.0.113.7", "203.0.113.8", "10.0.0.1"]));
}

/// Then Envoy's own word counts, which is the connection's peer here: nobody gets a bucket of his own by nonsense.
#[test]
fn where_no_address_stands_envoy_is_asked() {
    for lines in [
        &[][..],
        &[""],
        &["203.0.113.7"],
        &["unknown, 10.0.0.1"],
        &["203.0.113.7.8, 10.0.0.1"],
        &["203.0.113.7 10.0.0.9, 10.0.0.1"],
        &["203.0.113.7,, 10.0.0.1"],
        &["[2001:db8::1, 10.0.0.1"],
        &["203.0.113.07, 10.0.0.1"],
        &["fe80::1%eth0, 10.0.0.1"],
    ] {
        let mut gate = Gate::trusting(1).used_up(lines);
        assert!(!gate.passes(&[]), "{lines:?}");
        gate.0.host.call_from("192.0.2.201:5");
        assert!(gate.passes(lines), "{lines:?}");
    }
}

#[test]
fn without_the_setting_the_header_is_never_read() {
    for address in [json!({ "from": "envoy" }), serde_json::Value::Null] {
        let gate = if address.is_null() {
            Gate(
                World::with(|document| {
                    document["limits"] =
                        json!([{ "name": "per-address", "each": "address", "requests": "2/hour" }]);
                }),
                0,
            )
        } else {
            Gate::with(address)
        };
        gate.0.host.call_from(PEER);
        let mut gate = gate.used_up(&["203.0.113.7"]);
        assert!(!gate.passes(&["203.0.113.8"]));
    }
}

#[test]
fn callers_without_a_key_are_counted_by_the_same_address() {
    let mut world = World::with(|document| {
        document["routes"][4]["rate_limit"] = json!({ "requests": "1/hour" });
        document["address"] = json!({ "from": "x-forwarded-for" });
    });
    let mut refused = |id, address| {
        world.request(
            StreamId(id),
            "GET",
            "/open",
            &[("x-forwarded-for", address)],
        );
        world.refusal(StreamId(id))
    };
    assert_eq!(refused(1, "203.0.113.7"), None);
    assert_eq!(refused(2, "203.0.113.8"), None);
    assert_eq!(
        refused(3, "6.6.6.6, 203.0.113.7").as_deref(),
        Some("rate_limited")
    );
}
