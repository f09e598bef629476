//! Places in a log: offsets, half-open spans of them, and sets of spans.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A record's place in its log: 0, 1, 2, … without a hole. Not a byte's place in a file (that is a position).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Offset = Offset(0);

    /// The offset after this one.
    #[must_use]
    pub fn next(self) -> Offset {
        Offset(self.0.saturating_add(1))
    }

    /// The offset `count` after this one.
    #[must_use]
    pub fn plus(self, count: u64) -> Offset {
        Offset(self.0.saturating_add(count))
    }

    /// How far this one lies beyond `earlier`; 0 if it does not.
    #[must_use]
    pub fn since(self, earlier: Offset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Offsets from `from` up to and without `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The first offset inside.
    pub from: Offset,
    /// The first offset behind it.
    pub to: Offset,
}

impl Span {
    /// `from..to`; empty where `to` is not beyond `from`.
    #[must_use]
    pub fn new(from: Offset, to: Offset) -> Self {
        Self { from, to }
    }

    /// The one offset.
    #[must_use]
    pub fn one(offset: Offset) -> Self {
        Self { from: offset, to: offset.next() }
    }

    /// No offset inside.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.from >= self.to
    }

    /// Whether `offset` lies inside.
    #[must_use]
    pub fn contains(self, offset: Offset) -> bool {
        self.from <= offset && offset < self.to
    }
}

/// A set of offsets kept as disjoint spans, neighbours joined.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<Offset, Offset>")]
pub struct Spans(BTreeMap<Offset, Offset>);

/// As stored: only what [`Spans::insert`] leaves is taken, for the walks here end on nothing else.
impl TryFrom<BTreeMap<Offset, Offset>> for Spans {
    type Error = &'static str;
    fn try_from(stored: BTreeMap<Offset, Offset>) -> Result<Self, Self::Error> {
        let mut behind = None;
        for (&from, &to) in &stored {
            if from >= to || behind.is_some_and(|behind| from <= behind) {
                return Err("spans that are empty, or touch");
            }
            behind = Some(to);
        }
        Ok(Self(stored))
    }
}

impl Spans {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a span, joining what it touches.
    pub fn insert(&mut self, span: Span) {
        if span.is_empty() {
            return;
        }
        let (mut from, mut to) = (span.from, span.to);
        if let Some((&f, &t)) = self.0.range(..=from).next_back()
            && t >= from
        {
            from = f;
            to = to.max(t);
        }
        while let Some((&f, &t)) = self.0.range(from..=to).next() {
            to = to.max(t);
            self.0.remove(&f);
        }
        self.0.insert(from, to);
    }

    /// Forgets everything below `floor`.
    pub fn retain_from(&mut self, floor: Offset) {
        while let Some((&f, &t)) = self.0.first_key_value() {
            if f >= floor {
                break;
            }
            self.0.remove(&f);
            if t > floor {
                self.0.insert(floor, t);
            }
        }
    }

    /// Takes a span out.
    pub fn remove(&mut self, gone: Span) {
        let mut out = Self::new();
        out.insert(gone);
        self.0 = self.iter().flat_map(|span| out.missing(span)).map(|span| (span.from, span.to)).collect();
    }

    /// From the first to the last of it; none where it is empty.
    #[must_use]
    pub fn hull(&self) -> Option<Span> {
        let ((&from, _), (_, &to)) = self.0.first_key_value().zip(self.0.last_key_value())?;
        Some(Span { from, to })
    }

    /// Whether `offset` is in the set.
    #[must_use]
    pub fn contains(&self, offset: Offset) -> bool {
        self.0.range(..=offset).next_back().is_some_and(|(_, &t)| offset < t)
    }

    /// The lowest offset at or above `from` that is not in the set.
    #[must_use]
    pub fn first_missing(&self, from: Offset) -> Offset {
        match self.0.range(..=from).next_back() {
            Some((_, &t)) if from < t => t,
            _ => from,
        }
    }

    /// The parts of `span` that are not in the set, in order.
    #[must_use]
    pub fn missing(&self, span: Span) -> Vec<Span> {
        let mut out = Vec::new();
        let mut at = self.first_missing(span.from);
        while at < span.to {
            let to = self.0.range(at..span.to).next().map_or(span.to, |(&f, _)| f);
            out.push(Span::new(at, to));
            at = self.first_missing(to);
        }
        out
    }

    /// The spans, in order.
    pub fn iter(&self) -> impl Iterator<Item = Span> + '_ {
        self.0.iter().map(|(&from, &to)| Span { from, to })
    }

    /// Nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(a: u64, b: u64) -> Span {
        Span::new(Offset(a), Offset(b))
    }

    proptest! {
        #[test]
        fn spans_behave_like_a_set_of_numbers(inserts in prop::collection::vec((0u64..60, 0u64..12), 0..30), floor in 0u64..60) {
            let mut spans = Spans::new();
            let mut set = std::collections::BTreeSet::new();
            for (from, len) in inserts {
                spans.insert(span(from, from + len));
                set.extend(from..from + len);
            }
            for at in 0..80 {
                prop_assert_eq!(spans.contains(Offset(at)), set.contains(&at));
            }
            let hull = set.first().zip(set.last()).map(|(from, last)| span(*from, last + 1));
            prop_assert_eq!(spans.hull(), hull);
            let mut rest = spans.clone();
            rest.remove(span(floor, floor + 9));
            let rest: Vec<u64> = rest.iter().flat_map(|s| s.from.0..s.to.0).collect();
            let expected: Vec<u64> = set.iter().copied().filter(|n| !(floor..floor + 9).contains(n)).collect();
            prop_assert_eq!(rest, expected);
            let missing: Vec<u64> = spans.missing(span(0, 80)).iter().flat_map(|s| s.from.0..s.to.0).collect();
            let expected: Vec<u64> = (0..80).filter(|n| !set.contains(n)).collect();
            prop_assert_eq!(missing, expected);
            spans.retain_from(Offset(floor));
            let kept: Vec<u64> = spans.iter().flat_map(|s| s.from.0..s.to.0).collect();
            prop_assert_eq!(kept, set.into_iter().filter(|n| *n >= floor).collect::<Vec<_>>());
        }
    }
}
