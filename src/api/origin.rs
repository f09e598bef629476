//! Which pages may talk to the broker: its own, and those that are named.

use super::problem::Problem;
use super::router::Api;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Origins that are allowed besides the broker's own.
#[derive(Debug, Clone, Default)]
pub struct Origins(pub Vec<String>);

impl Origins {
    /// Whether a request with these headers may be served: it comes from no page, from the broker's own, or
    /// from one that is named.
    fn permit(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        if self.0.iter().any(|allowed| allowed == origin) {
            return true;
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        // A name that somebody else's DNS can point here would make any page "its own".
        let plain = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let ours = plain == "localhost" || plain.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
        ours && (origin == format!("http://{host}") || origin == format!("https://{host}"))
    }
}

/// Refuses pages of other origins.
pub(super) async fn check(State(api): State<Api>, request: Request, next: Next) -> Response {
    if !api.options.origins.permit(request.headers()) {
        let detail = "Origin: this page may not talk to the broker; name it in allowed_origins";
        return Problem::new(StatusCode::FORBIDDEN, "origin-not-allowed", detail).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permitted(origin: &str, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        headers.insert(header::HOST, host.parse().unwrap());
        Origins(vec!["https://app.example".to_owned()]).permit(&headers)
    }

    #[test]
    fn only_its_own_pages_and_named_ones_may_talk_to_the_broker() {
        assert!(permitted("http://127.0.0.1:7836", "127.0.0.1:7836"));
        assert!(permitted("http://localhost:7836", "localhost:7836"));
        assert!(permitted("https://app.example", "127.0.0.1:7836"));
        for (origin, host) in [
            ("http://evil.example", "127.0.0.1:7836"),
            ("http://evil.example:7836", "evil.example:7836"),
            ("http://127.0.0.1:80", "127.0.0.1:7836"),
            ("https://app.example.evil", "127.0.0.1:7836"),
            ("null", "127.0.0.1:7836"),
        ] {
            assert!(!permitted(origin, host), "{origin}");
        }
        assert!(Origins::default().permit(&HeaderMap::new()));
    }
}
