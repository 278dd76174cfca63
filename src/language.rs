//! Between text and token ids: tokenizers, chat templates, sampling, constraints. Pure code, with
//! neither actors nor tensors in it.

mod constraint;
mod detokenizer;
mod error;
mod message;
mod own_stack;
mod sampling;
mod shield;
mod spelling;
mod stop;
mod template;
mod tokenizer;

pub use constraint::{Constraint, ConstraintFactory, ConstraintState};
pub use detokenizer::Detokenizer;
pub use error::LanguageError;
pub use message::ChatMessage;
pub use sampling::{Sampled, Sampler, SamplingParams};
pub use stop::{StopProgress, StopStrings};
pub use template::{ChatTemplate, TemplateOptions};
pub use tokenizer::{SpecialTokens, TextTokenizer};
