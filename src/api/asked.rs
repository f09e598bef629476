//! What a listener asks for, by query or by frame, checked.

use super::query::Query;
use crate::model::{Filter, Invalid, Name, Offset, Place, limits, parse_duration};
use serde_json::Value;
use std::time::Duration;

/// A subscription as it is written, each member where it was given.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) channels: Option<Vec<String>>,
    pub(super) subscriber: Option<String>,
    pub(super) from: Option<Value>,
    pub(super) window: Option<u32>,
    pub(super) ack_timeout: Option<String>,
    pub(super) expires: Option<String>,
    pub(super) batch: Option<u32>,
}

/// A subscription as asked for; what is absent keeps what there is, or takes the default.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) filter: Option<Filter>,
    pub(super) subscriber: Option<Name>,
    pub(super) from: Option<Place>,
    pub(super) window: Option<u32>,
    pub(super) ack_timeout: Option<Duration>,
    pub(super) expires: Option<Duration>,
    /// The most events in a frame; none where each comes alone.
    pub(super) batch: Option<usize>,
    /// Everything up to and including this one is acknowledged by whoever comes back.
    pub(super) returned: Option<Offset>,
}

/// Takes what a query asks for; what else stands in it is the caller's.
pub(super) fn of_query(query: &mut Query) -> Result<Input, Invalid> {
    let number = |number: Option<u64>| number.map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    Ok(Input {
        channels: query.list("channels"),
        subscriber: query.one("subscriber")?,
        from: query.one("from")?.map(Value::String),
        window: number(query.number("window", 1, u64::from(limits::MAX_WINDOW))?),
        ack_timeout: query.one("ack_timeout")?,
        expires: query.one("expires")?,
        batch: None,
    })
}

/// Takes how many events may stand in one input.
pub(super) fn batch(query: &mut Query) -> Result<Option<u32>, Invalid> {
    let batch = query.number("batch", 1, u64::from(limits::MAX_FRAME_BATCH))?;
    Ok(batch.map(|batch| u32::try_from(batch).unwrap_or(u32::MAX)))
}

/// Checks what is asked for.
pub(super) fn check(input: Input) -> Result<Asked, Invalid> {
    let duration = |field, text: Option<String>| text.map(|text| parse_duration(field, &text)).transpose();
    if input.batch.is_some_and(|batch| batch == 0 || batch > limits::MAX_FRAME_BATCH) {
        return Err(Invalid::new("batch", format!("must be 1 to {}", limits::MAX_FRAME_BATCH)));
    }
    if input.window.is_some_and(|window| window == 0 || window > limits::MAX_WINDOW) {
        return Err(Invalid::new("window", format!("must be 1 to {}", limits::MAX_WINDOW)));
    }
    let asked = Asked {
        filter: input.channels.map(|patterns| Filter::parse(&patterns)).transpose()?,
        subscriber: input.subscriber.map(|name| Name::parse("subscriber", &name)).transpose()?,
        from: input.from.map(|from| Place::from_json("from", &from)).transpose()?,
        window: input.window,
        ack_timeout: duration("ack_timeout", input.ack_timeout)?,
        expires: duration("expires", input.expires)?,
        batch: input.batch.map(|batch| batch as usize),
        returned: None,
    };
    if asked.subscriber.is_none() {
        if asked.filter.is_none() {
            return Err(Invalid::new("channels", "is missing; name patterns, a subscriber, or both"));
        }
        // `window` says nothing where nothing is acknowledged, and clients send it with every request.
        let lone = [("ack_timeout", asked.ack_timeout.is_some()), ("expires", asked.expires.is_some())];
        if let Some((field, _)) = lone.into_iter().find(|(_, given)| *given) {
            return Err(Invalid::new(field, "needs a subscriber"));
        }
    }
    Ok(asked)
}
