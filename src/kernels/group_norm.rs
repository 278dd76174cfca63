//! Group normalisation of pictures.

use pulp::{Simd, WithSimd};

use super::Cpu;
use super::elementwise::{Activation, activate};

/// Group normalisation (Wu and He 2018) of one group, followed by an activation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupNorm<'a> {
    /// One for each of the group's channels.
    pub(crate) weight: &'a [f32],
    /// The same.
    pub(crate) bias: &'a [f32],
    pub(crate) epsilon: f32,
    pub(crate) activation: Activation,
}

impl GroupNorm<'_> {
    /// Normalises one group in place: its channels one after the other, all of the same length.
    pub(crate) fn run(self, cpu: Cpu, x: &mut [f32]) {
        if x.is_empty() || self.weight.is_empty() {
            return;
        }
        let mean = cpu.run(Sum { x, mean: None }) / x.len() as f32;
        let squares = cpu.run(Sum {
            x,
            mean: Some(mean),
        });
        let scale = 1.0 / (squares / x.len() as f32 + self.epsilon).sqrt();
        let length = x.len() / self.weight.len();
        let channels = x.chunks_exact_mut(length);
        for ((x, weight), bias) in channels.zip(self.weight).zip(self.bias) {
            let factor = scale * weight;
            cpu.run(Scale {
                x,
                mean,
                factor,
                shift: *bias,
            });
            activate(cpu, self.activation, x);
        }
    }
}

/// Values that are summed before their sum is added to the others'.
const STRETCH: usize = 1 << 12;

/// The sum, or that of the squared distances from `mean`.
struct Sum<'a> {
    x: &'a [f32],
    mean: Option<f32>,
}

impl WithSimd for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let mut total = 0.0;
        for stretch in self.x.chunks(STRETCH) {
            let (values, tail) = S::as_simd_f32s(stretch);
            let mut sums = simd.splat_f32s(0.0);
            if let Some(mean) = self.mean {
                let means = simd.splat_f32s(mean);
                for value in values {
                    let centred = simd.sub_f32s(*value, means);
                    sums = simd.mul_add_e_f32s(centred, centred, sums);
                }
                for value in tail {
                    total += f64::from((value - mean) * (value - mean));
                }
            } else {
                for value in values {
                    sums = simd.add_f32s(sums, *value);
                }
                for value in tail {
                    total += f64::from(*value);
                }
            }
            total += f64::from(simd.reduce_sum_f32s(sums));
        }
        total as f32
    }
}

/// `(x − mean) · factor + shift`.
struct Scale<'a> {
    x: &'a mut [f32],
    mean: f32,
    factor: f32,
    shift: f32,
}

impl WithSimd for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (values, tail) = S::as_mut_simd_f32s(self.x);
        let mean = simd.splat_f32s(self.mean);
        let factor = simd.splat_f32s(self.factor);
        let shift = simd.splat_f32s(self.shift);
        for value in values {
            *value = simd.mul_add_e_f32s(simd.sub_f32s(*value, mean), factor, shift);
        }
        for value in tail {
            *value = (*value - self.mean) * self.factor + self.shift;
        }
    }
}
