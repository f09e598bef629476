//! What a WebSocket client sends, any bytes: text frames, one a line; or, where the first byte is odd, raw bytes.
//!
//! Holds, through the router itself and a real handshake: each text frame is answered, or taken without a word where
//! the contract gives it none, and the connection stays open (PROTOCOL.md section 5); what comes back are text frames
//! of JSON objects with a known `op`; an answer carries the `ref` of its question; raw bytes that are no frames end
//! the connection with a code that the contract names or that the client gave itself, and nothing else.
#![no_main]

use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::cell::RefCell;
use stentor_fuzz::{real, serve::Served};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

thread_local!(static SERVED: RefCell<Served> = RefCell::default());

const HANDSHAKE: &[u8] = b"GET /v1/ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const OPS: [&str; 9] = ["subscribed", "acked", "published", "pong", "event", "events", "caught_up", "gap", "error"];
const CODES: [u16; 10] = [1000, 1002, 1003, 1005, 1007, 1009, 1011, 4410, 4500, 4509];

/// Says hello, and reads the answer to its end.
async fn upgrade(socket: &mut DuplexStream) {
    socket.write_all(HANDSHAKE).await.expect("the pipe is open");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await.expect("an upgrade is answered"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
}

/// Reads one frame; tells whether it is the pong that ends a conversation, or the connection has ended.
fn heard(message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>, open: bool) -> Option<Value> {
    match message {
        Some(Ok(Message::Text(text))) => {
            let frame: Value = serde_json::from_str(&text).expect("a frame is JSON");
            let op = frame["op"].as_str().expect("a frame has an op");
            assert!(OPS.contains(&op), "{frame}");
            Some(frame)
        }
        Some(Ok(Message::Close(frame))) => {
            let code = frame.map_or(1005, |frame| u16::from(frame.code));
            // A client that says goodbye gets its own code back.
            let echoed = !open && matches!(code, 1000..=1014 | 3000..=4999);
            assert!(CODES.contains(&code) || echoed, "close code {code}");
            assert!(!open || code == 4410 || code == 4509, "a text frame ended the connection: {code}");
            None
        }
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Some(Value::Null),
        Some(Ok(other)) => panic!("{other:?}"),
        Some(Err(_)) | None => {
            assert!(!open, "the connection broke");
            None
        }
    }
}

async fn frames(text: &str, socket: DuplexStream) {
    let mut socket = WebSocketStream::from_raw_socket(socket, Role::Client, None).await;
    let mut references: Vec<Value> = Vec::new();
    for line in text.lines().take(12) {
        let asked: Value = serde_json::from_str(line).unwrap_or_default();
        references.extend(asked.get("ref").cloned());
        let sent = socket.send(Message::text(line)).await;
        let asked = socket.send(Message::text(r#"{"op":"ping","end":1}"#)).await;
        // One that is refused by name: it marks the end of the answers, and no line of a client's gives the same.
        assert!(sent.is_ok() && asked.is_ok(), "the connection stays open");
        loop {
            let Some(frame) = heard(socket.next().await, true) else { return };
            if frame["op"] == "error" && frame["detail"].as_str().is_some_and(|detail| detail.starts_with("end:")) {
                break;
            }
            // Answers come in any order, each with the ref of its own question.
            if let Some(reference) = frame.get("ref") {
                assert!(references.contains(reference), "a ref that nobody gave: {frame}");
            }
        }
    }
    let _closed = socket.close(None).await.is_ok();
    while let Some(Ok(_)) = socket.next().await {}
}

async fn raw(bytes: &[u8], mut socket: DuplexStream) {
    let _written = socket.write_all(bytes).await.is_ok();
    // A close frame of a client's, masked with zeros: whatever stood before, the conversation ends here.
    let _said = socket.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.is_ok();
    let _shut = socket.shutdown().await.is_ok();
    let mut socket = WebSocketStream::from_raw_socket(socket, Role::Client, None).await;
    while heard(socket.next().await, false).is_some() {}
}

fuzz_target!(|data: &[u8]| SERVED.with_borrow_mut(|served| {
    let served = served.fresh();
    let Some((form, rest)) = data.split_first() else { return };
    let router = served.router.clone();
    served.runtime.block_on(async {
        let (mut ours, theirs) = tokio::io::duplex(64 << 10);
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(theirs), TowerToHyperService::new(router))
            .with_upgrades();
        let serving = tokio::spawn(connection);
        let talk = async {
            upgrade(&mut ours).await;
            match std::str::from_utf8(rest) {
                Ok(text) if form % 2 == 0 => frames(text, ours).await,
                _ => raw(rest, ours).await,
            }
        };
        tokio::time::timeout(real::PATIENCE, talk).await.expect("a conversation ends");
        let _served = serving.await;
    });
}));
