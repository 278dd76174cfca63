//! What is done with a picture and a query before a worker sees them.

use std::fmt;
use std::sync::Arc;

use super::super::preparer::content;
use super::MARKS;
use super::files::BlipFiles;
use crate::images::RgbImage;
use crate::language::TextTokenizer;
use crate::models::ModelError;
use crate::pool::capabilities::text_to_text::{GenerationParams, Language, marks};
use crate::pool::capabilities::vision::{VisionInput, VisionPreparer};

/// Prepares pictures and queries for a BLIP model: the caller's half of it. To one that writes captions, a
/// query is how the caption begins, and may be empty.
pub struct BlipPreparer {
    files: BlipFiles,
    language: Arc<Language>,
    /// The most tokens of a caption, or of an answer.
    context: usize,
}

impl fmt::Debug for BlipPreparer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlipPreparer")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl BlipFiles {
    /// The model's tokenizer.
    ///
    /// # Errors
    /// As [`TextTokenizer::from_folder`].
    pub fn language(&self) -> Result<Language, ModelError> {
        let tokenizer = TextTokenizer::from_folder(self.path())?;
        Ok(Language::new(tokenizer.ending_at(self.described().end)))
    }

    /// What makes requests of pictures and queries, for texts of up to `context` tokens.
    pub fn preparer(&self, language: Arc<Language>, context: usize) -> BlipPreparer {
        BlipPreparer {
            files: self.clone(),
            language,
            context,
        }
    }
}

impl VisionPreparer for BlipPreparer {
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
        let answers = self.files.answers_questions();
        let tokens = self.language.tokenizer().encode_as_text(&query, answers)?;
        let most = match answers {
            true => self.files.described().text.positions,
            // One is before the query, and one place is for the first token of the answer.
            false => self.context.saturating_sub(2),
        };
        if tokens.len() > most {
            let tokens = tokens.len();
            return Err(ModelError::PromptTooLong { tokens, most });
        }
        let pixels = self.files.preprocessor().run(&picture)?;
        let mut content = content(&picture);
        let (question, beginning) = match answers {
            true => (tokens, Vec::new()),
            false => (Vec::new(), tokens),
        };
        content.extend(question.iter().flat_map(|token| token.to_le_bytes()));
        let mut prompt = marks(&content, MARKS);
        prompt.push(self.files.described().begin);
        prompt.extend(beginning);
        Ok(VisionInput {
            prompt,
            question,
            size: [picture.width(), picture.height()],
            pictures: vec![pixels],
            ..VisionInput::default()
        })
    }
}
