//! Agents, and the validator, as clusters that istiod makes: which Service or ServiceEntry each is, and how it is spoken to.

use std::collections::BTreeMap;
use std::net::IpAddr;

use minijinja::Environment;
use serde_json::Value as Json;
use waykeeper::config::Segment;

use super::credentials::{Credentials, DIRECTORY};
use super::{Options, Told};
use crate::gateway::agents::{Agent, Balance, Endpoint, Health, Upstream};
use crate::gateway::tls::{ClientTls, Identity};
use crate::gateway::url::Host;
use crate::gateway::{Gateway, Http, filters};

/// Hosts that stand for endpoints of an agent end so: nobody has this name.
const OWN: &str = "waykeeper.internal";
/// A label of DNS.
const LONGEST_LABEL: usize = 63;

/// All that the filter leads to, and by which names.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    /// In the order of the file, the validator behind the agents.
    pub(super) all: Vec<Destination>,
    /// The clusters' names by the agents'.
    pub(super) of_agents: BTreeMap<String, String>,
    pub(super) validator: Option<String>,
    pub(super) limiter: Option<String>,
    pub(super) credentials: Credentials,
    /// Files that are read in the pods, with their places in the gateway's file.
    pub(super) files: Vec<(Vec<Segment>, String)>,
}

/// What istiod makes a cluster of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    /// The objects' name.
    pub(super) name: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// What it is called in requests, if by its own name.
    pub(super) authority: String,
    /// None for a Service of the cluster's.
    pub(super) outside: Option<Outside>,
    pub(super) way: Way,
}

/// What Istio has to be told of first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outside {
    /// Whether names have to be looked up.
    pub(super) by_name: bool,
    /// None if the host itself is the place.
    pub(super) endpoints: Vec<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) weight: u32,
}

/// How it is spoken to: one cluster has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) balance: Balance,
    pub(super) health: Option<Health>,
    pub(super) http: Http,
    pub(super) tls: Option<Tls>,
    /// Whether it is called by its own name, and not by that which the caller has asked for.
    pub(super) own_host: bool,
    /// What is done to requests on its side; null if nothing is.
    pub(super) filters: Json,
    pub(super) for_validator: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) sni: Option<String>,
    pub(super) verified: String,
    pub(super) ca: Option<String>,
    pub(super) identity: Option<Identity>,
}

impl Destinations {
    /// Names that look like a Service's beside the agents, and are outside.
    pub(super) fn doubts(&self, namespace: &str) -> Vec<String> {
        let outside = self.all.iter().filter(|it| it.outside.is_some());
        let doubts = outside.filter_map(|it| {
            let host = &it.host;
            let service = host.strip_suffix(namespace)?.strip_suffix('.')?;
            is_label(service).then(|| {
                format!("{host}: is taken for a host outside the mesh; did you mean {host}.svc?")
            })
        });
        doubts.collect()
    }
}

