//! What the descriptors are made of by which a service knows limits: one rule for who asks it, and for who writes its files.

use super::protocol::Unit;
use crate::config::policy::{Limit, Policy, Rate, Span, Subject};

/// With what the descriptors of a client's own limits go on.
pub(super) const OF_OWN: (&str, &str) = ("own", "true");
/// The same of a plan's, with its name.
pub(super) const OF_PLAN: &str = "plan";

/// A limit that is counted for all gateways, as a service knows it.
#[derive(Debug)]
pub struct Described<'p> {
    /// The limit.
    pub limit: &'p Limit,
    /// What its descriptors are made of, in order. Without a value, whatever comes is counted by itself.
    pub entries: Vec<(String, Option<String>)>,
}

/// All that a configuration names. Those of clients that only the validator knows are not among them.
#[must_use]
pub fn described(policy: &Policy) -> Vec<Described<'_>> {
    let mut all = Vec::new();
    for plan in &policy.plans {
        let known = (Subject::Plan, plan.name.as_str());
        all.extend(each_of(
            &plan.limits,
            Some((OF_PLAN, &plan.name)),
            Some(known),
        ));
    }
    for key in &policy.clients.keys {
        let own = key.client.limits.as_ref();
        let limits = own.map_or(&[][..], |own| &own.limits);
        let known = (Subject::Client, key.client.id.as_str());
        for own in each_of(limits, Some(OF_OWN), Some(known)) {
            // A client may have several keys.
            if all
                .iter()
                .all(|it: &Described<'_>| it.entries != own.entries)
            {
                all.push(own);
            }
        }
    }
    for route in &policy.routes {
        let known = (Subject::Route, route.name.as_str());
        all.extend(each_of(&route.limits, None, Some(known)));
    }
    all.extend(each_of(&policy.limits, None, None));
    all
}

/// Those of one list; of one of its subjects it is known who it is.
fn each_of<'p>(
    limits: &'p [Limit],
    of: Option<(&str, &str)>,
    known: Option<(Subject, &str)>,
) -> Vec<Described<'p>> {
    let limits = limits.iter().filter(|limit| limit.span == Span::Fleet);
    let described = limits.map(|limit| {
        let fixed = fixed(limit, of).into_iter();
        let fixed = fixed.map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
        let subjects = limit.each.subjects().iter().map(|subject| {
            let known = known.as_ref().filter(|(other, _)| other == subject);
            (key(subject), known.map(|(_, name)| (*name).to_owned()))
        });
        let entries = fixed.chain(subjects).collect();
        Described { limit, entries }
    });
    described.collect()
}

/// What a limit's descriptors begin with: its name, and whose it is.
pub(super) fn fixed<'t>(
    limit: &'t Limit,
    of: Option<(&'t str, &'t str)>,
) -> Vec<(&'t str, &'t str)> {
    let mut entries = vec![("limit", limit.name.as_str())];
    entries.extend(of);
    entries
}

/// What a subject's entry is called. Headers' names are no words of ours.
pub(in crate::limits) fn key(subject: &Subject) -> String {
    match subject {
        Subject::Header(name) => format!("header:{name}"),
        other => other.to_string(),
    }
}

/// How long a limit's windows last, in the protocol's words.
#[must_use]
pub fn unit(rate: Rate) -> Unit {
    match rate.period.as_secs() {
        0..=1 => Unit::Second,
        2..=60 => Unit::Minute,
        61..=3_600 => Unit::Hour,
        3_601..=86_400 => Unit::Day,
        _ => Unit::Month,
    }
}
