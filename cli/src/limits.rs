//! `waykeeper limits`: the limits that are counted for the whole fleet, as files of other services that count.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::Outcome;
use crate::check;
use crate::limiter::elsewhere;

/// Write the limits of a gateway.yaml that are counted for the whole fleet as another rate limit service's file
///
/// The file goes to standard output. It holds what the gateway asks that service about, with the same numbers; limits of clients
/// that only the validator knows are not in it.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if it is written, 1 if there are faults or no limit has scope: fleet, 2 if the file cannot be read or \
                  the arguments are wrong."
)]
pub(crate) struct Arguments {
    /// Whose file: limitador writes the limits file of Limitador's server, ratelimit a file for the config directory of
    /// envoyproxy/ratelimit
    #[arg(long = "for", value_name = "SERVICE")]
    service: Service,
    /// The gateway
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Service {
    Limitador,
    Ratelimit,
}

/// Writes it.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let checked = match check::gateway(&arguments.file)? {
        Ok(good) => good.checked,
        Err(outcome) => return Ok(outcome),
    };
    let limits = elsewhere::shared(&checked.policy);
    let (Some(fleet), false) = (&checked.policy.fleet, limits.is_empty()) else {
        let name = arguments.file.display();
        writeln!(io::stderr().lock(), "{name}: no limit has scope: fleet")?;
        return Ok(Outcome::Faulty);
    };
    let text = match arguments.service {
        Service::Limitador => elsewhere::limitador(&fleet.domain, &limits),
        Service::Ratelimit => elsewhere::ratelimit(&fleet.domain, &limits),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Outcome::Good)
}
