//! What a connection gets that has no place: a short answer, or none.
//!
//! The answer must cost less than the connection would have: it comes without parsing, from few tasks, within a
//! second. An EventSource gives up for good on a 503, so that it is sent back another way (PROTOCOL.md section 6).

use super::places::Crowded;
use crate::clock;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Refusals that are answered at once; whoever comes beyond is closed without a word.
pub(super) const AT_ONCE: usize = 64;
const WITHIN: Duration = Duration::from_secs(1);
const HEAD_BYTES: usize = 8 << 10;

/// Answers and closes.
pub(super) async fn refuse(stream: TcpStream, why: Crowded) {
    if clock::within(WITHIN, answer(stream, why)).await.is_none() {
        tracing::debug!("a connection without a place was closed unanswered");
    }
}

async fn answer(mut stream: TcpStream, why: Crowded) {
    let mut head = Vec::with_capacity(1 << 10);
    while head.len() < HEAD_BYTES && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if !matches!(stream.read_buf(&mut head).await, Ok(1..)) {
            return;
        }
    }
    let Some(text) = answer_to(&head, why) else { return };
    let said = async {
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await?;
        // With unread bytes of its own on the way the peer would get a reset, and not the answer.
        while stream.read(&mut [0; 1 << 10]).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    if let Err(error) = said.await {
        tracing::debug!(%error, "a connection without a place did not hear why");
    }
}

/// What a request of this head is told; nothing where a closed connection says it better.
fn answer_to(head: &[u8], why: Crowded) -> Option<String> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let stream = head.starts_with("get /v1/sse") || head.contains("\r\naccept: text/event-stream");
    if stream && head.contains("\r\norigin:") {
        // Another origin's page may not read an answer without its grant, and would not come back. A connection that
        // breaks brings it back.
        return None;
    }
    let (status, kind, extra, body) = if stream {
        ("200 OK", "text/event-stream", "", "retry: 5000\n\n".to_owned())
    } else {
        let detail = match why {
            Crowded::All => "the broker has as many connections as it may have",
            Crowded::Address => "the broker has as many connections from this address as it may have",
        };
        let body = serde_json::json!({
            "type": "/problems/too-many-connections", "title": "too many connections", "status": 503, "detail": detail,
        });
        ("503 Service Unavailable", "application/problem+json", "retry-after: 1\r\n", body.to_string())
    };
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncache-control: no-store\r\n{extra}connection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_source_is_sent_back_and_not_ended() {
        let answer = answer_to(b"GET /v1/sse?channels=a HTTP/1.1\r\nHost: x\r\n\r\n", Crowded::All).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("retry: 5000\n\n"), "{answer}");
        let foreign = b"GET /v1/events HTTP/1.1\r\nAccept: text/event-stream\r\nOrigin: https://a.example\r\n\r\n";
        assert_eq!(answer_to(foreign, Crowded::All), None);
    }

    #[test]
    fn everybody_else_gets_the_problem() {
        let answer = answer_to(b"POST /v1/events/a HTTP/1.1\r\nOrigin: https://a.example\r\n\r\n", Crowded::Address);
        let answer = answer.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1\r\n"), "{answer}");
        assert!(answer.contains("too-many-connections") && answer.contains("from this address"), "{answer}");
    }
}
