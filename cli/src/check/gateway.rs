//! What is said of a `gateway.yaml`, in which the filter's configuration and what Envoy needs stand together.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

use waykeeper::config::{Fault, Policy};

use super::elsewhere::Kind;
use super::hints::hint;
use super::{Against, Line, Report, name_of};
use crate::Outcome;
use crate::decided;
use crate::doubts;
use crate::find::{self, Configuration};
use crate::gateway::secrets::Weight;
use crate::gateway::{self, Admin, Agent, Around, Checked, EnvoyVersion, Gateway, Whom, Wrong};
use crate::reach::{self, Reached};
use crate::readable::unreadable;
use crate::routes;
use crate::summary::Summary;
use crate::target;
use crate::yaml::{self, Value};

/// Where a gateway is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// On this machine: its secrets are here.
    Here,
    /// The same, and at once: what would keep Envoy waiting is a fault.
    Now,
    Elsewhere,
}

/// A file that was read and found good.
pub(crate) struct Good {
    pub(crate) document: Value,
    pub(crate) checked: Checked,
}

/// What a file means, of whatever kind it is.
pub(crate) struct Meant {
    pub(crate) policy: Policy,
    /// The gateway around it, where it is a gateway.yaml.
    pub(crate) checked: Option<Checked>,
}

/// Of a file that holds a gateway and more.
pub(super) const SEVERAL: &str = "holds several documents; a gateway is one";

/// What patches are in, where a line is told of it.
const PATCHED: &str = "the patched envoy.yaml";

/// Reads the file of a gateway that is to run now, and tells what is wrong with it; then there is only an outcome.
pub(crate) fn gateway(file: &Path) -> io::Result<Result<Good, Outcome>> {
    // It may be written later, but then nothing would tell that.
    if let Some(wrong) = unreadable(file) {
        writeln!(io::stderr().lock(), "waykeeper: {} {wrong}", name_of(file))?;
        return Ok(Err(Outcome::Unusable));
    }
    gateway_for(file, Where::Now, |document, checked| {
        Ok(Good {
            document: document.clone(),
            checked: checked.clone(),
        })
    })
}

/// The same for what is made of it, and may be wrong with more.
pub(crate) fn gateway_for<T>(
    file: &Path,
    place: Where,
    make: impl FnOnce(&Value, &Checked) -> Result<T, Vec<Fault>>,
) -> io::Result<Result<T, Outcome>> {
    let name = name_of(file);
    let (mut output, mut errors) = (io::stdout().lock(), io::stderr().lock());
    let mut report = Report::of(&name, &mut output, &mut errors);
    let documents = match report.documents(file)? {
        Ok(documents) => documents,
        Err(bad) => return Ok(Err(bad)),
    };
    let [document] = documents.as_slice() else {
        report.fault(1, SEVERAL)?;
        return Ok(Err(Outcome::Faulty));
    };
    let Some(checked) = report.read_gateway(document, place)? else {
        return Ok(Err(Outcome::Faulty));
    };
    // Where it is to run now Envoy has the last word, once files are followed that may yet fit.
    if report.faults > 0 && place != Where::Now {
        return Ok(Err(Outcome::Faulty));
    }
    if place == Where::Now {
        report.warn_of_elsewhere(document, &checked)?;
    }
    match make(document, &checked) {
        Ok(made) => Ok(Ok(made)),
        Err(faults) => {
            for fault in &faults {
                report.fault(document.line_at(&fault.positions), fault)?;
            }
            Ok(Err(Outcome::Faulty))
        }
    }
}

/// Reads the one configuration in a file. Of a file with faults all is told, of a good one nothing.
pub(crate) fn meant(file: &Path) -> io::Result<Result<Meant, Outcome>> {
    let name = name_of(file);
    let (mut output, mut errors) = (io::sink(), Vec::new());
    let mut report = Report::of(&name, &mut output, &mut errors);
    let meant = match report.documents(file)? {
        Ok(documents) => report.meant(&documents)?,
        Err(bad) => Err(bad),
    };
    if meant.is_err() {
        io::stderr().lock().write_all(&errors)?;
    }
    Ok(meant)
}

