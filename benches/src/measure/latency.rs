//! How long requests take while the gateway is not at its limit, which is how gateways are run: at a steady rate, half
//! of what bare Envoy can do.

use super::{Bench, Lane, client_headers};
use crate::Error;
use crate::contender::{Contender, Gateway, PATH};
use crate::generator::Load;
use crate::report::{Measurement, Metric, Sample};
use crate::server::key;
use crate::statistics::median;

/// Loads that tell what bare Envoy can do.
const TRIALS: usize = 3;

pub(super) fn at_half_load(bench: &Bench) -> Result<Measurement, Error> {
    let site = bench.site(bench.behind());
    let running: Vec<(&str, Gateway)> = [
        ("bare", Contender::Bare),
        ("floor", Contender::Floor),
        ("lua", Contender::Lua),
        ("waykeeper", Contender::waykeeper()),
    ]
    .into_iter()
    .map(|(name, contender)| Ok((name, site.start(&contender)?)))
    .collect::<Result<_, Error>>()?;

    // What one connection after the other asks as fast as it can, to warm up and to find the limit.
    let mut limits = Vec::new();
    for (name, gateway) in &running {
        for _ in 0..TRIALS {
            let outcome = bench.load().run(gateway.address(), bench.scratch())?;
            if *name == "bare" {
                limits.push(outcome.throughput);
            }
        }
    }
    let rate = median(&limits).unwrap_or(1.0) / 2.0;

    let request = request(PATH, &key(7));
    let load = Load {
        connections: bench.plan.connections as usize,
        requests: u64::from(bench.plan.requests),
        rate: Some(rate),
    };
    let lanes = running
        .iter()
        .map(|(name, gateway)| Lane {
            name: (*name).to_owned(),
            sample: Box::new(|| {
                bench.observe(gateway, f64::from(bench.plan.requests), || {
                    ask(&load, gateway, &mut |_, bytes| {
                        bytes.extend_from_slice(request.as_bytes());
                    })
                })
            }),
        })
        .collect();
    bench.rounds(bench.plan.rounds, lanes)
}

/// Puts a load on a gateway that refuses none of it.
pub(super) fn ask(
    load: &Load,
    gateway: &Gateway,
    request: &mut dyn FnMut(u64, &mut Vec<u8>),
) -> Result<Sample, Error> {
    let outcome = load.run(gateway.address(), request)?;
    if outcome.refused > 0 {
        return Err(Error::new(format!(
            "of {} requests {} were not answered by 2xx\n{}",
            load.requests,
            outcome.refused,
            gateway.log()
        )));
    }
    Ok(Sample::from([
        (Metric::Throughput, outcome.throughput),
        (Metric::P50, outcome.p50),
        (Metric::P99, outcome.p99),
    ]))
}

/// A request as `h2load` sends it.
pub(super) fn request(path: &str, key: &str) -> String {
    let headers: String = client_headers(key)
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("GET {path} HTTP/1.1\r\nhost: gateway\r\nuser-agent: bench\r\n{headers}\r\n")
}
