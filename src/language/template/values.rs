//! What a template sees of the caller's data.

use minijinja::Value;
use serde_json::Value as Json;

use crate::language::ChatMessage;
use crate::language::shield::Shield;

/// A message, which may be about a picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) role: &'a str,
    pub(super) content: &'a str,
    /// A picture is shown before what is said.
    pub(super) picture: bool,
}

impl<'a> From<&'a ChatMessage> for Turn<'a> {
    fn from(message: &'a ChatMessage) -> Self {
        Self {
            role: &message.role,
            content: &message.content,
            picture: false,
        }
    }
}

/// A message as a template knows it: its content is a text, or a list of parts.
pub(super) fn message(turn: &Turn<'_>, shield: Option<&Shield>) -> Value {
    let said = text(turn.content, shield);
    let content = match turn.picture {
        false => said,
        true => Value::from(vec![
            Value::from_pairs([("type", Value::from("image"))]),
            Value::from_pairs([("type", Value::from("text")), ("text", said)]),
        ]),
    };
    Value::from_pairs([("role", text(turn.role, shield)), ("content", content)])
}

/// Any JSON, its objects in their own order.
pub(super) fn json(value: &Json, shield: Option<&Shield>) -> Value {
    match value {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => number
            .as_i64()
            .map(Value::from)
            .or_else(|| number.as_u64().map(Value::from))
            .or_else(|| number.as_f64().map(Value::from))
            .unwrap_or_default(),
        Json::String(value) => text(value, shield),
        Json::Array(items) => Value::from(
            items
                .iter()
                .map(|item| json(item, shield))
                .collect::<Vec<_>>(),
        ),
        Json::Object(fields) => Value::from_pairs(
            fields
                .iter()
                .map(|(name, value)| (name.as_str(), json(value, shield))),
        ),
    }
}

/// A list, or `none` if it is empty.
pub(super) fn list(values: &[Json], shield: Option<&Shield>) -> Value {
    if values.is_empty() {
        return Value::from(());
    }
    Value::from(
        values
            .iter()
            .map(|value| json(value, shield))
            .collect::<Vec<_>>(),
    )
}

fn text(value: &str, shield: Option<&Shield>) -> Value {
    match shield {
        Some(shield) => Value::from(shield.apply(value)),
        None => Value::from(value),
    }
}
