//! Putting the layers together.

use super::file;
use super::keys::{Config, KEYS};
use std::fmt;
use std::path::PathBuf;

/// Where values come from, lowest first: defaults, file, environment, flags.
#[derive(Debug, Default)]
pub struct Layers {
    /// The file, where one is named.
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

impl Layers {
    /// The configuration that they make.
    ///
    /// # Errors
    /// Every fault, each with where it stood.
    pub fn build(&self) -> Result<Config, ConfigFaults> {
        let mut config = Config::default();
        let mut faults = Vec::new();
        if let Some(path) = &self.file {
            let shown = path.display();
            let lines = crate::fs::read_all(&crate::fs::RealFs, path, 1 << 20)
                .map_err(|error| error.to_string())
                .and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()))
                .and_then(|text| file::read(&text));
            match lines {
                Ok(lines) => {
                    for line in lines {
                        set(&mut config, &line.key, &line.value, &mut faults, &format!("{shown} line {}", line.number));
                    }
                }
                Err(error) => faults.push(format!("{shown}: {error}")),
            }
        }
        for key in KEYS {
            let name = key.environment();
            for (_, value) in self.environment.iter().filter(|(n, _)| *n == name) {
                if let Err(fault) = (key.set)(&mut config, value) {
                    faults.push(format!("{name}: {fault}"));
                }
            }
        }
        for (key, value) in &self.flags {
            set(&mut config, key, value, &mut faults, &format!("--{}", key.replace(['.', '_'], "-")));
        }
        if let Err(fault) = config.check() {
            faults.push(fault);
        }
        if faults.is_empty() { Ok(config) } else { Err(ConfigFaults(faults)) }
    }
}

fn set(config: &mut Config, name: &str, value: &str, faults: &mut Vec<String>, place: &str) {
    match KEYS.iter().find(|key| key.name == name) {
        Some(key) => {
            if let Err(fault) = (key.set)(config, value) {
                faults.push(format!("{place}: {name}: {fault}"));
            }
        }
        None => faults.push(format!("{place}: {name}: is not a key; docs/CONFIGURATION.md lists them")),
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
    fn other_addresses_than_loopback_need_a_word() {
        assert!(environment(&[("STENTOR_LISTEN", "0.0.0.0:7836")]).build().is_err());
        assert!(environment(&[("STENTOR_LISTEN", "0.0.0.0:7836"), ("STENTOR_INSECURE", "true")]).build().is_ok());
    }
}
