//! What a connection asks for, by query or by frame, checked.

use super::frame::Subscribe;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::model::{Filter, Invalid, Name, Place, limits, parse_duration};
use axum::http::Uri;
use serde_json::Value;
use std::time::Duration;

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
}

/// Reads the query; `None` where it asks for nothing.
pub(super) fn of_query(uri: &Uri) -> Result<Option<Asked>, Problem> {
    if uri.query().unwrap_or_default().is_empty() {
        return Ok(None);
    }
    let mut query = Query::of(uri);
    let number = |number: Option<u64>| number.map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let asked = Subscribe {
        _op: Default::default(),
        channels: query.list("channels"),
        subscriber: query.one("subscriber")?,
        from: query.one("from")?.map(Value::String),
        window: number(query.number("window", 1, u64::from(limits::MAX_WINDOW))?),
        ack_timeout: query.one("ack_timeout")?,
        expires: query.one("expires")?,
        batch: number(query.number("batch", 1, u64::from(limits::MAX_FRAME_BATCH))?),
    };
    query.end()?;
    Ok(Some(of_frame(asked)?))
}

/// Checks what a frame asks for.
pub(super) fn of_frame(frame: Subscribe) -> Result<Asked, Invalid> {
    let duration = |field, text: Option<String>| text.map(|text| parse_duration(field, &text)).transpose();
    if frame.batch.is_some_and(|batch| batch == 0 || batch > limits::MAX_FRAME_BATCH) {
        return Err(Invalid::new("batch", format!("must be 1 to {}", limits::MAX_FRAME_BATCH)));
    }
    if frame.window.is_some_and(|window| window == 0 || window > limits::MAX_WINDOW) {
        return Err(Invalid::new("window", format!("must be 1 to {}", limits::MAX_WINDOW)));
    }
    let asked = Asked {
        filter: frame.channels.map(|patterns| Filter::parse(&patterns)).transpose()?,
        subscriber: frame.subscriber.map(|name| Name::parse("subscriber", &name)).transpose()?,
        from: frame.from.map(|from| Place::from_json("from", &from)).transpose()?,
        window: frame.window,
        ack_timeout: duration("ack_timeout", frame.ack_timeout)?,
        expires: duration("expires", frame.expires)?,
        batch: frame.batch.map(|batch| batch as usize),
    };
    if asked.subscriber.is_none() {
        if asked.filter.is_none() {
            return Err(Invalid::new("channels", "is missing; name patterns, a subscriber, or both"));
        }
        let lone = [("ack_timeout", asked.ack_timeout.is_some()), ("expires", asked.expires.is_some())];
        if let Some((field, _)) = lone.into_iter().find(|(_, given)| *given) {
            return Err(Invalid::new(field, "needs a subscriber"));
        }
    }
    Ok(asked)
}
