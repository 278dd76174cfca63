//! Chat templates: from a conversation to the text that the model was taught to answer.

mod calendar;
mod engine;
mod json;
mod options;
mod values;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use self::engine::Engine;
pub use self::options::TemplateOptions;
use self::values::Turn;
use super::shield::Shield;
use super::{ChatMessage, LanguageError, TextTokenizer};
use crate::models::{Gguf, ModelError, files};

const SETTINGS: &str = "tokenizer_config.json";
const JINJA: &str = "chat_template.jinja";
const JSON: &str = "chat_template.json";
const GGUF_KEY: &str = "tokenizer.chat_template";
const TOOLS: &str = "tool_use";

/// A model's chat template: Jinja, as `transformers` runs it.
///
/// A template comes with the model and is not trusted: what it may compute, and how long its text may
/// get, has bounds, and it runs on a thread of its own whose stack holds whatever those bounds allow.
/// One gap is known: the template engine does not count what it takes to join lists, so a template
/// that doubles a list some 33 times over can still use up the memory.
///
/// Control tokens in messages, tools and documents are marked by [`TextTokenizer::shield`], so that
/// nobody can end his turn and begin another one from within a message; those of the template itself
/// count. [`TemplateOptions::trust_control_tokens`] switches that off.
pub struct ChatTemplate {
    default: Engine,
    /// A template of its own for conversations with tools, as some models have.
    with_tools: Option<Engine>,
    shield: Arc<Shield>,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ChatTemplate")
            .field("default", &self.default)
            .field("with_tools", &self.with_tools)
            .finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// Compiles a template's source for a model with this tokenizer.
    ///
    /// # Errors
    /// [`LanguageError::InvalidTemplate`] if it is not Jinja, or longer than 1 MiB.
    pub fn new(source: &str, tokenizer: &TextTokenizer) -> Result<Self, LanguageError> {
        Ok(Self {
            default: Engine::compile(source, tokenizer)?,
            with_tools: None,
            shield: tokenizer.shared_shield(),
        })
    }

    /// The template in a GGUF file's metadata.
    ///
    /// # Errors
    /// [`LanguageError::MissingTemplate`] if the file has none, as those of base models, and as
    /// [`ChatTemplate::new`]; both within [`ModelError::Language`].
    pub fn from_gguf(gguf: &Gguf, tokenizer: &TextTokenizer) -> Result<Self, ModelError> {
        let source = gguf.str(GGUF_KEY)?.ok_or(LanguageError::MissingTemplate)?;
        let mut template = Self::new(source, tokenizer)?;
        if let Some(source) = gguf.str(&format!("{GGUF_KEY}.{TOOLS}"))? {
            template.with_tools = Some(Engine::compile(source, tokenizer)?);
        }
        Ok(template)
    }

    /// The template of a model's folder: `chat_template.jinja`, or else the one in `chat_template.json`, or
    /// in `tokenizer_config.json`.
    ///
    /// # Errors
    /// As [`ChatTemplate::from_gguf`], and those of unreadable files.
    pub fn from_folder(folder: &Path, tokenizer: &TextTokenizer) -> Result<Self, ModelError> {
        let path = folder.join(JINJA);
        if path.exists() {
            let bytes = files::read(&path, JINJA)?;
            let source = String::from_utf8(bytes).map_err(|_| ModelError::Corrupt {
                path,
                format: JINJA,
                detail: "it is not UTF-8".to_owned(),
            })?;
            return Ok(Self::new(&source, tokenizer)?);
        }
        let own = files::read_optional_json(&folder.join(JSON), JSON)?;
        let settings = match own.filter(|own| own.get("chat_template").is_some()) {
            Some(own) => own,
            None => {
                files::read_optional_json(&folder.join(SETTINGS), SETTINGS)?.unwrap_or_default()
            }
        };
        match settings.get("chat_template") {
            Some(Value::String(source)) => Ok(Self::new(source, tokenizer)?),
            Some(Value::Array(named)) => Ok(Self::from_named(named, tokenizer)?),
            _ => Err(LanguageError::MissingTemplate.into()),
        }
    }

    /// Of several templates, each with its name.
    fn from_named(named: &[Value], tokenizer: &TextTokenizer) -> Result<Self, LanguageError> {
        let find = |wanted: &str| {
            named.iter().find_map(|entry| {
                let text = |field: &str| entry.get(field).and_then(Value::as_str);
                text("template").filter(|_| text("name") == Some(wanted))
            })
        };
        let source = find("default").ok_or(LanguageError::MissingTemplate)?;
        let mut template = Self::new(source, tokenizer)?;
        template.with_tools = find(TOOLS)
            .map(|source| Engine::compile(source, tokenizer))
            .transpose()?;
        Ok(template)
    }

    /// Writes a conversation as the model expects it. Special tokens are in the text: encode it
    /// without adding any.
    ///
    /// # Errors
    /// [`LanguageError::TemplateRefused`] if the template does not accept the conversation (as when
    /// it knows no system messages), [`LanguageError::TemplateFailed`] if it fails,
    /// [`LanguageError::TemplateTooCostly`] if it computes or writes too much.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        options: &TemplateOptions,
    ) -> Result<String, LanguageError> {
        let messages: Vec<Turn<'_>> = messages.iter().map(Turn::from).collect();
        self.write(&messages, options)
    }

    /// As [`ChatTemplate::render`] for one message of the user, which shows a picture and asks about it.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_about_picture(
        &self,
        query: &str,
        options: &TemplateOptions,
    ) -> Result<String, LanguageError> {
        let turn = Turn {
            role: "user",
            content: query,
            picture: true,
        };
        self.write(&[turn], options)
    }

    /// Marks this text in messages too, as if it were a control token: such as the one that stands for a
    /// picture.
    #[must_use]
    pub fn shielding(mut self, text: &str) -> Self {
        self.shield = Arc::new(self.shield.and_against(text));
        self
    }

    fn write(
        &self,
        messages: &[Turn<'_>],
        options: &TemplateOptions,
    ) -> Result<String, LanguageError> {
        let with_tools = self
            .with_tools
            .as_ref()
            .filter(|_| !options.tools.is_empty());
        let engine = with_tools.unwrap_or(&self.default);
        let shield = (!options.trust_control_tokens).then_some(&*self.shield);
        engine.render(messages, options, shield)
    }
}
