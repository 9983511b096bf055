//! `make bench-balance`: how long callers wait under each way of balancing, where answers take uneven time. All ways are measured
//! at the same time, each with agents of its own behind one gateway, and with the same requests: what else the machine does
//! falls upon all of them.

mod table;
mod uneven;

use std::fmt::Write;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Error;
use crate::contender::Tools;
use crate::cores::Cores;
use crate::exchange::get;
use crate::generator::{Load, Outcome};
use crate::process::Process;
use crate::statistics::Random;

pub use table::show;
use uneven::{SLOTS, Uneven, WORK};

/// How long most answers take, and some others, in milliseconds.
const SHORT: u64 = 20;
const LONG: u64 = 400;
/// One of so many is a long one.
const ONE_IN: usize = 10;
/// Each waits for one answer; so many are enough that none is waited for by a request that is due.
const CONNECTIONS: usize = 256;
/// From its start until the gateway serves, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Agents, and how they are called.
struct Scene {
    name: &'static str,
    said: &'static str,
    /// How many times slower each of an agent's endpoints is.
    endpoints: [u32; 3],
    /// Requests per second, for each way of balancing.
    rate: f64,
    ways: &'static [Way],
}

/// A way of balancing.
struct Way {
    balance: &'static str,
    weights: [u32; 3],
}

const fn evenly(balance: &'static str) -> Way {
    Way {
        balance,
        weights: [1; 3],
    }
}

const fn by_speed(balance: &'static str) -> Way {
    Way {
        balance,
        weights: [4, 4, 1],
    }
}

/// The first way is the one that others are held against.
const SCENES: [Scene; 2] = [
    Scene {
        name: "alike",
        said: "Three endpoints alike",
        endpoints: [1, 1, 1],
        rate: 170.0,
        ways: &[
            evenly("least_request"),
            evenly("round_robin"),
            evenly("random"),
        ],
    },
    Scene {
        name: "one-slow",
        said: "Three endpoints, one of them four times slower",
        endpoints: [1, 1, 4],
        rate: 48.0,
        ways: &[
            evenly("least_request"),
            evenly("round_robin"),
            evenly("random"),
            by_speed("least_request"),
            by_speed("round_robin"),
            by_speed("random"),
        ],
    },
];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Each scene is played so often.
    pub rounds: u64,
    /// And for so long.
    pub seconds: u64,
}

/// What came of one scene.
#[derive(Debug)]
pub struct Played {
    said: &'static str,
    rate: f64,
    ways: Vec<Waited>,
}

/// How long callers waited under one way of balancing, round by round.
#[derive(Debug)]
pub struct Waited {
    balance: &'static str,
    weights: [u32; 3],
    outcomes: Vec<Outcome>,
    /// How many requests each endpoint has answered.
    answered: [u64; 3],
}

/// One way's own endpoints.
struct Agent {
    path: String,
    endpoints: Vec<Uneven>,
}

/// Measures all ways of balancing.
///
/// # Errors
/// If a program is missing, or does not serve.
pub fn measure(tools: &Tools, plan: Plan) -> Result<Vec<Played>, Error> {
    let mut agents = Vec::new();
    for scene in &SCENES {
        let mut of_scene = Vec::new();
        for way in scene.ways {
            of_scene.push(Agent::start(scene, way)?);
        }
        agents.push(of_scene);
    }
    let directory = TempDir::new().map_err(|error| Error::new(error.to_string()))?;
    let listen = free_address()?;
    let file = directory.path().join("gateway.yaml");
    std::fs::write(&file, gateway(listen, &agents)).map_err(|error| Error::at(&file, error))?;
    let first = agents.iter().flatten().next();
    let first = first.map_or("/", |agent| agent.path.as_str());
    let _gateway = serving(tools, directory.path(), listen, first)?;

    let mut played = Vec::new();
    for (scene, agents) in SCENES.iter().zip(&agents) {
        let mut ways: Vec<Waited> = scene.ways.iter().map(Waited::nothing).collect();
        for round in 0..plan.rounds {
            eprintln!(
                "{}: round {} of {}, {} s",
                scene.said,
                round + 1,
                plan.rounds,
                plan.seconds
            );
            let outcomes = play(listen, scene, agents, round, plan)?;
            for (way, outcome) in ways.iter_mut().zip(outcomes) {
                way.outcomes.push(outcome);
            }
        }
        for (way, agent) in ways.iter_mut().zip(agents) {
            way.answered = std::array::from_fn(|endpoint| {
                agent.endpoints.get(endpoint).map_or(0, Uneven::answered)
            });
        }
        played.push(Played {
            said: scene.said,
            rate: scene.rate,
            ways,
        });
    }
    Ok(played)
}

