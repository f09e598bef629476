//! Events and frames as they come over the wire.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// An event as it was delivered.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Received {
    /// Its place in the log.
    pub offset: u64,
    /// Its id.
    pub id: String,
    /// Its channel.
    pub channel: String,
    /// When the broker took it: RFC 3339.
    pub time: String,
    /// The ordering key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The publisher's headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    data: Option<Box<RawValue>>,
    /// The payload's content type, where it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The payload, where it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    /// How often it was sent; absent the first time.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub attempt: u32,
}

/// `"data":null` is a payload; only an absent `data` is none.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_one(attempt: &u32) -> bool {
    *attempt == 1
}

impl Received {
    /// The payload as the JSON text that was published; `null` where it is not JSON.
    #[must_use]
    pub fn data(&self) -> &str {
        self.data.as_ref().map_or("null", |data| data.get())
    }

    /// The payload as a value.
    ///
    /// # Errors
    /// A payload that is another value.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.data())
    }
}

/// What a frame is.
#[derive(Debug, Deserialize)]
pub(super) struct Frame {
    pub(super) op: String,
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
    pub(super) end: Option<u64>,
    pub(super) cursor: Option<u64>,
    pub(super) code: Option<String>,
    pub(super) detail: Option<String>,
}
