//! Templates: an endpoint with a format of its own gets a text that the operator wrote, filled from the event.
//!
//! Jinja, by minijinja. What is undefined fails instead of vanishing, nothing is escaped behind anyone's back, and
//! steps and output are bounded. A template is the operator's: like a configuration file it is trusted not to be made
//! to use up memory.

use crate::model::{Event, Invalid, JSON, limits};
use bytes::Bytes;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, escape_formatter};
use serde_json::Value;
use std::io::{self, Write};

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(print);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(limits::MAX_TEMPLATE_STEPS));
    environment
}

/// Text is printed as it is; what is neither text nor number as the JSON that it came as, not as Python would.
fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &minijinja::Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Bool | ValueKind::None | ValueKind::Map | ValueKind::Seq => {
            let text = serde_json::to_string(value).map_err(|_| Error::from(ErrorKind::BadSerialization))?;
            Ok(out.write_str(&text)?)
        }
        _ => escape_formatter(out, state, value),
    }
}

/// Checks that a template can be read.
///
/// # Errors
/// One that is too large, or that does not parse: the line is named.
pub fn check_template(text: &str) -> Result<(), Invalid> {
    if text.len() > limits::MAX_TEMPLATE_BYTES {
        return Err(Invalid::new("format", format!("template: at most {} bytes fit", limits::MAX_TEMPLATE_BYTES)));
    }
    let parsed = environment().template_from_named_str("template", text).map(|_| ());
    parsed.map_err(|error| Invalid::new("format", describe(&error)))
}

/// What a template makes of an event.
pub(super) fn render(text: &str, event: &Event) -> Result<Bytes, Invalid> {
    let failed = |error: &Error| Invalid::new("format", describe(error));
    let environment = environment();
    let template = environment.template_from_named_str("template", text).map_err(|error| failed(&error))?;
    let mut out = Bounded(Vec::new());
    template.render_captured_to(members(event), &mut out).map_err(|error| failed(&error))?;
    Ok(out.0.into())
}

/// The event's members. A key or headers that it does not have are null and empty, so that a template can ask.
fn members(event: &Event) -> minijinja::Value {
    let mut members: Value = serde_json::from_slice(&event.json()).unwrap_or_default();
    if let Some(members) = members.as_object_mut() {
        members.entry("key").or_insert(Value::Null);
        members.entry("headers").or_insert_with(|| Value::Object(serde_json::Map::new()));
        members.entry("content_type").or_insert_with(|| JSON.into());
    }
    minijinja::value::Serde(members).into()
}

/// What is wrong, and in which line.
fn describe(error: &Error) -> String {
    let detail =
        error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    let line = error.line().map_or(String::new(), |line| format!(", line {line}"));
    format!("template{line}: {detail}")
}

/// An output that ends where a request would be too large.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > limits::MAX_RENDERED_BYTES {
            return Err(io::Error::other(format!("it makes more than {} bytes", limits::MAX_RENDERED_BYTES)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventId, Headers, NewEvent, Offset, Timestamp};

    fn event(payload: &str) -> Event {
        let id = EventId::parse("a-1").unwrap();
        let NewEvent { head, payload } =
            NewEvent::check("key.activated", id, None, Headers::default(), None, payload.to_owned().into()).unwrap();
        Event::new(Offset(42), Timestamp(0), head, payload)
    }

    fn rendered(text: &str) -> Result<String, String> {
        let made = render(text, &event(r#"{"name":"a<b> \"q\"","n":9007199254740993,"list":[true,{"a":null}]}"#));
        made.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).map_err(|invalid| invalid.detail)
    }

    #[test]
    fn the_variables_are_the_events_members_and_nothing_is_escaped() {
        let text =
            "{{ offset }} {{ id }} {{ channel }} {{ data.name }} {{ data.n }} {{ key is none }} {{ headers|length }}";
        assert_eq!(rendered(text).unwrap(), "42 a-1 key.activated a<b> \"q\" 9007199254740993 true 0");
        assert_eq!(
            rendered("{{ key }} {{ data.list }} {{ data.n }}").unwrap(),
            "null [true,{\"a\":null}] 9007199254740993"
        );
        let again: Value = serde_json::from_str(&rendered("{\"text\": {{ data.name|tojson }}}").unwrap()).unwrap();
        assert_eq!(again["text"], "a<b> \"q\"");
    }

    #[test]
    fn what_is_undefined_or_too_much_fails_and_says_where() {
        assert!(rendered("a\n{{ data.nmae }}").unwrap_err().contains("line 2"));
        assert!(rendered("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}").is_err());
        let long = rendered("{% for a in range(60000) %}{{ 'x' * 100 }}{% endfor %}").unwrap_err();
        assert!(long.contains("template"), "{long}");
    }

    #[test]
    fn a_template_that_does_not_parse_is_refused_with_its_line() {
        assert!(check_template("{{ data }}").is_ok());
        let refused = check_template("a\nb\n{{ data").unwrap_err();
        assert_eq!(refused.field, "format");
        assert!(refused.detail.contains("line 3"), "{}", refused.detail);
        assert!(check_template(&" ".repeat(limits::MAX_TEMPLATE_BYTES + 1)).is_err());
    }
}
