//! How every subscriber stands with one event.

use super::coverage::last_covering;
use super::people::{Person, is_exact, patterns_at};
use super::rows::{Row, VERSION};
use crate::broker::{Broker, Error};
use crate::codec;
use crate::ledger::{Outcome, Subscriber};
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
                everybody.retain(|one| after.as_deref().is_none_or(|after| one.person.name.as_str() > after));
                everybody.sort_unstable_by(|one, other| one.rank().cmp(&other.rank()));
                let mut found: Vec<EventReceipt> = Vec::new();
                for one in everybody {
                    let again = found.last().is_some_and(|last| last.subscriber == one.person.name);
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
    person: Person,
    /// Of one who is still there.
    living: Option<Living>,
}

#[derive(Debug, Clone)]
struct Living {
    done: bool,
    /// Where that is known.
    attempts: Option<u32>,
}

impl Listener {
    fn living(subscriber: &Subscriber, offset: Offset) -> Self {
        let attempts = subscriber.failed.get(&offset).map(|failed| failed.attempts);
        let living = Some(Living { done: subscriber.is_done(offset), attempts });
        let (name, seeks) = (subscriber.name.to_string(), subscriber.seeks.into());
        let person = Person { name, seeks, interest: subscriber.interest.clone() };
        Self { id: subscriber.id, person, living }
    }

    /// By name; of one name, whoever is there now comes first, then whoever was made last.
    fn rank(&self) -> (&str, Reverse<(bool, SubscriberId)>) {
        (&self.person.name, Reverse((self.living.is_some(), self.id)))
    }

    /// How it stands with an event; nothing where it is not concerned.
    fn standing(self, view: &View, offset: Offset, channel: &Channel) -> Result<Option<EventReceipt>, ViewError> {
        let Person { name: subscriber, seeks, interest } = self.person;
        let asks = interest.holds(offset, channel);
        if let Some(living) = self.living.filter(|living| asks && !living.done) {
            return Ok(Some(EventReceipt { subscriber, outcome: None, time: None, attempts: living.attempts }));
        }
        // What was decided stands, whatever patterns came later: they say nothing of what was sent before.
        let about_it = |row: &Row, at| {
            let theirs = if is_exact(row) { None } else { Some(patterns_at(view, self.id, at)?) };
            Ok(theirs.is_none_or(|theirs| theirs.is_some_and(|theirs| theirs.admits(channel))))
        };
        Ok(match last_covering(view, self.id, seeks, offset, about_it)? {
            Some(row) => {
                let (outcome, time, attempts) = (Some(row.outcome), Some(row.time), Some(row.attempts));
                Some(EventReceipt { subscriber, outcome, time, attempts })
            }
            // Passed by a seek, or deleted, before it was sent.
            None => {
                asks.then_some(EventReceipt { subscriber, outcome: Some(Outcome::Skipped), time: None, attempts: None })
            }
        })
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
    ids.into_iter().map(|id| Ok(Listener { id, person: Person::of(view, id)?, living: None })).collect()
}
