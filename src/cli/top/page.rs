//! What the page shows: the last look, and the rate since the one before.

use crate::cli::status::{Look, text};
use crate::client::ClientError;
use crate::clock::Instant;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Rates that are remembered for the curve.
const REMEMBERED: usize = 240;

/// The page.
pub(super) struct Page {
    pub(super) url: String,
    pub(super) status: Value,
    /// Those furthest behind first.
    pub(super) subscribers: Vec<Value>,
    /// Those with most events first.
    pub(super) channels: Vec<Value>,
    /// Events a second, oldest first.
    pub(super) rates: VecDeque<u64>,
    /// Why the broker could not be looked at.
    pub(super) trouble: Option<String>,
    /// Rows of subscribers above the first that is shown.
    pub(super) scrolled: usize,
    seen: Option<(Instant, u64)>,
}

impl Page {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            status: Value::Null,
            subscribers: Vec::new(),
            channels: Vec::new(),
            rates: VecDeque::new(),
            trouble: None,
            scrolled: 0,
            seen: None,
        }
    }

    /// Takes a look in.
    pub(super) fn looked(&mut self, look: Result<Look, ClientError>, now: Instant) {
        let Look { status, mut subscribers, mut channels } = match look {
            Ok(look) => look,
            Err(error) => {
                self.trouble = Some(error.to_string());
                self.seen = None;
                return;
            }
        };
        self.trouble = None;
        let end = number(&status, "end");
        if let Some((before, earlier)) = self.seen {
            let seconds = now.duration_since(before).as_secs_f64().max(1e-3);
            let rate = end.saturating_sub(earlier) as f64 / seconds;
            self.rates.push_back(rate.round() as u64);
            if self.rates.len() > REMEMBERED {
                self.rates.pop_front();
            }
        }
        // A broker that is not ready says no end; the rate begins anew when it does.
        self.seen = status.get("end").and_then(Value::as_u64).map(|end| (now, end));
        subscribers.sort_by_key(|row| (std::cmp::Reverse(behind(row)), text(row, "name").to_owned()));
        channels.sort_by_key(|row| std::cmp::Reverse(number(row, "events")));
        self.scrolled = self.scrolled.min(subscribers.len().saturating_sub(1));
        (self.status, self.subscribers, self.channels) = (status, subscribers, channels);
    }

    /// The newest rate.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rates.back().copied().filter(|_| self.trouble.is_none())
    }

    pub(super) fn scroll(&mut self, rows: i32) {
        let last = self.subscribers.len().saturating_sub(1);
        let rows = isize::try_from(rows).unwrap_or_default();
        self.scrolled = self.scrolled.saturating_add_signed(rows).min(last);
    }

    /// The line of this look.
    pub(super) fn line(&self) -> Value {
        if let Some(trouble) = &self.trouble {
            return json!({"reached": false, "trouble": trouble});
        }
        let mut line = self.status.clone();
        if let Some(members) = line.as_object_mut() {
            members.insert("reached".to_owned(), json!(true));
            members.insert("events_per_second".to_owned(), json!(self.rate()));
        }
        line
    }

    /// Whether the last look reached the broker, or why not.
    pub(super) fn reached(&self) -> Result<(), String> {
        self.trouble.clone().map_or(Ok(()), Err)
    }
}

/// Offsets between a subscriber's cursor and the end; not all of them need match.
pub(super) fn behind(row: &Value) -> u64 {
    number(row, "end").saturating_sub(number(row, "cursor"))
}

pub(super) fn number(row: &Value, name: &str) -> u64 {
    row.get(name).and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn look(end: u64) -> Result<Look, ClientError> {
        let subscriber = |name: &str, cursor: u64| json!({"name": name, "cursor": cursor, "end": end});
        Ok(Look {
            status: json!({"end": end, "ready": true}),
            subscribers: vec![subscriber("near", end), subscriber("far", 0)],
            channels: vec![],
        })
    }

    #[test]
    fn the_rate_is_of_the_time_between_two_looks() {
        let (mut page, now) = (Page::new("x".to_owned()), Instant::now());
        page.looked(look(100), now);
        assert_eq!(page.line()["events_per_second"], Value::Null, "one look has no rate");
        page.looked(look(300), now + Duration::from_secs(2));
        assert_eq!(page.line()["events_per_second"], 100);
        assert_eq!(page.subscribers[0]["name"], "far", "who is furthest behind stands first");
    }

    #[test]
    fn a_broker_that_is_away_is_said_and_no_rate_is_made_up_when_it_is_back() {
        let (mut page, now) = (Page::new("x".to_owned()), Instant::now());
        page.looked(look(100), now);
        page.looked(Err(ClientError::Unreachable("gone".to_owned())), now + Duration::from_secs(1));
        assert_eq!(page.line()["reached"], false);
        assert!(page.reached().is_err());
        page.looked(look(5_000), now + Duration::from_secs(2));
        assert_eq!(page.line()["events_per_second"], Value::Null);
    }
}
