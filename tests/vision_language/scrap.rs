//! Copies of the small checkpoints, to be changed and spoilt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::reference::data;

/// A tensor of a checkpoint.
#[derive(Clone)]
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// A copy of a small model's folder; it goes when dropped.
pub struct Scrap(PathBuf);

impl Scrap {
    pub fn copy_of(family: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vision-language-{}-{number}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        for entry in std::fs::read_dir(data(family)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name");
            std::fs::copy(&path, folder.join(name)).expect("a copy");
        }
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn edit_tensors(&self, edit: impl FnOnce(&mut BTreeMap<String, Stored>)) {
        let path = self.file("model.safetensors");
        let bytes = std::fs::read(&path).expect("a readable file");
        let read = SafeTensors::deserialize(&bytes).expect("a checkpoint");
        let stored = |(name, view): (String, TensorView<'_>)| {
            let stored = Stored {
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                bytes: view.data().to_vec(),
            };
            (name, stored)
        };
        let mut tensors = read.tensors().into_iter().map(stored).collect();
        edit(&mut tensors);
        let views = tensors.iter().map(|(name, stored)| {
            let view = TensorView::new(stored.dtype, stored.shape.clone(), &stored.bytes);
            (name.as_str(), view.expect("a tensor"))
        });
        let bytes = safetensors::serialize(views, None).expect("a checkpoint");
        std::fs::write(path, bytes).expect("a writable file");
    }

    pub fn edit_json(&self, file: &str, edit: impl FnOnce(&mut serde_json::Value)) {
        let bytes = std::fs::read(self.file(file)).expect("a readable file");
        let mut value = serde_json::from_slice(&bytes).expect("JSON");
        edit(&mut value);
        std::fs::write(self.file(file), value.to_string()).expect("a writable file");
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
