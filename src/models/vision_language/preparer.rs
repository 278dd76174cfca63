//! What is done with a picture and a query before a worker sees them.

use std::fmt;
use std::sync::Arc;

use super::families::Prompt;
use super::files::VisionLanguageFiles;
use crate::images::RgbImage;
use crate::language::{ChatTemplate, LanguageError, TextTokenizer};
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
        let tokenizer = TextTokenizer::from_folder(self.path())?;
        let Prompt::Chat { placeholder, usual } = self.described().prompt else {
            return Ok(Language::new(tokenizer));
        };
        let shown = tokenizer.token_bytes(placeholder).unwrap_or_default();
        let shown = String::from_utf8_lossy(shown).into_owned();
        Ok(Language::new(tokenizer).template(|tokenizer| {
            let found = ChatTemplate::from_folder(self.path(), tokenizer);
            let missing = matches!(
                found,
                Err(ModelError::Language(LanguageError::MissingTemplate))
            );
            let template = match usual.filter(|_| missing) {
                Some(usual) => ChatTemplate::new(usual, tokenizer)?,
                None => found?,
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

impl VisionLanguagePreparer {
    /// The tokens of a prompt before the picture and after it.
    fn around(&self, query: &str) -> Result<(Vec<u32>, Vec<u32>), ModelError> {
        match self.files.described().prompt {
            Prompt::Chat { placeholder, .. } => {
                let mut tokens = self.language.about_picture(query, placeholder)?;
                let place = tokens.iter().position(|token| *token == placeholder);
                let after = tokens.split_off(place.unwrap_or_default());
                Ok((tokens, after.into_iter().skip(1).collect()))
            }
            Prompt::Question { before, after } => {
                let tokenizer = self.language.tokenizer();
                let text = format!("{before}{query}{after}");
                let tokens = tokenizer.encode_as_text(&text, false)?;
                Ok((tokenizer.special().bos.into_iter().collect(), tokens))
            }
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
        let (before, after) = self.around(&query)?;
        let pixels = self.files.preprocessor().run(&picture)?;
        let [_, height, width] = pixels.shape();
        let rows = self.files.rows_of(height, width);
        let tokens = before
            .len()
            .saturating_add(rows)
            .saturating_add(after.len());
        // One place is for the first token of the answer.
        let most = self.context.saturating_sub(1);
        if tokens > most {
            return Err(ModelError::PromptTooLong { tokens, most });
        }
        let size = [picture.width(), picture.height()];
        let marks = marks(&content(&picture), rows);
        let prompt = [before, marks, after].concat();
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
