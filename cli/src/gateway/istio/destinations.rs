//! Agents, and the validator, as clusters that istiod makes: which Service or ServiceEntry each is, and how it is spoken to.

use std::collections::BTreeMap;

use minijinja::Environment;
use serde_json::Value as Json;
use waykeeper::config::Segment;

use super::credentials::{Credentials, DIRECTORY};
use super::destination::{Destination, Outside, Place, Tls, Way};
use super::hosts::{Found, LONGEST_LABEL, host, is_label};
use super::{Options, Told};
use crate::gateway::agents::{Agent, Endpoint, Upstream};
use crate::gateway::tls::{ClientTls, Identity};
use crate::gateway::url::Host;
use crate::gateway::{Gateway, Http, Validator, filters};

/// Hosts that stand for endpoints of an agent end so: nobody has this name.
const OWN: &str = "waykeeper.internal";
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
    if let Some(Validator { upstream, .. }) = &gateway.validator {
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
