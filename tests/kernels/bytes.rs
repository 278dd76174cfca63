//! Products of bytes: within the bound that rounding gives, on every instruction set.

use crate::tensors::activations;
use modelpool::testing::kernels::{Bytes, instruction_sets};

/// What shares a scale.
const GROUP: usize = 128;

/// Inputs and outputs: parts of a group, of four, of a panel of 48, and more than one of each.
const SHAPES: [(usize, usize); 9] = [
    (1, 1),
    (3, 5),
    (4, 16),
    (127, 48),
    (128, 49),
    (130, 97),
    (384, 33),
    (391, 96),
    (1536, 50),
];

/// A product of numbers as they are, and how far it may be off when both sides are rounded.
fn exact(x: &[f32], weights: &[f32]) -> (f64, f64) {
    let (mut sum, mut bound, mut magnitudes) = (0.0, 0.0, 0.0);
    for (x, weights) in x.chunks(GROUP).zip(weights.chunks(GROUP)) {
        let (low, high) = x.iter().fold((0.0_f32, 0.0_f32), |(low, high), x| {
            (low.min(*x), high.max(*x))
        });
        let largest = weights
            .iter()
            .fold(0.0_f32, |most, weight| most.max(weight.abs()));
        // Half a step, and as much where the zero is rounded.
        let of_x = f64::from(high - low) / 255.0;
        let of_weight = f64::from(largest) / 127.0 / 2.0;
        for (x, weight) in x.iter().zip(weights) {
            let (x, weight) = (f64::from(*x), f64::from(*weight));
            sum += x * weight;
            magnitudes += (x * weight).abs();
            bound += of_x * weight.abs() + of_weight * x.abs() + of_x * of_weight;
        }
    }
    (sum, bound * 1.001 + magnitudes * 1e-5 + 1e-5)
}

#[test]
fn a_product_is_within_the_bound_of_rounding() {
    for set in instruction_sets() {
        for (inputs, outputs) in SHAPES {
            let weight = activations(inputs * outputs, 3);
            let bias = activations(outputs, 4);
            let mut bytes = Bytes::new(set, inputs, &weight).expect("a known set");
            for rows in [1, 2, 3, 4, 7, 8, 9, 23] {
                // Rows lie apart, with what is not to be read between them.
                let stride = inputs + 3;
                let mut x = activations(rows * stride, rows as u64);
                for row in x.chunks_mut(stride) {
                    row[inputs..].fill(f32::NAN);
                    // Mostly positive, as after an activation, and once all the same.
                    row.iter_mut().for_each(|value| *value = value.max(-0.1));
                }
                x[..inputs].fill(0.5);
                let out = bytes.apply(&x, stride, &bias);
                for (row, line) in out.chunks(outputs).enumerate() {
                    let x = &x[row * stride..][..inputs];
                    for (column, found) in line.iter().enumerate() {
                        let (sum, bound) = exact(x, &weight[column * inputs..][..inputs]);
                        let wanted = sum + f64::from(bias[column]);
                        let off = (f64::from(*found) - wanted).abs();
                        assert!(
                            off <= bound,
                            "{set} {rows} x {inputs} x {outputs}: {found} for {wanted}, {bound}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn instruction_sets_agree_and_company_changes_nothing() {
    let (inputs, outputs, rows) = (391, 97, 13);
    let weight = activations(inputs * outputs, 3);
    let x = activations(rows * inputs, 5);
    let of = |set| {
        let mut bytes = Bytes::new(set, inputs, &weight).expect("a known set");
        let together = bytes.apply(&x, inputs, &[]);
        for row in 0..rows {
            let alone = bytes.apply(&x[row * inputs..][..inputs], inputs, &[]);
            assert_eq!(
                alone,
                together[row * outputs..][..outputs],
                "{set}, row {row}"
            );
        }
        together
    };
    let sets = instruction_sets();
    let first = of(sets[0]);
    let largest = first
        .iter()
        .fold(0.0_f32, |most, value| most.max(value.abs()));
    for set in &sets[1..] {
        // The sums within a group are whole numbers; only where groups are added do floats round.
        for (one, other) in first.iter().zip(of(set)) {
            assert!(
                (one - other).abs() <= largest * 1e-6,
                "{set}: {one}, {other}"
            );
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row() {
    let (inputs, outputs) = (200, 20);
    let weight = activations(inputs * outputs, 3);
    for set in instruction_sets() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = activations(3 * inputs, 5);
            x[inputs + 150] = bad;
            let mut bytes = Bytes::new(set, inputs, &weight).expect("a known set");
            let out = bytes.apply(&x, inputs, &[]);
            let finite: Vec<bool> = out.iter().map(|value| value.is_finite()).collect();
            let expected = [
                vec![true; outputs],
                vec![false; outputs],
                vec![true; outputs],
            ];
            assert_eq!(finite, expected.concat(), "{set}, {bad}");
        }
        // Very large floats, the smallest, and none but zeros.
        let mut bytes = Bytes::new(set, 2, &[1.0, 0.0]).expect("a known set");
        let out = bytes.apply(
            &[f32::MAX / 8.0, f32::MIN / 8.0, 1e-44, 0.0, 0.0, 0.0],
            2,
            &[],
        );
        assert!(
            (out[0] / f32::MAX * 8.0 - 1.0).abs() < 0.01,
            "{set}: {}",
            out[0]
        );
        assert_eq!(out[1..], [0.0, 0.0], "{set}");
    }
}
