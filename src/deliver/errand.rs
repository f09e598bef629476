//! Errands: events that a connector's endpoint gets beside the ordinary course. Dead letters that somebody wants tried
//! again, and ranges that somebody wants replayed.
//!
//! The cursor knows nothing of them; each ends with a receipt of its own. They live as long as the process: after a
//! restart a dead letter that was not taken is still one, and the receipts of a replay tell how far it came.

use super::desk::{Desk, Letter, Made, Pace, ReplayPlace};
use super::error::DeliverError;
use super::registry::RegistryParts;
use super::worker::{PAUSE_AFTER_FAILURE, open_secrets};
use crate::clock::{self, Instant};
use crate::connector::{Answer, Attempt, Purpose, SendError};
use crate::engine::Budget;
use crate::ledger::{ConnectorSecrets, Entry, Target};
use crate::metrics::Word;
use crate::model::{ConnectorSettings, Event, Filter, GiveUp, Offset, Rate, Span, SubscriberId};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Events that a replay reads at a time.
const REPLAY_PAGE: Budget = Budget { events: 64, bytes: 1 << 20 };

/// Runs a connector's errands.
pub(super) struct Errands {
    pub(super) parts: RegistryParts,
    pub(super) id: SubscriberId,
    pub(super) desk: Arc<Desk>,
    /// Told to finish what is under way and to begin nothing.
    pub(super) finish: CancellationToken,
}

/// A range that is sent again.
pub(super) struct Replay {
    pub(super) id: String,
    pub(super) filter: Arc<Filter>,
    pub(super) span: Span,
    /// Another place than the connector's own.
    pub(super) url: Option<String>,
    pub(super) rate: Option<Rate>,
    pub(super) place: ReplayPlace,
}

/// One event's way.
struct Course<'a> {
    replay: Option<&'a Replay>,
    pace: &'a Pace,
    /// Attempts before this course began.
    before: u32,
    tried: u32,
    since: Instant,
}

/// What came of one attempt.
enum Step {
    /// It was taken or given up, and that is on record.
    Done,
    /// It is to be tried again after this wait.
    Again(Duration),
    /// The connector is gone, or the broker ends.
    Over,
}

impl Errands {
    /// Tries dead letters again as they come, the one that is due first; one that fails makes room for the next.
    pub(super) async fn retry_letters(self) {
        let pace = Pace::default();
        while let Some(mut letter) = self.finish.run_until_cancelled(self.desk.next_letter()).await {
            match self.retry(&mut letter, &pace).await {
                Ok(Step::Done) => self.desk.done_with(letter.offset),
                Ok(Step::Again(wait)) => self.desk.put_back(letter, Instant::now() + wait),
                Ok(Step::Over) => return,
                Err(error) => {
                    tracing::error!(subscriber = %self.id, offset = %letter.offset, %error, "a dead letter waits");
                    self.desk.put_back(letter, Instant::now() + PAUSE_AFTER_FAILURE);
                }
            }
        }
    }

    async fn retry(&self, letter: &mut Letter, pace: &Pace) -> Result<Step, DeliverError> {
        let everything = Arc::new(Filter::everything());
        let one = Budget { events: 1, bytes: 1 };
        let page = self.parts.engine.read(Span::one(letter.offset), &everything, one, None).await?;
        let Some(event) = page.events.first() else {
            tracing::warn!(subscriber = %self.id, offset = %letter.offset, "retention took a dead letter");
            return Ok(Step::Done);
        };
        let Letter { before, tried, since, .. } = *letter;
        let step = self.attempt(event, &Course { replay: None, pace, before, tried: tried + 1, since }).await;
        letter.tried += 1;
        step
    }

    /// Sends a range again, in order; each event until it is taken or given up.
    pub(super) async fn replay(self, replay: Replay) {
        let began = Instant::now();
        match self.run_replay(&replay).await {
            Ok(sent) => tracing::info!(replay = replay.id, sent, took = ?began.elapsed(), "a replay is over"),
            Err(error) => tracing::error!(replay = replay.id, %error, "a replay ends early"),
        }
        drop(replay.place);
    }

    async fn run_replay(&self, replay: &Replay) -> Result<u64, DeliverError> {
        let (mut at, mut hint, mut sent) = (replay.span.from, None, 0);
        let pace = Pace::default();
        while at < replay.span.to {
            let span = Span::new(at, replay.span.to);
            let page = self.parts.engine.read(span, &replay.filter, REPLAY_PAGE, hint).await?;
            (at, hint) = (page.next, page.hint);
            if let Some(gap) = page.gap {
                tracing::warn!(replay = replay.id, ?gap, "a replay passes what is no longer kept");
            }
            for event in &page.events {
                if !self.send_until_done(event, replay, &pace).await? {
                    return Ok(sent);
                }
                sent += 1;
            }
        }
        Ok(sent)
    }

