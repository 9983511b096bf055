//! `waykeeper-link MODULE FINISHED`: the last step of the filter's build.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [module, finished] = arguments.as_slice() else {
        eprintln!("Usage: waykeeper-link MODULE FINISHED");
        return ExitCode::from(2);
    };
    match finish(module, finished) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waykeeper-link: {}: {error}", module.display());
            ExitCode::FAILURE
        }
    }
}

/// Leaves a finished module alone that is the same: whoever goes by its time need do nothing then. Otherwise it is
/// whole at any moment, also for an Envoy that reads it meanwhile.
fn finish(module: &Path, finished: &Path) -> Result<(), Box<dyn Error>> {
    let bytes = waykeeper_link::finish(&std::fs::read(module)?)?;
    if std::fs::read(finished).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let new = finished.with_extension("new");
    std::fs::write(&new, bytes)?;
    Ok(std::fs::rename(new, finished)?)
}
