//! What Envoy does about requests that nobody has decided on: for how long they may wait, and how much of them is held.

use std::io;
use std::time::Duration;

use waykeeper::config::policy::Route;
use waykeeper::config::{self, Policy};
use waykeeper::routing::Rules;

use super::{Line, Report};
use crate::find::Configuration;
use crate::gateway::{self, PAUSE};
use crate::routes::Undecided;
use crate::yaml::Value;

/// What the filter measures waits by.
const TICK: Duration = Duration::from_secs(1);

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

/// The routes whose agents may be chosen by bodies.
fn asking(policy: &Policy) -> impl Iterator<Item = &Route> {
    let asks = |route: &&Route| {
        let rules = Rules::new(policy, route);
        rules.is_some_and(|rules| rules.wanted().is_some())
    };
    policy.routes.iter().filter(asks)
}

/// The routes whose agents get whole bodies only.
fn collecting(policy: &Policy) -> impl Iterator<Item = &Route> {
    policy.routes.iter().filter(|route| route.collect_body)
}

impl Report<'_> {
    /// Looks whether Envoy shows bodies to the filter, where a route collects them: else each request with a body waits for
    /// an end that never comes.
    pub(super) fn check_bodies(&mut self, policy: &Policy, documents: &[Value]) -> io::Result<()> {
        let collects = collecting(policy)
            .next()
            .map(|route| (route, "collects bodies"));
        let asks = || {
            asking(policy)
                .next()
                .map(|route| (route, "chooses agents by bodies"))
        };
        let Some((route, does)) = collects.or_else(asks) else {
            return Ok(());
        };
        for line in documents.iter().flat_map(blind_plugins) {
            self.fault(
                line,
                format_args!(
                    "the route {:?} {does}, which Envoy shows the filter only with allow_on_headers_stop_iteration: \
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
            self.check_queue(policy, route, file, configuration)?;
            self.check_pause(policy, route, file, configuration)?;
            self.check_buffer(policy, route, file, configuration)?;
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

    /// How long a request may wait for places among those in flight.
    fn check_queue(
        &mut self,
        policy: &Policy,
        undecided: &Undecided,
        file: &str,
        configuration: &Configuration<'_>,
    ) -> io::Result<()> {
        let wait = policy.longest_wait();
        let ends = |idle: &Duration| !wait.is_zero() && *idle <= wait + TICK;
        let Some(idle) = undecided.idle_timeout.filter(ends) else {
            return Ok(());
        };
        let place = Line(file, undecided.line);
        self.fault(
            configuration.line(),
            format_args!(
                "a request may wait {} for places among those in flight, and a second more; the idle_timeout {} at {place} ends it \
                 before, as a timeout of the agent; write {} or more",
                config::show_duration(wait),
                config::show_duration(idle),
                config::show_duration(gateway::idle_of_undecided(policy)),
            ),
        )
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
        for route in asking(policy).filter(|route| route.max_scan > buffer) {
            self.warning(
                configuration.line(),
                format_args!(
                    "the route {:?} chooses agents by up to {} of a body, of which Envoy does not hold more than the \
                     request_body_buffer_limit {shown} at {place}: what has not chosen by then is refused with 413 or 408",
                    route.name,
                    config::show_size(route.max_scan),
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
}
