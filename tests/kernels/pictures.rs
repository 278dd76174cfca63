//! Convolutions, group norms, products and attention beside plain loops, at sizes that are cut into
//! several pieces.

use modelpool::testing::pictures::{Convolution, attention, dense, group_norm};

/// Values between −1 and 1 that repeat nowhere.
fn values(count: usize, seed: f32) -> Vec<f32> {
    (0..count)
        .map(|place| ((place as f32 * 0.7311 + seed) * 12.9898).sin())
        .collect()
}

/// One value of the result, in double precision.
fn plain(
    convolution: &Convolution,
    picture: &[f32],
    weight: &[f32],
    [output, line, column]: [usize; 3],
) -> f64 {
    let Convolution {
        picture: [channels, height, width],
        side,
        stride,
        padding,
    } = *convolution;
    let mut sum = 0.0;
    for channel in 0..channels {
        for down in 0..side {
            for right in 0..side {
                let (y, x) = (line * stride + down, column * stride + right);
                let inside = y >= padding && x >= padding;
                if inside && y - padding < height && x - padding < width {
                    let seen = picture[(channel * height + y - padding) * width + x - padding];
                    let factor =
                        weight[((output * channels + channel) * side + down) * side + right];
                    sum += f64::from(seen) * f64::from(factor);
                }
            }
        }
    }
    sum
}

fn check(convolution: Convolution, outputs: usize) {
    let Convolution {
        picture: [channels, height, width],
        side,
        stride,
        padding,
    } = convolution;
    let picture = values(channels * height * width, 1.0);
    let weight = values(outputs * channels * side * side, 2.0);
    let bias = values(outputs, 3.0);
    let made = convolution.run(1, &picture, &weight, &bias).unwrap();
    for threads in [2, 5] {
        let again = convolution.run(threads, &picture, &weight, &bias).unwrap();
        assert_eq!(made, again, "{convolution:?} on {threads} threads");
    }
    let lines = (height + 2 * padding - side) / stride + 1;
    let columns = (width + 2 * padding - side) / stride + 1;
    assert_eq!(made.len(), outputs * lines * columns);
    // Every value of a small result, some of a large one.
    let step = (made.len() / 4000).max(1);
    for place in (0..made.len()).step_by(step) {
        let at = [
            place / (lines * columns),
            place / columns % lines,
            place % columns,
        ];
        let wanted = plain(&convolution, &picture, &weight, at) + f64::from(bias[at[0]]);
        let difference = (f64::from(made[place]) - wanted).abs();
        assert!(difference < 1e-4, "{convolution:?} at {at:?}: {difference}");
    }
}

#[test]
fn small_convolutions_of_every_stride_and_padding() {
    for side in 1..=3 {
        for stride in 1..=3 {
            for padding in 0..=2 {
                for (height, width) in [(3, 3), (5, 7), (8, 60), (1, 50)] {
                    if height + 2 * padding >= side {
                        let convolution = Convolution {
                            picture: [3, height, width],
                            side,
                            stride,
                            padding,
                        };
                        check(convolution, 5);
                    }
                }
            }
        }
    }
}

#[test]
fn deep_and_wide_convolutions_in_several_pieces() {
    // More than one piece of the windows' depth, and more than one tile of places.
    let convolution = Convolution {
        picture: [130, 47, 53],
        side: 3,
        stride: 1,
        padding: 1,
    };
    check(convolution, 19);
    let convolution = Convolution {
        picture: [1100, 9, 11],
        side: 1,
        stride: 1,
        padding: 0,
    };
    check(convolution, 33);
    let convolution = Convolution {
        picture: [2, 260, 310],
        side: 3,
        stride: 2,
        padding: 1,
    };
    check(convolution, 3);
}

#[test]
fn a_window_that_fits_nowhere_is_refused() {
    let convolution = Convolution {
        picture: [1, 2, 2],
        side: 3,
        stride: 1,
        padding: 0,
    };
    assert!(convolution.run(1, &[0.0; 4], &[0.0; 9], &[0.0]).is_err());
}

