//! How every subscriber stands with one event.

use super::query::{is_exact, last_covering};
use super::rows::{Person, VERSION};
use crate::broker::{Broker, Error};
use crate::codec;
use crate::ledger::{Interest, Outcome, Subscriber};
use crate::model::{Offset, SubscriberId, Timestamp};
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
        let behind = move |one: &Listener| {
            one.interest.first_cursor <= offset && after.as_deref().is_none_or(|after| one.name.as_str() > after)
        };
        self.receipts_view()
            .ask(move |view, _| {
                let mut everybody: Vec<Listener> = living.iter().filter(|one| behind(one)).cloned().collect();
                everybody.extend(deleted_since(view, event.time)?.into_iter().filter(&behind));
                everybody.sort_unstable_by(|one, other| one.rank().cmp(&other.rank()));
                let mut found: Vec<EventReceipt> = Vec::new();
                for one in everybody {
                    if found.len() == limit {
                        break;
                    }
                    let told = found.last().is_some_and(|last| last.subscriber == one.name);
                    // Patterns that came later may not ask for it; what was decided about it stands all the same.
                    let decided = || {
                        let row = last_covering(view, one.id, one.seeks, offset)?;
                        Ok::<_, ViewError>(row.is_some_and(|row| is_exact(&row)))
                    };
                    if !told && (one.interest.holds(offset, &event.head.channel) || decided()?) {
                        found.push(one.standing(view, offset)?);
                    }
                }
                Ok(found)
            })
            .await
    }
}

/// Somebody who is, or was, a subscriber.
#[derive(Debug, Clone)]
struct Listener {
    id: SubscriberId,
    name: String,
    seeks: u64,
    interest: Interest,
    living: bool,
    /// Where the event is still to be acknowledged: the attempts so far, where that is known.
    pending: Option<Option<u32>>,
}

impl Listener {
    fn living(subscriber: &Subscriber, offset: Offset) -> Self {
        let attempts = || subscriber.failed.get(&offset).map(|failed| failed.attempts);
        Self {
            id: subscriber.id,
            name: subscriber.name.to_string(),
            seeks: subscriber.seeks.into(),
            interest: subscriber.interest.clone(),
            living: true,
            pending: (!subscriber.is_done(offset)).then(attempts),
        }
    }

    /// By name; of one name, whoever is there now comes first, then whoever was made last.
    fn rank(&self) -> (&str, Reverse<(bool, SubscriberId)>) {
        (&self.name, Reverse((self.living, self.id)))
    }

    fn standing(self, view: &View, offset: Offset) -> Result<EventReceipt, ViewError> {
        let subscriber = self.name;
        if let Some(attempts) = self.pending {
            return Ok(EventReceipt { subscriber, outcome: None, time: None, attempts });
        }
        if let Some(row) = last_covering(view, self.id, self.seeks, offset)? {
            let (outcome, time, attempts) = (Some(row.outcome), Some(row.time), Some(row.attempts));
            return Ok(EventReceipt { subscriber, outcome, time, attempts });
        }
        // Passed by a seek, or deleted, before it was acknowledged.
        Ok(EventReceipt { subscriber, outcome: Some(Outcome::Skipped), time: None, attempts: None })
    }
}

/// Who was deleted at that time or later.
fn deleted_since(view: &View, time: Timestamp) -> Result<Vec<Listener>, ViewError> {
    let (mut ids, prefix) = (Vec::new(), Key::new(Table::Deleted, &[]));
    view.scan(&prefix, &prefix, |key, value| {
        let since = codec::decode::<Timestamp>(VERSION, value).is_ok_and(|deleted| deleted >= time);
        ids.extend(Key::number(key, 1).filter(|_| since).map(SubscriberId));
        true
    })?;
    let listener = |id| {
        let Person { name, seeks, interest } = Person::of(view, id)?;
        Ok(Listener { id, name, seeks, interest, living: false, pending: None })
    };
    ids.into_iter().map(listener).collect()
}
