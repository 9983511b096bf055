//! Limits: of plans, of routes, of clients, and those that stand on their own; what they are counted per, and which requests
//! count.

use std::collections::{HashMap, HashSet};

use super::counting::{self, Counting};
use super::document::shown;
use super::names;
use super::policy::{AgentId, Each, KeySource, Limit, Plan, PlanId, Route, Scope, Subject};
use super::reader::{Fields, Spot};
use super::routes::METHODS;
use crate::sort::sort_by;

/// The name under which callers are told of a plan's requests.
const OF_PLAN: &str = "plan";
/// The name under which callers are told of a route's own limit.
const OF_ROUTE: &str = "route";

const MOST_PLANS: usize = 1024;
/// All limits of a request are told in one header.
const MOST_LIMITS: usize = 32;
/// What is remembered of a client must stay small.
const MOST_OWN_LIMITS: usize = 4;
const MOST_SUBJECTS: usize = 4;
/// How many values a condition may have.
const MOST_VALUES: usize = 64;

pub(super) const PLAN_FIELDS: &[&str] = &with::<1, 7>(["limits"]);
pub(super) const RATE_LIMIT_FIELDS: &[&str] = &counting::FIELDS;
pub(super) const LIMIT_FIELDS: &[&str] = &with::<3, 9>(["name", "each", "match"]);
/// The fields of one of a client's own limits.
pub const OWN_LIMIT_FIELDS: &[&str] = &with::<1, 7>(["name"]);
pub(super) const MATCH_FIELDS: &[&str] = &["route", "agent", "method", "plan", "team", "header"];
pub(super) const SUBJECT_FIELDS: &[&str] = &["header"];

/// What can be counted per without saying more.
const SUBJECTS: [(&str, Subject); 8] = [
    ("key", Subject::Key),
    ("client", Subject::Client),
    ("team", Subject::Team),
    ("organisation", Subject::Organisation),
    ("address", Subject::Address),
    ("route", Subject::Route),
    ("agent", Subject::Agent),
    ("plan", Subject::Plan),
];

/// What stands elsewhere in the document, and limits speak of.
pub(super) struct Around<'a> {
    pub(super) key_sources: &'a [KeySource],
    pub(super) plans: &'a HashMap<&'a str, PlanId>,
    pub(super) agents: &'a HashMap<&'a str, AgentId>,
    pub(super) routes: &'a [Route],
}

/// These fields, and those that say how a limit counts.
#[expect(
    clippy::indexing_slicing,
    reason = "it runs while the module is compiled"
)]
const fn with<const MORE: usize, const ALL: usize>(
    more: [&'static str; MORE],
) -> [&'static str; ALL] {
    let mut all = [""; ALL];
    let mut index = 0;
    while index < ALL {
        all[index] = if index < MORE {
            more[index]
        } else {
            counting::FIELDS[index - MORE]
        };
        index += 1;
    }
    all
}

/// The plans as they are written.
pub(super) fn named_plans<'a>(spot: Option<&'a Spot<'_>>) -> Option<Fields<'a>> {
    spot.and_then(|spot| spot.named(MOST_PLANS))
}

/// The names of the plans, in their order.
pub(super) fn plan_names<'a>(named: Option<&Fields<'a>>) -> Vec<&'a str> {
    let named = named.into_iter().flat_map(Fields::iter);
    let mut names: Vec<&str> = named.map(|(name, _)| name).collect();
    sort_by(&mut names, Ord::cmp);
    names
}

/// Where each plan stands.
pub(super) fn by_name<'a>(names: &[&'a str]) -> HashMap<&'a str, PlanId> {
    let places = names.iter().enumerate();
    places.map(|(index, name)| (*name, PlanId(index))).collect()
}

/// The plans in the order of their names. `taken` are the names of limits that stand on their own.
pub(super) fn plans(
    named: Option<&Fields<'_>>,
    around: &Around<'_>,
    taken: &HashSet<String>,
) -> Vec<Plan> {
    let named = named.into_iter().flat_map(Fields::iter);
    let mut plans: Vec<Plan> = named
        .map(|(name, plan)| {
            if let Err(fault) = names::name(name) {
                plan.fault(fault);
            }
            let fields = plan.fields(PLAN_FIELDS);
            let limits = fields.map(|fields| of_plan(&fields, around, taken));
            Plan {
                name: name.to_owned(),
                limits: limits.unwrap_or_default(),
            }
        })
        .collect();
    sort_by(&mut plans, |left, right| left.name.cmp(&right.name));
    plans
}

