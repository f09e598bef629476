//! Floor 0: the broker's words as types. No I/O, no async, no clock.
//!
//! Everything that crosses a floor is made of these: offsets and spans, times, channels and
//! patterns, names, events, and the limits that hold for all of them. A value of one of these
//! types has passed its grammar; text becomes one through `parse`, which says what is wrong.

mod backoff;
mod channel;
pub mod cloudevents;
mod connector;
mod duration;
mod event;
mod headers;
mod incoming;
mod invalid;
pub mod json;
pub mod limits;
mod name;
mod offset;
mod pattern;
mod place;
mod rate;
mod subscriber;
mod time;

pub use backoff::Backoff;
pub use channel::Channel;
pub use connector::{ConnectorSettings, ConnectorState, Format, GiveUp, Retry};
pub use duration::{format_duration, parse_duration};
pub use event::{Event, EventId, Head, JSON, NewEvent, Signature};
pub use headers::Headers;
pub use incoming::{EventInput, normalise_json};
pub use invalid::Invalid;
pub use json::write_string;
pub use name::{Key, Name, SubscriberId};
pub use offset::{Offset, Span, Spans};
pub use pattern::{Filter, Pattern};
pub use place::Place;
pub use rate::Rate;
pub use subscriber::{Kind, SubscriberSettings};
pub use time::Timestamp;
