//! Reading: from memory near the tail, from blocks of segments further back.

use super::Local;
use crate::codec::{decode_event, write_event_line};
use crate::engine::page::take_matching;
use crate::engine::{Budget, EngineError, Lines, Page, ReadHint};
use crate::log::{OnDamage, Segments};
use crate::model::{Event, Filter, Offset, Span, limits};
use std::sync::Arc;

pub(super) async fn read(
    local: &Local,
    span: Span,
    filter: &Arc<Filter>,
    budget: Budget,
    hint: ReadHint,
) -> Result<Page, EngineError> {
    let (from, to) = match begin(local, span, filter) {
        Ok(place) => place,
        Err(page) => return Ok(page),
    };
    if let Some(page) = near(local, from, to, filter, budget) {
        return Ok(page);
    }
    let (segments, filter) = (Arc::clone(local.log.segments()), Arc::clone(filter));
    blocking(move || read_block(&segments, Span::new(from, to), &filter, budget, hint)).await
}

/// As [`read`], a block as lines of JSON: what is on disk only is written from where it lies.
pub(super) async fn lines(
    local: &Local,
    span: Span,
    filter: &Arc<Filter>,
    hint: ReadHint,
) -> Result<Lines, EngineError> {
    let (from, to) = match begin(local, span, filter) {
        Ok(place) => place,
        Err(page) => return Ok(page.into()),
    };
    if let Some(page) = near(local, from, to, filter, Budget::BLOCK) {
        return Ok(page.into());
    }
    let (segments, filter) = (Arc::clone(local.log.segments()), Arc::clone(filter));
    blocking(move || write_block(&segments, Span::new(from, to), &filter, hint)).await
}

/// From where to where there is something to look at; or what there is to say at once.
fn begin(local: &Local, span: Span, filter: &Filter) -> Result<(Offset, Offset), Page> {
    let start = local.log.segments().start();
    if span.from < start {
        return Err(Page { next: start, gap: Some(Span::new(span.from, start)), ..Page::default() });
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
        return Err(Page { next: start, gap: Some(Span::new(span.from, start)), ..Page::default() });
    }
    if from >= to {
        return Err(Page { next: from, ..Page::default() });
    }
    Ok((from, to))
}

/// What is in memory.
fn near(local: &Local, from: Offset, to: Offset, filter: &Filter, budget: Budget) -> Option<Page> {
    let matches = |event: &Event| filter.admits(&event.head.channel);
    local.events.tail.with(from, to, |events| take_matching(from, events, matches, budget))
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

fn write_block(segments: &Segments, span: Span, filter: &Filter, hint: ReadHint) -> Result<Lines, EngineError> {
    let block = segments.read(span.from, hint, limits::READ_BLOCK_BYTES)?;
    if let Some(gap) = block.gap {
        return Ok(Lines { next: gap.to, gap: Some(gap), ..Lines::default() });
    }
    // JSON is about as long as the record, but for what is spelled out.
    let text = Vec::with_capacity(limits::READ_BLOCK_BYTES + limits::READ_BLOCK_BYTES / 2);
    let mut lines = Lines { text, next: span.from, ..Lines::default() };
    let within = block.records.iter().take_while(|record| record.header.offset < span.to);
    for record in within {
        let offset = record.header.offset;
        let wanted = |channel: &str| filter.matches(channel);
        let written = write_event_line(offset, record.header.time, &record.body, wanted, &mut lines.text)
            .map_err(|source| EngineError::Event { offset, source })?;
        lines.events += u64::from(written);
        lines.next = offset.next();
    }
    // The place behind the block is known only where the block was used up.
    lines.hint = block.hint.filter(|_| lines.next == block.next);
    if lines.next == span.from {
        lines.next = block.next.min(span.to).max(span.from);
    }
    Ok(lines)
}
