//! What clients will ask for beside what routes were made for, and no route serves.

use std::collections::BTreeSet;
use std::fmt;

use waykeeper::config::Policy;
use waykeeper::routing::{Path, RouteTable};

/// What OpenAI's clients post, and what they ask for beside it.
const CHAT: &str = "/chat/completions";
const MODELS: &str = "/models";

/// A line each; nothing if all is served.
pub(crate) struct Unserved<'p>(pub(crate) &'p Policy);

impl fmt::Display for Unserved<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unserved(policy) = self;
        let table = RouteTable::new(&policy.routes);
        let endpoint = policy.models_endpoint.as_ref();
        let is_served = |path: &String| {
            let of_gateway = endpoint.is_some_and(|it| it.path == *path);
            let path = Path::read(path.as_bytes());
            of_gateway || path.is_ok_and(|path| table.find(&path, b"GET").is_ok())
        };
        let bases = policy.routes.iter();
        let bases = bases.filter_map(|route| route.prefix.strip_suffix(CHAT));
        let asked: BTreeSet<String> = bases.map(|base| format!("{base}{MODELS}")).collect();
        for path in asked.iter().filter(|path| !is_served(path)) {
            write!(
                formatter,
                "\n  OpenAI's clients also ask for GET {path}, which no route serves"
            )?;
        }
        Ok(())
    }
}
