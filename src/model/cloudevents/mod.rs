//! CloudEvents 1.0 (<https://github.com/cloudevents/spec>) and the broker's own events: the one mapping, for every way
//! in and out.
//!
//! `type` is the channel, `id` the id, `partitionkey` or else `subject` the key. Every other attribute travels as the
//! header `ce-NAME`.

mod incoming;
mod outgoing;

pub use incoming::CloudEventInput;
pub use outgoing::{CLOUDEVENT_JSON, cloudevent_headers, cloudevent_json};
