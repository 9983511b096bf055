//! `waykeeper envoy`: writes what Envoy reads, out of the file that people write.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::Outcome;
use crate::check::{self, Judge};
use crate::gateway::{
    self, Admin, Around, CREDENTIALS, ENVOY_FILE, EnvoyVersion, FILTER_FILE, MARK, render,
};
use crate::readable::unreadable;
use crate::run::envoy::{MODULE_OF_IMAGE, find_module};
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
    /// The filter, where Envoy will find it [default: the one that `run` would take, or with --configuration-dir
    /// /etc/waykeeper/waykeeper.wasm]
    #[arg(long, value_name = "PATH")]
    module: Option<String>,
    /// Where the files will lie when Envoy reads them [default: the directory that they are written into]
    #[arg(long, value_name = "DIR")]
    configuration_dir: Option<String>,
    /// The Envoy that will read the files: 1.36 to 1.40
    #[arg(long, value_name = "VERSION", default_value_t)]
    envoy_version: EnvoyVersion,
    /// The Envoy program that validates what is made of the file, as `check` has it do [default: the one that `run` would take]
    #[arg(long, value_name = "PATH", conflicts_with = "no_validate")]
    envoy_program: Option<PathBuf>,
    /// Do not have Envoy validate it
    #[arg(long)]
    no_validate: bool,
    /// Overwrite files that were not written by this command
    #[arg(long)]
    force: bool,
}

/// Writes all files, or none.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let judge = Judge::of(arguments.envoy_program.as_deref(), !arguments.no_validate);
    if arguments.envoy_program.is_some()
        && let Err(why) = judge.ready()
    {
        writeln!(io::stderr().lock(), "{why}")?;
        return Ok(Outcome::Unusable);
    }
    let mut broken = None;
    let made = check::gateway_for(&arguments.file, check::Where::Here, |document, checked| {
        let unserved = gateway::unserved(document, &checked.gateway);
        if !unserved.is_empty() {
            return Err(unserved);
        }
        let unable = gateway::unable(document, checked, arguments.envoy_version);
        if !unable.is_empty() {
            return Err(unable);
        }
        match judge.fault(document, checked, &[]) {
            Ok(None) => return Ok(checked.clone()),
            Ok(Some(fault)) => return Err(vec![fault]),
            Err(error) => broken = Some(error),
        }
        Err(Vec::new())
    })?;
    if let Some(error) = broken {
        return Err(error);
    }
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
    let module = match arguments.module()? {
        Ok(module) => module,
        Err(bad) => return Ok(bad),
    };
    for path in [&directory, &module] {
        if path.chars().any(char::is_control) {
            return unusable(Path::new(path), "holds control characters");
        }
    }
    let source = source_name(&arguments.file);
    let around = Around {
        source: &source,
        module: &module,
        directory: &directory,
        admin: Admin::Loopback,
        builtin: None,
        envoy: arguments.envoy_version,
    };
    if let Some(doubt) = arguments.doubt_of_module(&module) {
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
    let before = std::fs::read(arguments.out.join(ENVOY_FILE)).ok();
    let outcome = writing.write(&files, &leftovers)?;
    if outcome != Outcome::Good {
        return Ok(outcome);
    }
    let judged = judge.told(
        match gateway::secrets::keep_all_from_envoy(&checked.gateway) {
            true => "the rest",
            false => "this",
        },
    );
    let needed = checked.gateway.needed_variables();
    let taken = how_it_is_taken(before.as_deref(), &files);
    arguments.tell_what_is_next(&directory, &module, (&judge, &judged), &needed, &taken)?;
    Ok(Outcome::Good)
}

/// How Envoy takes what is written, by what its own file was `before`.
fn how_it_is_taken(before: Option<&[u8]>, files: &[(String, String)]) -> String {
    let is_same = |before: &[u8]| {
        let mut files = files.iter();
        files.any(|(name, text)| name == ENVOY_FILE && text.as_bytes() == before)
    };
    match before.map(is_same) {
        None => format!(
            "Envoy reads {FILTER_FILE} again whenever it is written, and {ENVOY_FILE} when it starts"
        ),
        Some(true) => format!(
            "{ENVOY_FILE} has not changed: an Envoy that runs needs no restart, and reads {FILTER_FILE} again by itself. To start it"
        ),
        Some(false) => format!("{ENVOY_FILE} has changed: start Envoy again"),
    }
}

// === impl Arguments ===

impl Arguments {
    /// Whether Envoy will read the files where they are written. Elsewhere nothing can be looked for.
    fn is_here(&self) -> bool {
        self.configuration_dir.is_none()
    }

    /// Where Envoy will find the filter, or the outcome if that cannot be said.
    fn module(&self) -> io::Result<Result<String, Outcome>> {
        let path = match &self.module {
            Some(written) if self.is_here() => std::path::absolute(written)?,
            Some(written) => return Ok(Ok(written.clone())),
            None if self.is_here() => find_module(None).unwrap_or_else(|_| MODULE_OF_IMAGE.into()),
            None => return Ok(Ok(MODULE_OF_IMAGE.to_owned())),
        };
        match path.to_str() {
            Some(path) => Ok(Ok(path.to_owned())),
            None => Ok(Err(unusable(&path, "is no UTF-8; say --module")?)),
        }
    }

    /// What is doubtful about it.
    fn doubt_of_module(&self, module: &str) -> Option<String> {
        if let Some(wrong) = unreadable(module).filter(|_| self.is_here()) {
            return Some(format!(
                "warning: the filter is to be {module}, which {wrong}, and without it Envoy does not start; say with --module where it \
                 will be"
            ));
        }
        version::doubt(Path::new(module))
    }

    /// How Envoy is started with the files: by the program that is here, if it is to run here.
    fn tell_what_is_next(
        &self,
        directory: &str,
        module: &str,
        (judge, judged): (&Judge<'_>, &str),
        needed: &[String],
        taken: &str,
    ) -> io::Result<()> {
        let program = self
            .is_here()
            .then(|| judge.ready().map(|ready| &ready.program));
        let command = match program {
            Some(Ok(program)) => shell(&program.command()),
            _ => "envoy".to_owned(),
        };
        let mut output = io::stdout().lock();
        writeln!(
            output,
            "The filter is {module}; --module names another one."
        )?;
        if !matches!(program, Some(Err(_))) {
            writeln!(output, "Envoy {judged}")?;
        }
        if !needed.is_empty() {
            writeln!(
                output,
                "In its environment Envoy needs {}.",
                needed.join(", ")
            )?;
        }
        let file = Path::new(directory).join(ENVOY_FILE);
        writeln!(
            output,
            "{taken}:\n  {command} --config-path {} --drain-time-s 5 --disable-hot-restart",
            shell(&file.to_string_lossy())
        )?;
        output.flush()?;
        let mut errors = io::stderr().lock();
        match program {
            Some(Ok(program)) if program.known < self.envoy_version => writeln!(
                errors,
                "warning: {} is Envoy {}, and the files are for Envoy {}; --envoy-version {} writes them for it",
                program.path.display(),
                program.version,
                self.envoy_version,
                program.known,
            ),
            Some(Err(why)) => {
                writeln!(
                    errors,
                    "warning: {why}; so nobody has validated these files"
                )
            }
            _ => Ok(()),
        }
    }
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
