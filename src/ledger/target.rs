//! What a name stands for, and how that is written down. What was written stays readable: a new setting is a new
//! variant of [`Stored`] behind the others.

use super::entry::Sealed;
use crate::model::{ConnectorSettings, Filter, Format, Kind, Rate, Retry, SubscriberSettings};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub enum Target {
    /// A listener that comes.
    Subscriber(SubscriberSettings),
    /// An endpoint that is called.
    Connector {
        /// What it is told.
        settings: ConnectorSettings,
        /// Its headers and signing keys, encrypted.
        secrets: Sealed,
    },
}

impl Target {
    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Target::Subscriber(_) => Kind::Subscriber,
            Target::Connector { .. } => Kind::Connector,
        }
    }

    /// What it asks for.
    #[must_use]
    pub fn channels(&self) -> &Filter {
        match self {
            Target::Subscriber(settings) => &settings.channels,
            Target::Connector { settings, .. } => &settings.channels,
        }
    }
}

/// A target as it lies on disk. Frozen: docs/FORMAT.md has its bytes.
#[derive(Serialize, Deserialize)]
enum Stored {
    Subscriber(SubscriberSettings),
    Connector {
        settings: SettingsV1,
        secrets: Sealed,
    },
    /// With a rate limit; without one a connector is written as it always was.
    Limited {
        settings: SettingsV1,
        rate_limit: Rate,
        secrets: Sealed,
    },
}

#[derive(Serialize, Deserialize)]
struct SettingsV1 {
    url: String,
    channels: Filter,
    format: Format,
    content_type: Option<String>,
    timeout: Duration,
    retry: Retry,
    in_flight: u32,
}

impl From<Stored> for Target {
    fn from(stored: Stored) -> Self {
        let (settings, rate_limit, secrets) = match stored {
            Stored::Subscriber(settings) => return Target::Subscriber(settings),
            Stored::Connector { settings, secrets } => (settings, None, secrets),
            Stored::Limited { settings, rate_limit, secrets } => (settings, Some(rate_limit), secrets),
        };
        let SettingsV1 { url, channels, format, content_type, timeout, retry, in_flight } = settings;
        let settings = ConnectorSettings { url, channels, format, content_type, timeout, retry, in_flight, rate_limit };
        Target::Connector { settings, secrets }
    }
}

impl From<Target> for Stored {
    fn from(target: Target) -> Self {
        let (settings, secrets) = match target {
            Target::Subscriber(settings) => return Stored::Subscriber(settings),
            Target::Connector { settings, secrets } => (settings, secrets),
        };
        let ConnectorSettings { url, channels, format, content_type, timeout, retry, in_flight, rate_limit } = settings;
        let settings = SettingsV1 { url, channels, format, content_type, timeout, retry, in_flight };
        match rate_limit {
            None => Stored::Connector { settings, secrets },
            Some(rate_limit) => Stored::Limited { settings, rate_limit, secrets },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn target(format: Format, rate_limit: Option<Rate>) -> Target {
        let mut settings = ConnectorSettings::new("http://a/", Filter::parse(&["a"]).unwrap());
        (settings.format, settings.rate_limit) = (format, rate_limit);
        Target::Connector { settings, secrets: Sealed { nonce: [7; 24], ciphertext: vec![8; 2] } }
    }

    fn hex(target: &Target) -> String {
        codec::encode(1, target).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_connector_keeps_the_bytes_that_docs_format_gives_it() {
        // url, one pattern, format, no content type, 15 s, 1 s to 300 s without an end, one in flight.
        let (url, channels, end) = ("09687474703a2f2f612f", "010161", "07".repeat(24) + "020808");
        let rest = "000f000100fb2c01000001";
        for (format, bytes) in [(Format::Native, "00"), (Format::Data, "01"), (Format::CloudEvents, "02")] {
            assert_eq!(hex(&target(format, None)), format!("0101{url}{channels}{bytes}{rest}{end}"));
        }
        assert_eq!(hex(&target(Format::CloudEventsBinary, None)), format!("0101{url}{channels}03{rest}{end}"));
        let (template, rate) = (Format::Template("x".into()), Rate::parse("rate", "100/m").unwrap());
        let limited = target(template, Some(rate));
        assert_eq!(hex(&limited), format!("0102{url}{channels}040178{rest}6401{end}"));
        assert_eq!(codec::decode::<Target>(1, &codec::encode(1, &limited)).unwrap(), limited);
    }
}
