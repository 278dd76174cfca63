//! Activations, norms, softmax and rotation, several values at a time.

use pulp::{Simd, WithSimd};

use super::Cpu;

/// A feed-forward network's activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x`.
    Identity,
    /// `x · Φ(x)`, by the error function.
    Gelu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// `x · sigmoid(1.702 x)`, another approximation of GELU.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x · sigmoid(x)`, also called swish.
    Silu,
    /// `tanh(x)`.
    Tanh,
    /// `1 / (1 + exp(−x))`.
    Sigmoid,
}

impl Activation {
    #[inline(always)]
    pub(super) fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        match self {
            Self::Identity => x,
            Self::Gelu => {
                let half = simd.mul_f32s(x, simd.splat_f32s(0.5));
                let scaled = simd.mul_f32s(x, simd.splat_f32s(std::f32::consts::FRAC_1_SQRT_2));
                simd.mul_add_e_f32s(half, erf(simd, scaled), half)
            }
            Self::GeluTanh => {
                let half = simd.mul_f32s(x, simd.splat_f32s(0.5));
                let square = simd.mul_f32s(x, x);
                let inner = simd.mul_add_e_f32s(
                    square,
                    simd.splat_f32s(0.044_715 * 0.797_884_6),
                    simd.splat_f32s(0.797_884_6),
                );
                simd.mul_add_e_f32s(half, tanh(simd, simd.mul_f32s(x, inner)), half)
            }
            Self::QuickGelu => {
                let scaled = simd.mul_f32s(x, simd.splat_f32s(1.702));
                simd.mul_f32s(x, sigmoid(simd, scaled))
            }
            Self::Relu => simd.max_f32s(x, simd.splat_f32s(0.0)),
            Self::Relu6 => clamp(simd, x, 0.0, 6.0),
            Self::Silu => simd.mul_f32s(x, sigmoid(simd, x)),
            Self::Tanh => tanh(simd, x),
            Self::Sigmoid => sigmoid(simd, x),
        }
    }
}

/// A polynomial by Horner's rule, highest power first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, x: S::f32s, coefficients: [f32; N]) -> S::f32s {
    let mut sum = simd.splat_f32s(coefficients[0]);
    for coefficient in &coefficients[1..] {
        sum = simd.mul_add_e_f32s(sum, x, simd.splat_f32s(*coefficient));
    }
    sum
}

/// A NaN passes through: the comparison's second operand is what `min` and `max` give back then.
#[inline(always)]
fn clamp<S: Simd>(simd: S, x: S::f32s, low: f32, high: f32) -> S::f32s {
    let above = simd.max_f32s(simd.splat_f32s(low), x);
    simd.min_f32s(simd.splat_f32s(high), above)
}

/// The error function as a rational of odd over even powers (the one that Eigen uses), good to a
/// few units in the last place.
#[inline(always)]
fn erf<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let x = clamp(simd, x, -4.0, 4.0);
    let square = simd.mul_f32s(x, x);
    let over = polynomial(
        simd,
        square,
        [
            -2.726_142_4e-10,
            2.770_681_5e-8,
            -2.101_024e-6,
            -5.692_506_2e-5,
            -7.349_906_4e-4,
            -2.954_6e-3,
            -1.609_603_3e-2,
        ],
    );
    let under = polynomial(
        simd,
        square,
        [
            -1.456_607_15e-5,
            -2.133_740_5e-4,
            -1.682_827e-3,
            -7.373_329_3e-3,
            -1.426_473_9e-2,
        ],
    );
    simd.div_f32s(simd.mul_f32s(x, over), under)
}

