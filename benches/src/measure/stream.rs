//! What one event of a stream costs: the difference between long streams and short ones, so that the requests
//! themselves do not count. Events come a millisecond apart, each by itself.

use super::{Bench, Lane};
use crate::Error;
use crate::contender::{Contender, Gateway};
use crate::h2load::Load;
use crate::report::{Measurement, Metric, Sample};

const SHORT: u32 = 20;
const LONG: u32 = 220;

/// Streams of each connection in a round.
const STREAMS: u32 = 2;

/// The difference is of thousands of events, and wanders less than requests do.
const ROUNDS: usize = 15;

pub(super) fn events(bench: &Bench) -> Result<Measurement, Error> {
    let site = bench.site(bench.behind());
    let running: Vec<(&str, Gateway)> = [
        ("bare", Contender::Bare),
        ("floor", Contender::Floor),
        ("waykeeper", Contender::waykeeper()),
    ]
    .into_iter()
    .map(|(name, contender)| Ok((name, site.start(&contender)?)))
    .collect::<Result<_, Error>>()?;
    let load = |events: u32| Load {
        requests: STREAMS * bench.plan.connections,
        paths: vec![format!("/v1/events/{events}")],
        ..bench.load()
    };
    let (short, long) = (load(SHORT), load(LONG));
    for (_, gateway) in &running {
        short.run(gateway.address(), bench.scratch())?;
    }
    let lanes = running
        .iter()
        .map(|(name, gateway)| Lane {
            name: (*name).to_owned(),
            sample: Box::new(|| {
                let few = bench.measure(gateway, &short)?;
                let many = bench.measure(gateway, &long)?;
                let cost = |sample: &Sample| sample.get(&Metric::Cpu).copied();
                let (Some(few), Some(many)) = (cost(&few), cost(&many)) else {
                    return Err(Error::new("no cost was measured"));
                };
                let each = (many - few) / f64::from(LONG - SHORT);
                Ok(Sample::from([(Metric::Cpu, each)]))
            }),
        })
        .collect();
    bench.rounds(bench.plan.rounds.min(ROUNDS), lanes)
}
