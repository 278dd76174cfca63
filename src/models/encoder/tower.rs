//! Towers: Vision Transformers that embed pictures, and the text towers beside them, from a folder of the
//! hub as it is on disk.
//!
//! CLIP and SigLIP put pictures and texts into one space; DINOv2 and ViT know pictures only. A tower is the
//! encoder's network over the patches of pictures: what is a tower's own is how rows are made of pictures
//! and how a vector is made of rows.
//!
//! ```no_run
//! use std::sync::Arc;
//! use modelpool::model::ModelInfo;
//! use modelpool::models::{ImageTower, ModelError, TowerFolder};
//! # fn main() -> Result<(), ModelError> {
//! let folder = TowerFolder::open("models/clip-vit-base-patch32")?; // headers and small files only
//! let preparer = folder.preparer()?; // pictures to pixels, texts to tokens, for the caller's side
//! let weights = Arc::new(folder.load()?); // once, shared by all workers
//! let info = ModelInfo::from_bytes("clip", folder.weight_bytes(), folder.worker_bytes());
//! let tower = ImageTower::new(info, weights);
//! # Ok(())
//! # }
//! ```

mod description;
mod families;
mod folder;
mod image_tower;
mod interpolation;
mod names;
mod patches;
mod pooling;
mod preparer;
mod weights;

pub use folder::{TowerFolder, TowerWeights};
pub use image_tower::ImageTower;
pub use preparer::TowerPreparer;
