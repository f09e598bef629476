//! Request bodies: bounded, and JSON where JSON is due.

use super::problem::Problem;
use crate::clock::{self, Instant};
use crate::model::{Invalid, Offset, Place};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// How long a body may take before its rate counts, and the rate that it must keep then.
const BODY_GRACE: Duration = Duration::from_secs(10);
const MIN_BODY_BYTES_A_MS: usize = 16;
/// Settings and commands are small.
const MAX_COMMAND_BYTES: usize = 256 << 10;

/// The content type, without its parameters and in lower case.
pub(super) fn essence(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut incoming = Incoming::new(headers, body, limit)?;
    // Most bodies are one frame, and need no copy.
    let first = incoming.next().await?.unwrap_or_default();
    let Some(second) = incoming.next().await? else { return Ok(first) };
    let mut whole = [first, second].concat();
    while let Some(frame) = incoming.next().await? {
        whole.extend_from_slice(&frame);
    }
    Ok(whole.into())
}

/// A body frame by frame, as it comes. It may take its time, but not for ever: a client that sends a byte now and then
/// holds a connection and memory.
pub(super) struct Incoming {
    body: Limited<Body>,
    limit: usize,
    pace: Pace,
}

/// How fast a body must come.
pub(super) struct Pace {
    began: Instant,
    pub(super) read: usize,
}

impl Pace {
    /// From now on.
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), read: 0 }
    }

    /// How long the next bytes may take.
    pub(super) fn left(&self) -> Duration {
        let allowed = BODY_GRACE + Duration::from_millis((self.read / MIN_BODY_BYTES_A_MS) as u64);
        allowed.saturating_sub(self.began.elapsed())
    }
}

impl Incoming {
    /// Of at most `limit` bytes; one that announces more is refused before any of it is read.
    pub(super) fn new(headers: &HeaderMap, body: Body, limit: usize) -> Result<Self, Problem> {
        if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            let detail = "Content-Encoding is not taken; send the body as it is";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-encoding-unsupported", detail));
        }
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|announced| announced > limit as u64) {
            return Err(too_large(limit));
        }
        Ok(Self { body: Limited::new(body, limit), limit, pace: Pace::new() })
    }

    /// The next bytes; none at the body's end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let frame = match clock::within(self.pace.left(), self.body.frame()).await {
                None => return Err(too_slow(self.pace.read)),
                Some(None) => return Ok(None),
                Some(Some(Ok(frame))) => frame,
                Some(Some(Err(error))) if error.is::<LengthLimitError>() => return Err(too_large(self.limit)),
                Some(Some(Err(error))) => {
                    let detail = format!("the body ended early: {error}");
                    return Err(Problem::new(StatusCode::BAD_REQUEST, "body-broken", detail));
                }
            };
            if let Ok(data) = frame.into_data() {
                self.pace.read += data.len();
                return Ok(Some(data));
            }
        }
    }
}

fn too_slow(read: usize) -> Problem {
    let detail = format!("after {read} bytes the body came more slowly than {MIN_BODY_BYTES_A_MS} KB/s");
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail)
        .header(header::CONNECTION, HeaderValue::from_static("close"))
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the body is larger than {limit} bytes");
    // The rest of it is not read: whoever sent it must not use the connection again.
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
        .with("limit", limit)
        .header(header::CONNECTION, HeaderValue::from_static("close"))
}

/// Reads a command's or setting's JSON; fields that are not known are refused by name.
pub(super) async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let bytes = read(headers, body, MAX_COMMAND_BYTES).await?;
    command(headers, &bytes)
}

fn command<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, Problem> {
    if essence(headers).is_some_and(|kind| kind != "application/json") {
        let detail = "this path takes application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type-unsupported", detail));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| not_json(&error))?;
    object(text)
}

/// As [`json`], for a command that needs no body; `None` where there is none.
pub(super) async fn optional_json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<Option<T>, Problem> {
    let bytes = read(headers, body, MAX_COMMAND_BYTES).await?;
    if bytes.is_empty() { Ok(None) } else { command(headers, &bytes).map(Some) }
}

/// Reads one JSON object; what is wrong is told with the field where it stands. (serde would take an array of the
/// fields' values as well, and nobody means that.)
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    if !text.trim_start().starts_with('{') {
        let detail = if text.trim().is_empty() { "is empty; a JSON object is due" } else { "is not a JSON object" };
        return Err(Problem::new(StatusCode::BAD_REQUEST, "json-invalid", detail));
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut parser).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        // Where the text ends too early, no member can be named.
        let nowhere = path == "." || path == "?";
        let detail = if nowhere { inner.to_string() } else { format!("{path}: {inner}") };
        let problem = Problem::new(StatusCode::BAD_REQUEST, "json-invalid", detail);
        // The member of the request itself; the detail says where in it.
        let field = if nowhere { "" } else { path.split(['.', '[']).next().unwrap_or_default() };
        if field.is_empty() { problem } else { problem.with("field", field) }
    })?;
    parser.end().map_err(|error| bad_json(&error))?;
    Ok(value)
}

pub(super) fn not_json(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "json-invalid", error.to_string())
}

/// What serde found wrong names the field.
pub(super) fn bad_json(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "json-invalid", error.to_string())
}

/// An offset, as a number or a string of digits.
pub(super) fn offset(value: &Value) -> Result<Offset, Invalid> {
    match Place::from_json("offset", value) {
        Ok(Place::At(offset)) => Ok(offset),
        _ => Err(Invalid::new("offset", "must be an offset, as a number or a string of digits")),
    }
}
