//! How much of the picture and how much noise is in latents.

use super::schedule::Prediction;

/// How latents are mixed: `signal` times the picture plus `noise` times noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Level {
    pub(super) signal: f64,
    pub(super) noise: f64,
}

impl Level {
    /// The variance is kept, and `share` of it is the picture's.
    pub(super) fn of_share(share: f64) -> Self {
        Self {
            signal: share.sqrt(),
            noise: (1.0 - share).max(0.0).sqrt(),
        }
    }

    /// The variance is kept, and there is `sigma` times as much noise as picture.
    pub(super) fn of_ratio(sigma: f64) -> Self {
        let signal = 1.0 / (sigma * sigma + 1.0).sqrt();
        Self {
            signal,
            noise: sigma * signal,
        }
    }

    /// The picture is whole, and `sigma` times noise is on it.
    pub(super) fn on_top(sigma: f64) -> Self {
        Self {
            signal: 1.0,
            noise: sigma,
        }
    }

    /// From the picture to noise on a straight line.
    pub(super) fn of_flow(sigma: f64) -> Self {
        Self {
            signal: 1.0 - sigma,
            noise: sigma,
        }
    }

    /// How many times as much noise as picture there is.
    pub(super) fn ratio(self) -> f64 {
        self.noise / self.signal
    }

    /// The logarithm of the signal-to-noise ratio, halved.
    pub(super) fn lambda(self) -> f64 {
        self.signal.ln() - self.noise.ln()
    }

    /// The length of the two together: what latents are divided by before a model sees them.
    pub(super) fn length(self) -> f64 {
        self.signal.hypot(self.noise)
    }

    /// The picture, as a prediction has it, is the first times the latents plus the second times the
    /// prediction.
    pub(super) fn estimate(self, prediction: Prediction) -> [f32; 2] {
        let length = self.length();
        let [latents, predicted] = match prediction {
            Prediction::Epsilon => [1.0 / self.signal, -self.noise / self.signal],
            Prediction::Velocity => [self.signal / (length * length), -self.noise / length],
            Prediction::Sample => [0.0, 1.0],
            Prediction::Flow => [1.0, -self.noise],
        };
        [latents as f32, predicted as f32]
    }
}
