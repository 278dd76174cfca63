//! What is done with a picture and a query before a worker sees them.

use std::fmt;
use std::sync::Arc;

use super::files::VisionLanguageFiles;
use crate::images::RgbImage;
use crate::language::{ChatTemplate, TextTokenizer};
use crate::models::ModelError;
use crate::pool::capabilities::text_to_text::{GenerationParams, Language, marks};
use crate::pool::capabilities::vision::{VisionInput, VisionPreparer};

/// Prepares pictures and prompts for a vision-language model: the caller's half of it.
pub struct VisionLanguagePreparer {
    files: VisionLanguageFiles,
    language: Arc<Language>,
    /// The most tokens of a sequence.
    context: usize,
}

impl fmt::Debug for VisionLanguagePreparer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VisionLanguagePreparer")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl VisionLanguageFiles {
    /// The model's tokenizer and chat template. The text that stands for a picture is, in messages, a text
    /// like others.
    ///
    /// # Errors
    /// As [`TextTokenizer::from_folder`].
    pub fn language(&self) -> Result<Language, ModelError> {
        let family = self.described();
        let placeholder = family.placeholder;
        let tokenizer = TextTokenizer::from_folder(self.path())?;
        let shown = tokenizer.token_bytes(placeholder).unwrap_or_default();
        let shown = String::from_utf8_lossy(shown).into_owned();
        Ok(Language::new(tokenizer).template(|tokenizer| {
            let template = match (
                ChatTemplate::from_folder(self.path(), tokenizer),
                family.template,
            ) {
                (
                    Err(ModelError::Language(crate::language::LanguageError::MissingTemplate)),
                    Some(usual),
                ) => ChatTemplate::new(usual, tokenizer)?,
                (found, _) => found?,
            };
            Ok(template.shielding(&shown))
        }))
    }

    /// What makes requests of pictures and queries, for sequences of up to `context` tokens.
    pub fn preparer(&self, language: Arc<Language>, context: usize) -> VisionLanguagePreparer {
        VisionLanguagePreparer {
            files: self.clone(),
            language,
            context,
        }
    }
}

impl VisionPreparer for VisionLanguagePreparer {
    fn prepare(
        &self,
        picture: RgbImage,
        query: String,
        params: &GenerationParams,
    ) -> Result<VisionInput, ModelError> {
        if let Some(constraint) = &params.constraint {
            // What can't be kept to is told before it waits for a worker, which begins anew.
            self.language.check(constraint)?;
        }
        let placeholder = self.files.described().placeholder;
        let mut prompt = self.language.about_picture(&query, placeholder)?;
        let pixels = self.files.preprocessor().run(&picture)?;
        let [_, height, width] = pixels.shape();
        let rows = self.files.rows_of(height, width);
        // One place is for the first token of the answer.
        let (tokens, most) = (prompt.len() - 1 + rows, self.context.saturating_sub(1));
        if tokens > most {
            return Err(ModelError::PromptTooLong { tokens, most });
        }
        let size = [picture.width(), picture.height()];
        let marks = marks(&content(&picture), rows);
        if let Some(place) = prompt.iter().position(|token| *token == placeholder) {
            prompt.splice(place..=place, marks);
        }
        Ok(VisionInput {
            prompt,
            size,
            pictures: vec![pixels],
            ..VisionInput::default()
        })
    }
}

/// All that a picture's rows are computed from, for a given model.
pub(super) fn content(picture: &RgbImage) -> Vec<u8> {
    let sides = [picture.width(), picture.height()];
    let mut content: Vec<u8> = sides.into_iter().flat_map(u32::to_le_bytes).collect();
    content.extend_from_slice(picture.pixels());
    content
}
