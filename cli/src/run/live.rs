//! How a file that was found good becomes live, and what is said of that: what is different, or why it is not, and what goes on.

use std::time::Duration;

use tokio::time::Instant;
use waykeeper::config::policy::{Protocol, Tables};

use super::apply::{self, Applied, Cold, Refused, Step, Waits};
use super::bound::{Bound, cannot_listen};
use super::setting::{Loaded, Setting};
use super::watch::Watch;
use super::{changes, patched, say};
use crate::gateway::{self, Checked};

/// What a callout may take beyond its time until its request has moved on.
const MARGIN: Duration = Duration::from_secs(2);

/// When what could not be done is tried again.
const ON_CHANGE: &str = "when the file changes";
const SOON: &str = "every few seconds";
const TRIED_AGAIN: &str = "The change is tried again";

/// A gateway that is not live for a reason that may pass, which has been told.
pub(super) struct Owed {
    pub(super) loaded: Loaded,
    /// In lines.
    pub(super) said: Vec<String>,
}

// === impl Setting ===

impl Setting<'_> {
    /// Makes a gateway live, or the one after it, if the file changes meanwhile. Gives back one that is to be tried again; what
    /// was said of it before is not said again. `tables` have been in force since the start.
    ///
    /// # Errors
    /// If it is the first and cannot be made live: why, in lines.
    pub(super) async fn change(
        &self,
        applied: &mut Applied,
        watch: &mut Watch,
        bound: &mut Bound,
        current: &mut Option<Loaded>,
        tables: &Tables,
        (mut new, said_before): (Loaded, Option<Vec<String>>),
    ) -> Result<Option<Owed>, Vec<String>> {
        let name = &self.name;
        let first = current.is_none();
        // Of the first file they were looked at before Envoy was started.
        let mut free = first;
        loop {
            if !free && let Err(said) = bound.free(&new.listens, Instant::now()) {
                if first {
                    return Err(said);
                }
                // What this one was to take the place of may be in force in part.
                let goes_on = self.take_back(applied, SOON).await;
                if said_before.as_ref() != Some(&said) {
                    said.iter().for_each(|line| say(line));
                    self.tell_of_rest(current.as_ref(), &new);
                    say(&format!("{name}: {goes_on}. {TRIED_AGAIN} {SOON}"));
                }
                return Ok(Some(Owed { loaded: new, said }));
            }
            let waits = waits(&current.as_ref().unwrap_or(&new).checked);
            let meanwhile = async || {
                loop {
                    watch.changed().await;
                    if let Ok(newer) = self.read(Some(&new), true, watch).await {
                        return newer;
                    }
                }
            };
            match applied.apply(&new.parts, waits, meanwhile).await {
                Ok(Step::Superseded(newer)) => {
                    new = newer;
                    free = false;
                }
                Ok(Step::Live { cold }) => {
                    for cold in cold {
                        tell_of_cold(&new.checked, &cold);
                    }
                    let took = new.since.elapsed().as_secs_f64();
                    match current.as_ref() {
                        None => self.greet(&new.checked, took),
                        Some(before) => {
                            let changes = changes::changes(before, &new);
                            let sizes = before.checked.policy.tables != new.checked.policy.tables;
                            match changes.as_str() {
                                // Which are not live.
                                "" if sizes => {}
                                "" => say(&format!(
                                    "{name}: again what it was before; live in {took:.2} s"
                                )),
                                changes => say(&format!("{name}: {changes}; live in {took:.2} s")),
                            }
                            if sizes {
                                self.tell_of_sizes(new.checked.policy.tables == *tables);
                            }
                            self.tell_of_restart(before, &new, applied);
                        }
                    }
                    bound.live(&new.listens, Instant::now());
                    let leaving = applied.leaving_clusters();
                    self.credentials
                        .only(&new.parts.kept, &new.checked, &leaving);
                    *current = Some(new);
                    // However fast one change follows another.
                    self.let_go(applied).await;
                    return Ok(None);
                }
                Err(refused) if first => return Err(self.told(None, &new, &refused)),
                Err(refused) => {
                    let said = self.told(current.as_ref(), &new, &refused);
                    if said_before.as_ref() != Some(&said) {
                        said.iter().for_each(|line| say(line));
                        if self.of_addresses(&new, &refused).is_some() {
                            self.tell_of_rest(current.as_ref(), &new);
                        }
                    }
                    let may_pass = refused.may_pass();
                    let again = if may_pass { SOON } else { ON_CHANGE };
                    let goes_on = self.take_back(applied, again).await;
                    bound.refused(&new.listens, Instant::now());
                    if said_before.as_ref() != Some(&said) {
                        let tried = match may_pass && applied.whole() {
                            true => format!(". {TRIED_AGAIN} {again}"),
                            false => String::new(),
                        };
                        say(&format!("{name}: {goes_on}{tried}"));
                    }
                    return Ok(may_pass.then_some(Owed { loaded: new, said }));
                }
            }
        }
    }

    /// Why a gateway is not live, in lines.
    fn told(&self, before: Option<&Loaded>, new: &Loaded, refused: &Refused) -> Vec<String> {
        if let Some(of_addresses) = self.of_addresses(new, refused) {
            return of_addresses;
        }
        let of_patches = patched::told(&self.name, before, new, refused);
        if of_patches.is_empty() {
            let why = new.checked.environment.hidden(&refused.to_string());
            return vec![format!("{}: {why}", self.name)];
        }
        of_patches
    }

    /// The same of addresses on which Envoy cannot listen.
    fn of_addresses(&self, new: &Loaded, refused: &Refused) -> Option<Vec<String>> {
        match refused {
            Refused::ByEnvoy { said, .. } => cannot_listen(&new.listens, said),
            _ => None,
        }
    }

    /// What else waits for an address on which Envoy cannot listen.
    fn tell_of_rest(&self, before: Option<&Loaded>, new: &Loaded) {
        let rest = before.map(|before| changes::beside_listeners(before, new));
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            say(&format!(
                "{}: nothing of this change is live yet, also not: {rest}; take that address out to have the rest now",
                self.name
            ));
        }
    }

    /// Puts what is live in force again, and tells how far that came, and when the rest is tried `again`.
    async fn take_back(&self, applied: &mut Applied, again: &str) -> String {
        if applied.whole() {
            return "what runs goes on".to_owned();
        }
        let left = applied.take_back().await;
        if left.is_empty() {
            return "all is again as it was before; what runs goes on".to_owned();
        }
        let left = left.iter().map(Refused::in_a_list);
        let left = left.collect::<Vec<_>>().join(", ");
        format!(
            "this could not be put back: {left}; it is tried again {again}, all else goes on as before"
        )
    }

    fn greet(&self, checked: &Checked, took: f64) {
        let listeners = checked.gateway.listeners.iter().map(|listener| {
            let scheme = if listener.tls.is_some() {
                "https"
            } else {
                "http"
            };
            format!("{scheme}://{}", listener.address)
        });
        let listeners: Vec<String> = listeners.collect();
        say(&format!(
            "{} is served at {} by Envoy {}, live in {took:.2} s; changes of the file are followed. Envoy's admin interface: {}",
            self.name,
            listeners.join(", "),
            self.program.version,
            self.socket,
        ));
        if let Some(address) = checked.gateway.operations {
            say(&format!("metrics: http://{address}/stats/prometheus"));
        }
    }

    /// What becomes of the sizes of tables that were changed in the file.
    fn tell_of_sizes(&self, in_force: bool) {
        let what = match in_force {
            true => "are again as they were at the start, and in force",
            false => "keep their sizes until this is started again",
        };
        say(&format!("{}: `tables` {what}", self.name));
    }

    /// What is live only after a restart.
    fn tell_of_restart(&self, before: &Loaded, new: &Loaded, applied: &Applied) {
        let name = &self.name;
        if applied.parts().bootstrap != new.parts.bootstrap
            && before.parts.bootstrap != new.parts.bootstrap
        {
            say(&format!(
                "{name}: what stands in Envoy's bootstrap has changed too; that is live once this is started again"
            ));
        }
    }

    pub(super) async fn let_go(&self, applied: &mut Applied) {
        if let Err(refused) = applied.let_go().await {
            say(&refused.to_string());
        }
        self.credentials.let_go(&applied.leaving_clusters());
    }
}

