//! What a connector keeps to itself, and how its signing secret changes while receivers still check the old one.

use super::vault::VaultError;
use crate::clock::fill_secret;
use crate::codec;
use crate::model::{Invalid, Timestamp, limits};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 2;

/// What a connector keeps to itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorSecrets {
    /// Headers that each request carries.
    pub headers: Vec<(String, String)>,
    /// What requests are signed with.
    pub signing: SigningSecret,
    /// Secrets that were rotated out: each signs along until its time.
    pub retiring: Vec<(SigningSecret, Timestamp)>,
}

/// Version 1: before secrets were rotated.
#[derive(Deserialize)]
struct SecretsV1 {
    headers: Vec<(String, String)>,
    signing: SigningSecret,
}

/// A Standard Webhooks secret: 24 to 64 bytes, written as `whsec_` and base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningSecret(Vec<u8>);

impl std::fmt::Debug for ConnectorSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnectorSecrets(…)")
    }
}

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("whsec_…")
    }
}

impl ConnectorSecrets {
    /// Those of a connector whose secret was never rotated.
    #[must_use]
    pub fn new(headers: Vec<(String, String)>, signing: SigningSecret) -> Self {
        Self { headers, signing, retiring: Vec::new() }
    }

    /// Signs with `secret` from now on; the one before signs along for 24 h, and so does each that was rotated out
    /// before it, for what is left of its own 24 h.
    ///
    /// # Errors
    /// Where more secrets sign along than a request can carry.
    pub fn rotate(&mut self, secret: SigningSecret, now: Timestamp) -> Result<(), TooManySecrets> {
        if secret == self.signing {
            return Ok(());
        }
        self.retiring.retain(|(old, until)| signs(*until, now) && *old != secret);
        if self.retiring.len() >= limits::MAX_RETIRING_SECRETS {
            return Err(TooManySecrets);
        }
        let old = std::mem::replace(&mut self.signing, secret);
        self.retiring.insert(0, (old, now.plus(limits::SECRET_OVERLAP)));
        Ok(())
    }

    /// Every secret that signs at that time, the newest first.
    pub fn signing_at(&self, now: Timestamp) -> impl Iterator<Item = &SigningSecret> {
        let retiring = self.retiring.iter().filter(move |(_, until)| signs(*until, now)).map(|(secret, _)| secret);
        std::iter::once(&self.signing).chain(retiring)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        codec::encode(VERSION, self)
    }

    pub(super) fn decode(plain: &[u8]) -> Result<Self, VaultError> {
        if plain.first() == Some(&1) {
            let old: SecretsV1 = codec::decode(1, plain).map_err(|_| VaultError::Refused)?;
            return Ok(Self::new(old.headers, old.signing));
        }
        codec::decode(VERSION, plain).map_err(|_| VaultError::Refused)
    }
}

/// Whether a secret that was to sign along until then still does. What lies further ahead than twice the time that was
/// chosen was written down by a clock that was wrong by more than that, and has been set right: it is over.
fn signs(until: Timestamp, now: Timestamp) -> bool {
    until > now && until.since(now) <= limits::SECRET_OVERLAP * 2
}

/// A secret was rotated too often within a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} secrets were rotated out within 24 h and still sign along; wait until one is over",
    limits::MAX_RETIRING_SECRETS
)]
pub struct TooManySecrets;

impl SigningSecret {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = vec![0; 32];
        fill_secret(&mut bytes);
        Self(bytes)
    }

    /// Reads `whsec_…`.
    ///
    /// # Errors
    /// Other text, or fewer than 24 or more than 64 bytes.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bytes = text.strip_prefix("whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
        bytes
            .filter(|bytes| (24..=64).contains(&bytes.len()))
            .map(Self)
            .ok_or_else(|| Invalid::new("secret", "must be whsec_ and the base64 of 24 to 64 bytes"))
    }

    /// `whsec_…`, for the one time that it is shown.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("whsec_{}", STANDARD.encode(&self.0))
    }

    /// The key itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_secret_signs_along_for_its_own_day() {
        let [a, b, c] = [(); 3].map(|()| SigningSecret::random());
        let hours = |n: u64| Timestamp(0).plus(Duration::from_secs(n * 3_600));
        let mut secrets = ConnectorSecrets::new(Vec::new(), a.clone());
        secrets.rotate(b.clone(), hours(1)).unwrap();
        secrets.rotate(c.clone(), hours(2)).unwrap();
        let at = |secrets: &ConnectorSecrets, n| secrets.signing_at(hours(n)).cloned().collect::<Vec<_>>();
        assert!(at(&secrets, 3) == [c.clone(), b.clone(), a.clone()]);
        assert!(at(&secrets, 25) == [c.clone(), b.clone()]);
        assert!(at(&secrets, 26) == [c.clone()]);
        // One that comes back is not kept twice, and rotating to the same changes nothing.
        secrets.rotate(a.clone(), hours(3)).unwrap();
        secrets.rotate(a.clone(), hours(4)).unwrap();
        assert!(at(&secrets, 5) == [a, c, b]);
        assert_eq!(ConnectorSecrets::decode(&secrets.encode()).unwrap(), secrets);
    }

    #[test]
    fn secrets_that_were_sealed_before_rotation_are_read() {
        let signing = SigningSecret::random();
        let headers = vec![("a".to_owned(), "b".to_owned())];
        let plain = codec::encode(1, &(headers.clone(), signing.clone()));
        assert_eq!(ConnectorSecrets::decode(&plain).unwrap(), ConnectorSecrets::new(headers, signing));
    }

    #[test]
    fn a_clock_that_was_ahead_keeps_no_old_secret_for_years() {
        let year = |n: u64| Timestamp(0).plus(Duration::from_secs(n * 365 * 86_400));
        let mut secrets = ConnectorSecrets::new(Vec::new(), SigningSecret::random());
        for _ in 0..limits::MAX_RETIRING_SECRETS {
            secrets.rotate(SigningSecret::random(), year(20)).unwrap();
        }
        assert_eq!(secrets.signing_at(year(20)).count(), limits::MAX_RETIRING_SECRETS + 1);
        assert_eq!(secrets.signing_at(year(10)).count(), 1, "the clock is right again");
        assert_eq!(secrets.rotate(SigningSecret::random(), year(10)), Ok(()), "and it can be rotated on");
    }

    #[test]
    fn more_secrets_than_a_request_carries_are_refused() {
        let mut secrets = ConnectorSecrets::new(Vec::new(), SigningSecret::random());
        for _ in 0..limits::MAX_RETIRING_SECRETS {
            secrets.rotate(SigningSecret::random(), Timestamp(1)).unwrap();
        }
        assert_eq!(secrets.rotate(SigningSecret::random(), Timestamp(1)), Err(TooManySecrets));
        let tomorrow = Timestamp(1).plus(limits::SECRET_OVERLAP);
        assert_eq!(secrets.rotate(SigningSecret::random(), tomorrow), Ok(()));
    }
}
