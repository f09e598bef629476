//! Reading: from memory near the tail, from blocks of segments further back.

use super::Local;
use crate::codec::decode_event;
use crate::engine::page::take_matching;
use crate::engine::{Budget, EngineError, Page, ReadHint};
use crate::log::{OnDamage, Segments};
use crate::model::{Filter, Offset, Span, limits};
use std::sync::Arc;

pub(super) async fn read(
    local: &Local,
    span: Span,
    filter: &Arc<Filter>,
    budget: Budget,
    hint: ReadHint,
) -> Result<Page, EngineError> {
    let start = local.log.segments().start();
    if span.from < start {
        return Ok(Page { next: start, gap: Some(Span::new(span.from, start)), ..Page::default() });
    }
    let to = span.to.min(local.log.end());
    // Who asks for little of it goes straight to what is his own.
    let summaries = &local.events.summaries;
    let next = [summaries.first_match(filter, span.from), summaries.first_gap(span.from)].into_iter().flatten().min();
    let from = match next {
        // Damage that is served around is in no summary; it has to be met to be told.
        _ if local.log.segments().on_damage() == OnDamage::Tell => span.from,
        Some(next) if next < to => next,
        _ => to.max(span.from),
    };
    let start = local.log.segments().start();
    if span.from < start {
        // Retention came between.
        return Ok(Page { next: start, gap: Some(Span::new(span.from, start)), ..Page::default() });
    }
    if from >= to {
        return Ok(Page { next: from, ..Page::default() });
    }
    let near = local
        .events
        .tail
        .with(from, to, |events| take_matching(from, events, |event| filter.admits(&event.head.channel), budget));
    if let Some(page) = near {
        return Ok(page);
    }
    let (segments, filter) = (Arc::clone(local.log.segments()), Arc::clone(filter));
    blocking(move || read_block(&segments, Span::new(from, to), &filter, budget, hint)).await
}

/// Runs on the pool for blocking work. A panic there is the caller's.
pub(super) async fn blocking<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    match tokio::task::spawn_blocking(f).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn read_block(
    segments: &Segments,
    span: Span,
    filter: &Filter,
    budget: Budget,
    hint: ReadHint,
) -> Result<Page, EngineError> {
    let block = segments.read(span.from, hint, limits::READ_BLOCK_BYTES)?;
    if let Some(gap) = block.gap {
        return Ok(Page { next: gap.to, gap: Some(gap), ..Page::default() });
    }
    let mut events = Vec::with_capacity(block.records.len());
    let mut whole = true;
    for record in block.records {
        if record.header.offset >= span.to || events.len() > budget.events {
            whole = false;
            break;
        }
        let offset = record.header.offset;
        let event = decode_event(offset, record.header.time, &record.body)
            .map_err(|source| EngineError::Event { offset, source })?;
        events.push(Arc::new(event));
    }
    let mut page = take_matching(span.from, events.iter(), |event| filter.admits(&event.head.channel), budget);
    let examined_all = page.next == events.last().map_or(span.from, |event| event.offset.next());
    // The place behind the block is known only where the block was used up.
    page.hint = block.hint.filter(|_| whole && examined_all && page.next == block.next);
    if page.next == span.from && page.events.is_empty() {
        page.next = block.next.min(span.to).max(Offset(span.from.0));
    }
    Ok(page)
}
