//! What is compared with Envoy's own configuration: clusters, routes, addresses, and how long and how much Envoy holds.

use std::io;
use std::time::Duration;

use waykeeper::config::policy::{AddressSource, Each, Route};
use waykeeper::config::{self, Fault, Faults, Policy, Segment};
use waykeeper::routing::PROOF;

use super::{Envoy, Line, Report};
use crate::decided::{self, Decided};
use crate::find::Configuration;
use crate::managers::Manager;
use crate::routes::Undecided;
use crate::yaml::Value;

/// For so long a sender may pause in a body without anything being wrong.
const PAUSE: Duration = Duration::from_secs(15);

/// The lines of all plugins in Envoy's words whose bodies Envoy keeps to itself.
fn blind_plugins(value: &Value) -> Vec<usize> {
    let shows = || {
        let flag = value.field("allow_on_headers_stop_iteration");
        flag.is_some_and(Value::is_true)
    };
    let mut lines: Vec<_> = value.parts().flat_map(blind_plugins).collect();
    if let Some(vm) = value.field("vm_config").filter(|_| !shows()) {
        lines.push(vm.line);
    }
    lines
}

/// The clusters that a document names, and where.
fn clusters_of(document: &Value) -> Vec<(Vec<&str>, &str)> {
    let validator = document
        .get("clients")
        .and_then(|clients| clients.get("validator")?.get("cluster")?.text());
    let of_validator = validator.map(|cluster| (vec!["clients", "validator", "cluster"], cluster));
    let agents = document.get("agents").map(Value::entries);
    let of_agents = agents.into_iter().flatten().filter_map(|agent| {
        let cluster = agent.value.get("cluster")?.text()?;
        Some((vec!["agents", agent.name.as_str(), "cluster"], cluster))
    });
    of_validator.into_iter().chain(of_agents).collect()
}

/// Whether something is said of this field already.
fn is_told(faults: Option<&Faults>, path: &[&str]) -> bool {
    let at = |fault: &Fault| {
        let named = fault.path.iter().map(|segment| match segment {
            Segment::Field(name) => Some(name.as_str()),
            Segment::Item(_) => None,
        });
        named.eq(path.iter().map(|name| Some(*name)))
    };
    faults.is_some_and(|faults| faults.iter().any(at))
}

/// The routes whose agents get whole bodies only.
fn collecting(policy: &Policy) -> impl Iterator<Item = &Route> {
    policy.routes.iter().filter(|route| route.collect_body)
}