/// Puts the same load on all agents of a scene, at the same time.
fn play(
    gateway: SocketAddr,
    scene: &Scene,
    agents: &[Agent],
    round: u64,
    plan: Plan,
) -> Result<Vec<Outcome>, Error> {
    let load = Load {
        connections: CONNECTIONS,
        requests: (scene.rate * plan.seconds as f64) as u64,
        rate: Some(scene.rate),
    };
    std::thread::scope(|scope| {
        let loads: Vec<_> =
            agents
                .iter()
                .map(|agent| {
                    scope.spawn(move || {
                        let mut random = Random(round);
                        load.run(gateway, &mut |_, request| {
                        let work = if random.below(ONE_IN) == 0 { LONG } else { SHORT };
                        let path = &agent.path;
                        let text = format!(
                            "GET {path} HTTP/1.1\r\nhost: gateway.example\r\n{WORK}: {work}\r\n\r\n"
                        );
                        request.extend_from_slice(text.as_bytes());
                    })
                    })
                })
                .collect();
        let ended = loads.into_iter().map(|load| load.join());
        ended
            .map(|load| load.unwrap_or_else(|_| Err(Error::new("a load ended by itself"))))
            .collect()
    })
}

/// The file of a gateway with an agent for each way of balancing.
fn gateway(listen: SocketAddr, agents: &[Vec<Agent>]) -> String {
    let (mut named, mut routes) = (String::new(), String::new());
    for (scene, agents) in SCENES.iter().zip(agents) {
        for (way, agent) in scene.ways.iter().zip(agents) {
            let endpoints = agent.endpoints.iter().zip(way.weights);
            let endpoints: Vec<String> = endpoints
                .map(|(endpoint, weight)| {
                    let address = endpoint.address();
                    format!("{{url: \"http://{address}\", weight: {weight}}}")
                })
                .collect();
            let name = agent.path.trim_start_matches('/');
            // Writing into a string cannot fail.
            let _ = writeln!(
                named,
                "  {name}: {{balance: {}, endpoints: [{}]}}",
                way.balance,
                endpoints.join(", ")
            );
            let _ = writeln!(
                routes,
                "  - {{prefix: {}, agents: [{name}], auth_required: false}}",
                agent.path
            );
        }
    }
    format!("listen: [{{address: \"{listen}\"}}]\nagents:\n{named}routes:\n{routes}")
}

/// Runs the gateway, and waits until it serves.
fn serving(
    tools: &Tools,
    directory: &Path,
    listen: SocketAddr,
    path: &str,
) -> Result<Process, Error> {
    let cores = Cores::anywhere()?;
    let log = directory.join("log");
    let file = File::create(&log).map_err(|error| Error::at(&log, error))?;
    let mut command = Command::new(tools.tool()?);
    command
        .arg("run")
        .arg(directory.join("gateway.yaml"))
        .arg("--envoy")
        .arg(tools.envoy()?)
        .arg("--module")
        .arg(tools.filter()?)
        .arg("--directory")
        .arg(directory.join("run"))
        .args(["--concurrency", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file);
    let mut process = Process::start(&mut command, &cores.all, &cores)?;
    let deadline = Instant::now() + PATIENCE;
    while !get(listen, path, &[]).is_ok_and(|answer| answer.status == 200) {
        if process.ended().is_some() || Instant::now() >= deadline {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(Error::new(format!("the gateway does not serve:\n{said}")));
        }
        std::thread::sleep(POLL);
    }
    Ok(process)
}

fn free_address() -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind("127.0.0.1:0");
    let address = listener.and_then(|listener| listener.local_addr());
    address.map_err(|error| Error::new(format!("no free port: {error}")))
}

// === impl Agent ===

impl Agent {
    fn start(scene: &Scene, way: &Way) -> Result<Self, Error> {
        let weights = if way.weights == [1; 3] {
            ""
        } else {
            "-weighted"
        };
        let endpoints = scene.endpoints.iter();
        Ok(Self {
            path: format!("/{}-{}{weights}", scene.name, way.balance),
            endpoints: endpoints
                .map(|slower| Uneven::start(*slower))
                .collect::<Result<_, _>>()?,
        })
    }
}

// === impl Waited ===

impl Waited {
    fn nothing(way: &Way) -> Self {
        Self {
            balance: way.balance,
            weights: way.weights,
            outcomes: Vec::new(),
            answered: [0; 3],
        }
    }
}
