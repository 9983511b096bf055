//! The programs and files that contenders are made of, by their places in the repository.

use std::path::{Path, PathBuf};

use crate::Error;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Tools {
    repository: PathBuf,
    filter: Option<PathBuf>,
}

impl Tools {
    /// Those of the repository that this program was built in.
    #[must_use]
    pub fn here() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self {
            repository: manifest.parent().unwrap_or(manifest).to_owned(),
            filter: None,
        }
    }

    /// With another build of the filter.
    #[must_use]
    pub fn with_filter(self, filter: Option<PathBuf>) -> Self {
        Self { filter, ..self }
    }

    /// A file or directory of the repository.
    #[must_use]
    pub fn at(&self, path: &str) -> PathBuf {
        self.repository.join(path)
    }

    /// The Envoy program.
    ///
    /// # Errors
    /// If it is missing.
    pub fn envoy(&self) -> Result<PathBuf, Error> {
        self.needed(".tools/envoy", "make tools")
    }

    /// The operator's tool.
    ///
    /// # Errors
    /// If it is missing.
    pub fn tool(&self) -> Result<PathBuf, Error> {
        self.needed("target/debug/waykeeper", "cargo build -p waykeeper-cli")
    }

    /// The filter under test.
    ///
    /// # Errors
    /// If it is missing.
    pub fn filter(&self) -> Result<PathBuf, Error> {
        match &self.filter {
            Some(filter) if filter.exists() => Ok(filter.clone()),
            Some(filter) => Err(Error::new(format!("{} is missing", filter.display()))),
            None => self.needed("target/waykeeper.wasm", "make build"),
        }
    }

    /// The floor module.
    ///
    /// # Errors
    /// If it is missing.
    pub fn floor(&self) -> Result<PathBuf, Error> {
        self.needed("target/waykeeper-bench-floor.wasm", "make bench-tools")
    }

    /// The equal floor's module.
    ///
    /// # Errors
    /// If it is missing.
    pub fn equal_floor(&self) -> Result<PathBuf, Error> {
        self.needed(
            "target/waykeeper-bench-floor-equal.wasm",
            "make bench-tools",
        )
    }

    /// The directory of the Python packages that the tutorial's gateway stands on.
    ///
    /// # Errors
    /// If it is missing.
    pub fn tutorial(&self) -> Result<PathBuf, Error> {
        self.needed(".tools/fastapi", "make bench-tools")
    }

    /// One of the contenders' own sources.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&self, name: &str) -> Result<String, Error> {
        let path = self.at("benches/contenders").join(name);
        std::fs::read_to_string(&path).map_err(|error| Error::at(&path, error))
    }

    /// The empty module, translated into `directory`.
    ///
    /// # Errors
    /// If it cannot be read, translated or written.
    pub fn empty_module(&self, directory: &Path) -> Result<PathBuf, Error> {
        let bytes = wat::parse_str(self.read("empty.wat")?)
            .map_err(|error| Error::new(format!("empty.wat: {error}")))?;
        let path = directory.join("empty.wasm");
        std::fs::write(&path, bytes).map_err(|error| Error::at(&path, error))?;
        Ok(path)
    }

    fn needed(&self, path: &str, remedy: &str) -> Result<PathBuf, Error> {
        let path = self.at(path);
        if path.exists() {
            Ok(path)
        } else {
            Err(Error::new(format!(
                "{} is missing: run `{remedy}`",
                path.display()
            )))
        }
    }
}
