//! CloudEvents 1.0 (<https://github.com/cloudevents/spec>) and the broker's own events: how one becomes the other.

mod incoming;

pub use incoming::CloudEventInput;