fn of_plan(fields: &Fields<'_>, around: &Around<'_>, taken: &HashSet<String>) -> Vec<Limit> {
    let mut limits = called_plan(fields);
    if let Some(more) = fields.get("limits") {
        limits.extend(listed(&more, around, &mut taken.clone()));
    }
    limits
}

/// The limit that a plan's own fields make, if they do.
fn called_plan(fields: &Fields<'_>) -> Vec<Limit> {
    let counting = counting::optional(fields).into_iter();
    counting
        .map(|counting| Limit::per_client(OF_PLAN, counting))
        .collect()
}

/// A client's own limits, which it has in place of its plan's.
#[inline(never)]
pub fn own_limits(spot: &Spot<'_>) -> Option<Vec<Limit>> {
    let fields = spot.fields(PLAN_FIELDS)?;
    let mut limits = called_plan(&fields);
    let more = fields.get("limits");
    let mut taken = HashSet::new();
    let items = more.as_ref().and_then(|more| more.list(MOST_OWN_LIMITS));
    for item in items.into_iter().flatten() {
        let Some(fields) = item.fields(OWN_LIMIT_FIELDS) else {
            continue;
        };
        let name = fields.need("name");
        let name = name.and_then(|name| limit_name(&name, &mut taken));
        let counting = counting::needed(&fields);
        if let (Some(name), Some(counting)) = (name, counting) {
            limits.push(Limit::per_client(&name, counting));
        }
    }
    if limits.len() > MOST_OWN_LIMITS {
        spot.fault(format!(
            "{} limits; at most {MOST_OWN_LIMITS} are allowed",
            limits.len()
        ));
    }
    Some(limits)
}

/// Limits that stand on their own, in the order of the document, and their names.
pub(super) fn limits(
    spot: Option<&Spot<'_>>,
    around: &Around<'_>,
) -> (Vec<Limit>, HashSet<String>) {
    let mut taken = HashSet::new();
    let limits = spot.map(|spot| listed(spot, around, &mut taken));
    (limits.unwrap_or_default(), taken)
}

fn listed(spot: &Spot<'_>, around: &Around<'_>, taken: &mut HashSet<String>) -> Vec<Limit> {
    let items = spot.list(MOST_LIMITS).into_iter().flatten();
    items
        .filter_map(|item| {
            let fields = item.fields(LIMIT_FIELDS)?;
            let name = fields.need("name");
            let name = name.and_then(|name| limit_name(&name, taken));
            let each = fields.need("each");
            let each = each.and_then(|spot| self::each(&spot, around));
            let scope = fields.get("match");
            let scope = scope.map_or(Some(Scope::default()), |spot| self::scope(&spot, around));
            let counting = counting::needed(&fields);
            Some(Limit::new(&name?, each?, scope?, counting?))
        })
        .collect()
}

/// A route's own limit.
pub(super) fn rate_limit(spot: &Spot<'_>) -> Option<Limit> {
    let fields = spot.fields(RATE_LIMIT_FIELDS)?;
    let counting = counting::needed(&fields)?;
    let each = Each::new([Subject::Client, Subject::Route]);
    Some(Limit::new(OF_ROUTE, each, Scope::default(), counting))
}

impl Limit {
    fn new(name: &str, each: Each, scope: Scope, counting: Counting) -> Self {
        Self {
            name: name.to_owned(),
            each,
            scope,
            rate: counting.rate,
            algorithm: counting.algorithm,
            warn_at: counting.warn_at,
            enforce: counting.enforce,
        }
    }

    fn per_client(name: &str, counting: Counting) -> Self {
        Self::new(
            name,
            Each::new([Subject::Client]),
            Scope::default(),
            counting,
        )
    }
}

