//! What a connector may be told: where to call and which headers to add.

use super::egress::Egress;
use crate::model::{Invalid, limits};
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};

/// Headers that the broker or HTTP itself sets.
const RESERVED: [&str; 8] =
    ["host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "expect", "te"];

/// Checks where a connector calls: http or https, no user in it, no address that is denied.
///
/// # Errors
/// What is wrong with it.
pub fn check_url(text: &str, egress: &Egress) -> Result<Url, Invalid> {
    let url = Url::parse(text).map_err(|error| Invalid::new("url", format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Invalid::new("url", "must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Invalid::new("url", "must not hold a user or password; use headers"));
    }
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
    if literal.is_ok_and(|address| !egress.permits(address)) {
        return Err(Invalid::new(
            "url",
            "names an address that connectors may not reach; allow its network in connectors.allow",
        ));
    }
    Ok(url)
}

/// Checks the headers that a connector adds.
///
/// # Errors
/// A name or value that HTTP does not allow, or a header that is not the user's to set.
pub fn check_headers(headers: &[(String, String)]) -> Result<(), Invalid> {
    if headers.len() > limits::MAX_CONNECTOR_HEADERS {
        return Err(Invalid::new("headers", format!("at most {} fit", limits::MAX_CONNECTOR_HEADERS)));
    }
    if headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > limits::MAX_HEADERS_BYTES {
        return Err(Invalid::new("headers", format!("at most {} bytes together", limits::MAX_HEADERS_BYTES)));
    }
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let ours = RESERVED.contains(&lower.as_str()) || lower.starts_with("webhook-") || lower.starts_with("stentor-");
        if ours {
            return Err(Invalid::new("headers", format!("'{name}' is set by the broker")));
        }
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(Invalid::new("headers", format!("'{}' is not a header name", name.escape_debug())));
        }
        if HeaderValue::from_str(value).is_err() {
            return Err(Invalid::new("headers", format!("the value of '{name}' is not a header value")));
        }
    }
    Ok(())
}
