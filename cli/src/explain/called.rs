//! What a request calls, where its route carries MCP or A2A.

use std::rc::Rc;

use waykeeper::config::policy::Route;
use waykeeper::routing::{Asked, Call, MessageMembers, Messages, Path};

use super::found::Meeting;

impl Meeting<'_> {
    /// Each of its messages.
    pub(super) fn called(&self, route: &Route) -> Vec<Call> {
        let block = &self.arrived.block;
        let needed = block.get(":method") == Some(b"POST");
        let members = if route.mcp.is_some() {
            Rc::default()
        } else if route.a2a.is_some() {
            let path = block.get(":path").unwrap_or_default();
            let asked = Path::read(path).map(|path| {
                let rewritten = path.rewritten(&route.prefix, route.prefix_rewrite.as_deref());
                Asked::read(block, &path, rewritten.as_deref())
            });
            match asked {
                Ok(Asked::Message) => Rc::new(MessageMembers::of_a2a()),
                Ok(Asked::Card | Asked::CardToSome | Asked::Other) | Err(_) => return Vec::new(),
                Ok(by_path) => {
                    let call = |method: &str| Call {
                        method: Some(method.into()),
                        tool: None,
                    };
                    return by_path.methods().map(call).collect();
                }
            }
        } else {
            return Vec::new();
        };
        let mut messages = Messages::new(&members, block, route.max_scan, needed);
        messages.feed(self.arrived.body.as_deref().unwrap_or_default());
        messages.end();
        let called = messages.called();
        called.map_or_else(Vec::new, |called| called.messages.clone())
    }

    /// The same in words.
    pub(super) fn calls(&self, route: &Route) -> Vec<String> {
        let called = self.called(route);
        let words = called.iter().map(|call| match (&call.method, &call.tool) {
            (_, Some(tool)) => format!("the tool {tool}"),
            (Some(method), None) => format!("the method {method}"),
            (None, None) => "nothing: it is an answer".to_owned(),
        });
        words.collect()
    }
}
