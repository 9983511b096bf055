//! The memory that Envoy has had at most after as many requests with few keys and with many, good ones and bad ones, in
//! tables of the filter's own sizes.

use super::growth::Template;
use super::{Bench, progress};
use crate::Error;
use crate::contender::{Contender, Target};
use crate::generator::Load;
use crate::report::{Measurement, Metric, Sample};
use crate::server::{bad_key, key};

/// With which many keys are compared.
const FEW: u64 = 10;

pub(super) fn of_many_keys(bench: &Bench) -> Result<Measurement, Error> {
    let many = bench.plan.keys;
    let load = Load {
        connections: bench.plan.connections as usize,
        requests: 2 * many,
        rate: None,
    };
    let mut measurement = Measurement {
        rounds: 1,
        ..Measurement::default()
    };
    for keys in [FEW, many] {
        progress(0, 1);
        let gateway = bench.site(Target::Direct).start(&Contender::waykeeper())?;
        let mut template = Template::new();
        let sample = bench.observe(&gateway, load.requests as f64, || {
            let outcome = load.run(gateway.address(), &mut |number, bytes| {
                let key = match number % 2 {
                    0 => key(number / 2 % keys),
                    _ => bad_key(number / 2 % keys),
                };
                template.write_key(&key, bytes);
            })?;
            if outcome.good != many || outcome.refused != many {
                return Err(Error::new(format!(
                    "of {many} good keys {} were let through, of as many bad ones {} refused",
                    outcome.good, outcome.refused
                )));
            }
            Ok(Sample::from([(Metric::Throughput, outcome.throughput)]))
        })?;
        measurement.add(&keys.to_string(), sample);
    }
    Ok(measurement)
}
