//! An explanation in plain words.

use std::fmt::{self, Display, Write};

use super::agents::AgentFound;
use super::caller::How;
use super::explanation::{CallerFound, Explanation, Outcome};
use super::rules::{RuleFound, Verdict};
use crate::shares::Percent;

/// So many bytes, in words.
pub(super) fn bytes(number: usize) -> String {
    match number {
        1 => "1 byte".to_owned(),
        number => format!("{number} bytes"),
    }
}

/// The lines of an explanation, each with a word before it that says what it is about.
struct Lines {
    text: String,
    about: &'static str,
}

impl Lines {
    fn tell(&mut self, about: &'static str, line: impl Display) {
        // Of several lines about the same the first says so.
        let shown = if about == self.about { "" } else { about };
        self.about = about;
        let _ = writeln!(self.text, "  {shown:<8} {line}");
    }

    fn whole(&mut self, line: impl Display) {
        self.about = "";
        let _ = writeln!(self.text, "{line}");
    }
}

impl Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Lines {
            text: String::new(),
            about: "",
        };
        let asked = &self.request;
        let body = match asked.body_bytes {
            Some(number) => format!(", with a body of {}", bytes(number)),
            None => String::new(),
        };
        lines.whole(format_args!(
            "{} {} at {}{body}",
            asked.method, asked.path, asked.host
        ));
        lines.tell("result", self.result());
        for note in &self.notes {
            lines.tell("note", note);
        }
        if let Some(route) = &self.route {
            let name = if route.name == route.prefix {
                String::new()
            } else {
                format!(", prefix {}", route.prefix)
            };
            let needs = if route.key_needed {
                ""
            } else {
                "; needs no key"
            };
            let roles = if route.roles.is_empty() {
                String::new()
            } else {
                format!("; for the roles {} only", route.roles.join(", "))
            };
            lines.tell(
                "route",
                format_args!(
                    "{}{name} (routes[{}]){needs}{roles}",
                    route.name, route.place
                ),
            );
        }
        for other in &self.other_routes {
            lines.tell("route", format_args!("not {}: {}", other.name, other.why));
        }
        if let Some(caller) = &self.caller {
            lines.tell("caller", caller);
        }
        for call in &self.calls {
            lines.tell("calls", call);
        }
        for server in &self.servers {
            lines.tell(
                "servers",
                format_args!("{} (agent {})", server.name, server.agent),
            );
        }
        let width = self
            .rules
            .iter()
            .map(|rule| rule.name.len())
            .max()
            .unwrap_or_default();
        for rule in &self.rules {
            lines.tell(
                "rules",
                format_args!("{:<width$}  {}", rule.name, Said(rule)),
            );
        }
        if let (false, Some(route)) = (self.rules.is_empty(), &self.route) {
            let passes =
                |rule: &RuleFound| matches!(rule.verdict, Verdict::Unmet | Verdict::Skipped);
            if self.rules.iter().all(passes) {
                lines.tell(
                    "rules",
                    format_args!("none takes it: what {} says itself counts", route.name),
                );
            }
        }
        if let Some(model) = &self.model {
            let other = match &model.stands_for {
                Some(other) => format!(", an alias of {other}"),
                None => String::new(),
            };
            lines.tell(
                "model",
                format_args!("{}{other}; named in the {}", model.asked, model.named_in),
            );
        }
        if let Some(sticky) = &self.sticky {
            lines.tell("sticky", sticky);
        }
        if let [agents @ .., last] = self.agents.as_slice() {
            let share =
                |agent: &AgentFound| format!("{} {}", agent.name, Percent(agent.share_percent));
            let shares: Vec<String> = agents.iter().chain([last]).map(share).collect();
            lines.tell("agents", shares.join(", "));
        }
        for left_out in &self.left_out {
            lines.tell(
                "agents",
                format_args!("not {}: {}", left_out.agent, left_out.why),
            );
        }
        let width = self
            .limits
            .iter()
            .map(|limit| limit.name.len())
            .max()
            .unwrap_or_default();
        for limit in &self.limits {
            let per = if limit.per == "all" {
                "for all together".to_owned()
            } else {
                format!("per {}", limit.per)
            };
            let of_agent = match &limit.agent {
                Some(agent) => format!("; if {agent} answers"),
                None => String::new(),
            };
            let in_force = match limit.enforced_percent {
                100.. => String::new(),
                0 => "; only counts, refuses nobody".to_owned(),
                percent => format!("; in force for {percent} % of them"),
            };
            lines.tell(
                "limits",
                format_args!(
                    "{:<width$}  {} {per}, counted {}{of_agent}{in_force}",
                    limit.name, limit.amount, limit.counted
                ),
            );
        }
        if self.limits.is_empty() && !self.agents.is_empty() {
            lines.tell("limits", "none counts it");
        }
        if !self.taken_out.is_empty() {
            lines.tell("removed", self.taken_out.join(", "));
        }
        for agent in &self.agents {
            lines.whole(format_args!("to {}", agent.name));
            let at = if agent.at.is_empty() {
                String::new()
            } else {
                format!(": {}", agent.at.join(", "))
            };
            lines.tell("cluster", format_args!("{}{at}", agent.cluster));
            if !agent.then.is_empty() {
                lines.tell("then", agent.then.join(", "));
            }
            lines.tell("path", &agent.path);
            if let Some(model) = &agent.model {
                lines.tell("model", model);
            }
            if let Some(sticky) = &agent.sticky {
                lines.tell("sticky", sticky);
            }
            for (about, headers) in [("told", &agent.is_told), ("Envoy", &agent.steers_envoy)] {
                for (name, value) in headers {
                    lines.tell(about, format_args!("{name}: {value}"));
                }
            }
            for (about, changed) in [
                ("changed", &agent.is_changed),
                ("answer", &agent.answer_is_changed),
            ] {
                for (name, value) in changed {
                    lines.tell(about, format_args!("{name}: {value}"));
                }
            }
            for note in &agent.notes {
                lines.tell("note", note);
            }
        }
        formatter.write_str(&lines.text)
    }
}

