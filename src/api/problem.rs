//! Errors as RFC 9457 problems: one table from the broker's kinds to HTTP.

use crate::broker::{Error, ErrorKind};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// What went wrong, as a client sees it.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
    extra: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), extra: Map::new(), headers: Vec::new() }
    }

    /// The last part of the problem's type: the code of a WebSocket's error frame.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// Whether it may be over later.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE)
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Gone => StatusCode::GONE,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Full => StatusCode::INSUFFICIENT_STORAGE,
            ErrorKind::Damaged | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::warn!(%error, code = error.code(), "a request could not be served");
        }
        let mut problem = Self::new(status, error.code(), error.to_string());
        if let Some(field) = error.field() {
            problem = problem.with("field", field);
        }
        if let Some(line) = error.line() {
            problem = problem.with("line", line);
        }
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE) {
            problem = problem.header(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        problem
    }
}

impl From<crate::model::Invalid> for Problem {
    fn from(invalid: crate::model::Invalid) -> Self {
        Error::from(invalid).into()
    }
}

impl From<crate::deliver::DeliverError> for Problem {
    fn from(error: crate::deliver::DeliverError) -> Self {
        Error::from(error).into()
    }
}

impl From<crate::deliver::AckRefused> for Problem {
    fn from(error: crate::deliver::AckRefused) -> Self {
        Error::from(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.code.replace('-', " ");
        let mut members = Map::new();
        members.insert("type".to_owned(), json!(format!("/problems/{}", self.code)));
        members.insert("title".to_owned(), json!(title));
        members.insert("status".to_owned(), json!(self.status.as_u16()));
        members.insert("detail".to_owned(), json!(self.detail));
        members.extend(self.extra);
        let body = Value::Object(members).to_string();
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        let mut response = (self.status, kind, body).into_response();
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
