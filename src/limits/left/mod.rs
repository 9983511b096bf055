//! What is left: how all limits of a client stand, without anything being taken of them, and a fresh start for it.
//!
//! A limit has a record for each combination of what it is counted per. Where routes or agents are among that, those are told
//! that the client may use. What depends on a request's method or headers is told with that condition; of limits counted
//! per header that of the value which the question carries.

mod told;

use std::rc::Rc;

use rustc_hash::FxHashSet;

use super::fleet::OfClient;
use super::place::{Asking, Place};
use super::subject::Asked;
use super::weigh::Claim;
use super::{Amounts, Limits, Rule, look};
use crate::config::policy::{AgentId, PlanId, RouteId, Scope, Subject};
use crate::host::{CellName, Host, seconds_up};
use crate::sort::sort_by_key;
use crate::state::counters::Records;
use crate::state::{Decision, Grid, StateError};

use told::InFlightLeft;
pub(super) use told::{Counted, LimitLeft, LimitReset, Match};
pub use told::{Left, Reset};

/// So many limits are told of at most, and as many of those in flight.
pub(super) const MOST_TOLD: usize = 256;

/// So many counts are reset at most: more than any client has but for `[client, route, agent]` with hundreds of each.
const MOST_RESET: usize = 1 << 14;

/// Whose limits are meant.
pub struct Whose<'a> {
    /// A request of the client's, as far as it is known.
    pub asked: Asked<'a>,
    /// Which routes it may use.
    pub uses: &'a dyn Fn(RouteId) -> bool,
    /// Whether limits count that are not in force for it.
    pub in_shadow: bool,
}

/// A record of a limit of the client's.
struct Found<'a> {
    claim: Claim<'a>,
    route: Option<RouteId>,
    agent: Option<AgentId>,
}

impl Limits {
    /// How all limits of a client stand. Nothing is taken, and nothing is written.
    ///
    /// # Errors
    /// When the shared state cannot be read.
    pub fn left<H: Host>(&self, host: &H, whose: &Whose<'_>) -> Result<Left, StateError> {
        let own = whose.asked.own.map(|own| self.own(own));
        let plan: Vec<_> = whose.asked.plan.into_iter().collect();
        let (found, more) = self.found(whose, own.as_deref(), &plan, MOST_TOLD);
        let claims: Vec<_> = found.iter().map(|it| it.claim).collect();
        let standings = look(host, &claims)?.standings;
        let limits = found.iter().filter_map(|it| {
            let its = |place: (CellName, u64)| place == (it.claim.cell, it.claim.tag);
            let standing = (standings.iter()).find(|other| its((other.cell, other.tag)))?;
            let (rule, level) = (&standing.rule, standing.level());
            Some(LimitLeft {
                counted: self.counted(it),
                condition: (rule.scope.as_deref()).and_then(|it| self.condition(it)),
                scope: None,
                algorithm: rule.algorithm.name(),
                requests: rule.rate.quantity,
                window_seconds: rule.rate.period.as_secs(),
                burst: rule.rate.burst,
                used: rule.rate.burst.saturating_sub(level.remaining),
                leased: None,
                remaining: level.remaining,
                one_more_seconds: seconds_up(level.next),
                reset_seconds: seconds_up(level.full),
                enforced: it.claim.enforced,
            })
        });
        let mut left = Left {
            limits: limits.collect(),
            in_flight: Vec::new(),
            more,
        };
        self.in_flight_left(host, whose, &mut left)?;
        Ok(left)
    }

