//! Compiles constraints for one tokenizer.

use std::fmt;
use std::sync::{Arc, OnceLock};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory};
use serde_json::Value;
use toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

use super::{Constraint, ConstraintState};
use crate::language::{LanguageError, TextTokenizer, own_stack};

const MOST_SOURCE_BYTES: usize = 64 << 10;
const MOST_SCHEMA_BYTES: usize = 1 << 20;
const MOST_SCHEMA_DEPTH: usize = 128;

/// Compiles constraints for one tokenizer. What it takes to know a vocabulary's tokens by their bytes
/// is built on first use and shared from then on.
pub struct ConstraintFactory {
    tokenizer: Arc<TextTokenizer>,
    parsers: OnceLock<Result<ParserFactory, LanguageError>>,
}

impl fmt::Debug for ConstraintFactory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConstraintFactory")
            .field("tokenizer", &self.tokenizer)
            .field("is_built", &self.parsers.get().is_some())
            .finish()
    }
}

impl ConstraintFactory {
    /// A factory for this tokenizer. Builds nothing yet.
    pub fn new(tokenizer: Arc<TextTokenizer>) -> Self {
        Self {
            tokenizer,
            parsers: OnceLock::new(),
        }
    }

    /// Compiles a constraint and looks which tokens may come first. Its size, its depth and the work
    /// it takes have bounds, here and at every later step.
    ///
    /// # Errors
    /// [`LanguageError::InvalidConstraint`] if it is not what it should be, is too large or too
    /// costly; [`LanguageError::UnsatisfiableConstraint`] if it is seen at once that no text fulfils
    /// it.
    pub fn compile(&self, constraint: &Constraint) -> Result<ConstraintState, LanguageError> {
        check_size(constraint)?;
        let compile = || {
            let parsers = self.parsers.get_or_init(|| self.build());
            let parsers = parsers.as_ref().map_err(Clone::clone)?;
            let grammar = match constraint {
                Constraint::JsonSchema(schema) => TopLevelGrammar::from_json_schema(schema.clone()),
                Constraint::Regex(expression) => TopLevelGrammar::from_regex(expression),
                Constraint::Grammar(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
            };
            let parser = parsers
                .create_parser(grammar)
                .map_err(|error| refused(&error.to_string()))?;
            ConstraintState::start(Matcher::new(Ok(parser)))
        };
        own_stack::run("constraint", compile)
            .unwrap_or_else(|| Err(invalid("it could not be worked with")))
    }

    fn build(&self) -> Result<ParserFactory, LanguageError> {
        let environment = self.environment()?;
        let mut parsers =
            ParserFactory::new_simple(&environment).map_err(|error| invalid(error.to_string()))?;
        parsers.quiet();
        *parsers.limits_mut() = ParserLimits {
            // A state takes one or two kilobytes.
            max_lexer_states: 50_000,
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(parsers)
    }

    /// The vocabulary as the library wants it: control tokens behind a byte that is in no text.
    fn environment(&self) -> Result<TokEnv, LanguageError> {
        let ends = &self.tokenizer.special().ends;
        let Some(&first_end) = ends.first() else {
            return Err(LanguageError::InvalidTokenizer {
                field: "special tokens".to_owned(),
                detail: "none ends a text, so no constraint can be fulfilled".to_owned(),
            });
        };
        let vocabulary = u32::try_from(self.tokenizer.vocabulary()).unwrap_or(u32::MAX);
        let words: Vec<Vec<u8>> = (0..vocabulary)
            .map(|id| {
                let bytes = self.tokenizer.token_bytes(id).unwrap_or_default();
                if self.tokenizer.is_control(id) || ends.contains(&id) {
                    let mut marked = vec![TokTrie::SPECIAL_TOKEN_MARKER];
                    marked.extend_from_slice(bytes);
                    marked
                } else {
                    bytes.to_vec()
                }
            })
            .collect();
        let info = TokRxInfo::new(vocabulary, first_end);
        let trie = TokTrie::from(&info, &words).with_eos_tokens(ends);
        Ok(Arc::new(ApproximateTokEnv::new(trie)))
    }
}

fn check_size(constraint: &Constraint) -> Result<(), LanguageError> {
    let (bytes, most) = match constraint {
        Constraint::JsonSchema(schema) => (schema_bytes(schema)?, MOST_SCHEMA_BYTES),
        Constraint::Regex(source) | Constraint::Grammar(source) => {
            (source.len(), MOST_SOURCE_BYTES)
        }
    };
    if bytes > most {
        return Err(invalid(format!("{bytes} bytes; allowed are {most}")));
    }
    Ok(())
}

/// About how long a schema is when written out.
fn schema_bytes(schema: &Value) -> Result<usize, LanguageError> {
    let mut bytes = 0_usize;
    let mut left = vec![(schema, 0)];
    while let Some((value, depth)) = left.pop() {
        if depth > MOST_SCHEMA_DEPTH {
            return Err(invalid(format!(
                "the schema is nested more than {MOST_SCHEMA_DEPTH} deep"
            )));
        }
        bytes += match value {
            Value::String(text) => text.len() + 2,
            Value::Array(items) => {
                left.extend(items.iter().map(|item| (item, depth + 1)));
                items.len() + 2
            }
            Value::Object(fields) => {
                left.extend(fields.values().map(|value| (value, depth + 1)));
                fields.keys().map(|name| name.len() + 4).sum::<usize>() + 2
            }
            _ => 4,
        };
    }
    Ok(bytes)
}

/// The library tells in words what it found.
fn refused(detail: &str) -> LanguageError {
    let detail = detail.to_owned();
    if detail.to_lowercase().contains("unsatisfiable") {
        LanguageError::UnsatisfiableConstraint { detail }
    } else {
        LanguageError::InvalidConstraint { detail }
    }
}

fn invalid(detail: impl Into<String>) -> LanguageError {
    LanguageError::InvalidConstraint {
        detail: detail.into(),
    }
}
