//! CloudEvents as publishers send them. `type` is the channel, `id` the id, `partitionkey` or else `subject` the
//! ordering key; every attribute but these, `specversion` and `datacontenttype` is kept as header `ce-NAME`.

use super::is_json;
use crate::model::{EventId, Headers, Invalid, NewEvent, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// What a CloudEvent without data carries.
const NOTHING: &[u8] = b"null";

/// One CloudEvent: its attributes as text, and its data.
#[derive(Debug, Default)]
pub struct CloudEventInput<'a> {
    attributes: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    data: Option<&'a RawValue>,
    data_base64: Option<Cow<'a, str>>,
    fault: Option<Invalid>,
}

impl<'a> CloudEventInput<'a> {
    /// An event in binary mode, from the values of its `ce-` headers: percent-encoded, decoded here once (HTTP
    /// binding, section 3.1.3.2).
    ///
    /// # Errors
    /// An attribute given twice, or one that does not decode to UTF-8.
    pub fn of_headers(pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, Invalid> {
        let mut event = Self::default();
        for (name, value) in pairs {
            let text = percent_decoded(value).ok_or_else(|| attribute(name, "is not percent-encoded UTF-8"))?;
            if event.attributes.insert(name.into(), text.into()).is_some() {
                return Err(attribute(name, "is given twice"));
            }
        }
        Ok(event)
    }

    /// The event of structured mode that it stands for.
    ///
    /// # Errors
    /// The first attribute or member that CloudEvents or the broker's own grammar refuses.
    pub fn check(mut self) -> Result<NewEvent, Invalid> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let kind = self.attributes.remove("datacontenttype");
        let is_json = kind.as_deref().is_none_or(is_json);
        let payload = match (self.data, self.data_base64.take()) {
            (Some(_), Some(_)) => return Err(Invalid::new("data", "and data_base64 exclude each other")),
            (None, Some(text)) => STANDARD
                .decode(text.as_bytes())
                .map_err(|error| Invalid::new("data_base64", format!("is not base64: {error}")))?
                .into(),
            (Some(data), None) if is_json => Bytes::copy_from_slice(data.get().as_bytes()),
            // What is not JSON by its type stands as a JSON string (JSON format, section 3.1).
            (Some(data), None) => serde_json::from_str::<String>(data.get())
                .map_err(|_| Invalid::new("data", "is not a string, as its datacontenttype asks; or use data_base64"))?
                .into(),
            (None, None) if is_json => Bytes::from_static(NOTHING),
            (None, None) => Bytes::new(),
        };
        self.event(kind.as_deref(), payload, &[])
    }

    /// The event of binary mode: the body is the data, and its content type is the request's. `kept` are the headers
    /// that travel with it besides its attributes.
    ///
    /// # Errors
    /// As [`CloudEventInput::check`].
    pub fn check_binary(self, kind: Option<&str>, body: Bytes, kept: &[(&str, &str)]) -> Result<NewEvent, Invalid> {
        if self.attributes.contains_key("datacontenttype") {
            return Err(attribute("datacontenttype", "stands in Content-Type in binary mode"));
        }
        let nothing = body.is_empty() && kind.is_none_or(is_json);
        self.event(kind, if nothing { Bytes::from_static(NOTHING) } else { body }, kept)
    }

    fn event(mut self, kind: Option<&str>, payload: Bytes, kept: &[(&str, &str)]) -> Result<NewEvent, Invalid> {
        for (name, value) in &self.attributes {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
                return Err(attribute(name, "is not a name of an attribute; names are a-z and 0-9"));
            }
            if value.is_empty() {
                return Err(attribute(name, "is empty"));
            }
        }
        match self.attributes.remove("specversion").as_deref() {
            Some("1.0") => {}
            Some(other) => {
                return Err(attribute("specversion", &format!("is '{}'; 1.0 is taken", other.escape_debug())));
            }
            None => return Err(attribute("specversion", "is missing")),
        }
        let mut due = |name: &str| self.attributes.remove(name).ok_or_else(|| attribute(name, "is missing"));
        let (id, channel) = (due("id")?, due("type")?);
        let attributes = &self.attributes;
        if !attributes.contains_key("source") {
            return Err(attribute("source", "is missing"));
        }
        if let Some(time) = attributes.get("time") {
            Timestamp::parse("time", time).map_err(|_| attribute("time", "is not a time as RFC 3339 has them"))?;
        }
        let key = attributes.get("partitionkey").or_else(|| attributes.get("subject"));
        let named: Vec<(String, &str)> =
            attributes.iter().map(|(name, value)| (format!("ce-{name}"), &**value)).collect();
        let pairs = named.iter().map(|(name, value)| (name.as_str(), *value)).chain(kept.iter().copied());
        NewEvent::check(&channel, EventId::parse(&id)?, key.map(|key| &**key), Headers::parse(pairs)?, kind, payload)
    }
}

fn attribute(name: &str, why: &str) -> Invalid {
    Invalid::new("attribute", format!("'{}' {why}", name.escape_debug()))
}

fn percent_decoded(value: &[u8]) -> Option<String> {
    let digit = |b: Option<&u8>| char::from(*b?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => digit(bytes.next())? << 4 | digit(bytes.next())?,
            other => *other,
        });
    }
    String::from_utf8(out).ok()
}

impl<'de: 'a, 'a> Deserialize<'de> for CloudEventInput<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