/// For how long requests may go by a policy that is no longer in force.
fn waits(checked: &Checked) -> Waits {
    let policy = &checked.policy;
    let asked = policy.clients.validator.as_ref();
    let asked = asked.map_or(Duration::ZERO, |validator| validator.timeout + MARGIN);
    let collects = policy.routes.iter().filter(|route| route.collect_body);
    let collected = collects
        .map(|route| route.body_timeout)
        .max()
        .unwrap_or_default();
    // As long as Envoy lets undecided ones live, which is longer.
    let idle = gateway::idle_of_undecided(policy);
    let tried = policy
        .routes
        .iter()
        .filter_map(|route| match route.protocol {
            Protocol::Http => route.timeout,
            _ => route.first_byte_timeout,
        });
    // Who is decided on and still asked about at a picker is nowhere under way to the agent.
    let pickers = (checked.gateway.agents.iter()).filter_map(|agent| agent.picker.as_ref());
    let picked = pickers.map(|picker| picker.timeout).max();
    Waits {
        undecided: idle.max(asked + collected) + picked.unwrap_or_default(),
        tried: tried.max().unwrap_or_default(),
    }
}

fn tell_of_cold(checked: &Checked, cold: &Cold) {
    let whom = checked.gateway.whom(&cold.cluster);
    let meanwhile = match cold.former {
        true => "its requests go where they went before the change",
        false => whom.lost(),
    };
    say(&format!(
        "{whom}: is not ready after {} s: its name has not been looked up, or a host has not said whether it is well. Until then \
         {meanwhile}; all else is live",
        apply::WARMS.as_secs()
    ));
}
