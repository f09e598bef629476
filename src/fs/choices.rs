//! Decisions of a simulated crash: all of them one after another, or as a seed has it.

/// Makes decisions, and remembers them so that the next run makes other ones.
///
/// A run asks [`Choices::pick`] for each decision. [`Choices::exhaustive`] goes through every
/// combination, depth first; [`Choices::seeded`] draws them. The same seed gives the same decisions.
#[derive(Debug, Clone)]
pub struct Choices {
    taken: Vec<(usize, usize)>,
    at: usize,
    random: Option<u64>,
}

impl Choices {
    /// Every combination; call [`Choices::advance`] between the runs.
    #[must_use]
    pub fn exhaustive() -> Self {
        Self { taken: Vec::new(), at: 0, random: None }
    }

    /// Drawn ones.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { taken: Vec::new(), at: 0, random: Some(seed) }
    }

    /// One of `options` (at least 1), counted from 0.
    pub fn pick(&mut self, options: usize) -> usize {
        if options < 2 {
            return 0;
        }
        if let Some(state) = &mut self.random {
            // SplitMix64 (Steele, Lea, Flood, 2014).
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            return ((u128::from(z ^ (z >> 31)) * options as u128) >> 64) as usize;
        }
        let chosen = match self.taken.get(self.at) {
            Some((chosen, _)) => *chosen,
            None => {
                self.taken.push((0, options));
                0
            }
        };
        self.at += 1;
        chosen
    }

    /// Moves on to the next combination; `false` when all were had.
    pub fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, options)) = self.taken.pop() {
            if chosen + 1 < options {
                self.taken.push((chosen + 1, options));
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_comes_once() {
        let mut choices = Choices::exhaustive();
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let first = choices.pick(3);
            let rest = if first == 1 { choices.pick(2) } else { choices.pick(4) };
            assert!(seen.insert((first, rest)));
            if !choices.advance() {
                break;
            }
        }
        assert_eq!(seen.len(), 4 + 2 + 4);
    }
}
