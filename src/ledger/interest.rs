//! What a subscriber asks for: which patterns at which offset, from its first cursor on.

use crate::model::{Channel, Filter, Offset};
use serde::{Deserialize, Serialize};

/// What a subscriber asks for, at every offset.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Interest {
    /// Patterns, each from an offset on; ascending.
    patterns: Vec<(Offset, Filter)>,
    /// Where it began: the lowest cursor that it ever had.
    pub first_cursor: Offset,
}

impl Interest {
    /// In these channels, from a first cursor on.
    #[must_use]
    pub fn new(cursor: Offset, channels: &Filter) -> Self {
        Self { patterns: vec![(cursor, channels.clone())], first_cursor: cursor }
    }

    /// From an offset on, other channels.
    pub fn change(&mut self, from: Offset, channels: &Filter) {
        if self.patterns.last().is_none_or(|(_, now)| now != channels) {
            self.patterns.retain(|(at, _)| *at < from);
            self.patterns.push((from, channels.clone()));
        }
    }

    /// The cursor is moved: what is delivered from there on is delivered under the patterns in force now.
    pub fn seek(&mut self, cursor: Offset) {
        if let Some((_, now)) = self.patterns.last().cloned() {
            self.patterns.retain(|(at, _)| *at < cursor);
            self.patterns.push((cursor, now));
        }
        self.first_cursor = self.first_cursor.min(cursor);
    }

    /// Whether it never asked for anything else.
    #[must_use]
    pub fn is_uniform(&self) -> bool {
        self.patterns.windows(2).all(|pair| matches!(pair, [(_, one), (_, other)] if one == other))
    }

    /// The channels that it asked for at an offset; before the first, those that it began with.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Option<&Filter> {
        let behind = self.patterns.partition_point(|(from, _)| *from <= offset);
        self.patterns.get(behind.saturating_sub(1)).map(|(_, channels)| channels)
    }

    /// Whether an event at this offset, on this channel, is one that it asked for.
    #[must_use]
    pub fn holds(&self, offset: Offset, channel: &Channel) -> bool {
        self.first_cursor <= offset && self.at(offset).is_some_and(|channels| channels.admits(channel))
    }
}
