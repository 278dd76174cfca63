//! The products of every type, instruction set and shape against a plain one.

use crate::tensors::{TYPES, activations, scale_places, tensor};
use modelpool::testing::kernels::{Linear, block, instruction_sets};

/// Rows and columns: full and odd strips, one block to many.
const SHAPES: [(usize, usize); 7] = [
    (1, 32),
    (8, 64),
    (13, 96),
    (24, 256),
    (50, 512),
    (97, 1280),
    (16, 2048),
];

/// Shapes whose rows are whole blocks of the type.
fn shapes(kind: u32) -> impl Iterator<Item = (usize, usize)> {
    let (block_columns, _) = block(kind).expect("a known type");
    SHAPES
        .into_iter()
        .filter(move |(_, columns)| columns % block_columns == 0)
}

fn products(linear: &mut Linear, x: &[f32], m: usize, rows: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; m * rows];
    linear.apply(x, m, &mut out);
    out
}

/// The exact product, and how far a computed one may be off.
///
/// An activation that is quantised is off by half a step, which is the 254th part of the largest
/// of its 32; floats lose what rounding costs, and so do the sums.
fn exact(x: &[f32], weights: &[f32], quantised: bool) -> (f64, f64) {
    let (mut sum, mut magnitudes, mut bound) = (0.0, 0.0, 0.0);
    for (x, weights) in x.chunks(32).zip(weights.chunks(32)) {
        let largest = x.iter().fold(0.0_f32, |top, x| top.max(x.abs()));
        for (x, weight) in x.iter().zip(weights) {
            let product = f64::from(*x) * f64::from(*weight);
            sum += product;
            magnitudes += product.abs();
            if quantised {
                bound += f64::from(largest) / 254.0 * f64::from(weight.abs());
            }
        }
    }
    (sum, bound * 1.001 + magnitudes * 2e-6 + 1e-6)
}

