//! What is kept of an event with a publisher's id when retention takes it: enough to tell a repeat from a conflict.

use crate::model::{EventId, Head};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Two digests in place of an event. 128 bits each: to find two publishes that share one takes 2^64 tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Likeness {
    /// Of what makes two publishes the same one.
    pub(super) identity: [u8; 16],
    /// Of what a repeat must say again: [`Head`] without the id, channel and trace context, and the payload.
    pub(super) content: [u8; 16],
}

impl Likeness {
    /// Of an event; none where the broker made its id.
    pub(super) fn of(head: &Head, payload: &[u8]) -> Option<Self> {
        Some(Self { identity: half(identity(head, 0)?), content: half(content(head, payload)) })
    }

    /// The hash by which an id is found, as [`super::idempotency::hash`] makes it.
    pub(super) fn hash(&self) -> u64 {
        self.identity.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
    }
}

/// Channel, CloudEvents source and id; none where the broker made the id.
pub(super) fn identity(head: &Head, salt: u8) -> Option<[u8; 32]> {
    let EventId::Given(id) = &head.id else { return None };
    let source = head.headers.get("ce-source").unwrap_or_default();
    Some(digest(salt, [head.channel.as_str(), source, id].map(str::as_bytes)))
}

/// What [`crate::model::NewEvent::same_as`] compares.
fn content(head: &Head, payload: &[u8]) -> [u8; 32] {
    let kind = head.content_type.as_deref();
    let key = head.key.as_ref().map(|key| key.as_str());
    let headers = head.headers.without_trace().flat_map(|(name, value)| [name, value]);
    // Whether a content type or a key is given at all counts, as it does for an event that is still there.
    let given = [u8::from(kind.is_some()), u8::from(key.is_some())];
    let head = [kind.unwrap_or_default(), key.unwrap_or_default()].into_iter().chain(headers);
    digest(0, [given.as_slice(), payload].into_iter().chain(head.map(str::as_bytes)))
}

/// Each part with its length before it, so that no two lists of parts are alike.
fn digest<'a>(salt: u8, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([salt]);
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn half(digest: [u8; 32]) -> [u8; 16] {
    *digest.first_chunk().expect("32 bytes have a first half")
}
