//! From the start of Envoy to its first good answer: what a new replica needs before it is of use.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::{Bench, Lane, client_headers};
use crate::Error;
use crate::contender::{Contender, PATH, Site, Target};
use crate::exchange::get;
use crate::report::{Measurement, Metric, Sample};
use crate::server::key;

/// Starts are slow and alike.
const ROUNDS: usize = 10;

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);

pub(super) fn cold(bench: &Bench) -> Result<Measurement, Error> {
    // Envoy compiles on as many cores as it is given.
    let site = Site {
        on: &bench.cores.all,
        ..bench.site(Target::Direct)
    };
    let lane = |name: &str, contender: Contender| Lane {
        name: name.to_owned(),
        sample: Box::new({
            let site = &site;
            move || start(site, &contender)
        }),
    };
    let lanes = vec![
        lane("bare", Contender::Bare),
        lane("floor", Contender::Floor),
        lane("waykeeper", Contender::waykeeper()),
    ];
    bench.rounds(bench.plan.rounds.min(ROUNDS), lanes)
}

fn start(site: &Site<'_>, contender: &Contender) -> Result<Sample, Error> {
    let address = free_address()?;
    let headers = client_headers(&key(7));
    let mut starting = site.launch(contender, address.port())?;
    loop {
        // Refused, or not yet able to ask the validator.
        if get(address, PATH, &headers).is_ok_and(|answer| answer.status == 200) {
            let took = starting.started().elapsed();
            let gateway = starting.at(address);
            return Ok(Sample::from([
                (Metric::Start, took.as_secs_f64()),
                (Metric::PeakMemory, gateway.process().peak_memory()? as f64),
            ]));
        }
        if let Some(how) = starting.ended() {
            return Err(Error::new(format!("envoy ended: {how}")));
        }
        if starting.started().elapsed() > PATIENCE {
            return Err(Error::new("envoy gives no good answer"));
        }
        std::thread::sleep(POLL);
    }
}

/// An address that nobody listens on. Somebody else could take it before Envoy does, who would then say so.
fn free_address() -> Result<SocketAddr, Error> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| Error::new(format!("no free port: {error}")))
}
