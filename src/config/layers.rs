//! Putting the layers together, and remembering where each value came from.

use super::file;
use super::keys::{Config, KEYS, Key};
use std::fmt;
use std::path::PathBuf;

/// Where values come from, lowest first: defaults, file, environment, flags.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The file, where one is named or lies where it is looked for.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// Flags: the key's name and its value.
    pub flags: Vec<(&'static str, String)>,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFaults(pub Vec<String>);

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigFaults {}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: it is the default.
    Default,
    /// In the file, on this line, from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// In the environment, under this name.
    Environment(String),
    /// On the command line, as this flag.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line } => write!(f, "{} line {line}", path.display()),
            Source::Environment(name) => f.write_str(name),
            Source::Flag(name) => f.write_str(name),
        }
    }
}

/// One key, its value as it was written, and where that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key's name.
    pub key: &'static str,
    /// The value; `***` where it is a secret that is set.
    pub value: String,
    /// Where it was written.
    pub source: Source,
}

/// A configuration, and where it came from.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The configuration.
    pub config: Config,
    /// Every key, in the order of [`KEYS`].
    pub settings: Vec<Setting>,
}

impl Layers {
    /// The configuration that they make.
    ///
    /// # Errors
    /// Every fault, each with where it stood.
    pub fn build(&self) -> Result<Config, ConfigFaults> {
        Ok(self.effective()?.config)
    }

    /// The configuration that they make, and where each value came from.
    ///
    /// # Errors
    /// Every fault, each with where it stood.
    pub fn effective(&self) -> Result<Effective, ConfigFaults> {
        let mut building = Building::default();
        if let Some(directory) = self.state_directory() {
            building.set("data", directory, Source::Environment(STATE_DIRECTORY.to_owned()));
        }
        self.read_file(&mut building);
        for key in KEYS {
            let name = key.environment();
            for (_, value) in self.environment.iter().filter(|(n, _)| *n == name) {
                building.set(key.name, value, Source::Environment(name.clone()));
            }
        }
        for (key, value) in &self.flags {
            building.set(key, value, Source::Flag(format!("--{}", key.replace(['.', '_'], "-"))));
        }
        building.finish()
    }

    /// Names in the environment that look like a key's and are none: a slip, or another program's.
    #[must_use]
    pub fn strangers(&self) -> Vec<&str> {
        let known: Vec<String> = KEYS.iter().map(Key::environment).collect();
        let others = ["STENTOR_CONFIG", "STENTOR_URL", "STENTOR_TOKEN", "STENTOR_TOKEN_FILE"];
        let names = self.environment.iter().map(|(name, _)| name.as_str());
        let ours = names.filter(|name| name.starts_with("STENTOR_"));
        ours.filter(|name| !others.contains(name) && !known.iter().any(|key| key == name)).collect()
    }

    /// systemd's directory for the unit's state (systemd.exec(5)); it may name several, and the first is ours.
    fn state_directory(&self) -> Option<&str> {
        let (_, directories) = self.environment.iter().find(|(name, _)| name == STATE_DIRECTORY)?;
        directories.split(':').next().filter(|directory| !directory.is_empty())
    }

    fn read_file(&self, building: &mut Building) {
        let Some(path) = &self.file else { return };
        let lines = crate::fs::read_all(&crate::fs::RealFs, path, 1 << 20)
            .map_err(|error| error.to_string())
            .and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()))
            .and_then(|text| file::read(&text));
        match lines {
            Ok(lines) => {
                for line in lines {
                    building.set(&line.key, &line.value, Source::File { path: path.clone(), line: line.number });
                }
            }
            Err(error) => building.faults.push(format!("{}: {error}", path.display())),
        }
    }
}

const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// A configuration that fills, layer over layer.
struct Building {
    config: Config,
    settings: Vec<Setting>,
    faults: Vec<String>,
}

impl Default for Building {
    fn default() -> Self {
        let unset = |key: &Key| Setting { key: key.name, value: key.default.to_owned(), source: Source::Default };
        Self { config: Config::default(), settings: KEYS.iter().map(unset).collect(), faults: Vec::new() }
    }
}