/// Reads the members of a structured event. A member twice is refused: two readers would see two events.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = CloudEventInput<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CloudEvent, a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut event = CloudEventInput::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let value: &'de RawValue = map.next_value()?;
            let twice = match &*name {
                "data" => event.data.replace(value).is_some(),
                // Absent and null are one (JSON format, section 2.2).
                _ if value.get() == "null" => false,
                "data_base64" => match serde_json::from_str(value.get()) {
                    Ok(text) => event.data_base64.replace(Cow::Owned(text)).is_some(),
                    Err(_) => {
                        event.fault = Some(Invalid::new("data_base64", "is not a string"));
                        false
                    }
                },
                _ => match plain(value.get()) {
                    Some(text) => event.attributes.insert(name.clone(), text).is_some(),
                    None => {
                        event.fault = Some(attribute(
                            &name,
                            "is neither a string, nor a whole number of 32 bits, nor true or false",
                        ));
                        false
                    }
                },
            };
            if twice {
                event.fault = Some(attribute(&name, "is given twice"));
            }
        }
        Ok(event)
    }
}

/// An attribute's value as text (CloudEvents, section "Type System").
fn plain(json: &str) -> Option<Cow<'_, str>> {
    if json.starts_with('"') {
        return serde_json::from_str::<String>(json).ok().map(Cow::Owned);
    }
    (matches!(json, "true" | "false") || json.parse::<i32>().is_ok()).then_some(Cow::Borrowed(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<NewEvent, Invalid> {
        serde_json::from_str::<CloudEventInput<'_>>(text).unwrap().check()
    }

    fn with(members: &str) -> String {
        format!(r#"{{"specversion":"1.0","id":"7","type":"key.on","source":"/a"{members}}}"#)
    }

    #[test]
    fn attributes_become_channel_id_key_and_headers() {
        let event = check(&with(
            r#","subject":"s","time":"2026-11-21T10:00:00Z","seen":true,"n":-5,"none":null,"data":{"a": 1}"#,
        ));
        let event = event.unwrap();
        assert_eq!((event.head.channel.as_str(), event.head.id.to_string().as_str()), ("key.on", "7"));
        assert_eq!(event.head.key.as_ref().unwrap().as_str(), "s");
        let headers: Vec<_> = event.head.headers.iter().collect();
        let time = ("ce-time", "2026-11-21T10:00:00Z");
        assert_eq!(headers, [("ce-n", "-5"), ("ce-seen", "true"), ("ce-source", "/a"), ("ce-subject", "s"), time]);
        assert_eq!(event.payload, r#"{"a": 1}"#);
        let event = check(&with(r#","subject":"s","partitionkey":"p""#)).unwrap();
        assert_eq!(event.head.key.unwrap().as_str(), "p");
        assert_eq!(event.payload, "null");
    }

    #[test]
    fn data_follows_its_content_type() {
        let payload = |members: &str| check(&with(members)).map(|event| (event.payload, event.head.content_type));
        let text = Some("text/plain".into());
        assert_eq!(payload(r#","data":"x""#).unwrap(), (Bytes::from("\"x\""), None), "a JSON string stays one");
        assert_eq!(payload(r#","datacontenttype":"text/plain","data":"x""#).unwrap(), (Bytes::from("x"), text.clone()));
        assert_eq!(
            payload(r#","datacontenttype":"text/plain","data_base64":"eA==""#).unwrap(),
            (Bytes::from("x"), text)
        );
        let vendor = payload(r#","datacontenttype":"application/a+json","data":{"b":1}"#).unwrap();
        assert_eq!(vendor, (Bytes::from(r#"{"b":1}"#), Some("application/a+json".into())));
        assert_eq!(payload(r#","datacontenttype":"text/plain","data":{}"#).unwrap_err().field, "data");
        assert_eq!(payload(r#","data":1,"data_base64":"eA==""#).unwrap_err().field, "data");
    }

    #[test]
    fn what_is_no_cloudevent_is_refused_by_name() {
        let table = [
            (r#"{"id":"7","type":"a","source":"/a"}"#.to_owned(), "'specversion' is missing"),
            (r#"{"specversion":"0.3","id":"7","type":"a","source":"/a"}"#.to_owned(), "'specversion' is '0.3'"),
            (r#"{"specversion":"1.0","type":"a","source":"/a"}"#.to_owned(), "'id' is missing"),
            (r#"{"specversion":"1.0","id":"7","type":"a"}"#.to_owned(), "'source' is missing"),
            (with(r#","Bad":"x""#), "'Bad' is not a name"),
            (with(r#","subject":"""#), "'subject' is empty"),
            (with(r#","x":1.5"#), "'x' is neither"),
            (with(r#","x":{}"#), "'x' is neither"),
            (with(r#","x":3000000000"#), "'x' is neither"),
            (with(r#","source":"/b""#), "'source' is given twice"),
            (with(r#","time":"yesterday""#), "'time' is not a time"),
        ];
        for (text, why) in table {
            let invalid = check(&text).unwrap_err();
            assert!(invalid.detail.starts_with(why), "{text}: {invalid}");
        }
    }

    #[test]
    fn headers_are_decoded_once() {
        let binary = |source: &'static [u8]| {
            let pairs = [("specversion", &b"1.0"[..]), ("id", b"7"), ("type", b"a"), ("source", source)];
            CloudEventInput::of_headers(pairs)?.check_binary(None, Bytes::from("1"), &[("traceparent", "00-x")])
        };
        let event = binary(b"/a%20%22%25%E2%82%AC").unwrap();
        assert_eq!(event.head.headers.get("ce-source"), Some("/a \"%€"));
        assert_eq!(event.head.headers.get("traceparent"), Some("00-x"));
        assert_eq!(binary(b"/%FF").unwrap_err().field, "attribute");
        assert_eq!(binary(b"/%2").unwrap_err().field, "attribute");
    }
}
