//! The lines of an export, read back.

use crate::model::{Event, EventId, Headers, NewEvent, Offset, Signature, Span, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One line of an export.
#[derive(Debug)]
pub enum ExportedLine {
    /// An event, every byte of it.
    Event(Box<Event>),
    /// Offsets that could not be had.
    Gap(Span),
    /// The last line: what the export covers, and how many events it has.
    Last {
        /// The offsets.
        span: Span,
        /// The events.
        events: u64,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine<'a> {
    offset: Offset,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    headers: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data_base64: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    signature: Option<SignatureLine<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureLine<'a> {
    #[serde(borrow)]
    key_id: Cow<'a, str>,
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    value: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GapLine {
    gap: Bounds,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    from: Offset,
    to: Offset,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LastLine {
    #[serde(rename = "checkpoint")]
    _checkpoint: Option<serde::de::IgnoredAny>,
    from: Offset,
    to: Offset,
    events: u64,
}

impl ExportedLine {
    /// Reads a line, without its line break.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Self, String> {
        let wrong = |error: serde_json::Error| error.to_string();
        if line.starts_with(r#"{"checkpoint":"#) {
            let LastLine { from, to, events, .. } = serde_json::from_str(line).map_err(wrong)?;
            return Ok(Self::Last { span: ordered(from, to)?, events });
        }
        if line.starts_with(r#"{"gap":"#) {
            let GapLine { gap: Bounds { from, to } } = serde_json::from_str(line).map_err(wrong)?;
            if from == to {
                return Err("the gap holds nothing".to_owned());
            }
            return Ok(Self::Gap(ordered(from, to)?));
        }
        // serde would take an array of the fields' values as well, and nobody writes that.
        if !line.starts_with('{') {
            return Err("it is not a JSON object".to_owned());
        }
        let said: EventLine<'_> = serde_json::from_str(line).map_err(wrong)?;
        if said.offset.0 == u64::MAX {
            return Err("no event has the last offset that a number holds".to_owned());
        }
        event(line, &said).map(|event| Self::Event(Box::new(event)))
    }
}

fn ordered(from: Offset, to: Offset) -> Result<Span, String> {
    if to < from {
        return Err(format!("its end {to} lies before its beginning {from}"));
    }
    Ok(Span::new(from, to))
}

fn event(line: &str, said: &EventLine<'_>) -> Result<Event, String> {
    let invalid = |invalid: crate::model::Invalid| invalid.to_string();
    let bytes = |text: &str| STANDARD.decode(text).map_err(|error| format!("it is not base64: {error}"));
    let payload: Bytes = match (said.data, &said.data_base64, &said.content_type) {
        (Some(data), None, None) => Bytes::copy_from_slice(whole(line, data).as_bytes()),
        (None, Some(text), Some(_)) => bytes(text)?.into(),
        _ => return Err("an event has data, or content_type and data_base64".to_owned()),
    };
    let time = Timestamp::parse("time", &said.time).map_err(invalid)?;
    let id = EventId::parse(&said.id).map_err(invalid)?;
    let headers = Headers::parse(&said.headers).map_err(invalid)?;
    let kind = said.content_type.as_deref();
    let new = NewEvent::check(&said.channel, id, said.key.as_deref(), headers, kind, payload).map_err(invalid)?;
    let mut event = Event::new(said.offset, time, new.head, new.payload);
    if let Some(SignatureLine { key_id, alg, value }) = &said.signature {
        let (key_id, alg, value) = (key_id.as_ref().into(), alg.as_ref().into(), bytes(value)?.into());
        event.head.signature = Some(Signature { key_id, alg, value });
    }
    Ok(event)
}

/// The payload with the blanks around it: the broker puts none there, so they are the publisher's.
fn whole<'a>(line: &'a str, value: &'a RawValue) -> &'a str {
    let value = value.get();
    let at = (value.as_ptr() as usize).saturating_sub(line.as_ptr() as usize);
    let (before, rest) = (line.get(..at).unwrap_or_default(), line.get(at + value.len()..).unwrap_or_default());
    let blanks = |c: char| c == ' ' || c == '\t';
    let from = before.trim_end_matches(blanks).len();
    let to = line.len() - rest.trim_start_matches(blanks).len();
    line.get(from..to).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_exported_event_comes_back_with_its_identity(
            offset in 0u64..1 << 50, micros in 0u64..4_000_000_000_000_000, given in "[!-~]{1,40}", made in any::<Option<[u8; 16]>>(),
            key in prop::option::of("[a-z é\"\\\\]{1,20}"), headers in prop::collection::btree_map("[a-z-]{1,10}", "[ -~]{0,20}", 0..4),
            blanks in "[ \t]{0,3}", number in any::<i64>(), bytes in prop::option::of(prop::collection::vec(any::<u8>(), 0..50)),
        ) {
            let id = made.map_or_else(|| EventId::parse(&given).unwrap(), EventId::Made);
            let json = format!("{blanks}{{ \"a\":{number}}}{blanks}");
            let (kind, payload) = match bytes {
                Some(bytes) => (Some("image/png; x=\"y\""), bytes),
                None => (None, json.into_bytes()),
            };
            let headers = Headers::parse(&headers).unwrap();
            let new = NewEvent::check("key.a", id, key.as_deref(), headers, kind, payload.into()).unwrap();
            let event = Event::new(Offset(offset), Timestamp(micros), new.head, new.payload);
            let line = event.json();
            match ExportedLine::parse(std::str::from_utf8(&line).unwrap()).unwrap() {
                ExportedLine::Event(back) => {
                    prop_assert_eq!(back.leaf(), event.leaf());
                    prop_assert_eq!(back.json(), line);
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
