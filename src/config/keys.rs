//! The keys: what each means, how its text is read.

use crate::api::Origins;
use crate::broker::Options;
use crate::connector::{Egress, Network};
use crate::engine::RetentionLimits;
use crate::log::Recover;
use crate::model::{limits, parse_duration};
use crate::publish::PublishLimits;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// The address to serve.
    pub listen: SocketAddr,
    /// Serves other addresses than loopback although no token guards them.
    pub insecure: bool,
    /// What diagnostics are written.
    pub log: String,
    /// How long a shutdown may take.
    pub drain: Duration,
    /// What to do with damage.
    pub recover: Recover,
    /// How long and how much is kept.
    pub retention: RetentionLimits,
    /// How large a publish may be.
    pub publish: PublishLimits,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once from one address; a proxy is one.
    pub max_connections_per_address: usize,
    /// Networks that connectors may reach although they are not public.
    pub connectors_allow: Vec<Network>,
    /// Pages that may talk to the broker besides its own.
    pub allowed_origins: Vec<String>,
    /// Publishes are refused while less than this is free on the disk.
    pub reserve_bytes: u64,
    /// Bytes of sealed segments read again each second to find rot.
    pub scrub_bytes: u64,
    /// Bytes of an event segment.
    pub event_segment_bytes: u64,
    /// Bytes of a ledger segment.
    pub ledger_segment_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data"),
            listen: limits::DEFAULT_LISTEN.parse().expect("the default address is one"),
            insecure: false,
            log: "info".to_owned(),
            drain: Duration::from_secs(10),
            recover: Recover::Refuse,
            retention: RetentionLimits::default(),
            publish: PublishLimits::default(),
            max_connections: 20_000,
            max_connections_per_address: 20_000,
            connectors_allow: Vec::new(),
            allowed_origins: Vec::new(),
            reserve_bytes: limits::RESERVE_BYTES,
            scrub_bytes: limits::SCRUB_BYTES,
            event_segment_bytes: limits::EVENT_SEGMENT_BYTES,
            ledger_segment_bytes: limits::LEDGER_SEGMENT_BYTES,
        }
    }
}

/// One key.
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// Its value where nobody gives one; empty where that means none.
    pub default: &'static str,
    /// What it is for, and its values.
    pub help: &'static str,
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
}