impl Building {
    fn set(&mut self, name: &str, value: &str, source: Source) {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            self.faults.push(format!("{source}: {name}: is not a key; docs/CONFIGURATION.md lists them"));
            return;
        };
        if let Err(fault) = (key.set)(&mut self.config, value) {
            self.faults.push(format!("{source}: {name}: {fault}"));
            return;
        }
        let value = if key.is_secret() { "***" } else { value };
        if let Some(setting) = self.settings.iter_mut().find(|setting| setting.key == name) {
            *setting = Setting { key: key.name, value: value.to_owned(), source };
        }
    }

    fn finish(mut self) -> Result<Effective, ConfigFaults> {
        if let Err(fault) = self.config.check() {
            self.faults.push(fault);
        }
        if self.faults.is_empty() {
            Ok(Effective { config: self.config, settings: self.settings })
        } else {
            Err(ConfigFaults(self.faults))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn environment(pairs: &[(&str, &str)]) -> Layers {
        let environment = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Layers { environment, ..Layers::default() }
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let file = tempfile::NamedTempFile::new().unwrap();
        crate::fs::Fs::open(&crate::fs::RealFs, file.path(), crate::fs::Open::Create)
            .unwrap()
            .write_at(b"drain = \"3s\"\n[retention]\nmax_age = \"7d\"\nmax_bytes = \"1GiB\"\n", 0)
            .unwrap();
        let mut layers = environment(&[("STENTOR_RETENTION_MAX_AGE", "8d"), ("STENTOR_DRAIN", "4s")]);
        layers.file = Some(file.path().to_owned());
        layers.flags = vec![("drain", "5s".to_owned())];
        let config = layers.build().unwrap();
        assert_eq!(config.drain, Duration::from_secs(5));
        assert_eq!(config.retention.max_age, Some(Duration::from_secs(8 * 86_400)));
        assert_eq!(config.retention.max_bytes, Some(1 << 30));
        assert_eq!(config.publish, crate::publish::PublishLimits::default());
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        crate::fs::Fs::open(&crate::fs::RealFs, file.path(), crate::fs::Open::Create)
            .unwrap()
            .write_at(b"colour = 1\n[retention]\nmax_age = \"soon\"\n", 0)
            .unwrap();
        let mut layers = environment(&[("STENTOR_LISTEN", "nowhere")]);
        layers.file = Some(file.path().to_owned());
        let faults = layers.build().unwrap_err().0.join("\n");
        for part in ["line 1: colour", "line 3: retention.max_age", "STENTOR_LISTEN"] {
            assert!(faults.contains(part), "{part} in {faults}");
        }
    }

    #[test]
    fn the_default_of_every_key_as_it_is_shown_is_the_default_as_it_is() {
        let mut building = Building::default();
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            building.set(key.name, key.default, Source::Default);
        }
        assert_eq!(building.faults, Vec::<String>::new());
        assert_eq!(format!("{:?}", building.config), format!("{:?}", Config::default()));
    }

    #[test]
    fn each_value_is_told_with_where_it_was_written() {
        let mut layers = environment(&[("STENTOR_DRAIN", "4s"), ("STATE_DIRECTORY", "/var/lib/stentor:/else")]);
        layers.flags = vec![("listen", "127.0.0.1:0".to_owned())];
        let settings = layers.effective().unwrap().settings;
        let of = |key: &str| settings.iter().find(|setting| setting.key == key).unwrap().clone();
        assert_eq!((of("drain").value.as_str(), of("drain").source.to_string()), ("4s", "STENTOR_DRAIN".to_owned()));
        assert_eq!(of("listen").source, Source::Flag("--listen".to_owned()));
        assert_eq!(of("data").value, "/var/lib/stentor");
        assert_eq!(of("log").source, Source::Default);
        assert_eq!(settings.len(), KEYS.len());
    }

    #[test]
    fn what_is_named_like_a_secret_is_never_shown() {
        let key = |name| Key { name, default: "", help: "", set: |_, _| Ok(()) };
        assert!(key("jwt.secret").is_secret() && key("upstream.token").is_secret());
        assert!(KEYS.iter().all(|key| !key.is_secret()), "none of today's keys holds one");
    }

    #[test]
    fn a_name_that_looks_like_a_keys_and_is_none_is_noticed() {
        let layers =
            environment(&[("STENTOR_DRIAN", "4s"), ("STENTOR_DRAIN", "4s"), ("STENTOR_URL", "x"), ("HOME", "/")]);
        assert_eq!(layers.strangers(), ["STENTOR_DRIAN"]);
    }

    #[test]
    fn other_addresses_than_loopback_need_a_word() {
        assert!(environment(&[("STENTOR_LISTEN", "0.0.0.0:7836")]).build().is_err());
        assert!(environment(&[("STENTOR_LISTEN", "0.0.0.0:7836"), ("STENTOR_INSECURE", "true")]).build().is_ok());
    }
}
