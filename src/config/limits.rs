//! Limits: of plans, of routes, of clients, and those that stand on their own; what they are counted per, and which requests
//! count.

use std::collections::{HashMap, HashSet};

use super::counting::{self, Counting};
use super::document::shown;
use super::in_flight::{self, Bound};
use super::names;
use super::policy::{
    AgentId, Each, InFlight, KeySource, Limit, LimitSet, Plan, PlanId, Route, Scope, Subject,
};
use super::reader::{Fields, Spot};
use super::routes::METHODS;
use crate::sort::sort_by;

/// The name under which callers are told of a plan's requests.
const OF_PLAN: &str = "plan";
/// The name under which callers are told of how many requests a plan lets be in flight.
const OF_PLAN_AT_ONCE: &str = "in-flight";
/// The name under which callers are told of a route's own limit.
const OF_ROUTE: &str = "route";
/// Names that no other limit has.
pub(super) const TAKEN: [(&str, &str); 4] = [
    (OF_PLAN, "of a plan's own limit"),
    (OF_PLAN_AT_ONCE, "of a plan's own in_flight"),
    (OF_ROUTE, "of a route's own limit"),
    (in_flight::OF_AGENT, "of an agent's max_in_flight"),
];

const MOST_PLANS: usize = 1024;
/// All limits of a request are told in one header.
const MOST_LIMITS: usize = 32;
/// What is remembered of a client must stay small.
const MOST_OWN_LIMITS: usize = 4;
const MOST_SUBJECTS: usize = 4;
/// How many values a condition may have.
const MOST_VALUES: usize = 64;

pub(super) const PLAN_FIELDS: &[&str] = &with_all::<1, 11>(["limits"]);
pub(super) const RATE_LIMIT_FIELDS: &[&str] =
    &joined::<5, 2, 7>(counting::FIELDS, counting::SOFT_FIELDS);
pub(super) const LIMIT_FIELDS: &[&str] = &with_all::<3, 13>(["name", "each", "match"]);
/// The fields of one of a client's own limits.
pub const OWN_LIMIT_FIELDS: &[&str] = &with_all::<1, 11>(["name"]);
pub(super) const MATCH_FIELDS: &[&str] =
    &["route", "agent", "method", "plan", "team", "tool", "header"];
pub(super) const SUBJECT_FIELDS: &[&str] = &["header"];

/// What can be counted per without saying more.
const SUBJECTS: [(&str, Subject); 9] = [
    ("key", Subject::Key),
    ("client", Subject::Client),
    ("team", Subject::Team),
    ("organisation", Subject::Organisation),
    ("address", Subject::Address),
    ("route", Subject::Route),
    ("agent", Subject::Agent),
    ("plan", Subject::Plan),
    ("tool", Subject::Tool),
];

/// What stands elsewhere in the document, and limits speak of.
pub(super) struct Around<'a> {
    pub(super) key_sources: &'a [KeySource],
    pub(super) plans: &'a HashMap<&'a str, PlanId>,
    pub(super) agents: &'a HashMap<&'a str, AgentId>,
    pub(super) routes: &'a [Route],
}

impl Around<'_> {
    /// Tells that a limit by tools counts nothing where no tool is known.
    fn need_mcp(&self, spot: &Spot<'_>) {
        if self.routes.iter().all(|route| route.mcp.is_none()) {
            spot.fault(
                "counts nothing: which tool is called is known where a route has mcp, and none has",
            );
        }
    }
}