#[test]
fn every_product_is_within_its_bound() {
    for (name, kind) in TYPES {
        for (rows, columns) in shapes(kind) {
            let bytes = tensor(kind, rows, columns, 7);
            let m = 5;
            let x = activations(m * columns, 9);
            for set in instruction_sets() {
                let mut linear = Linear::new(set, 1, kind, rows, columns, &bytes).expect(name);
                let out = products(&mut linear, &x, m, rows);
                for row in 0..rows {
                    let weights = linear.weights(row);
                    for i in 0..m {
                        let x = &x[i * columns..(i + 1) * columns];
                        let quantised = !["F32", "F16", "BF16"].contains(&name);
                        let (exact, bound) = exact(x, &weights, quantised);
                        let off = (f64::from(out[i * rows + row]) - exact).abs();
                        assert!(
                            off <= bound,
                            "{name}, {set}, {rows} x {columns}: {off} > {bound}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn codes_at_the_ends_of_their_range_do_not_overflow() {
    let (rows, columns, m) = (21, 512, 9);
    for (name, kind) in TYPES.into_iter().skip(3) {
        let (_, block_bytes) = block(kind).expect(name);
        for fill in [0x00, 0x7f, 0x80, 0xff] {
            let mut bytes = tensor(kind, rows, columns, 7);
            for block in bytes.chunks_exact_mut(block_bytes) {
                block.fill(fill);
                for place in scale_places(kind) {
                    block[*place..place + 2].copy_from_slice(&half::f16::ONE.to_le_bytes());
                }
            }
            // As codes, 127 and −127.
            for x in [[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]] {
                let x = x.repeat(m * columns / 2);
                for set in instruction_sets() {
                    let mut linear = Linear::new(set, 1, kind, rows, columns, &bytes).expect(name);
                    let (exact, bound) = exact(&x[..columns], &linear.weights(0), false);
                    for value in products(&mut linear, &x, m, rows) {
                        let off = (f64::from(value) - exact).abs();
                        assert!(off <= bound, "{name}, {set}, {fill:#x}: {off} > {bound}");
                    }
                }
            }
        }
    }
}

#[test]
fn instruction_sets_agree_on_quantised_activations() {
    for (name, kind) in TYPES.into_iter().skip(3) {
        let (rows, columns, m) = (40, 1024, 3);
        let bytes = tensor(kind, rows, columns, 7);
        let x = activations(m * columns, 9);
        let of = |set| {
            let mut linear = Linear::new(set, 1, kind, rows, columns, &bytes).expect(name);
            products(&mut linear, &x, m, rows)
        };
        let plain = of("portable");
        let weights = Linear::new("portable", 1, kind, rows, columns, &bytes).expect(name);
        for set in instruction_sets() {
            for (index, (value, plain)) in of(set).into_iter().zip(&plain).enumerate() {
                // The whole numbers are the same; floats are summed in another order.
                let x = &x[index / rows * columns..][..columns];
                let products = x.iter().zip(weights.weights(index % rows));
                let magnitudes: f32 = products.map(|(x, weight)| (x * weight).abs()).sum();
                let off = (value - plain).abs();
                assert!(off <= 1e-6 * magnitudes, "{name}, {set}: {value}, {plain}");
            }
        }
    }
}

#[test]
fn a_row_is_the_same_whatever_is_beside_it_and_however_many_threads_there_are() {
    for (name, kind) in TYPES {
        // Enough work for forks, and a last strip that is not full.
        let (rows, columns) = (1003, 512);
        let bytes = tensor(kind, rows, columns, 5);
        let most = 200;
        let x = activations(most * columns, 6);
        for set in ["avx2", "best"] {
            if !instruction_sets().contains(&set) {
                continue;
            }
            let mut alone = Linear::new(set, 1, kind, rows, columns, &bytes).expect(name);
            let expected: Vec<f32> = x
                .chunks(columns)
                .flat_map(|x| products(&mut alone, x, 1, rows))
                .collect();
            for threads in 1..=3 {
                let made = Linear::new(set, threads, kind, rows, columns, &bytes);
                let mut linear = made.expect(name);
                for m in (1..=17).chain([32, 33, 70, 200]) {
                    let out = products(&mut linear, &x[..m * columns], m, rows);
                    assert!(
                        out == expected[..m * rows],
                        "{name}, {set}, {threads} threads, {m} rows"
                    );
                }
            }
        }
    }
}

#[test]
fn the_portable_path_too_keeps_rows_apart() {
    for (name, kind) in TYPES {
        let (rows, columns) = (21, 256);
        let bytes = tensor(kind, rows, columns, 5);
        let x = activations(17 * columns, 6);
        let mut linear = Linear::new("portable", 2, kind, rows, columns, &bytes).expect(name);
        let expected: Vec<f32> = x
            .chunks(columns)
            .flat_map(|x| products(&mut linear, x, 1, rows))
            .collect();
        for m in 1..=17 {
            let out = products(&mut linear, &x[..m * columns], m, rows);
            assert!(out == expected[..m * rows], "{name}, {m} rows");
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row() {
    for (name, kind) in TYPES {
        let (rows, columns, m) = (19, 512, 7);
        let bytes = tensor(kind, rows, columns, 5);
        let clean = activations(m * columns, 6);
        for set in instruction_sets() {
            let mut linear = Linear::new(set, 1, kind, rows, columns, &bytes).expect(name);
            let expected = products(&mut linear, &clean, m, rows);
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = clean.clone();
                x[3 * columns + 100] = bad;
                let out = products(&mut linear, &x, m, rows);
                for (i, out) in out.chunks(rows).enumerate() {
                    if i == 3 {
                        assert!(out.iter().all(|value| !value.is_finite()), "{name}, {set}");
                    } else {
                        assert_eq!(out, &expected[i * rows..(i + 1) * rows], "{name}, {set}");
                    }
                }
            }
        }
    }
}

#[test]
fn extreme_activations_give_no_nonsense() {
    for (name, kind) in TYPES {
        let (rows, columns) = (8, 256);
        let bytes = tensor(kind, rows, columns, 5);
        for set in instruction_sets() {
            let mut linear = Linear::new(set, 1, kind, rows, columns, &bytes).expect(name);
            for x in [0.0, f32::MIN_POSITIVE, 1e-42, 1e-30] {
                let out = products(&mut linear, &vec![x; columns], 1, rows);
                assert!(
                    out.iter().all(|value| value.abs() < 1e-20),
                    "{name}, {set}, {x}"
                );
            }
        }
    }
}

#[test]
fn nothing_times_nothing() {
    for (name, kind) in TYPES {
        for set in instruction_sets() {
            for threads in [1, 2] {
                let bytes = tensor(kind, 8, 256, 5);
                let mut linear = Linear::new(set, threads, kind, 8, 256, &bytes).expect(name);
                assert!(products(&mut linear, &[], 0, 8).is_empty());
                let mut linear = Linear::new(set, threads, kind, 0, 256, &[]).expect(name);
                assert!(products(&mut linear, &activations(256, 1), 1, 0).is_empty());
                let mut linear = Linear::new(set, threads, kind, 4, 0, &[]).expect(name);
                assert_eq!(products(&mut linear, &[], 2, 4), [0.0; 8], "{name}, {set}");
            }
        }
    }
}
