//! The clusters that a configuration names: whether Envoy has them, and asks the validator again as often as it must.

use std::io;

use waykeeper::config::{self, Fault, Faults, Policy, Segment};

use super::{Envoy, Line, Report};
use crate::find::Configuration;
use crate::gateway;
use crate::yaml::Value;

/// The clusters that a document names, and where.
fn clusters_of(document: &Value) -> Vec<(Vec<&str>, &str)> {
    let validator = document
        .get("clients")
        .and_then(|clients| clients.get("validator")?.get("cluster")?.text());
    let of_validator = validator.map(|cluster| (vec!["clients", "validator", "cluster"], cluster));
    let agents = document.get("agents").map(Value::entries);
    let of_agents = agents.into_iter().flatten().flat_map(|agent| {
        let name = agent.name.as_str();
        let fields = ["cluster", "websocket_cluster"].into_iter();
        let own = fields.filter_map(move |field| {
            let cluster = agent.value.get(field)?.text()?;
            Some((vec!["agents", name, field], cluster))
        });
        let load = agent.value.get("load");
        let shown_by = load.and_then(|load| load.get("clusters"));
        let shown_by = shown_by.map_or(&[][..], Value::items).iter();
        own.chain(shown_by.filter_map(move |item| {
            let cluster = item.text().or_else(|| item.get("cluster")?.text())?;
            Some((vec!["agents", name, "load", "clusters"], cluster))
        }))
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

impl Report<'_> {
    /// Looks for every cluster that a configuration names, whatever else is wrong with it; where `faults` say that a name is none,
    /// that is enough.
    pub(super) fn check_clusters(
        &mut self,
        faults: Option<&Faults>,
        envoy: &Envoy,
        configuration: &Configuration<'_>,
    ) -> io::Result<()> {
        let document = configuration.written();
        let added = gateway::added_clusters(&document);
        let mut missing: Vec<(usize, String)> = clusters_of(&document)
            .into_iter()
            .filter(|(path, cluster)| {
                let there = envoy.clusters.get(cluster).is_some() || added.contains(cluster);
                !there && !is_told(faults, path)
            })
            .map(|(path, cluster)| {
                let near = config::did_you_mean(
                    cluster,
                    envoy.clusters.names().chain(added.iter().copied()),
                );
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
}
