//! What a server is called in the requests that it gets: the name of a host, with its port. Many servers refuse a request
//! that calls them by anything else.

use std::net::Ipv6Addr;

use super::document::shown;

const LONGEST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// Where a cluster's name tells no host.
const UNTOLD: &str = "validator";

/// The host that an operator names, with a port if it likes. Servers that are called by a name with `_` are believed to
/// know it.
///
/// # Errors
/// One line that says what the text is not.
pub fn host(text: &str) -> Result<(), String> {
    let (name, port) = parts(text);
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let named = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_name(&name.replace('_', "u")),
    };
    if named && port.is_none_or(is_port) {
        Ok(())
    } else {
        Err(format!(
            "{} is no host; write its name or address, with a port if it is not the usual one, such as \
             \"auth.example.com\" or \"auth:8080\"",
            shown(text)
        ))
    }
}

/// The name or the IPv4 address of a host, without a port.
///
/// # Errors
/// One line that says what the text is not.
pub(super) fn name(text: &str) -> Result<(), String> {
    if is_name(&text.replace('_', "u")) {
        Ok(())
    } else {
        Err(format!("{} is no host's name", shown(text)))
    }
}

/// The host that a cluster's name tells: the name itself where it may be one, and what stands last in the name that Istio
/// makes, `outbound|PORT|SUBSET|HOST`, with the port.
pub(super) fn of_cluster(cluster: &str) -> String {
    let host = match cluster.rsplit_once('|') {
        None => cluster.to_owned(),
        Some((before, host)) => match before.split('|').nth(1) {
            None | Some("80") => host.to_owned(),
            Some(port) => format!("{host}:{port}"),
        },
    };
    let (name, port) = parts(&host);
    if is_name(name) && port.is_none_or(is_port) {
        host
    } else {
        UNTOLD.to_owned()
    }
}

/// Name and port. What stands in brackets is not taken apart.
fn parts(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// A name as resolvers and servers agree on it: labels of letters, digits and inner hyphens. So is an IPv4 address.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= LONGEST && name.split('.').all(is_label)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clusters_name_tells_the_host_that_stands_in_it() {
        let long = format!("{}.local", "a".repeat(64));
        for (cluster, host) in [
            ("auth-service", "auth-service"),
            ("auth.example.com", "auth.example.com"),
            ("auth:8080", "auth:8080"),
            (
                "outbound|8080||auth-service.agents.svc.cluster.local",
                "auth-service.agents.svc.cluster.local:8080",
            ),
            (
                "outbound|80||auth-service.agents.svc.cluster.local",
                "auth-service.agents.svc.cluster.local",
            ),
            ("outbound|443|v2|api.example.com", "api.example.com:443"),
            ("mesh|auth", "auth"),
            // Names that no server takes for a host.
            ("outbound|8080||", UNTOLD),
            ("outbound|http||auth", UNTOLD),
            ("outbound|0||auth", UNTOLD),
            ("outbound|65536||auth", UNTOLD),
            ("outbound_.8080_._.auth.agents.svc.cluster.local", UNTOLD),
            ("default/auth/8080", UNTOLD),
            ("auth_ns_svc_8080", UNTOLD),
            ("auth_service", UNTOLD),
            ("-auth", UNTOLD),
            ("auth.", UNTOLD),
            ("auth..local", UNTOLD),
            ("auth:", UNTOLD),
            ("auth:+80", UNTOLD),
            ("a@b", UNTOLD),
            ("[::1]", UNTOLD),
            (&long, UNTOLD),
        ] {
            assert_eq!(of_cluster(cluster), host, "{cluster}");
        }
    }

    #[test]
    fn a_written_host_is_a_name_or_an_address_with_a_port_or_without() {
        for good in [
            "auth",
            "AUTH.example.com:8443",
            "auth_service:8000",
            "10.0.0.7",
            "10.0.0.7:8080",
            "[2001:db8::1]",
            "[::1]:8080",
            "1",
        ] {
            assert_eq!(host(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ":80",
            "auth:0",
            "auth:65536",
            "auth:http",
            "auth:80:80",
            "auth service",
            "auth/validate",
            "http://auth",
            "user@auth",
            "outbound|80||auth",
            "auth.",
            "-auth",
            "2001:db8::1",
            "[2001:db8::1",
            "[auth]",
            "[::1]80",
            "ä",
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
