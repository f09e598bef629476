//! The reference: both logs in memory, nothing kept. For tests, demos and as the model of the others.

use super::page::take_matching;
use super::{AppendError, Budget, ChannelInfo, Engine, EngineError, Page, Placed, ReadHint, RetentionLimits, Usage};
use crate::clock::Clock;
use crate::ledger::{Entry, LedgerError, Recorded, State, Vault};
use crate::log::{Damage, Failure, Ticket};
use crate::model::{Event, EventId, Filter, Head, NewEvent, Offset, Span, SubscriberId, Timestamp};
use async_trait::async_trait;
use parking_lot::{RwLock, RwLockReadGuard};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::watch;

/// Both logs in memory.
pub struct Memory {
    clock: Clock,
    log_id: [u8; 16],
    events: RwLock<Vec<Arc<Event>>>,
    ids: RwLock<HashMap<(String, String, String), Offset>>,
    ledger: RwLock<Vec<Recorded>>,
    state: RwLock<State>,
    committed: watch::Sender<Offset>,
    ledger_end: watch::Sender<Offset>,
    vault: Vault,
}

/// What makes two publishes the same one: channel, CloudEvents source, id.
fn identity(head: &Head) -> Option<(String, String, String)> {
    let EventId::Given(id) = &head.id else { return None };
    let source = head.headers.get("ce-source").unwrap_or_default();
    Some((head.channel.to_string(), source.to_owned(), id.to_string()))
}

impl Memory {
    /// Empty logs.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let mut log_id = [0; 16];
        crate::clock::fill_secret(&mut log_id);
        Self {
            clock,
            log_id,
            events: RwLock::default(),
            ids: RwLock::default(),
            ledger: RwLock::default(),
            state: RwLock::default(),
            committed: watch::Sender::new(Offset::ZERO),
            ledger_end: watch::Sender::new(Offset::ZERO),
            vault: Vault::ephemeral(),
        }
    }

    fn write(&self, ledger: &mut Vec<Recorded>, entries: Vec<Entry>) {
        let last = ledger.last().map_or(Timestamp(0), |recorded| recorded.time);
        let time = self.clock.now().max(last);
        let mut state = self.state.write();
        for entry in entries {
            state.apply(&entry, time);
            ledger.push(Recorded { offset: Offset(ledger.len() as u64), time, entry });
        }
        self.ledger_end.send_replace(Offset(ledger.len() as u64));
    }
}

#[async_trait]
impl Engine for Memory {
    fn log_id(&self) -> [u8; 16] {
        self.log_id
    }
    fn start(&self) -> Offset {
        Offset::ZERO
    }
    fn end(&self) -> Offset {
        *self.committed.borrow()
    }
    fn follow(&self) -> watch::Receiver<Offset> {
        self.committed.subscribe()
    }

    async fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Placed>, AppendError> {
        let mut log = self.events.write();
        let mut ids = self.ids.write();
        let first = |event: &NewEvent| identity(&event.head).and_then(|id| ids.get(&id).copied());
        for (index, event) in events.iter().enumerate() {
            let earlier = first(event).and_then(|offset| log.get(offset.0 as usize));
            if let Some(earlier) = earlier.filter(|earlier| !event.same_as(&earlier.head, &earlier.payload)) {
                return Err(AppendError::Conflict { index, offset: earlier.offset });
            }
        }
        let mut placed = Vec::with_capacity(events.len());
        for event in events {
            let id = identity(&event.head);
            let earlier = id.as_ref().and_then(|id| ids.get(id)).and_then(|offset| log.get(offset.0 as usize));
            if let Some(earlier) = earlier {
                placed.push(Placed { offset: earlier.offset, time: earlier.time, duplicate: true });
                continue;
            }
            let offset = Offset(log.len() as u64);
            let time = self.clock.now().max(log.last().map_or(Timestamp(0), |event| event.time));
            if let Some(id) = id {
                ids.insert(id, offset);
            }
            log.push(Arc::new(Event::new(offset, time, event.head, event.payload)));
            placed.push(Placed { offset, time, duplicate: false });
        }
        self.committed.send_replace(Offset(log.len() as u64));
        Ok(placed)
    }