    /// Gives a client a fresh start: nothing of the limits that are counted per client or key is used any more, or of
    /// those of these `names`, whatever they are counted per. Requests under way give nothing back of what they had taken. If
    /// the plan is not known, all plans' limits count. Requests in flight stay what they are. If one of the names is that of no
    /// limit of the client's, nothing is done. Of those `in_fleet` goes what this process has counted while nobody counted for
    /// all gateways.
    ///
    /// # Errors
    /// When the shared state cannot be changed. Some limits may have been reset by then; nothing speaks against trying again.
    pub fn reset<H: Host>(
        &self,
        host: &H,
        whose: &Whose<'_>,
        names: &[String],
        in_fleet: &OfClient,
    ) -> Result<Reset, StateError> {
        let own = whose.asked.own.map(|own| self.own(own));
        let plans = self.plans_of(whose);
        let (mut found, more) = self.found(whose, own.as_deref(), &plans, MOST_RESET);
        found.retain(|it| it.claim.rule.is_reset_by(names));
        let is_there = |name: &String| {
            found.iter().any(|it| it.claim.rule.name == *name) || in_fleet.has(name)
        };
        if let Some(name) = names.iter().find(|name| !is_there(name)) {
            return Ok(Reset {
                unknown: Some(name.clone()),
                ..Reset::default()
            });
        }
        for (cell, tag) in in_fleet.parts() {
            Grid::update(host, cell, |value| {
                let mut records = Records::read(value, host.now());
                if !records.remove(tag) {
                    return Decision::Keep(());
                }
                records.begin_era();
                Decision::Replace(records.take_bytes(), ())
            })?;
        }
        sort_by_key(&mut found, |it| it.claim.cell);
        let mut done = Vec::with_capacity(found.len());
        for of_cell in found.chunk_by(|one, other| one.claim.cell == other.claim.cell) {
            let Some(first) = of_cell.first() else {
                continue;
            };
            let used = Grid::update(host, first.claim.cell, |value| {
                let mut records = Records::read(value, host.now());
                let removed = of_cell.iter().map(|it| records.remove(it.claim.tag));
                let removed: Vec<bool> = removed.collect();
                if !removed.contains(&true) {
                    return Decision::Keep(removed);
                }
                records.begin_era();
                Decision::Replace(records.take_bytes(), removed)
            })?;
            let of_cell = of_cell.iter().zip(used);
            done.extend(of_cell.map(|(it, was_used)| LimitReset {
                counted: self.counted(it),
                scope: None,
                was_used,
            }));
        }
        Ok(Reset {
            limits: done,
            more,
            unknown: None,
        })
    }

    /// The plans whose limits a fresh start is about: all, where the client's is not known.
    pub(super) fn plans_of(&self, whose: &Whose<'_>) -> Vec<PlanId> {
        match whose.asked.plan {
            Some(plan) => vec![plan],
            None => (0..self.plans.len()).map(PlanId).collect(),
        }
    }