impl Key {
    /// Its name in the environment.
    #[must_use]
    pub fn environment(&self) -> String {
        format!("STENTOR_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// Whether its value is never shown: it is named after what it holds.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        ["secret", "token", "password"].iter().any(|word| self.name.ends_with(word))
    }
}

/// Every key.
pub const KEYS: &[Key] = &[
    Key {
        name: "data",
        default: "data",
        help: "the data directory",
        set: |c, v| {
            c.data = PathBuf::from(v);
            Ok(())
        },
    },
    Key {
        name: "listen",
        default: "127.0.0.1:7836",
        help: "the address to serve, as in 127.0.0.1:7836; port 0 picks one",
        set: |c, v| {
            c.listen = v.parse().map_err(|_| format!("'{v}' is not an address; write one as in 127.0.0.1:7836"))?;
            Ok(())
        },
    },
    Key {
        name: "insecure",
        default: "false",
        help: "serve other addresses than loopback without tokens: true or false",
        set: |c, v| {
            c.insecure = v.parse().map_err(|_| format!("'{v}' is neither true nor false"))?;
            Ok(())
        },
    },
    Key {
        name: "log",
        default: "info",
        help: "diagnostics: error, warn, info, debug, trace, or a filter",
        set: |c, v| {
            c.log = v.to_owned();
            Ok(())
        },
    },
    Key {
        name: "drain",
        default: "10s",
        help: "how long a shutdown may take, as in 10s",
        set: |c, v| {
            c.drain = duration(v)?;
            Ok(())
        },
    },
    Key {
        name: "recover",
        default: "refuse",
        help: "what to do with damage: refuse, serve-readable or accept-loss",
        set: |c, v| {
            c.recover = match v {
                "refuse" => Recover::Refuse,
                "serve-readable" => Recover::ServeReadable,
                "accept-loss" => Recover::AcceptLoss,
                _ => return Err(format!("'{v}' is neither refuse, serve-readable nor accept-loss")),
            };
            Ok(())
        },
    },
    Key {
        name: "retention.max_age",
        default: "",
        help: "segments whose newest event is older go, as in 30d; never if absent",
        set: |c, v| {
            c.retention.max_age = Some(duration(v)?);
            Ok(())
        },
    },
    Key {
        name: "retention.max_bytes",
        default: "",
        help: "the oldest segments go while more bytes are kept, as in 50GiB",
        set: |c, v| {
            c.retention.max_bytes = Some(bytes(v)?);
            Ok(())
        },
    },
    Key {
        name: "retention.receipts",
        default: "",
        help: "ledger segments, and the receipts in them, go whose newest entry is older, as in 400d; never if absent",
        set: |c, v| {
            c.retention.receipts = Some(duration(v)?);
            Ok(())
        },
    },
    Key {
        name: "limits.max_event_size",
        default: "1MiB",
        help: "bytes of one payload, at most 1MiB",
        set: |c, v| {
            c.publish.max_event_bytes = bounded(v, 1, limits::MAX_EVENT_BYTES)?;
            Ok(())
        },
    },
    Key {
        name: "limits.max_batch_size",
        default: "8MiB",
        help: "bytes of one batch, at most 8MiB",
        set: |c, v| {
            c.publish.max_batch_bytes = bounded(v, 1, limits::MAX_BATCH_BYTES)?;
            Ok(())
        },
    },
    Key {
        name: "limits.max_connections",
        default: "20000",
        help: "connections at once",
        set: |c, v| {
            c.max_connections = bounded(v, 1, 1_000_000)?;
            Ok(())
        },
    },
    Key {
        name: "limits.max_connections_per_address",
        default: "20000",
        help: "connections at once from one address",
        set: |c, v| {
            c.max_connections_per_address = bounded(v, 1, 1_000_000)?;
            Ok(())
        },
    },
    Key {
        name: "connectors.allow",
        default: "",
        help: "networks that connectors may reach although they are not public, as in 10.1.0.0/16",
        set: |c, v| {
            let networks = list(v).map(|text| Network::parse("network", text).map_err(|invalid| invalid.detail));
            c.connectors_allow = networks.collect::<Result<_, _>>()?;
            Ok(())
        },
    },
    Key {
        name: "allowed_origins",
        default: "",
        help: "pages that may talk to the broker, as in https://app.example",
        set: |c, v| {
            c.allowed_origins = list(v).map(str::to_owned).collect();
            Ok(())
        },
    },
    Key {
        name: "disk.reserve",
        default: "64MiB",
        help: "publishes are refused while less than this is free on the disk, as in 64MiB",
        set: |c, v| {
            c.reserve_bytes = bytes(v)?;
            Ok(())
        },
    },
    Key {
        name: "disk.scrub",
        default: "4MiB",
        help: "bytes of sealed segments read again each second to find rot, as in 4MiB; none with 0",
        set: |c, v| {
            c.scrub_bytes = bytes(v)?;
            Ok(())
        },
    },
    Key {
        name: "segments.events",
        default: "64MiB",
        help: "bytes of an event segment",
        set: |c, v| {
            c.event_segment_bytes = bounded(v, limits::MIN_SEGMENT_BYTES as usize, 1 << 30)? as u64;
            Ok(())
        },
    },
    Key {
        name: "segments.ledger",
        default: "16MiB",
        help: "bytes of a ledger segment",
        set: |c, v| {
            c.ledger_segment_bytes = bounded(v, limits::MIN_SEGMENT_BYTES as usize, 1 << 30)? as u64;
            Ok(())
        },
    },
];

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration("", text).map_err(|invalid| invalid.detail)
}

/// Reads a number of bytes: digits, and `KiB`, `MiB` or `GiB`.
fn bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is not a size; write digits and, if you like, KiB, MiB or GiB");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match text.get(digits.len()..).unwrap_or_default().trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(bad()),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(bad)
}

fn bounded(text: &str, at_least: usize, at_most: usize) -> Result<usize, String> {
    let number = usize::try_from(bytes(text)?).unwrap_or(usize::MAX);
    if (at_least..=at_most).contains(&number) {
        return Ok(number);
    }
    Err(format!("'{text}' must be {at_least} to {at_most}"))
}

impl Config {
    /// What holds between keys.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.publish.max_event_bytes > self.publish.max_batch_bytes {
            return Err("limits.max_event_size: must not exceed limits.max_batch_size".to_owned());
        }
        if !self.listen.ip().is_loopback() && !self.insecure {
            return Err(format!(
                "listen: {} is not loopback, and no token guards it; serve loopback, or say --insecure",
                self.listen
            ));
        }
        Ok(())
    }

    /// The broker's part.
    #[must_use]
    pub fn broker(&self) -> Options {
        Options {
            recover: self.recover,
            retention: self.retention,
            publish: self.publish,
            egress: Egress {
                loopback: self.listen.ip().is_loopback(),
                allow: self.connectors_allow.clone(),
                own: None,
            },
            reserve_bytes: self.reserve_bytes,
            scrub_bytes: self.scrub_bytes,
            event_segment_bytes: self.event_segment_bytes,
            ledger_segment_bytes: self.ledger_segment_bytes,
            ..Options::new(&self.data)
        }
    }

    /// The API's part.
    #[must_use]
    pub fn origins(&self) -> Origins {
        Origins(self.allowed_origins.clone())
    }
}