/// Finds them.
///
/// # Errors
/// Only if a template is broken.
pub(super) fn destinations(
    gateway: &Gateway,
    options: Options<'_>,
    environment: &Environment<'_>,
    told: &mut Told,
) -> Result<Destinations, minijinja::Error> {
    let mut found = Destinations::default();
    let callers = filters::callers_headers(&gateway.agents);
    for agent in &gateway.agents {
        let Agent {
            name,
            cluster,
            websocket_cluster,
            former: _,
            // What is kept together by is the filter's and the routes'.
            sticky: _,
            // In names it is the filter's, in all else the filters'.
            sees: _,
            upstream,
            builtin,
            shows_each,
            picker,
        } = agent;
        let place = vec![field("agents"), field(name)];
        if picker.is_some() {
            let place = [&*place, &[field("picker")]].concat();
            told.fault(
                &place,
                "is not carried to Istio: there an HTTPRoute to an InferencePool has one asked; in Envoy's own configuration it is",
            );
        }
        if *shows_each {
            let place = [&*place, &[field("load")]].concat();
            told.fault(
                &place,
                "asks each endpoint for its metrics, for which istiod makes no clusters; make an agent of each, or have them report \
                 in their answers (from: orca or queue_depth)",
            );
        }
        if builtin.is_some() {
            let place = [&*place, &[field("builtin")]].concat();
            told.fault(&place, "is served by `waykeeper run` alone");
        }
        let cluster = match upstream {
            Some(upstream) => {
                let mut upstream = upstream.clone();
                if websocket_cluster.is_some() {
                    // One cluster of Istio's speaks one HTTP, and WebSockets begin in HTTP/1.1.
                    upstream.http = Http::One;
                }
                let agent = Agent {
                    upstream: Some(upstream),
                    ..agent.clone()
                };
                let credentials = &mut found.credentials;
                let agent = credentials.moved(agent, &place, options, environment, told)?;
                match &agent.upstream {
                    Some(upstream) => {
                        let done = filters::filters(
                            &agent,
                            upstream,
                            &callers,
                            DIRECTORY,
                            filters::ByHost::Route,
                            environment,
                        )?;
                        found.add(name, upstream, Of::Agent(done), &place, options, told)
                    }
                    None => None,
                }
            }
            None => Some(cluster.clone()),
        };
        found
            .of_agents
            .extend(cluster.map(|cluster| (name.clone(), cluster)));
    }
    { &mut found.credentials }.add_keys(&gateway.session_keys, options, told);
    if let Some((_, upstream)) = &gateway.validator {
        let place = [field("clients"), field("validator")];
        found.validator = found.add("validator", upstream, Of::Validator, &place, options, told);
    }
    if let Some(limiter) = &gateway.limiter {
        let of = match limiter.builtin() {
            Some(_) => "builtin",
            None => "url",
        };
        told.fault(
            &[field("fleet"), field("limiter"), field(of)],
            "Istio makes this cluster itself: name it, as in {cluster: \"outbound|8081||limiter.infra.svc.cluster.local\"}; the \
             Service's port is one of gRPC (appProtocol: grpc)",
        );
    }
    Ok(found)
}

/// Whose place it is.
enum Of {
    /// An agent's, with what is done to its requests.
    Agent(Json),
    Validator,
}

fn field(name: &str) -> Segment {
    Segment::Field(name.to_owned())
}

// === impl Destination ===

impl Destination {
    /// As Istio calls its cluster.
    pub(super) fn cluster(&self) -> String {
        format!("outbound|{}||{}", self.port, self.host)
    }

    fn is_at(&self, host: &str, port: u16) -> bool {
        self.host == host && self.port == port
    }
}

// === impl Destinations ===

impl Destinations {
    /// Adds what an agent or the validator is reached by, unless it is there, and says how its cluster is called. Its fields are
    /// named one by one, so that one which is added cannot be forgotten here.
    fn add(
        &mut self,
        name: &str,
        upstream: &Upstream,
        of: Of,
        place: &[Segment],
        options: Options<'_>,
        told: &mut Told,
    ) -> Option<String> {
        let Upstream {
            endpoints,
            balance,
            health,
            tls,
            http,
            // What is done to requests for these is in `of`.
            base: _,
            provider: _,
            credential: _,
        } = upstream;
        let first = endpoints.first()?;
        let at = |name: &str| [place, &[field(name)]].concat();
        let own_host = upstream.has_own_host();
        let authority = first.url.authority();
        let several = |other: &Endpoint| other.url.authority() != authority;
        if own_host && endpoints.iter().any(several) {
            told.fault(
                &at("endpoints"),
                "a cluster of Istio's has one name for TLS and as the host, and these have several; write an agent for each",
            );
            return None;
        }
        let (filters, for_validator) = match of {
            Of::Agent(filters) => (filters, false),
            Of::Validator => (Json::Null, true),
        };
        let way = Way {
            balance: *balance,
            health: health.clone(),
            http: *http,
            tls: tls.as_ref().map(|tls| self.tls(tls, first, place)),
            own_host: own_host && !for_validator,
            filters,
            for_validator,
        };
        let mut places = Vec::new();
        let mut all = true;
        for (index, endpoint) in endpoints.iter().enumerate() {
            let whole = if endpoints.len() > 1 {
                [at("endpoints"), vec![Segment::Item(index)]].concat()
            } else {
                at("url")
            };
            let host = host(&endpoint.url.host, options).map_err(|fault| told.fault(&whole, fault));
            match host {
                Ok(host) => places.push((host, endpoint)),
                Err(()) => all = false,
            }
        }
        if !all {
            return None;
        }
        let found = match places.as_slice() {
            [(Found::Service { name, host }, endpoint)] => Destination {
                name: name.clone(),
                host: host.clone(),
                port: endpoint.url.port,
                authority: endpoint.url.authority(),
                outside: None,
                way,
            },
            [(Found::Name(host), endpoint)] => {
                let outside = Destination {
                    name: host.clone(),
                    host: host.clone(),
                    port: endpoint.url.port,
                    authority: endpoint.url.authority(),
                    outside: Some(Outside {
                        by_name: true,
                        endpoints: Vec::new(),
                    }),
                    way,
                };
                // What is spoken to in two ways is two clusters.
                let differs = |other: &&Destination| {
                    other.is_at(&outside.host, outside.port) && !other.can_be(&outside)
                };
                if self.all.iter().any(|other| differs(&other)) {
                    self.by_endpoints(name, first, &places, outside.way)
                } else {
                    outside
                }
            }
            several => self.by_endpoints(name, first, several, way),
        };
        let cluster = found.cluster();
        let same = self
            .all
            .iter()
            .find(|other| other.is_at(&found.host, found.port));
        match same {
            None => self.all.push(found),
            Some(other) if other.can_be(&found) => {}
            Some(_) => told.fault(
                place,
                format!(
                    "is spoken to in another way than an earlier one that is at {} too, and they are one cluster of Istio's; \
                     write the same for both, or a Service for each",
                    first.url.authority()
                ),
            ),
        }
        Some(cluster)
    }

