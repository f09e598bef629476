//! A batch as NDJSON: each line becomes an event as it comes in, so that never more than the unfinished one is held
//! as text, and the first bad line is refused while the rest is still on its way.

use super::body::{self, Incoming};
use super::problem::Problem;
use super::publish::{check, too_many};
use super::router::Api;
use crate::model::{EventInput, NewEvent};

/// The events of a body, each with its line. Nothing of them is published yet: a batch is taken whole or not at all,
/// and it is whole only at the body's end.
pub(super) async fn read(api: &Api, mut incoming: Incoming) -> Result<Vec<(usize, NewEvent)>, Problem> {
    let mut lines = Lines { api, number: 0, events: Vec::new() };
    let mut unfinished = Vec::new();
    while let Some(frame) = incoming.next().await? {
        let mut parts = frame.split(|byte| *byte == b'\n');
        let last = parts.next_back().unwrap_or_default();
        for part in parts {
            if unfinished.is_empty() {
                lines.take(part)?;
            } else {
                unfinished.extend_from_slice(part);
                lines.take(&unfinished)?;
                unfinished.clear();
            }
        }
        unfinished.extend_from_slice(last);
    }
    lines.take(&unfinished)?;
    Ok(lines.events)
}

struct Lines<'a> {
    api: &'a Api,
    number: usize,
    events: Vec<(usize, NewEvent)>,
}

impl Lines<'_> {
    /// A whole line, without its end; blank ones are only counted.
    fn take(&mut self, line: &[u8]) -> Result<(), Problem> {
        self.number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        too_many(self.events.len() + 1)?;
        let here = |problem: Problem| problem.with("line", self.number);
        let text = std::str::from_utf8(line).map_err(|error| here(body::not_json(&error)))?;
        let input: EventInput<'_> = body::object(text).map_err(here)?;
        self.events.push((self.number, check(self.api, &input, self.number)?));
        Ok(())
    }
}
