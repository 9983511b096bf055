//! `waykeeper envoy`: writes what Envoy reads, out of the file that people write.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::Outcome;
use crate::check;
use crate::gateway::{
    self, Admin, Around, CREDENTIALS, ENVOY_FILE, EnvoyVersion, FILTER_FILE, MARK, render,
};
use crate::version;
use crate::writing::{Writing, source_name, unusable};

/// Write Envoy's configuration, envoy.yaml and waykeeper.yaml, out of a gateway.yaml
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if the files are written, 1 if there are faults or a file of another hand is in the way, 2 if \
                  a file cannot be read or written or the arguments are wrong."
)]
pub(crate) struct Arguments {
    /// The gateway: listeners, agents by their urls, clients, routes
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The directory to write into; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The filter, where Envoy will find it
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/etc/waykeeper/waykeeper.wasm"
    )]
    module: String,
    /// Where the files will lie when Envoy reads them [default: the directory that they are written into]
    #[arg(long, value_name = "DIR")]
    configuration_dir: Option<String>,
    /// The Envoy that will read the files: 1.36 to 1.40
    #[arg(long, value_name = "VERSION", default_value_t)]
    envoy_version: EnvoyVersion,
    /// Overwrite files that were not written by this command
    #[arg(long)]
    force: bool,
}

/// Writes all files, or none.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let made = check::gateway_for(
        &arguments.file,
        check::Where::Elsewhere,
        |document, checked| {
            let unserved = gateway::unserved(document, &checked.gateway);
            if unserved.is_empty() {
                Ok(checked.clone())
            } else {
                Err(unserved)
            }
        },
    )?;
    let checked = match made {
        Ok(checked) => checked,
        Err(bad) => return Ok(bad),
    };
    let directory = match &arguments.configuration_dir {
        Some(directory) => directory.clone(),
        None => match std::path::absolute(&arguments.out)?.to_str() {
            Some(directory) => directory.to_owned(),
            None => return unusable(&arguments.out, "is no UTF-8; say --configuration-dir"),
        },
    };
    for path in [&directory, &arguments.module] {
        if path.chars().any(char::is_control) {
            return unusable(Path::new(path), "holds control characters");
        }
    }
    let source = source_name(&arguments.file);
    let around = Around {
        source: &source,
        module: &arguments.module,
        directory: &directory,
        admin: Admin::Loopback,
        builtin: None,
        envoy: arguments.envoy_version,
    };
    if let Some(doubt) = version::doubt(Path::new(&arguments.module)) {
        writeln!(io::stderr().lock(), "{doubt}")?;
    }
    let rendered = render(&checked, around).map_err(io::Error::other)?;
    let writing = Writing {
        directory: &arguments.out,
        source: &arguments.file,
        mark: MARK,
        force: arguments.force,
        guarded: checked
            .gateway
            .document_mode()
            .map(|mode| (FILTER_FILE, mode)),
    };
    // Envoy reads the last one at once: what it names has to stand in the one before by then.
    let credentials = rendered.credentials.into_iter();
    let files: Vec<(String, String)> = credentials
        .chain([
            (ENVOY_FILE.to_owned(), rendered.envoy),
            (FILTER_FILE.to_owned(), rendered.filter.0),
        ])
        .collect();
    let leftovers = writing.others_in(CREDENTIALS, &files)?;
    let leftovers: Vec<&str> = leftovers.iter().map(String::as_str).collect();
    let outcome = writing.write(&files, &leftovers)?;
    if outcome != Outcome::Good {
        return Ok(outcome);
    }
    let mut output = io::stdout().lock();
    let envoy = Path::new(&directory).join(ENVOY_FILE);
    writeln!(
        output,
        "Envoy reads {FILTER_FILE} again whenever it is written, and {ENVOY_FILE} when it starts:\n  \
         envoy --config-path {} --drain-time-s 5 --disable-hot-restart",
        shell(&envoy.to_string_lossy())
    )?;
    Ok(Outcome::Good)
}

/// A word of a shell's command line.
pub(crate) fn shell(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:@%,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