    async fn read(
        &self,
        span: Span,
        filter: &Arc<Filter>,
        budget: Budget,
        _hint: ReadHint,
    ) -> Result<Page, EngineError> {
        let log = self.events.read();
        let to = log.len().min(usize::try_from(span.to.0).unwrap_or(usize::MAX));
        let events = log.get(span.from.0 as usize..to).unwrap_or_default();
        Ok(take_matching(span.from, events.iter(), |event| filter.admits(&event.head.channel), budget))
    }

    fn recent(&self, from: Offset) -> Option<Vec<Arc<Event>>> {
        Some(self.events.read().get(from.0 as usize..).unwrap_or_default().to_vec())
    }

    async fn at_time(&self, time: Timestamp) -> Result<Offset, EngineError> {
        Ok(Offset(self.events.read().partition_point(|event| event.time < time) as u64))
    }

    fn first_match(&self, filter: &Filter, from: Offset) -> Option<Offset> {
        let log = self.events.read();
        let mut events = log.get(from.0 as usize..)?.iter();
        events.find(|event| filter.admits(&event.head.channel)).map(|event| event.offset)
    }

    fn count(&self, filter: &Filter, span: Span) -> u64 {
        let log = self.events.read();
        let events = log.iter().filter(|event| span.contains(event.offset));
        events.filter(|event| filter.admits(&event.head.channel)).count() as u64
    }

    fn channels(&self) -> Vec<ChannelInfo> {
        let mut found: BTreeMap<_, ChannelInfo> = BTreeMap::new();
        for event in self.events.read().iter() {
            let channel = &event.head.channel;
            let info = found.entry(channel.clone()).or_insert_with(|| ChannelInfo {
                channel: channel.clone(),
                events: 0,
                last_offset: event.offset,
                last_time: event.time,
            });
            info.events += 1;
            (info.last_offset, info.last_time) = (event.offset, event.time);
        }
        found.into_values().collect()
    }

    fn record(&self, entries: Vec<Entry>) -> Result<Ticket, Failure> {
        self.write(&mut self.ledger.write(), entries);
        Ok(Ticket::done())
    }

    fn record_new(
        &self,
        entry: Box<dyn FnOnce(SubscriberId) -> Entry + Send>,
    ) -> Result<(SubscriberId, Ticket), Failure> {
        let mut ledger = self.ledger.write();
        let id = SubscriberId(self.state.read().next_id);
        self.write(&mut ledger, vec![entry(id)]);
        Ok((id, Ticket::done()))
    }

    fn ledger_barrier(&self) -> Option<Ticket> {
        None
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }
    fn follow_ledger(&self) -> watch::Receiver<Offset> {
        self.ledger_end.subscribe()
    }

    fn history_begins(&self) -> Result<(State, Offset), LedgerError> {
        Ok((State::default(), Offset::ZERO))
    }

    fn history(&self, from: Offset) -> Result<(Vec<Recorded>, Offset), LedgerError> {
        let ledger = self.ledger.read();
        let entries = ledger.get(from.0 as usize..).unwrap_or_default().to_vec();
        Ok((entries, Offset(ledger.len() as u64)))
    }

    fn vault(&self) -> &Vault {
        &self.vault
    }
    fn usage(&self) -> Usage {
        // What lies in memory takes no disk.
        Usage {
            event_bytes: 0,
            ledger_bytes: 0,
            event_segments: 0,
            oldest_event: None,
            oldest_entry: None,
            ledger_segments: 0,
            ledger_start: Offset::ZERO,
            disk_free: None,
        }
    }

    fn refuses_events(&self) -> Option<Failure> {
        None
    }
    fn refuses_entries(&self) -> Option<Failure> {
        None
    }
    fn maintain(&self, _limits: RetentionLimits, _now: Timestamp) -> Result<Option<Offset>, EngineError> {
        Ok(None)
    }
    fn scrub(&self, _bytes: u64) -> Vec<Damage> {
        Vec::new()
    }
    fn close(&self) {}
}
