//! The flags that Envoy gives its own answers.

use super::{AgentFault, AttemptEnd};

/// Those that say that no host of the agent is known, healthy or free, or that the connection to it failed: as the access log
/// writes them, and their bits in the property `response.flags`. `local_reply_config` names the same.
const UNREACHED: [(&str, u32); 9] = [
    ("UH", 1),
    ("LR", 3),
    ("UR", 4),
    ("UF", 5),
    ("UC", 6),
    ("UO", 7),
    ("URX", 15),
    ("NC", 24),
    ("DF", 26),
];

/// What an answer of Envoy's with these flags, and this status, says of the agent. `again`: it was not the first attempt.
pub fn fault(status: u16, flags: u64, again: bool) -> Option<AgentFault> {
    let has = |wanted: &[u32]| wanted.iter().any(|bit| flags >> bit & 1 == 1);
    // A circuit breaker, no such cluster: of the gateway's own.
    if has(&[OVERFLOW, NO_CLUSTER]) {
        return None;
    }
    if has(&[NO_HEALTHY_HOST]) {
        return (!again).then_some(AgentFault::NoHost);
    }
    if has(&[CONNECTION_FAILURE, NO_ADDRESS]) {
        return Some(AgentFault::Unconnected);
    }
    // Envoy takes its time for a request that has not come as well.
    let broken = has(&BROKEN) || matches!(status, 502 | 504);
    broken.then_some(AgentFault::Broken)
}

/// `UH`, `UF`, `DF`, `UO`, `NC`.
const NO_HEALTHY_HOST: u32 = 1;
const CONNECTION_FAILURE: u32 = 5;
const NO_ADDRESS: u32 = 26;
const OVERFLOW: u32 = 7;
const NO_CLUSTER: u32 = 24;
/// `UT`, `LR`, `UR`, `UC`, `UPE`.
const BROKEN: [u32; 5] = [2, 3, 4, 6, 23];

/// How an attempt has ended, by the request's flags and details, by whether there was a connection, and by why there was none. What is said on the
/// agent's side of the router is little: nothing of a reset or of a time that was over, and of what comes later all that
/// is noted of the caller.
pub fn attempt_end(
    flags: u64,
    details: Option<&[u8]>,
    connected: Result<(), Option<Vec<u8>>>,
    sent: bool,
) -> AttemptEnd {
    let has = |bit: u32| flags >> bit & 1 == 1;
    let ended_here = match details {
        None | Some(b"via_upstream" | b"waykeeper_agent_timeout") => false,
        Some(_) => !(has(SILENT) && sent),
    };
    if has(CALLER_LEFT) || ended_here {
        return AttemptEnd::Left;
    }
    match connected {
        Ok(()) => AttemptEnd::Broken,
        // A circuit breaker has no reason that is told here, nor has a time that was over.
        Err(why) if why.as_ref().is_none_or(Vec::is_empty) => AttemptEnd::Waited,
        Err(_) => AttemptEnd::Unconnected,
    }
}

/// `DC`, `SI`.
const CALLER_LEFT: u32 = 14;
const SILENT: u32 = 16;

/// True if one of these flags stands in `response.flags`.
pub fn is_unreached(flags: u64) -> bool {
    UNREACHED.iter().any(|(_, bit)| flags >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_those_of_the_reference() {
        let reference = include_str!("../../envoy/envoy.yaml");
        let (_, flags) = reference
            .split_once("response_flag_filter: {flags: [")
            .expect("a filter by flags");
        let (flags, _) = flags.split_once(']').expect("the end of a list");
        let mut named: Vec<_> = flags.split(", ").collect();
        let mut known: Vec<_> = UNREACHED.iter().map(|(flag, _)| *flag).collect();
        named.sort_unstable();
        known.sort_unstable();
        assert_eq!(named, known);
    }

    #[test]
    fn the_gateways_own_bounds_are_no_fault_of_the_agents() {
        let of = |bits: &[u32]| bits.iter().fold(0, |flags, bit| flags | 1 << bit);
        assert_eq!(fault(503, of(&[7]), false), None, "UO");
        assert_eq!(fault(503, of(&[5, 7]), false), None);
        assert_eq!(fault(503, of(&[24]), false), None, "NC");
        assert_eq!(fault(500, 0, false), None);
        assert_eq!(fault(503, of(&[1]), false), Some(AgentFault::NoHost));
        assert_eq!(fault(503, of(&[1, 15]), true), None, "another attempt's");
        let unconnected = Some(AgentFault::Unconnected);
        assert_eq!(fault(503, of(&[5, 15]), true), unconnected);
        assert_eq!(fault(503, of(&[26]), false), unconnected);
        for (status, bit) in [(504, 2), (503, 3), (503, 4), (503, 6), (502, 23)] {
            assert_eq!(fault(status, of(&[bit]), false), Some(AgentFault::Broken));
        }
    }

    #[test]
    fn an_attempt_ends_by_the_caller_by_the_agent_or_for_want_of_a_connection() {
        let (left, silent) = (1 << 14, 1 << 16);
        let ends = |flags, details: Option<&[u8]>, connected, sent| {
            let refused = b"delayed connect error: Connection refused".to_vec();
            let connected = if connected {
                Ok(())
            } else {
                Err(Some(refused))
            };
            attempt_end(flags, details, connected, sent)
        };
        for why in [None, Some(Vec::new())] {
            assert_eq!(attempt_end(0, None, Err(why), true), AttemptEnd::Waited);
        }
        assert_eq!(ends(0, None, true, true), AttemptEnd::Broken);
        assert_eq!(
            ends(0, Some(b"via_upstream"), true, true),
            AttemptEnd::Broken
        );
        assert_eq!(ends(0, None, false, true), AttemptEnd::Unconnected);
        for connected in [true, false] {
            let details: &[u8] = b"downstream_remote_disconnect";
            assert_eq!(ends(left, Some(details), connected, true), AttemptEnd::Left);
            let details: &[u8] = b"waykeeper_request_timeout";
            assert_eq!(ends(0, Some(details), connected, true), AttemptEnd::Left);
        }
        let details: &[u8] = b"waykeeper_agent_timeout";
        assert_eq!(ends(0, Some(details), true, true), AttemptEnd::Broken);
        let details: &[u8] = b"stream_idle_timeout";
        assert_eq!(ends(silent, Some(details), true, true), AttemptEnd::Broken);
        assert_eq!(ends(silent, Some(details), true, false), AttemptEnd::Left);
    }

    #[test]
    fn one_of_them_is_enough() {
        assert!(!is_unreached(0));
        assert!(!is_unreached(1 << 2), "UT");
        assert!(is_unreached(1 << 5 | 1 << 15));
        assert!(is_unreached(1 << 26 | 1 << 40));
    }
}