impl Explanation {
    fn result(&self) -> String {
        match &self.outcome {
            Outcome::Forwarded => match self.agents.as_slice() {
                [one] => format!("goes on to {}", one.name),
                several => format!("goes on to one of {} agents", several.len()),
            },
            Outcome::Refused {
                status,
                code,
                detail,
                late,
            } => {
                let detail = detail
                    .as_ref()
                    .map_or(String::new(), |detail| format!(": {detail}"));
                let late = if *late {
                    "; its agent has got the beginning of it by then, and never all"
                } else {
                    ""
                };
                format!("refused, {status} {code}{detail}{late}")
            }
            Outcome::Answered { by, .. } => by.clone(),
            Outcome::Waits { until } => format!("waits until {until}"),
        }
    }
}

/// What a rule says.
struct Said<'a>(&'a RuleFound);

impl Display for Said<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Said(rule) = self;
        let said = match rule.verdict {
            Verdict::Takes => "takes it",
            Verdict::Unmet => "passes it on",
            Verdict::Skipped => "is skipped",
            Verdict::Refuses => "refuses it",
            Verdict::NotAsked => "is not asked",
        };
        formatter.write_str(said)?;
        match &rule.why {
            Some(why) => write!(formatter, ": {why}"),
            None => Ok(()),
        }
    }
}

impl Display for CallerFound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key_in.as_deref().unwrap_or("nowhere");
        let client = self.client.as_deref().unwrap_or_default();
        match self.known {
            How::Listed => write!(formatter, "{client}, whose key in {key} is listed")?,
            How::Told => write!(formatter, "{client}, as --client says")?,
            How::Validator => write!(formatter, "whoever the validator knows by the key in {key}")?,
            How::NoKey => formatter.write_str("nobody that is known: there is no key")?,
            How::UnknownKey => write!(
                formatter,
                "nobody that is known: the key in {key} is not listed, and no validator is asked"
            )?,
            How::NotAKey => write!(
                formatter,
                "nobody that is known: what stands in {key} is no key"
            )?,
        }
        for (what, name) in [
            ("plan", &self.plan),
            ("team", &self.team),
            ("organisation", &self.organisation),
        ] {
            if let Some(name) = name {
                write!(formatter, "; {what} {name}")?;
            }
        }
        if !self.roles.is_empty() {
            write!(formatter, "; roles {}", self.roles.join(", "))?;
        }
        Ok(())
    }
}
