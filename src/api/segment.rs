//! The one variable segment of a path, decoded once.

use super::problem::Problem;
use super::router::Api;
use crate::model::Invalid;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use axum::http::Method;
use axum::http::request::Parts;

/// A channel, an offset or a name as it stands in the path.
pub(super) struct Segment(pub(super) String);

impl FromRequestParts<Api> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Api) -> Result<Self, Problem> {
        let route = parts.extensions.get::<MatchedPath>().map_or("", |path| path.as_str());
        let field = match (route.contains("{name}"), &parts.method) {
            (true, _) => "name",
            (false, &Method::POST) => "channel",
            (false, _) => "offset",
        };
        let bad = || Problem::from(Invalid::new(field, "holds percent-encoded bytes that are not UTF-8"));
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| bad())?;
        params.iter().next().map(|(_, value)| Self(value.to_owned())).ok_or_else(bad)
    }
}