    /// By a host that nobody has, which stands for these.
    fn by_endpoints(
        &self,
        name: &str,
        first: &Endpoint,
        places: &[(Found, &Endpoint)],
        way: Way,
    ) -> Destination {
        let by_name = { places.iter() }.any(|(found, _)| !matches!(found, Found::Address(_)));
        let endpoints = places.iter().map(|(found, endpoint)| Place {
            address: match found {
                Found::Service { host, .. } | Found::Name(host) => host.clone(),
                Found::Address(address) => address.to_string(),
            },
            port: endpoint.url.port,
            weight: endpoint.weight,
        });
        let host = self.unused(name);
        Destination {
            name: host.clone(),
            host,
            port: first.url.port,
            authority: first.url.authority(),
            outside: Some(Outside {
                by_name,
                endpoints: endpoints.collect(),
            }),
            way,
        }
    }

    /// A host for an agent's endpoints, by its name as far as that is a label of DNS.
    fn unused(&self, agent: &str) -> String {
        let label: String = agent
            .chars()
            .map(|character| match character.to_ascii_lowercase() {
                character if character.is_ascii_alphanumeric() => character,
                _ => '-',
            })
            .take(LONGEST_LABEL - 4)
            .collect();
        let label = label.trim_matches('-');
        let label = if label.is_empty() { "agent" } else { label };
        let mut host = format!("{label}.{OWN}");
        let mut number = 2;
        while self.all.iter().any(|other| other.host == host) {
            host = format!("{label}-{number}.{OWN}");
            number += 1;
        }
        host
    }

    /// How TLS is set up with all of an agent's endpoints, which have one name.
    fn tls(&mut self, tls: &ClientTls, first: &Endpoint, place: &[Segment]) -> Tls {
        let ClientTls { sni, ca, identity } = tls;
        let of_tls = |name: &str| [place, &[field("tls"), field(name)]].concat();
        let identity_files = identity
            .iter()
            .flat_map(|Identity { certificate, key }| [("certificate", certificate), ("key", key)]);
        let files = ca.iter().map(|ca| ("ca", ca)).chain(identity_files);
        self.files
            .extend(files.map(|(name, path)| (of_tls(name), path.clone())));
        let host = match &first.url.host {
            Host::Name(name) => Some(name.clone()),
            Host::Address(_) => None,
        };
        let name = sni.clone().or(host);
        Tls {
            verified: name.clone().unwrap_or_else(|| first.url.host.bare()),
            sni: name,
            ca: ca.clone(),
            identity: identity.clone(),
        }
    }
}

impl Destination {
    /// Whether both can be one cluster. The validator shares an agent's, whose bounds then hold for it.
    fn can_be(&self, other: &Destination) -> bool {
        let way = Way {
            for_validator: self.way.for_validator,
            ..other.way.clone()
        };
        if other.way.for_validator && !self.way.for_validator {
            // What is done to an agent's requests is not for the validator.
            return (&self.way.tls, self.way.http, &self.way.filters)
                == (&way.tls, way.http, &way.filters);
        }
        self.way == way && self.outside == other.outside
    }
}

/// What a host is to Istio.
enum Found {
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
fn host(host: &Host, options: Options<'_>) -> Result<Found, String> {
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
