//! Which part of a route's requests each of its agents gets, as weights make it.

use std::fmt;

use waykeeper::config::Policy;
use waykeeper::config::policy::{Choice, Route};

/// So many routes are shown; of a larger gateway nobody reads all.
const MOST_SHOWN: usize = 20;

/// The shares of the agents of one choice.
pub(crate) struct Shares<'p> {
    pub(crate) policy: &'p Policy,
    pub(crate) choices: &'p [Choice],
}

/// Those of all routes with several agents, a line each.
pub(crate) struct OfRoutes<'p>(pub(crate) &'p Policy);

impl fmt::Display for Shares<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let choices = self.choices;
        let all: u64 = choices.iter().map(|choice| u64::from(choice.weight)).sum();
        for (index, choice) in choices.iter().enumerate() {
            let between = if index == 0 { "" } else { ", " };
            let agent = self.policy.agents.get(choice.agent.0);
            let name = agent.map_or("", |agent| agent.name.as_str());
            match (choice.weight, all) {
                // No request is drawn for it.
                (0, _) | (_, 0) => write!(formatter, "{between}{name} by name only")?,
                (weight, all) => {
                    let percent = f64::from(weight) * 100.0 / all as f64;
                    write!(formatter, "{between}{name} {}", Percent(percent))?;
                }
            }
        }
        Ok(())
    }
}

/// What a route and each of its rules choose among, by their names.
fn named_choices<'p>(policy: &Policy, route: &'p Route) -> Vec<(String, &'p [Choice])> {
    let of_rules = route.rules.iter();
    let of_rules = of_rules.map(|rule| (format!("{}, {}", route.name, rule.name), &*rule.agents));
    let canary = route.canary.as_ref().and_then(|canary| {
        let agent = policy.agents.get(canary.agent.0)?;
        Some(format!(" ({} % try {} first)", canary.percent, agent.name))
    });
    let name = format!("{}{}", route.name, canary.unwrap_or_default());
    let own = (name, &*route.agents);
    of_rules.chain([own]).collect()
}

/// A part of a hundred, to a tenth where that tells something.
pub(crate) struct Percent(pub(crate) f64);

impl fmt::Display for Percent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Percent(percent) = *self;
        let whole = percent.round();
        if percent < 0.05 {
            formatter.write_str("under 0.1 %")
        } else if (percent - whole).abs() < 0.05 {
            write!(formatter, "{whole} %")
        } else {
            write!(formatter, "{percent:.1} %")
        }
    }
}

impl fmt::Display for OfRoutes<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OfRoutes(policy) = self;
        let several = |(_, choices): &(String, &[Choice])| choices.len() > 1;
        let all = policy
            .routes
            .iter()
            .flat_map(|route| named_choices(policy, route));
        let mut routes = all.filter(several).peekable();
        if routes.peek().is_none() {
            return Ok(());
        }
        write!(formatter, "\n  shares of requests that name no agent:")?;
        for (name, choices) in routes.by_ref().take(MOST_SHOWN) {
            write!(formatter, "\n    {name}: {}", Shares { policy, choices })?;
        }
        match routes.count() {
            0 => Ok(()),
            more => write!(formatter, "\n    and {more} more"),
        }
    }
}