    /// Tells whether the replay goes on.
    async fn send_until_done(&self, event: &Event, replay: &Replay, pace: &Pace) -> Result<bool, DeliverError> {
        let since = Instant::now();
        for tried in 1.. {
            let course = Course { replay: Some(replay), pace, before: 0, tried, since };
            match self.attempt(event, &course).await? {
                Step::Done => return Ok(true),
                Step::Over => return Ok(false),
                Step::Again(wait) => {
                    if self.finish.run_until_cancelled(clock::sleep(wait)).await.is_none() {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Sends an event once, when it may be sent, and writes down an end.
    async fn attempt(&self, event: &Event, course: &Course<'_>) -> Result<Step, DeliverError> {
        let Some((settings, secrets)) = self.turn(course).await? else { return Ok(Step::Over) };
        if course.replay.is_none() && !self.desk.wants(event.offset) {
            return Ok(Step::Done);
        }
        let number = course.before.saturating_add(course.tried);
        let purpose = match course.replay {
            Some(replay) => Purpose::Replay { url: replay.url.as_deref() },
            None => Purpose::Delivery,
        };
        let log_id = self.parts.engine.log_id();
        let attempt = Attempt { event, log_id, number, settings: &settings, secrets: &secrets, purpose };
        let began = Instant::now();
        let answer = self.parts.sender.send(attempt).await;
        let (time, took, replay) = (self.parts.clock.now(), began.elapsed(), course.replay.map(|r| r.id.as_str()));
        self.desk.note(&Made { time, offset: event.offset, attempt: number, took, answer: &answer, replay });
        let delivered = matches!(&answer, Ok(answer) if (200..300).contains(&answer.status));
        let kind = if delivered { "delivered" } else { "failed" };
        self.parts.metrics.attempts.get_or_create(&Word { kind }).inc();
        if delivered {
            return self.end(event.offset, number, course, &answer, None).await;
        }
        let reason = match &answer {
            Ok(answer) => format!("answered {}", answer.status),
            Err(error) => error.to_string(),
        };
        let given_up = match settings.retry.give_up_after {
            None => false,
            Some(GiveUp::Attempts(most)) => course.tried >= most,
            Some(GiveUp::After(longest)) => course.since.elapsed() >= longest,
        };
        // Whoever says that he is gone is not asked again.
        let gone = matches!(&answer, Ok(answer) if answer.status == 410);
        if given_up || gone {
            return self.end(event.offset, number, course, &answer, Some(reason)).await;
        }
        let asked = answer.ok().and_then(|answer| answer.retry_after);
        Ok(Step::Again(settings.retry.backoff().wait_as_asked(asked, course.tried, self.parts.random.next())))
    }

    async fn end(
        &self,
        offset: Offset,
        attempts: u32,
        course: &Course<'_>,
        answer: &Result<Answer, SendError>,
        failure: Option<String>,
    ) -> Result<Step, DeliverError> {
        let answer = answer.as_ref().ok();
        let millis = |answer: &Answer| u32::try_from(answer.latency.as_millis()).unwrap_or(u32::MAX);
        let entry = Entry::Resent {
            id: self.id,
            offset,
            replay: course.replay.map(|replay| replay.id.clone()),
            attempts,
            status: answer.map(|answer| answer.status),
            latency_ms: answer.map(millis),
            failure,
        };
        self.parts.engine.record(vec![entry])?.durable().await?;
        Ok(Step::Done)
    }

    /// Waits until an attempt may be made, and gives what it is made with; `None` where none will be.
    ///
    /// A paused connector's endpoint gets nothing; another URL is not what was paused.
    async fn turn(&self, course: &Course<'_>) -> Result<Option<(ConnectorSettings, ConnectorSecrets)>, DeliverError> {
        let elsewhere = course.replay.is_some_and(|replay| replay.url.is_some());
        let mut ledger = self.parts.engine.follow_ledger();
        loop {
            ledger.borrow_and_update();
            let Some(subscriber) = self.parts.engine.state().get(self.id).cloned() else { return Ok(None) };
            let Target::Connector { settings, .. } = subscriber.target else { return Ok(None) };
            let waited = if subscriber.paused.is_some() && !elsewhere {
                self.finish.run_until_cancelled(async { drop(ledger.changed().await) }).await
            } else if self.parts.engine.refuses_entries().is_some() {
                // What was sent could not be written down, and would be sent again and again.
                self.finish.run_until_cancelled(clock::sleep(PAUSE_AFTER_FAILURE)).await
            } else if let Err(later) = self.may_send(course, &settings, elsewhere) {
                self.finish.run_until_cancelled(clock::sleep_until(later)).await
            } else if self.finish.is_cancelled() {
                None
            } else {
                return Ok(Some((settings, open_secrets(&*self.parts.engine, self.id)?)));
            };
            if waited.is_none() {
                return Ok(None);
            }
        }
    }

    /// The endpoint's rate holds for everything that it gets; a replay may be told to go slower.
    fn may_send(&self, course: &Course<'_>, settings: &ConnectorSettings, elsewhere: bool) -> Result<(), Instant> {
        let now = Instant::now();
        course.pace.take(course.replay.and_then(|replay| replay.rate), now)?;
        if elsewhere { Ok(()) } else { self.desk.pace.take(settings.rate_limit, now) }
    }
}
