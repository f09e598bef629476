//! Every limit in one place, with the relations between them checked at compile time.

use std::time::Duration;

/// The default address: 7-8-3-6 spells STEN on a telephone.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7836";

/// Bytes of one event's payload, unless configured lower.
pub const MAX_EVENT_BYTES: usize = 1 << 20;
/// Bytes of one batch as sent, unless configured lower.
pub const MAX_BATCH_BYTES: usize = 8 << 20;
/// Events in one batch.
pub const MAX_BATCH_EVENTS: usize = 10_000;

/// Tokens of a channel or pattern.
pub const MAX_CHANNEL_TOKENS: usize = 16;
/// Bytes of a channel or pattern.
pub const MAX_CHANNEL_BYTES: usize = 255;
/// Characters of a subscriber's or connector's name.
pub const MAX_NAME_BYTES: usize = 128;
/// Characters of an event id.
pub const MAX_ID_BYTES: usize = 128;
/// Bytes of an ordering key.
pub const MAX_KEY_BYTES: usize = 255;
/// Headers kept with one event.
pub const MAX_HEADERS: usize = 32;
/// Bytes of all names and values of an event's headers together.
pub const MAX_HEADERS_BYTES: usize = 8 << 10;
/// Bytes of a content type.
pub const MAX_CONTENT_TYPE_BYTES: usize = 255;
/// Patterns that one listener may ask for.
pub const MAX_PATTERNS: usize = 256;

/// Bytes of an event's head as encoded, at most: every field at its limit and lengths as varints.
pub const MAX_HEAD_BYTES: usize = 16 << 10;
/// Bytes of one record's body; a longer length in a header is refused before anything is allocated.
pub const MAX_BODY_BYTES: usize = MAX_EVENT_BYTES + MAX_HEAD_BYTES;
/// Bytes of the snapshot that a ledger segment begins with.
pub const MAX_SNAPSHOT_BYTES: usize = 1 << 30;
/// Bytes of events that wait for their commit before further publishers have to wait.
pub const MAX_WAITING_BYTES: usize = 32 << 20;
/// How long a publisher waits for a place among the waiting bytes before it is refused.
pub const MAX_PLACE_WAIT: Duration = Duration::from_secs(5);

/// Open events of a subscriber when it does not say.
pub const DEFAULT_WINDOW: u32 = 256;
/// Open events that a subscriber may ask for.
pub const MAX_WINDOW: u32 = 10_000;
/// Time to acknowledge when a subscriber does not say.
pub const DEFAULT_ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// The shortest time to acknowledge that a subscriber may ask for.
pub const MIN_ACK_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest.
pub const MAX_ACK_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// The longest delay of a nack.
pub const MAX_NACK_DELAY: Duration = Duration::from_secs(3600);
/// The most events in one `events` frame.
pub const MAX_FRAME_BATCH: u32 = 1_000;

/// Events in one answer of a range read.
pub const MAX_READ_LIMIT: usize = 10_000;
/// Events in one answer when the reader does not say; list pages too.
pub const DEFAULT_LIMIT: usize = 100;
/// A range read stops near this many bytes.
pub const MAX_READ_BYTES: usize = 8 << 20;
/// The longest that a request may be held.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// Requests of one connector that may run side by side.
pub const MAX_IN_FLIGHT: u32 = 256;
/// Headers that a connector adds.
pub const MAX_CONNECTOR_HEADERS: usize = 32;
/// The longest request time of a connector.
pub const MAX_CONNECTOR_TIMEOUT: Duration = Duration::from_secs(300);
/// The longest `Retry-After` that is obeyed.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Bytes of an endpoint's response that are read.
pub const MAX_RESPONSE_BYTES: usize = 64 << 10;
/// How long a signing secret that was rotated out signs along.
pub const SECRET_OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// Secrets that sign along, at most: each is a signature in a header.
pub const MAX_RETIRING_SECRETS: usize = 16;
/// Bytes of a template.
pub const MAX_TEMPLATE_BYTES: usize = 64 << 10;
/// Bytes that a template may make of an event.
pub const MAX_RENDERED_BYTES: usize = 4 << 20;
/// Steps that a template may take.
pub const MAX_TEMPLATE_STEPS: u64 = 1_000_000;
/// Attempts that are remembered of each connector, in memory.
pub const MAX_ATTEMPTS_KEPT: usize = 100;
/// Characters of a response that are remembered.
pub const MAX_RESPONSE_START: usize = 300;
/// Dead letters of a connector that wait for their retry, and so offsets in one such request.
pub const MAX_DEAD_LETTER_RETRIES: usize = 10_000;
/// Replays of one connector side by side.
pub const MAX_REPLAYS: usize = 8;
/// Failures in a row that open a connector's circuit.
pub const FAILING_AFTER: u32 = 5;

/// How long an idempotency id is remembered.
pub const IDEMPOTENCY_AGE: Duration = Duration::from_secs(24 * 3600);
/// How many events with a publisher's id are remembered.
pub const IDEMPOTENCY_EVENTS: usize = 1_000_000;

/// Bytes of the newest events kept in memory, ready to send.
pub const TAIL_BYTES: usize = 8 << 20;
/// Bytes between two entries of the sparse index.
pub const INDEX_STRIDE: u64 = 64 << 10;
/// Bytes read from a segment at a time.
pub const READ_BLOCK_BYTES: usize = 256 << 10;

/// Bytes of an event segment before the next one begins.
pub const EVENT_SEGMENT_BYTES: u64 = 64 << 20;
/// Bytes of a ledger segment before the next one begins.
pub const LEDGER_SEGMENT_BYTES: u64 = 16 << 20;
/// Held back on the disk for acks, receipts and the broker's own files.
pub const RESERVE_BYTES: u64 = 64 << 20;
/// Bytes of sealed segments that are read again each second.
pub const SCRUB_BYTES: u64 = 4 << 20;
/// The smallest segment that can be asked for; tests use it so that everything rolls.
pub const MIN_SEGMENT_BYTES: u64 = 4 << 10;

/// Events handed over to one near session and not yet taken.
pub const INBOX_EVENTS: usize = 256;
/// Bytes of them.
pub const INBOX_BYTES: usize = 64 << 10;

/// Bytes of one frame that a WebSocket client may send: a whole batch and its envelope.
pub const MAX_FRAME_BYTES: usize = MAX_BATCH_BYTES + (64 << 10);

// A batch enters the log as one group, and a place among the waiting bytes must exist for it.
const _: () = assert!(MAX_BATCH_BYTES + MAX_BATCH_EVENTS * 512 < MAX_WAITING_BYTES);
// A body's length is a u32 on disk.
const _: () = assert!(MAX_BODY_BYTES < u32::MAX as usize);
// Every field of a head at its limit still fits the head's own limit.
const _: () = assert!(
    MAX_CHANNEL_BYTES + MAX_ID_BYTES + MAX_KEY_BYTES + MAX_HEADERS_BYTES + MAX_CONTENT_TYPE_BYTES + 2_048
        < MAX_HEAD_BYTES
);
// A near session that took nothing is far before the tail has forgotten what it missed.
const _: () = assert!(INBOX_BYTES < TAIL_BYTES);
const _: () = assert!(MIN_ACK_TIMEOUT.as_millis() < DEFAULT_ACK_TIMEOUT.as_millis());
const _: () = assert!(DEFAULT_WINDOW <= MAX_WINDOW);
