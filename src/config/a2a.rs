//! A2A on a route: who may use which methods, which versions, and what cards say.

use super::mcp::permissions;
use super::policy::{A2a, Protocol};
use super::reader::Spot;
use super::rules::Around;
use crate::text::a2a::names_of;
use crate::text::pattern::Pattern;

/// How large cards may be that are looked through.
const CARDS: std::ops::RangeInclusive<u64> = 1 << 10..=16 << 20;

/// As many versions as there may ever be, and some more.
const MOST_VERSIONS: usize = 16;

pub(super) const A2A_FIELDS: &[&str] = &[
    "methods",
    "versions",
    "rewrite_card",
    "public_url",
    "public_card",
    "max_card",
];

/// What a route lets those do who speak A2A to its agents. `key_needed`: nobody comes in without one.
#[inline(never)]
pub(super) fn a2a(
    spot: &Spot<'_>,
    around: &Around<'_>,
    protocol: Protocol,
    key_needed: bool,
) -> Option<A2a> {
    if protocol != Protocol::Http {
        spot.fault("is for routes of http: its answers may be streams or not");
    }
    let fields = spot.fields(A2A_FIELDS)?;
    let flag = |name| fields.get(name).and_then(|spot| spot.flag());
    let rewrite_card = flag("rewrite_card");
    let of_rewriting = |spot: &Spot<'_>| {
        if rewrite_card == Some(false) {
            spot.fault("has no meaning with rewrite_card: false");
        }
    };
    let public_url = fields.get("public_url").and_then(|spot| {
        of_rewriting(&spot);
        spot.checked(origin).map(str::to_owned)
    });
    let max_card = fields.get("max_card").and_then(|spot| {
        of_rewriting(&spot);
        spot.size(CARDS)
    });
    let public_card = fields.get("public_card").and_then(|spot| {
        let public = spot.flag()?;
        if public && !key_needed {
            spot.fault(
                "has no meaning with auth_required: false: everything on this route is public",
            );
        }
        Some(public)
    });
    let methods = fields.get("methods");
    let methods = methods.map(|spot| permissions(&spot, around.plans, key_needed, is_same_method));
    let versions = fields.get("versions").map(|spot| versions(&spot));
    Some(A2a {
        methods: methods.unwrap_or_default(),
        versions: versions.unwrap_or_default(),
        rewrite_card: rewrite_card.unwrap_or(true),
        public_url,
        public_card: public_card.unwrap_or(false),
        max_card: max_card.unwrap_or(A2a::MAX_CARD),
    })
}

/// One method has several names, and the entry that names it first counts for all of them.
fn is_same_method(one: &Pattern, other: &Pattern) -> bool {
    match (one, other) {
        (Pattern::Exact(one), Pattern::Exact(other)) => {
            one == other || names_of(one).is_some_and(|names| names.contains(&other.as_str()))
        }
        _ => one == other,
    }
}

fn versions(spot: &Spot<'_>) -> Vec<String> {
    let mut versions: Vec<String> = Vec::new();
    for item in spot.nonempty_list(MOST_VERSIONS).into_iter().flatten() {
        let Some(version) = item.checked(version) else {
            continue;
        };
        if versions.iter().any(|earlier| earlier == version) {
            item.fault("this version is already in the list");
        }
        versions.push(version.to_owned());
    }
    versions
}

fn version(text: &str) -> Result<(), String> {
    let is_number = |it: &str| {
        let plain = it == "0" || !it.starts_with('0');
        plain && (1..=4).contains(&it.len()) && it.bytes().all(|byte| byte.is_ascii_digit())
    };
    match text.split_once('.') {
        Some((major, minor)) if is_number(major) && is_number(minor) => Ok(()),
        _ => Err(
            "expected two numbers with a point between them, in quotes, such as \"1.0\"".to_owned(),
        ),
    }
}

fn origin(text: &str) -> Result<(), String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    match rest {
        Some(host) if !host.is_empty() && host.bytes().all(is_host) => Ok(()),
        _ => Err(
            "expected where callers find the gateway, without a path, such as https://agents.example.com"
                .to_owned(),
        ),
    }
}
