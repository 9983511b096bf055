//! A directory with a gateway's file in it, and the tool at work there.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::{Run, waykeeper_in};

pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn with(text: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.path("gateway.yaml"), text).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn directory(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    pub(crate) fn run(&self, command: &str, arguments: &[&str]) -> Run {
        self.run_in(&[], command, arguments)
    }

    pub(crate) fn run_in(
        &self,
        environment: &[(&str, &str)],
        command: &str,
        arguments: &[&str],
    ) -> Run {
        let file = self.path("gateway.yaml");
        let mut run = waykeeper_in(
            environment,
            &[&[command, file.to_str().unwrap()], arguments].concat(),
            b"",
        );
        let directory = self.directory();
        run.output = run.output.replace(directory, "DIR");
        run.errors = run.errors.replace(directory, "DIR");
        run
    }

    /// Has a command write files out of it.
    pub(crate) fn write(&self, command: &str, arguments: &[&str]) -> Run {
        let out = self.path("out");
        self.run(
            command,
            &[&["--out", out.to_str().unwrap()], arguments].concat(),
        )
    }

    pub(crate) fn written(&self, name: &str) -> String {
        fs::read_to_string(self.path("out").join(name)).unwrap()
    }
}
