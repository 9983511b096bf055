//! Which rule takes a request, and why the others do not: asked of the filter's own rules.

use serde::Serialize;
use waykeeper::config::Policy;
use waykeeper::config::policy::{AgentId, Choice, Otherwise, Route, Rule};
use waykeeper::routing::{
    BadBody, Content, Decision, Head, Judged, Known, ModelInPath, Rules, stands_for,
};

use super::conditions::Words;
use super::found::Meeting;
use super::walked::PIECE;

/// What a rule says of a request.
#[derive(Debug, Serialize)]
pub(super) struct RuleFound {
    pub(super) name: String,
    pub(super) verdict: Verdict,
    /// The condition that has decided, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) condition: Option<&'static str>,
    /// What that asks for, and what the request is, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Takes,
    /// A condition is not met.
    Unmet,
    /// The body has not said enough, and the rule goes by `otherwise`.
    Skipped,
    Refuses,
    /// An earlier one has decided.
    NotAsked,
}

/// The model that is asked for.
#[derive(Debug, Serialize)]
pub(super) struct ModelFound {
    pub(super) asked: String,
    pub(super) named_in: &'static str,
    /// What it stands for, where it is an alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stands_for: Option<String>,
}

/// What the rules come to.
pub(super) struct Chosen<'a> {
    pub(super) rules: Vec<RuleFound>,
    /// Among which agents. `None`: the request is refused.
    pub(super) choices: Option<&'a [Choice]>,
    /// Who comes next if that agent does not answer, where anybody does.
    pub(super) next: Option<&'a [AgentId]>,
    /// The model that the request asks for, if that counts.
    pub(super) model: Option<Vec<u8>>,
}

impl ModelFound {
    pub(super) fn of(policy: &Policy, model: &[u8], in_path: bool) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let other = stands_for(policy, model);
        Self {
            asked: text(model),
            named_in: if in_path { "path" } else { "body" },
            stands_for: (other != model).then(|| text(other)),
        }
    }
}

/// A body under way, in pieces, as the filter reads it.
struct Coming<'a> {
    content: Option<Content>,
    rest: &'a [u8],
}

impl Coming<'_> {
    /// The next piece comes. False: there is none.
    fn goes_on(&mut self) -> bool {
        let Some(content) = self.content.as_mut().filter(|_| !self.rest.is_empty()) else {
            return false;
        };
        let (piece, rest) = self.rest.split_at(PIECE.min(self.rest.len()));
        self.rest = rest;
        content.feed(piece);
        if rest.is_empty() {
            content.end();
        }
        true
    }
}

/// Asks a route's rules of a request.
pub(super) fn chosen<'a>(
    meeting: &Meeting<'a>,
    route: &'a Route,
    in_path: Option<&ModelInPath>,
) -> Chosen<'a> {
    let Meeting {
        policy,
        arrived,
        caller,
        ..
    } = *meeting;
    // Who names an agent gets that one.
    let names = arrived.block.get("x-agent").is_some();
    let unnamed = |next: Option<&'a [AgentId]>| next.filter(|_| !names);
    let rules = match route.of_servers() {
        Some(_) => None,
        None => Rules::new(policy, route),
    };
    let Some(rules) = rules else {
        return Chosen {
            rules: Vec::new(),
            next: unnamed(route.fallback.as_deref()),
            choices: Some(&route.agents),
            model: None,
        };
    };
    let client = caller.client.as_ref();
    let called = meeting.called(route);
    let head = Head {
        method: arrived.block.get(":method").unwrap_or_default(),
        authority: arrived.block.get(":authority"),
        headers: &arrived.block,
        path: arrived.block.get(":path").unwrap_or_default(),
        plan: client.and_then(|client| client.plan),
        team: client.and_then(|client| client.team.as_deref()),
        roles: client.map_or(&[], |client| &client.roles),
        tool: called.first().and_then(|call| call.tool.as_deref()),
        model: in_path.map(|model| model.name.as_slice()),
    };
    let body = arrived.body.as_deref().filter(|body| !body.is_empty());
    let length = arrived
        .block
        .get("content-length")
        .and_then(|it| std::str::from_utf8(it).ok()?.parse().ok());
    let comes = body.is_some() || arrived.stays_open();
    let content = || {
        rules
            .wanted()
            .filter(|_| comes)
            .map(|wanted| Content::new(wanted, &arrived.block, length))
    };
    let mut coming = Coming {
        content: content(),
        rest: body.unwrap_or_default(),
    };
    let decided = loop {
        match rules.decide(&route.rules, policy, &head, coming.content.as_ref()) {
            Ok(Decision::Wait) if coming.goes_on() => {}
            other => break other,
        }
    };
    let words = Words {
        meeting,
        head,
        rules: &rules,
        json: body.and_then(|body| serde_json::from_slice(body).ok()),
    };
    let found = words.of_rules(route, coming.content.as_ref());
    let taken = match decided {
        Ok(Decision::Rule(rule)) => {
            Some((&rule.agents[..], route.fallback_of(rule), &rule.roles[..]))
        }
        Ok(Decision::NoRule) => Some((&route.agents[..], route.fallback.as_deref(), &[][..])),
        Ok(Decision::Wait) | Err(_) => None,
    };
    let Some((choices, next, roles)) = taken else {
        return Chosen {
            rules: found,
            next: None,
            choices: None,
            model: None,
        };
    };
    let wanted = |content: Option<&Content>| {
        choices.is_empty() || head.model.is_some() || rules.want_model(content)
    };
    let mut model = None;
    if rules.need_model(policy, choices, next) || wanted(coming.content.as_ref()) {
        loop {
            let waits = match rules.model(&head, coming.content.as_ref()) {
                Ok(Known::Found(name)) => {
                    model = Some(name.to_vec());
                    false
                }
                known => known == Ok(Known::Unknown),
            };
            if !waits || !coming.goes_on() {
                break;
            }
        }
    }
    let allowed = roles.is_empty()
        || client.is_some_and(|client| roles.iter().any(|role| client.roles.contains(role)));
    Chosen {
        rules: found,
        next: unnamed(next),
        choices: (allowed && !choices.is_empty()).then_some(choices),
        model,
    }
}

