//! What the file formats' blocks hold, against what the gguf package reads in the same bytes.

use crate::tensors::{TYPES, scale_places, tensor};
use half::f16;
use modelpool::testing::kernels::{Linear, block, estimated_bytes, instruction_sets};
use safetensors::SafeTensors;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const BLOCKS: &[u8] = include_bytes!("../data/kernels/blocks.safetensors");

fn reference(name: &str) -> (Vec<u8>, Vec<f32>) {
    let file = SafeTensors::deserialize(BLOCKS).expect("a file by the script");
    let tensor = |part: &str| file.tensor(&format!("{name}.{part}")).expect("a tensor");
    let (values, _) = tensor("values").data().as_chunks::<4>();
    let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes));
    (tensor("bytes").data().to_vec(), values.collect())
}

#[test]
fn rows_hold_what_the_gguf_package_reads() {
    for (name, kind) in TYPES {
        let (bytes, values) = reference(name);
        for set in instruction_sets() {
            let linear = Linear::new(set, 1, kind, 2, 512, &bytes).expect(name);
            for (row, values) in values.chunks(512).enumerate() {
                let read = linear.weights(row);
                // The same f32 operations in the same order: no tolerance.
                assert_eq!(read, values, "{name}, {set}, row {row}");
            }
        }
    }
}

#[test]
fn loading_takes_what_was_estimated() {
    for (name, kind) in TYPES {
        for (rows, columns) in [(2, 512), (24, 256), (37, 1280)] {
            let bytes = tensor(kind, rows, columns, 3);
            let linear = Linear::new("best", 1, kind, rows, columns, &bytes).expect(name);
            let estimated = estimated_bytes(kind, rows, columns).expect(name);
            assert_eq!(
                linear.bytes() as u64,
                estimated,
                "{name}, {rows} x {columns}"
            );
        }
    }
}

#[test]
fn what_memory_each_type_takes() {
    // Bytes in memory over bytes in the file, of a large matrix.
    let widened = [("Q2_K", 1.96), ("Q3_K", 1.33)];
    for (name, kind) in TYPES {
        let (rows, columns) = (4096, 4096);
        let (block_columns, block_bytes) = block(kind).expect(name);
        let in_file = rows * columns / block_columns * block_bytes;
        let estimated = estimated_bytes(kind, rows, columns).expect(name);
        let allowed = widened.iter().find(|entry| entry.0 == name);
        let allowed = allowed.map_or(1.03, |entry| entry.1);
        let ratio = estimated as f64 / in_file as f64;
        assert!(ratio <= allowed, "{name}: {ratio}");
    }
}

#[test]
fn bytes_that_do_not_fit_the_shape_are_refused() {
    for (name, kind) in TYPES {
        let (bytes, _) = reference(name);
        let made = |rows, columns, bytes: &[u8]| Linear::new("best", 1, kind, rows, columns, bytes);
        let refusal = |made: Result<Linear, Failure>| made.expect_err(name).to_string();
        let short = &bytes[..bytes.len() - 1];
        let said = refusal(made(2, 512, short));
        assert!(said.contains("2 rows of 512 columns"), "{said}");
        assert!(said.contains(name), "{said}");
        refusal(made(3, 512, &bytes));
        refusal(made(2, 0, &bytes));
        refusal(made(usize::MAX, 512, &bytes));
        let (block_columns, _) = block(kind).expect(name);
        if block_columns > 1 {
            let said = refusal(made(2, 512 - 16, &bytes));
            assert!(said.contains("496 columns are not whole blocks"), "{said}");
        }
        assert_eq!(estimated_bytes(kind, usize::MAX, 512), None);
    }
}

#[test]
fn types_without_kernels_are_refused_by_name() {
    for (name, kind) in [("IQ2_XXS", 16), ("IQ1_M", 29), ("Q8_K", 15), ("I32", 26)] {
        let refusal = Linear::new("best", 1, kind, 0, 0, &[]).expect_err(name);
        assert!(refusal.to_string().contains(name), "{refusal}");
        assert_eq!(estimated_bytes(kind, 1, 256), None);
    }
}

#[test]
fn a_scale_that_is_not_finite_is_refused() {
    for (name, kind) in TYPES.into_iter().skip(3) {
        let mut bytes = tensor(kind, 5, 512, 1);
        let (_, block_bytes) = block(kind).expect(name);
        let place = scale_places(kind)[0];
        let at = bytes.len() - block_bytes + place;
        bytes[at..at + 2].copy_from_slice(&[0, 0x7e]);
        let refusal = Linear::new("best", 1, kind, 5, 512, &bytes).expect_err(name);
        assert!(refusal.to_string().contains("not finite"), "{refusal}");
    }
}

#[test]
fn the_smallest_and_the_largest_scales_are_exact() {
    let smallest = f16::from_bits(1);
    for scales in [[smallest, f16::from_f32(0.3)], [smallest, f16::MAX]] {
        let mut bytes = Vec::new();
        for scale in scales {
            bytes.extend(scale.to_le_bytes());
            bytes.extend((0..32).map(|code: u8| 4 * code));
        }
        for set in instruction_sets() {
            let mut linear = Linear::new(set, 1, 8, 2, 32, &bytes).expect("Q8_0");
            let mut out = [0.0; 2];
            let mut x = [0.0; 32];
            x[31] = 1.0;
            linear.apply(&x, 1, &mut out);
            for (row, scale) in scales.into_iter().enumerate() {
                let expected = scale.to_f32() * 124.0;
                assert_eq!(linear.weights(row)[31], expected, "{set}");
                // The one activation is 127 times its scale, but for rounding.
                let off = (out[row] - expected).abs();
                assert!(off <= expected.abs() * 1e-6, "{set}: {out:?}");
            }
        }
    }
}

#[test]
fn sixteen_bit_floats_of_any_size_are_exact() {
    let largest = [f16::from_bits(1), f16::MAX];
    let small = [f16::from_bits(3), f16::from_f32(-1e-5)];
    let odd = [f16::NEG_INFINITY, f16::NAN];
    for values in [largest, small, odd] {
        let bytes = values.map(f16::to_le_bytes).concat();
        for set in instruction_sets() {
            let mut linear = Linear::new(set, 1, 1, 2, 1, &bytes).expect("F16");
            let mut out = [0.0; 2];
            linear.apply(&[1.0], 1, &mut out);
            for (row, value) in values.into_iter().enumerate() {
                for read in [out[row], linear.weights(row)[0]] {
                    let same = read == value.to_f32() || read.is_nan() && value.is_nan();
                    assert!(same, "{set}: {read}, {value}");
                }
            }
        }
    }
}
