//! What is known of a request before its body, and whether that meets a rule's conditions.

use std::borrow::Cow;

use crate::config::policy::{Conditions, PlanId};
use crate::host::HeaderBlock;
use crate::text::escapes::form_decoded;
use crate::text::paths::{split_once, split_query};
use crate::text::pattern::Pattern;

/// What is known of a request before its body.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Its method.
    pub method: &'a [u8],
    /// The host that it asks, as it stands there.
    pub authority: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a HeaderBlock,
    /// Its path, with the query.
    pub path: &'a [u8],
    /// Its client's plan.
    pub plan: Option<PlanId>,
    /// Its client's team.
    pub team: Option<&'a str>,
    /// Its client's roles.
    pub roles: &'a [String],
    /// The tool that it calls, where its route carries MCP.
    pub tool: Option<&'a str>,
    /// The model that its path names.
    pub model: Option<&'a [u8]>,
}

impl Head<'_> {
    /// The first condition on it that is not met.
    pub(super) fn unmet(&self, conditions: &Conditions) -> Option<&'static str> {
        let one_of = |names: &[String], name: Option<&str>| {
            names.is_empty() || name.is_some_and(|name| names.iter().any(|other| other == name))
        };
        let Conditions {
            methods,
            hosts,
            headers,
            query,
            plans,
            teams,
            roles,
            called,
            ..
        } = conditions;
        let method = methods.is_empty() || methods.iter().any(|it| it.as_bytes() == self.method);
        let host = || {
            hosts.is_empty()
                || self
                    .authority
                    .is_some_and(|it| is_one_of(hosts, &host_of(it)))
        };
        let header = |(name, values): &(String, Vec<Pattern>)| {
            let lines = self.headers.get_all(name).map(<[u8]>::trim_ascii);
            all_are(lines.map(Cow::Borrowed), values)
        };
        let parameter = |(name, values): &(String, Vec<Pattern>)| {
            all_are(parameters(self.path, name).map(Cow::Owned), values)
        };
        let plan = plans.is_empty() || self.plan.is_some_and(|plan| plans.contains(&plan));
        let role = || roles.is_empty() || roles.iter().any(|role| self.roles.contains(role));
        if !method {
            Some("method")
        } else if !host() {
            Some("host")
        } else if !headers.iter().all(header) {
            Some("header")
        } else if !query.iter().all(parameter) {
            Some("query")
        } else if !plan {
            Some("plan")
        } else if !one_of(teams, self.team) {
            Some("team")
        } else if !role() {
            Some("role")
        } else if !called.is_empty()
            && (self.tool).is_none_or(|tool| !is_one_of(called, tool.as_bytes()))
        {
            Some("tool")
        } else {
            None
        }
    }
}

fn is_one_of(patterns: &[Pattern], word: &[u8]) -> bool {
    patterns.iter().any(|pattern| pattern.matches(word))
}

/// Whether there are such values, and each is one of those that are meant: agents differ in which of several they take.
fn all_are<'a>(values: impl Iterator<Item = Cow<'a, [u8]>>, patterns: &[Pattern]) -> bool {
    let mut some = false;
    for value in values {
        if !is_one_of(patterns, &value) {
            return false;
        }
        some = true;
    }
    some
}

/// The values of a parameter of the query, without escapes.
fn parameters<'a>(path: &'a [u8], name: &'a str) -> impl Iterator<Item = Vec<u8>> + 'a {
    let query = split_query(path).1.unwrap_or_default();
    let pairs = query
        .split(|byte| *byte == b'&')
        .map(|pair| split_once(pair, b'='));
    let named = pairs.filter(move |(other, _)| form_decoded(other) == name.as_bytes());
    named.map(move |(_, value)| form_decoded(value.unwrap_or_default()))
}

/// The host's name as it is compared: without its port and a last dot, in lower case.
fn host_of(authority: &[u8]) -> Vec<u8> {
    let is_address = authority.first() == Some(&b'[');
    let colon = authority
        .iter()
        .rposition(|byte| *byte == b':')
        .filter(|_| !is_address);
    let name = colon
        .and_then(|colon| authority.get(..colon))
        .unwrap_or(authority);
    let name = name.strip_suffix(b".").unwrap_or(name);
    name.to_ascii_lowercase()
}
