//! Noise that is the same everywhere.

/// Where noise comes from.
pub trait NoiseSource {
    /// Fills all of `values` with independent draws of the standard normal distribution.
    fn fill(&mut self, values: &mut [f32]);
}

/// What noise is for. Each has a stream of its own, so that what is drawn for one changes no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The latents from which a picture begins.
    Latents,
    /// What a solver puts on between steps.
    Steps,
    /// What the encoder of a picture to begin from draws.
    Picture,
}

/// Normal noise of a seed, the same on every machine and in every version of this crate.
///
/// The bits are Philox4x32-10's (Salmon et al. 2011), whose key is the seed and whose counter is the number
/// of the block and of the [`Purpose`]. Pairs of them become normal by Marsaglia's polar method in 64-bit
/// floats, with a logarithm of this crate's own: only additions, multiplications, divisions and square
/// roots are used, which IEEE 754 defines to the bit.
#[derive(Debug, Clone)]
pub struct NormalNoise {
    key: [u32; 2],
    block: u64,
    stream: u32,
    /// The second of a pair.
    spare: Option<f32>,
}

impl NormalNoise {
    /// The noise of a seed for one purpose, from its beginning.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            block: 0,
            stream: match purpose {
                Purpose::Latents => 0,
                Purpose::Steps => 1,
                Purpose::Picture => 2,
            },
            spare: None,
        }
    }

    /// Two numbers evenly distributed over −1 to 1.
    fn pair(&mut self) -> [f64; 2] {
        let counter = [self.block as u32, (self.block >> 32) as u32, self.stream, 0];
        self.block = self.block.wrapping_add(1);
        let [a, b, c, d] = philox(counter, self.key);
        let even = |high: u32, low: u32| {
            const STEP: f64 = 1.0 / (1_u64 << 52) as f64;
            let bits = (u64::from(high) << 32 | u64::from(low)) >> 11;
            bits as f64 * STEP - 1.0
        };
        [even(a, b), even(c, d)]
    }

    fn draw(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let [x, y] = self.pair();
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let scale = (-2.0 * ln(square) / square).sqrt();
                self.spare = Some((y * scale) as f32);
                return (x * scale) as f32;
            }
        }
    }
}

impl NoiseSource for NormalNoise {
    fn fill(&mut self, values: &mut [f32]) {
        values.iter_mut().for_each(|value| *value = self.draw());
    }
}

/// Four words of a counter and a key.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const ROUNDS: usize = 10;
    let product = |factor: u32, word: u32| {
        let product = u64::from(factor) * u64::from(word);
        [(product >> 32) as u32, product as u32]
    };
    for _ in 0..ROUNDS {
        let [high_0, low_0] = product(0xD251_1F53, counter[0]);
        let [high_1, low_1] = product(0xCD9E_8D57, counter[2]);
        counter = [
            high_1 ^ counter[1] ^ key[0],
            low_1,
            high_0 ^ counter[3] ^ key[1],
            low_0,
        ];
        key = [
            key[0].wrapping_add(0x9E37_79B9),
            key[1].wrapping_add(0xBB67_AE85),
        ];
    }
    counter
}

/// The natural logarithm of a positive normal number: of its mantissa by the series of the inverse
/// hyperbolic tangent, which here converges to the last bit or two.
fn ln(value: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    const ONE: u64 = 1023 << 52;
    let bits = value.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits(bits & MANTISSA | ONE);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    // |ratio| is below 0.172: the first term that is left out is below 1e-17 of the sum.
    let series = (0..11).rev().fold(0.0, |sum, term| {
        sum * square + 1.0 / f64::from(2 * term + 1)
    });
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * ratio * series
}