/// The hyperbolic tangent, by a rational as [`erf`].
#[inline(always)]
pub(super) fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let x = clamp(simd, x, -7.905_311, 7.905_311);
    let square = simd.mul_f32s(x, x);
    let over = polynomial(
        simd,
        square,
        [
            -2.760_768_4e-16,
            2.000_188e-13,
            -8.604_672e-11,
            5.122_297_3e-8,
            1.485_722_35e-5,
            6.372_619_5e-4,
            4.893_524_6e-3,
        ],
    );
    let under = polynomial(
        simd,
        square,
        [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_7e-3, 4.893_525e-3],
    );
    simd.div_f32s(simd.mul_f32s(x, over), under)
}

/// `exp(x)`, with x held within what gives a normal `f32`.
#[inline(always)]
fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // Added to a value below 2²², it leaves the value rounded to a whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = clamp(simd, x, -87.0, 88.0);
    let shifted = simd.mul_add_e_f32s(
        x,
        simd.splat_f32s(std::f32::consts::LOG2_E),
        simd.splat_f32s(ROUND),
    );
    let whole = simd.sub_f32s(shifted, simd.splat_f32s(ROUND));
    // ln 2 in two parts, so that the reduction loses nothing.
    let reduced = simd.mul_add_e_f32s(whole, simd.splat_f32s(-0.693_359_4), x);
    let reduced = simd.mul_add_e_f32s(whole, simd.splat_f32s(2.121_944_4e-4), reduced);
    let tail = polynomial(
        simd,
        reduced,
        [
            1.987_569_1e-4,
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_6e-1,
            5e-1,
        ],
    );
    let square = simd.mul_f32s(reduced, reduced);
    let fraction = simd.add_f32s(
        simd.mul_add_e_f32s(tail, square, reduced),
        simd.splat_f32s(1.0),
    );
    let exponent =
        simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let bits = simd.add_u32s(exponent, simd.splat_u32s(127 << 23));
    simd.mul_f32s(fraction, simd.transmute_f32s_u32s(bits))
}

#[inline(always)]
fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    let denominator = simd.add_f32s(one, exp(simd, simd.neg_f32s(x)));
    simd.div_f32s(one, denominator)
}

/// Applies `activation` to every value.
pub(crate) fn activate(cpu: Cpu, activation: Activation, x: &mut [f32]) {
    if activation != Activation::Identity {
        cpu.run(Activate { activation, x });
    }
}

struct Activate<'a> {
    activation: Activation,
    x: &'a mut [f32],
}

impl WithSimd for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (body, tail) = S::as_mut_simd_f32s(self.x);
        for x in body {
            *x = self.activation.apply(simd, *x);
        }
        let last = self.activation.apply(simd, simd.partial_load_f32s(tail));
        simd.partial_store_f32s(tail, last);
    }
}

/// The error function of every value.
pub(crate) fn error_function(cpu: Cpu, x: &mut [f32]) {
    cpu.run(ErrorFunction { x });
}

struct ErrorFunction<'a> {
    x: &'a mut [f32],
}

impl WithSimd for ErrorFunction<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (body, tail) = S::as_mut_simd_f32s(self.x);
        for x in body {
            *x = erf(simd, *x);
        }
        let last = erf(simd, simd.partial_load_f32s(tail));
        simd.partial_store_f32s(tail, last);
    }
}

/// In rows of `2 · width`, puts `activation(first half) · second half` into the first half.
pub(crate) fn gate(cpu: Cpu, activation: Activation, x: &mut [f32], width: usize) {
    cpu.run(Gate {
        activation,
        x,
        width,
    });
}

struct Gate<'a> {
    activation: Activation,
    x: &'a mut [f32],
    width: usize,
}

impl WithSimd for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for row in self.x.chunks_exact_mut(2 * self.width) {
            let (gate, up) = row.split_at_mut(self.width);
            let (gate, gate_tail) = S::as_mut_simd_f32s(gate);
            let (up, up_tail) = S::as_simd_f32s(up);
            for i in 0..gate.len().min(up.len()) {
                let open = self.activation.apply(simd, gate[i]);
                gate[i] = simd.mul_f32s(open, up[i]);
            }
            let open = self
                .activation
                .apply(simd, simd.partial_load_f32s(gate_tail));
            let last = simd.mul_f32s(open, simd.partial_load_f32s(up_tail));
            simd.partial_store_f32s(gate_tail, last);
        }
    }
}