impl Report<'_> {
    fn meant(&mut self, documents: &[Value]) -> io::Result<Result<Meant, Outcome>> {
        if documents.iter().any(gateway::is_gateway) {
            let [document] = documents else {
                self.fault(1, SEVERAL)?;
                return Ok(Err(Outcome::Faulty));
            };
            let checked = self.read_gateway(document, Where::Elsewhere)?;
            let meant = checked.map(|checked| Meant {
                policy: checked.policy.clone(),
                checked: Some(checked),
            });
            return Ok(meant.ok_or(Outcome::Faulty));
        }
        let found = find::configurations(documents);
        for (line, message) in &found.faults {
            self.fault(*line, message)?;
        }
        let [configuration] = found.configurations.as_slice() else {
            if found.faults.is_empty() {
                let count = found.configurations.len();
                self.fault(
                    1,
                    format_args!(
                        "holds {count} configurations; give a file with the one that is meant"
                    ),
                )?;
            }
            return Ok(Err(Outcome::Faulty));
        };
        match configuration.read() {
            Ok(policy) if self.faults == 0 => Ok(Ok(Meant {
                policy,
                checked: None,
            })),
            read => {
                if let Err(faults) = &read {
                    self.tell(faults, configuration)?;
                }
                Ok(Err(Outcome::Faulty))
            }
        }
    }

    /// Checks a gateway as its own command would, and says what it amounts to.
    pub(super) fn check_gateway(
        &mut self,
        document: &Value,
        against: Against<'_>,
    ) -> io::Result<()> {
        let Against {
            envoy,
            target,
            probe,
            judge,
        } = against;
        let before = self.faults;
        let checked = self.read_gateway(document, Where::Here)?;
        // Of the clusters those that are written elsewhere.
        if let Some(envoy) = envoy {
            self.check_clusters(None, envoy, &Configuration::Fields(document))?;
        }
        let Some(checked) = checked else {
            return Ok(());
        };
        if envoy.is_none() {
            self.warn_of_elsewhere(document, &checked)?;
        }
        for message in target::faults(target, &checked.policy) {
            self.fault(document.line, &message)?;
        }
        self.check_patched(document, &checked)?;
        self.check_by_envoy(document, &checked, against)?;
        // What is reached is told below what it amounts to, so all of it waits for what may be wrong yet.
        let reached = match probe {
            true => {
                let reached = self.reach_services(document, &checked)?;
                self.warn_of_cards(document, &checked.policy, &checked.gateway)?;
                Some(reached)
            }
            false => None,
        };
        if self.faults == before && !self.around {
            let place = Line(self.file, document.line);
            let validator = checked.gateway.validator.as_ref();
            let summary = Summary {
                policy: &checked.policy,
                asked_at: validator.map(|it| checked.environment.hidden(&it.url.to_string())),
            };
            self.stops |= gateway::secrets::keep_all_from_envoy(&checked.gateway);
            let stops = match self.stops {
                true => ", but `waykeeper run` does not start here with it: see the warnings",
                false => "",
            };
            writeln!(self.output, "{place}: good{stops}\n{summary}")?;
            self.tell_derived(&checked.gateway)?;
            self.tell_judge(judge)?;
        }
        write!(self.output, "{}", reached.unwrap_or_default())
    }

    /// Looks whether patches have Envoy end requests at other times than the file says. What has none fits by itself.
    fn check_patched(&mut self, document: &Value, checked: &Checked) -> io::Result<()> {
        if checked.gateway.patches.is_empty() {
            return Ok(());
        }
        let around = Around {
            source: "gateway.yaml",
            module: "",
            directory: "",
            admin: Admin::Loopback,
            builtin: Some(""),
            envoy: EnvoyVersion::default(),
        };
        let rendered = gateway::render(checked, around).map_err(io::Error::other)?;
        // Nobody has that file, and so none of its lines.
        let documents = yaml::parse(&rendered.envoy).unwrap_or_default();
        let documents: Vec<Value> = documents.iter().map(|it| it.node().into()).collect();
        // Each listener has the same routes.
        let mut seen = HashSet::new();
        let mut decided = decided::decided(&documents);
        decided.retain(|it| seen.insert((it.kind, it.idle_timeout)));
        let mut seen = HashSet::new();
        let mut undecided = routes::undecided(&documents);
        undecided.retain(|it| seen.insert((it.idle_timeout, it.buffer)));
        let (policy, of_file) = (&checked.policy, Configuration::Fields(document));
        self.check_decided(policy, &decided, PATCHED, &of_file)?;
        self.check_undecided(policy, &undecided, PATCHED, &of_file)
    }

    /// Looks whether the agents, and all others that are asked, can be reached from here, and tells what those have answered that
    /// can; the others are faults.
    fn reach_services(&mut self, document: &Value, checked: &Checked) -> io::Result<String> {
        let mut told = String::new();
        let (gateway, environment) = (&checked.gateway, &checked.environment);
        let upstreams = gateway.upstreams();
        let (all, upstreams): (Vec<_>, Vec<_>) = upstreams
            .map(|(_, whom, upstream)| (whom, upstream))
            .unzip();
        for Reached {
            index,
            url,
            outcome,
        } in reach::reach_all(&upstreams)?
        {
            let path = all.get(index).map_or_else(Vec::new, Whom::path);
            let name = path.join(".");
            match outcome {
                Ok(answer) => {
                    let line = environment.hidden(&format!("{url} {answer}"));
                    told.push_str(&format!("  {name}: {line}\n"));
                }
                Err(wrong) => {
                    let why = environment.hidden(&format!("{url}: {wrong}"));
                    self.fault(document.line_of(&path), format_args!("{name}: {why}"))?;
                }
            }
        }
        for agent in gateway
            .agents
            .iter()
            .filter(|it| it.upstream.is_none() && it.builtin.is_none())
        {
            let (name, cluster) = (&agent.name, environment.hidden(&agent.cluster));
            told.push_str(&format!(
                "  agents.{name}: not asked, the cluster {cluster} is written elsewhere\n"
            ));
        }
        Ok(told)
    }

    /// Reads it, and tells all that is wrong or doubtful.
    fn read_gateway(&mut self, document: &Value, place: Where) -> io::Result<Option<Checked>> {
        self.warn_of_yaml(document)?;
        let checked = match gateway::read(document) {
            Ok(checked) => checked,
            Err(Wrong { told, untold }) => {
                for fault in &told {
                    let line = document.line_at(&fault.positions);
                    self.fault(line, format_args!("{fault}{}", hint(fault, Kind::Gateway)))?;
                }
                if untold > 0 {
                    let line = document.line;
                    self.fault(line, format_args!("and {untold} more faults"))?;
                }
                return Ok(None);
            }
        };
        let hidden = |message: &str| checked.environment.hidden(message);
        for (line, message) in doubts::doubts(&checked.policy, document) {
            self.warning(line, hidden(&message))?;
        }
        for (path, message) in gateway::doubts(&checked) {
            self.warning(document.line_of(path), hidden(&message))?;
        }
        let mut stopped = false;
        if place != Where::Elsewhere {
            let keys = &checked.policy.clients.keys;
            let look_up = |name: &str| std::env::var_os(name);
            for doubt in gateway::secrets::doubts(&checked.gateway, keys, &look_up) {
                let fault = Fault {
                    positions: document.positions_at(&doubt.path),
                    path: doubt.path,
                    message: hidden(&doubt.message),
                };
                let line = document.line_at(&fault.positions);
                let now = place == Where::Now;
                match doubt.weight {
                    Weight::Stops if !now => {
                        self.stops = true;
                        self.warning(line, fault)?;
                    }
                    Weight::Doubtful => self.warning(line, fault)?,
                    Weight::Stops | Weight::Wrong => {
                        stopped |= now;
                        self.fault(line, fault)?;
                    }
                    // Where Envoy is to start now, it has the last word, and such files are followed until they fit.
                    Weight::Refused => self.fault(line, fault)?,
                }
            }
        }
        Ok((!stopped).then_some(checked))
    }

    /// Warns of agents whose clusters nothing in the file makes: `waykeeper run` has no others.
    fn warn_of_elsewhere(&mut self, document: &Value, checked: &Checked) -> io::Result<()> {
        let added = gateway::added_clusters(document);
        for agent in &checked.gateway.agents {
            let Agent { name, cluster, .. } = agent;
            if agent.is_made() || added.contains(&cluster.as_str()) {
                continue;
            }
            let line = document.line_of(&["agents", name, "cluster"]);
            let near = waykeeper::config::did_you_mean(cluster, added.iter().copied());
            let cluster = checked.environment.hidden(&format!("{cluster:?}"));
            self.warning(
                line,
                format_args!(
                    "agents.{name}.cluster: nothing in this file makes a cluster {cluster}{near}. Under `waykeeper run` requests for \
                     this agent are answered 503 agent_unreachable, unless `envoy.patches` add it"
                ),
            )?;
        }
        Ok(())
    }

    /// What Envoy will be told that stands nowhere in the file.
    fn tell_derived(&mut self, gateway: &Gateway) -> io::Result<()> {
        writeln!(self.output, "  Envoy:")?;
        for listener in &gateway.listeners {
            let over = if listener.tls.is_some() {
                " over TLS"
            } else {
                ""
            };
            writeln!(self.output, "    listens on {}{over}", listener.address)?;
        }
        if let Some(address) = gateway.operations {
            writeln!(self.output, "    serves metrics and /ready on {address}")?;
        }
        for agent in gateway.agents.iter().filter(|it| it.builtin.is_some()) {
            let name = &agent.name;
            writeln!(
                self.output,
                "    finds {name} where `waykeeper run` serves it, and nowhere without"
            )?;
        }
        if { gateway.limiter.as_ref() }.is_some_and(|it| it.builtin().is_some()) {
            writeln!(
                self.output,
                "    finds the limiter where `waykeeper run` serves it, and nowhere without"
            )?;
        }
        Ok(())
    }
}
