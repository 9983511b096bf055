//! What agents' clusters are called while a gateway runs. Clusters change before the filter's configuration does, and a request
//! that the former configuration has decided on names one: so a name never comes to stand for another place, or for another way to
//! it. An agent that is changed gets a cluster of a new name, `chat~2`, and what it was stays under the former one until nobody
//! asks for it. So do its picker, the validator and the limiter: where Envoy is given another cluster of the same name, it ends all
//! that is asked there.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::agents::NUMBER;
use super::{Checked, Parts, derive};

/// So many of an agent's clusters are remembered: one that is the same again has its name again.
const REMEMBERED: usize = 8;

/// The names that were given, by the agents that they were given to, and by the clusters of their pickers, the validator and the
/// limiter.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeMap<String, Given>);

#[derive(Debug, Default)]
struct Given {
    /// The highest number so far.
    last: u64,
    /// The latest last.
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    number: u64,
    made_of: u64,
    cluster: String,
}

// === impl Names ===

impl Names {
    /// The same gateway with the names that its clusters have; `parts` are those of the gateway as it was read. None where these
    /// are its names.
    pub(crate) fn named(&mut self, read: &Checked, parts: &Parts) -> Option<Checked> {
        let mut named = read.clone();
        let mut renamed = BTreeMap::new();
        for agent in &mut named.gateway.agents {
            if agent.is_made() {
                let given = self.0.entry(agent.name.clone()).or_default();
                let names = [Some(&agent.cluster), agent.websocket_cluster.as_ref()];
                let made_of = made_of(names.into_iter().flatten(), parts);
                let number = given.number(&agent.cluster, &agent.name, made_of);
                let clusters = [Some(&mut agent.cluster), agent.websocket_cluster.as_mut()];
                for cluster in clusters.into_iter().flatten() {
                    let name = numbered(cluster, &agent.name, number);
                    renamed.insert(std::mem::replace(cluster, name.clone()), name);
                }
            }
            if let Some(picker) = &mut agent.picker {
                self.name_service(&mut picker.cluster, parts, &mut renamed);
            }
            let given = self
                .0
                .get(&agent.name)
                .map_or(&[][..], |given| &given.known);
            let former = given.iter().map(|it| &it.cluster);
            let former = former.filter(|name| **name != agent.cluster);
            agent.former = former.cloned().collect();
        }
        let validator = named.gateway.validator.as_mut();
        let limiter = named.gateway.limiter.as_mut();
        let services = [
            validator.map(|it| &mut it.cluster),
            limiter.map(|it| &mut it.cluster),
        ];
        for cluster in services.into_iter().flatten() {
            self.name_service(cluster, parts, &mut renamed);
        }
        renamed.retain(|plain, name| plain != name);
        if renamed.is_empty() && named.gateway.agents == read.gateway.agents {
            return None;
        }
        for patch in &mut named.gateway.patches {
            patch.rename(&renamed);
        }
        derive::rename(&mut named.document.0, &named.gateway);
        Some(named)
    }

    /// The same for a cluster that is called after itself.
    fn name_service(
        &mut self,
        cluster: &mut String,
        parts: &Parts,
        renamed: &mut BTreeMap<String, String>,
    ) {
        let plain = cluster.clone();
        let given = self.0.entry(plain.clone()).or_default();
        let made_of = made_of(std::iter::once(&plain), parts);
        *cluster = numbered(&plain, &plain, given.number(&plain, &plain, made_of));
        renamed.insert(plain, cluster.clone());
    }
}

// === impl Given ===

impl Given {
    /// The number of clusters that are made of that: `plain` is called after `agent`.
    fn number(&mut self, plain: &str, agent: &str, made_of: u64) -> u64 {
        let known = self.known.iter().position(|it| it.made_of == made_of);
        let known = match known {
            Some(place) => self.known.remove(place),
            None => {
                self.last += 1;
                Known {
                    number: self.last,
                    made_of,
                    cluster: numbered(plain, agent, self.last),
                }
            }
        };
        let number = known.number;
        self.known.push(known);
        let surplus = self.known.len().saturating_sub(REMEMBERED);
        self.known.drain(..surplus);
        number
    }
}

/// The name of a cluster that is called after an agent, or after itself, under a number; the first has none.
fn numbered(plain: &str, agent: &str, number: u64) -> String {
    match plain.strip_prefix(agent) {
        Some(end) if number > 1 => format!("{agent}{NUMBER}{number}{end}"),
        _ => plain.to_owned(),
    }
}

/// Another number for clusters that are another.
fn made_of<'n>(names: impl Iterator<Item = &'n String>, parts: &Parts) -> u64 {
    let mut hasher = DefaultHasher::new();
    for name in names {
        let cluster = parts.clusters.get(name).map(ToString::to_string);
        (name, cluster).hash(&mut hasher);
    }
    hasher.finish()
}
