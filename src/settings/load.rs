//! Files, environment and flags in; one [`Settings`] out, or one message that says what to change.

use std::path::{Path, PathBuf};

use config::{Config, ConfigError, Environment, File, FileFormat};
use serde::Deserialize;
use thiserror::Error;

use super::{Invalid, Settings};
use crate::calibrate::CalibrationError;

/// Collects the layers.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    files: Vec<PathBuf>,
    overrides: Vec<(String, String)>,
    environment: bool,
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A file could not be read.
    #[error("cannot read the configuration `{}`; check its name and permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is no TOML.
    #[error("`{}` is not TOML: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        problem: String,
    },
    /// A key does not exist or a value does not fit.
    #[error("{place}: {problem}")]
    Key {
        /// The file or variable, and the key.
        place: String,
        /// What was found and what is allowed.
        problem: String,
    },
    /// The calibration cannot be used.
    #[error("{place}: `zones.calibration`")]
    Calibration {
        /// The file or variable.
        place: String,
        /// Why.
        #[source]
        source: CalibrationError,
    },
    /// The decoders cannot be used.
    #[error("{place}: `identity.decoders`")]
    Decoders {
        /// The file or variable.
        place: String,
        /// Why.
        #[source]
        source: super::DecoderError,
    },
    /// A value that fits makes no sense.
    #[error("{place}: {invalid}")]
    Invalid {
        /// The files.
        place: String,
        /// The value.
        invalid: Invalid,
    },
}

/// The variables that belong to the configuration begin with this.
const PREFIX: &str = "BEACON_GATEWAY";

/// The key whose file is read along.
const CALIBRATION: &str = "zones.calibration";

/// The key whose folder is read along.
const DECODERS: &str = "identity.decoders";

impl Loader {
    /// The given files over the defaults, in order.
    pub fn files(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { files: files.into_iter().collect(), ..Self::default() }
    }

    /// `BEACON_GATEWAY__SECTION__KEY` over the files.
    #[must_use]
    pub fn environment(mut self) -> Self {
        self.environment = true;
        self
    }

    /// A flag over everything.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.overrides.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Reads, merges and checks.
    pub fn load(&self) -> Result<Settings, LoadError> {
        let mut builder = Config::builder();
        for path in &self.files {
            builder = builder.add_source(File::from_str(&read(path)?, FileFormat::Toml));
        }
        if self.environment {
            let variables = Environment::with_prefix(PREFIX)
                .prefix_separator("__")
                .separator("__")
                .try_parsing(true);
            builder = builder.add_source(variables);
        }
        for (key, value) in &self.overrides {
            builder = builder
                .set_override(key, value.as_str())
                .map_err(|error| self.explain(&error, String::new()))?;
        }
        let merged = builder.build().map_err(|error| self.explain(&error, String::new()))?;
        let mut settings: Settings = serde_path_to_error::deserialize(merged).map_err(|error| {
            let path = error.path().to_string();
            self.explain(error.inner(), path)
        })?;
        let systemd = std::env::var_os("STATE_DIRECTORY").filter(|_| self.environment);
        if let Some(directory) = systemd
            && settings.gateway.state_dir == super::GatewaySettings::default().state_dir
        {
            settings.gateway.state_dir = directory.into();
        }
        settings.check().map_err(|invalid| self.invalid(invalid))?;
        let folder = self.file_of(CALIBRATION).and_then(Path::parent).unwrap_or(Path::new(""));
        settings.read_calibration(folder).map_err(|source| LoadError::Calibration {
            place: self.place_of(CALIBRATION),
            source,
        })?;
        if !settings.identity.decoders.as_os_str().is_empty() {
            let folder = self.file_of(DECODERS).and_then(Path::parent).unwrap_or(Path::new(""));
            let read = super::read_decoders(&folder.join(&settings.identity.decoders));
            settings.own_decoders = read
                .map_err(|source| LoadError::Decoders { place: self.place_of(DECODERS), source })?;
        }
        Ok(settings)
    }

    /// Wraps an invalid value with where to look for it.
    pub fn invalid(&self, invalid: Invalid) -> LoadError {
        let key = invalid.key.clone();
        LoadError::Invalid { place: self.place_of(&key), invalid }
    }

    fn explain(&self, error: &ConfigError, path: String) -> LoadError {
        let (problem, key) = match error {
            ConfigError::At { error, key, .. } => {
                (error.to_string(), key.clone().unwrap_or_default())
            }
            ConfigError::Type { unexpected, expected, key, .. } => {
                let problem = format!("found {unexpected}, expected {expected}");
                (problem, key.clone().unwrap_or_default())
            }
            other => (other.to_string(), String::new()),
        };
        let key = if path.len() >= key.len() { path } else { key };
        // serde names an unknown key in its message only; the path ends at the section.
        let unknown =
            problem.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        let key = match unknown {
            Some(unknown) if key.is_empty() || key == "." => unknown.to_owned(),
            Some(unknown) if !key.ends_with(unknown) => format!("{key}.{unknown}"),
            _ => key,
        };
        let problem = problem.replace("unknown field", "there is no key");
        let place = format!("{}: `{key}`", self.place_of(&key));
        LoadError::Key { place, problem }
    }

    /// The layer that says something about a key, the last one first.
    fn place_of(&self, key: &str) -> String {
        let variable = format!("{PREFIX}__{}", key.replace('.', "__").to_uppercase());
        if self.environment && std::env::var_os(&variable).is_some() {
            return format!("environment variable `{variable}`");
        }
        // A key that stands nowhere is missing: the last file is where people would add it.
        self.file_of(key)
            .or_else(|| self.files.last().map(PathBuf::as_path))
            .map_or_else(|| "configuration".to_owned(), |path| path.display().to_string())
    }

    /// The last file that says something about a key.
    fn file_of(&self, key: &str) -> Option<&Path> {
        let steps = key.split(['.', '[']).map(|step| step.trim_end_matches(']'));
        let said = self.files.iter().rev().find(|path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let table: Option<config::Value> = Config::builder()
                .add_source(File::from_str(&text, FileFormat::Toml))
                .build()
                .and_then(Config::try_deserialize)
                .ok();
            table.is_some_and(|table| mentions(&table, steps.clone()))
        });
        said.map(PathBuf::as_path)
    }
}

fn mentions<'a>(value: &config::Value, mut steps: impl Iterator<Item = &'a str>) -> bool {
    use config::ValueKind;
    let Some(step) = steps.next() else { return true };
    match &value.kind {
        ValueKind::Table(table) => table.get(step).is_some_and(|inner| mentions(inner, steps)),
        ValueKind::Array(array) => step
            .parse::<usize>()
            .ok()
            .and_then(|index| array.get(index))
            .is_some_and(|inner| mentions(inner, steps)),
        _ => true,
    }
}

fn read(path: &Path) -> Result<String, LoadError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })?;
    let parsed = Config::builder().add_source(File::from_str(&text, FileFormat::Toml)).build();
    match parsed.and_then(config::Value::deserialize) {
        Ok(_) => Ok(text),
        Err(error) => Err(LoadError::Syntax { path: path.to_owned(), problem: error.to_string() }),
    }
}