#[test]
fn groups_are_normalised_over_all_their_channels() {
    for (channels, length) in [(1, 1), (3, 5), (2, 4099), (7, 37)] {
        let x: Vec<f32> = values(channels * length, 4.0)
            .iter()
            .map(|value| 3.0 * value + 5.0)
            .collect();
        let (weight, bias) = (values(channels, 5.0), values(channels, 6.0));
        let mean = x.iter().map(|value| f64::from(*value)).sum::<f64>() / x.len() as f64;
        let squares = x.iter().map(|value| (f64::from(*value) - mean).powi(2));
        let scale = 1.0 / (squares.sum::<f64>() / x.len() as f64 + 1e-5).sqrt();
        for silu in [false, true] {
            let made = group_norm(&x, &weight, &bias, 1e-5, silu);
            for (place, made) in made.iter().enumerate() {
                let channel = place / length;
                let normed = (f64::from(x[place]) - mean) * scale * f64::from(weight[channel])
                    + f64::from(bias[channel]);
                let wanted = match silu {
                    true => normed / (1.0 + (-normed).exp()),
                    false => normed,
                };
                assert!(
                    (f64::from(*made) - wanted).abs() < 1e-5,
                    "{channels}, {length}"
                );
            }
        }
    }
}

fn dot(left: &[f32], right: &[f32]) -> f64 {
    let pairs = left.iter().zip(right);
    pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[test]
fn products_give_a_row_the_same_bits_in_any_company_on_any_number_of_threads() {
    for (inputs, outputs) in [(1, 1), (5, 47), (48, 300), (700, 1153)] {
        let (weight, bias) = (values(inputs * outputs, 1.0), values(outputs, 2.0));
        for rows in [1, 2, 15, 70] {
            let x = values(rows * inputs, 3.0);
            let made = dense(1, inputs, &x, &weight, &bias).unwrap();
            for threads in [2, 5] {
                let again = dense(threads, inputs, &x, &weight, &bias).unwrap();
                assert_eq!(made, again, "{rows} rows on {threads} threads");
            }
            for (row, x) in x.chunks_exact(inputs).enumerate() {
                let alone = dense(3, inputs, x, &weight, &bias).unwrap();
                assert_eq!(made[row * outputs..][..outputs], alone);
                for (output, made) in alone.iter().enumerate().step_by(7) {
                    let weight = &weight[output * inputs..][..inputs];
                    let wanted = dot(x, weight) + f64::from(bias[output]);
                    let bound = 1e-6 * (1.0 + inputs as f64);
                    assert!((f64::from(*made) - wanted).abs() < bound);
                }
            }
        }
    }
}

#[test]
fn attention_is_that_of_plain_loops_with_and_without_a_view_of_what_follows() {
    for [heads, queries, keys, width] in [
        [1, 1, 1, 1],
        [2, 3, 5, 4],
        [3, 130, 70, 40],
        [1, 200, 200, 17],
    ] {
        let shape = [heads, queries, keys, width];
        let q = values(heads * queries * width, 1.0);
        let k = values(heads * keys * width, 2.0);
        let v = values(heads * keys * width, 3.0);
        for causal in [false, true] {
            let made = attention(1, shape, causal, [&q, &k, &v]).unwrap();
            let again = attention(3, shape, causal, [&q, &k, &v]).unwrap();
            assert_eq!(made, again);
            for head in 0..heads {
                let of = |all: &[f32], rows: usize, row: usize| {
                    all[(head * rows + row) * width..][..width].to_vec()
                };
                for query in (0..queries).step_by(3) {
                    let seen = if causal { keys.min(query + 1) } else { keys };
                    let row = of(&q, queries, query);
                    let scores = (0..seen)
                        .map(|key| (dot(&row, &of(&k, keys, key)) / (width as f64).sqrt()).exp());
                    let scores: Vec<f64> = scores.collect();
                    let sum: f64 = scores.iter().sum();
                    for column in 0..width {
                        let values = (0..seen).map(|key| f64::from(of(&v, keys, key)[column]));
                        let mixed: f64 = values.zip(&scores).map(|(v, share)| v * share).sum();
                        let made = of(&made, queries, query)[column];
                        assert!((f64::from(made) - mixed / sum).abs() < 1e-5);
                    }
                }
            }
        }
    }
}
