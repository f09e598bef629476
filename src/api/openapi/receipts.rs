//! Receipts and health, as they are answered.
#![allow(dead_code, reason = "answers are rendered from views; these say what they look like")]

use super::words::{Name, Offset, Time};
use serde::Serialize;
use utoipa::ToSchema;

/// How deliveries ended.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum Outcome {
    Acked,
    Dead,
    Skipped,
}

/// How a delivery stands.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum DeliveryState {
    Acked,
    Pending,
    Dead,
    Skipped,
}

/// The record of how deliveries ended; `to` is exclusive.
#[derive(ToSchema)]
pub(in crate::api) struct Receipt {
    subscriber: Name,
    from: Offset,
    to: Offset,
    time: Time,
    outcome: Outcome,
    attempts: u32,
    /// What the endpoint answered.
    #[schema(nullable = false)]
    status: Option<u16>,
    #[schema(nullable = false)]
    latency_ms: Option<u64>,
    #[schema(nullable = false)]
    reason: Option<String>,
    /// The replay that it belongs to.
    #[schema(nullable = false)]
    replay: Option<String>,
}

/// A page of receipts.
#[derive(ToSchema)]
pub(in crate::api) struct Receipts {
    receipts: Vec<Receipt>,
    /// Opaque; pass it as `after`. Null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// Every subscriber that an event was for.
#[derive(ToSchema)]
pub(in crate::api) struct EventReceipts {
    receipts: Vec<EventReceipt>,
    /// Opaque; pass it as `after`. Null at the end; there where `limit` was given.
    next: Option<String>,
}

#[derive(ToSchema)]
pub(in crate::api) struct EventReceipt {
    subscriber: Name,
    state: DeliveryState,
    #[schema(nullable = false)]
    time: Option<Time>,
    #[schema(nullable = false)]
    attempts: Option<u32>,
}

/// The process runs and answers.
#[derive(ToSchema)]
pub(in crate::api) struct Live {
    #[schema(pattern = "^live$")]
    status: String,
    version: String,
}

/// Publishes and acks are taken.
#[derive(ToSchema)]
pub(in crate::api) struct Ready {
    #[schema(pattern = "^ready$")]
    status: String,
    start: Offset,
    end: Offset,
    uptime_seconds: u64,
}
