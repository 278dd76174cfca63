//! Output that keeps to a JSON schema, a regular expression or a grammar.

mod factory;
mod state;

use serde::{Deserialize, Serialize};

pub use self::factory::ConstraintFactory;
pub use self::state::ConstraintState;

/// What a generated text must be, from its first character to its last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Constraint {
    /// JSON that a schema accepts.
    JsonSchema(serde_json::Value),
    /// A text that the whole of a regular expression matches, in the syntax of the `regex` crate.
    Regex(String),
    /// A text of a grammar in `llguidance`'s variant of Lark, with the rule `start`.
    Grammar(String),
}
