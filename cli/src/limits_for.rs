//! `waykeeper limits --for`: the limits that are counted for the whole fleet, as files of other services that count.

use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;

use crate::Outcome;
use crate::check;
use crate::limiter::elsewhere;

/// Whose file.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Service {
    /// The limits file of Limitador's server
    Limitador,
    /// A file for the config directory of envoyproxy/ratelimit
    Ratelimit,
}

/// Writes it to standard output. It holds what the gateway asks that service about, with the same numbers; limits of clients that
/// only the validator knows are not in it.
pub(crate) fn write(service: Service, file: &Path) -> io::Result<Outcome> {
    let checked = match check::gateway(file)? {
        Ok(good) => good.checked,
        Err(outcome) => return Ok(outcome),
    };
    let limits = elsewhere::shared(&checked.policy);
    let (Some(fleet), false) = (&checked.policy.fleet, limits.is_empty()) else {
        let name = file.display();
        writeln!(io::stderr().lock(), "{name}: no limit has scope: fleet")?;
        return Ok(Outcome::Faulty);
    };
    let text = match service {
        Service::Limitador => elsewhere::limitador(&fleet.domain, &limits),
        Service::Ratelimit => elsewhere::ratelimit(&fleet.domain, &limits),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Outcome::Good)
}
