//! Tensors of random bytes.

use half::{bf16, f16};
use modelpool::testing::kernels::block;

/// The types that can be computed with, by name and number.
pub const TYPES: [(&str, u32); 15] = [
    ("F32", 0),
    ("F16", 1),
    ("BF16", 30),
    ("Q4_0", 2),
    ("Q4_1", 3),
    ("Q5_0", 6),
    ("Q5_1", 7),
    ("Q8_0", 8),
    ("Q2_K", 10),
    ("Q3_K", 11),
    ("Q4_K", 12),
    ("Q5_K", 13),
    ("Q6_K", 14),
    ("IQ4_NL", 20),
    ("IQ4_XS", 23),
];

/// Where in a block its 16-bit scales and minimums lie.
pub fn scale_places(kind: u32) -> &'static [usize] {
    match kind {
        2 | 6 | 8 | 20 | 23 => &[0],
        3 | 7 | 12 | 13 => &[0, 2],
        10 => &[80, 82],
        11 => &[108],
        14 => &[208],
        _ => &[],
    }
}

/// A tensor's bytes: random but for the scales, which are such that products keep to a few units.
pub fn tensor(kind: u32, rows: usize, columns: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut value = move || random.f32() - 0.5;
    let count = rows * columns;
    match kind {
        0 => (0..count).flat_map(|_| value().to_le_bytes()).collect(),
        1 => (0..count)
            .flat_map(|_| f16::from_f32(value()).to_le_bytes())
            .collect(),
        30 => (0..count)
            .flat_map(|_| bf16::from_f32(value()).to_le_bytes())
            .collect(),
        _ => {
            let (block_columns, block_bytes) = block(kind).expect("a known type");
            let mut random = fastrand::Rng::with_seed(seed + 1);
            let mut bytes = vec![0; count / block_columns * block_bytes];
            random.fill(&mut bytes);
            for block in bytes.chunks_exact_mut(block_bytes) {
                for place in scale_places(kind) {
                    let scale = f16::from_f32(value() / 50.0);
                    block[*place..place + 2].copy_from_slice(&scale.to_le_bytes());
                }
            }
            bytes
        }
    }
}

/// `count` activations from about −2 to 2, some of them larger.
pub fn activations(count: usize, seed: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut value = || {
        let plain = 4.0 * random.f32() - 2.0;
        plain * if random.u8(..) == 0 { 20.0 } else { 1.0 }
    };
    (0..count).map(|_| value()).collect()
}
