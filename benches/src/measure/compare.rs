//! All contenders side by side.

use serde_json::{Value, json};

use super::{Bench, Lane};
use crate::Error;
use crate::contender::{Contender, Gateway, Limits, Settings, Target};
use crate::h2load::Load;
use crate::report::Measurement;

/// The tutorial's gateway takes fifty times as long for a request, and wanders no more for it.
const TUTORIAL_REQUESTS: u32 = 20;

/// All contenders, by name.
pub(super) fn contenders(bench: &Bench) -> Vec<(&'static str, Contender)> {
    let mut all = vec![
        ("bare", Contender::Bare),
        ("empty", Contender::Empty),
        ("floor", Contender::Floor),
        ("floor-equal", Contender::EqualFloor),
        ("native", Contender::Native),
        ("lua", Contender::Lua),
        ("ext_authz", Contender::Authorizer),
        ("ext_authz+limit", Contender::AuthorizerLimited),
        ("waykeeper", Contender::waykeeper()),
        ("waykeeper-large", Contender::waykeeper_large()),
        ("tutorial", Contender::Tutorial),
    ];
    retain_wanted(bench, &mut all);
    if let Some(module) = &bench.plan.against {
        let settings = Settings {
            module: Some(module.clone()),
            ..Settings::default()
        };
        all.push(("waykeeper-other", Contender::Waykeeper(settings)));
    }
    all
}

/// Keeps those that were asked for; all, if none was.
pub(super) fn retain_wanted<T>(bench: &Bench, all: &mut Vec<(&str, T)>) {
    let wanted = &bench.plan.contenders;
    all.retain(|(name, _)| wanted.is_empty() || wanted.iter().any(|other| other == name));
}

fn resting(rest: Value) -> Value {
    json!({"agents": {"demo": {"cluster": "upstream", "rest": rest}}})
}

/// The ways to judge an agent, with it behind.
pub(super) fn judges() -> Vec<(&'static str, Settings)> {
    let with = |rest| Settings {
        more: Some(resting(rest)),
        ..Settings::default()
    };
    let each = Settings {
        judges_attempts: true,
        ..with(json!({"each_attempt": true}))
    };
    vec![
        ("waykeeper", Settings::default()),
        ("rest", with(json!({}))),
        ("each-attempt", each),
    ]
}

/// Waykeeper in one configuration after the other, each with one thing changed, by name.
pub(super) fn settings() -> Vec<(&'static str, Settings)> {
    let with_limits = |limits| Settings {
        limits,
        ..Settings::default()
    };
    let with = |more| Settings {
        more: Some(more),
        ..Settings::default()
    };
    let forwarded = json!({"address": {"from": "x-forwarded-for"}});
    let streams = json!({"routes": [{"prefix": "/v1", "agents": ["demo"], "streams": true}]});
    let rest = resting(json!({}));
    vec![
        ("waykeeper", Settings::default()),
        ("tell-ratelimit", with(json!({"tell": ["ratelimit"]}))),
        ("tell-openai", with(json!({"tell": ["openai"]}))),
        ("tell-nothing", with(json!({"tell": []}))),
        ("see-client", with(json!({"agents_see": ["client"]}))),
        ("see-nothing", with(json!({"agents_see": []}))),
        ("neither", with(json!({"tell": [], "agents_see": []}))),
        ("streams", with(streams)),
        ("rest", with(rest)),
        ("three-of-client", with_limits(Limits::ThreeOfClient)),
        ("three", with_limits(Limits::Three)),
        (
            "three-forwarded",
            Settings {
                more: Some(forwarded),
                ..with_limits(Limits::Three)
            },
        ),
    ]
}

/// Against a response that Envoy gives itself: nothing but the contender takes time.
pub(super) fn direct(bench: &Bench) -> Result<Measurement, Error> {
    let mut contenders = contenders(bench);
    // It has no answer of its own to give.
    contenders.retain(|(_, contender)| *contender != Contender::Tutorial);
    compare(bench, &contenders, Target::Direct, &bench.load())
}

/// Against an agent that answers at once.
pub(super) fn upstream(bench: &Bench) -> Result<Measurement, Error> {
    compare(bench, &contenders(bench), bench.behind(), &bench.load())
}

/// The same with a body of a kilobyte, as chats are asked.
pub(super) fn posted(bench: &Bench) -> Result<Measurement, Error> {
    let body = bench.scratch().join("body");
    let words = "How many roads must be walked? ".repeat(30);
    let text = format!(
        "{{\"model\":\"demo\",\"messages\":[{{\"role\":\"user\",\"content\":\"{words}\"}}]}}"
    );
    std::fs::write(&body, text).map_err(|error| Error::at(&body, error))?;
    let load = Load {
        body: Some(body),
        ..bench.load()
    };
    let mut contenders = contenders(bench);
    contenders.retain(|(name, _)| {
        [
            "bare",
            "floor",
            "floor-equal",
            "waykeeper",
            "waykeeper-other",
        ]
        .contains(name)
    });
    compare(bench, &contenders, bench.behind(), &load)
}

fn compare(
    bench: &Bench,
    contenders: &[(&'static str, Contender)],
    target: Target,
    load: &Load,
) -> Result<Measurement, Error> {
    let site = bench.site(target);
    let mut running: Vec<(&str, Gateway, Load)> = Vec::new();
    for (name, contender) in contenders {
        let gateway = site
            .start(contender)
            .map_err(|error| Error::new(format!("{name}: {error}")))?;
        let requests = match contender {
            Contender::Tutorial => (load.requests / TUTORIAL_REQUESTS).max(load.connections),
            _ => load.requests,
        };
        let load = Load {
            requests,
            ..load.clone()
        };
        running.push((name, gateway, load));
    }
    for (name, gateway, load) in &running {
        load.run(gateway.address(), bench.scratch())
            .map_err(|error| Error::new(format!("{name}: {error}\n{}", gateway.log())))?;
    }
    let lanes = running
        .iter()
        .map(|(name, gateway, load)| Lane {
            name: (*name).to_owned(),
            sample: Box::new(move || bench.measure(gateway, load)),
        })
        .collect();
    bench.rounds(bench.plan.rounds, lanes)
}
