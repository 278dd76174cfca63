//! Copies of tiny pipelines, to be spoilt.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use modelpool::ModelError;
use modelpool::models::{DiffusionFolder, DiffusionOptions};
use serde_json::Value;

use super::pipeline::data;

/// A copy of a pipeline's folder; it goes when dropped.
pub struct Scrap(PathBuf);

impl Scrap {
    pub fn copy_of(name: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let copy = format!("latent-diffusion-{}-{number}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(copy);
        copy_folder(&data(name), &folder);
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.0.join(file)).unwrap()
    }

    pub fn write(&self, file: &str, content: &[u8]) {
        std::fs::write(self.0.join(file), content).unwrap();
    }

    pub fn remove(&self, file: &str) {
        std::fs::remove_file(self.0.join(file)).unwrap();
    }

    /// Gives a field another value.
    pub fn set(&self, file: &str, field: &str, value: Value) {
        let mut config: Value = serde_json::from_slice(&self.read(file)).unwrap();
        config[field] = value;
        self.write(file, config.to_string().as_bytes());
    }

    /// Writes over a tensor's first half-precision value.
    pub fn spoil(&self, file: &str, tensor: &str, value: [u8; 2]) {
        let mut bytes = self.read(file);
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let begin = header[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
        bytes[8 + length + begin..][..2].copy_from_slice(&value);
        self.write(file, &bytes);
    }

    /// Gives a tensor another name of the same length.
    pub fn rename(&self, file: &str, from: &str, to: &str) {
        assert_eq!(from.len(), to.len());
        let mut bytes = self.read(file);
        let place = bytes
            .windows(from.len())
            .position(|window| window == from.as_bytes())
            .unwrap();
        bytes[place..][..to.len()].copy_from_slice(to.as_bytes());
        self.write(file, &bytes);
    }

    pub fn open(&self) -> Result<DiffusionFolder, ModelError> {
        DiffusionFolder::open(&self.0, &DiffusionOptions::default())
    }

    pub fn refusal(&self) -> ModelError {
        self.open().expect_err("it is spoilt")
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).unwrap();
        }
    }
}
