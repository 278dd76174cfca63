//! The model that comes with the crate.

use std::sync::Arc;

use crate::model::{ModelInfo, ModelSpec};
use crate::models::{StaticEmbedder, StaticPreparer, StaticWeights};
use crate::pool::capabilities::text_embedding::TextEmbedding;
use crate::pool::core::Shared;

/// What one worker of the embedded model is counted with, in MiB: the table, shared by all of
/// them, and the tokenizer.
const EMBEDDED_MB: u64 = 16;

impl ModelSpec<TextEmbedding> {
    /// The embedded default: a static embedding model of 128 dimensions for English text,
    /// distilled from all-MiniLM-L6-v2. It needs no file and no network, and embeds a text in
    /// microseconds; it knows words, not their order. Registered under the name "embedded".
    pub fn embedded() -> Self {
        let info = ModelInfo::new("embedded", EMBEDDED_MB);
        let weights = Arc::new(Shared::new(StaticWeights::embedded));
        Self::text_embedding(info.clone(), move || {
            Ok(StaticEmbedder::new(info.clone(), weights.get_blocking()?))
        })
        .preparer(StaticPreparer::embedded)
    }
}
