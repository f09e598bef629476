//! Opening a data directory: the lock, the keys, the ledger, the events, and whether they fit together.

use super::idempotency::Idempotency;
use super::retired_ids::RetiredIds;
use super::scrub::Scrubbing;
use super::space::Space;
use super::summary::{Summaries, Summary};
use super::tail::Tail;
use super::{Events, Local, accept_loss, retention, summary_file};
use crate::clock::{Clock, Random};
use crate::engine::{Engine, EngineError};
use crate::fs::{Fs, Open, SalvageFs};
use crate::ledger::{Entry, Ledger, State, Vault};
use crate::log::{Cut, Damage, Failure, Fill, Log, LogError, LogKind, LogOptions, Nonces, Recover, recover};
use crate::metrics::Metrics;
use crate::model::Offset;
use parking_lot::Mutex;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How a data directory is opened.
#[derive(Clone)]
pub struct LocalOptions {
    /// The data directory.
    pub data: PathBuf,
    /// What to do with damage.
    pub recover: Recover,
    /// Bytes of an event segment.
    pub event_segment_bytes: u64,
    /// Bytes of a ledger segment.
    pub ledger_segment_bytes: u64,
    /// When next segments are filled.
    pub fill: Fill,
    /// Publishes are refused while less than this is free on the disk.
    pub reserve_bytes: u64,
    /// How often the evidence of each log's end is synced.
    pub evidence_every: Duration,
    /// The wall clock.
    pub clock: Clock,
    /// Where nonces come from.
    pub random: Arc<Random>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl LocalOptions {
    /// The defaults for this directory.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            recover: Recover::Refuse,
            event_segment_bytes: crate::model::limits::EVENT_SEGMENT_BYTES,
            ledger_segment_bytes: crate::model::limits::LEDGER_SEGMENT_BYTES,
            fill: Fill::Ahead,
            reserve_bytes: 0,
            evidence_every: Duration::from_secs(1),
            clock: Clock::Machine,
            random: Arc::new(Random::from_machine()),
            metrics: Arc::default(),
        }
    }

    pub(super) fn log(&self, kind: LogKind) -> LogOptions {
        let segment_bytes = match kind {
            LogKind::Events => self.event_segment_bytes,
            LogKind::Ledger => self.ledger_segment_bytes,
        };
        LogOptions {
            segment_bytes,
            recover: self.recover,
            fill: self.fill,
            evidence_every: self.evidence_every,
            ..LogOptions::new(&self.data, kind, self.random.next_16())
        }
    }

    pub(super) fn nonces(&self) -> Nonces {
        let random = Arc::clone(&self.random);
        Box::new(move || random.next())
    }
}

/// An open engine, and what opening it met.
pub struct Opened {
    /// The engine.
    pub engine: Local,
    /// Torn tails that were set aside.
    pub cuts: Vec<Cut>,
    /// Damage that is served around.
    pub damage: Vec<Damage>,
}

