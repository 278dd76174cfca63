//! What users of candle do today: its `BertModel` behind a mutex, texts padded to the longest.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use tokenizers::{PaddingParams, Tokenizer, TruncationParams};

use crate::Failure;
use crate::summary::Spread;

/// A loaded model and its tokenizer.
pub struct Locked {
    model: Arc<Mutex<BertModel>>,
    tokenizer: Tokenizer,
}

impl Locked {
    /// Loads the folder as candle's own BERT example does. candle computes on rayon's global
    /// threads, of which there are as many as cores.
    ///
    /// # Errors
    /// What the files or candle say, or if `threads` are not what the machine has.
    pub fn load(folder: &Path, threads: usize) -> Result<Self, Failure> {
        let cores = std::thread::available_parallelism()?.get();
        if threads != cores {
            return Err(format!("candle uses all {cores} cores, not {threads}").into());
        }
        let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
        let weights = [folder.join("model.safetensors")];
        // SAFETY: nobody writes to the file while it is mapped.
        let weights =
            unsafe { VarBuilder::from_mmaped_safetensors(&weights, DType::F32, &Device::Cpu)? };
        let model = BertModel::load(weights, &config)?;
        let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json"))?;
        tokenizer.with_padding(Some(PaddingParams::default()));
        tokenizer.with_truncation(Some(TruncationParams {
            max_length: 256,
            ..TruncationParams::default()
        }))?;
        Ok(Self {
            model: Arc::new(Mutex::new(model)),
            tokenizer,
        })
    }

    /// Embeds some texts as one padded batch.
    ///
    /// # Errors
    /// What the tokenizer or candle say.
    pub fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Failure> {
        let encoded = self.tokenizer.encode_batch(texts.to_vec(), true)?;
        let rows = |of: fn(&tokenizers::Encoding) -> &[u32]| -> Result<Tensor, Failure> {
            let rows: Vec<Vec<u32>> = encoded.iter().map(|text| of(text).to_vec()).collect();
            Ok(Tensor::new(rows, &Device::Cpu)?)
        };
        let ids = rows(tokenizers::Encoding::get_ids)?;
        let mask = rows(tokenizers::Encoding::get_attention_mask)?;
        let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        drop(model);
        let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
        let sums = tokens.broadcast_mul(&mask)?.sum(1)?;
        let means = sums.broadcast_div(&mask.sum(1)?)?;
        let lengths = means.sqr()?.sum_keepdim(1)?.sqrt()?;
        Ok(means.broadcast_div(&lengths)?.to_vec2()?)
    }

    /// Seconds for all texts, in batches as they come.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn by_callers(&self, texts: &[String], batch: usize) -> Result<f64, Failure> {
        let began = Instant::now();
        for batch in texts.chunks(batch) {
            self.embed(batch)?;
        }
        Ok(began.elapsed().as_secs_f64())
    }

    /// The median time of `times` calls for one text, in milliseconds.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn one(&self, text: &str, times: usize) -> Result<f64, Failure> {
        let text = [text.to_owned()];
        let mut taken = Vec::with_capacity(times);
        for _ in 0..times {
            let began = Instant::now();
            self.embed(&text)?;
            taken.push(began.elapsed().as_secs_f64() * 1e3);
        }
        Ok(Spread::of(taken).median)
    }
}
