//! Group commit: one thread that writes what has queued, syncs once, and tells all who waited.
//!
//! While one sync runs the next group fills. There is no timer and nothing to tune: a lone
//! publisher waits for its own sync only, and a thousand share one. Giving up waiting cancels
//! nothing: what was appended is committed whoever still listens.

use super::error::{Failure, LogError};
use super::record::{RecordHeader, RecordKind};
use super::recover::Recovered;
use super::segments::Segments;
use super::ticket::{Round, Ticket};
use super::writer::{Group, Writer};
use super::{Nonces, Recover};
use crate::clock::{self, Clock, Instant};
use crate::model::{Offset, Timestamp, limits};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// What a log's owner adds to it. All calls come from the committing thread or under the append lock, in order.
pub trait Hook: Send + Sync + 'static {
    /// What rides along with a record until it is durable.
    type Item: Send + 'static;
    /// State that changes together with the next offset, under the same lock.
    type Stage: Send + 'static;

    /// What a segment that begins at `first` starts with: the state up to there.
    fn snapshot(&self, first: Offset) -> Option<Vec<u8>>;

    /// A group is durable. Called before anybody else can see it.
    fn committed(&self, group: Vec<Committed<Self::Item>>);

    /// Offsets from `from` on were given and will not be: forget them.
    fn failed(&self, stage: &mut Self::Stage, from: Offset);

    /// A group was committed, or not: how long its write and sync took, and its sync of that.
    fn synced(&self, commit: Duration, sync: Duration);
}

/// A record that became durable.
#[derive(Debug)]
pub struct Committed<T> {
    /// Its place.
    pub offset: Offset,
    /// Its time.
    pub time: Timestamp,
    /// What rode along.
    pub item: T,
}

/// What is appended and not yet being written. Everything in it changes under one lock.
pub struct Filling<H: Hook> {
    group: Group,
    items: Vec<(Offset, Timestamp, H::Item)>,
    base: Offset,
    next: Offset,
    time: Timestamp,
    round: Arc<Round>,
    writing: Option<Arc<Round>>,
    refused: Option<Failure>,
    stopping: bool,
    stage: H::Stage,
}

impl<H: Hook> Filling<H> {
    /// Appends a record: gives it its offset and time. `batch_left` more of the same batch must follow at once.
    pub fn push(&mut self, kind: RecordKind, body: &[u8], batch_left: u32, now: Timestamp, item: H::Item) -> Offset {
        let offset = self.next;
        self.time = self.time.max(now);
        let header = RecordHeader {
            body_len: u32::try_from(body.len()).expect("a body is below MAX_BODY_BYTES"),
            body_crc: crc32fast::hash(body),
            offset,
            durable: self.base,
            time: self.time,
            batch_left,
            kind,
        };
        self.group.push(header, body);
        self.items.push((offset, self.time, item));
        self.next = offset.next();
        offset
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.next
    }

    /// The time that the last record got.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The owner's state.
    pub fn stage(&mut self) -> &mut H::Stage {
        &mut self.stage
    }

    /// The ticket for the record at `offset`: of the group that fills, or of the one being written.
    pub fn ticket(&self, offset: Offset) -> Ticket {
        match &self.writing {
            Some(writing) if offset < self.base => Ticket::of(writing),
            _ => Ticket::of(&self.round),
        }
    }
}

struct Shared<H: Hook> {
    filling: Mutex<Filling<H>>,
    work: Condvar,
    room: Notify,
    committed: watch::Sender<Offset>,
    segments: Arc<Segments>,
    hook: Arc<H>,
    clock: Clock,
    full: AtomicBool,
}

