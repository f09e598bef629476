//! How every subscriber stands with one event.

use super::query::{is_exact, last_covering};
use super::rows::{Person, VERSION};
use crate::broker::{Broker, Error};
use crate::codec;
use crate::ledger::{Interest, Outcome, Subscriber};
use crate::model::{Channel, Offset, SubscriberId, Timestamp};
use crate::view::{Key, Table, View, ViewError};
use std::cmp::Reverse;

/// How one subscriber's delivery of one event stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventReceipt {
    /// Who.
    pub subscriber: String,
    /// `None` while it is pending.
    pub outcome: Option<Outcome>,
    /// When it ended.
    pub time: Option<Timestamp>,
    /// Sends so far, where that is known.
    pub attempts: Option<u32>,
}

impl Broker {
    /// How every subscriber's delivery of one event stands. Who was deleted after the event was published is among
    /// them; of a name that was made again, the one who is there now where both asked for it.
    ///
    /// # Errors
    /// No such event; a view that is not ready.
    pub async fn event_receipts(&self, offset: Offset) -> Result<Vec<EventReceipt>, Error> {
        self.event_receipts_behind(offset, None, usize::MAX).await
    }

    /// As [`Self::event_receipts`], a page of them: by name, `limit` at most, of those whose names come after one.
    ///
    /// # Errors
    /// No such event; a view that is not ready.
    pub async fn event_receipts_behind(
        &self,
        offset: Offset,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<EventReceipt>, Error> {
        let event = self.event(offset).await?;
        self.registry().settle_all().await;
        // Looked at before the view is: what is done here has its receipt there.
        let living: Vec<Listener> =
            self.engine().state().subscribers().map(|one| Listener::living(one, offset)).collect();
        self.receipts_view()
            .ask(move |view, _| {
                let mut everybody = deleted_behind(view, offset)?;
                everybody.extend(living.iter().cloned());
                everybody.retain(|one| after.as_deref().is_none_or(|after| one.name.as_str() > after));
                everybody.sort_unstable_by(|one, other| one.rank().cmp(&other.rank()));
                let mut found: Vec<EventReceipt> = Vec::new();
                for one in everybody {
                    let again = found.last().is_some_and(|last| last.subscriber == one.name);
                    if found.len() == limit && !again {
                        break;
                    }
                    match (again, one.standing(view, offset, &event.head.channel)?, found.last_mut()) {
                        (false, Some(receipt), _) => found.push(receipt),
                        // Of those who had a name one after another, whoever got it says more than whoever did not.
                        (true, Some(receipt), Some(last)) if last.is_vague() => *last = receipt,
                        _ => {}
                    }
                }
                Ok(found)
            })
            .await
    }
}

impl EventReceipt {
    /// Whether there is no receipt behind it.
    fn is_vague(&self) -> bool {
        self.outcome.is_some() && self.time.is_none()
    }
}

/// Somebody who is, or was, a subscriber.
#[derive(Debug, Clone)]
struct Listener {
    id: SubscriberId,
    name: String,
    /// As it is now, where it is still there.
    living: Option<Living>,
}

#[derive(Debug, Clone)]
struct Living {
    done: bool,
    interest: Interest,
    /// Where that is known.
    attempts: Option<u32>,
}

impl Listener {
    fn living(subscriber: &Subscriber, offset: Offset) -> Self {
        let attempts = subscriber.failed.get(&offset).map(|failed| failed.attempts);
        let (done, interest) = (subscriber.is_done(offset), subscriber.interest.clone());
        let living = Some(Living { done, interest, attempts });
        Self { id: subscriber.id, name: subscriber.name.to_string(), living }
    }

    /// By name; of one name, whoever is there now comes first, then whoever was made last.
    fn rank(&self) -> (&str, Reverse<(bool, SubscriberId)>) {
        (&self.name, Reverse((self.living.is_some(), self.id)))
    }

    /// How it stands with an event; nothing where it is not concerned.
    fn standing(self, view: &View, offset: Offset, channel: &Channel) -> Result<Option<EventReceipt>, ViewError> {
        let person = Person::of(view, self.id)?;
        let asked = self.living.as_ref().is_some_and(|living| living.interest.holds(offset, channel));
        if let Some(living) = self.living.filter(|living| asked && !living.done) {
            let attempts = living.attempts;
            return Ok(Some(EventReceipt { subscriber: self.name, outcome: None, time: None, attempts }));
        }
        let row = last_covering(view, self.id, person.seeks, offset)?;
        // Patterns that came later may not ask for it; what was decided about it stands all the same.
        let decided = row.as_ref().is_some_and(is_exact);
        if !asked && !decided && !person.ever_asked(offset, channel) {
            return Ok(None);
        }
        Ok(Some(match row {
            Some(row) => EventReceipt {
                subscriber: self.name,
                outcome: Some(row.outcome),
                time: Some(row.time),
                attempts: Some(row.attempts),
            },
            // Passed by a seek, or deleted, before it was sent.
            None => EventReceipt { subscriber: self.name, outcome: Some(Outcome::Skipped), time: None, attempts: None },
        }))
    }
}

/// Who was deleted when there was something at this offset.
fn deleted_behind(view: &View, offset: Offset) -> Result<Vec<Listener>, ViewError> {
    let (mut ids, prefix) = (Vec::new(), Key::new(Table::Deleted, &[]));
    view.scan(&prefix, &prefix, |key, value| {
        let there = codec::decode::<Offset>(VERSION, value).is_ok_and(|end| offset < end);
        ids.extend(Key::number(key, 1).filter(|_| there).map(SubscriberId));
        true
    })?;
    let listener = |id| Ok(Listener { id, name: Person::of(view, id)?.name, living: None });
    ids.into_iter().map(listener).collect()
}
