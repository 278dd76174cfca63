//! One compiled template and the bounds that it runs within.

use std::error::Error as _;
use std::fmt;
use std::io::{self, Write};
use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::values::Turn;
use super::{TemplateOptions, calendar, json, values};
use crate::language::shield::Shield;
use crate::language::{LanguageError, TextTokenizer, own_stack};

const NAME: &str = "chat";
const MOST_SOURCE_BYTES: usize = 1 << 20;

/// Fuel is about one for each operation, and one for each 64 bytes of a text that is made. The most
/// costly of the known templates use some 200 for a message.
const BASE_FUEL: u64 = 200_000;
const FUEL_PER_ITEM: u64 = 2_000;
/// A value may be nested as deeply as fuel allows, and dropping it takes stack for each level.
const MOST_FUEL: u64 = 2_000_000;

const BASE_OUTPUT_BYTES: usize = 1 << 20;

/// A compiled template.
#[derive(Debug)]
pub(super) struct Engine {
    environment: Environment<'static>,
    /// The names under which a template finds special tokens.
    special: Vec<(&'static str, String)>,
}

impl Engine {
    pub(super) fn compile(source: &str, tokenizer: &TextTokenizer) -> Result<Self, LanguageError> {
        let invalid = |detail: String| LanguageError::InvalidTemplate { detail };
        if source.len() > MOST_SOURCE_BYTES {
            return Err(invalid(format!("{} bytes are too many", source.len())));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| invalid(described(&error)))?;
        environment.set_syntax(syntax);
        environment.set_debug(false);
        environment.set_recursion_limit(100);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_filter("tojson", json::to_json);
        environment.add_function("raise_exception", refuse);
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|error| invalid(described(&error)))?;
        let ids = tokenizer.special();
        let named = [
            ("bos_token", ids.bos),
            ("eos_token", ids.eos),
            ("unk_token", ids.unknown),
            ("pad_token", ids.padding),
        ];
        let special = named
            .into_iter()
            .filter_map(|(name, id)| Some((name, tokenizer.token_text(id?)?)))
            .collect();
        Ok(Self {
            environment,
            special,
        })
    }

    pub(super) fn render(
        &self,
        messages: &[Turn<'_>],
        options: &TemplateOptions,
        shield: Option<&Shield>,
    ) -> Result<String, LanguageError> {
        own_stack::run("chat-template", || self.run(messages, options, shield))
            .unwrap_or_else(|| Err(failed("the template engine broke down".to_owned())))
    }

    fn run(
        &self,
        messages: &[Turn<'_>],
        options: &TemplateOptions,
        shield: Option<&Shield>,
    ) -> Result<String, LanguageError> {
        let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        let items = messages.len() + options.tools.len() + options.documents.len();
        let mut environment = self.environment.clone();
        let fuel = BASE_FUEL + FUEL_PER_ITEM.saturating_mul(items as u64) + (bytes / 16) as u64;
        environment.set_fuel(Some(fuel.min(MOST_FUEL)));
        let now = options.now.unwrap_or_else(SystemTime::now);
        environment.add_function("strftime_now", move |pattern: &str| {
            calendar::format(now, pattern)
        });
        let template = environment
            .get_template(NAME)
            .map_err(|error| failed(described(&error)))?;
        let mut output = Bounded {
            bytes: Vec::new(),
            most: BASE_OUTPUT_BYTES.saturating_add(bytes.saturating_mul(4)),
            is_full: false,
        };
        let context = self.context(messages, options, shield);
        let rendered = template
            .render_captured_to(context, &mut output)
            .map(|_| ());
        match rendered {
            Ok(()) => String::from_utf8(output.bytes)
                .map_err(|_| failed("its text is not UTF-8".to_owned())),
            Err(_) if output.is_full => Err(LanguageError::TemplateTooCostly),
            Err(error) => Err(reason(&error)),
        }
    }

    fn context(
        &self,
        messages: &[Turn<'_>],
        options: &TemplateOptions,
        shield: Option<&Shield>,
    ) -> Value {
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| values::message(message, shield))
            .collect();
        let own = [
            ("messages", Value::from(messages)),
            ("tools", values::list(&options.tools, shield)),
            ("documents", values::list(&options.documents, shield)),
            (
                "add_generation_prompt",
                Value::from(options.add_generation_prompt),
            ),
        ];
        let special = self
            .special
            .iter()
            .map(|(name, text)| (*name, Value::from(text.as_str())));
        let variables = options
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), values::json(value, shield)));
        Value::from_pairs(special.chain(own).chain(variables))
    }
}

/// The template's `raise_exception`: it does not accept the conversation.
fn refuse(message: String) -> Result<Value, Error> {
    Err(
        Error::new(ErrorKind::InvalidOperation, "the template refuses")
            .with_source(Refusal(message)),
    )
}

#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// What a rendering error comes to.
fn reason(error: &Error) -> LanguageError {
    if error.kind() == ErrorKind::OutOfFuel {
        return LanguageError::TemplateTooCostly;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(Refusal(message)) = cause.downcast_ref() {
            return LanguageError::TemplateRefused {
                message: message.clone(),
            };
        }
        let is_out_of_fuel = cause
            .downcast_ref::<Error>()
            .is_some_and(|inner| inner.kind() == ErrorKind::OutOfFuel);
        if is_out_of_fuel {
            return LanguageError::TemplateTooCostly;
        }
        source = cause.source();
    }
    failed(described(error))
}

fn described(error: &Error) -> String {
    let line = error
        .line()
        .map_or(String::new(), |line| format!("line {line}: "));
    let detail = error
        .detail()
        .map_or(String::new(), |detail| format!(": {detail}"));
    format!("{line}{}{detail}", error.kind())
}

fn failed(detail: String) -> LanguageError {
    LanguageError::TemplateFailed { detail }
}

/// Takes bytes up to a bound.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            self.is_full = true;
            return Err(io::Error::other("the template's text is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Some templates mark the model's own part for training, by a tag that plain Jinja does not have;
/// an `if` that always holds does the same to the text.
fn without_generation_tags(source: &str) -> String {
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        plain.push_str(before);
        // Not the `%` that opens the tag: `{%}` ends nothing.
        let Some(length) = tag[2..].find("%}").map(|end| end + 4) else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(length);
        let inner = &tag[2..length - 2];
        let name =
            inner.trim_matches(|character: char| character.is_whitespace() || character == '-');
        match name {
            "generation" => plain.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => plain.push_str(&tag.replace("endgeneration", "endif")),
            _ => plain.push_str(tag),
        }
        rest = after;
    }
    plain.push_str(rest);
    plain
}