/// These fields, and all that say how limits count.
const fn with_all<const MORE: usize, const ALL: usize>(
    more: [&'static str; MORE],
) -> [&'static str; ALL] {
    let counting = joined::<5, 3, 8>(counting::FIELDS, in_flight::FIELDS);
    let counting = joined::<8, 2, 10>(counting, counting::SOFT_FIELDS);
    joined(more, counting)
}

/// These fields, and those.
#[expect(
    clippy::indexing_slicing,
    reason = "it runs while the module is compiled"
)]
pub(super) const fn joined<const FIRST: usize, const SECOND: usize, const ALL: usize>(
    first: [&'static str; FIRST],
    second: [&'static str; SECOND],
) -> [&'static str; ALL] {
    let mut all = [""; ALL];
    let mut index = 0;
    while index < ALL {
        all[index] = if index < FIRST {
            first[index]
        } else {
            second[index - FIRST]
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
            let set = fields.map(|fields| of_plan(&fields, around, taken));
            let LimitSet { limits, in_flight } = set.unwrap_or_default();
            Plan {
                name: name.to_owned(),
                limits,
                in_flight,
            }
        })
        .collect();
    sort_by(&mut plans, |left, right| left.name.cmp(&right.name));
    plans
}

fn of_plan(fields: &Fields<'_>, around: &Around<'_>, taken: &HashSet<String>) -> LimitSet {
    let mut limits = called_plan(fields);
    if let Some(more) = fields.get("limits") {
        limits.extend(listed(&more, around, &mut taken.clone()));
    }
    limits
}

/// The limits that a plan's own fields make, if they do.
fn called_plan(fields: &Fields<'_>) -> LimitSet {
    let each = Each::new([Subject::Client]);
    let mut set = LimitSet::default();
    let soft = counting::soft(fields);
    if let Some(counting) = counting::optional(fields, soft) {
        set.add_rate(OF_PLAN, each.clone(), Scope::default(), counting);
    }
    if let Some(bound) = in_flight::optional(fields, soft) {
        set.add_in_flight(OF_PLAN_AT_ONCE, each, Scope::default(), bound);
    }
    if !["requests", "in_flight"]
        .iter()
        .any(|name| fields.get(name).is_some())
    {
        for spot in counting::SOFT_FIELDS
            .iter()
            .filter_map(|name| fields.get(name))
        {
            spot.fault("has no meaning without requests or in_flight");
        }
    }
    set
}

/// A client's own limits, which it has in place of its plan's.
#[inline(never)]
pub fn own_limits(spot: &Spot<'_>) -> Option<LimitSet> {
    let fields = spot.fields(PLAN_FIELDS)?;
    let mut set = called_plan(&fields);
    let more = fields.get("limits");
    let mut taken = HashSet::new();
    let items = more.as_ref().and_then(|more| more.list(MOST_OWN_LIMITS));
    for item in items.into_iter().flatten() {
        if let Some(fields) = item.fields(OWN_LIMIT_FIELDS) {
            let each = Some(Each::new([Subject::Client]));
            set.add(&fields, each, Some(Scope::default()), &mut taken);
        }
    }
    let number = set.limits.len() + set.in_flight.len();
    if number > MOST_OWN_LIMITS {
        spot.fault(format!(
            "{number} limits; at most {MOST_OWN_LIMITS} are allowed"
        ));
    }
    Some(set)
}

/// Limits that stand on their own, in the order of the document, and their names.
pub(super) fn limits(spot: Option<&Spot<'_>>, around: &Around<'_>) -> (LimitSet, HashSet<String>) {
    let mut taken = HashSet::new();
    let limits = spot.map(|spot| listed(spot, around, &mut taken));
    (limits.unwrap_or_default(), taken)
}

fn listed(spot: &Spot<'_>, around: &Around<'_>, taken: &mut HashSet<String>) -> LimitSet {
    let mut set = LimitSet::default();
    for item in spot.list(MOST_LIMITS).into_iter().flatten() {
        if let Some(fields) = item.fields(LIMIT_FIELDS) {
            let each = fields.need("each");
            let each = each.and_then(|spot| self::each(&spot, around));
            let scope = fields.get("match");
            let scope = scope.map_or(Some(Scope::default()), |spot| self::scope(&spot, around));
            set.add(&fields, each, scope, taken);
        }
    }
    set
}

/// A route's own limit.
pub(super) fn rate_limit(spot: &Spot<'_>) -> Option<Limit> {
    let fields = spot.fields(RATE_LIMIT_FIELDS)?;
    let counting = counting::needed(&fields, counting::soft(&fields))?;
    let each = Each::new([Subject::Client, Subject::Route]);
    Some(Limit::new(OF_ROUTE, each, Scope::default(), counting))
}

impl LimitSet {
    /// Adds what one item of a list says, as far as it can be read.
    fn add(
        &mut self,
        fields: &Fields<'_>,
        each: Option<Each>,
        scope: Option<Scope>,
        taken: &mut HashSet<String>,
    ) {
        let name = fields.need("name");
        let name = name.and_then(|name| limit_name(&name, taken));
        let soft = counting::soft(fields);
        let parts = || Some((name.as_deref()?, each.clone()?, scope.clone()?));
        if fields.get("in_flight").is_none() {
            let counting = counting::needed(fields, soft);
            if let (Some((name, each, scope)), Some(counting)) = (parts(), counting) {
                self.add_rate(name, each, scope, counting);
            }
            in_flight::optional(fields, soft);
            return;
        }
        for spot in counting::FIELDS.iter().filter_map(|name| fields.get(name)) {
            spot.fault("has no meaning beside in_flight; a limit counts in a time, or at once");
        }
        let bound = in_flight::optional(fields, soft);
        if let (Some((name, each, scope)), Some(bound)) = (parts(), bound) {
            self.add_in_flight(name, each, scope, bound);
        }
    }

    fn add_rate(&mut self, name: &str, each: Each, scope: Scope, counting: Counting) {
        (self.limits).push(Limit::new(name, each, scope, counting));
    }

    fn add_in_flight(&mut self, name: &str, each: Each, scope: Scope, bound: Bound) {
        (self.in_flight).push(InFlight::new(name, each, scope, bound));
    }

    fn extend(&mut self, more: Self) {
        self.limits.extend(more.limits);
        self.in_flight.extend(more.in_flight);
    }
}

impl Limit {
    fn new(name: &str, each: Each, scope: Scope, counting: Counting) -> Self {
        Self {
            name: name.to_owned(),
            each,
            scope,
            rate: counting.rate,
            algorithm: counting.algorithm,
            span: counting.span,
            warn_at: counting.soft.warn_at,
            enforce: counting.soft.enforce,
        }
    }
}

fn limit_name(spot: &Spot<'_>, taken: &mut HashSet<String>) -> Option<String> {
    let name = spot.checked(names::name)?;
    if let Some((_, whose)) = TAKEN.iter().find(|(other, _)| *other == name) {
        spot.fault(format!(
            "{} is the name {whose}; choose another",
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
        let subject = SUBJECTS.get(index).map(|(_, subject)| subject.clone());
        if subject == Some(Subject::Tool) {
            around.need_mcp(spot);
        }
        return subject;
    }
    let name = spot.fields(SUBJECT_FIELDS)?.need("header")?;
    header(name.text()?, &name, around.key_sources).map(Subject::Header)
}

/// The name of a header of callers, in which no key may stand; what is wrong with it is told at `spot`.
pub(super) fn header(name: &str, spot: &Spot<'_>, key_sources: &[KeySource]) -> Option<String> {
    if let Err(fault) = names::sticky_header(name) {
        spot.fault(fault);
        return None;
    }
    let name = name.to_ascii_lowercase();
    let holds_keys = |source: &KeySource| matches!(source, KeySource::Header { name: other, .. } if *other == name);
    if key_sources.iter().any(holds_keys) {
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
                "tool" => {
                    around.need_mcp(&spot);
                    scope.tools.extend(super::rules::pattern(&spot));
                }
                _ => {}
            }
        }
    }
    Some(scope)
}

/// One value, or those of a list.
#[inline(never)]
pub(super) fn one_or_more<'s>(spot: &'s Spot<'_>) -> Vec<Spot<'s>> {
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
        if let Some(name) = header(name, &values, around.key_sources) {
            headers.push((name, read));
        }
    }
    headers
}
