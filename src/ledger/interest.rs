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
        self.patterns.retain(|(at, _)| *at < from);
        // A stretch begins only where something else is asked for, so that there are as many as changes at most.
        if self.now().is_none_or(|now| now != channels) {
            self.patterns.push((from, channels.clone()));
        }
    }

    /// The cursor is moved: what is delivered from there on is delivered under the patterns in force now.
    pub fn seek(&mut self, cursor: Offset) {
        if let Some(now) = self.now().cloned() {
            self.change(cursor, &now);
        }
        self.first_cursor = self.first_cursor.min(cursor);
    }

    /// The patterns in force.
    #[must_use]
    pub fn now(&self) -> Option<&Filter> {
        self.patterns.last().map(|(_, channels)| channels)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeks_ahead_make_it_no_larger_and_a_seek_back_asks_for_what_it_asks_for_now() {
        let filter = |pattern| Filter::parse(&[pattern]).unwrap();
        let mut interest = Interest::new(Offset(10), &filter("a"));
        for to in 11..100 {
            interest.seek(Offset(to));
        }
        assert_eq!(interest, Interest::new(Offset(10), &filter("a")));
        interest.change(Offset(100), &filter("b"));
        assert_eq!((interest.at(Offset(99)), interest.at(Offset(100))), (Some(&filter("a")), Some(&filter("b"))));
        interest.seek(Offset(5));
        assert_eq!(interest, Interest::new(Offset(5), &filter("b")));
    }
}
