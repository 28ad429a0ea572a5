//! Chance that can be repeated.

use std::hash::{BuildHasher as _, RandomState};

/// A small generator of its own, so that a run can be repeated from its seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `sides`.
    pub(crate) const fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let sides = u64::try_from(choices.len()).unwrap();
        &choices[usize::try_from(self.roll(sides)).unwrap()]
    }
}

/// A seed that nobody chose, short enough to be typed.
pub(crate) fn chance() -> u64 {
    RandomState::new().hash_one(0) % 1_000_000
}
