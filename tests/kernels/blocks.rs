//! What the file formats' blocks hold, against what the gguf package reads in the same bytes.

use modelpool::testing::kernels::{Linear, block, estimated_bytes, instruction_sets};
use safetensors::SafeTensors;

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
        let (bytes, _) = reference(name);
        for set in instruction_sets() {
            let linear = Linear::new(set, 1, kind, 2, 512, &bytes).expect(name);
            let estimated = estimated_bytes(kind, 2, 512).expect(name);
            assert_eq!(linear.bytes() as u64, estimated, "{name}, {set}");
        }
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
