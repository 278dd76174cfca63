//! Products of floats as 16-bit terms: as precise as the terms are, on every instruction set.

use crate::tensors::activations;
use modelpool::testing::kernels::{Terms, instruction_sets};

/// Inputs and outputs: parts of a step of 32, of a tile's 16, of a panel of 32, and more than one of each.
const SHAPES: [(usize, usize); 9] = [
    (1, 1),
    (2, 15),
    (31, 16),
    (32, 33),
    (33, 48),
    (95, 64),
    (96, 65),
    (384, 31),
    (1536, 50),
];

/// What rounding a float to so many terms leaves of it at most.
fn rest(split: bool) -> f64 {
    if split {
        2_f64.powi(-16)
    } else {
        2_f64.powi(-8)
    }
}

#[test]
fn a_product_is_as_precise_as_its_terms() {
    for set in instruction_sets() {
        for (inputs, outputs) in SHAPES {
            for split in [false, true] {
                let weight = activations(inputs * outputs, 3);
                let bias = activations(outputs, 4);
                let mut terms = Terms::new(set, split, inputs, &weight).expect("a known set");
                for rows in [1, 2, 3, 15, 16, 17, 33, 70] {
                    // Rows lie apart, with what is not to be read between them.
                    let stride = inputs + 3;
                    let mut x = activations(rows * stride, rows as u64);
                    x.chunks_mut(stride)
                        .for_each(|row| row[inputs..].fill(f32::NAN));
                    let out = terms.apply(&x, stride, &bias);
                    for (index, found) in out.iter().enumerate() {
                        let (row, output) = (index / outputs, index % outputs);
                        let x = &x[row * stride..][..inputs];
                        let weight = &weight[output * inputs..][..inputs];
                        let (mut sum, mut magnitudes) = (f64::from(bias[output]), 0.0);
                        for (x, weight) in x.iter().zip(weight) {
                            sum += f64::from(*x) * f64::from(*weight);
                            magnitudes += f64::from(x * weight).abs();
                        }
                        // Both sides' rests, the product of second terms, and the sums' own rounding.
                        let bound = magnitudes * (rest(split) * 3.0 + 1e-6) + 1e-6;
                        assert!(
                            (f64::from(*found) - sum).abs() <= bound,
                            "{set}, split {split}, {inputs} to {outputs}, {rows} rows, {index}: {found} for {sum}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_is_the_same_alone_and_among_others() {
    let (inputs, outputs, rows) = (391, 67, 53);
    let weight = activations(inputs * outputs, 3);
    let x = activations(rows * inputs, 5);
    for set in instruction_sets() {
        for split in [false, true] {
            let mut terms = Terms::new(set, split, inputs, &weight).expect("a known set");
            let together = terms.apply(&x, inputs, &[]);
            for row in 0..rows {
                let alone = terms.apply(&x[row * inputs..][..inputs], inputs, &[]);
                assert_eq!(
                    alone,
                    together[row * outputs..][..outputs],
                    "{set}, split {split}, row {row}"
                );
            }
        }
    }
}

#[test]
fn what_is_in_terms_already_is_multiplied_exactly() {
    // Whole numbers of at most 8 and 16 bits, whose sums have no more than 24.
    for set in instruction_sets() {
        for (split, largest) in [(false, 255_i32), (true, 4095)] {
            let (inputs, outputs, rows) = (40, 37, 19);
            let whole = |count: usize, step: i32| -> Vec<f32> {
                let of = |i: usize| (i as i32 * step) % (2 * largest + 1) - largest;
                (0..count).map(|i| of(i) as f32).collect()
            };
            // The left side has one term, so that nothing is left out.
            let x: Vec<f32> = whole(rows * inputs, 37).iter().map(|x| x % 128.0).collect();
            let weight = whole(outputs * inputs, 101);
            let mut terms = Terms::new(set, split, inputs, &weight).expect("a known set");
            let out = terms.apply(&x, inputs, &[]);
            for (index, found) in out.iter().enumerate() {
                let x = &x[index / outputs * inputs..][..inputs];
                let weight = &weight[index % outputs * inputs..][..inputs];
                let sum: f32 = x.iter().zip(weight).map(|(x, weight)| x * weight).sum();
                assert_eq!(*found, sum, "{set}, split {split}, {index}");
            }
        }
    }
}

#[test]
fn a_row_that_is_not_finite_gives_one_that_is_not_and_spares_the_others() {
    let (inputs, outputs, rows) = (70, 34, 20);
    let weight = activations(inputs * outputs, 3);
    let sound = activations(rows * inputs, 5);
    for set in instruction_sets() {
        for split in [false, true] {
            let mut terms = Terms::new(set, split, inputs, &weight).expect("a known set");
            let before = terms.apply(&sound, inputs, &[]);
            // The least bit of a NaN's payload must not be rounded away, nor may it overflow into a number.
            for bad in [
                f32::INFINITY,
                f32::NAN,
                f32::from_bits(0x7f80_0001),
                f32::from_bits(0xffff_ffff),
            ] {
                let mut x = sound.clone();
                x[7 * inputs + 69] = bad;
                let out = terms.apply(&x, inputs, &[]);
                for (row, line) in out.chunks(outputs).enumerate() {
                    if row == 7 {
                        assert!(
                            line.iter().all(|value| !value.is_finite()),
                            "{set}, {split}, {bad}"
                        );
                    } else {
                        assert_eq!(
                            line,
                            &before[row * outputs..][..outputs],
                            "{set}, {split}, {bad}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn threads_multiply_side_by_side() {
    // The tile registers' state is a thread's own: what one does must not be seen by another.
    let (inputs, outputs, rows) = (320, 96, 64);
    let weight = activations(inputs * outputs, 3);
    for set in instruction_sets() {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let weight = &weight;
                scope.spawn(move || {
                    let mut terms = Terms::new(set, true, inputs, weight).expect("a known set");
                    let x = activations(rows * inputs, thread);
                    let first = terms.apply(&x, inputs, &[]);
                    for _ in 0..50 {
                        assert_eq!(terms.apply(&x, inputs, &[]), first, "{set}");
                    }
                });
            }
        });
    }
}
