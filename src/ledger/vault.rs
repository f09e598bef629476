//! Secrets at rest: sealed under a key that lies in `data/keys/` and nowhere else.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with a random 24-byte nonce; the subscriber's number is
//! bound in, so that a sealed secret of one connector cannot be put under another.

use super::entry::Sealed;
use super::secrets::ConnectorSecrets;
use crate::clock::fill_secret;
use crate::fs::{self, Fs};
use crate::model::SubscriberId;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use std::io;
use std::path::{Path, PathBuf};

/// The name of the key, in the folder `keys`.
pub const KEY_FILE: &str = "secrets.key";
const KEY_BYTES: usize = 32;

/// What goes wrong with keys and sealed secrets.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key file cannot be read or made.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file is not a key.
    #[error("{}: not a key of 32 bytes; put the one back that this data directory was written with", .0.display())]
    NotAKey(PathBuf),
    /// A sealed secret does not open with this key.
    #[error("a connector's secrets do not open with the key in the keys folder; put the key back that sealed them")]
    Refused,
}

/// Seals and opens.
pub struct Vault(XChaCha20Poly1305);

impl Vault {
    /// Opens the key in `dir`, making it for a new data directory. `must_exist` where sealed secrets may be there.
    ///
    /// # Errors
    /// The file system's; a file that is no key.
    pub fn open(fs: &dyn Fs, dir: &Path, must_exist: bool) -> Result<Self, VaultError> {
        let path = dir.join(KEY_FILE);
        let io = |source| VaultError::Io { path: path.clone(), source };
        let key = match fs::read_all(fs, &path, 1024) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => {
                let mut key = vec![0; KEY_BYTES];
                fill_secret(&mut key);
                fs.create_dir(dir).and_then(|()| fs::replace(fs, dir, KEY_FILE, &key)).map_err(io)?;
                key
            }
            Err(error) => return Err(io(error)),
        };
        let key = key
            .first_chunk::<KEY_BYTES>()
            .filter(|_| key.len() == KEY_BYTES)
            .ok_or_else(|| VaultError::NotAKey(path.clone()))?;
        Ok(Self(XChaCha20Poly1305::new(<&Key>::from(key))))
    }

    /// A vault with a key that nobody keeps, for an engine without a disk.
    #[must_use]
    pub fn ephemeral() -> Self {
        let mut key = Key::default();
        fill_secret(&mut key);
        Self(XChaCha20Poly1305::new(&key))
    }

    /// Seals a connector's secrets.
    #[must_use]
    pub fn seal(&self, id: SubscriberId, secrets: &ConnectorSecrets) -> Sealed {
        let mut nonce = [0; 24];
        fill_secret(&mut nonce);
        let plain = secrets.encode();
        let payload = Payload { msg: &plain, aad: &id.0.to_be_bytes() };
        let ciphertext =
            self.0.encrypt(<&XNonce>::from(&nonce), payload).expect("a few kilobytes are far below the cipher's limit");
        Sealed { nonce, ciphertext }
    }

    /// Opens them again.
    ///
    /// # Errors
    /// [`VaultError::Refused`] where the key or the number is another one.
    pub fn open_sealed(&self, id: SubscriberId, sealed: &Sealed) -> Result<ConnectorSecrets, VaultError> {
        let payload = Payload { msg: &sealed.ciphertext, aad: &id.0.to_be_bytes() };
        let plain = self.0.decrypt(<&XNonce>::from(&sealed.nonce), payload).map_err(|_| VaultError::Refused)?;
        ConnectorSecrets::decode(&plain)
    }
}

#[cfg(test)]
mod tests {
    use super::super::secrets::SigningSecret;
    use super::*;

    #[test]
    fn sealed_secrets_open_only_for_whom_they_were_sealed() {
        let vault = Vault::ephemeral();
        let headers = vec![("authorization".into(), "Bearer abc123".into())];
        let secrets = ConnectorSecrets::new(headers, SigningSecret::random());
        let sealed = vault.seal(SubscriberId(1), &secrets);
        assert_eq!(vault.open_sealed(SubscriberId(1), &sealed).unwrap(), secrets);
        assert!(matches!(vault.open_sealed(SubscriberId(2), &sealed), Err(VaultError::Refused)));
        assert!(matches!(Vault::ephemeral().open_sealed(SubscriberId(1), &sealed), Err(VaultError::Refused)));
        assert!(!String::from_utf8_lossy(&sealed.ciphertext).contains("abc123"));
    }
}