fn limit_name(spot: &Spot<'_>, taken: &mut HashSet<String>) -> Option<String> {
    let name = spot.checked(names::name)?;
    if name == OF_PLAN || name == OF_ROUTE {
        spot.fault(format!(
            "{} is how callers are told of a {name}'s own limit; choose another name",
            shown(name)
        ));
    } else if !taken.insert(name.to_owned()) {
        spot.fault(format!("another limit is already named {}", shown(name)));
    }
    Some(name.to_owned())
}

/// What a limit is counted per: one word, or a list of them.
fn each(spot: &Spot<'_>, around: &Around<'_>) -> Option<Each> {
    if spot.is_text() || spot.is_map() {
        return Some(Each::new([subject(spot, around)?]));
    }
    // Read to the end, so that each word that is none is told.
    let items = spot.list(MOST_SUBJECTS)?;
    let subjects: Vec<_> = items.map(|item| subject(&item, around)).collect();
    let number = subjects.len();
    let each = Each::new(subjects.into_iter().collect::<Option<Vec<_>>>()?);
    if each.subjects().len() < number {
        spot.fault("one of these is written twice");
    }
    Some(each)
}

fn subject(spot: &Spot<'_>, around: &Around<'_>) -> Option<Subject> {
    if !spot.is_map() {
        let words: Vec<(&str, usize)> = SUBJECTS
            .iter()
            .enumerate()
            .map(|(index, (word, _))| (*word, index))
            .collect();
        let index = spot.choice(&words)?;
        return SUBJECTS.get(index).map(|(_, subject)| subject.clone());
    }
    let name = spot.fields(SUBJECT_FIELDS)?.need("header")?;
    header(name.text()?, &name, around).map(Subject::Header)
}

/// The name of a header of callers, in which no key may stand; what is wrong with it is told at `spot`.
fn header(name: &str, spot: &Spot<'_>, around: &Around<'_>) -> Option<String> {
    if let Err(fault) = names::sticky_header(name) {
        spot.fault(fault);
        return None;
    }
    let name = name.to_ascii_lowercase();
    let holds_keys = |source: &KeySource| matches!(source, KeySource::Header { name: other, .. } if *other == name);
    if around.key_sources.iter().any(holds_keys) {
        spot.fault("that is where keys stand, and they are taken out; each: key counts per key");
    }
    Some(name)
}

/// Which requests a limit counts.
#[inline(never)]
fn scope(spot: &Spot<'_>, around: &Around<'_>) -> Option<Scope> {
    let fields = spot.fields(MATCH_FIELDS)?;
    let mut scope = Scope::default();
    let methods = METHODS.map(|method| (method, method));
    let routes: HashMap<&str, ()> = (around.routes.iter())
        .map(|route| (route.name.as_str(), ()))
        .collect();
    for (name, condition) in fields.iter() {
        if name == "header" {
            scope.headers = headers(&condition, around);
            continue;
        }
        for spot in one_or_more(&condition) {
            match name {
                "route" if spot.reference("route", &routes).is_some() => {
                    scope.routes.extend(spot.text().map(str::to_owned));
                }
                "agent" => scope.agents.extend(spot.reference("agent", around.agents)),
                "method" => (scope.methods).extend(spot.choice(&methods).map(str::to_owned)),
                "plan" => scope.plans.extend(spot.reference("plan", around.plans)),
                "team" => (scope.teams).extend(spot.checked(names::name).map(str::to_owned)),
                _ => {}
            }
        }
    }
    Some(scope)
}

/// One value, or those of a list.
#[inline(never)]
fn one_or_more<'s>(spot: &'s Spot<'_>) -> Vec<Spot<'s>> {
    if spot.is_text() {
        return vec![*spot];
    }
    spot.nonempty_list(MOST_VALUES)
        .into_iter()
        .flatten()
        .collect()
}

fn headers(spot: &Spot<'_>, around: &Around<'_>) -> Vec<(String, Vec<String>)> {
    let named = spot.headers(MOST_VALUES);
    let mut headers = Vec::new();
    for (name, values) in named.iter().flat_map(Fields::iter) {
        let read = one_or_more(&values).into_iter();
        let read = read.filter_map(|spot| spot.checked(names::header_value).map(str::to_owned));
        let read = read.collect();
        if let Some(name) = header(name, &values, around) {
            headers.push((name, read));
        }
    }
    headers
}
