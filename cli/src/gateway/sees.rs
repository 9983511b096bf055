//! What an agent is told of who calls. Names are the filter's to tell; what says where a request comes from is in it already, and is
//! taken out on the agent's side. Who is known by a provider's name is told nothing, unless it is written.

use waykeeper::config::{NAMES_SEEN, Node, Spot};

/// Where a request comes from.
const ADDRESS: &str = "address";
/// All words.
pub(super) const WORDS: [&str; NAMES_SEEN.len() + 1] = {
    let [client, plan, team, roles, agent, route] = NAMES_SEEN;
    [client, plan, team, roles, agent, route, ADDRESS]
};

/// The headers of the names.
const OF_NAMES: [&str; NAMES_SEEN.len()] = [
    "x-waykeeper-client",
    "x-waykeeper-plan",
    "x-waykeeper-team",
    "x-waykeeper-roles",
    "x-waykeeper-agent",
    "x-waykeeper-route",
];

/// By what an agent would know where a request comes from: what Envoy, Istio and proxies in front write of the connection, and what
/// browsers and tracers send along of their users. `x-request-id` is not among them: it is drawn anew for each request, and callers
/// are told it.
const OF_ADDRESS: [&str; 30] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-forwarded-client-cert",
    "x-original-forwarded-for",
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-azure-clientip",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-envoy-decorator-operation",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-client-trace-id",
    "origin",
    "referer",
    "cookie",
    "baggage",
];

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sees {
    /// In the order in which they are written.
    words: Vec<&'static str>,
}

/// What is told to one that is known by a provider's name, unless it is written.
pub(super) const NOTHING: Sees = Sees { words: Vec::new() };

// === impl Sees ===

impl Sees {
    /// The names among it, as the filter's document has them.
    pub(super) fn names(&self) -> Node {
        let names = self.words.iter().filter(|word| **word != ADDRESS);
        Node::List(names.map(|name| Node::Text((*name).to_owned())).collect())
    }

    /// The headers that are none of it.
    pub(super) fn hidden(&self) -> Vec<&'static str> {
        let names = NAMES_SEEN.into_iter().zip(OF_NAMES);
        let names = names.filter(|(name, _)| !self.words.contains(name));
        let of_address = self.hides_address().then_some(OF_ADDRESS);
        let headers = names.map(|(_, header)| header);
        headers.chain(of_address.into_iter().flatten()).collect()
    }

    /// Whether it is told how it is called itself.
    pub(super) fn shows_agent(&self) -> bool {
        self.words.contains(&"agent")
    }

    /// Whether it is not told where a request comes from.
    pub(super) fn hides_address(&self) -> bool {
        !self.words.contains(&ADDRESS)
    }
}

/// The list that is written.
pub(super) fn sees(spot: &Spot<'_>, is_made: bool) -> Option<Sees> {
    let mut words = Vec::new();
    for item in spot.list(WORDS.len())? {
        let Some(word) = item.choice(&WORDS.map(|word| (word, word))) else {
            continue;
        };
        if words.contains(&word) {
            item.fault("stands here twice; once is enough");
        } else if word == ADDRESS && !is_made {
            item.fault(
                "has no meaning here: only of a url, endpoints or a provider is it kept back",
            );
        }
        words.push(word);
    }
    Some(Sees { words })
}
