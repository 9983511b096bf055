//! Instructions of Envoy for a request: what no noise of the machine touches. They say nothing of memory that is far away or
//! of the kernel's work, which processor time does.

use super::growth::{Template, Walk, with_room_for};
use super::latency::ask;
use super::{Bench, Lane, client_headers, compare};
use crate::Error;
use crate::contender::{Contender, Gateway, PATH, Probe, Site, Target};
use crate::exchange::get;
use crate::generator;
use crate::h2load::Load;
use crate::report::{Measurement, Metric, Sample};
use crate::server::key;

/// Until Envoy, the module's compiler and all caches have settled.
const WARM_UP: u32 = 300;
const REQUESTS: u32 = 500;
pub(super) const ATTEMPTS: usize = 20;

/// The most clients that are told apart here. Each is introduced by a question to the validator.
const MOST_CLIENTS: u64 = 1_000;
/// As many clients are compared.
const CLIENTS: [(&str, u64); 2] = [("10", 10), ("1000", MOST_CLIENTS)];

/// All contenders that run in Envoy.
pub(super) fn of_contenders(bench: &Bench) -> Result<Measurement, Error> {
    let mut contenders = compare::contenders(bench);
    contenders.retain(|(_, contender)| *contender != Contender::Tutorial);
    count(bench, &contenders, Target::Direct)
}

/// What settings of Waykeeper cost or save.
pub(super) fn of_settings(bench: &Bench) -> Result<Measurement, Error> {
    let mut contenders = vec![("bare", Contender::Bare)];
    contenders.extend(
        compare::settings()
            .into_iter()
            .map(|(name, settings)| (name, Contender::Waykeeper(settings))),
    );
    compare::retain_wanted(bench, &mut contenders);
    count(bench, &contenders, Target::Direct)
}

/// What it costs to judge an agent, by what callers get or by each attempt on its side.
pub(super) fn of_judges(bench: &Bench) -> Result<Measurement, Error> {
    let mut contenders = vec![("bare", Contender::Bare)];
    let judges = compare::judges().into_iter();
    contenders.extend(judges.map(|(name, settings)| (name, Contender::Waykeeper(settings))));
    compare::retain_wanted(bench, &mut contenders);
    count(bench, &contenders, bench.behind())
}

/// What each call between Envoy and a module costs.
pub(super) fn of_calls(bench: &Bench) -> Result<Measurement, Error> {
    let mut contenders = vec![("bare", Contender::Bare), ("empty", Contender::Empty)];
    contenders.extend(Probe::ALL.map(|probe| (probe.name(), Contender::Probe(probe))));
    compare::retain_wanted(bench, &mut contenders);
    count(bench, &contenders, Target::Direct)
}

/// Another client in each request, of few and of many, in tables of one size. What the many cost beyond the few is what any
/// number costs whose records lie as densely, such as a million in the measurement by processor time: instructions know only
/// how full cells are. Few are remembered by the worker itself; of the many it has not just seen any.
pub(super) fn of_clients(bench: &Bench) -> Result<Measurement, Error> {
    let site = bench.counting_site(Target::Direct);
    let mut wanted = vec![("bare", Contender::Bare)];
    wanted.extend(CLIENTS.map(|(name, _)| (name, with_room_for(MOST_CLIENTS))));
    compare::retain_wanted(bench, &mut wanted);
    let lanes = wanted
        .into_iter()
        .map(|(name, contender)| Lane {
            name: name.to_owned(),
            sample: Box::new({
                let site = &site;
                move || of_so_many(site, &contender, clients_of(name))
            }),
        })
        .collect();
    bench.rounds(1, lanes)
}

fn clients_of(name: &str) -> u64 {
    let named = CLIENTS.into_iter().find(|(other, _)| *other == name);
    named.map_or(MOST_CLIENTS, |(_, clients)| clients)
}

fn of_so_many(site: &Site<'_>, contender: &Contender, clients: u64) -> Result<Sample, Error> {
    let gateway = site.start(contender)?;
    if *contender != Contender::Bare {
        introduce(&gateway)?;
    }
    let mut template = Template::new();
    let mut run = |requests: u64, client: &mut dyn FnMut(u64) -> u64| {
        let load = generator::Load {
            connections: 1,
            requests,
            rate: None,
        };
        ask(&load, &gateway, &mut |number, bytes| {
            template.write(client(number), bytes);
        })
        .map(|_| ())
    };
    run(clients, &mut |number| number)?;
    let mut walk = Walk::new(clients);
    run(WARM_UP.into(), &mut |_| walk.next())?;
    let count = gateway.instructions(|| run(REQUESTS.into(), &mut |_| walk.next()))?;
    Ok(Sample::from([(
        Metric::Instructions,
        count as f64 / f64::from(REQUESTS),
    )]))
}

/// The first question to the validator may take longer than a gateway that is so slow will wait.
fn introduce(gateway: &Gateway) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        // On a busy machine it may take longer than we wait, too.
        let answer = get(gateway.address(), PATH, &client_headers(&key(7)));
        if answer.is_ok_and(|answer| answer.status == 200) {
            return Ok(());
        }
    }
    Err(Error::new(format!("no good answer\n{}", gateway.log())))
}

fn count(
    bench: &Bench,
    contenders: &[(&str, Contender)],
    target: Target,
) -> Result<Measurement, Error> {
    let site = bench.counting_site(target);
    let load = |requests| Load {
        connections: 1,
        requests,
        ..bench.load()
    };
    let run = |gateway: &Gateway, requests: u32| {
        load(requests)
            .run(gateway.address(), bench.scratch())
            .map(|_| ())
    };
    let lanes = contenders
        .iter()
        .map(|(name, contender)| Lane {
            name: (*name).to_owned(),
            sample: Box::new({
                let (site, run) = (&site, &run);
                move || {
                    let gateway = site.start(contender)?;
                    introduce(&gateway)?;
                    run(&gateway, WARM_UP)?;
                    let count = gateway.instructions(|| run(&gateway, REQUESTS))?;
                    let each = count as f64 / f64::from(REQUESTS);
                    Ok(Sample::from([(Metric::Instructions, each)]))
                }
            }),
        })
        .collect();
    // Once is enough: it comes to the same again.
    bench.rounds(1, lanes)
}
