//! What is said of a file, each with its line.

use std::fmt::{self, Display};
use std::io::{self, Write};

use waykeeper::config::{Fault, Faults, Segment};

use super::elsewhere::Kind;
use super::hints::hint;
use crate::find::Configuration;
use crate::yaml::Value;

/// What is said of one file.
pub(super) struct Report<'f> {
    pub(super) file: &'f str,
    pub(super) faults: usize,
    /// Whether something is wrong around the configurations.
    pub(super) around: bool,
    /// Whether warnings count as faults.
    pub(super) strict: bool,
    /// Whether there is something, so far only warned of, with which `waykeeper run` does not start.
    pub(super) stops: bool,
    pub(super) output: &'f mut dyn Write,
    pub(super) errors: &'f mut dyn Write,
}

/// A line of a file; line 0 is one that is not known.
pub(super) struct Line<'f>(pub(super) &'f str, pub(super) usize);

/// A fault as it is told, with its line.
pub(crate) fn told(file: &str, document: &Value, fault: &Fault) -> String {
    format!(
        "{}: {fault}{}",
        Line(file, document.line_at(&fault.positions)),
        hint(fault, Kind::Gateway)
    )
}

/// Where a field of a file is.
pub(crate) fn place(file: &str, document: &Value, path: Vec<Segment>) -> String {
    let field = Fault {
        positions: document.positions_at(&path),
        path,
        message: String::new(),
    };
    let place = told(file, document, &field);
    place.trim_end_matches(": ").to_owned()
}

// === impl Report ===

impl<'f> Report<'f> {
    pub(super) fn of(file: &'f str, output: &'f mut dyn Write, errors: &'f mut dyn Write) -> Self {
        Self {
            file,
            faults: 0,
            around: false,
            strict: false,
            stops: false,
            output,
            errors,
        }
    }

    pub(super) fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// Warns of what other readers of YAML may take for something else.
    pub(super) fn warn_of_yaml(&mut self, value: &Value) -> io::Result<()> {
        for doubt in value.doubts() {
            // A doubt shows what it is about.
            let text = match *doubt.path {
                ["proof", ..] => {
                    "some readers of YAML take the proof for something else; put it in quotes"
                }
                ["clients", "validator", "headers", ..] => {
                    "some readers of YAML take this header for something else; put it in quotes"
                }
                _ => doubt.text,
            };
            self.warning(doubt.line, text)?;
        }
        Ok(())
    }

    pub(super) fn tell(
        &mut self,
        faults: &Faults,
        configuration: &Configuration<'_>,
    ) -> io::Result<()> {
        for fault in faults {
            let line = match configuration {
                Configuration::Fields(value) | Configuration::Plugin(value) => {
                    value.line_at(&fault.positions)
                }
                Configuration::Json(_, line) => *line,
            };
            self.fault(line, format_args!("{fault}{}", hint(fault, Kind::Document)))?;
        }
        if faults.untold() > 0 {
            self.fault(
                configuration.line(),
                format_args!("and {} more faults", faults.untold()),
            )?;
        }
        Ok(())
    }

    pub(super) fn fault(&mut self, line: usize, message: impl Display) -> io::Result<()> {
        self.faults += 1;
        writeln!(self.errors, "{}: {message}", Line(self.file, line))
    }

    pub(super) fn warning(&mut self, line: usize, message: impl Display) -> io::Result<()> {
        if self.strict {
            self.faults += 1;
            self.around = true;
        }
        writeln!(self.errors, "{}: warning: {message}", Line(self.file, line))
    }
}

// === impl Line ===

impl Display for Line<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line(file, line) = self;
        match line {
            0 => formatter.write_str(file),
            line => write!(formatter, "{file}:{line}"),
        }
    }
}