/// `x += factor · y`.
pub(crate) fn add_scaled(cpu: Cpu, x: &mut [f32], y: &[f32], factor: f32) {
    cpu.run(AddScaled { x, y, factor });
}

struct AddScaled<'a> {
    x: &'a mut [f32],
    y: &'a [f32],
    factor: f32,
}

impl WithSimd for AddScaled<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let factor = simd.splat_f32s(self.factor);
        let (x, x_tail) = S::as_mut_simd_f32s(self.x);
        let (y, y_tail) = S::as_simd_f32s(self.y);
        for i in 0..x.len().min(y.len()) {
            x[i] = simd.mul_add_f32s(factor, y[i], x[i]);
        }
        let last = simd.mul_add_f32s(
            factor,
            simd.partial_load_f32s(y_tail),
            simd.partial_load_f32s(x_tail),
        );
        simd.partial_store_f32s(x_tail, last);
    }
}

/// `x += y`.
pub(crate) fn add(cpu: Cpu, x: &mut [f32], y: &[f32]) {
    cpu.run(Add { x, y });
}

struct Add<'a> {
    x: &'a mut [f32],
    y: &'a [f32],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (x, x_tail) = S::as_mut_simd_f32s(self.x);
        let (y, y_tail) = S::as_simd_f32s(self.y);
        for i in 0..x.len().min(y.len()) {
            x[i] = simd.add_f32s(x[i], y[i]);
        }
        for i in 0..x_tail.len().min(y_tail.len()) {
            x_tail[i] += y_tail[i];
        }
    }
}

/// Normalises every row of `x`, rows as long as `weight`: layer norm (Ba et al. 2016), or with
/// `rms` the root-mean-square norm (Zhang and Sennrich 2019), which takes no mean off. An empty
/// `bias` is none.
pub(crate) fn norm(cpu: Cpu, x: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32, rms: bool) {
    cpu.run(Norm {
        x,
        weight,
        bias,
        epsilon,
        rms,
    });
}

struct Norm<'a> {
    x: &'a mut [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
    rms: bool,
}

impl WithSimd for Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.weight.len();
        let (weight, weight_tail) = S::as_simd_f32s(self.weight);
        let (bias, bias_tail) = S::as_simd_f32s(self.bias);
        for row in self.x.chunks_exact_mut(width) {
            let (x, tail) = S::as_mut_simd_f32s(row);
            let mut mean = 0.0;
            if !self.rms {
                let mut sum = simd.splat_f32s(0.0);
                for value in x.iter() {
                    sum = simd.add_f32s(sum, *value);
                }
                sum = simd.add_f32s(sum, simd.partial_load_f32s(tail));
                mean = simd.reduce_sum_f32s(sum) / width as f32;
            }
            let means = simd.splat_f32s(mean);
            let mut squares = simd.splat_f32s(0.0);
            for value in x.iter() {
                let centred = simd.sub_f32s(*value, means);
                squares = simd.mul_add_e_f32s(centred, centred, squares);
            }
            let mut square_sum = simd.reduce_sum_f32s(squares);
            for value in tail.iter() {
                square_sum += (*value - mean) * (*value - mean);
            }
            let scale = 1.0 / (square_sum / width as f32 + self.epsilon).sqrt();
            let scales = simd.splat_f32s(scale);
            for i in 0..x.len() {
                let unit = simd.mul_f32s(simd.sub_f32s(x[i], means), scales);
                x[i] = if bias.is_empty() {
                    simd.mul_f32s(unit, weight[i])
                } else {
                    simd.mul_add_e_f32s(unit, weight[i], bias[i])
                };
            }
            for i in 0..tail.len() {
                let shift = if bias_tail.is_empty() {
                    0.0
                } else {
                    bias_tail[i]
                };
                tail[i] = (tail[i] - mean) * scale * weight_tail[i] + shift;
            }
        }
    }
}

