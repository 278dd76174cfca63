//! Vision-language models, from a folder of the hub: a tower looks at a picture, a projector makes of what
//! it sees rows that take the place of tokens, and a [decoder](super::TextDecoder) goes on from them.
//!
//! One code path serves all families. What sets them apart (where patches lie and which sees which, how
//! their places enter, how tensors are called) is data, read from `config.json`.

mod attention;
mod blip;
mod builder;
mod description;
mod families;
mod files;
mod layout;
mod model;
mod moondream;
mod names;
mod preparer;
mod tower;
mod weights;

pub use blip::{BlipFiles, BlipModel, BlipPreparer, BlipWeights};
pub use files::{VisionLanguageFiles, VisionLanguageWeights};
pub use model::VisionLanguageModel;
pub use preparer::VisionLanguagePreparer;
