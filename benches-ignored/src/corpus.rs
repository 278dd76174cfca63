//! Text to work on, the same in every run: pieces of the Apache licence, cut by a seeded generator.
//!
//! Nothing is downloaded and nothing but the seed chooses, so two runs, on whatever machine, work
//! on the same bytes; results carry [`Corpus::fingerprint`] to show it.

/// English prose that lies in the repository and stays as it is.
const PROSE: &str = include_str!("../../LICENSE-APACHE");

/// A seeded source of texts.
#[derive(Debug)]
pub struct Corpus {
    words: Vec<&'static str>,
    state: u64,
}

impl Corpus {
    /// A source that gives the same texts for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self {
            words: PROSE.split_whitespace().collect(),
            state: seed,
        }
    }

    /// A text of so many words: a piece of the prose from a drawn place on, and now and then a
    /// drawn word for the next one, so that no two texts share much.
    pub fn text(&mut self, words: usize) -> String {
        let mut place = self.below(self.words.len());
        let mut text = String::new();
        for number in 0..words {
            if self.below(5) == 0 {
                place = self.below(self.words.len());
            }
            if number > 0 {
                text.push(' ');
            }
            text.push_str(self.words[place]);
            place = (place + 1) % self.words.len();
        }
        text
    }

    /// Texts of mixed lengths in no order, most of them short: 3 to 150 words, 38 on average,
    /// which are about 5 to 200 tokens of a BERT tokenizer.
    pub fn mixed(&mut self, count: usize) -> Vec<String> {
        let mut length = || {
            let share = self.fraction();
            3 + (share * share * share * 148.0) as usize
        };
        let lengths: Vec<usize> = (0..count).map(|_| length()).collect();
        lengths.into_iter().map(|words| self.text(words)).collect()
    }

    /// A number that differs between texts that differ (FNV-1a), as hexadecimal digits.
    pub fn fingerprint(texts: &[String]) -> String {
        let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.fraction() * limit as f64) as usize
    }

    /// Evenly from 0 to 1, without 1: SplitMix64 (Steele, Lea and Flood 2014).
    fn fraction(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}
