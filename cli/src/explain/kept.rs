//! What keeps a request together with others: at one agent of its route, and at one host of its agent.

use waykeeper::config::policy::{Route, Sticky};
use waykeeper::config::show_size;
use waykeeper::host::HeaderBlock;
use waykeeper::routing::{
    Known, Look, Path, Sought, context_in_path, in_path, sticky_value, task_in_path,
};

use super::caller::{Caller, How};
use super::found::Meeting;

/// What a request has in common with others: its body is looked through once, whatever the route and its agents are sticky by.
pub(super) struct InCommon<'m> {
    headers: &'m HeaderBlock,
    caller: &'m Caller,
    path: &'m [u8],
    /// The path as an agent gets it, where that is another.
    rewritten: Option<Vec<u8>>,
    look: Option<Look>,
}

/// By which of its ways a request is kept.
pub(super) struct Kept<'s> {
    sticky: &'s Sticky,
    /// One by which it names what somebody has given or has: who that is nobody knows here.
    back: Option<usize>,
    /// The first whose value others have too. It counts where nobody is known to whom the request goes back.
    value: Option<usize>,
    /// That value is known here.
    is_known: bool,
}

impl<'m> InCommon<'m> {
    /// Looked for as the filter does, for all that the route and its agents are sticky by.
    pub(super) fn new(meeting: &Meeting<'m>, route: &Route) -> Self {
        let Meeting {
            policy,
            arrived,
            caller,
            ..
        } = *meeting;
        let path = arrived.block.get(":path").unwrap_or_default();
        let read = Path::read(path).ok();
        let look = Sought::new(policy, route).map(|sought| {
            let mut look = Look::new(&sought, &arrived.block);
            look.feed(arrived.body.as_deref().unwrap_or_default());
            look.end();
            look
        });
        Self {
            headers: &arrived.block,
            caller,
            path,
            rewritten: read
                .and_then(|it| it.rewritten(&route.prefix, route.prefix_rewrite.as_deref())),
            look,
        }
    }

    /// By which of these ways the request is kept: the filter asks them in this order.
    pub(super) fn kept<'s>(&self, sticky: &'s Sticky) -> Kept<'s> {
        let paths = [Some(self.path), self.rewritten.as_deref()];
        let look = self.look.as_ref();
        let found = |said: Option<Known<_>>| matches!(said, Some(Known::Found(_)));
        let mut kept = Kept {
            sticky,
            back: None,
            value: None,
            is_known: true,
        };
        for (place, way) in sticky.ways().iter().enumerate() {
            let mut paths = paths.iter().copied().flatten();
            let is_there = match way {
                Sticky::Response => {
                    let is_named = paths.any(|path| in_path(path).flatten().is_some())
                        || found(look.map(Look::named));
                    kept.back = kept.back.or(is_named.then_some(place));
                    false
                }
                Sticky::Task => {
                    let is_named = paths.any(|path| task_in_path(path).is_some())
                        || context_in_path(self.path).is_some()
                        || found(look.map(Look::task))
                        || found(look.map(Look::context));
                    kept.back = kept.back.or(is_named.then_some(place));
                    false
                }
                Sticky::Client => {
                    kept.is_known =
                        self.caller.client.is_some() && self.caller.how != How::Validator;
                    true
                }
                Sticky::Session(_) => false,
                Sticky::Body(pointer) => found(look.map(|look| look.member(pointer))),
                Sticky::Prompt(most) => found(look.map(|look| look.prompt(*most))),
                Sticky::Header(_) | Sticky::Cookie(_) | Sticky::Query(_) | Sticky::FirstOf(_) => {
                    sticky_value(way, self.headers, self.path)
                        .is_some_and(|value| !value.is_empty())
                }
            };
            if is_there {
                kept.value = Some(place);
                break;
            }
        }
        kept
    }
}

impl Kept<'_> {
    /// Whether all requests like this one go to one place, by what is known of it here.
    pub(super) fn is_at_one(&self) -> bool {
        self.value.is_some() && self.is_known
    }

    /// The same in words; `at`: an agent, or a host of one. `None`: there is only a session of the agent's, and that is told apart.
    pub(super) fn told(&self, at: &str) -> Option<String> {
        let ways = self.sticky.ways();
        if let [Sticky::Session(_)] = ways {
            return None;
        }
        let named = |place: usize| match ways {
            [way] => written(way),
            ways => format!(
                "{} (sticky[{place}])",
                ways.get(place).map(written).unwrap_or_default()
            ),
        };
        let by_value = match self.value {
            Some(place) if self.is_known => format!("kept at one {at} by {}", named(place)),
            Some(place) => format!(
                "kept at one {at} by {}; who calls is not known here",
                named(place)
            ),
            None if self.back.is_some() => "drawn".to_owned(),
            None => format!(
                "drawn: of what keeps requests at one {at} it has none ({})",
                ways.iter().map(written).collect::<Vec<_>>().join(", ")
            ),
        };
        let Some(place) = self.back else {
            return Some(by_value);
        };
        let whose = match ways.get(place) {
            Some(Sticky::Task) => "has the task or the context",
            _ => "has given the answer, or has the conversation,",
        };
        Some(format!(
            "back to the {at} that {whose} which it names, by {}: who that is only the running gateway knows; where it knows nobody, {by_value}",
            named(place)
        ))
    }
}

/// A way, as it is written in the file.
fn written(way: &Sticky) -> String {
    match way {
        Sticky::Header(name) | Sticky::Session(name) => format!("header {name}"),
        Sticky::Cookie(name) => format!("cookie {name}"),
        Sticky::Query(name) => format!("query {name}"),
        Sticky::Client => "client".to_owned(),
        Sticky::Body(pointer) => format!("body {pointer}"),
        Sticky::Prompt(most) => format!("prompt {}", show_size(*most)),
        Sticky::Response => "response".to_owned(),
        Sticky::Task => "task".to_owned(),
        Sticky::FirstOf(_) => String::new(),
    }
}
