//! Appending: encoded outside the lock, deduplicated and placed inside it, answered after the sync.

use super::idempotency::{Known, hash, same_identity};
use super::likeness::Likeness;
use super::{Local, Pending};
use crate::codec::encode_event;
use crate::engine::{AppendError, Placed};
use crate::log::{Failure, RecordKind, Ticket};
use crate::model::{Event, Filter, NewEvent, Offset, Span};
use std::sync::Arc;

/// One event on its way in.
struct Entrant {
    /// There until it has its place: then the log has it.
    event: Option<NewEvent>,
    body: Vec<u8>,
    hash: Option<u64>,
    /// How often its hash met another id's.
    salt: u8,
    /// Where it stands, once that is known.
    placed: Option<Placed>,
}

impl Entrant {
    /// Its hash is another id's: it goes by the next one.
    fn is_another(&mut self) {
        self.salt = self.salt.wrapping_add(1);
        self.hash = self.event.as_ref().and_then(|event| hash(&event.head, self.salt));
    }
}

/// An earlier publish whose hash an entrant has.
struct Hit {
    index: usize,
    offset: Offset,
    /// Of its group, where it is not durable yet.
    pending: Option<Ticket>,
}

enum Tried {
    Appended(Ticket),
    Hits(Vec<Hit>),
}

pub(super) async fn append(local: &Local, events: Vec<NewEvent>) -> Result<Vec<Placed>, AppendError> {
    let mut entrants: Vec<Entrant> = events
        .into_iter()
        .map(|event| Entrant {
            body: encode_event(&event),
            hash: hash(&event.head, 0),
            salt: 0,
            placed: None,
            event: Some(event),
        })
        .collect();
    if local.space.is_low() {
        return Err(Failure::Full.into());
    }
    loop {
        if entrants.iter().all(|entrant| entrant.placed.is_some()) {
            return Ok(entrants.iter().filter_map(|entrant| entrant.placed).collect());
        }
        local.log.room().await?;
        match try_append(local, &mut entrants)? {
            Tried::Appended(ticket) => ticket.durable().await?,
            Tried::Hits(hits) => {
                for hit in hits {
                    resolve(local, &mut entrants, hit).await?;
                }
            }
        }
    }
}

/// Appends everything that has no place yet, or nothing if an id was seen before.
fn try_append(local: &Local, entrants: &mut [Entrant]) -> Result<Tried, AppendError> {
    let tried = local.log.append(|filling, now| {
        let mut hits = Vec::new();
        for (index, entrant) in entrants.iter().enumerate().filter(|(_, entrant)| entrant.placed.is_none()) {
            let found = entrant.hash.and_then(|hash| filling.stage().find(hash, now));
            if let Some(offset) = found {
                // By what readers may see, not by what the files hold: the event must be readable to be compared.
                let pending = (offset >= local.log.end()).then(|| filling.ticket(offset));
                hits.push(Hit { index, offset, pending });
            }
        }
        if !hits.is_empty() {
            return Tried::Hits(hits);
        }
        let count = entrants.iter().filter(|entrant| entrant.placed.is_none()).count();
        let mut left = u32::try_from(count).expect("a batch has at most MAX_BATCH_EVENTS");
        let mut last = filling.next();
        for entrant in entrants.iter_mut().filter(|entrant| entrant.placed.is_none()) {
            left -= 1;
            let Some(event) = entrant.event.take() else { continue };
            let pending = Pending { event, hash: entrant.hash };
            let offset = filling.push(RecordKind::Event, &entrant.body, left, now, pending);
            let time = filling.time();
            if let Some(hash) = entrant.hash {
                filling.stage().remember(Known { hash, offset, time });
            }
            entrant.placed = Some(Placed { offset, time, duplicate: false });
            last = offset;
        }
        Tried::Appended(filling.ticket(last))
    })?;
    Ok(tried)
}

/// Finds out what a hit means: a repeat, a conflict, or another id with the same hash.
async fn resolve(local: &Local, entrants: &mut [Entrant], hit: Hit) -> Result<(), AppendError> {
    if let Some(pending) = hit.pending
        && pending.durable().await.is_err()
    {
        // The first one failed, and its id with it; this one tries for itself.
        return Ok(());
    }
    let earlier = read_one(local, hit.offset).await?;
    let Some(entrant) = entrants.get_mut(hit.index) else { return Ok(()) };
    let Some(event) = &entrant.event else { return Ok(()) };
    match earlier {
        Some(earlier) if same_identity(&earlier.head, &event.head) => {
            if !event.same_as(&earlier.head, &earlier.payload) {
                return Err(AppendError::Conflict { index: hit.index, offset: earlier.offset });
            }
            entrant.placed = Some(Placed { offset: earlier.offset, time: earlier.time, duplicate: true });
        }
        Some(_) => entrant.is_another(),
        // Retention took it. Before it does, it leaves what a repeat is held against.
        None => {
            let kept = local.log.with_stage(|ids| ids.retired(hit.offset));
            let likeness = Likeness::of(&event.head, &event.payload);
            match (kept, likeness) {
                (Some((kept, time)), Some(this)) if kept.identity == this.identity => {
                    if kept.content != this.content {
                        return Err(AppendError::Conflict { index: hit.index, offset: hit.offset });
                    }
                    entrant.placed = Some(Placed { offset: hit.offset, time, duplicate: true });
                }
                _ => entrant.is_another(),
            }
        }
    }
    Ok(())
}

/// The event at `offset`; none where retention took it.
async fn read_one(local: &Local, offset: Offset) -> Result<Option<Arc<Event>>, AppendError> {
    let everything = Arc::new(Filter::everything());
    let budget = crate::engine::Budget { events: 1, bytes: 1 };
    let page = super::read::read(local, Span::one(offset), &everything, budget, None)
        .await
        .map_err(|error| AppendError::Unreadable(error.to_string()))?;
    Ok(page.events.into_iter().next())
}
