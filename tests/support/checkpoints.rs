//! The small checkpoints under `tests/data`, copies of them to be spoilt, and reference values.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use modelpool::pool::capabilities::text_embedding::Embedding;

pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/encoder")
        .join(name)
}

pub fn read_texts(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("texts.json")).expect("texts.json");
    serde_json::from_str(&text).expect("a list of texts")
}

/// Rows of little-endian `f32`, as many as there are texts.
#[allow(dead_code, reason = "each test binary uses some of them")]
pub fn read_rows(path: &Path, rows: usize) -> Vec<Embedding> {
    let bytes = std::fs::read(path).expect("reference values");
    let values: Vec<f32> = bytes
        .as_chunks()
        .0
        .iter()
        .map(|word| f32::from_le_bytes(*word))
        .collect();
    values
        .chunks_exact(values.len() / rows)
        .map(<[f32]>::to_vec)
        .collect()
}

pub fn max_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let differences = left.iter().zip(right).map(|(a, b)| (a - b).abs());
    // Not `f32::max`, which would hide a NaN.
    differences.fold(0.0, |worst, next| if next <= worst { worst } else { next })
}

/// A copy of a tiny model's folder, to be spoilt; it goes when dropped.
pub struct Scrap(PathBuf);

impl Scrap {
    pub fn copy_of(family: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("encoder-{}-{number}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        copy_folder(&data(family), &folder);
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.0.join(file)).expect("a readable file")
    }

    pub fn write(&self, file: &str, content: &[u8]) {
        std::fs::write(self.0.join(file), content).expect("a writable file");
    }

    pub fn remove(&self, file: &str) {
        std::fs::remove_file(self.0.join(file)).expect("a file");
    }

    pub fn edit_json(&self, file: &str, edit: impl FnOnce(&mut serde_json::Value)) {
        let mut value = serde_json::from_slice(&self.read(file)).expect("JSON");
        edit(&mut value);
        self.write(file, value.to_string().as_bytes());
    }

    /// Changes the text of the weights' header, which keeps its length.
    pub fn edit_header(&self, edit: impl FnOnce(&str) -> String) {
        let mut file = self.read("model.safetensors");
        let header = 8..8 + header_length(&file);
        let text = std::str::from_utf8(&file[header.clone()]).expect("a header");
        let edited = edit(text);
        assert_ne!(text, edited);
        file[header].copy_from_slice(edited.as_bytes());
        self.write("model.safetensors", &file);
    }

    /// Changes the values of an `f32` tensor.
    pub fn edit_tensor(&self, name: &str, edit: impl FnOnce(&mut [f32])) {
        let mut file = self.read("model.safetensors");
        let data = 8 + header_length(&file);
        let header: serde_json::Value = serde_json::from_slice(&file[8..data]).expect("a header");
        let place = |end: usize| {
            let offset = header[name]["data_offsets"][end]
                .as_u64()
                .expect("a tensor");
            data + offset as usize
        };
        let bytes = &mut file[place(0)..place(1)];
        let words = bytes.as_chunks().0.iter();
        let mut values: Vec<f32> = words.map(|word| f32::from_le_bytes(*word)).collect();
        edit(&mut values);
        for (word, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
            *word = value.to_le_bytes();
        }
        self.write("model.safetensors", &file);
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn header_length(file: &[u8]) -> usize {
    let length = file.first_chunk().expect("a header");
    u64::from_le_bytes(*length) as usize
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("a copy");
        }
    }
}
