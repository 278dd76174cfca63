//! What is done between the products, on every instruction set, against plain f64.

use crate::tensors::activations;
use modelpool::testing::kernels::{gate_by, instruction_sets, rms_norm, soft_cap};

/// Lengths around and between the registers' widths.
const WIDTHS: [usize; 8] = [1, 3, 7, 8, 16, 31, 64, 257];

fn assert_close(found: &[f32], expected: impl Iterator<Item = f64>, what: &str) {
    let mut count = 0;
    for (found, expected) in found.iter().zip(expected) {
        let off = (f64::from(*found) - expected).abs();
        assert!(
            off <= 2e-6 * expected.abs().max(1.0),
            "{what}: {found}, {expected}"
        );
        count += 1;
    }
    assert_eq!(count, found.len());
}

#[test]
fn rms_norm_is_the_root_mean_square_norm() {
    for set in instruction_sets() {
        for width in WIDTHS {
            let x = activations(3 * width, 1);
            let weight = activations(width, 2);
            let found = rms_norm(set, &x, &weight, 1e-5).expect(set);
            let expected = x.chunks(width).flat_map(|row| {
                let squares: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
                let scale = (squares / width as f64 + 1e-5).sqrt().recip();
                let rows = row.iter().zip(&weight);
                let value = move |(x, w): (&f32, &f32)| f64::from(*x) * scale * f64::from(*w);
                rows.map(value).collect::<Vec<f64>>()
            });
            assert_close(&found, expected, set);
        }
    }
}

#[test]
fn gates_open_by_silu_or_gelu() {
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let gelu = |x: f64| {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
        0.5 * x * (1.0 + inner.tanh())
    };
    for set in instruction_sets() {
        for width in WIDTHS {
            let gate = activations(width, 3);
            let up = activations(width, 4);
            let pairs = || {
                gate.iter()
                    .zip(&up)
                    .map(|(g, u)| (f64::from(*g), f64::from(*u)))
            };
            let found = gate_by(set, false, &gate, &up).expect(set);
            assert_close(&found, pairs().map(|(g, u)| silu(g) * u), set);
            let found = gate_by(set, true, &gate, &up).expect(set);
            assert_close(&found, pairs().map(|(g, u)| gelu(g) * u), set);
        }
    }
}

#[test]
fn caps_are_soft() {
    for set in instruction_sets() {
        for width in WIDTHS {
            let x = activations(width, 5);
            let found = soft_cap(set, &x, 3.0, 30.0).expect(set);
            let expected = x.iter().map(|x| 30.0 * (3.0 * f64::from(*x) / 30.0).tanh());
            // The tanh is good to some units in the last place, of values up to 30.
            let scaled: Vec<f32> = found.iter().map(|value| value / 30.0).collect();
            assert_close(&scaled, expected.map(|value| value / 30.0), set);
        }
    }
}
