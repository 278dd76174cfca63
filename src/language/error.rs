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
    /// The model brings no chat template, as a base model that was not taught to chat.
    #[error("the model has no chat template")]
    MissingTemplate,
    /// The chat template is not Jinja.
    #[error("the chat template is not valid: {detail}")]
    InvalidTemplate {
        /// What is wrong with it, and where.
        detail: String,
    },
    /// The chat template does not accept the conversation, and says why.
    #[error("the chat template refuses the conversation: {message}")]
    TemplateRefused {
        /// The template's own words.
        message: String,
    },
    /// The chat template failed on the conversation.
    #[error("the chat template failed: {detail}")]
    TemplateFailed {
        /// What went wrong, and where.
        detail: String,
    },
    /// The chat template computes or writes more than any sensible one.
    #[error("the chat template computes or writes too much")]
    TemplateTooCostly,
    /// A constraint is not what it should be, or is too large or too costly to keep to.
    #[error("the constraint cannot be used: {detail}")]
    InvalidConstraint {
        /// What is wrong with it.
        detail: String,
    },
    /// No text fulfils the constraint.
    #[error("no text fulfils the constraint: {detail}")]
    UnsatisfiableConstraint {
        /// What contradicts itself, as far as is known.
        detail: String,
    },
    /// A token that the constraint does not allow was put into the text.
    #[error("token {token} does not fit the constraint")]
    ConstraintViolated {
        /// The token.
        token: u32,
    },
}
