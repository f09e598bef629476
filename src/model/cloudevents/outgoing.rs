//! An event as a CloudEvent: structured as one JSON object, or binary as `ce-*` headers beside the payload.
//!
//! What a publisher's CloudEvent said comes out again as it came in. An event of another origin has `/channels/NAME` as
//! its source and the broker's time; its offset is the extension `sequence`, a string, because integers have 32 bits.

use super::is_json;
use crate::model::{Event, Key, write_string};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The content type of one structured CloudEvent.
pub const CLOUDEVENT_JSON: &str = "application/cloudevents+json";

/// Names that no header gives: they stand for parts of the event itself.
const OWN: [&str; 6] = ["specversion", "id", "type", "datacontenttype", "data", "data_base64"];

/// All context attributes but `specversion` and `datacontenttype`, by name.
type Attributes<'a> = BTreeMap<&'a str, Cow<'a, str>>;

fn attributes(event: &Event) -> Attributes<'_> {
    let head = &event.head;
    let mut found = Attributes::new();
    // Other headers that can be attributes come first, so that the publisher's own attribute wins where both are there:
    // `traceparent` of the event is its origin's (Distributed Tracing extension), never the hop's.
    for (name, value) in head.headers.iter().filter(|(name, _)| is_attribute(name)) {
        found.insert(name, value.into());
    }
    for (name, value) in head.headers.iter() {
        if let Some(name) = name.strip_prefix("ce-").filter(|name| is_attribute(name)) {
            found.insert(name, value.into());
        }
    }
    let stored = |name: &str| head.headers.get(&format!("ce-{name}"));
    if stored("source").is_none() {
        found.insert("source", format!("/channels/{}", head.channel).into());
    }
    if stored("time").is_none() {
        found.insert("time", event.time.to_string().into());
    }
    if stored("sequence").is_none() {
        found.insert("sequence", format!("{:020}", event.offset.0).into());
    }
    if stored("partitionkey").is_none() {
        found.remove("partitionkey");
        // A key that was read from `subject` goes back there, and only there.
        let key = head.key.as_ref().map(Key::as_str).filter(|key| stored("subject") != Some(*key));
        found.extend(key.map(|key| ("partitionkey", key.into())));
    }
    found.insert("id", head.id.to_string().into());
    found.insert("type", head.channel.as_str().into());
    found
}

/// Whether a header's name is the name of an attribute that it may give.
fn is_attribute(name: &str) -> bool {
    let spelled = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    spelled && !OWN.contains(&name)
}