    /// The records of a client, each once and so many at most, and whether there are more of them.
    fn found<'a>(
        &'a self,
        whose: &Whose<'_>,
        own: Option<&'a [Rc<Rule>]>,
        plans: &[PlanId],
        most: usize,
    ) -> (Vec<Found<'a>>, bool) {
        let (mut found, mut more) = (Vec::new(), false);
        let mut seen = FxHashSet::default();
        let mut add = |rule: &'a Rc<Rule>, plan: Option<PlanId>, route: Option<RouteId>| {
            let pairs = self.pairs(whose, route, None, &|subject| rule.has(subject));
            for (route, agent) in pairs {
                if found.len() >= most {
                    more = true;
                    return;
                }
                let asked = Asked {
                    route,
                    agent,
                    plan,
                    ..whose.asked
                };
                if let Some(scope) = &rule.scope
                    && !self.concerns(scope, &asked, whose.uses)
                {
                    continue;
                }
                let Some((cell, tag)) = self.places.of(rule, &Asking::new(asked)) else {
                    continue;
                };
                let enforced = rule.enforce >= 100 || self.places.draws(rule, &asked);
                if !enforced && !whose.in_shadow {
                    continue;
                }
                let claim = Claim {
                    rule,
                    cell,
                    tag,
                    amount: Amounts::ONE_REQUEST.of(rule),
                    enforced,
                };
                if seen.insert((cell, tag)) {
                    found.push(Found {
                        claim,
                        route,
                        agent,
                    });
                }
            }
        };
        let plan = whose.asked.plan;
        let mut listed: Vec<_> = plans.iter().map(|id| (Some(*id), id)).collect();
        if let Some(own) = own {
            listed.clear();
            own.iter().for_each(|rule| add(rule, plan, None));
        }
        for (plan, PlanId(id)) in listed {
            let rules = self.plans.get(*id).into_iter().flatten();
            rules.for_each(|rule| add(rule, plan, None));
        }
        let others = self.everywhere.iter().chain(&self.gate);
        others.for_each(|rule| add(rule, plan, None));
        let routes = self.routes.iter().enumerate();
        let used = routes.filter(|(id, _)| (whose.uses)(RouteId(*id)));
        for (id, rules) in used {
            let of_route = rules.iter();
            of_route.for_each(|rule| add(rule, plan, Some(RouteId(id))));
        }
        (found, more)
    }

    /// The routes and agents of which a limit has records: of all that the client may use, where it is counted per route or
    /// agent.
    pub(super) fn pairs(
        &self,
        whose: &Whose<'_>,
        route: Option<RouteId>,
        agent: Option<AgentId>,
        has: &dyn Fn(&Subject) -> bool,
    ) -> impl Iterator<Item = (Option<RouteId>, Option<AgentId>)> + use<> {
        let routes: Vec<_> = if route.is_none() && has(&Subject::Route) {
            let all = (0..self.routes.len()).map(RouteId);
            all.filter(|id| (whose.uses)(*id)).map(Some).collect()
        } else {
            vec![route]
        };
        let agents: Vec<_> = if agent.is_none() && has(&Subject::Agent) {
            let all = 0..self.places.agents().len();
            all.map(|id| Some(AgentId(id))).collect()
        } else {
            vec![agent]
        };
        (routes.into_iter()).flat_map(move |route| {
            let agents = agents.clone().into_iter();
            agents.map(move |agent| (route, agent))
        })
    }

    /// True if a limit counts some of the client's requests.
    pub(super) fn concerns(
        &self,
        scope: &Scope,
        asked: &Asked<'_>,
        uses: &dyn Fn(RouteId) -> bool,
    ) -> bool {
        let routes = self.places.routes();
        let has = |id: RouteId| {
            let name = routes.get(id.0);
            name.is_some_and(|name| scope.routes.contains(name))
        };
        let on_routes = match asked.route {
            Some(id) => has(id),
            None => (0..routes.len()).any(|id| has(RouteId(id)) && uses(RouteId(id))),
        };
        let of_team = |team| scope.teams.iter().any(|it| it == team);
        (scope.routes.is_empty() || on_routes)
            && (scope.agents.is_empty() || asked.agent.is_none_or(|it| scope.agents.contains(&it)))
            && (scope.plans.is_empty() || asked.plan.is_some_and(|it| scope.plans.contains(&it)))
            && (scope.teams.is_empty() || asked.team.is_some_and(of_team))
    }

    fn counted(&self, found: &Found<'_>) -> Counted {
        let rule = found.claim.rule;
        self.named(&rule.name, &rule.per, found.route, found.agent)
    }

    pub(super) fn named(
        &self,
        name: &str,
        per: &str,
        route: Option<RouteId>,
        agent: Option<AgentId>,
    ) -> Counted {
        Counted {
            name: name.to_owned(),
            per: per.to_owned(),
            route: route.and_then(|id| self.places.routes().get(id.0).cloned()),
            agent: agent.and_then(|id| self.places.agents().get(id.0).cloned()),
        }
    }

    /// What of a limit's scope depends on the request.
    pub(super) fn condition(&self, scope: &Scope) -> Option<Match> {
        let agents = scope.agents.iter();
        let agents = agents.filter_map(|id| self.places.agents().get(id.0).cloned());
        let condition = Match {
            routes: scope.routes.clone(),
            agents: agents.collect(),
            methods: scope.methods.clone(),
            headers: scope.headers.iter().map(|(name, _)| name.clone()).collect(),
        };
        (!condition.is_empty()).then_some(condition)
    }

    fn in_flight_left<H: Host>(
        &self,
        host: &H,
        whose: &Whose<'_>,
        left: &mut Left,
    ) -> Result<(), StateError> {
        let own = self.own_bounds(whose.asked.own);
        let plan = whose.asked.plan.filter(|_| whose.asked.own.is_none());
        let mut seen = Vec::new();
        for (bound, agent) in self.all_bounds(&own, plan) {
            let has = |subject: &Subject| bound.subjects().contains(subject);
            for (route, agent) in self.pairs(whose, None, agent, &has) {
                let asked = Asked {
                    route,
                    agent,
                    ..whose.asked
                };
                if let Some(scope) = bound.scope()
                    && !self.concerns(scope, &asked, whose.uses)
                {
                    continue;
                }
                let Some(met) = self.met_by(bound, &asked) else {
                    continue;
                };
                if seen.contains(&met.place()) || !met.is_enforced() && !whose.in_shadow {
                    continue;
                }
                if left.in_flight.len() >= MOST_TOLD {
                    left.more = true;
                    return Ok(());
                }
                seen.push(met.place());
                let (taken, waiting) = self.taken_of(host, &met)?;
                left.in_flight.push(InFlightLeft {
                    counted: self.named(met.name(), met.per(), route, agent),
                    condition: bound.scope().and_then(|it| self.condition(it)),
                    most: met.most(),
                    taken,
                    waiting,
                    enforced: met.is_enforced(),
                });
            }
        }
        Ok(())
    }
}

impl Rule {
    fn has(&self, subject: &Subject) -> bool {
        match &self.place {
            Place::Subjects(subjects) => subjects.contains(subject),
            Place::Fixed(_) | Place::Caller | Place::CallerOnRoute(_) | Place::Address => false,
        }
    }

    /// True if a fresh start is about this limit.
    pub(super) fn is_reset_by(&self, names: &[String]) -> bool {
        match names {
            [] => self.is_of_one_client(),
            names => names.contains(&self.name),
        }
    }

    /// True if nobody else is counted with a client.
    fn is_of_one_client(&self) -> bool {
        match self.place {
            Place::Caller | Place::CallerOnRoute(_) => true,
            Place::Fixed(_) | Place::Address => false,
            Place::Subjects(_) => self.has(&Subject::Client) || self.has(&Subject::Key),
        }
    }
}
