//! Query strings: every parameter known, or refused by name.

use super::problem::Problem;
use crate::model::{Filter, Invalid, Place, limits, parse_duration};
use axum::http::{HeaderMap, Uri, header};
use std::time::Duration;

/// Whether a request asks for a content type by name; `*/*` asks for none.
pub(super) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(','));
    kinds.any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted)))
}

/// The parameters of one request; each is taken once, and what is left is refused.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &Uri) -> Self {
        Self::parse(uri.query().unwrap_or_default())
    }

    pub(super) fn parse(text: &str) -> Self {
        let pairs = form_urlencoded::parse(text.as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// Takes all values of a parameter, comma-separated or repeated.
    pub(super) fn list(&mut self, name: &str) -> Option<Vec<String>> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition::<Vec<_>, _>(|(n, _)| n == name);
        self.0 = left;
        let values = taken.iter().flat_map(|(_, value)| value.split(',')).map(str::to_owned).collect();
        (!taken.is_empty()).then_some(values)
    }

    /// Takes a parameter that stands once at most.
    pub(super) fn one(&mut self, name: &'static str) -> Result<Option<String>, Invalid> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition::<Vec<_>, _>(|(n, _)| n == name);
        self.0 = left;
        let mut values = taken.into_iter().map(|(_, value)| value);
        let first = values.next();
        match values.next() {
            Some(_) => Err(Invalid::new(name, "is given twice")),
            None => Ok(first),
        }
    }

    pub(super) fn channels(&mut self) -> Result<Option<Filter>, Invalid> {
        self.list("channels").map(|patterns| Filter::parse(&patterns)).transpose()
    }

    pub(super) fn place(&mut self, name: &'static str) -> Result<Option<Place>, Invalid> {
        self.one(name)?.map(|text| Place::parse(name, &text)).transpose()
    }

    pub(super) fn duration(&mut self, name: &'static str) -> Result<Option<Duration>, Invalid> {
        self.one(name)?.map(|text| parse_duration(name, &text)).transpose()
    }

    pub(super) fn number(&mut self, name: &'static str, at_least: u64, at_most: u64) -> Result<Option<u64>, Invalid> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (at_least..=at_most).contains(number));
        number.map(Some).ok_or_else(|| Invalid::new(name, format!("must be a number from {at_least} to {at_most}")))
    }

    /// Takes `limit`, with the lists' default.
    pub(super) fn limit(&mut self) -> Result<usize, Invalid> {
        Ok(self.some_limit()?.unwrap_or(limits::DEFAULT_LIMIT))
    }

    /// Takes `limit`, where all is meant without it.
    pub(super) fn some_limit(&mut self) -> Result<Option<usize>, Invalid> {
        let limit = self.number("limit", 1, limits::MAX_READ_LIMIT as u64)?;
        Ok(limit.map(|limit| limit as usize))
    }

    /// Refuses what is left.
    pub(super) fn end(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let detail = format!("parameter '{}' is not known here", name.escape_debug());
                Err(Problem::new(axum::http::StatusCode::BAD_REQUEST, "parameter-unknown", detail)
                    .with("field", name.as_str()))
            }
        }
    }
}
