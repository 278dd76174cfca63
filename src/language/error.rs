//! What can be wrong between text and tokens.

/// Why a text, its tokens or what is asked of them cannot be worked with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LanguageError {
    /// A sampling parameter or a stop string is outside of what makes sense.
    #[error("{field} is {found}, allowed is {allowed}")]
    InvalidParameter {
        /// The parameter's name.
        field: &'static str,
        /// Its value.
        found: String,
        /// The values that would do.
        allowed: &'static str,
    },
    /// A logit is NaN or positive infinity.
    #[error("the model's logits are not finite")]
    NotFiniteLogits,
    /// Every logit is minus infinity, or there is none: no token can be drawn.
    #[error("no token is allowed")]
    NoTokenAllowed,
    /// A text could not be turned into tokens.
    #[error("the text cannot be tokenised: {detail}")]
    Tokenize {
        /// What the tokenizer said.
        detail: String,
    },
    /// A part of the tokenizer's description contradicts itself or is missing.
    #[error("the tokenizer's {field}: {detail}")]
    InvalidTokenizer {
        /// The part at fault.
        field: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The tokenizer is of a kind that is not built in.
    #[error("the tokenizer's {field} is {found}; known are {}", known.join(", "))]
    UnsupportedTokenizer {
        /// The part that names the kind.
        field: &'static str,
        /// The kind.
        found: String,
        /// The kinds that are known.
        known: Vec<&'static str>,
    },
}
