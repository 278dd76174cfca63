//! Rotary positions: the angles of a step's tokens.

use std::f64::consts::PI;

/// How one kind of layer turns its queries and keys (RoPE, Su et al. 2021).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rope {
    /// The angle that one position adds, for each pair of components.
    pub(super) frequencies: Vec<f32>,
    /// What the turned components are multiplied by.
    pub(super) scale: f32,
    /// For each pair, by which of a token's three positions it is turned; empty where all are
    /// turned by the first.
    pub(super) axes: Vec<u8>,
}

/// How frequencies are changed for contexts longer than those of the training.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scaling {
    None,
    /// All divided by a factor.
    Linear(f64),
    /// Low frequencies are divided by the factor, high ones kept, with a ramp between
    /// (YaRN, Peng et al. 2023).
    Yarn {
        factor: f64,
        original: f64,
        beta_fast: f64,
        beta_slow: f64,
        /// What components are multiplied by; as the paper has it where it is not given.
        attention: Option<f64>,
    },
    /// As Llama 3.1 does: by wavelength.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: f64,
    },
    /// Each divided by a factor of its own (LongRoPE, Ding et al. 2024; and how files of Llama 3
    /// hold its scaling).
    Each {
        factors: Vec<f32>,
        attention: f64,
    },
}

impl Rope {
    /// Frequencies of base `theta` for `width` components.
    pub(super) fn new(theta: f64, width: usize, scaling: &Scaling) -> Self {
        // In single precision, as the references do it: far positions show the difference.
        let pairs = width / 2;
        let plain: Vec<f32> = (0..pairs)
            .map(|pair| 1.0 / (theta as f32).powf((2 * pair) as f32 / width as f32))
            .collect();
        let (frequencies, scale) = match scaling {
            Scaling::None => (plain, 1.0),
            Scaling::Linear(factor) => (divided(&plain, *factor as f32), 1.0),
            Scaling::Yarn {
                factor,
                original,
                beta_fast,
                beta_slow,
                attention,
            } => {
                let border = |turns: f64| {
                    width as f64 * (original / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln())
                };
                let low = border(*beta_fast).floor().max(0.0);
                let high = border(*beta_slow).ceil().min(width as f64 - 1.0);
                let span = if low == high { 0.001 } else { high - low };
                let mix = |(pair, frequency): (usize, &f32)| {
                    let kept = 1.0 - ((pair as f64 - low) / span).clamp(0.0, 1.0) as f32;
                    frequency / *factor as f32 * (1.0 - kept) + frequency * kept
                };
                let scale = attention.unwrap_or_else(|| yarn_attention(*factor));
                (plain.iter().enumerate().map(mix).collect(), scale)
            }
            Scaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => {
                let scaled = |frequency: &f32| {
                    let wavelength = 2.0 * PI / f64::from(*frequency);
                    if wavelength < original / high {
                        *frequency
                    } else if wavelength > original / low {
                        (f64::from(*frequency) / factor) as f32
                    } else {
                        let smooth = (original / wavelength - low) / (high - low);
                        let frequency = f64::from(*frequency);
                        ((1.0 - smooth) * frequency / factor + smooth * frequency) as f32
                    }
                };
                (plain.iter().map(scaled).collect(), 1.0)
            }
            Scaling::Each { factors, attention } => {
                let each = plain.iter().zip(factors);
                let divided = each.map(|(frequency, factor)| frequency / factor);
                (divided.collect(), *attention)
            }
        };
        Self {
            frequencies,
            scale: scale as f32,
            axes: Vec::new(),
        }
    }

    /// Components of a head that are turned.
    pub(super) fn width(&self) -> usize {
        2 * self.frequencies.len()
    }
}

/// YaRN's own factor for what is turned.
pub(super) fn yarn_attention(factor: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * factor.ln() + 1.0
    }
}

fn divided(frequencies: &[f32], factor: f32) -> Vec<f32> {
    frequencies
        .iter()
        .map(|frequency| frequency / factor)
        .collect()
}

/// Cosines and sines of a step's tokens: [tokens, pairs] each.
#[derive(Debug, Default)]
pub(super) struct Angles {
    pub(super) cosines: Vec<f32>,
    pub(super) sines: Vec<f32>,
}

impl Angles {
    /// Computes them for tokens at `positions`.
    pub(super) fn fill(&mut self, rope: &Rope, positions: &[[usize; 3]]) {
        self.cosines.clear();
        self.sines.clear();
        for position in positions {
            for (pair, frequency) in rope.frequencies.iter().enumerate() {
                let axis = rope.axes.get(pair).copied().unwrap_or(0);
                let position = position[usize::from(axis)];
                let angle = f64::from(position as f32 * frequency);
                let (sine, cosine) = angle.sin_cos();
                self.cosines.push(cosine as f32 * rope.scale);
                self.sines.push(sine as f32 * rope.scale);
            }
        }
    }

    /// A token's cosines and sines.
    pub(super) fn of(&self, token: usize, pairs: usize) -> (&[f32], &[f32]) {
        let range = token * pairs..(token + 1) * pairs;
        (&self.cosines[range.clone()], &self.sines[range])
    }
}
