//! BLIP: a picture's caption, or the answer to a question about it.
//!
//! Its decoder is BERT's with a second attention in each layer, over rows that stand beside the text: those
//! of the picture, or, where a question is answered, those that BERT's encoder makes of question and
//! picture. What of such rows a decoder's layer looks at (keys and values) is computed once, when the
//! picture is looked at.

mod attention;
mod config;
mod files;
mod model;
mod preparer;
mod text;
mod weights;

pub use files::{BlipFiles, BlipWeights};
pub use model::BlipModel;
pub use preparer::BlipPreparer;

/// Places at the beginning of each sequence by whose marks pictures, and questions, are told apart. The
/// model knows nothing of them.
const MARKS: usize = 4;
