//! What a template sees of the caller's data.

use minijinja::Value;
use serde_json::Value as Json;

use crate::language::ChatMessage;
use crate::language::shield::Shield;

/// A message as a template knows it.
pub(super) fn message(message: &ChatMessage, shield: Option<&Shield>) -> Value {
    Value::from_pairs([
        ("role", text(&message.role, shield)),
        ("content", text(&message.content, shield)),
    ])
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
