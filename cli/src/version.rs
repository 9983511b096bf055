//! `waykeeper version`: the tool's own version, or that of a module.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use wasmparser::{Parser, Payload};
use waykeeper::{VERSION, VERSION_SECTION};

use crate::Outcome;

/// Print the version of this tool, or of a module
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if there is a version to print, 1 if the file is no module of Waykeeper, 2 if it cannot be read."
)]
pub(crate) struct Arguments {
    /// The filter, such as /etc/waykeeper/waykeeper.wasm
    #[arg(value_name = "MODULE")]
    module: Option<PathBuf>,
}

/// Why a module's version is not known.
#[derive(Debug, PartialEq, Eq)]
enum Unknown {
    NoModule,
    NoVersion,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let Some(path) = &arguments.module else {
        writeln!(io::stdout().lock(), "{VERSION}")?;
        return Ok(Outcome::Good);
    };
    let mut errors = io::stderr().lock();
    let module = match fs::read(path) {
        Ok(module) => module,
        Err(error) => {
            writeln!(errors, "{}: {error}", path.display())?;
            return Ok(Outcome::Unusable);
        }
    };
    match of_module(&module) {
        Ok(version) => {
            writeln!(io::stdout().lock(), "{version}")?;
            Ok(Outcome::Good)
        }
        Err(unknown) => {
            let what = match unknown {
                Unknown::NoModule => "is no WebAssembly module",
                Unknown::NoVersion => {
                    "does not say its version: it is no module of Waykeeper, or one of before 0.1"
                }
            };
            writeln!(errors, "{}: {what}", path.display())?;
            Ok(Outcome::Faulty)
        }
    }
}

/// What an operator is told of a module that is of another version than this tool. Nothing if it cannot be told: the module may
/// be on another machine.
pub(crate) fn doubt(path: &Path) -> Option<String> {
    let version = of_module(&fs::read(path).ok()?).ok()?;
    (version != VERSION).then(|| {
        format!(
            "{}: is version {version}, and this tool {VERSION}: it may refuse what is written for it; take both from one release",
            path.display()
        )
    })
}

fn of_module(module: &[u8]) -> Result<String, Unknown> {
    if !Parser::is_core_wasm(module) {
        return Err(Unknown::NoModule);
    }
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CustomSection(section) = payload.map_err(|_| Unknown::NoModule)?
            && section.name() == VERSION_SECTION
        {
            let text = std::str::from_utf8(section.data()).ok();
            let is_plain = |text: &&str| text.bytes().all(|byte| byte.is_ascii_graphic());
            let text = text.filter(|text| !text.is_empty()).filter(is_plain);
            return text.map(str::to_owned).ok_or(Unknown::NoVersion);
        }
    }
    Err(Unknown::NoVersion)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module of nothing but a custom section.
    fn module(name: &str, data: &[u8]) -> Vec<u8> {
        let length = |length: usize| u8::try_from(length).unwrap();
        let mut module = b"\0asm\x01\0\0\0\0".to_vec();
        module.push(length(1 + name.len() + data.len()));
        module.push(length(name.len()));
        module.extend(name.as_bytes());
        module.extend(data);
        module
    }

    #[test]
    fn a_module_says_its_version_in_a_section_of_its_own() {
        assert_eq!(
            of_module(&module(VERSION_SECTION, b"1.2.3")),
            Ok("1.2.3".to_owned())
        );
    }

    #[test]
    fn what_says_none_or_nonsense_has_none() {
        let cut = &module(VERSION_SECTION, b"1.2.3")[..15];
        for (bytes, why) in [
            (&b""[..], Unknown::NoModule),
            (b"\x7fELF", Unknown::NoModule),
            (b"\0asm\x01\0\0\0", Unknown::NoVersion),
            (cut, Unknown::NoModule),
            (&module("name", b"1.2.3"), Unknown::NoVersion),
            (&module(VERSION_SECTION, b""), Unknown::NoVersion),
            (&module(VERSION_SECTION, b"1\x1b[2J"), Unknown::NoVersion),
            (&module(VERSION_SECTION, b"\xff"), Unknown::NoVersion),
        ] {
            assert_eq!(of_module(bytes), Err(why), "{bytes:?}");
        }
    }

    #[test]
    fn a_module_of_another_version_is_doubted_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("waykeeper.wasm");
        let doubt_of = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            doubt(&path)
        };
        assert_eq!(doubt(&path), None);
        assert_eq!(doubt_of(b"something else"), None);
        assert_eq!(doubt_of(&module(VERSION_SECTION, VERSION.as_bytes())), None);
        let doubt = doubt_of(&module(VERSION_SECTION, b"9.9.9")).unwrap();
        assert!(doubt.contains("is version 9.9.9"), "{doubt}");
    }
}
