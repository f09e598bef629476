//! A body that nobody reads to its end is still taken off the wire for a while.
//!
//! A request may be answered before its body has come: it is too large, or on a path that does not exist. Closing a
//! connection with bytes unread resets it (RFC 1122, section 4.2.2.13), and a client that is still writing then sees
//! the reset and not the answer (RFC 9112, section 9.6). So what a handler leaves is read here and thrown away: of a
//! body that nobody asked for, for a few seconds; of one that was being read, at the pace at which it may come.

use super::body::Pace;
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

/// How much is thrown away of one body, and how long that may take where nobody had begun to read it.
const MOST_BYTES: usize = 64 << 20;
const LONGEST: Duration = Duration::from_secs(5);

/// Lets the request's body be finished behind its answer.
pub(super) fn linger(request: Request) -> Request {
    let waits = request.headers().contains_key(header::EXPECT);
    request.map(|body| {
        let lingering = Lingering { body: Some(body), waits, pace: None };
        if lingering.is_end_stream() { Body::empty() } else { Body::new(lingering) }
    })
}

/// A body that is read on when it is dropped before its end.
struct Lingering {
    body: Option<Body>,
    /// Whether its sender waits for leave to send it, which it has when somebody begins to read.
    waits: bool,
    /// Since somebody began to read.
    pace: Option<Pace>,
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let pace = this.pace.get_or_insert_with(Pace::new);
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => pace.read += frame.data_ref().map_or(0, Bytes::len),
            Poll::Ready(None | Some(Err(_))) => this.body = None,
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        let pace = self.pace.take();
        if self.waits && pace.is_none() {
            // It is given the answer in place of the leave, and has nothing on the way.
            return;
        }
        // Outside a runtime there is no connection either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(throw_away(body, pace));
        }
    }
}

async fn throw_away(mut body: Body, mut pace: Option<Pace>) {
    let (began, mut read) = (Instant::now(), 0);
    while read < MOST_BYTES {
        let left = pace.as_ref().map_or_else(|| LONGEST.saturating_sub(began.elapsed()), Pace::left);
        let Some(Some(Ok(frame))) = clock::within(left, body.frame()).await else { return };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        read += bytes;
        if let Some(pace) = &mut pace {
            pace.read += bytes;
        }
    }
}
