//! Where weights come from: the model hub, a folder, or this crate itself.
//!
//! [`HubModel`] brings a repository of a model hub into the local cache and gives the folder;
//! [`FolderModel`] checks a folder that is there already. The embedded model needs no source: see
//! [`ModelSpec::embedded`](crate::ModelSpec::embedded).

mod embedded;
mod flux;
mod folder;
mod hub;
mod image_embedding;
mod pipeline;
mod progress;
mod text_embedding;
mod text_to_image;
mod text_to_text;
mod vision;
mod vision_language;

pub use folder::FolderModel;
pub use hub::{HubModel, HubSettings};
pub use progress::{ProgressCallback, ProgressEvent};
