//! The model that comes with the crate.

use super::text_embedding::STATIC_WORKER_BYTES;
use crate::model::{ModelInfo, ModelSpec};
use crate::models::{StaticEmbedder, StaticPreparer, StaticWeights};
use crate::pool::capabilities::text_embedding::TextEmbedding;
use crate::pool::core::MIB;

/// What the workers of the embedded model share: the table and the tokenizer.
const SHARED_BYTES: u64 = 15 * MIB;

impl ModelSpec<TextEmbedding> {
    /// The embedded default: a static embedding model of 128 dimensions for English text,
    /// distilled from all-MiniLM-L6-v2. It needs no file and no network, and embeds a text in
    /// microseconds; it knows words, not their order. Registered under the name "embedded".
    pub fn embedded() -> Self {
        let info = ModelInfo::from_bytes("embedded", SHARED_BYTES, STATIC_WORKER_BYTES);
        Self::text_embedding_shared(info.clone(), StaticWeights::embedded, move |weights| {
            Ok(StaticEmbedder::new(info.clone(), weights))
        })
        .preparer(StaticPreparer::embedded)
    }
}
