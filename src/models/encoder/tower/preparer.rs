//! From pictures and texts to what the towers take, on the caller's side.

use std::path::Path;

use serde_json::Value;

use super::super::truncation::Truncating;
use super::description::Reading;
use crate::images::{ImageError, ImagePreprocessor, PixelTensor, RgbImage};
use crate::models::fields::Fields;
use crate::models::{ModelError, files};
use crate::pool::capabilities::image_embedding::PicturePreparer;

const SETTINGS: &str = "tokenizer_config.json";

/// How long texts are.
#[derive(Debug, Clone)]
pub(super) struct TextLimits {
    most: usize,
    /// Whether all are of that length.
    padding: Option<Padding>,
}

/// What texts are filled up with.
#[derive(Debug, Clone)]
struct Padding {
    /// The token's text.
    name: Option<String>,
    /// Its id where the tokenizer does not name it.
    id: u32,
}

impl TextLimits {
    /// The tokenizer's limit, but no more than the tower has positions for.
    pub(super) fn read(root: &Path, reading: &Reading) -> Result<Self, ModelError> {
        let (_, _) = files::open(&root.join("tokenizer.json"))?;
        let settings = files::read_optional_json(&root.join(SETTINGS), SETTINGS)?;
        let settings = Fields::new(SETTINGS, settings.unwrap_or_default());
        let positions = reading.transformer.max_positions;
        // An absent limit is written as 1e30.
        let most = settings
            .number("model_max_length")?
            .filter(|length| *length >= 1.0 && *length <= positions as f64)
            .map_or(positions, |length| length as usize);
        let padding = reading.padding.map(|id| {
            let value = settings.get("pad_token");
            let name =
                value.and_then(|value| value.as_str().or_else(|| value.get("content")?.as_str()));
            let name = name.map(str::to_owned);
            Padding { name, id }
        });
        Ok(Self { most, padding })
    }
}

/// Makes pictures into pixels as the model's `preprocessor_config.json` says, and texts into tokens as its
/// tokenizer does: cut to what the text tower takes, special tokens included.
#[derive(Debug, Clone)]
pub struct TowerPreparer {
    preprocessor: ImagePreprocessor,
    text: Option<TextSide>,
}

#[derive(Debug, Clone)]
struct TextSide {
    tokenizer: Truncating,
    /// The length of all texts, and the token that they are filled up with.
    padding: Option<(usize, u32)>,
}

impl TowerPreparer {
    pub(super) fn read(
        root: &Path,
        preprocessor: ImagePreprocessor,
        limits: Option<&TextLimits>,
    ) -> Result<Self, ModelError> {
        let read = |limits: &TextLimits| {
            let path = root.join("tokenizer.json");
            let tokenizer = Truncating::read(&path, limits.most, false)?;
            let padding = match &limits.padding {
                Some(padding) => Some((limits.most, padding.token(&tokenizer)?)),
                None => None,
            };
            Ok::<_, ModelError>(TextSide { tokenizer, padding })
        };
        Ok(Self {
            preprocessor,
            text: limits.map(read).transpose()?,
        })
    }
}

impl Padding {
    fn token(&self, tokenizer: &Truncating) -> Result<u32, ModelError> {
        let Some(name) = &self.name else {
            return Ok(self.id);
        };
        tokenizer.token_id(name).ok_or_else(|| {
            let settings = Fields::new(SETTINGS, Value::Null);
            settings.invalid("pad_token", format!("{name} is not in the vocabulary"))
        })
    }
}

impl PicturePreparer for TowerPreparer {
    fn picture(&self, picture: &RgbImage) -> Result<PixelTensor, ImageError> {
        self.preprocessor.run(picture)
    }

    fn text(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let side = self.text.as_ref();
        let side = side.ok_or(ModelError::NotOffered { what: "texts" })?;
        let mut tokens = side.tokenizer.tokenize(text)?;
        if let Some((length, token)) = side.padding {
            tokens.resize(length, token);
        }
        Ok(tokens)
    }
}
