//! The tiny pipelines under `tests/data/flux`, copies of them to be changed, and reference values.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use modelpool::ModelInfo;
use modelpool::models::{DiffusionOptions, FluxFolder, FluxPainter};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

pub const WEIGHTS: &str = "transformer/diffusion_pytorch_model.safetensors";

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/flux")
        .join(name)
}

/// A pipeline's folder of its own; it goes when dropped.
pub struct Pipeline(PathBuf);

impl Pipeline {
    pub fn schnell() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("flux-{}-{number}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        copy_folder(&data("schnell"), &folder);
        Self(folder)
    }

    /// With the transformer and the scheduler of a model that is given the guidance.
    pub fn dev() -> Self {
        let made = Self::schnell();
        copy_folder(&data("dev"), &made.0);
        made
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn open(&self) -> FluxFolder {
        FluxFolder::open(&self.0, &DiffusionOptions::default()).expect("a sound folder")
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

    /// The transformer's tensors.
    pub fn tensors(&self) -> Vec<Named> {
        let bytes = self.read(WEIGHTS);
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        file.iter()
            .map(|(name, tensor)| Named {
                name: name.to_owned(),
                shape: tensor.shape().to_vec(),
                values: floats(&tensor),
            })
            .collect()
    }

    /// Stores other ones, in single precision.
    pub fn set_tensors(&self, tensors: &[Named]) {
        let bytes = |values: &[f32]| {
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        };
        let all: Vec<(&Named, Vec<u8>)> = tensors
            .iter()
            .map(|tensor| (tensor, bytes(&tensor.values)))
            .collect();
        let views = all.iter().map(|(tensor, bytes)| {
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes);
            (tensor.name.as_str(), view.expect("as many bytes"))
        });
        let file = safetensors::serialize(views, None).expect("a file");
        self.write(WEIGHTS, &file);
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A tensor of a file.
#[derive(Debug, Clone)]
pub struct Named {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// What diffusers made.
pub struct Reference(Vec<u8>);

impl Reference {
    pub fn of(name: &str) -> Self {
        Self(std::fs::read(data(&format!("{name}.safetensors"))).expect("reference values"))
    }

    pub fn values(&self, name: &str) -> Vec<f32> {
        self.with(name, floats)
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.with(name, |tensor| tensor.data().to_vec())
    }

    pub fn tokens(&self, name: &str) -> Vec<u32> {
        let bytes = self.bytes(name);
        let words = bytes.as_chunks().0.iter();
        words.map(|word| u32::from_le_bytes(*word)).collect()
    }

    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.with(name, |tensor| tensor.shape().to_vec())
    }

    fn with<T>(&self, name: &str, read: impl FnOnce(&TensorView<'_>) -> T) -> T {
        let file = SafeTensors::deserialize(&self.0).expect("safetensors");
        read(&file.tensor(name).expect("a reference value"))
    }
}

pub fn load(folder: &FluxFolder) -> FluxPainter {
    let weights = Arc::new(folder.load().expect("sound weights"));
    FluxPainter::new(ModelInfo::new("flux", 1), weights)
}

pub fn worst_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let differences = left.iter().zip(right).map(|(a, b)| (a - b).abs());
    // Not `f32::max`, which would hide a NaN.
    differences.fold(0.0, |worst, next| if next <= worst { worst } else { next })
}

fn floats(tensor: &TensorView<'_>) -> Vec<f32> {
    match tensor.dtype() {
        Dtype::BF16 => tensor
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|word| half::bf16::from_le_bytes(*word).to_f32())
            .collect(),
        _ => {
            let words = tensor.data().as_chunks().0.iter();
            words.map(|word| f32::from_le_bytes(*word)).collect()
        }
    }
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