/// A log that is open, with its committing thread.
pub struct Log<H: Hook> {
    shared: Arc<Shared<H>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<H: Hook> Log<H> {
    /// Goes on with a recovered log; read-only where it is damaged.
    ///
    /// # Errors
    /// The file system's.
    pub fn start(
        recovered: Recovered,
        hook: Arc<H>,
        stage: H::Stage,
        clock: Clock,
        nonces: Nonces,
    ) -> Result<Self, LogError> {
        let segments = recovered.segments();
        let end = segments.end();
        let name = recovered.options.kind.as_str();
        let dir = recovered.options.dir.clone();
        let read_only = (recovered.options.recover == Recover::ServeReadable).then(|| {
            let damage = recovered.damage.first().map_or("none was found".to_owned(), ToString::to_string);
            Failure::ReadOnly(format!("opened to serve what is readable; damage: {damage}").into())
        });
        let filling = Filling {
            group: Group::default(),
            items: Vec::new(),
            base: end,
            next: end,
            time: recovered.last_time(),
            round: Arc::default(),
            writing: None,
            refused: read_only.clone(),
            stopping: false,
            stage,
        };
        let shared = Arc::new(Shared {
            filling: Mutex::new(filling),
            work: Condvar::new(),
            room: Notify::new(),
            committed: watch::Sender::new(end),
            segments,
            hook,
            clock,
            full: AtomicBool::new(false),
        });
        let thread = match read_only {
            Some(_) => None,
            None => {
                let writer = Writer::new(recovered, nonces)?;
                let theirs = Arc::clone(&shared);
                let spawned = std::thread::Builder::new()
                    .name(format!("commit-{name}"))
                    .spawn(move || run(&theirs, writer))
                    .map_err(LogError::io(&dir))?;
                Some(spawned)
            }
        };
        Ok(Self { shared, thread: Mutex::new(thread) })
    }

    /// Appends under the one lock. `f` pushes records and says what it wants back.
    ///
    /// # Errors
    /// Where nothing is accepted any more; `f` is then not called.
    pub fn append<R>(&self, f: impl FnOnce(&mut Filling<H>, Timestamp) -> R) -> Result<R, Failure> {
        let mut filling = self.shared.filling.lock();
        if let Some(failure) = &filling.refused {
            return Err(failure.clone());
        }
        if filling.group.len() >= limits::MAX_WAITING_BYTES {
            return Err(Failure::Busy);
        }
        let now = self.shared.clock.now();
        let result = f(&mut filling, now);
        if !filling.group.is_empty() && filling.writing.is_none() {
            self.shared.work.notify_one();
        }
        Ok(result)
    }

    /// Looks at the owner's state, or changes it, between two appends.
    pub fn with_stage<R>(&self, f: impl FnOnce(&mut H::Stage) -> R) -> R {
        f(&mut self.shared.filling.lock().stage)
    }

    /// The ticket of everything that was appended so far; none where all of it is durable.
    pub fn barrier(&self) -> Option<Ticket> {
        let filling = self.shared.filling.lock();
        let newest = if filling.group.is_empty() { filling.writing.as_ref() } else { Some(&filling.round) };
        newest.map(Ticket::of)
    }

    /// Waits until what waits for the disk leaves room.
    ///
    /// # Errors
    /// [`Failure::Busy`] after five seconds.
    pub async fn room(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + limits::MAX_PLACE_WAIT;
        loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let filling = self.shared.filling.lock();
                if filling.group.len() < limits::MAX_WAITING_BYTES / 2 {
                    return Ok(());
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if clock::within(left, room).await.is_none() {
                return Err(Failure::Busy);
            }
        }
    }

    /// The first offset that is not durable, as it moves.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<Offset> {
        self.shared.committed.subscribe()
    }

    /// The first offset that is not durable, now.
    #[must_use]
    pub fn end(&self) -> Offset {
        *self.shared.committed.borrow()
    }

    /// The segments, for readers.
    #[must_use]
    pub fn segments(&self) -> &Arc<Segments> {
        &self.shared.segments
    }

    /// Why nothing is accepted, where that is so; a full disk among it.
    #[must_use]
    pub fn refused(&self) -> Option<Failure> {
        let refused = self.shared.filling.lock().refused.clone();
        refused.or_else(|| self.shared.full.load(Ordering::Relaxed).then_some(Failure::Full))
    }

    /// Refuses further appends, commits what was appended, syncs the evidence, and ends the thread.
    pub fn close(&self) {
        {
            let mut filling = self.shared.filling.lock();
            filling.refused.get_or_insert(Failure::Closed);
            filling.stopping = true;
            self.shared.work.notify_one();
        }
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("a committing thread panicked");
        }
    }
}

