//! What the configurations of a pipeline's parts have in common.

use std::path::Path;

use serde_json::Value;

use crate::models::fields::Fields;
use crate::models::{ModelError, files};

/// The most blocks, and layers of a block, that a network of pictures has.
const MOST_LAYERS: usize = 256;

/// Reads `config.json` of a part's folder.
pub(super) fn read(pipeline: &Path, part: &str) -> Result<Value, ModelError> {
    files::read_json(&pipeline.join(part).join("config.json"), "config.json")
}

/// The fields of a part's configuration, after a look at its class.
pub(super) fn fields_of(
    part: &str,
    value: &Value,
    classes: &[&'static str],
) -> Result<Fields, ModelError> {
    let fields = Fields::new(format!("{part}/config.json"), value.clone());
    let class = fields.text("_class_name")?.unwrap_or_default();
    if classes.contains(&class) {
        return Ok(fields);
    }
    Err(ModelError::UnsupportedArchitecture {
        found: class.to_owned(),
        supported: classes.to_vec(),
    })
}

/// A list of texts, at least one.
pub(super) fn texts(fields: &Fields, field: &str) -> Result<Vec<String>, ModelError> {
    let texts: Option<Vec<String>> = fields.get(field).and_then(Value::as_array).and_then(|all| {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        all.iter().map(text).collect()
    });
    match texts {
        Some(texts) if (1..=MOST_LAYERS).contains(&texts.len()) => Ok(texts),
        _ => Err(fields.invalid(field, "it is not a list of names")),
    }
}

/// One whole number for each of `length`, each at least 1, of a list, or the same for all; `None` where
/// the field is absent.
pub(super) fn counts(
    fields: &Fields,
    field: &str,
    length: usize,
) -> Result<Option<Vec<usize>>, ModelError> {
    let Some(value) = fields.get(field) else {
        return Ok(None);
    };
    if !value.is_array() {
        return Ok(fields.count(field)?.map(|count| vec![count; length]));
    }
    let found = list(fields, field)?;
    if found.len() != length {
        let detail = format!("{value} has not one for each of {length} blocks");
        return Err(fields.invalid(field, detail));
    }
    Ok(Some(found))
}

/// A list of whole numbers, each at least 1.
pub(super) fn list(fields: &Fields, field: &str) -> Result<Vec<usize>, ModelError> {
    let most = 1 << 24;
    let count = |value: &Value| {
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        count.filter(|count| (1..=most).contains(count))
    };
    let found: Option<Vec<usize>> = fields
        .get(field)
        .and_then(Value::as_array)
        .and_then(|all| all.iter().map(count).collect());
    match found {
        Some(found) if (1..=MOST_LAYERS).contains(&found.len()) => Ok(found),
        _ => Err(fields.invalid(field, "it is not a list of whole numbers from 1")),
    }
}

/// A number of layers, checked to be one that a network may have.
pub(super) fn layers(fields: &Fields, field: &str, found: &[usize]) -> Result<(), ModelError> {
    match found.iter().find(|layers| **layers > MOST_LAYERS) {
        Some(layers) => Err(fields.invalid(field, format!("{layers} layers are too many"))),
        None => Ok(()),
    }
}

/// An epsilon above 0 and below 1.
pub(super) fn epsilon(fields: &Fields, field: &str, default: f64) -> Result<f32, ModelError> {
    let found = fields.number(field)?.unwrap_or(default);
    if found > 0.0 && found < 1.0 {
        return Ok(found as f32);
    }
    Err(fields.invalid(field, format!("{found} is not above 0 and below 1")))
}

/// Fails unless `groups` divides each of the widths.
pub(super) fn divides(
    fields: &Fields,
    field: &str,
    groups: usize,
    widths: &[usize],
) -> Result<(), ModelError> {
    match widths.iter().find(|width| **width % groups != 0) {
        Some(width) => Err(fields.invalid(field, format!("{groups} does not divide {width}"))),
        None => Ok(()),
    }
}
