//! What a client says on its connection: publishes, and what it has to say of the events that it got.

use super::connection::Connection;
use super::frame::{self, Ack, Nack, Publish, Reject};
use crate::api::problem::Problem;
use crate::api::{body, publish};
use crate::broker::Error;
use crate::ledger::Entry;
use crate::model::{Invalid, Offset, limits};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

impl Connection {
    pub(super) fn publish(&mut self, text: &str, reference: Option<Value>) -> Result<(), Problem> {
        let mut publish: Publish<'_> = body::object(text)?;
        let broker = self.api.broker.clone();
        let failed = |error: Error, reference: Option<&Value>| frame::error(&Problem::from(error), reference);
        if let Some(events) = publish.events.take() {
            if let Some(member) = publish.single_member() {
                return Err(Invalid::new(member, "and events exclude each other").into());
            }
            let limit = broker.publish_limits().max_batch_bytes;
            if events.iter().map(|event| event.get().len()).sum::<usize>() > limit {
                let detail = format!("the batch is larger than {limit} bytes");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail));
            }
            let events = publish::entries(&self.api, &events)?;
            self.answers.push(Box::pin(async move {
                match publish::batch(&broker, events).await {
                    Ok(placed) => frame::published_batch(&placed, reference.as_ref()),
                    Err(error) => failed(error, reference.as_ref()),
                }
            }));
            return Ok(());
        }
        let event = publish.single()?.check(|| broker.make_id())?;
        self.answers.push(Box::pin(async move {
            match broker.publish(event).await {
                Ok(published) => {
                    let id = published.id.to_string();
                    let (offset, time, duplicate) = (published.offset, published.time, published.duplicate);
                    frame::published(crate::engine::Placed { offset, time, duplicate }, &id, reference.as_ref())
                }
                Err(error) => failed(error, reference.as_ref()),
            }
        }));
        Ok(())
    }

    pub(super) fn ack(&mut self, ack: Ack) -> Result<(), Problem> {
        let session = self.feed.session()?;
        let (subscription, generation) = (Arc::clone(session.subscription()), session.generation());
        match (ack.offset, ack.offsets) {
            (Some(offset), None) => subscription.ack_through(generation, body::offset(&offset)?)?,
            (None, Some(offsets)) => {
                let offsets = offsets.iter().map(body::offset).collect::<Result<Vec<Offset>, _>>()?;
                subscription.ack_each(generation, &offsets)?;
            }
            _ => return Err(Invalid::new("offset", "give either offset or offsets").into()),
        }
        self.api.broker.metrics().acks.get_or_create(&self.via).inc();
        if ack.confirm {
            let registry = Arc::clone(self.api.broker.registry());
            self.answers.push(Box::pin(async move {
                let durable = subscription.confirmed(generation).await.map_err(Problem::from);
                let cursor = durable.and_then(|()| Ok(registry.cursor(&subscription)?));
                match cursor {
                    Ok(cursor) => frame::text(&json!({"op": "acked", "cursor": cursor})),
                    Err(problem) => frame::error(&problem, None),
                }
            }));
        }
        Ok(())
    }

    pub(super) fn nack(&mut self, nack: &Nack) -> Result<(), Problem> {
        let session = self.feed.session()?;
        let (offset, delay) = (body::offset(&nack.offset)?, frame::delay(nack.delay.as_deref())?);
        Ok(session.subscription().nack(session.generation(), offset, delay)?)
    }

    pub(super) fn reject(&mut self, reject: Reject) -> Result<(), Problem> {
        let session = self.feed.session()?;
        let offset = body::offset(&reject.offset)?;
        let reason = reject.reason.unwrap_or_else(|| "rejected by its listener".to_owned());
        if reason.len() > limits::MAX_KEY_BYTES * 4 {
            return Err(Invalid::new("reason", "is longer than 1020 bytes").into());
        }
        let id = session.subscription().id();
        let dead = |attempts| Entry::Dead { id, offset, attempts, status: None, reason };
        // Nobody waits for this word: like an ack, it is durable within the next commits.
        let _ticket = session.subscription().give_up(session.generation(), offset, dead)?;
        self.api.broker.metrics().dead_letters.inc();
        Ok(())
    }

    pub(super) fn working(&mut self, offset: &Value) -> Result<(), Problem> {
        let session = self.feed.session()?;
        Ok(session.subscription().working(session.generation(), body::offset(offset)?)?)
    }
}
