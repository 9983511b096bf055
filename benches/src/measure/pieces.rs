//! How long an agent waits to hear of a request whose body comes slowly, in pieces: when the first of them names the model, and
//! when the last does. Whoever chooses by the model must wait for it; what is measured is whether it waits for more.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::{Bench, Lane, bodies, client_headers};
use crate::Error;
use crate::chat::{MODEL, Place, chat};
use crate::contender::{Gateway, PATH, Target};
use crate::exchange::post;
use crate::report::{Measurement, Metric, Sample};
use crate::server::key;

/// A body comes in so many pieces, all of one size.
const PIECES: usize = 10;
const PIECE: usize = 1_000;

/// Between two pieces: far more than Envoy takes for one.
const PAUSE: Duration = Duration::from_millis(10);

/// Bodies in a round, of which the median counts.
const BODIES: usize = 5;

/// For what comes at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// An agent that says when it hears of a request, which is when it has its whole head.
struct Agent {
    address: SocketAddr,
    heard: Receiver<Instant>,
}

pub(super) fn of_bodies(bench: &Bench) -> Result<Measurement, Error> {
    let agent = Agent::start()?;
    let site = bench.site(Target::Agent(agent.address));
    let running: Vec<(&str, Gateway)> = bodies::contenders()
        .into_iter()
        .map(|(name, contender)| Ok((name, site.start(&contender)?)))
        .collect::<Result<_, Error>>()?;
    // Then the validator has been asked, and there is a connection to the agent.
    for (name, gateway) in &running {
        let body = chat(MODEL, Place::First, PIECES * PIECE);
        let answer = post(gateway.address(), PATH, &client_headers(&key(7)), &body)?;
        if answer.status != 200 {
            let log = gateway.log();
            return Err(Error::new(format!("{name}: {}\n{log}", answer.status)));
        }
        agent.heard()?;
    }
    let mut lanes = Vec::new();
    for (name, gateway) in &running {
        for (place, said) in [(Place::First, "first"), (Place::Last, "last")] {
            let agent = &agent;
            lanes.push(Lane {
                name: format!("{name} {said}"),
                sample: Box::new(move || sample(gateway.address(), agent, place)),
            });
        }
    }
    bench.rounds(bench.plan.rounds, lanes)
}

/// The medians over some bodies.
fn sample(gateway: SocketAddr, agent: &Agent, place: Place) -> Result<Sample, Error> {
    let times = (0..BODIES)
        .map(|_| send(gateway, agent, place))
        .collect::<Result<Vec<_>, Error>>()?;
    let median = |of: fn(&(f64, f64)) -> f64| {
        let values: Vec<f64> = times.iter().map(of).collect();
        crate::statistics::median(&values).unwrap_or(f64::NAN)
    };
    Ok(Sample::from([
        (Metric::Heard, median(|(all, _)| *all)),
        (Metric::HeardOfModel, median(|(_, model)| *model)),
    ]))
}

/// Sends one body; after how many microseconds the agent hears of it, from the first piece on and from the one with the model.
fn send(gateway: SocketAddr, agent: &Agent, place: Place) -> Result<(f64, f64), Error> {
    let failed = |error: std::io::Error| Error::new(format!("a body in pieces: {error}"));
    let body = chat(MODEL, place, PIECES * PIECE);
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\ncontent-length: {}\r\n{}\r\n",
        body.len(),
        client_headers(&key(7))
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect::<String>()
    );
    let mut stream = TcpStream::connect(gateway).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut sent = Vec::with_capacity(PIECES);
    for piece in body.as_bytes().chunks(PIECE) {
        let mut bytes = Vec::new();
        if sent.is_empty() {
            bytes.extend_from_slice(head.as_bytes());
        } else {
            std::thread::sleep(PAUSE);
        }
        bytes.extend_from_slice(piece);
        sent.push(Instant::now());
        stream.write_all(&bytes).map_err(failed)?;
    }
    let heard = agent.heard()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(failed)?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        let answer = String::from_utf8_lossy(&answer).into_owned();
        return Err(Error::new(format!("a body in pieces: {answer}")));
    }
    let with_model = match place {
        Place::First => sent.first(),
        Place::Last => sent.last(),
    };
    let since = |then: Option<&Instant>| {
        // Whoever does not wait for the model is earlier: less than nothing.
        then.map_or(f64::NAN, |then| {
            let after = heard.saturating_duration_since(*then).as_secs_f64();
            let before = then.saturating_duration_since(heard).as_secs_f64();
            (after - before) * 1e6
        })
    };
    Ok((since(sent.first()), since(with_model)))
}

impl Agent {
    /// Each connection has a thread, which ends with it.
    fn start() -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::new(format!("an agent: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (tell, heard) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tell = tell.clone();
                std::thread::spawn(move || {
                    // A connection that breaks has said what it had to say.
                    let _ = serve(&stream, || tell.send(Instant::now()).is_ok());
                });
            }
        });
        Ok(Self { address, heard })
    }

    /// When it heard of the next request.
    fn heard(&self) -> Result<Instant, Error> {
        let heard = self.heard.recv_timeout(PATIENCE);
        heard.map_err(|_| Error::new("the agent has heard of no request"))
    }
}

/// Answers requests whose length is known, one after the other, until nobody wants to hear of them.
fn serve(stream: &TcpStream, tell: impl Fn() -> bool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().map_err(|_| ErrorKind::InvalidData)?;
                }
                Some(_) => {}
                None if line.trim_end().is_empty() => break,
                None => {}
            }
        }
        if !tell() {
            return Ok(());
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
        let mut answering = stream;
        answering.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}
