//! Envoy's routes for requests that the filter has decided on: how long they let these be silent, and what they show to agents.

use std::io;
use std::time::Duration;

use waykeeper::config::policy::Route;
use waykeeper::config::{self, Policy};
use waykeeper::routing::PROOF;

use super::{Line, Report};
use crate::decided::{self, Decided};
use crate::find::Configuration;

/// A bound of a route's that Envoy's own must not fall short of.
struct Bound {
    field: &'static str,
    of: fn(&Route) -> Option<Duration>,
    /// What Envoy's does if it is shorter.
    otherwise: &'static str,
}

const SILENCE: Bound = Bound {
    field: "idle_timeout",
    of: |route| route.idle_timeout,
    otherwise: "ends its silent streams before",
};
/// An agent may be silent for as long as its whole answer may take.
const WHOLE: Bound = Bound {
    field: "timeout",
    of: |route| route.timeout,
    otherwise: "ends requests whose agent is silent for longer",
};

impl Report<'_> {
    /// Compares how long agents may be silent with what Envoy lets them, and looks whether they are shown the proof.
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
            let bounds: &[Bound] = match of_envoy.kind {
                "http" => &[SILENCE, WHOLE],
                _ => &[SILENCE],
            };
            for Bound {
                field,
                of,
                otherwise,
            } in bounds
            {
                let taking = policy.routes.iter();
                let taking = taking.filter(|route| decided::kind(route) == of_envoy.kind);
                let mut bounded = taking.filter_map(|route| Some((route, of(route)?)));
                if let Some((route, time)) = bounded.find(|(_, time)| *time > idle) {
                    self.warning(
                        configuration.line_of(&["routes"]),
                        format_args!(
                            "the {field} {} of the route {:?} is longer than the idle_timeout {} for kind {} at {}, which \
                             {otherwise}",
                            config::show_duration(time),
                            route.name,
                            config::show_duration(idle),
                            of_envoy.kind,
                            Line(file, of_envoy.line_of_idle),
                        ),
                    )?;
                }
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
}