impl Report<'_> {
    /// Looks whether Envoy shows bodies to the filter, where a route collects them: else each request with a body waits for
    /// an end that never comes.
    pub(super) fn check_bodies(&mut self, policy: &Policy, documents: &[Value]) -> io::Result<()> {
        let Some(route) = collecting(policy).next() else {
            return Ok(());
        };
        for line in documents.iter().flat_map(blind_plugins) {
            self.fault(
                line,
                format_args!(
                    "the route {:?} collects bodies, which Envoy shows the filter only with allow_on_headers_stop_iteration: \
                     true beside vm_config",
                    route.name
                ),
            )?;
        }
        Ok(())
    }

    /// Compares how long and how much requests may wait with what Envoy does about those that nobody has decided on.
    pub(super) fn check_undecided(
        &mut self,
        policy: &Policy,
        undecided: &[Undecided],
        file: &str,
        configuration: &Configuration<'_>,
    ) -> io::Result<()> {
        for route in undecided {
            self.check_wait(policy, route, file, configuration)?;
            self.check_pause(policy, route, file, configuration)?;
            self.check_buffer(policy, route, file, configuration)?;
        }
        Ok(())
    }

    /// Compares how long streams may be silent with what Envoy lets them, and looks whether agents are shown the proof.
    pub(super) fn check_decided(
        &mut self,
        policy: &Policy,
        decided: &[Decided],
        file: &str,
        configuration: &Configuration<'_>,
    ) -> io::Result<()> {
        for of_envoy in decided {
            let Some(idle) = of_envoy.idle_timeout else {
                continue;
            };
            let taking = policy.routes.iter();
            let mut taking = taking.filter(|route| decided::kind(route) == of_envoy.kind);
            let longer = |route: &&Route| route.idle_timeout.is_some_and(|time| time > idle);
            if let Some(route) = taking.find(longer) {
                self.warning(
                    configuration.line_of(&["routes"]),
                    format_args!(
                        "the idle_timeout {} of the route {:?} is longer than the {} for kind {} at {}, which ends its silent \
                         streams before",
                        config::show_duration(route.idle_timeout.unwrap_or_default()),
                        route.name,
                        config::show_duration(idle),
                        of_envoy.kind,
                        Line(file, of_envoy.line_of_idle),
                    ),
                )?;
            }
        }
        let shows = decided.iter().find(|route| route.shows_proof);
        if let Some(route) = shows.filter(|_| policy.proof.is_some()) {
            self.warning(
                configuration.line_of(&["proof"]),
                format_args!(
                    "proof: {}: agents are shown the proof: name {PROOF} in request_headers_to_remove of the virtual host",
                    Line(file, route.line),
                ),
            )?;
        }
        Ok(())
    }

    /// How long a request may wait for the validator.
    fn check_wait(
        &mut self,
        policy: &Policy,
        undecided: &Undecided,
        file: &str,
        configuration: &Configuration<'_>,
    ) -> io::Result<()> {
        let Some(validator) = &policy.clients.validator else {
            return Ok(());
        };
        let path = ["clients", "validator", "timeout"];
        let line = configuration.line_of(&path);
        let place = Line(file, undecided.line);
        match undecided.idle_timeout {
            None => self.warning(
                line,
                format_args!("{place}: without an idle_timeout, requests that wait for the validator when the filter traps wait on"),
            ),
            Some(idle) if idle <= validator.timeout => self.fault(
                line,
                format_args!(
                    "{}: {} is not shorter than the idle_timeout {} at {place}, which would end requests that wait",
                    path.join("."),
                    config::show_duration(validator.timeout),
                    config::show_duration(idle),
                ),
            ),
            Some(_) => Ok(()),
        }
    }

    /// How long a sender may pause in a body that is collected.
    fn check_pause(
        &mut self,
        policy: &Policy,
        undecided: &Undecided,
        file: &str,
        configuration: &Configuration<'_>,
    ) -> io::Result<()> {
        let idle = undecided.idle_timeout.filter(|idle| *idle < PAUSE);
        let (Some(route), Some(idle)) = (collecting(policy).next(), idle) else {
            return Ok(());
        };
        let place = Line(file, undecided.line);
        self.warning(
            configuration.line(),
            format_args!(
                "the route {:?} collects bodies, and the idle_timeout {} at {place} ends senders that pause for as long; \
                 write {} or more",
                route.name,
                config::show_duration(idle),
                config::show_duration(PAUSE),
            ),
        )
    }

    /// How much of a request Envoy holds before it makes the sender wait, or refuses the body.
    fn check_buffer(
        &mut self,
        policy: &Policy,
        undecided: &Undecided,
        file: &str,
        configuration: &Configuration<'_>,
    ) -> io::Result<()> {
        let Some((buffer, line)) = undecided.buffer else {
            return Ok(());
        };
        let place = Line(file, line);
        let shown = config::show_size(buffer);
        let held = policy.clients.hold.request;
        if policy.clients.validator.is_some() && held < buffer.saturating_mul(2) {
            self.warning(
                configuration.line_of(&["clients", "hold", "request"]),
                format_args!(
                    "clients.hold.request: {} is less than twice the request_body_buffer_limit {shown} at {place}: larger \
                     bodies are refused with 413 while the validator is asked, in place of waiting",
                    config::show_size(held),
                ),
            )?;
        }
        for route in collecting(policy) {
            if let Some(most) = route.max_body.filter(|most| *most > buffer) {
                self.warning(
                    configuration.line(),
                    format_args!(
                        "the route {:?} collects bodies of up to {}, of which Envoy refuses those beyond the \
                         request_body_buffer_limit {shown} at {place}",
                        route.name,
                        config::show_size(most),
                    ),
                )?;
            }
        }
        Ok(())
    }

    /// Looks for every cluster that a configuration names, whatever else is wrong with it; where `faults` say that a name is none,
    /// that is enough.
    pub(super) fn check_clusters(
        &mut self,
        faults: Option<&Faults>,
        envoy: &Envoy,
        configuration: &Configuration<'_>,
    ) -> io::Result<()> {
        let document = configuration.written();
        let mut missing: Vec<(usize, String)> = clusters_of(&document)
            .into_iter()
            .filter(|(path, cluster)| {
                envoy.clusters.get(cluster).is_none() && !is_told(faults, path)
            })
            .map(|(path, cluster)| {
                let near = config::did_you_mean(cluster, envoy.clusters.names());
                let line = configuration.line_of(&path);
                (
                    line,
                    format!(
                        "{}: {} has no cluster named {cluster:?}{near}",
                        path.join("."),
                        envoy.file
                    ),
                )
            })
            .collect();
        missing.sort();
        for (line, message) in missing {
            if envoy.clusters.dynamic {
                self.warning(line, message)?;
            } else {
                self.fault(line, message)?;
            }
        }
        Ok(())
    }

    /// Looks whether Envoy would ask the validator again as often as it asks. When a validator closes its connections, all
    /// questions that are on their way meet that at once.
    pub(super) fn check_retries(
        &mut self,
        policy: &Policy,
        envoy: &Envoy,
        configuration: &Configuration<'_>,
    ) -> io::Result<()> {
        let asked = policy.clients.validator.as_ref();
        let cluster = asked.and_then(|validator| envoy.clusters.get(&validator.cluster));
        let Some(cluster) = cluster.filter(|cluster| cluster.retries < cluster.requests) else {
            return Ok(());
        };
        let path = ["clients", "validator", "cluster"];
        self.warning(
            configuration.line_of(&path),
            format_args!(
                "{}: {}: of {} requests that {:?} takes at a time only {} may be retries: when the validator closes \
                 connections, more questions than that fail; write max_retries: {} into the circuit_breakers",
                path.join("."),
                Line(&envoy.file, cluster.line),
                cluster.requests,
                cluster.name,
                cluster.retries,
                cluster.requests,
            ),
        )
    }

    /// Compares where callers' addresses are read with where Envoy reads them, and with what Envoy writes there.
    pub(super) fn check_addresses(
        &mut self,
        policy: &Policy,
        managers: &[Manager],
        file: &str,
        configuration: &Configuration<'_>,
    ) -> io::Result<()> {
        let AddressSource::ForwardedFor { trusted_hops } = policy.address else {
            return self.check_belief(policy, managers, file, configuration);
        };
        for manager in managers {
            let other = |hops: &u64| usize::try_from(*hops) != Ok(trusted_hops);
            if let Some(hops) = manager.hops.filter(other) {
                self.warning(
                    configuration.line_of(&["address", "trusted_hops"]),
                    format_args!(
                        "address.trusted_hops: {trusted_hops} is not the xff_num_trusted_hops {hops} at {}: limits count by \
                         another entry of x-forwarded-for than Envoy takes for the caller",
                        Line(file, manager.line_of_hops),
                    ),
                )?;
            }
            if !manager.appends {
                self.warning(
                    configuration.line_of(&["address", "from"]),
                    format_args!(
                        "address.from: at {} Envoy appends nothing to x-forwarded-for (use_remote_address: true without \
                         skip_xff_append does): callers whose own entry is the last choose by what they are counted",
                        Line(file, manager.line_of_appends),
                    ),
                )?;
            }
        }
        Ok(())
    }

    /// Looks whether Envoy takes the address of a caller from the caller, where a limit counts by it.
    fn check_belief(
        &mut self,
        policy: &Policy,
        managers: &[Manager],
        file: &str,
        configuration: &Configuration<'_>,
    ) -> io::Result<()> {
        let mut limits = policy.limits.iter();
        let Some(limit) = limits.find(|limit| limit.each == Each::Address) else {
            return Ok(());
        };
        for manager in managers.iter().filter(|manager| manager.believes) {
            self.warning(
                configuration.line_of(&["limits"]),
                format_args!(
                    "the limit {:?} counts by addresses, and without use_remote_address: true Envoy takes them from \
                     x-forwarded-for at {}: callers whose own entry is the last choose by what they are counted",
                    limit.name,
                    Line(file, manager.line_of_remote),
                ),
            )?;
        }
        Ok(())
    }
}
