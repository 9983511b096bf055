//! For how long Envoy lets requests be silent, and how much of those it holds that are not decided on: no less than what the filter
//! allows them.

use std::time::Duration;

use serde_json::{Value as Json, json};
use waykeeper::config::Policy;
use waykeeper::config::policy::{BodyEdit, Part, Protocol, Route, Sticky, Template};

/// The idle times of requests that are decided on, unless a route allows for more.
const IDLE_OF_STREAMS: Duration = Duration::from_secs(3_600);
const IDLE_OF_HTTP: Duration = Duration::from_secs(600);
/// Of those that wait for the validator: so much longer than that may take, and not less than that much.
const IDLE_BEYOND_VALIDATOR: Duration = Duration::from_secs(2);
/// The same of those that wait for a place among the requests in flight, or for several servers.
const IDLE_BEYOND_WAIT: Duration = Duration::from_secs(4);
const IDLE_OF_UNDECIDED: Duration = Duration::from_secs(3);
/// A sender may pause for so long in a body that is collected.
pub(crate) const PAUSE: Duration = Duration::from_secs(15);
/// What is held of a body, unless a route collects larger ones.
const BUFFER: u64 = 1 << 20;

/// What a letter may become in JSON, and what a variable stands for at most.
const LONGEST_ESCAPE: usize = 6;
const LONGEST_VARIABLE: usize = 1024;

/// How long requests that are decided on may be silent.
pub(super) fn idle(policy: &Policy) -> Json {
    json!({"streams": seconds(idle_of_streams(policy)), "http": seconds(idle_of_http(policy))})
}

/// How long others may wait, and how much of them is held.
pub(super) fn undecided(policy: &Policy) -> Json {
    json!({"idle": seconds(idle_of_undecided(policy)), "buffer": buffer_of_undecided(policy)})
}

fn idle_of_streams(policy: &Policy) -> Duration {
    let routes = policy.routes.iter();
    let longest = routes.filter_map(|route| route.idle_timeout).max();
    // The filter keeps the route's own time, to the second.
    longest.map_or(IDLE_OF_STREAMS, |idle| {
        IDLE_OF_STREAMS.max(idle + Duration::from_secs(5))
    })
}

/// An agent may be silent for as long as its whole answer may take.
fn idle_of_http(policy: &Policy) -> Duration {
    let routes = policy.routes.iter();
    let http = routes.filter(|route| route.protocol == Protocol::Http);
    let longest = http.filter_map(|route| route.timeout).max();
    longest.unwrap_or_default().max(IDLE_OF_HTTP)
}

/// How long a request may wait for a decision, if nothing moves meanwhile.
pub(crate) fn idle_of_undecided(policy: &Policy) -> Duration {
    let asked = policy.clients.validator.as_ref();
    let asked = asked.map_or(Duration::ZERO, |validator| {
        validator.timeout + IDLE_BEYOND_VALIDATOR
    });
    // A share, and then one question about all that is not shared out.
    let counted = policy.fleet.as_ref();
    let counted = counted.map_or(Duration::ZERO, |fleet| fleet.timeout.saturating_mul(2));
    let asked = match counted {
        Duration::ZERO => asked,
        counted => asked.max(IDLE_BEYOND_VALIDATOR) + counted,
    };
    // The filter keeps that by its ticks of a second.
    let queued = match policy.longest_wait() {
        Duration::ZERO => Duration::ZERO,
        wait => wait + IDLE_BEYOND_WAIT,
    };
    // So it does with what several servers are asked.
    let of_servers = policy.routes.iter().filter(|it| it.of_servers().is_some());
    let slowest = of_servers
        .map(|route| route.patience() + IDLE_BEYOND_WAIT)
        .max();
    let collects = policy.routes.iter().any(|route| route.collect_body);
    // The filter goes on without what keeps a request together with others before that.
    let looks = Sticky::all(policy).any(Sticky::asks_body);
    let pause = if collects || looks {
        PAUSE
    } else {
        Duration::ZERO
    };
    let longest = IDLE_OF_UNDECIDED.max(asked).max(queued).max(pause);
    longest.max(slowest.unwrap_or_default())
}

/// What a route collects has to fit; `hold` bounds what all of them hold.
pub(super) fn buffer_of_undecided(policy: &Policy) -> u64 {
    let held = policy.clients.hold.collected;
    let collecting = policy.routes.iter().filter(|route| route.collect_body);
    let sizes =
        collecting.filter_map(|route| Some(route.max_body?.min(held) + growth(policy, route)));
    let largest = sizes.max().unwrap_or_default();
    largest.clamp(BUFFER, u64::from(u32::MAX))
}

/// By how much a body grows at most in which the route sets members, and whose model is called by another name.
fn growth(policy: &Policy, route: &Route) -> u64 {
    let agents = route.all_agents().filter_map(|id| policy.agents.get(id.0));
    let models = agents.flat_map(|agent| &agent.models);
    let renamed = models.filter_map(|model| model.sent_as.as_ref());
    let stood_for = policy.model_aliases.iter().map(|(_, model)| model);
    let names = renamed.chain(stood_for).map(String::len);
    let longest = names.max().unwrap_or_default() * LONGEST_ESCAPE;
    let part = |part: &Part| match part {
        Part::Text(text) => text.len() * LONGEST_ESCAPE,
        Part::Variable(_) => LONGEST_VARIABLE,
    };
    let edits = route.edits.iter().flat_map(|edits| &edits.body);
    let sizes = edits.map(|(pointer, edit)| {
        let value: usize = match edit {
            BodyEdit::Text(Template(parts)) => parts.iter().map(part).sum(),
            BodyEdit::Json(value) => value.len(),
            BodyEdit::Remove => 0,
        };
        (2 * pointer.len() * LONGEST_ESCAPE + value) as u64
    });
    longest as u64 + sizes.sum::<u64>()
}

/// As Envoy's files write durations.
pub(super) fn seconds(duration: Duration) -> String {
    let millis = duration.subsec_millis();
    if millis == 0 {
        return format!("{}s", duration.as_secs());
    }
    let fraction = format!("{millis:03}");
    format!("{}.{}s", duration.as_secs(), fraction.trim_end_matches('0'))
}
