//! Everything that the benchmark compares does the work it is compared for: what would be faster because it does less
//! fails here. Nothing is measured.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use waykeeper_bench::chat::{MODEL, OTHER_MODEL, Place, chat};
use waykeeper_bench::contender::{
    Contender, Gateway, Limit, OWN_NAME, PATH, Probe, Settings, Site, Target, Tools,
};
use waykeeper_bench::cores::Cores;
use waykeeper_bench::exchange::{Answer, get, post};
use waykeeper_bench::h2load::Load;
use waykeeper_bench::machine::Machine;
use waykeeper_bench::measure::{ALL, Bench, LARGE, Plan, client_headers};
use waykeeper_bench::report::{Build, Metric, Report, Run};
use waykeeper_bench::server::{Server, bad_key, client, key};
use waykeeper_bench::{balance, chart, table};

/// A path whose answer tells what arrived at the agent.
const ECHO: &str = "/v1/route-137/echo";

/// Small enough to be used up one by one.
const LIMIT: u32 = 20;

/// For what comes in a while.
const PATIENCE: Duration = Duration::from_secs(20);

/// A contender with an agent behind it.
struct World {
    gateway: Gateway,
    agent: Server,
    authority: Server,
}

impl World {
    fn start(contender: &Contender, limit: Limit, behind: bool) -> Self {
        let tools = Tools::here();
        let cores = Cores::anywhere().expect("cores");
        let agent = Server::start(&cores.load).expect("an agent");
        let authority = Server::start(&cores.load).expect("a validator");
        let site = Site {
            tools: &tools,
            cores: &cores,
            on: &cores.gateway,
            workers: 1,
            target: if behind {
                Target::Agent(agent.address())
            } else {
                Target::Direct
            },
            authority: authority.address(),
            limit,
            counted: false,
        };
        let gateway = site
            .start(contender)
            .unwrap_or_else(|error| panic!("{error}"));
        Self {
            gateway,
            agent,
            authority,
        }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    fn get(&self, path: &str, key: Option<&str>) -> Answer {
        let mut headers = client_headers(key.unwrap_or_default());
        if key.is_none() {
            headers.retain(|(name, _)| name != "x-api-key");
        }
        get(self.address(), path, &headers).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What of a few hundred requests with one key is let through.
    fn admitted(&self, key: &str) -> u32 {
        let statuses = (0..3 * LIMIT).map(|_| self.get(PATH, Some(key)).status);
        statuses.fold(0, |admitted, status| match status {
            200 => admitted + 1,
            429 => admitted,
            other => panic!("status {other}: {}", self.gateway.log()),
        })
    }

    fn statistic(&self, name: &str) -> String {
        self.gateway
            .statistics(name)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Only good keys are let through, the agent learns who called, and each client has its own limit.
fn guards(contender: &Contender) -> World {
    let world = World::start(contender, Limit::AnHour(LIMIT), true);
    assert_eq!(world.get(PATH, None).status, 401, "without a key");
    assert_eq!(
        world.get(PATH, Some(&bad_key(7))).status,
        401,
        "with a bad key"
    );
    assert_eq!(world.agent.answered(), 0, "nothing was passed on");

    let echo = world.get(ECHO, Some(&key(7)));
    assert_eq!(echo.status, 200, "with a good key: {}", world.gateway.log());
    let told = echo
        .body
        .lines()
        .find_map(|line| line.strip_prefix("x-waykeeper-client: "));
    match contender {
        // It has no names, only hashes.
        Contender::Floor => assert_eq!(told.map(str::len), Some(8), "{}", echo.body),
        _ => assert_eq!(told, Some(client(7).as_str()), "{}", echo.body),
    }

    if *contender == Contender::Authorizer {
        assert_eq!(world.admitted(&key(7)), 3 * LIMIT, "it knows no limits");
    } else {
        assert_eq!(world.admitted(&key(7)), LIMIT - 1, "after the one above");
        assert_eq!(world.admitted(&key(8)), LIMIT, "each client by itself");
    }
    world
}

/// Takes the load that is measured, without refusing any of it.
fn bears_load(contender: &Contender, behind: bool) {
    let world = World::start(contender, Limit::Unreached, behind);
    let scratch = tempfile::tempdir().expect("a directory");
    let load = Load {
        connections: 16,
        requests: 200,
        paths: vec![PATH.to_owned()],
        headers: client_headers(&key(7)),
        body: None,
    };
    let outcome = load
        .run(world.address(), scratch.path())
        .unwrap_or_else(|error| panic!("{error}\n{}", world.gateway.log()));
    assert!(outcome.throughput > 0.0 && outcome.p50 <= outcome.p99);
    let used = world.gateway.process().processor_time();
    assert!(used.expect("a process").as_micros() > 0);
    assert_eq!(
        world.agent.answered(),
        if behind { 200 } else { 0 },
        "requests at the agent"
    );
}

#[test]
fn bare_envoy_passes_everything_on() {
    let world = World::start(&Contender::Bare, Limit::AnHour(LIMIT), true);
    let echo = world.get(ECHO, None);
    assert_eq!(echo.status, 200);
    assert!(!echo.body.contains("x-waykeeper-"), "{}", echo.body);
    bears_load(&Contender::Bare, false);
}

#[test]
fn the_empty_module_runs_and_changes_nothing() {
    let world = World::start(&Contender::Empty, Limit::AnHour(LIMIT), true);
    assert_eq!(world.admitted(&key(7)), 3 * LIMIT);
    let machines = world.statistic("wasm.envoy.wasm.runtime.v8.active");
    assert!(
        machines.ends_with(": 2") || machines.ends_with(": 3"),
        "\"{machines}\""
    );
    bears_load(&Contender::Empty, false);
}

#[test]
fn the_floor_identifies_limits_and_counts() {
    let world = guards(&Contender::Floor);
    let counted = world.statistic("floor_requests_total");
    let admitted = 2 * LIMIT;
    assert_eq!(
        counted,
        format!("wasmcustom.floor_requests_total: {admitted}")
    );
    bears_load(&Contender::Floor, false);
}

#[test]
fn the_equal_floor_identifies_limits_and_counts() {
    let world = guards(&Contender::EqualFloor);
    let counted = |name: &str| {
        let told = world.statistic(name);
        told.rsplit(": ")
            .next()
            .and_then(|number| number.parse().ok())
    };
    assert_eq!(counted("equal_requests_total"), Some(2 * LIMIT));
    // All that came with a good key.
    let with_key = 1 + 2 * 3 * LIMIT;
    assert_eq!(counted("equal_remembered_keys_total"), Some(with_key));
    bears_load(&Contender::EqualFloor, false);
}

/// What is measured against it is compared with the same work: all headers on both sides, names and values.
#[test]
fn the_equal_floor_changes_the_same_headers_as_waykeeper() {
    // Each world's own, or the time of day.
    const OWN: [&str; 6] = [
        "content-length",
        "date",
        "host",
        "server",
        "x-request-id",
        "x-envoy-upstream-service-time",
    ];
    let headers = |contender: &Contender| {
        let world = World::start(contender, Limit::AnHour(LIMIT), true);
        let mut sent = client_headers(&key(7));
        for name in [
            "x-waykeeper-team",
            "x_waykeeper_client",
            "x-envoy-original-path",
        ] {
            sent.push((name.to_owned(), "forged".to_owned()));
        }
        let answer = get(world.address(), ECHO, &sent).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(answer.status, 200, "{contender:?}");
        let lines = answer.body.lines().filter_map(|line| line.split_once(": "));
        let told = answer
            .headers
            .iter()
            .map(|(name, value)| (&**name, &**value));
        let sorted = |all: &mut dyn Iterator<Item = (&str, &str)>| {
            let mut all: Vec<_> = all
                .filter(|(name, _)| !OWN.contains(name))
                .map(|(name, value)| format!("{name}: {value}"))
                .collect();
            all.sort();
            all
        };
        (
            sorted(&mut lines.into_iter()),
            sorted(&mut told.into_iter()),
        )
    };
    let (to_agent, to_caller) = headers(&Contender::EqualFloor);
    let (wanted_to_agent, wanted_to_caller) = headers(&Contender::waykeeper());
    assert_eq!(to_agent, wanted_to_agent);
    assert_eq!(to_caller, wanted_to_caller);
    assert!(
        to_agent.contains(&"x-waykeeper-client: client-7".to_owned()),
        "{to_agent:?}"
    );
    assert!(
        to_caller.contains(&"ratelimit: \"plan\";r=19;t=180".to_owned()),
        "{to_caller:?}"
    );
}

#[test]
fn envoys_own_filters_identify_and_limit() {
    guards(&Contender::Native);
    bears_load(&Contender::Native, false);
}

#[test]
fn lua_identifies_and_limits() {
    guards(&Contender::Lua);
    bears_load(&Contender::Lua, false);
}

#[test]
fn the_authorizer_is_asked_about_each_request() {
    let world = guards(&Contender::Authorizer);
    // Without a key, with a bad one, the echo, and all after it.
    assert_eq!(world.authority.answered(), u64::from(3 + 3 * LIMIT));
    bears_load(&Contender::Authorizer, false);
}

#[test]
fn a_limit_behind_the_authorizer_counts_its_clients() {
    guards(&Contender::AuthorizerLimited);
    bears_load(&Contender::AuthorizerLimited, false);
}

#[test]
fn waykeeper_asks_once_for_each_key_and_does_all_its_work() {
    let world = guards(&Contender::waykeeper());
    assert_eq!(
        world.authority.answered(),
        3,
        "the bad key and two good ones"
    );
    for outcome in ["allowed", "missing_key", "invalid_key", "rate_limited"] {
        let deadline = Instant::now() + PATIENCE;
        let named = format!("outcome={outcome};");
        // A filter may hand its counters over in a while.
        while !world.statistic("waykeeper_requests_total").contains(&named) {
            assert!(Instant::now() < deadline, "nothing counted as {outcome}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let refused = world.get(ECHO, Some(&key(7)));
    let policy = refused.header("ratelimit-policy");
    assert_eq!(policy, Some("\"plan\";q=20;w=3600"));
    bears_load(&Contender::waykeeper(), false);
}

#[test]
fn waykeeper_with_three_limits_keeps_them_all() {
    let contender = Contender::waykeeper_large();
    let world = World::start(&contender, Limit::AnHour(LIMIT), true);
    let admitted = world.get(ECHO, Some(&key(7)));
    assert_eq!(admitted.status, 200);
    let policy = admitted.header("ratelimit-policy").unwrap_or_default();
    for name in ["\"plan\"", "\"route\"", "\"per-address\""] {
        assert!(policy.contains(name), "{policy}");
    }
    assert_eq!(world.admitted(&key(7)), LIMIT - 1, "after the one above");
    assert_eq!(world.admitted(&key(8)), 0, "the address has a limit too");
    bears_load(&contender, false);
}

/// Each way to choose by a body lets through who asks for the model, wherever that stands, and nobody else.
#[test]
fn whoever_chooses_by_the_body_does_it_by_its_model() {
    for contender in [
        Contender::Waykeeper(Settings::with_rule(false)),
        Contender::Waykeeper(Settings::with_rule(true)),
        Contender::Metadata,
    ] {
        let world = World::start(&contender, Limit::Unreached, true);
        let ask = |model: &str, place| {
            let body = chat(model, place, 1_000);
            post(world.address(), ECHO, &client_headers(&key(7)), &body)
                .unwrap_or_else(|error| panic!("{error}"))
        };
        for place in [Place::First, Place::Last] {
            let refused = ask(OTHER_MODEL, place);
            assert!(refused.status >= 400, "{contender:?}: {refused:?}");
            assert_eq!(world.agent.answered(), 0, "{contender:?}");
        }
        let renamed = contender == Contender::Waykeeper(Settings::with_rule(true));
        let longer = if renamed {
            OWN_NAME.len() - MODEL.len()
        } else {
            0
        };
        let length = format!("content-length: {}\r\n", 1_000 + longer);
        for place in [Place::First, Place::Last] {
            let answer = ask(MODEL, place);
            assert_eq!(answer.status, 200, "{contender:?}: {}", world.gateway.log());
            assert!(answer.body.contains(&length), "{contender:?}: {answer:?}");
        }
        // The large body that is measured goes through as well.
        let large = chat(MODEL, Place::First, LARGE.1);
        let answer = post(world.address(), PATH, &client_headers(&key(7)), &large);
        assert_eq!(answer.map(|it| it.status).ok(), Some(200), "{contender:?}");
    }
}

#[test]
fn the_tutorials_gateway_identifies_limits_and_passes_on() {
    guards(&Contender::Tutorial);
    bears_load(&Contender::Tutorial, true);
}

#[test]
fn a_run_leaves_numbers_of_which_everything_is_said() {
    let tools = Tools::here();
    let cores = Cores::anywhere().expect("cores");
    let plan = Plan {
        rounds: 1,
        requests: 64,
        clients: vec![2, 20],
        keys: 20,
        contenders: ["bare", "floor", "floor-equal", "waykeeper"]
            .map(str::to_owned)
            .to_vec(),
        ..Plan::quick()
    };
    let machine = Machine::this(&tools, cores.all.len());
    assert!(machine.envoy.starts_with("1."), "{machine}");
    let mut run = Run {
        started: String::new(),
        command: "make bench-smoke".to_owned(),
        filter: Build {
            sha256: "0".repeat(64),
            bytes: 1,
        },
        measurements: Default::default(),
    };
    let bench = Bench::new(tools, cores, plan).expect("a bench");
    for named in ALL {
        if [
            "direct", "latency", "events", "pieces", "clients", "memory", "start",
        ]
        .contains(&named.0)
        {
            let made = bench.make(named).unwrap_or_else(|error| panic!("{error}"));
            run.measurements.insert(named.0.to_owned(), made);
        }
    }
    let report = Report {
        machine,
        runs: vec![run],
    };
    let direct = report.view("direct");
    assert_eq!(direct.rounds(), 1);
    assert!(direct.minimum("floor", Metric::Cpu) > Some(0.0));
    // A key that is remembered is not asked for again.
    let clients = report.view("clients");
    assert_eq!(clients.maximum("20", Metric::Questions), Some(0.0));
    // Who waits for the model waits for the last piece; who does not, and who has it, does not.
    let heard = |column: &str| report.view("pieces").median(column, Metric::Heard);
    let nine_pauses = Some(90_000.0);
    assert!(heard("rule last") >= nine_pauses);
    assert!(heard("json_to_metadata first") >= nine_pauses);
    let text = table::show(&report);
    for said in [
        "Waykeeper",
        "An event of a stream",
        "ten pieces",
        "Peak memory",
        "Goals",
    ] {
        assert!(text.contains(said), "{text}");
    }
    let drawing = chart::draw(&report).unwrap_or_else(|error| panic!("{error}"));
    assert!(drawing.starts_with("<svg") && drawing.contains("Waykeeper"));
}

/// A probe whose call Envoy refuses traps, and would measure nothing: then the request is not answered.
#[test]
fn every_call_that_is_counted_is_one_that_envoy_takes() {
    for probe in Probe::ALL {
        let world = World::start(&Contender::Probe(probe), Limit::Unreached, false);
        let answer = world.get(PATH, Some(&key(7)));
        assert_eq!(answer.status, 200, "{probe:?}: {}", world.gateway.log());
    }
}

/// Each way of balancing is measured on agents of its own, and no request is refused.
#[test]
fn all_ways_of_balancing_are_measured() {
    let tools = Tools::here();
    let plan = balance::Plan {
        rounds: 1,
        seconds: 1,
    };
    let played = balance::measure(&tools, plan).unwrap_or_else(|error| panic!("{error}"));
    let shown = balance::show(&played, plan, &Machine::default());
    let rows: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let ways = rows.iter().filter(|row| row.ends_with("| 0 |"));
    // One more in each table is its head.
    assert_eq!((rows.len(), ways.count()), (9 + 2, 9), "{shown}");
    for way in ["least_request", "round_robin", "random"] {
        assert!(
            shown.contains(&format!("| `{way}` | 1 : 1 : 1 |")),
            "{shown}"
        );
    }
    assert!(!shown.contains("NaN"), "{shown}");
}