/// Turns one row of attention scores into weights: `softmax(scale · x + bias)`; an empty `bias` is
/// none.
pub(crate) fn softmax(cpu: Cpu, x: &mut [f32], scale: f32, bias: &[f32]) {
    cpu.run(Softmax { x, scale, bias });
}

struct Softmax<'a> {
    x: &'a mut [f32],
    scale: f32,
    bias: &'a [f32],
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let scale = simd.splat_f32s(self.scale);
        let (x, tail) = S::as_mut_simd_f32s(self.x);
        let (bias, bias_tail) = S::as_simd_f32s(self.bias);
        let mut tops = simd.splat_f32s(f32::MIN);
        for i in 0..x.len() {
            x[i] = simd.mul_f32s(x[i], scale);
            if !bias.is_empty() {
                x[i] = simd.add_f32s(x[i], bias[i]);
            }
            tops = simd.max_f32s(tops, x[i]);
        }
        let mut top = simd.reduce_max_f32s(tops);
        for i in 0..tail.len() {
            tail[i] *= self.scale;
            if !bias_tail.is_empty() {
                tail[i] += bias_tail[i];
            }
            top = top.max(tail[i]);
        }
        let tops = simd.splat_f32s(top);
        let mut sums = simd.splat_f32s(0.0);
        for value in x.iter_mut() {
            *value = exp(simd, simd.sub_f32s(*value, tops));
            sums = simd.add_f32s(sums, *value);
        }
        let last = exp(simd, simd.sub_f32s(simd.partial_load_f32s(tail), tops));
        simd.partial_store_f32s(tail, last);
        let mut sum = simd.reduce_sum_f32s(sums);
        for value in tail.iter() {
            sum += *value;
        }
        let share = simd.splat_f32s(1.0 / sum);
        for value in x.iter_mut() {
            *value = simd.mul_f32s(*value, share);
        }
        for value in tail.iter_mut() {
            *value /= sum;
        }
    }
}

/// Rotates one head's vector by its position (RoPE, Su et al. 2021), halves form: component `i`
/// pairs with `i + d/2`. `cos` and `sin` hold `d/2` values.
pub(crate) fn rope(cpu: Cpu, x: &mut [f32], cos: &[f32], sin: &[f32]) {
    cpu.run(Rope { x, cos, sin });
}

struct Rope<'a> {
    x: &'a mut [f32],
    cos: &'a [f32],
    sin: &'a [f32],
}

impl WithSimd for Rope<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let half = self.cos.len();
        for head in self.x.chunks_exact_mut(2 * half) {
            let (first, second) = head.split_at_mut(half);
            let (first, first_tail) = S::as_mut_simd_f32s(first);
            let (second, second_tail) = S::as_mut_simd_f32s(second);
            let (cos, cos_tail) = S::as_simd_f32s(self.cos);
            let (sin, sin_tail) = S::as_simd_f32s(self.sin);
            for i in 0..first.len().min(sin.len()) {
                let (a, b) = (first[i], second[i]);
                let turned = simd.mul_f32s(b, sin[i]);
                first[i] = simd.sub_f32s(simd.mul_f32s(a, cos[i]), turned);
                let turned = simd.mul_f32s(a, sin[i]);
                second[i] = simd.mul_add_e_f32s(b, cos[i], turned);
            }
            for i in 0..first_tail.len().min(sin_tail.len()) {
                let (a, b) = (first_tail[i], second_tail[i]);
                first_tail[i] = a * cos_tail[i] - b * sin_tail[i];
                second_tail[i] = b * cos_tail[i] + a * sin_tail[i];
            }
        }
    }
}
