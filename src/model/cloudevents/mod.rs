//! CloudEvents 1.0 (<https://github.com/cloudevents/spec>) and the broker's own events: the one mapping, for every way
//! in and out.
//!
//! `type` is the channel, `id` the id, `partitionkey` or else `subject` the key. Every other attribute travels as the
//! header `ce-NAME`.

mod incoming;
mod outgoing;

pub use incoming::CloudEventInput;
pub use outgoing::{CLOUDEVENT_JSON, cloudevent_headers, cloudevent_json};

/// JSON, or a format on top of it.
fn is_json(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.split_once('/').is_some_and(|(_, sub)| sub == "json" || sub.ends_with("+json"))
}
