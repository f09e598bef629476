//! A body that nobody reads to its end is still taken off the wire for a while.
//!
//! A request may be answered before its body has come: it is too large, or on a path that does not exist. Closing a
//! connection with bytes unread resets it (RFC 1122, section 4.2.2.13), and a client that is still writing then sees
//! the reset and not the answer (RFC 9112, section 9.6). So what a handler leaves is read here and thrown away.

use crate::clock::{self, Instant};
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How much is thrown away of one body, and how long that may take.
const MOST_BYTES: usize = 64 << 20;
const LONGEST: Duration = Duration::from_secs(5);

/// Lets the request's body be finished behind its answer.
pub(super) fn linger(request: Request) -> Request {
    // Who waits for leave to send the body is given the answer instead, and has nothing on the way.
    if request.headers().contains_key(header::EXPECT) {
        return request;
    }
    request.map(|body| if body.is_end_stream() { body } else { Body::new(Lingering(Some(body))) })
}

/// A body that is read on when it is dropped before its end.
struct Lingering(Option<Body>);

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        // Outside a runtime there is no connection either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(throw_away(body));
        }
    }
}

async fn throw_away(mut body: Body) {
    let began = Instant::now();
    let mut read = 0;
    while read < MOST_BYTES {
        match clock::within(LONGEST.saturating_sub(began.elapsed()), body.frame()).await {
            Some(Some(Ok(frame))) => read += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}
