//! From probabilities of characters to text.

use crate::models::{ModelError, OnnxArray};

/// What the recogniser says where no character begins.
const BLANK: usize = 0;

/// What a line says, and the mean probability of its characters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LineText {
    pub(super) text: String,
    pub(super) confidence: f32,
}

/// The recogniser's alphabet: blank, the file's characters, and the space.
#[derive(Debug)]
pub(super) struct Alphabet(Vec<String>);

impl Alphabet {
    /// Of a list with a character in each line.
    pub(super) fn new(list: &str) -> Self {
        let characters = list.lines().map(|line| line.trim_end_matches('\r'));
        let all = [""].into_iter().chain(characters).chain([" "]);
        Self(all.map(str::to_owned).collect())
    }

    /// How many classes a recogniser with it has.
    pub(super) fn classes(&self) -> usize {
        self.0.len()
    }

    /// Reads one line's probabilities, `[1, places, classes]`: the likeliest class of each place, of
    /// which neighbours that are the same are one character.
    pub(super) fn read(&self, probabilities: &OnnxArray) -> Result<LineText, ModelError> {
        let &[1, _, classes] = probabilities.shape() else {
            return Err(self.wrong_shape(probabilities));
        };
        if classes != self.classes() {
            return Err(self.wrong_shape(probabilities));
        }
        let mut line = LineText {
            text: String::new(),
            confidence: 0.0,
        };
        let (mut sum, mut count, mut before) = (0.0, 0.0_f32, BLANK);
        for place in probabilities.values().chunks_exact(classes) {
            let mut best = (BLANK, f32::NEG_INFINITY);
            for (class, &probability) in place.iter().enumerate() {
                if !probability.is_finite() {
                    return Err(ModelError::NotFiniteOutput);
                }
                if probability > best.1 {
                    best = (class, probability);
                }
            }
            if best.0 != BLANK && best.0 != before {
                line.text.push_str(&self.0[best.0]);
                sum += best.1;
                count += 1.0;
            }
            before = best.0;
        }
        if count > 0.0 {
            line.confidence = sum / count;
        }
        Ok(line)
    }

    fn wrong_shape(&self, found: &OnnxArray) -> ModelError {
        ModelError::WrongShape {
            tensor: "the recogniser's output".to_owned(),
            expected: vec![
                1,
                found.shape().get(1).copied().unwrap_or(1),
                self.classes(),
            ],
            found: found.shape().to_vec(),
        }
    }
}
