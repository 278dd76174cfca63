//! A tiny pipeline with what diffusers made of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use modelpool::model::ModelInfo;
use modelpool::models::{DiffusionFolder, DiffusionOptions, DiffusionPreparer, LatentDiffusion};
use modelpool::pool::capabilities::text_to_image::{PromptPreparer, PromptTokens};
use safetensors::SafeTensors;

pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/diffusion")
        .join(name)
}

pub fn open(name: &str) -> DiffusionFolder {
    DiffusionFolder::open(data(name), &DiffusionOptions::default()).unwrap()
}

pub struct Pipeline {
    pub model: LatentDiffusion,
    pub preparer: DiffusionPreparer,
    pub reference: Reference,
}

impl Pipeline {
    pub fn load(name: &str) -> Self {
        Self::load_with(name, DiffusionOptions::default())
    }

    pub fn load_with(name: &str, options: DiffusionOptions) -> Self {
        let folder = DiffusionFolder::open(data(name), &options).unwrap();
        let weights = Arc::new(folder.load().unwrap());
        Self {
            model: LatentDiffusion::new(ModelInfo::new(name, 1), weights),
            preparer: folder.preparer().unwrap(),
            reference: Reference::of(name),
        }
    }

    pub fn tokens(&self, prompt: &str) -> PromptTokens {
        self.preparer.prepare(prompt).unwrap()
    }
}

/// The values that the script has recorded.
pub struct Reference(Vec<u8>);

impl Reference {
    pub fn of(name: &str) -> Self {
        Self(std::fs::read(data(name).join("reference.safetensors")).unwrap())
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors().tensor(name).is_ok()
    }

    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.tensors().tensor(name).unwrap().shape().to_vec()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.tensors().tensor(name).unwrap().data().to_vec()
    }

    pub fn values(&self, name: &str) -> Vec<f32> {
        let bytes = self.bytes(name);
        let words = bytes.as_chunks().0.iter();
        words.map(|word| f32::from_le_bytes(*word)).collect()
    }

    pub fn ids(&self, name: &str) -> Vec<u32> {
        let bytes = self.bytes(name);
        let words = bytes.as_chunks().0.iter();
        words.map(|word| u32::from_le_bytes(*word)).collect()
    }

    pub fn prompts(&self) -> Vec<String> {
        serde_json::from_slice(&self.bytes("prompts")).unwrap()
    }
}