/// The event in structured mode: one JSON object on one line, of content type [`CLOUDEVENT_JSON`].
///
/// JSON, and what is JSON by its type, stands in `data` as it was published; every other payload in `data_base64`.
#[must_use]
pub fn cloudevent_json(event: &Event) -> Bytes {
    let mut out = Vec::with_capacity(event.payload.len() + 384);
    out.extend_from_slice(br#"{"specversion":"1.0""#);
    let mut member = |name: &str, value: &str| {
        out.push(b',');
        write_string(&mut out, name);
        out.push(b':');
        write_string(&mut out, value);
    };
    for (name, value) in &attributes(event) {
        member(name, value);
    }
    member("datacontenttype", event.content_type());
    if event.head.content_type.is_none() || is_json_on_one_line(event) {
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(&event.payload);
    } else {
        member("data_base64", &STANDARD.encode(&event.payload));
    }
    out.push(b'}');
    out.into()
}

/// Whether a payload of a type on top of JSON is what it says: the broker looks at those of `application/json` only.
fn is_json_on_one_line(event: &Event) -> bool {
    is_json(event.content_type())
        && !event.payload.iter().any(|b| matches!(b, b'\r' | b'\n'))
        && serde_json::from_slice::<serde::de::IgnoredAny>(&event.payload).is_ok()
}

/// The `ce-*` headers of the event in binary mode. The body is its payload, under its own content type.
///
/// Values are percent-encoded as the HTTP binding says (section 3.1.3.2), and so are visible ASCII.
#[must_use]
pub fn cloudevent_headers(event: &Event) -> Vec<(String, String)> {
    let mut headers = vec![("ce-specversion".to_owned(), "1.0".to_owned())];
    headers.extend(attributes(event).iter().map(|(name, value)| (format!("ce-{name}"), percent_encoded(value))));
    headers
}

/// Space, quote, percent and everything outside U+0021 to U+007E, as `%` and the bytes of its UTF-8.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' => out.push_str(&format!("%{byte:02X}")),
            0x21..=0x7e => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventId, Headers, NewEvent, Offset, Timestamp};
    use serde_json::{Value, json};

    fn event(key: Option<&str>, headers: &[(&str, &str)], kind: Option<&str>, payload: &str) -> Event {
        let id = EventId::parse("a-1").unwrap();
        let headers = Headers::parse(headers.iter().copied()).unwrap();
        let NewEvent { head, payload } =
            NewEvent::check("key.activated", id, key, headers, kind, payload.to_owned().into()).unwrap();
        Event::new(Offset(42), Timestamp(1_795_297_593_123_456), head, payload)
    }

    fn structured(event: &Event) -> Value {
        serde_json::from_slice(&cloudevent_json(event)).unwrap()
    }

    #[test]
    fn an_event_of_any_origin_is_a_cloudevent() {
        let shown = structured(&event(Some("k"), &[("traceparent", "00-a"), ("x-other", "y")], None, "\"text\""));
        let due = json!({
            "specversion": "1.0", "id": "a-1", "type": "key.activated", "source": "/channels/key.activated",
            "time": "2026-11-21T21:46:33.123456Z", "partitionkey": "k", "sequence": "00000000000000000042",
            "traceparent": "00-a", "datacontenttype": "application/json", "data": "text",
        });
        assert_eq!(shown, due);
    }

    #[test]
    fn what_a_publishers_cloudevent_said_comes_out_again() {
        let headers = [
            ("ce-source", "/ems"),
            ("ce-subject", "policy 7"),
            ("ce-time", "2020-01-01T00:00:00Z"),
            ("ce-sequence", "7"),
            ("ce-traceparent", "00-origin"),
            ("traceparent", "00-hop"),
        ];
        let shown = structured(&event(Some("policy 7"), &headers, Some("text/plain"), "words"));
        for (name, value) in [
            ("source", "/ems"),
            ("subject", "policy 7"),
            ("time", "2020-01-01T00:00:00Z"),
            ("sequence", "7"),
            ("traceparent", "00-origin"),
            ("datacontenttype", "text/plain"),
            ("data_base64", "d29yZHM="),
        ] {
            assert_eq!(shown[name], value, "{name}");
        }
        assert!(shown.get("partitionkey").is_none() && shown.get("data").is_none(), "the key came from the subject");
    }

    #[test]
    fn a_header_cannot_pass_for_a_part_of_the_event() {
        let headers =
            [("ce-id", "b"), ("ce-type", "b"), ("id", "b"), ("data", "b"), ("partitionkey", "b"), ("source", "b")];
        let shown = structured(&event(None, &headers, None, "1"));
        assert_eq!((&shown["id"], &shown["type"], &shown["data"]), (&json!("a-1"), &json!("key.activated"), &json!(1)));
        assert_eq!((&shown["source"], shown.get("partitionkey")), (&json!("/channels/key.activated"), None));
    }

    #[test]
    fn binary_headers_are_visible_ascii() {
        let headers = cloudevent_headers(&event(Some("Grüße 100%\""), &[], None, "1"));
        let value = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        assert_eq!(value("ce-partitionkey"), Some("Gr%C3%BC%C3%9Fe%20100%25%22"));
        assert_eq!(value("ce-specversion"), Some("1.0"));
        assert_eq!(value("ce-datacontenttype"), None, "that is the content type");
    }
}
