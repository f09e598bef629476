//! Patterns in a trie of tokens: finding who matches costs the tokens of the channel, not the number of patterns.

use crate::model::Pattern;
use std::collections::{BTreeSet, HashMap};

/// Patterns and the keys of those who asked for them.
#[derive(Debug, Default)]
pub(super) struct Trie {
    literal: HashMap<Box<str>, Trie>,
    any_token: Option<Box<Trie>>,
    /// Who asked for exactly this channel. Ten thousand may leave at once: none may cost a look at all the others.
    here: BTreeSet<u64>,
    /// Who asked for everything below, by `**`.
    below: BTreeSet<u64>,
}

impl Trie {
    pub(super) fn insert(&mut self, pattern: &Pattern, key: u64) {
        let mut node = self;
        for token in pattern.as_str().split('.') {
            match token {
                "**" => {
                    node.below.insert(key);
                    return;
                }
                "*" => node = node.any_token.get_or_insert_default(),
                literal => node = node.literal.entry(literal.into()).or_default(),
            }
        }
        node.here.insert(key);
    }

    pub(super) fn remove(&mut self, pattern: &Pattern, key: u64) {
        self.remove_below(pattern.as_str().split('.'), key);
    }

    /// Returns whether nothing is left here.
    fn remove_below<'a>(&mut self, mut tokens: impl Iterator<Item = &'a str>, key: u64) -> bool {
        match tokens.next() {
            None => _ = self.here.remove(&key),
            Some("**") => _ = self.below.remove(&key),
            Some("*") => {
                if self.any_token.as_mut().is_some_and(|node| node.remove_below(tokens, key)) {
                    self.any_token = None;
                }
            }
            Some(token) => {
                if self.literal.get_mut(token).is_some_and(|node| node.remove_below(tokens, key)) {
                    self.literal.remove(token);
                }
            }
        }
        self.literal.is_empty() && self.any_token.is_none() && self.here.is_empty() && self.below.is_empty()
    }

    /// Appends the keys of all who match; some more than once where several of their patterns do.
    pub(super) fn find(&self, channel: &str, found: &mut Vec<u64>) {
        self.descend(channel, !channel.starts_with('$'), found);
    }

    fn descend(&self, rest: &str, wild: bool, found: &mut Vec<u64>) {
        let (token, behind) = match rest.split_once('.') {
            Some((token, behind)) => (token, Some(behind)),
            None => (rest, None),
        };
        if wild {
            found.extend(&self.below);
        }
        let nodes = [self.literal.get(token), self.any_token.as_deref().filter(|_| wild)];
        for node in nodes.into_iter().flatten() {
            match behind {
                Some(behind) => node.descend(behind, true, found),
                None => found.extend(&node.here),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["a", "b", "c", "*", "$x"]).prop_map(str::to_owned)
    }

    proptest! {
        #[test]
        fn the_trie_finds_exactly_who_matches(
            patterns in prop::collection::vec((prop::collection::vec(token(), 1..4), any::<bool>()), 1..12),
            channels in prop::collection::vec(prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "$x"]), 1..5), 1..8),
            removed in any::<u16>(),
        ) {
            let parsed: Vec<Pattern> = patterns.iter().filter_map(|(tokens, open)| {
                let mut text = tokens.join(".");
                if *open { text.push_str(".**"); }
                Pattern::parse(&text).ok()
            }).collect();
            let mut trie = Trie::default();
            for (key, pattern) in parsed.iter().enumerate() {
                trie.insert(pattern, key as u64);
            }
            let gone = |key: usize| removed >> (key % 16) & 1 == 1;
            for (key, pattern) in parsed.iter().enumerate().filter(|(key, _)| gone(*key)) {
                trie.remove(pattern, key as u64);
            }
            for channel in channels {
                let channel = channel.join(".");
                let mut found = Vec::new();
                trie.find(&channel, &mut found);
                found.sort_unstable();
                let expected: Vec<u64> = parsed.iter().enumerate()
                    .filter(|(key, pattern)| !gone(*key) && pattern.matches(&channel)).map(|(key, _)| key as u64).collect();
                prop_assert_eq!(found, expected, "{}", channel);
            }
            for (key, pattern) in parsed.iter().enumerate().filter(|(key, _)| !gone(*key)) {
                trie.remove(pattern, key as u64);
            }
            prop_assert!(trie.literal.is_empty() && trie.any_token.is_none() && trie.below.is_empty());
        }
    }
}
