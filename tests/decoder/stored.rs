//! How much weight files hold, by their headers.

use std::path::{Path, PathBuf};

use modelpool::models::{ModelError, StoredWeights};

use crate::real_models;

/// A small checkpoint in two shards.
fn sharded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/encoder/roberta")
}

fn shards() -> Vec<PathBuf> {
    let files = std::fs::read_dir(sharded()).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
        .collect()
}

#[test]
fn all_shards_are_counted_to_the_byte() {
    let shards = shards();
    assert!(shards.len() > 1);
    // What is no header is tensors.
    let tensor_bytes = |path: &PathBuf| {
        let file = std::fs::read(path).unwrap();
        let header = u64::from_le_bytes(file[..8].try_into().unwrap());
        file.len() as u64 - 8 - header
    };
    let held = StoredWeights::in_folder(sharded()).unwrap();
    assert_eq!(held.bytes, shards.iter().map(tensor_bytes).sum::<u64>());
    assert_eq!(held.bytes_as(4), held.bytes, "all are f32");
    assert_eq!(held.bytes_as(2), held.bytes / 2);
    assert_eq!(StoredWeights::in_safetensors(&shards).unwrap(), held);
    let first = StoredWeights::in_safetensors(&shards[..1]).unwrap();
    assert!(first.tensors > 0 && first.tensors < held.tensors);
}

#[test]
fn quantised_tensors_take_what_their_blocks_take() {
    let path = real_models::smollm2();
    let file_bytes = std::fs::metadata(&path).unwrap().len();
    let held = StoredWeights::in_gguf(&path).unwrap();
    assert_eq!((held.tensors, held.parameters), (272, 134_515_008));
    assert!(held.bytes < file_bytes && held.bytes > file_bytes * 9 / 10);
}

#[test]
fn what_is_missing_or_no_such_file_is_named() {
    let nowhere = Path::new("no/such/folder");
    let missing = StoredWeights::in_folder(nowhere).unwrap_err();
    assert!(
        matches!(&missing, ModelError::MissingFile { path } if path.starts_with(nowhere)),
        "{missing}"
    );
    let config = sharded().join("config.json");
    for error in [
        StoredWeights::in_safetensors([&config]).unwrap_err(),
        StoredWeights::in_gguf(&config).unwrap_err(),
    ] {
        assert!(
            matches!(&error, ModelError::Corrupt { path, .. } if *path == config),
            "{error}"
        );
    }
}