impl<H: Hook> Drop for Log<H> {
    fn drop(&mut self) {
        self.close();
    }
}

/// The committing thread.
fn run<H: Hook>(shared: &Shared<H>, mut writer: Writer) {
    // A panic must not leave publishers waiting for ever: the guard refuses them on the way out.
    let _guard = Guard(shared);
    let mut spare = Group::default();
    let every = writer.evidence_every();
    let mut meta_due = Instant::now() + every;
    loop {
        let (items, base, round) = {
            let mut filling = shared.filling.lock();
            while filling.group.is_empty() {
                if filling.stopping {
                    drop(filling);
                    sync_meta(shared, &mut writer);
                    return;
                }
                let timed_out = shared.work.wait_for(&mut filling, every).timed_out();
                if timed_out && filling.group.is_empty() {
                    parking_lot::MutexGuard::unlocked(&mut filling, || sync_meta(shared, &mut writer));
                }
                shared.full.store(writer.waits_for_space(), Ordering::Relaxed);
            }
            std::mem::swap(&mut filling.group, &mut spare);
            let items = std::mem::take(&mut filling.items);
            let round = std::mem::take(&mut filling.round);
            filling.writing = Some(Arc::clone(&round));
            let base = std::mem::replace(&mut filling.base, Offset::ZERO);
            filling.base = filling.next;
            (items, base, round)
        };
        shared.room.notify_waiters();
        let began = Instant::now();
        let outcome = writer.commit(&mut spare, &|first| shared.hook.snapshot(first));
        shared.hook.synced(began.elapsed(), writer.last_sync());
        spare.clear();
        match outcome {
            Ok(()) => {
                let end = base.plus(items.len() as u64);
                let group = items.into_iter().map(|(offset, time, item)| Committed { offset, time, item }).collect();
                shared.hook.committed(group);
                shared.committed.send_replace(end);
                shared.full.store(false, Ordering::Relaxed);
                shared.filling.lock().writing = None;
                round.finish(Ok(()));
            }
            Err(failure) => fail(shared, base, &round, failure),
        }
        if meta_due <= Instant::now() {
            sync_meta(shared, &mut writer);
            meta_due = Instant::now() + every;
        }
    }
}

/// Nobody of a failed group is acknowledged, nor anyone behind it: their offsets are given anew.
fn fail<H: Hook>(shared: &Shared<H>, base: Offset, round: &Round, failure: Failure) {
    let mut filling = shared.filling.lock();
    filling.writing = None;
    filling.group.clear();
    filling.items.clear();
    filling.base = base;
    filling.next = base;
    shared.hook.failed(&mut filling.stage, base);
    let behind = std::mem::take(&mut filling.round);
    match failure {
        Failure::Full => shared.full.store(true, Ordering::Relaxed),
        Failure::Busy => {}
        _ => {
            filling.refused.get_or_insert(failure.clone());
        }
    }
    drop(filling);
    round.finish(Err(failure.clone()));
    behind.finish(Err(failure));
    shared.room.notify_waiters();
}

fn sync_meta<H: Hook>(shared: &Shared<H>, writer: &mut Writer) {
    if let Err(failure) = writer.sync_meta() {
        shared.filling.lock().refused.get_or_insert(failure);
    }
}

struct Guard<'a, H: Hook>(&'a Shared<H>);

impl<H: Hook> Drop for Guard<'_, H> {
    fn drop(&mut self) {
        let mut filling = self.0.filling.lock();
        let why =
            if filling.stopping { Failure::Closed } else { Failure::Poisoned("the committing thread ended".into()) };
        let why = filling.refused.get_or_insert(why).clone();
        let rounds = [filling.writing.take(), Some(std::mem::take(&mut filling.round))];
        // Nobody writes it any more: whoever asks for a barrier has nothing to wait for.
        filling.group = Group::default();
        filling.items.clear();
        drop(filling);
        for round in rounds.into_iter().flatten() {
            round.finish(Err(why.clone()));
        }
    }
}
