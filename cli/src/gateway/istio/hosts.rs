//! What an agent's host is to Istio: a Service, a name that is looked up, or an address.

use std::net::IpAddr;

use super::Options;
use crate::gateway::url::Host;

/// A label of DNS.
pub(super) const LONGEST_LABEL: usize = 63;

/// What a host is to Istio.
pub(super) enum Found {
    /// A Service, by the name that its objects get, and its whole name.
    Service {
        name: String,
        host: String,
    },
    Name(String),
    Address(IpAddr),
}

/// One without a point is a Service beside the agents; one that ends in `.svc`, or in that and the cluster's domain, says its
/// namespace. All others are outside.
pub(super) fn host(host: &Host, options: Options<'_>) -> Result<Found, String> {
    const OWN_POD: &str = "would be the gateway's own pod; write the agent's Service, as in http://chat.agents.svc:8000, or its address as pods reach it";
    let name = match host {
        Host::Address(address) if address.is_loopback() => return Err(OWN_POD.to_owned()),
        Host::Address(address) => return Ok(Found::Address(*address)),
        Host::Name(name) if name == "localhost" => return Err(OWN_POD.to_owned()),
        Host::Name(name) => name,
    };
    let whole = format!(".svc.{}", options.cluster_domain);
    let inside = name.strip_suffix(&whole).or(name.strip_suffix(".svc"));
    let (service, namespace) = match inside.map(|inside| inside.split_once('.')) {
        Some(Some((service, namespace))) if !namespace.contains('.') => (service, namespace),
        Some(_) => {
            return Err(format!(
                "{name:?} is no Service's name, which is NAME.NAMESPACE.svc"
            ));
        }
        None if !name.contains('.') => (name.as_str(), options.agents_namespace),
        None => return Ok(Found::Name(name.clone())),
    };
    if let Some(wrong) = [service, namespace]
        .into_iter()
        .find(|part| !is_label(part))
    {
        return Err(format!(
            "{wrong:?} can be no Service's name, nor its namespace's"
        ));
    }
    let host = format!("{service}.{namespace}{whole}");
    let beside = namespace == options.agents_namespace;
    Ok(Found::Service {
        name: if beside {
            service.to_owned()
        } else {
            host.clone()
        },
        host,
    })
}

/// Whether Kubernetes takes it for the name of a Service or a namespace.
pub(crate) fn is_label(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=LONGEST_LABEL).contains(&bytes.len())
        && bytes.iter().all(|byte| letter(*byte) || *byte == b'-')
        && [bytes.first(), bytes.last()]
            .into_iter()
            .flatten()
            .all(|byte| letter(*byte))
}
