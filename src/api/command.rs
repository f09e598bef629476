//! What every command begins with: no query parameters, and a JSON object of settings, or none.

use super::body;
use super::problem::Problem;
use super::query::Query;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A request that its path says all of: parameters are refused by name.
pub(super) struct Plain;

/// A request whose body is a JSON object.
pub(super) struct Command<T>(pub(super) T);

/// A request whose body may be left out.
pub(super) struct OptionalCommand<T>(pub(super) Option<T>);

/// A request that takes no settings: at most `{}`.
pub(super) struct Bare;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoSettings {}

impl<S: Sync> FromRequestParts<S> for Plain {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Query::of(&parts.uri).end().map(|()| Self)
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Command<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        Query::of(&parts.uri).end()?;
        body::json(&parts.headers, body).await.map(Self)
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for OptionalCommand<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        Query::of(&parts.uri).end()?;
        body::optional_json(&parts.headers, body).await.map(Self)
    }
}

impl<S: Sync> FromRequest<S> for Bare {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        OptionalCommand::<NoSettings>::from_request(request, state).await.map(|_| Self)
    }
}
