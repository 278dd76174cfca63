//! A static embedding model in a folder, as `model2vec` saves it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{StaticPreparer, StaticWeights};
use crate::models::ModelError;

/// A folder with `model.safetensors` and `tokenizer.json`, opened and checked.
#[derive(Debug)]
pub struct StaticFolder {
    path: PathBuf,
    weights: Arc<StaticWeights>,
    preparer: Arc<StaticPreparer>,
}

impl StaticFolder {
    /// Reads the table and the tokenizer of a folder.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`] or [`ModelError::Unreadable`] for a file that is not there or
    /// cannot be read, [`ModelError::Corrupt`] for one that is damaged, [`ModelError::WrongShape`] for a
    /// tokenizer that knows more tokens than the table, and what [`StaticWeights::from_bytes`] says.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ModelError> {
        let path = path.into();
        let table_path = path.join("model.safetensors");
        let weights = StaticWeights::from_named_bytes(&read(&table_path)?, &table_path)?;
        let tokenizer_path = path.join("tokenizer.json");
        let preparer = StaticPreparer::from_tokenizer_json(
            &read(&tokenizer_path)?,
            &tokenizer_path,
            weights.dimensions(),
        )?;
        if preparer.vocabulary_size() > weights.tokens() {
            return Err(ModelError::WrongShape {
                tensor: "embeddings".to_owned(),
                expected: vec![preparer.vocabulary_size(), weights.dimensions()],
                found: vec![weights.tokens(), weights.dimensions()],
            });
        }
        Ok(Self {
            path,
            weights: Arc::new(weights),
            preparer: Arc::new(preparer),
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The table.
    pub fn weights(&self) -> Arc<StaticWeights> {
        Arc::clone(&self.weights)
    }

    /// The tokenizer.
    pub fn preparer(&self) -> Arc<StaticPreparer> {
        Arc::clone(&self.preparer)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ModelError::MissingFile {
            path: path.to_owned(),
        },
        _ => ModelError::Unreadable {
            path: path.to_owned(),
            source: Arc::new(error),
        },
    })
}
