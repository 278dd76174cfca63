//! What happens, drawn from a seed.

use std::time::Duration;

/// A chaos run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The same seed asks the same and breaks the same.
    pub seed: u64,
    pub requests: usize,
    /// How many callers ask side by side.
    pub callers: usize,
    pub requests_between_disruptions: usize,
}

/// Numbers that look random (SplitMix64), the same for the same seed everywhere.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Those of the `number`th throw of a plan; `what` keeps different uses apart.
    pub fn of(plan: &Plan, what: u64, number: u64) -> Self {
        let mut dice = Self(plan.seed ^ what.rotate_left(48) ^ number.rotate_left(16));
        dice.next();
        dice
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True once in `every` throws.
    pub fn once_in(&mut self, every: u64) -> bool {
        self.below(every) == 0
    }
}

/// How long a caller stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Until the end.
    Stays,
    /// Drops its future after this time.
    DropsAfter(Duration),
    /// Its task is aborted after this time.
    AbortedAfter(Duration),
    /// Drops its stream after so many items.
    ReadsOnly(usize),
}

/// What is said to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Something to answer.
    Plain,
    /// Something that the model finds fault with.
    Faulty,
    /// Something that kills every worker that takes it up.
    Poison,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct RequestPlan {
    pub number: u64,
    /// An index into the models, to be taken modulo their number.
    pub model: usize,
    pub deadline: Duration,
    pub batch_lane: bool,
    /// For whom, if it says so.
    pub tenant: Option<u64>,
    pub patience: Patience,
    pub content: Content,
    /// How many items the answer has, where it is a stream.
    pub items: usize,
}

impl Plan {
    pub fn request(&self, number: u64) -> RequestPlan {
        let mut dice = Dice::of(self, 1, number);
        // Most requests have time; some have next to none.
        let deadline = match dice.below(20) {
            0 => Duration::from_micros(dice.below(3_000)),
            1..=4 => Duration::from_millis(5 + dice.below(50)),
            _ => Duration::from_millis(500 + dice.below(2_000)),
        };
        let short = Duration::from_micros(dice.below(2_000));
        let patience = match dice.below(50) {
            0..=1 => Patience::DropsAfter(short),
            2 => Patience::AbortedAfter(short),
            3..=4 => Patience::ReadsOnly(dice.below(4) as usize),
            _ => Patience::Stays,
        };
        let content = match dice.below(2_000) {
            0 => Content::Poison,
            1..=20 => Content::Faulty,
            _ => Content::Plain,
        };
        RequestPlan {
            number,
            model: dice.next() as usize,
            deadline,
            batch_lane: dice.once_in(4),
            tenant: dice.once_in(2).then(|| dice.below(5)),
            patience,
            content,
            items: 1 + dice.below(6) as usize,
        }
    }
}
