//! What a template is told besides the conversation.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a chat template is told besides the messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TemplateOptions {
    /// Ends the text where the model's answer begins; on by default.
    pub add_generation_prompt: bool,
    /// The tools that the model may call, each a JSON schema of a function.
    pub tools: Vec<Value>,
    /// Documents to answer from.
    pub documents: Vec<Value>,
    /// Further variables that the template looks at, such as `enable_thinking`.
    pub variables: Map<String, Value>,
    /// Takes control tokens that messages, tools and documents spell for control tokens. Whoever can
    /// write a message can then speak in any role. Off by default.
    pub trust_control_tokens: bool,
    /// The time that a template may ask for, in UTC; the system's if not set.
    pub now: Option<SystemTime>,
}

impl Default for TemplateOptions {
    fn default() -> Self {
        Self {
            add_generation_prompt: true,
            tools: Vec::new(),
            documents: Vec::new(),
            variables: Map::new(),
            trust_control_tokens: false,
            now: None,
        }
    }
}
