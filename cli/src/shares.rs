//! Which part of a route's requests each of its agents gets, as weights make it, or in which order they are preferred.

use std::fmt;

use waykeeper::config::Policy;
use waykeeper::config::policy::{Choice, Prefer, Route};
use waykeeper::routing::{cheapest, weighted};

/// So many routes are shown; of a larger gateway nobody reads all.
const MOST_SHOWN: usize = 20;

/// The shares of the agents of one choice.
pub(crate) struct Shares<'p> {
    pub(crate) policy: &'p Policy,
    pub(crate) choices: &'p [Choice],
    pub(crate) prefer: Prefer,
}

/// Those of all routes with several agents, a line each.
pub(crate) struct OfRoutes<'p>(pub(crate) &'p Policy);

impl fmt::Display for Shares<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let choices = self.choices;
        match self.prefer {
            Prefer::Weighted => {}
            Prefer::Cheapest => return self.by_price(formatter),
            Prefer::Fastest => {
                return write!(
                    formatter,
                    "the fastest of {}, which only the running gateway knows",
                    self.names(&weighted(choices))
                );
            }
        }
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

impl Shares<'_> {
    fn names(&self, choices: &[Choice]) -> String {
        let agents = choices
            .iter()
            .filter_map(|choice| self.policy.agents.get(choice.agent.0));
        let names: Vec<&str> = agents.map(|agent| agent.name.as_str()).collect();
        names.join(", ")
    }

    /// The cheapest first, and who gets what they are too full for.
    fn by_price(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agents = &self.policy.agents;
        let mut left = weighted(self.choices);
        let mut before = "";
        loop {
            let best = cheapest(agents, &left, &|_| false);
            if best.is_empty() {
                return Ok(());
            }
            let and_each = if best.len() > 1 { " by weight" } else { "" };
            write!(formatter, "{before}{}{and_each}", self.names(&best))?;
            left.retain(|choice| !best.contains(choice));
            let bounded = |choice: &Choice| {
                { agents.get(choice.agent.0) }.is_some_and(|it| it.in_flight.is_some())
            };
            before = match best.iter().all(bounded) {
                true => "; when full, ",
                false => "; only where no cheaper one may answer, ",
            };
        }
    }
}

/// What a route and each of its rules choose among, by their names.
fn named_choices<'p>(policy: &Policy, route: &'p Route) -> Vec<(String, &'p [Choice], Prefer)> {
    let of_rules = route.rules.iter();
    let of_rules = of_rules.map(|rule| {
        let name = format!("{}, {}", route.name, rule.name);
        (name, &*rule.agents, rule.prefer.unwrap_or(route.prefer))
    });
    let canary = route.canary.as_ref().and_then(|canary| {
        let agent = policy.agents.get(canary.agent.0)?;
        Some(format!(" ({} % try {} first)", canary.percent, agent.name))
    });
    let name = format!("{}{}", route.name, canary.unwrap_or_default());
    let own = (name, &*route.agents, route.prefer);
    // Of several servers the name of what is called says which.
    let own = route.of_servers().is_none().then_some(own);
    of_rules.chain(own).collect()
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
        let several = |(_, choices, _): &(String, &[Choice], Prefer)| choices.len() > 1;
        let all = policy
            .routes
            .iter()
            .flat_map(|route| named_choices(policy, route));
        let mut routes = all.filter(several).peekable();
        if routes.peek().is_none() {
            return Ok(());
        }
        write!(formatter, "\n  shares of requests that name no agent:")?;
        for (name, choices, prefer) in routes.by_ref().take(MOST_SHOWN) {
            let shares = Shares {
                policy,
                choices,
                prefer,
            };
            write!(formatter, "\n    {name}: {shares}")?;
        }
        match routes.count() {
            0 => Ok(()),
            more => write!(formatter, "\n    and {more} more"),
        }
    }
}
