//! What a refusal looks like, and which statuses go together.
#![allow(dead_code, reason = "problems are written by the problem module; this says what they look like")]

use std::collections::BTreeMap;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// RFC 9457. `docs/ERRORS.md` lists every type.
#[derive(ToSchema)]
#[schema(as = Problem)]
pub(in crate::api) struct ProblemShape {
    /// Which problem it is.
    #[schema(pattern = "^/problems/[a-z0-9-]+$", example = "/problems/channel-invalid")]
    r#type: String,
    /// The same in words.
    #[schema(min_length = 1)]
    title: String,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What was wrong with this request.
    #[schema(min_length = 1)]
    detail: String,
    /// The field that has to be mended.
    #[schema(nullable = false)]
    field: Option<String>,
    /// Where in a batch, from 1.
    #[schema(nullable = false, minimum = 1)]
    line: Option<u64>,
    /// The limit that was passed.
    #[schema(nullable = false)]
    limit: Option<u64>,
}

/// When a status is answered.
fn when(status: u16) -> &'static str {
    match status {
        400 => "A parameter, a header or the body does not follow its grammar; the detail names the field.",
        403 => "The channel is the broker's own, or the page's origin is not allowed.",
        404 => "There is no such thing.",
        408 => "The body came too slowly.",
        409 => "It contradicts what there is: an id with another content, a name of the other kind, an ack of nothing.",
        410 => "Retention removed it.",
        413 => "The event, the batch or the body is over its limit.",
        415 => "A content type or encoding that this path does not take.",
        426 => "This path takes WebSocket upgrades.",
        500 => "A fault of the broker's own, or damage.",
        503 => "Not now; `Retry-After` says when. A publish's outcome may be unknown.",
        507 => "The disk is full: nothing was written.",
        _ => "Refused.",
    }
}

/// The answer that a refusal with this status is.
pub(super) fn refusal(status: u16) -> Response {
    let content = ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("Problem")))).build();
    ResponseBuilder::new().description(when(status)).content("application/problem+json", content).build()
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $($status:literal)+;)+) => {$(
        $(#[$doc])*
        pub(in crate::api) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$($status),+].into_iter().map(|status| (status.to_string(), RefOr::T(refusal(status)))).collect()
            }
        }
    )+};
}

refusals! {
    /// Only parameters can be wrong.
    BadQuery: 400;
    /// A command with a body.
    Commanded: 400 408 413 415;
    /// A name that nobody has, or somebody of the other kind.
    Named: 404 409;
    /// A name that somebody of the other kind has.
    Taken: 409;
    /// There is no such thing.
    Missing: 404;
    /// It was there.
    Gone: 404 410;
    /// What needs a write of the ledger.
    Written: 503 507;
    /// What may have to wait until something is ready.
    NotNow: 503;
    /// What a publish can meet.
    Published: 400 403 408 409 413 415 503 507;
    /// A request that is no upgrade.
    NoUpgrade: 426;
}