impl Words<'_, '_> {
    fn of_rules(&self, route: &Route, content: Option<&Content>) -> Vec<RuleFound> {
        let mut found = Vec::new();
        let mut decided = false;
        for (index, rule) in route.rules.iter().enumerate() {
            if decided {
                found.push(RuleFound {
                    name: rule.name.clone(),
                    verdict: Verdict::NotAsked,
                    condition: None,
                    why: None,
                });
                continue;
            }
            let judged = self
                .rules
                .judge(index, rule, self.meeting.policy, &self.head, content);
            let of = self.of_rule(rule, route, judged, content);
            decided = of.verdict != Verdict::Unmet && of.verdict != Verdict::Skipped;
            found.push(of);
        }
        found
    }

    fn of_rule(
        &self,
        rule: &Rule,
        route: &Route,
        judged: Result<Judged, BadBody>,
        content: Option<&Content>,
    ) -> RuleFound {
        let most = waykeeper::config::show_size(route.max_scan);
        let (verdict, condition, why) = match judged {
            Ok(Judged::Met) => (Verdict::Takes, None, None),
            Ok(Judged::Unmet(condition)) => {
                let why = format!(
                    "{}; {}",
                    self.wanted(rule, condition),
                    self.is(rule, condition, content)
                );
                (Verdict::Unmet, Some(condition), Some(why))
            }
            Ok(Judged::Unknown(condition)) => {
                let (verdict, so) = match rule.otherwise {
                    Otherwise::Refuse => (Verdict::Refuses, "refuse"),
                    Otherwise::Skip => (Verdict::Skipped, "skip"),
                    Otherwise::Take => (Verdict::Takes, "take"),
                };
                let why = format!(
                    "{}, which the first {most} of the body do not say; so it goes by otherwise: {so}",
                    self.wanted(rule, condition)
                );
                (verdict, Some(condition), Some(why))
            }
            Err(bad) => (Verdict::Refuses, None, Some(bad.to_string())),
        };
        let roles = match (verdict, rule.roles.as_slice()) {
            (Verdict::Takes, [_, ..]) => {
                Some(format!("for the roles {} only", rule.roles.join(", ")))
            }
            _ => None,
        };
        let lacks = roles.filter(|_| !rule.roles.iter().any(|role| self.head.roles.contains(role)));
        match lacks {
            Some(roles) => RuleFound {
                name: rule.name.clone(),
                verdict: Verdict::Refuses,
                condition: None,
                why: Some(format!("takes it, {roles}, of which the client has none")),
            },
            None => RuleFound {
                name: rule.name.clone(),
                verdict,
                condition,
                why,
            },
        }
    }
}
