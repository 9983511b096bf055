//! The routes that do not take a request, though they might be thought to, and the prefixes of all where none does.

use waykeeper::config::Policy;
use waykeeper::config::policy::RouteId;
use waykeeper::routing::{NoMatch, Path, RouteTable};

use super::explanation::OtherRoute;

/// Routes that take the same path but for their method, or a part of it.
pub(super) fn others(
    policy: &Policy,
    path: &Path<'_>,
    method: &[u8],
    matched: &Result<RouteId, NoMatch>,
) -> Vec<OtherRoute> {
    let mut others = Vec::new();
    for (place, route) in policy.routes.iter().enumerate() {
        if *matched == Ok(RouteId(place)) {
            continue;
        }
        let of_methods = || {
            format!(
                "for {} only",
                route
                    .methods
                    .as_ref()
                    .map(|all| all.join(", "))
                    .unwrap_or_default()
            )
        };
        let alone = RouteTable::new(std::slice::from_ref(route)).find(path, method);
        let why = match (alone, matched) {
            (Ok(_), Ok(_)) => "its prefix is shorter".to_owned(),
            (Ok(_), Err(NoMatch::Method(_))) => {
                "its prefix is shorter than that of the routes for other methods".to_owned()
            }
            (Ok(_), Err(NoMatch::Ambiguous)) => {
                "the path can be read as another route's too".to_owned()
            }
            (Err(NoMatch::Method(_)), _) => of_methods(),
            _ => continue,
        };
        others.push(OtherRoute {
            name: route.name.clone(),
            why,
        });
    }
    others
}

/// What paths routes take, or some of them.
pub(super) fn prefixes(policy: &Policy) -> String {
    const MOST: usize = 8;
    let mut all: Vec<&str> = policy.routes.iter().map(|it| it.prefix.as_str()).collect();
    all.dedup();
    let more = match all.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    all.truncate(MOST);
    format!("the routes' prefixes are {}{more}", all.join(", "))
}
