//! What becomes of the cost when there is more of something: clients, routes, workers.

use serde_json::json;

use super::latency::{ask, request};
use super::{Bench, Lane};
use crate::Error;
use crate::contender::{Contender, Gateway, PATH, Settings, Site, Target};
use crate::generator::Load;
use crate::h2load;
use crate::report::Measurement;
use crate::server::key;

/// As many routes are compared.
const ROUTES: [usize; 2] = [10, 1_000];

/// As many workers are compared.
const WORKERS: [u32; 2] = [1, 2];

/// Room in the tables for each client, so that none puts another out. The filter's own tables hold fewer than a
/// million, and put out what expires first; then the validator is asked anew, which is not what is measured here.
const ROOM: u64 = 4;

/// A limit under which what is counted is kept for a minute or more after each request, so that a million clients
/// are a million records at once; and of which so much is left that nobody is refused.
const LASTING_LIMIT: (&str, u32) = ("1/minute", 43_200);

/// All routes in turn.
pub(super) fn routes(bench: &Bench) -> Result<Measurement, Error> {
    let site = bench.site(Target::Direct);
    let mut running: Vec<(String, Gateway, h2load::Load)> = Vec::new();
    let paths = |number: usize| (0..number - 1).map(|route| format!("/v1/route-{route}/chat"));
    for number in ROUTES {
        let contender = Contender::Waykeeper(Settings {
            routes: number,
            ..Settings::default()
        });
        let load = h2load::Load {
            paths: paths(number).collect(),
            ..bench.load()
        };
        running.push((number.to_string(), site.start(&contender)?, load));
    }
    let load = h2load::Load {
        paths: paths(ROUTES[0]).collect(),
        ..bench.load()
    };
    running.push(("bare".to_owned(), site.start(&Contender::Bare)?, load));
    go(bench, &running)
}

/// One worker and two, each on whatever core is free.
pub(super) fn workers(bench: &Bench) -> Result<Measurement, Error> {
    // With a core to spare the load keeps it for itself.
    let on = match bench.cores.all.as_slice() {
        [_, others @ ..] if others.len() >= 2 => others,
        all => all,
    };
    let mut running: Vec<(String, Gateway, h2load::Load)> = Vec::new();
    for (name, contender) in [
        ("bare", Contender::Bare),
        ("waykeeper", Contender::waykeeper()),
    ] {
        for workers in WORKERS {
            let site = Site {
                workers,
                on,
                ..bench.site(Target::Direct)
            };
            running.push((
                format!("{name} {workers}"),
                site.start(&contender)?,
                bench.load(),
            ));
        }
    }
    go(bench, &running)
}

fn go(bench: &Bench, running: &[(String, Gateway, h2load::Load)]) -> Result<Measurement, Error> {
    for (_, gateway, load) in running {
        load.run(gateway.address(), bench.scratch())?;
    }
    let lanes = running
        .iter()
        .map(|(name, gateway, load)| Lane {
            name: name.clone(),
            sample: Box::new(|| bench.measure(gateway, load)),
        })
        .collect();
    bench.rounds(bench.plan.rounds, lanes)
}

/// Waykeeper with tables in which so many clients are remembered, and counted.
pub(super) fn with_room_for(clients: u64) -> Contender {
    let (requests, burst) = LASTING_LIMIT;
    let records = (clients * ROOM).next_power_of_two();
    Contender::Waykeeper(Settings {
        plan: Some(json!({"requests": requests, "burst": burst})),
        tables: Some(json!({"keys": records, "counters": records})),
        ..Settings::default()
    })
}

/// Another client in each request, of few and of many, all of them remembered.
pub(super) fn clients(bench: &Bench) -> Result<Measurement, Error> {
    let site = bench.site(Target::Direct);
    let most = bench.plan.clients.iter().copied().max().unwrap_or(1);
    let contender = with_room_for(most.max(1 << 14));
    let mut running: Vec<(String, Gateway, u64)> =
        vec![("bare".to_owned(), site.start(&Contender::Bare)?, most)];
    for clients in &bench.plan.clients {
        running.push((clients.to_string(), site.start(&contender)?, *clients));
    }

    let load = Load {
        connections: bench.plan.connections as usize,
        requests: u64::from(bench.plan.requests),
        rate: None,
    };
    // Everyone calls once, which is when the validator is asked.
    for (_, gateway, clients) in &running {
        let all = Load {
            requests: *clients,
            ..load
        };
        let mut template = Template::new();
        ask(&all, gateway, &mut |number, bytes| {
            template.write(number, bytes)
        })?;
    }
    let lanes = running
        .iter()
        .map(|(name, gateway, clients)| {
            let mut template = Template::new();
            let mut random = Walk::new(*clients);
            let sample = move || {
                bench.observe(gateway, f64::from(bench.plan.requests), || {
                    ask(&load, gateway, &mut |_, bytes| {
                        template.write(random.next(), bytes)
                    })
                })
            };
            Lane {
                name: name.clone(),
                sample: Box::new(sample),
            }
        })
        .collect();
    bench.rounds(bench.plan.rounds, lanes)
}

/// A request into which a key is put, for as little time of the load's as can be.
pub(super) struct Template {
    bytes: Vec<u8>,
    /// Where the key stands.
    place: std::ops::Range<usize>,
}

impl Template {
    pub(super) fn new() -> Self {
        let key = key(0);
        let text = request(PATH, &key);
        let start = text.find(&key).unwrap_or(0);
        Self {
            place: start..start + key.len(),
            bytes: text.into_bytes(),
        }
    }

    /// Writes the request with a good key.
    pub(super) fn write(&mut self, client: u64, bytes: &mut Vec<u8>) {
        self.write_key(&key(client), bytes);
    }

    /// Writes the request with any key of the usual length.
    pub(super) fn write_key(&mut self, key: &str, bytes: &mut Vec<u8>) {
        if let Some(place) = self.bytes.get_mut(self.place.clone()) {
            place.copy_from_slice(key.as_bytes());
        }
        bytes.extend_from_slice(&self.bytes);
    }
}

/// Goes through the numbers below a limit in an order without neighbours, each as often as another.
pub(super) struct Walk {
    limit: u64,
    step: u64,
    place: u64,
}

impl Walk {
    pub(super) fn new(limit: u64) -> Self {
        let common = |mut a: u64, mut b: u64| {
            while b > 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        // By the golden ratio, which comes near an earlier place as late as can be.
        let wanted = (limit as f64 * 0.618_033_988_75) as u64;
        let step = (wanted..=limit).find(|step| common(*step, limit) == 1);
        Self {
            limit,
            step: step.unwrap_or(1),
            place: 0,
        }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.place = (self.place + self.step) % self.limit;
        self.place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_comes_by_everyone_before_anyone_twice() {
        for limit in [1, 2, 10, 10_000] {
            let mut walk = Walk::new(limit);
            let mut seen: Vec<u64> = (0..limit).map(|_| walk.next()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..limit).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_template_holds_the_key_it_is_given() {
        let mut bytes = Vec::new();
        Template::new().write(999_999, &mut bytes);
        assert_eq!(String::from_utf8(bytes), Ok(request(PATH, &key(999_999))));
    }
}