impl Local {
    /// Opens a data directory, making it where there is none. Blocking.
    ///
    /// # Errors
    /// Another process has it; damage; lost data; a key that is missing; the file system's.
    pub fn open(fs: Arc<dyn Fs>, options: &LocalOptions) -> Result<Opened, EngineError> {
        let lock = lock(&*fs, &options.data)?;
        let accept_loss = options.recover == Recover::AcceptLoss;
        let fs = if options.recover == Recover::ServeReadable { Arc::new(SalvageFs(fs)) as Arc<dyn Fs> } else { fs };
        let mut said: Vec<Entry> = Vec::new();
        if accept_loss {
            said.extend(accept_loss::of_ledger(&*fs, options)?);
        }
        let ledger = recover(Arc::clone(&fs), options.log(LogKind::Ledger))?;
        let state = match Ledger::fold(&ledger, accept_loss) {
            Err(error) if options.recover == Recover::ServeReadable => {
                // Without it nobody's cursor is known: anonymous reads only (R5).
                tracing::error!(%error, "the ledger cannot be read; serving events without it");
                State::default()
            }
            other => other?,
        };
        if accept_loss && ledger.segments().start() > state.ledger_start {
            said.push(Entry::LedgerRetired { start: ledger.segments().start() });
        }
        let start = state.start;
        let proven = state.proven;
        let of_events = LogOptions { start: Some(start), proven, ..options.log(LogKind::Events) };
        if accept_loss {
            said.extend(accept_loss::of_events(&*fs, options, &of_events)?);
        }
        let events = recover(Arc::clone(&fs), of_events)?;
        let log_id = events.log_id();
        if state.event_log.is_some_and(|belongs| belongs != log_id) {
            return Err(EngineError::Mismatched);
        }
        let read_only = options.recover == Recover::ServeReadable;
        if state.event_log.is_none() && events.segments().end() > Offset::ZERO && !read_only && !accept_loss {
            // The ledger's first entry is durable before any event is.
            return Err(EngineError::Mismatched);
        }
        let vault = Vault::open(&*fs, &options.data.join("keys"), state.event_log.is_some())?;
        let cuts: Vec<Cut> = [&ledger, &events].into_iter().filter_map(|log| log.cut.clone()).collect();
        let damage: Vec<Damage> = [&ledger, &events].into_iter().flat_map(|log| log.damage.clone()).collect();
        if state.event_log.is_none() {
            said.insert(0, Entry::Began { event_log: log_id });
        }
        said.extend(cuts.iter().map(cut_off));

        let summary_dir = options.data.join("views").join("segments");
        let mut ids = Idempotency::default();
        let retired_ids = RetiredIds::load(&*fs, &options.data, start, read_only, &mut ids)?;
        let mut list: Vec<Summary> = Vec::new();
        for segment in events.segments().list().iter().filter(|segment| segment.next() > start) {
            let mut summary = summary_file::load(&*fs, &summary_dir, &events.segments(), segment)?;
            summary.ids.iter().for_each(|known| ids.remember(*known));
            if summary.kept {
                summary.ids = Vec::new();
            }
            list.push(summary);
        }
        let segments = events.segments();
        let active = Box::new(move || segments.list().last().map_or_else(Default::default, |last| last.first()));
        let hook = Arc::new(Events {
            tail: Tail::default(),
            summaries: Summaries::new(list, active),
            metrics: Arc::clone(&options.metrics),
            summary_dir,
        });
        let log = Log::start(events, Arc::clone(&hook), ids, options.clock.clone(), options.nonces())?;
        let ledger =
            Ledger::start(ledger, state, options.clock.clone(), options.nonces(), Arc::clone(&options.metrics))?;
        let engine = Local {
            fs,
            log_id,
            log,
            events: hook,
            ledger,
            vault,
            retired_ids,
            quarantine: options.data.join("quarantine"),
            space: Space::new(options.data.clone(), options.reserve_bytes),
            scrubbing: Scrubbing::default(),
            placing: Mutex::default(),
            read_only,
            lock: Mutex::new(Some(lock)),
        };
        if !read_only {
            if !said.is_empty() {
                wait_blocking(engine.record(said)?.durable())?;
            }
            retention::tidy(&engine)?;
            engine.space.look(&*engine.fs);
        }
        Ok(Opened { engine, cuts, damage })
    }
}

fn cut_off(cut: &Cut) -> Entry {
    Entry::Cut {
        log: cut.path.display().to_string(),
        quarantined: cut.quarantined.display().to_string(),
        bytes: cut.bytes,
    }
}

/// Takes the directory for this process (R10).
fn lock(fs: &dyn Fs, data: &Path) -> Result<Arc<dyn crate::fs::File>, EngineError> {
    let path = data.join("stentor.lock");
    let io = |source| EngineError::Log(LogError::Io { path: path.clone(), source });
    fs.create_dir(data).map_err(io)?;
    let file = match fs.open(&path, Open::Write) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => fs.open(&path, Open::Create),
        other => other,
    }
    .map_err(io)?;
    if !file.try_lock().map_err(io)? {
        return Err(EngineError::Locked(data.display().to_string()));
    }
    Ok(file)
}

/// Waits for a ticket on a thread that may block.
pub(super) fn wait_blocking(ticket: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    futures_util::pin_mut!(ticket);
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        match ticket.as_mut().poll(&mut context) {
            std::task::Poll::Ready(outcome) => return outcome,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
