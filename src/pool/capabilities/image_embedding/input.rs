//! What is asked of an image embedding model, and what comes back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::images::{ImageError, ImagePreprocessor, PixelTensor, RgbImage};
use crate::models::ModelError;
use crate::pool::capabilities::text_embedding::Embedding;
use crate::pool::core::PoolError;

/// What is wanted of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wanted {
    Vector,
    /// So many of the likeliest.
    Classes(usize),
}

/// A request made ready for the model on the caller's side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageEmbeddingInput(pub(super) Asked);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Asked {
    Picture { pixels: PixelTensor, wanted: Wanted },
    Text { tokens: Vec<u32> },
}

/// One of the classes that a model knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImageClass {
    /// Its number in the model.
    pub index: usize,
    /// Its name, if the model's spec has [names](crate::ModelSpec::class_names).
    pub name: Option<String>,
    /// How probable it is that the picture is of it, from 0 to 1.
    pub probability: f32,
}

/// What a model has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ImageAnswer {
    /// The vector of a picture or a text.
    Vector(Embedding),
    /// The likeliest classes of a picture, the likeliest first.
    Classes(Vec<ImageClass>),
}

impl ImageAnswer {
    pub(super) fn into_vector(self) -> Result<Embedding, PoolError> {
        match self {
            Self::Vector(vector) => Ok(vector),
            Self::Classes(_) => Err(of_the_wrong_kind()),
        }
    }

    pub(super) fn into_classes(self) -> Result<Vec<ImageClass>, PoolError> {
        match self {
            Self::Classes(classes) => Ok(classes),
            Self::Vector(_) => Err(of_the_wrong_kind()),
        }
    }
}

fn of_the_wrong_kind() -> PoolError {
    PoolError::Internal("the engine answered something that was not asked".to_owned())
}

/// Makes of pictures and texts what a model takes, on the caller's side, so that worker threads only
/// run the model.
pub trait PicturePreparer: Send + Sync + 'static {
    /// Prepares a picture.
    ///
    /// # Errors
    /// [`ImageError`], such as for a shape that the model cannot take.
    fn picture(&self, picture: &RgbImage) -> Result<PixelTensor, ImageError>;

    /// Makes a text into tokens, truncated to what the model takes.
    ///
    /// # Errors
    /// [`ModelError::NotOffered`] from models without texts, [`ModelError::Language`] for a text that
    /// cannot be tokenised.
    fn text(&self, _text: &str) -> Result<Vec<u32>, ModelError> {
        Err(ModelError::NotOffered { what: "texts" })
    }
}

impl PicturePreparer for ImagePreprocessor {
    fn picture(&self, picture: &RgbImage) -> Result<PixelTensor, ImageError> {
        self.run(picture)
    }
}

impl<P: PicturePreparer + ?Sized> PicturePreparer for Arc<P> {
    fn picture(&self, picture: &RgbImage) -> Result<PixelTensor, ImageError> {
        (**self).picture(picture)
    }

    fn text(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        (**self).text(text)
    }
}
