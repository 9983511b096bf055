//! What it costs to choose by what a body says: in instructions, for a small body and a large one, so that what each byte costs
//! can be told from what a request costs.

use super::instructions::ATTEMPTS;
use super::{Bench, compare, progress};
use crate::Error;
use crate::chat::{MODEL, Place, chat};
use crate::contender::{Contender, Gateway, Settings};
use crate::h2load::Load;
use crate::report::{Measurement, Metric, Sample};

/// A size: its name, its bytes, and how many requests warm up and are counted.
struct Size {
    name: &'static str,
    bytes: usize,
    warm_up: u32,
    requests: u32,
}

/// The sizes that are measured. Of the large ones fewer are as exact.
const SIZES: [Size; 2] = [
    Size {
        name: SMALL.0,
        bytes: SMALL.1,
        warm_up: 300,
        requests: 500,
    },
    Size {
        name: LARGE.0,
        bytes: LARGE.1,
        warm_up: 6,
        requests: 20,
    },
];

/// The small body: how columns end that are of it, and its bytes.
pub const SMALL: (&str, usize) = (" 1 KB", 1_000);
/// The large one.
pub const LARGE: (&str, usize) = (" 1 MB", 1_000_000);

/// The ways to choose by a body, and what they are compared with, by name.
pub(super) fn contenders() -> Vec<(&'static str, Contender)> {
    vec![
        ("bare", Contender::Bare),
        ("waykeeper", Contender::waykeeper()),
        ("rule", Contender::Waykeeper(Settings::with_rule(false))),
        ("renamed", Contender::Waykeeper(Settings::with_rule(true))),
        ("json_to_metadata", Contender::Metadata),
    ]
}

/// All of them, with an agent behind: who answers before the body has come need not read it.
pub(super) fn instructions(bench: &Bench) -> Result<Measurement, Error> {
    let site = bench.counting_site(bench.behind());
    let mut contenders = contenders();
    compare::retain_wanted(bench, &mut contenders);
    let mut measurement = Measurement {
        rounds: 1,
        ..Measurement::default()
    };
    // Each takes long to start, so all do at once.
    let starting = contenders
        .iter()
        .map(|(name, contender)| Ok((*name, site.launch(contender, 0)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    for (place, (name, starting)) in starting.into_iter().enumerate() {
        progress(place, contenders.len());
        let gateway = starting.serving()?;
        for size in &SIZES {
            let each = count(bench, &gateway, size)
                .map_err(|error| Error::new(format!("{name}: {error}\n{}", gateway.log())))?;
            let sample = Sample::from([(Metric::Instructions, each)]);
            measurement.add(&format!("{name}{}", size.name), sample);
        }
    }
    Ok(measurement)
}

fn count(bench: &Bench, gateway: &Gateway, size: &Size) -> Result<f64, Error> {
    let body = bench.scratch().join("chat");
    std::fs::write(&body, chat(MODEL, Place::First, size.bytes))
        .map_err(|error| Error::at(&body, error))?;
    let run = |requests: u32| {
        let load = Load {
            connections: 1,
            requests,
            body: Some(body.clone()),
            ..bench.load()
        };
        load.run(gateway.address(), bench.scratch()).map(|_| ())
    };
    // The first question to the validator may take longer than a gateway that is so slow will wait.
    let mut first = run(1);
    for _ in 1..ATTEMPTS {
        if first.is_ok() {
            break;
        }
        first = run(1);
    }
    first?;
    run(size.warm_up)?;
    let count = gateway.instructions(|| run(size.requests))?;
    Ok(count as f64 / f64::from(size.requests))
}
