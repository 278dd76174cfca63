//! Noise that is the same everywhere.

use std::path::Path;

use modelpool::diffusion::{NoiseSource, NormalNoise, Purpose};
use safetensors::SafeTensors;

/// The first values of seed 42 in single precision.
const BITS: [u32; 6] = [
    0x3e38_e8f5,
    0xbf2e_a65e,
    0x3ea0_1870,
    0x3c12_1263,
    0x3f96_a677,
    0x3ebd_ff26,
];

const PURPOSES: [Purpose; 3] = [Purpose::Latents, Purpose::Steps, Purpose::Picture];

fn drawn(seed: u64, purpose: Purpose, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    NormalNoise::new(seed, purpose).fill(&mut values);
    values
}

#[test]
fn the_bits_never_change() {
    let bits: Vec<u32> = drawn(42, Purpose::Latents, 6)
        .iter()
        .map(|it| it.to_bits())
        .collect();
    assert_eq!(bits, BITS);
}

/// Written down once more in another language, with its own logarithm: the last bit may differ.
#[test]
fn it_is_what_the_reference_draws() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/diffusion/noise.safetensors");
    let file = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    for (name, tensor) in tensors.tensors() {
        let (seed, stream) = name.split_once('.').unwrap();
        let purpose = PURPOSES[stream.parse::<usize>().unwrap()];
        let (words, _) = tensor.data().as_chunks();
        let wanted: Vec<f32> = words.iter().copied().map(f32::from_le_bytes).collect();
        let made = drawn(seed.parse().unwrap(), purpose, wanted.len());
        for (made, wanted) in made.iter().zip(&wanted) {
            assert!(
                (made - wanted).abs() <= 2.4e-7 * wanted.abs(),
                "{name}: {made}, {wanted}"
            );
        }
    }
}

#[test]
fn how_it_is_drawn_does_not_matter() {
    let whole = drawn(3, Purpose::Steps, 101);
    let mut noise = NormalNoise::new(3, Purpose::Steps);
    let mut pieces = vec![0.0; 101];
    let (mut rest, mut length) = (&mut pieces[..], 1);
    while !rest.is_empty() {
        let (piece, later) = rest.split_at_mut(length.min(rest.len()));
        noise.fill(piece);
        (rest, length) = (later, length + 2);
    }
    assert_eq!(pieces, whole);
}

#[test]
fn it_is_normal() {
    let values = drawn(9, Purpose::Latents, 400_000);
    let mean = |power: i32| {
        let sum: f64 = values
            .iter()
            .map(|value| f64::from(*value).powi(power))
            .sum();
        sum / values.len() as f64
    };
    // Five standard errors of each.
    for (power, wanted, allowed) in [
        (1, 0.0, 0.008),
        (2, 1.0, 0.012),
        (3, 0.0, 0.031),
        (4, 3.0, 0.078),
    ] {
        assert!(
            (mean(power) - wanted).abs() < allowed,
            "{power}: {}",
            mean(power)
        );
    }
    let beyond = values.iter().filter(|value| value.abs() > 3.0).count() as f64;
    assert!((beyond / values.len() as f64 - 0.0027).abs() < 0.0005);
    let neighbours = values.windows(2).map(|pair| f64::from(pair[0] * pair[1]));
    assert!(neighbours.sum::<f64>().abs() / (values.len() as f64) < 0.008);
}

#[test]
fn seeds_and_purposes_have_nothing_in_common() {
    let streams: Vec<Vec<f32>> = [0, 1, 2, 1 << 32, u64::MAX]
        .into_iter()
        .flat_map(|seed| PURPOSES.map(|purpose| drawn(seed, purpose, 2000)))
        .collect();
    for (index, one) in streams.iter().enumerate() {
        for other in &streams[..index] {
            let products = one.iter().zip(other).map(|(a, b)| f64::from(a * b));
            assert!(products.sum::<f64>().abs() / 2000.0 < 0.12);
        }
    }
}
