//! `waykeeper-link MODULE FINISHED`: the last step of the filter's build.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "Usage: waykeeper-link MODULE FINISHED

Writes the filter MODULE to FINISHED without the exports that have no work for Envoy, and without the code that only they
reach. A FINISHED that is the same already is left alone.";

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (module, finished) = match arguments.as_slice() {
        [option] if option.as_os_str() == "--help" || option.as_os_str() == "-h" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [module, finished] => (module, finished),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match finish(module, finished) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("waykeeper-link: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Leaves a finished module alone that is the same: whoever goes by its time need do nothing then. Otherwise it is
/// whole at any moment, also for an Envoy that reads it meanwhile.
fn finish(module: &Path, finished: &Path) -> Result<(), String> {
    let bytes = std::fs::read(module).map_err(|error| at(module, error))?;
    let bytes = waykeeper_link::finish(&bytes).map_err(|error| at(module, error))?;
    if std::fs::read(finished).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let new = finished.with_extension("new");
    std::fs::write(&new, bytes).map_err(|error| at(&new, error))?;
    std::fs::rename(&new, finished).map_err(|error| at(finished, error))
}

fn at(path: &Path, error: impl Display) -> String {
    format!("{}: {error}", path.display())
}
