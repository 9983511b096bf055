//! `waykeeper envoy`: writes what Envoy reads, out of the file that people write.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use tempfile::NamedTempFile;

use crate::Outcome;
use crate::check;
use crate::gateway::{Admin, Around, ENVOY_FILE, FILTER_FILE, MARK, render};

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
    /// Overwrite files that were not written by this command
    #[arg(long)]
    force: bool,
}

/// Writes both files, or none.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let checked = match check::gateway(&arguments.file)? {
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
    let source = arguments
        .file
        .file_name()
        .map(|name| name.to_string_lossy());
    let around = Around {
        source: source
            .as_deref()
            .filter(|name| *name != "-")
            .unwrap_or("standard input"),
        module: &arguments.module,
        directory: &directory,
        admin: Admin::Loopback,
    };
    let rendered = render(&checked, around).map_err(io::Error::other)?;
    // Envoy reads the second one at once: what it names has to stand in the first by then.
    let files = [
        (arguments.out.join(ENVOY_FILE), rendered.envoy),
        (arguments.out.join(FILTER_FILE), rendered.filter),
    ];
    for (path, _) in &files {
        if is_same(path, &arguments.file) {
            return unusable(path, "is what is read; write into another directory");
        }
        if !arguments.force && !is_ours_to_write(path)? {
            let mut errors = io::stderr().lock();
            writeln!(
                errors,
                "{}: was not written by this command; --force overwrites it",
                path.display()
            )?;
            return Ok(Outcome::Faulty);
        }
    }
    fs::create_dir_all(&arguments.out).map_err(|error| at(&arguments.out, &error))?;
    let mut staged = Vec::new();
    for (path, text) in &files {
        let beside = stage(path, text, &arguments.file).map_err(|error| at(path, &error))?;
        staged.push((path, beside));
    }
    let mut output = io::stdout().lock();
    for (path, beside) in staged {
        let what = match beside {
            Some(beside) => {
                let renamed = beside.persist(path);
                renamed.map_err(|error| at(path, &error.error))?;
                "written"
            }
            None => "unchanged",
        };
        writeln!(output, "{}: {what}", path.display())?;
    }
    let envoy = Path::new(&directory).join(ENVOY_FILE);
    writeln!(
        output,
        "Envoy reads {FILTER_FILE} again whenever it is written, and {ENVOY_FILE} when it starts:\n  \
         envoy --config-path {} --drain-time-s 5 --disable-hot-restart",
        shell(&envoy.to_string_lossy())
    )?;
    Ok(Outcome::Good)
}

fn unusable(path: &Path, what: &str) -> io::Result<Outcome> {
    writeln!(io::stderr().lock(), "{}: {what}", path.display())?;
    Ok(Outcome::Unusable)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Whether two paths lead to one file that is there.
fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Whether a file is not there, or was written by this command.
fn is_ours_to_write(path: &Path) -> io::Result<bool> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes.starts_with(MARK.as_bytes())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(at(path, &error)),
    }
}

/// Writes the text beside the file whose place it takes, unless that says the same already. Both files may hold secrets: who
/// may not read the source may not read them either, until somebody says so.
fn stage(path: &Path, text: &str, source: &Path) -> io::Result<Option<NamedTempFile>> {
    let there = fs::read(path).ok();
    if there.as_deref() == Some(text.as_bytes()) {
        return Ok(None);
    }
    let model = if there.is_some() { path } else { source };
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".waykeeper-")
        .permissions(readable())
        .tempfile_in(directory)?;
    if let Ok(model) = fs::metadata(model)
        && model.is_file()
    {
        fs::set_permissions(file.path(), without_execution(model.permissions()))?;
    }
    file.write_all(text.as_bytes())?;
    Ok(Some(file))
}

/// As this user makes files.
fn readable() -> Permissions {
    Permissions::from_mode(0o666)
}

fn without_execution(permissions: Permissions) -> Permissions {
    Permissions::from_mode(permissions.mode() & 0o666 | 0o600)
}

/// A word of a shell's command line.
fn shell(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:@%,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
