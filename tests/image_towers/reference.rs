//! Small random models, and what transformers makes of pictures and texts with them
//! (`scripts/reference/image_towers.py`).

use std::path::PathBuf;
use std::sync::Arc;

use modelpool::images::{PixelTensor, RgbImage};
use modelpool::model::ModelInfo;
use modelpool::models::{ImageTower, TowerFolder, TowerPreparer};
use safetensors::SafeTensors;

use crate::checkpoints;

pub const FAMILIES: [&str; 6] = [
    "clip",
    "siglip",
    "dinov2",
    "dinov2_swiglu",
    "dinov2_with_registers",
    "vit",
];
/// Those that embed texts.
pub const PAIRS: [&str; 2] = ["clip", "siglip"];
/// Layers of every vision tower, and of every text tower.
pub const LAYERS: usize = 3;
pub const TEXT_LAYERS: usize = 2;
pub const PICTURES: usize = 3;

/// A model's folder.
pub fn data(family: &str) -> PathBuf {
    checkpoints::data(&format!("../image_towers/{family}"))
}

/// A copy of it, to be spoilt.
pub fn scrap(family: &str) -> checkpoints::Scrap {
    checkpoints::Scrap::copy_of(&format!("../image_towers/{family}"))
}

pub fn texts() -> Vec<String> {
    checkpoints::read_texts(&data("."))
}

pub struct Loaded {
    pub preparer: TowerPreparer,
    pub tower: ImageTower,
}

impl Loaded {
    pub fn of(folder: &TowerFolder) -> Self {
        let weights = folder.load().expect("weights");
        assert_eq!(
            weights.bytes(),
            folder.weight_bytes(),
            "the estimate is exact"
        );
        let info = ModelInfo::from_bytes("tower", folder.weight_bytes(), folder.worker_bytes());
        Self {
            preparer: folder.preparer().expect("a preparer"),
            tower: ImageTower::new(info, Arc::new(weights)),
        }
    }

    pub fn open(family: &str) -> Self {
        Self::of(&TowerFolder::open(data(family)).expect("a folder"))
    }
}

/// Reference values of one family.
pub struct Reference(Vec<u8>);

impl Reference {
    pub fn of(family: &str) -> Self {
        Self(std::fs::read(data(family).join("reference.safetensors")).expect("reference values"))
    }

    fn words(&self, name: &str) -> (Vec<usize>, Vec<[u8; 4]>) {
        let tensors = SafeTensors::deserialize(&self.0).expect("reference values");
        let tensor = tensors.tensor(name).expect("a reference value");
        (
            tensor.shape().to_vec(),
            tensor.data().as_chunks().0.to_vec(),
        )
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        let (_, words) = self.words(name);
        words.into_iter().map(f32::from_le_bytes).collect()
    }

    pub fn tokens(&self, name: &str) -> Vec<u32> {
        let (_, words) = self.words(name);
        words.into_iter().map(u32::from_le_bytes).collect()
    }

    pub fn pixels(&self, name: &str) -> PixelTensor {
        let (shape, _) = self.words(name);
        let shape = shape.try_into().expect("three sides");
        PixelTensor::new(shape, self.floats(name)).expect("pixels")
    }

    pub fn picture(&self, number: usize) -> RgbImage {
        let tensors = SafeTensors::deserialize(&self.0).expect("reference values");
        let tensor = tensors
            .tensor(&format!("{number}.picture"))
            .expect("a picture");
        let [height, width] = [tensor.shape()[0], tensor.shape()[1]].map(|side| side as u32);
        RgbImage::new(width, height, tensor.data().to_vec()).expect("a picture")
    }
}
